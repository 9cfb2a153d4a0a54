"""The program as a person meets it: wrong input gives a sentence and an exit code, no traceback."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.analyze import PORTION_TICKS
from ingest.identifiers import is_pseudonym
from tests.gateway.recordings import T0, readings_rows, write_lines, write_readings, write_recording
from tests.ingest.small_store import STORE

SECONDS = 60
ANALYZE = ("analyze", "readings.csv", "--store", "store.toml", "--out", "out")
FIT = ("survey", "fit", "survey.csv", "--store", "store.toml", "--out", "map.npz")
CHECK = ("store", "check", "store.toml")


def command(*words):
    return [sys.executable, "-m", "fanous", *words]


def fanous(folder, *words, **more):
    return subprocess.run(
        command(*words),
        cwd=folder,
        capture_output=not more,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        **more,
    )


def refused(folder, *words):
    """Run something wrong; return its one sentence."""
    done = fanous(folder, *words)
    assert 2 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    assert "" == done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("fanous")
    return last


@pytest.fixture
def folder(tmp_path):
    return write_recording(tmp_path)


def change_store(folder, old, new):
    assert old in STORE
    (folder / "store.toml").write_text(STORE.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('id = "shop"', 'id = "shop"\nnaem = "Shop"', "unknown key 'naem' (did you mean 'name'?)"),
        ('"rx-2"', '"rx-1"', "receiver id 'rx-1' is used more than once"),
        ("[4, 0], [4, 6], [0, 6]]", "[4, 6], [4, 0], [0, 6]]", "that does not cross itself"),
        ("position_m = [0.0, 0.0, 2.5]", "", "expected the key 'position_m', which is missing"),
        ("[0.0, 0.0, 2.5]", "[nan, 0.0, 2.5]", "receiver 'rx-1': position_m: expected [x, y, z]"),
        ("[[4, 0], [8, 0]", "[[3, 0], [8, 0]", "zones 'left' and 'right' of layer 'main' overlap"),
        ('zone = "left"', 'zone = "lfet"', "the id of a zone, got 'lfet' (did you mean 'left'?)"),
        ('["plate-1"]', '["plate-2"]', "a sensor of this shelf, got 'plate-2'"),
        ("Europe/Berlin", "Europe/Brelin", "(did you mean 'Europe/Berlin'?)"),
        ("fanous.store/1", "fanous.store/9", "schema: expected 'fanous.store/1'"),
        (
            "schema =",
            "schema",
            "not valid TOML: Expected '=' after a key in a key/value pair (at l",
        ),
    ],
)
def test_a_wrong_store_file_is_refused_by_every_command(folder, old, new, words):
    change_store(folder, old, new)
    for verb in (CHECK, ANALYZE, FIT):
        sentence = refused(folder, *verb)
        assert words in sentence
        assert "store.toml" in sentence
    assert not (folder / "out").exists()
    assert not (folder / "map.npz").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("readings.csv", b"", "readings.csv: the file is empty (0 bytes)"),
        ("readings.csv", b"t_ns,receiver,tag\n1,rx-1,name:bo\n", "column 'rssi_dbm' is missing"),
        (
            "readings.csv.gz",
            gzip.compress(b"t_ns,receiver\n" * 99, mtime=0)[:25],
            "not gzip, or cut off",
        ),
        ("readings.parquet", b"PAR1 and nothing more", "not Parquet, or cut off"),
        ("readings.jsonl", b"t_ns,receiver\n", "expected one JSON object per line"),
        ("readings.txt", b"t_ns,receiver,tag,rssi_dbm\n", "expected a name ending in .csv"),
        ("none.csv", None, "none.csv: cannot be read (No such file or directory)"),
    ],
)
def test_unreadable_readings(folder, name, content, words):
    if content is not None:
        (folder / name).write_bytes(content)
    assert words in refused(folder, "analyze", name, *ANALYZE[2:])
    assert not (folder / "out").exists()


def test_a_directory_in_the_place_of_a_file(folder):
    (folder / "d.csv").mkdir()
    sentence = refused(folder, "analyze", "d.csv", *ANALYZE[2:])
    assert "expected files named readings, taps or samples, or directories of days" in sentence
    assert "Is a directory" in refused(folder, "store", "check", "d.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Dear shop, here is the survey.\n", "column 'x_m' is missing"),
        (b"PK\x03\x04" + bytes(200), "column 'x_m' is missing"),
        (b"x_m,y_m,z_m,receiver,rssi_dbm,count\n", "no receiver of this store with four places"),
        (b"", "the file is empty"),
    ],
)
def test_an_unreadable_survey(folder, content, words):
    (folder / "survey.csv").write_bytes(content)
    assert words in refused(folder, *FIT)


def test_a_garbage_radio_map(folder):
    (folder / "map.npz").write_bytes(b"PK\x03\x04" + bytes(500))
    assert "no radio map" in refused(folder, *ANALYZE, "--radio-map", "map.npz")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--workers", "0"), "--workers: expected 1 or more, got 0"),
        (("--workers", "many"), "invalid int value: 'many'"),
        (("--key-file", "none"), "key file none: cannot be read"),
        (("--key-file", "short"), "key file short: expected 16 to 64 bytes, got 5"),
        (("--identity", "naked"), "invalid choice: 'naked'"),
        (("--taps", "survey.csv"), "survey.csv: column 't_ns' is missing"),
        (("--bogus",), "unrecognized arguments: --bogus"),
    ],
)
def test_wrong_arguments(folder, words, sentence):
    (folder / "short").write_bytes(b"12345")
    assert sentence in refused(folder, *ANALYZE, *words)
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("store.toml", "expected a directory, found a file"),
        ("store.toml/out", "cannot be written"),
        ("/proc/self/out", "cannot be written"),
    ],
)
def test_an_output_that_cannot_be(folder, out, words):
    assert words in refused(folder, *ANALYZE[:-1], out)
    assert STORE == (folder / "store.toml").read_text(encoding="utf-8")


def test_an_existing_output_stays(folder):
    assert 0 == fanous(folder, *ANALYZE).returncode
    before = (folder / "out" / "positions.parquet").read_bytes()
    assert "say --force" in refused(folder, *ANALYZE)
    assert before == (folder / "out" / "positions.parquet").read_bytes()
    assert 0 == fanous(folder, *ANALYZE, "--force").returncode
    assert 0 == fanous(folder, *FIT).returncode
    assert "say --force" in refused(folder, *FIT)


def test_bad_rows_among_good_ones(folder):
    bad = [f"{T0},rx-9,name:bo,-61"] * 2 + [f"{T0},rx-1,name:bo,{x}" for x in ("nan", "x", "42")]
    bad += ["soon,rx-1,name:bo,-61", f"{T0},rx-1,Bo the wearer,-61", f"{T0},rx-1"]
    write_readings(folder / "readings.csv", [*readings_rows(), *bad])
    done = fanous(folder, *ANALYZE)
    assert (0, "") == (done.returncode, done.stdout)
    assert {
        "dropped 2 rows: unknown receiver 'rx-9'",
        "dropped 2 rows: RSSI is not a number",
        "dropped 1 row: RSSI outside -120 to +20 dBm",
        "dropped 1 row: unreadable time",
        "dropped 1 row: not a tag or pseudonym",
        "dropped 1 row: broken line (too few or too many cells, or no JSON object)",
    } == set(re.findall("dropped .*", done.stderr))
    assert "wearer" not in done.stderr
    assert 360 == json.loads((folder / "out" / "summary.json").read_text())["readings"]


def test_a_header_alone_is_done(folder):
    write_readings(folder / "readings.csv", [])
    done = fanous(folder, *ANALYZE, "--format", "csv")
    assert 0 == done.returncode
    assert 12 == len(list((folder / "out").glob("*.csv")))
    assert all(1 == path.read_text().count("\n") for path in (folder / "out").glob("*.csv"))


def test_a_store_without_zones_and_raw_identity(folder):
    change_store(folder, STORE[STORE.index("[[zone]]") :], "")
    done = fanous(folder, *ANALYZE, "--identity", "raw", "--format", "csv")
    assert 0 == done.returncode
    assert "--identity raw" in done.stderr
    rows = (folder / "out" / "positions.csv").read_text().splitlines()[1:]
    assert rows
    assert all('"name:' in row and ',"main",,"outside",' in row for row in rows)


def test_pseudonyms_have_their_form(folder):
    assert 0 == fanous(folder, *ANALYZE, "--format", "csv").returncode
    rows = (folder / "out" / "positions.csv").read_text().splitlines()[1:]
    assert all(is_pseudonym(row.split(",")[1].strip('"')) for row in rows)


@pytest.mark.parametrize(
    ("words", "code"), [((), 2), (("analyse",), 2), (("--help",), 0), (("analyze", "--help"), 0)]
)
def test_help_and_unknown_verbs(tmp_path, words, code):
    done = fanous(tmp_path, *words)
    assert code == done.returncode
    assert "Traceback" not in done.stderr
    assert "usage: fanous" in (done.stderr if code else done.stdout)
    assert "" == (done.stdout if code else done.stderr)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_left_is_no_news(folder, monkeypatch, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        for words in (CHECK, ("--help",)):
            done = fanous(folder, *words, stdout=writing, stderr=subprocess.PIPE)
            assert "" == done.stderr
            # argparse itself swallows what an unbuffered stdout says.
            assert done.returncode == (0 if unbuffered and words[0] == "--help" else 1)
    finally:
        os.close(writing)


def test_a_full_disk_is_told(folder):
    with open("/dev/full", "w") as full:
        done = fanous(folder, *CHECK, stdout=full, stderr=subprocess.PIPE)
    assert (1, "fanous store: No space left on device\n") == (done.returncode, done.stderr)


def test_ctrl_c_ends_with_130_and_leaves_nothing(folder):
    # An hour for one tag takes seconds; the remark comes before the work.
    hour = [f"{T0 + n * 10**9},rx-1,name:bo,-{50 + n % 20}" for n in range(36 * PORTION_TICKS)]
    write_lines(folder / "readings.csv", "t_ns,receiver,tag,rssi_dbm", hour)
    # A shell's background job ignores Ctrl-C, and so would everything that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command(*ANALYZE), cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        told = ""
        while "no radio map" not in told:
            line = running.stderr.readline()
            assert line, told
            told += line
        running.send_signal(signal.SIGINT)
        out, rest = running.communicate(timeout=SECONDS)
    assert (130, "", "fanous analyze: interrupted\n") == (running.returncode, out, rest)
    assert not (folder / "out").exists()
