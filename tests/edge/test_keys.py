import logging

import pytest

from edge import keys as module
from edge.keys import read_keys
from ingest.config import ConfigError

KEY = "231d39c1d7cc1ab1aee224cd096db932"


def write(folder, text, mode=0o600):
    path = folder / "keys.csv"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(mode)
    return path


def test_ids_are_addresses_uids_and_names_in_lower_case(tmp_path, caplog):
    path = write(
        tmp_path,
        f"id,key,remark\n54:48:E6:8F:80:A5,{KEY.upper()},button\n"
        f"04DE5F1EACC040,{'00' * 16}\n band-master , {'ff' * 16} \n",
    )
    assert read_keys(path) == {
        "54:48:e6:8f:80:a5": bytes.fromhex(KEY),
        "04de5f1eacc040": bytes(16),
        "band-master": b"\xff" * 16,
    }
    assert caplog.records == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_may_read_is_used_and_said_so(tmp_path, caplog, mode):
    path = write(tmp_path, f"id,key\na,{KEY}\n", mode)
    with caplog.at_level(logging.WARNING, "fanous"):
        assert read_keys(path) == {"a": bytes.fromhex(KEY)}
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"mode {mode:o}" in said
    assert "chmod 600" in said
    assert KEY not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column 'id' is missing"),
        (f"id\na,{KEY}\n", "column 'key' is missing"),
        (f"id,key\n,{KEY}\n", "line 2: expected an id"),
        (f"id,key\naa:bb:cc,{KEY}\n", "line 2: expected an id"),
        (f"id,key\na,{KEY}\nb\n", "line 3: expected a key of 32 hex digits"),
        ("id,key\na,c0ffee\n", "line 2: expected a key of 32 hex digits"),
        (f"id,key\na,{KEY[:-1]} \n", "line 2: expected a key of 32 hex digits"),
        (f"id,key\na,{KEY[:-2]} 2\n", "line 2: expected a key of 32 hex digits"),
        (f"id,key\nA,{KEY}\na,{KEY}\n", "line 3: this id has a key already"),
        ("id,key\na,\xff\n", "expected CSV in UTF-8"),
        (f'id,key\n"a\x00",{KEY}\n', "line 2: expected an id|expected CSV"),
    ],
)
def test_a_wrong_file_is_refused_without_repeating_a_key(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_keys(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert KEY[:-2] not in str(caught.value)
    assert "c0ffee" not in str(caught.value)


def test_a_file_that_is_not_there_and_one_that_is_too_long(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read"):
        read_keys(tmp_path / "none.csv")
    monkeypatch.setattr(module, "KEYS_MAX", 2)
    path = write(tmp_path, "id,key\n" + "".join(f"n{n},{KEY}\n" for n in range(3)))
    with pytest.raises(ConfigError, match="expected at most 2 lines"):
        read_keys(path)
