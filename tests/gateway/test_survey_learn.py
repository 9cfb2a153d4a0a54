"""`fanous survey learn`: traffic becomes a map, or a sentence says why not."""

import argparse
import json

import numpy as np
import pytest

from analytics.cells import build_cells
from gateway import survey
from ingest.config import ConfigError
from ingest.radio_map_file import read_radio_map, read_radio_map_parts
from ingest.store_file import read_store
from tests.gateway.recordings import (
    T0,
    readings_rows,
    write_lines,
    write_readings,
    write_recording,
)
from tests.ingest.small_store import STORE

TAGS = ("name:bo", "name:cleo", "name:dan")


@pytest.fixture
def recording(tmp_path):
    folder = write_recording(tmp_path)
    write_readings(folder / "readings.csv", drifted(readings_rows(tags=TAGS)))
    return folder


def drifted(rows, *, receiver="rx-1", loss_db=12.0, before_s=60):
    """Make a receiver weaker until some second."""
    found = []
    for row in rows:
        t_ns, name, tag, rssi = row.split(",")
        weak = name == receiver and int(t_ns) < T0 + before_s * 10**9
        found.append(f"{t_ns},{name},{tag},{float(rssi) - (loss_db if weak else 0):.2f}")
    return found


def run(folder, *words):
    parser = argparse.ArgumentParser()
    survey.configure(parser)
    return survey.run(parser.parse_args([str(word) for word in words]))


def learn(folder, *more, readings="readings.csv", out="learned.npz"):
    words = [folder / readings, "--store", folder / "store.toml", "--out", folder / out]
    return run(folder, "learn", *words, *more)


def fitted(folder):
    words = [folder / "survey.csv", "--store", folder / "store.toml", "--out", folder / "map.npz"]
    assert 0 == run(folder, "fit", *words)
    return folder / "map.npz"


def test_without_a_survey_a_map_is_learned_and_told(recording, capsys):
    assert 0 == learn(recording)
    told = capsys.readouterr().out.splitlines()
    assert ["receiver", "rx-1", "rx-2", "rx-3"] == [line.split()[0] for line in told[:4]]
    assert ["180"] * 3 == [line.split()[1] for line in told[1:4]]
    moved = [float(line.split()[2]) for line in told[1:4]]
    assert moved.index(min(moved)) == 0
    assert told[4].startswith("3 tracks, 180 ticks; the last fifth is predicted with ")
    assert told[5] == f"written to {recording / 'learned.npz'}"
    store = read_store(recording / "store.toml")
    points, known = read_radio_map_parts(recording / "learned.npz", store)
    assert points is None
    assert known.p0_dbm is not None
    found = read_radio_map(recording / "learned.npz", store, build_cells(store))
    assert "learned" == found.source
    assert np.isfinite(found.mean_dbm).all()


def test_with_a_survey_the_survey_stays_in_the_file_and_the_moved_receiver_is_named(
    recording, capsys
):
    radio_map = fitted(recording)
    capsys.readouterr()
    assert 0 == learn(recording, "--radio-map", radio_map, "--json")
    said = json.loads(capsys.readouterr().out)
    assert (True, "survey", 3) == (said["accepted"], said["anchor"], said["tracks"])
    assert said["held_out"]["after_nats"] > said["held_out"]["before_nats"]
    moved = {row["receiver"]: row["moved_db"] for row in said["receivers"]}
    assert "rx-1" == min(moved, key=moved.get)
    assert moved["rx-1"] < -1
    store = read_store(recording / "store.toml")
    before, _ = read_radio_map_parts(radio_map, store)
    after, known = read_radio_map_parts(recording / "learned.npz", store)
    assert np.array_equal(before.rssi_dbm, after.rssi_dbm)
    assert known.p0_dbm is None
    assert len(known.x_m) > 0


def test_a_learned_map_can_be_used_and_learned_from_again(recording, capsys):
    radio_map = fitted(recording)
    assert 0 == learn(recording, "--radio-map", radio_map)
    again = learn(recording, "--radio-map", recording / "learned.npz", out="again.npz")
    # The same traffic again gives the same map from the same anchor: nothing gained.
    assert again in {0, 1}
    picture = recording / "page.svg"
    words = ["--store", recording / "store.toml", "--radio-map", recording / "learned.npz"]
    assert 0 == run(recording, "check", *words, "--out", picture)


def test_same_traffic_in_another_order_gives_the_same_bytes_inside(recording):
    assert 0 == learn(recording)
    rows = drifted(readings_rows(tags=TAGS))
    write_readings(recording / "mixed.csv", rows[::-1] + rows[::2])
    assert 0 == learn(recording, readings="mixed.csv", out="mixed.npz")
    with (
        np.load(recording / "learned.npz") as one,
        np.load(recording / "mixed.npz") as two,
    ):
        assert sorted(one) == sorted(two)
        for name in one:
            assert np.array_equal(one[name], two[name]), name


def test_a_map_that_predicts_worse_is_not_written(recording, capsys):
    radio_map = fitted(recording)
    rows = drifted(readings_rows(tags=TAGS), loss_db=25, before_s=48)
    write_readings(recording / "broken.csv", rows)
    capsys.readouterr()
    assert 1 == learn(recording, "--radio-map", radio_map, "--json", readings="broken.csv")
    told = capsys.readouterr()
    assert "not written: the learned map predicts the last fifth of the traffic no better" in (
        told.err
    )
    said = json.loads(told.out)
    assert (False, None, []) == (said["accepted"], said["out"], said["receivers"])
    assert not (recording / "learned.npz").exists()


def test_taps_and_staff_are_taken_as_they_are_meant(recording, capsys):
    rows = drifted(readings_rows(tags=(*TAGS, "name:anna")))
    write_readings(recording / "staff.csv", rows)
    assert 0 == learn(recording, "--json", "--taps", recording / "taps.csv", readings="staff.csv")
    assert 3 == json.loads(capsys.readouterr().out)["tracks"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "at least 60 ticks of tags heard by receivers of store 'shop', got 0"),
        (["1,rx-9,name:bo,-60"] * 90, "got 0; record more traffic"),
        (readings_rows(seconds=20), "got 40; record more traffic"),
        ([f"{T0 + 60 * n * 10**9},rx-1,name:bo,-60" for n in range(90)], "got 0; record more"),
        (
            [f"{T0 + n * 10**9},rx-1,name:t{tag},-60" for n in range(5) for tag in range(14)],
            "pieces too short to learn from",
        ),
    ],
)
def test_too_little_traffic_is_refused(recording, rows, words):
    write_readings(recording / "few.csv", rows)
    with pytest.raises(ConfigError, match=words):
        learn(recording, readings="few.csv")
    assert not (recording / "learned.npz").exists()


def test_unknown_receivers_are_told_and_the_others_used(recording, capsys):
    rows = [*drifted(readings_rows(tags=TAGS)), f"{T0},rx-9,name:bo,-60"]
    write_readings(recording / "more.csv", rows)
    assert 0 == learn(recording, readings="more.csv")
    assert "dropped 1 row: unknown receiver 'rx-9'" in capsys.readouterr().err


def test_two_receivers_are_refused(recording):
    cut = STORE.index('[[receiver]]\nid = "rx-3"')
    text = STORE[:cut] + STORE[STORE.index("[[zone]]", cut) :]
    (recording / "store.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="at least 3 receivers to learn from, got 2"):
        learn(recording)


def test_a_floor_without_room_is_refused(recording):
    text = STORE + "\n[[obstacle]]\npolygon_m = [[0, 0], [8, 0], [8, 6], [0, 6]]\n"
    (recording / "store.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a floor with room to walk"):
        learn(recording)


def test_an_existing_map_stays_without_force(recording):
    (recording / "learned.npz").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="--force"):
        learn(recording)
    assert b"mine" == (recording / "learned.npz").read_bytes()
    assert 0 == learn(recording, "--force")


def test_a_map_of_other_receivers_is_refused(recording):
    header = "x_m,y_m,z_m,receiver,rssi_dbm,count"
    write_lines(recording / "other.npz", header, [])
    with pytest.raises(ConfigError, match="no radio map, or a damaged one"):
        learn(recording, "--radio-map", recording / "other.npz")
