import pytest

from edge.identity import Identity, read_aliases
from ingest.config import ConfigError
from ingest.identifiers import pseudonym
from tests.edge.agents import BAND, KEY

EM = "em4100:0a00d2f0c1"


def test_a_tag_leaves_as_its_pseudonym():
    assert Identity(KEY).outer(BAND) == pseudonym(BAND, KEY)
    assert Identity(KEY).outer("p_abcdefghijklmnop") == "p_abcdefghijklmnop"


def test_beacon_and_chip_of_one_wristband_are_one_person():
    identity = Identity(KEY, {BAND: "name:band-007", EM: "name:band-007"})
    assert identity.outer(BAND) == identity.outer(EM) == pseudonym("name:band-007", KEY)
    assert identity.outer(BAND) != Identity(KEY).outer(BAND)


def test_raw_tags_leave_only_without_a_key():
    assert Identity(None).outer(BAND) == BAND
    assert Identity(None, {BAND: "name:band-007"}).outer(BAND) == "name:band-007"


@pytest.mark.parametrize("text", ["", "anna", "BLE:B0B0B0B0B0B0", "ble:b0", "name:ä", "wiegand:٣"])
def test_what_is_no_tag_does_not_leave(text):
    assert Identity(KEY).outer(text) is None
    assert Identity(None).outer(text) is None


def test_the_cache_is_bounded():
    identity = Identity(KEY, cache_max=10)
    for n in range(100):
        identity.outer(f"name:band-{n}")
    assert identity.outer.cache_info().currsize == 10


def test_aliases_are_read(tmp_path):
    path = tmp_path / "aliases.csv"
    path.write_text(f"note,tag,name\nx,{BAND}, name:band-007\ny,{EM},name:band-007\n", "utf-8")
    assert read_aliases(path) == {BAND: "name:band-007", EM: "name:band-007"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 'name' is missing"),
        ("tag,names\n", "column 'name' is missing"),
        (f"tag,name\n{BAND},anna\n", "line 2: expected two tags"),
        (f"tag,name\n{BAND}\n", "line 2: expected two tags"),
        (f"tag,name\n{EM},name:a\n{EM},name:b\n", "line 3: this tag has a name already"),
    ],
)
def test_wrong_aliases_are_refused_without_naming_the_tag(tmp_path, text, message):
    path = tmp_path / "aliases.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        read_aliases(path)
    assert "b9407f30" not in str(caught.value)
    assert "anna" not in str(caught.value)


def test_unreadable_aliases(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_aliases(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"tag,name\n\xff\xfe,x\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_aliases(tmp_path / "b.csv")
