"""`fanous survey fit`: a survey becomes a radio map, or a sentence says why not."""

import argparse
import gzip
import json

import pytest

from analytics.cells import build_cells
from gateway import survey
from ingest.config import ConfigError
from ingest.radio_map_file import read_radio_map
from ingest.store_file import read_store
from tests.gateway.recordings import survey_rows, write_lines, write_recording

HEADER = "x_m,y_m,z_m,receiver,rssi_dbm,count"


@pytest.fixture
def recording(tmp_path):
    return write_recording(tmp_path)


def fit(folder, *more, source="survey.csv", out="map.npz"):
    parser = argparse.ArgumentParser()
    survey.configure(parser)
    words = ["fit", str(folder / source), "--store", str(folder / "store.toml")]
    return survey.run(parser.parse_args([*words, "--out", str(folder / out), *more]))


def test_a_survey_becomes_a_map(recording, capsys):
    assert 0 == fit(recording)
    told = capsys.readouterr().out
    assert ["receiver", "rx-1", "rx-2", "rx-3", "written"] == [
        line.split()[0] for line in told.splitlines()
    ]
    store = read_store(recording / "store.toml")
    assert "survey" == read_radio_map(recording / "map.npz", store, build_cells(store)).source


def test_as_json(recording, capsys):
    assert 0 == fit(recording, "--json")
    found = json.loads(capsys.readouterr().out)
    assert ("shop", ["rx-1", "rx-2", "rx-3"]) == (
        found["store"],
        [row["receiver"] for row in found["receivers"]],
    )
    assert 48 * 3 == found["receivers"][0]["readings"]
    assert all(1.5 < row["exponent"] < 4 for row in found["receivers"])


def test_bad_rows_are_told(recording, capsys):
    rows = [
        *survey_rows(),
        "1,1,,rx-9,-60,1",
        "1,1,,rx-1,loud,1",
        "1,1,,rx-1,42,1",
        "x,1,,rx-1,-6,1",
    ]
    write_lines(recording / "survey.csv", HEADER, rows)
    assert 0 == fit(recording)
    told = capsys.readouterr().err
    for sentence in [
        "dropped 1 row: unknown receiver 'rx-9'",
        "dropped 2 rows: impossible survey RSSI",
        "dropped 1 row: impossible survey place",
    ]:
        assert 1 == told.count(sentence)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no receiver of this store with four places or more"),
        (["1,1,,rx-1,-60,1"] * 9, "no receiver of this store with four places or more"),
        ([f"{n},1,,rx-9,-60,1" for n in range(9)], "no receiver of this store with four places"),
    ],
)
def test_a_survey_of_nothing_is_refused(recording, rows, words):
    write_lines(recording / "survey.csv", HEADER, rows)
    with pytest.raises(ConfigError, match=words):
        fit(recording)
    assert not (recording / "map.npz").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("s.csv", b"", "the file is empty"),
        ("s.csv", b"this is a letter, not a survey\n", "column 'x_m' is missing"),
        ("s.csv.gz", b"plain", "not gzip, or cut off"),
        ("s.csv.gz", gzip.compress(b"x_m,y_m\n" * 500, mtime=0)[:30], "not gzip, or cut off"),
        ("s.npz", b"PK\x03\x04" + bytes(99), "expected a name ending in .csv"),
    ],
)
def test_an_unreadable_survey_is_refused(recording, name, content, words):
    (recording / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        fit(recording, source=name)
    assert words in str(error.value)
    assert not (recording / "map.npz").exists()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("map.zip", "expected a name ending in .npz"),
        ("none/map.npz", "cannot be written"),
        ("store.toml/map.npz", "cannot be written"),
    ],
)
def test_a_wrong_place_is_refused_before_the_survey_is_read(recording, out, words):
    with pytest.raises(ConfigError) as error:
        fit(recording, source="none.csv", out=out)
    assert words in str(error.value)


def test_an_existing_map_stays_without_force(recording):
    (recording / "map.npz").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="--force"):
        fit(recording)
    assert b"mine" == (recording / "map.npz").read_bytes()
    assert 0 == fit(recording, "--force")
    assert b"mine" != (recording / "map.npz").read_bytes()
