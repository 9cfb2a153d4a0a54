"""Recorded rows become columns of indices; what is impossible is dropped and counted once."""

import dataclasses
import gzip

import numpy as np
import pytest

from analytics.store import Floor
from ingest.batch import round_rssi
from ingest.config import ConfigError
from ingest.files import write_columns
from ingest.identifiers import pseudonym
from ingest.measurements import (
    BROKEN,
    UNKNOWN_MOST,
    Dropped,
    Names,
    read_readings,
    read_samples,
    read_survey,
    read_taps,
)
from tests.ingest.small_store import STORE, small_store, write_store

T0 = 1_764_000_000_000_000_000
KEY = b"0123456789abcdef"
HEADER = "t_ns,receiver,tag,rssi_dbm\n"
SURVEY = "x_m,y_m,z_m,receiver,rssi_dbm,count\n"


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path)


def file(folder, text, name="r.csv"):
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return path


def readings(store, *paths, names=None):
    dropped = Dropped()
    names = names or Names(key=KEY)
    return read_readings(paths, store, names, dropped), names, dict(dropped.reasons)


def test_good_rows_among_bad_ones(tmp_path, store):
    text = HEADER + "".join(
        f"{row}\n"
        for row in [
            f"{T0},rx-1,name:anna,-61",
            f"{T0},rx-2,name:anna,nan",
            f"{T0},rx-2,name:anna,",
            f"{T0},rx-2,name:anna,strong",
            f"{T0},rx-2,name:anna,42",
            f"{T0},rx-2,name:anna,-121",
            f"{T0},rx-2,name:anna,inf",
            f"{T0},rx-9,name:anna,-61",
            f"{T0},rx-9,name:anna,nan",
            "soon,rx-1,name:anna,-61",
            "soon,rx-1,Anna,nan",
            f"{T0},rx-1,Anna,-61",
            f"{T0},rx-1",
            f"{T0 + 5},rx-3,name:anna,20",
            f"{T0 + 5},rx-3,name:anna,-120",
        ]
    )
    (t_ns, receiver, tag, rssi), names, dropped = readings(store, file(tmp_path, text))
    assert [T0, T0 + 5, T0 + 5] == t_ns.tolist()
    assert [0, 2, 2] == receiver.tolist()
    assert [0, 0, 0] == tag.tolist()
    assert [-61.0, 20.0, -120.0] == rssi.tolist()
    assert [np.int64, np.int16, np.int32, np.float32] == [
        c.dtype for c in (t_ns, receiver, tag, rssi)
    ]
    assert [pseudonym("name:anna", KEY)] == names.values
    assert dropped == {
        "RSSI is not a number": 4,
        "RSSI outside -120 to +20 dBm": 2,
        "unknown receiver 'rx-9'": 2,
        "unreadable time": 2,
        "not a tag or pseudonym": 1,
        BROKEN: 1,
    }


def test_rssi_is_rounded_as_the_edge_agent_rounds_it_and_then_judged(tmp_path, store):
    given = [
        "-58.65",
        "-61.25",
        "-61.35",
        "-61.349",
        "-120.04",
        "20.04",
        "-120.06",
        "20.06",
        "1e300",
    ]
    rows = "".join(f"{T0},rx-1,name:anna,{rssi}\n" for rssi in given)
    (_, _, _, rssi), _, dropped = readings(store, file(tmp_path, HEADER + rows))
    expected = [round_rssi(float(text)) for text in given]
    assert (
        np.float32([value for value in expected if -120 <= value <= 20]).tolist() == rssi.tolist()
    )
    assert {"RSSI outside -120 to +20 dBm": 3} == dropped


def test_every_row_is_used_or_counted_once(tmp_path, store):
    cells = [("x", str(T0)), ("rx-9", "rx-1"), ("Anna", "name:anna"), ("nan", "-61", "42")]
    rows = [
        f"{t},{r},{g},{d}" for t in cells[0] for r in cells[1] for g in cells[2] for d in cells[3]
    ]
    path = file(tmp_path, HEADER + "\n".join(rows))
    (t_ns, *_), _, dropped = readings(store, path)
    assert len(rows) == len(t_ns) + sum(dropped.values())


def test_the_sentences_come_largest_first():
    dropped = Dropped()
    for reason, rows in [("b", 1), ("c", 5), ("a", 1), ("none", 0)]:
        dropped.add(reason, rows)
    assert ["dropped 5 rows: c", "dropped 1 row: a", "dropped 1 row: b"] == dropped.lines()


def test_unknown_receivers_are_named_up_to_a_bound(tmp_path, store):
    rows = [f"{T0},odd-{n:02},name:anna,-61" for n in range(UNKNOWN_MOST + 5) for _ in range(2)]
    (t_ns, *_), _, dropped = readings(store, file(tmp_path, HEADER + "\n".join(rows)))
    assert 0 == len(t_ns)
    assert UNKNOWN_MOST + 1 == len(dropped)
    assert 2 == dropped["unknown receiver 'odd-00'"]
    assert 10 == dropped["further unknown receivers"]


def test_no_identifier_is_told_where_columns_are_swapped(tmp_path, store):
    text = f"{HEADER}{T0},ble:b0b0b0b0b0b0,rx-1,-61\n{T0},BLE:B0B0B0B0B0B0,rx-1,-61\n"
    _, _, dropped = readings(store, file(tmp_path, text))
    assert {"unknown receiver (a tag stands in its column)": 2} == dropped


def test_a_long_unknown_name_is_shortened(tmp_path, store):
    _, _, dropped = readings(store, file(tmp_path, f"{HEADER}{T0},{'x' * 5000},name:anna,-61\n"))
    assert 130 > max(map(len, dropped))


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_a_header_alone_is_no_readings(tmp_path, store, name):
    columns, names, dropped = readings(store, file(tmp_path, HEADER, name))
    assert [0, 0, 0, 0] == [len(column) for column in columns]
    assert ([], {}) == (names.values, dropped)


def test_files_of_all_kinds_together_give_the_same_ids(tmp_path, store):
    columns = {"t_ns": [T0], "receiver": ["rx-1"], "tag": ["name:anna"], "rssi_dbm": [-61]}
    paths = [
        tmp_path / f"{n}{end}" for n, end in enumerate([".csv", ".csv.gz", ".jsonl", ".parquet"])
    ]
    for path in paths:
        write_columns(path, columns)
    moment = tmp_path / "time.csv"
    moment.write_text("rssi_dbm,x,time,tag,receiver\n-61,?,2025-11-24T16:00:00Z,name:anna,rx-1\n")
    (t_ns, receiver, tag, rssi), names, dropped = readings(store, *paths, moment)
    assert [T0] * 5 == t_ns.tolist()
    assert ([0] * 5, [0] * 5, [-61.0] * 5) == (receiver.tolist(), tag.tolist(), rssi.tolist())
    assert (1, {}) == (len(names.values), dropped)


def test_names_keep_the_tag_as_given_whatever_came_first():
    masked = pseudonym("name:anna", KEY)
    for order in (["name:anna", masked], [masked, "name:anna"]):
        names = Names(key=KEY)
        assert [0, 0, -1, -1] == names.ids([*order, "Anna", ""]).tolist()
        assert [masked] == names.of(np.array([0], np.int32))
        assert ["name:anna"] == names.as_given


def test_taps(tmp_path, store):
    text = f"t_ns,tap_point,tag\n{T0},gate,name:anna\n{T0},door,name:anna\nx,gate,name:anna\n"
    text += f"{T0},gate,b0b0\n{T0 + 1},gate,name:bo\n"
    dropped = Dropped()
    t_ns, point, tag = read_taps(file(tmp_path, text), store, Names(key=KEY), dropped)
    assert ([T0, T0 + 1], [0, 0], [0, 1]) == (t_ns.tolist(), point.tolist(), tag.tolist())
    assert dropped.reasons == {
        "unknown tap point 'door'": 1,
        "unreadable time": 1,
        "not a tag or pseudonym": 1,
    }


def test_samples_are_read_by_the_kind_of_their_sensor(tmp_path, store):
    text = "t_ns,sensor,mass_g,range_mm\n" + "".join(
        f"{row}\n"
        for row in [
            f"{T0},plate-1,640.5,",
            f"{T0},eye-1,,812",
            f"{T0},plate-1,,812",
            f"{T0},eye-1,640,",
            f"{T0},plate-1,words,",
            f"{T0},plate-1,99999,",
            f"{T0},eye-1,,1e9",
            f"{T0},plate-1,-3,",
            f"{T0},plate-7,1,1",
            "x,plate-1,640,",
        ]
    )
    dropped = Dropped()
    t_ns, sensor, value = read_samples(file(tmp_path, text), store, dropped)
    assert [T0] * 3 == t_ns.tolist()
    assert ([0, 1, 0], [640.5, 812.0, -3.0]) == (sensor.tolist(), value.tolist())
    assert dropped.reasons == {
        "no number of the sensor's kind (mass_g or range_mm)": 3,
        "value beyond what the sensor can measure": 2,
        "unknown sensor 'plate-7'": 1,
        "unreadable time": 1,
    }


@pytest.mark.parametrize("column", ["mass_g", "range_mm"])
def test_one_column_of_samples_is_enough(tmp_path, store, column):
    text = f"t_ns,sensor,{column}\n{T0},plate-1,5\n{T0},eye-1,5\n"
    dropped = Dropped()
    assert 1 == len(read_samples(file(tmp_path, text), store, dropped)[0])
    assert 1 == dropped.reasons.total()


def test_samples_for_a_store_without_sensors(tmp_path):
    store = small_store(tmp_path)
    bare = write_store(tmp_path, STORE[: STORE.index("[[shelf]]")])
    assert store.sensors
    from ingest.store_file import read_store

    dropped = Dropped()
    path = file(tmp_path, f"t_ns,sensor,mass_g\n{T0},plate-1,5\n")
    assert 0 == len(read_samples(path, read_store(bare), dropped)[0])
    assert {"unknown sensor 'plate-1'": 1} == dropped.reasons


def test_a_survey_counts_identical_rows_and_refuses_the_impossible(tmp_path, store):
    text = SURVEY + "".join(
        f"{row}\n"
        for row in [
            "1,1,1.2,rx-1,-60,2",
            "1,1,1.2,rx-1,-60,2",
            "1.1,1.1,,rx-1,-60,",
            "5,1,,rx-2,-70,1",
            "x,1,,rx-2,-70,1",
            "1e12,1,,rx-2,-70,1",
            "1,1,,rx-9,-70,1",
            "1,1,,rx-1,42,1",
            "1,1,,rx-1,nan,1",
        ]
    )
    dropped = Dropped()
    points = read_survey(file(tmp_path, text), store, dropped)
    assert [0, 1] == points.receiver.tolist()
    assert [5.0, 1.0] == points.count.tolist()
    assert dropped.reasons == {
        "unknown receiver 'rx-9'": 1,
        "impossible survey place": 2,
        "impossible survey RSSI": 2,
    }


@pytest.mark.parametrize(
    ("read", "header"),
    [
        (lambda path, store: read_readings([path], store, Names(key=KEY), Dropped()), HEADER),
        (
            lambda path, store: read_taps(path, store, Names(key=KEY), Dropped()),
            "t_ns,tap_point,tag",
        ),
        (lambda path, store: read_samples(path, store, Dropped()), "t_ns,sensor,mass_g"),
        (lambda path, store: read_survey(path, store, Dropped()), SURVEY),
    ],
)
def test_each_column_is_needed(tmp_path, store, read, header):
    names = header.strip().split(",")
    for gone in names:
        text = ",".join(name for name in names if name != gone) + "\n"
        with pytest.raises(ConfigError, match=f"column '{gone}' is missing"):
            read(file(tmp_path, text), store)
    read(file(tmp_path, header.strip() + "\n"), store)


@pytest.mark.parametrize("names", [("0", "1"), ("low", "up")])
def test_floors_of_a_survey_are_names_even_where_they_look_like_numbers(tmp_path, store, names):
    floors = dataclasses.replace(store, floors=tuple(Floor(id=name) for name in names))
    head, dropped = SURVEY.replace("count", "count,floor"), Dropped()
    rows = "".join(f"1,1,1.2,rx-1,-60,1,{name}\n" for name in (*names, "", "9"))
    points = read_survey(file(tmp_path, head + rows), floors, dropped)
    assert ([0, 1], [2.0, 1.0]) == (points.on_floor.tolist(), points.count.tolist())
    assert {"unknown floor '9'": 1} == dropped.reasons
