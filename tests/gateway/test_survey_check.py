"""`fanous survey check`: the picture is whole, holes and idle receivers are named."""

import argparse
import json
import xml.etree.ElementTree as ET

import pytest

from gateway import survey
from ingest.config import ConfigError
from tests.gateway.recordings import RECEIVERS, survey_rows, write_lines, write_recording

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def recording(tmp_path):
    return write_recording(tmp_path)


def run(*words):
    parser = argparse.ArgumentParser()
    survey.configure(parser)
    return survey.run(parser.parse_args([str(word) for word in words]))


def check(folder, *more, out="page.svg"):
    return run("check", "--store", folder / "store.toml", "--out", folder / out, *more)


def fitted(folder, rows):
    write_lines(folder / "survey.csv", "x_m,y_m,z_m,receiver,rssi_dbm,count", rows)
    words = ["--store", folder / "store.toml", "--out", folder / "map.npz", "--force"]
    assert 0 == run("fit", folder / "survey.csv", *words)
    return folder / "map.npz"


def weaker(rows, **loss_db):
    found = []
    for row in rows:
        x, y, z, name, rssi, count = row.split(",")
        loss = loss_db.get(name.replace("-", "_"), 0.0)
        found.append(f"{x},{y},{z},{name},{float(rssi) - loss},{count}")
    return found


def test_the_picture_shows_every_walkable_cell_within_the_plan(recording, capsys):
    assert 0 == check(recording, "--json")
    said = json.loads(capsys.readouterr().out)
    root = ET.fromstring((recording / "page.svg").read_text(encoding="utf-8"))
    squares = [p for p in root.iter(f"{SVG}polygon") if p.get("class") == "square"]
    assert said["cells"] == len(squares) == 46  # 8 × 6 less the board's 2
    outline = next(p for p in root.iter(f"{SVG}polygon") if p.get("class") == "outline")
    corners = [tuple(map(float, c.split(","))) for c in outline.get("points").split()]
    for square in squares:
        for corner in square.get("points").split():
            x, y = map(float, corner.split(","))
            assert min(c[0] for c in corners) - 0.2 <= x <= max(c[0] for c in corners) + 0.2
            assert min(c[1] for c in corners) - 0.2 <= y <= max(c[1] for c in corners) + 0.2
    text = (recording / "page.svg").read_text(encoding="utf-8")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "3 receivers above -90 dBm, expected error" in text


def test_without_a_map_it_says_so(recording, capsys):
    assert 0 == check(recording)
    told = capsys.readouterr().out
    assert told.startswith("no radio map: this shows what geometry alone promises\n")
    assert "0 of 46 cells are heard by fewer than 3 receivers\n" in told
    assert "contributes nothing" not in told


def test_a_deaf_receiver_contributes_nothing_and_leaves_holes(recording, capsys):
    radio_map = fitted(recording, weaker(survey_rows(), rx_2=50.0))
    capsys.readouterr()
    assert 0 == check(recording, "--radio-map", radio_map)
    told = capsys.readouterr().out
    idle = [line for line in told.splitlines() if "contributes nothing" in line]
    assert ["rx-2"] == [line.split()[0] for line in idle]
    assert "46 of 46 cells are heard by fewer than 3 receivers: (0.5, 0.5), " in told
    assert "#d62828" in (recording / "page.svg").read_text(encoding="utf-8")


def test_as_json(recording, capsys):
    radio_map = fitted(recording, survey_rows())
    capsys.readouterr()
    assert 0 == check(recording, "--json", "--radio-map", radio_map)
    said = json.loads(capsys.readouterr().out)
    assert ("shop", "survey", []) == (said["store"], said["radio_map"], said["holes"])
    assert list(RECEIVERS) == [row["receiver"] for row in said["receivers"]]
    assert all(row["gain"] > 0.005 and not row["idle"] for row in said["receivers"])
    assert 0.3 < said["error_m"]["median"] <= said["error_m"]["p90"] < 6


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("page.png", "expected a name ending in .svg"),
        ("none/page.svg", "cannot be written"),
        ("folder.svg", "expected a file, found a directory"),
        ("mine.svg", "--force"),
    ],
)
def test_a_wrong_place_is_refused(recording, out, words):
    (recording / "folder.svg").mkdir()
    (recording / "mine.svg").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        check(recording, out=out)
    assert "mine" == (recording / "mine.svg").read_text(encoding="utf-8")


def test_an_existing_picture_is_overwritten_by_force(recording):
    (recording / "page.svg").write_text("mine", encoding="utf-8")
    assert 0 == check(recording, "--force")
    assert "<svg" in (recording / "page.svg").read_text(encoding="utf-8")
