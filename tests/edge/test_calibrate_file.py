import os
import stat
import tomllib

import pytest

from edge.calibrate_file import refuse_unwritable, with_values, write_values
from ingest.config import ConfigError

TEXT = """\
# prose
store = "demo"
[[source]]   # first
kind = "ble"
[source.allow]
companies = ["004c"]

[[source]]
kind = "serial"
[[source.port]]
path = "a" # sensor = "no"
sensor = "plate-1"
  counts_per_g=1.0# why
[[source.port]]
path = "b"
  [[source.port.channel]]
  channel = 0
  sensor = "plate-2"
  [[source.port.channel]]
  channel = 1
  sensor = "plate-3"
  tare_g = 5
[[ source.port ]]
path = "c"
[[source.port.poll]]
sensor = "plate-4"
counts_per_g = 10

[outbox]
max_mb = 5
"""
VALUES = {"counts_per_g": 420.5, "tare_g": -3.25}


def table(text, place):
    found = tomllib.loads(text)["source"][place[0]]["port"][place[1]]
    return found[place[2]][place[3]] if place[2] else found


@pytest.mark.parametrize(
    "place", [(1, 0, "", 0), (1, 1, "channel", 0), (1, 1, "channel", 1), (1, 2, "poll", 0)]
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_only_the_sensors_own_keys_change(place, ending, mark):
    old = mark + TEXT.replace("\n", ending)
    new = with_values(old, place, VALUES)
    assert table(old.removeprefix(mark), place) | VALUES == table(new.removeprefix(mark), place)
    kept, was = (
        [line for line in text.split("\n") if "counts_per_g" not in line and "tare_g" not in line]
        for text in (new, old)
    )
    assert was == kept
    assert with_values(new, place, VALUES) == new
    assert new.startswith(mark)


def test_the_comment_behind_a_value_stays():
    assert "  counts_per_g=420.5# why\n" in with_values(TEXT, (1, 0, "", 0), VALUES)


@pytest.mark.parametrize(
    "text",
    [
        'source = [{kind = "serial", port = [{path = "a", sensor = "p"}]}]\n',
        '[[source]]\nkind = "serial"\nport = [{path = "a", sensor = "p"}]\n',
        '[[source]]\nport = [\n{path = "x"}]\n[[source]]\n[[source.port]]\nsensor = "p"\n',
        'x = """\n[[source]]\n[[source.port]]\nsensor = "p"\n"""\n[[source]]\nkind = "serial"\n',
        '[[source]]\n[[source.port]]\n"sensor" = "p"\n',
        "not toml",
    ],
)
def test_a_file_written_in_another_way_is_left_alone(tmp_path, text):
    assert with_values(text, (0, 0, "", 0), VALUES) is None
    path = tmp_path / "edge.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"put into it: counts_per_g = 420\.5, tare_g = -3\.25"):
        write_values(path, (0, 0, "", 0), VALUES)
    assert [path] == list(tmp_path.iterdir())
    assert path.read_text("utf-8") == text


def test_mode_link_and_every_old_file_are_kept(tmp_path):
    real = tmp_path / "real.toml"
    real.write_text(TEXT, "utf-8")
    real.chmod(0o640)
    link = tmp_path / "edge.toml"
    link.symlink_to(real)
    first = write_values(link, (1, 0, "", 0), VALUES)
    second = write_values(link, (1, 0, "", 0), {"tare_g": 1.0})
    assert [tmp_path / "real.toml.bak", tmp_path / "real.toml.bak1"] == [first, second]
    assert first.read_text("utf-8") == TEXT
    assert link.is_symlink()
    assert [0o640] * 3 == [stat.S_IMODE(f.stat().st_mode) for f in (real, first, second)]
    assert table(real.read_text("utf-8"), (1, 0, "", 0))["tare_g"] == 1.0


def test_a_disk_that_refuses_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "edge.toml"
    path.write_text(TEXT, "utf-8")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge.calibrate_file.os.fchown", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_values(path, (1, 0, "", 0), VALUES)
    assert path.read_text("utf-8") == TEXT
    assert sorted(p.name for p in tmp_path.iterdir()) == ["edge.toml", "edge.toml.bak"]


def test_a_file_that_cannot_be_replaced_is_refused_before(tmp_path, monkeypatch):
    path = tmp_path / "edge.toml"
    path.write_text(TEXT, "utf-8")
    refuse_unwritable(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="expected a file that this user may write"):
        refuse_unwritable(path)
