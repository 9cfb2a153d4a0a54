import argparse
from collections import Counter

import pytest

from ingest.config import ConfigError
from ingest.identifiers import is_pseudonym, pseudonym
from simulators import replay
from simulators.routing import find_routes

KEY = b"0123456789abcdef"


def of(tag):
    return pseudonym(tag, KEY)


def read(path, store, dropped=None):
    counted = Counter() if dropped is None else dropped
    return replay.read_table(path, store, find_routes(store), of, counted)


def write(path, text):
    path.write_text(text)
    return path


def test_bad_rows_are_dropped_and_counted_by_reason(store, tmp_path):
    path = write(
        tmp_path / "r.csv",
        "t_ns,receiver,tag,rssi_dbm\n"
        "3000000000,rx-1,name:anna,-60\n"
        "1000000000,rx-4,name:anna,-70.04\n"
        "2000000000,rx-1,name:anna,hello\n"
        "2000000000,rx-1,name:anna,42\n"
        "2000000000,rx-99,name:anna,-60\n"
        "2000000000,rx-1,Anna,-60\n"
        "soon,rx-1,name:anna,-60\n",
    )
    dropped = Counter()
    table = read(path, store, dropped)
    assert table.columns["t_ns"].tolist() == [1_000_000_000, 3_000_000_000]
    assert table.columns["rssi_dbm"].tolist() == [-70.0, -60.0]
    assert table.agent.tolist() == [1, 0]
    assert all(is_pseudonym(tag) for tag in table.columns["tag"])
    assert dict(dropped) == {
        "RSSI outside -120 to +20 dBm": 2,
        "unknown receiver rx-99": 1,
        "the tag is neither a tag nor a pseudonym": 1,
        "unreadable time": 1,
    }


def test_files_are_merged_second_by_second(store, tmp_path):
    readings = write(
        tmp_path / "r.csv",
        "t_ns,receiver,tag,rssi_dbm\n1500000000,rx-1,name:a,-60\n9000000000,rx-1,name:a,-61\n",
    )
    taps = write(tmp_path / "t.csv", "t_ns,tap_point,tag\n1200000000,gate-in,name:a\n")
    samples = write(tmp_path / "s.csv", "t_ns,sensor,mass_g\n1000000000,shoes-1-1,12.5\n")
    tables = [read(path, store) for path in (readings, taps, samples)]
    steps = list(replay.merged_steps(tables, find_routes(store)))
    assert [step.end_ns for step in steps] == [2_000_000_000, 10_000_000_000]
    assert [rows.kind for rows in steps[0].rows] == ["ble", "tap", "sample"]
    assert steps[0].rows[2].columns["mass_g"] == [12.5]


def test_a_file_of_nothing_known_is_refused(store, tmp_path):
    path = write(tmp_path / "x.csv", "t_ns,receiver\n1,rx-1\n")
    with pytest.raises(ConfigError, match="expected the columns of readings"):
        read(path, store)


def test_a_header_alone_is_fine(store, tmp_path):
    path = write(tmp_path / "x.csv", "t_ns,receiver,tag,rssi_dbm\n")
    assert list(replay.merged_steps([read(path, store)], find_routes(store))) == []


def test_an_agent_s_name_is_checked_before_anything_is_read(tmp_path):
    parser = argparse.ArgumentParser()
    replay.configure(parser)
    args = parser.parse_args(
        ["x.csv", "--store", "no.toml", "--mqtt", "mqtt://h:1", "--agent", "Pi/1"]
    )
    with pytest.raises(ConfigError, match="--agent 'Pi/1'"):
        replay.run(args)
