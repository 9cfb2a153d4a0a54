"""`fanous replay` over an archive: found by names, day by day, with the taps' proofs."""

import argparse
from collections import Counter

import numpy as np
import pytest

from ingest.batch import Columns
from ingest.config import ConfigError
from ingest.files import write_columns
from simulators import replay
from simulators.publisher import Played
from simulators.routing import find_routes

DAY = 86_400_000_000_000
TAG = "p_abcdefghijklmnop"


def part(place, day, name, **columns):
    folder = place / f"1970-01-0{day + 1}"
    folder.mkdir(parents=True, exist_ok=True)
    write_columns(folder / f"{name}.parquet", columns)


def readings(place, day, name, *seconds):
    part(
        place,
        day,
        name,
        t_ns=np.array([day * DAY + second * 1_000_000_000 for second in seconds]),
        receiver=["rx-1"] * len(seconds),
        tag=[TAG] * len(seconds),
        rssi_dbm=[-60.0] * len(seconds),
    )


@pytest.fixture
def archive(tmp_path):
    place = tmp_path / "archive" / "demo"
    readings(place, 2, "readings-5-6", 3, 1)
    readings(place, 1, "readings-1-4", 7)
    readings(place, 2, "readings-7-7", 2)
    return place


@pytest.fixture
def played(monkeypatch, store, tmp_path):
    """Run the command with everything but the sending; return the steps and the exit code."""
    steps = []

    async def play(given, *_args, **_more):
        steps.extend(given)
        return Played(batches=len(steps), acked=len(steps), rows={})

    monkeypatch.setattr(replay, "play", play)
    monkeypatch.setattr(replay, "read_store", lambda _path: store)

    def run(*paths):
        parser = argparse.ArgumentParser()
        replay.configure(parser)
        words = [*map(str, paths), "--store", "store.toml", "--mqtt", "mqtt://127.0.0.1:1"]
        return steps, replay.run(parser.parse_args(words))

    return run


def seconds(steps):
    return [
        t_ns // 1_000_000_000
        for step in steps
        for rows in step.rows
        for t_ns in rows.columns["t_ns"]
    ]


def test_an_archive_is_played_day_by_day_in_order_of_time(archive, played, capsys):
    steps, code = played(archive)
    day_s = DAY // 1_000_000_000
    assert ([day_s + 7, 2 * day_s + 1, 2 * day_s + 2, 2 * day_s + 3], 0) == (seconds(steps), code)
    told = capsys.readouterr().err
    assert "day 1 of 2: 1 files" in told
    assert "day 2 of 2: 2 files" in told


def test_one_day_of_it_and_two_directories_of_one_day(archive, played, tmp_path):
    readings(tmp_path / "more", 2, "readings-1-1", 0)
    steps, code = played(archive / "1970-01-03", tmp_path / "more")
    assert ([0, 1, 2, 3], 0) == ([second % 86400 for second in seconds(steps)], code)


def test_files_beside_an_archive_are_merged_with_it(archive, tmp_path):
    (tmp_path / "taps.csv").write_text("t_ns,tap_point,tag\n")
    (portion,) = replay.find_portions([archive, tmp_path / "taps.csv"])
    assert 4 == len(portion)


def test_a_file_that_cannot_be_read_is_refused_before_anything_is_sent(archive, played):
    (archive / "1970-01-02" / "readings-1-4.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ConfigError, match=r"readings-1-4\.parquet: cannot be read"):
        played(archive)


def test_a_file_that_cannot_be_read_later_ends_the_replay_with_1(archive, played, capsys):
    (archive / "1970-01-03" / "readings-5-6.parquet").write_bytes(b"no Parquet")
    steps, code = played(archive)
    assert (1, 1) == (len(steps), code)
    assert "stopped early: " in capsys.readouterr().err


def test_the_proof_of_a_tap_is_sent_on_and_none_is_no_proof(store, tmp_path):
    tap = {"tap_point": ["gate-in"], "tag": [TAG]}
    part(tmp_path, 1, "taps-1-1", t_ns=np.array([DAY]), proof=["ntag424-sun"], **tap)
    part(tmp_path, 1, "taps-2-2", t_ns=np.array([DAY + 1]), proof=[""], **tap)
    routes, dropped = find_routes(store), Counter()
    tables = [
        replay.read_table(path, store, routes, str, dropped)
        for path in sorted((tmp_path / "1970-01-02").iterdir())
    ]
    (step,) = replay.merged_steps(replay.joined(tables), routes)
    (rows,) = step.rows
    assert (["ntag424-sun", ""], Counter()) == (rows.columns["proof"], dropped)
    Columns(**rows.columns)
