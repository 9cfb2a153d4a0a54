"""`fanous survey check`: the picture is whole, holes and idle receivers are named."""

import argparse
import dataclasses
import json
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pytest

from gateway import survey
from ingest.config import ConfigError
from tests.analytics.two_floors import store_file, two_floors
from tests.gateway.recordings import (
    RECEIVERS,
    T0,
    survey_rows,
    write_lines,
    write_readings,
    write_recording,
)

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


HALL = """
schema = "fanous.store/1"
id = "hall"
timezone = "Europe/Berlin"
outline_m = [[0, 0], [12, 0], [12, 8], [0, 8]]
"""
PLACES = ((1, 1), (6, 1), (11, 1), (1, 7), (6, 7), (11, 7))


def hall(folder, *, shift_db=0.0, silent=None, tags=8, seconds=90, power_dbm=-52.0):
    """Write a hall, its survey, and traffic in which rx-3 hears otherwise; return the map."""
    rng = np.random.default_rng(4)
    names = [f"rx-{i + 1}" for i in range(len(PLACES))]
    receivers = "".join(
        f'[[receiver]]\nid = "{name}"\nposition_m = [{x}, {y}, 2.5]\n'
        for name, (x, y) in zip(names, PLACES, strict=True)
    )
    (folder / "store.toml").write_text(HALL + receivers, encoding="utf-8")

    def level(x, y, name, base_dbm):
        rx, ry = PLACES[names.index(name)]
        return base_dbm - 20 * np.log10(max(np.sqrt((x - rx) ** 2 + (y - ry) ** 2 + 1.7), 0.5))

    survey_file = [
        f"{x},{y},1.2,{name},{level(x, y, name, -58):.1f},3"
        for x in np.arange(0.5, 12, 1.0)
        for y in np.arange(0.5, 8, 1.0)
        for name in names
    ]
    readings = []
    for tag in range(tags):
        at, goal, power = rng.uniform(1, 7, 2), rng.uniform((0, 0), (12, 8)), rng.normal(0, 4)
        for second in range(seconds):
            way = goal - at
            far = float(np.hypot(*way))
            at = at + way * min(1.0, 0.9 / max(far, 1e-9))
            goal = rng.uniform((0.3, 0.3), (11.7, 7.7)) if far < 1 else goal
            for name in names:
                if name == silent:
                    continue
                rssi = level(*at, name, power_dbm + power) + rng.normal(0, 4)
                rssi += shift_db if name == "rx-3" else 0
                readings.append(f"{T0 + second * 10**9 + tag},{name},name:t{tag},{rssi:.1f}")
    write_readings(folder / "traffic.csv", readings)
    return fitted(folder, survey_file)


@pytest.mark.parametrize("shift_db", [-8.0, 8.0])
def test_a_receiver_that_moved_since_the_survey_is_named(tmp_path, capsys, shift_db):
    radio_map = hall(tmp_path, shift_db=shift_db)
    words = ["--radio-map", radio_map, "--readings", tmp_path / "traffic.csv"]
    capsys.readouterr()
    assert 0 == check(tmp_path, "--json", *words)
    said = json.loads(capsys.readouterr().out)
    assert ["rx-3"] == [row["receiver"] for row in said["receivers"] if row["moved"]]
    for row in said["receivers"]:
        expected = shift_db if row["receiver"] == "rx-3" else 0.0
        assert expected == pytest.approx(row["offset_db"], abs=1.5)
        assert 0 < row["offset_sd_db"] < 2
        assert 720 == row["readings"]
    assert 0 == check(tmp_path, "--force", *words)
    told = capsys.readouterr().out
    less = "less" if shift_db < 0 else "more"
    assert f" dB {less} than in the survey: turned, moved or shaded; survey it again" in told
    assert 1 == told.count("turned, moved or shaded")
    assert "against the survey" in told
    picture = (tmp_path / "page.svg").read_text(encoding="utf-8")
    assert 1 == picture.count('fill="#7b2cbf"')
    assert f"rx-3 hears {abs(said['receivers'][2]['offset_db']):.1f} dB {less}" in picture


def test_receivers_that_stayed_are_left_alone_and_a_silent_one_is_told(tmp_path, capsys):
    radio_map = hall(tmp_path, silent="rx-5")
    words = ["--radio-map", radio_map, "--readings", tmp_path / "traffic.csv"]
    capsys.readouterr()
    assert 0 == check(tmp_path, *words)
    told = capsys.readouterr().out
    assert "rx-5 heard nothing in this traffic: is it running?" in told
    assert "turned, moved or shaded" not in told
    picture = (tmp_path / "page.svg").read_text(encoding="utf-8")
    assert (0, 1) == (picture.count('fill="#7b2cbf"'), picture.count('fill="#000000"'))
    assert 0 == check(tmp_path, "--force", "--json", *words)
    silent = json.loads(capsys.readouterr().out)["receivers"][4]
    assert (0, None, None, False) == tuple(
        silent[name] for name in ("readings", "offset_db", "offset_sd_db", "moved")
    )


def test_without_a_survey_no_receiver_can_have_moved(tmp_path, capsys):
    hall(tmp_path, shift_db=-9.0)
    capsys.readouterr()
    assert 0 == check(tmp_path, "--readings", tmp_path / "traffic.csv")
    told = capsys.readouterr().out
    assert "against geometry" in told
    assert "turned, moved or shaded" not in told


def test_without_readings_nothing_is_said_of_offsets(recording, capsys):
    assert 0 == check(recording, "--json")
    rows = json.loads(capsys.readouterr().out)["receivers"]
    assert all("offset_db" not in row for row in rows)


def test_too_little_traffic_to_judge_is_refused(recording):
    write_readings(recording / "few.csv", [])
    with pytest.raises(ConfigError, match="expected at least 60 ticks"):
        check(recording, "--readings", recording / "few.csv")


def test_after_learning_the_map_has_followed_the_receiver(tmp_path, capsys):
    radio_map = hall(tmp_path, shift_db=-8.0, tags=12)
    learned = tmp_path / "learned.npz"
    words = ["--store", tmp_path / "store.toml", "--radio-map", radio_map, "--out", learned]
    capsys.readouterr()
    assert 0 == run("learn", tmp_path / "traffic.csv", *words, "--json")
    said = json.loads(capsys.readouterr().out)
    assert "survey" == said["anchor"]
    assert said["held_out"]["after_nats"] > said["held_out"]["before_nats"]
    moved = {row["receiver"]: row["moved_db"] for row in said["receivers"]}
    assert -8 == pytest.approx(moved.pop("rx-3"), abs=2)
    assert max(map(abs, moved.values())) < 2
    words = ["--radio-map", learned, "--readings", tmp_path / "traffic.csv"]
    assert 0 == check(tmp_path, "--json", *words)
    rows = json.loads(capsys.readouterr().out)["receivers"]
    assert not any(row["moved"] for row in rows)
    assert 0 == pytest.approx(rows[2]["offset_db"], abs=2)


def test_each_square_is_drawn_on_its_own_floor_alone(tmp_path, capsys):
    (tmp_path / "store.toml").write_text(store_file(two_floors()), encoding="utf-8")
    assert 0 == check(tmp_path, "--json")
    said = json.loads(capsys.readouterr().out)
    root = ET.fromstring((tmp_path / "page.svg").read_text(encoding="utf-8"))
    squares = [p for p in root.iter(f"{SVG}polygon") if p.get("class") == "square"]
    assert said["cells"] == len(squares) == 256  # 16 × 8, twice
    # Panels have frames of their own: the same corners once on each floor.
    assert {2} == set(Counter(square.get("points") for square in squares).values())


def test_a_hole_tells_its_floor(tmp_path, capsys):
    store = two_floors()
    few = tuple(r for r in store.receivers if r.floor == "0" or r.id in ("rx-10", "rx-11"))
    weak = (dataclasses.replace(r, offset_db=-6.0 if r.floor == "0" else 0.0) for r in few)
    text = store_file(dataclasses.replace(store, receivers=tuple(weak)))
    (tmp_path / "store.toml").write_text(text, encoding="utf-8")
    assert 0 == check(tmp_path, "--json")
    holes = json.loads(capsys.readouterr().out)["holes"]
    assert {"1"} == {floor for _, _, floor in holes}
    assert 0 == check(tmp_path, "--force")
    assert ") on floor 1, (" in capsys.readouterr().out
