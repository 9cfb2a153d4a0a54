import asyncio
import gzip
import json

import pytest

from edge.measurement import Reading, Sample, Tap
from edge.sources.replay import ReplaySettings, ReplaySource
from ingest.config import ConfigError
from tests.edge.agents import BAND, T0


def play(source):
    taken = []

    async def emit(measurements):
        taken.append(list(measurements))

    asyncio.run(asyncio.wait_for(source.run(emit), 10))
    return taken


def flat(chunks):
    return [measurement for chunk in chunks for measurement in chunk]


def make_source(folder, now_ns=lambda: T0, **files):
    options = {key: files.pop(key) for key in ("speed", "retime") if key in files}
    table = {"speed": 0.0, **options}
    for kind, (name, text) in files.items():
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        table[kind] = name
    return ReplaySource.from_table(table, subject="[[source]]", base=folder, now_ns=now_ns)


READINGS = (
    f"t_ns,receiver,tag,rssi_dbm,note\n{T0},rx-1,{BAND},-60.5,x\n{T0 + 20},rx-2,{BAND},-70,y\n"
)


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_files_are_merged_by_time(tmp_path, name):
    source = make_source(
        tmp_path,
        readings=(name, READINGS),
        taps=("t.csv", f"t_ns,tap_point,tag\n{T0 + 10},gate-1,{BAND}\n"),
        samples=("s.csv", f"t_ns,sensor,mass_g,range_mm\n{T0 + 15},plate-1,640.5,\n"),
    )
    assert flat(play(source)) == [
        Reading(T0, "rx-1", BAND, -60.5),
        Tap(T0 + 10, "gate-1", BAND),
        Sample(T0 + 15, "plate-1", 640.5, None),
        Reading(T0 + 20, "rx-2", BAND, -70.0),
    ]
    assert source.health() == {"rows": 4, "dropped": {}}


@pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.gz"])
def test_json_lines(tmp_path, name):
    rows = [
        {"t_ns": T0, "sensor": "tof-1", "range_mm": 300},
        {"t_ns": T0, "sensor": "a", "mass_g": 1},
    ]
    source = make_source(tmp_path, samples=(name, "\n".join(map(json.dumps, rows))))
    assert flat(play(source)) == [Sample(T0, "tof-1", None, 300.0), Sample(T0, "a", 1.0, None)]


def test_rfc_3339_times_to_the_nanosecond(tmp_path):
    text = (
        f"time,tap_point,tag\n2025-11-24T16:00:00.123456789Z,g,{BAND}\n"
        f"2025-11-24T17:00:00+01:00,g,{BAND}\n2025-11-24T16:00:00,g,{BAND}\nnoon,g,{BAND}\n"
    )
    source = make_source(tmp_path, taps=("t.csv", text))
    assert [tap.t_ns - T0 for tap in flat(play(source))] == [123456789, 0, 0]
    assert source.dropped == {"time": 1}


def test_rows_that_say_nothing_are_dropped_by_reason(tmp_path):
    text = READINGS + f"x,rx-1,{BAND},-60\n{T0},rx-1,{BAND},loud\n{T0}\n,rx-1,{BAND},-60\n"
    source = make_source(tmp_path, readings=("r.csv", text))
    assert len(flat(play(source))) == 2
    assert source.dropped == {"time": 2, "value": 2}


def test_broken_json_lines_are_dropped(tmp_path):
    good = json.dumps({"t_ns": T0, "tap_point": "g", "tag": BAND})
    bad = ["{", "[1]", '{"t_ns": 1.5, "tap_point": "g", "tag": "x"}', "[" * 100_000]
    source = make_source(tmp_path, taps=("t.jsonl", "\n".join([good, *bad])))
    assert flat(play(source)) == [Tap(T0, "g", BAND)]
    assert source.dropped == {"time": 4}


def test_times_can_be_moved_to_now(tmp_path):
    source = make_source(
        tmp_path, now_ns=lambda: T0 + 500, readings=("r.csv", READINGS), retime=True
    )
    assert [m.t_ns for m in flat(play(source))] == [T0 + 500, T0 + 520]


def test_speed_makes_pauses(tmp_path):
    text = f"t_ns,tap_point,tag\n{T0},g,{BAND}\n{T0 + 10**9},g,{BAND}\n{T0 + 2 * 10**9},g,{BAND}\n"
    source = make_source(tmp_path, taps=("t.csv", text), speed=20.0)

    async def main():
        loop, moments = asyncio.get_running_loop(), []

        async def emit(measurements):
            moments.extend(loop.time() for _ in measurements)

        await source.run(emit)
        return moments

    first, _, last = asyncio.run(main())
    assert last - first >= 0.09
    assert len(play(make_source(tmp_path, taps=("t.csv", text)))) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "", "the file is empty"),
        ("r.csv", "t_ns,receiver,tag\n", "column rssi_dbm is missing"),
        ("r.csv", "receiver,tag,rssi_dbm\n", "column t_ns or time is missing"),
        ("r.jsonl", '{"t_ns": 1}\n', "column receiver is missing"),
    ],
)
def test_wrong_files_are_refused_before_anything_is_played(tmp_path, name, text, message):
    with pytest.raises(ConfigError, match=message):
        make_source(tmp_path, readings=(name, text))


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        ReplaySource(ReplaySettings(taps=str(tmp_path / "none.csv")), now_ns=lambda: T0)
    (tmp_path / "t.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(ConfigError, match="cannot be read"):
        ReplaySource(ReplaySettings(taps=str(tmp_path / "t.csv.gz")), now_ns=lambda: T0)
    with pytest.raises(ConfigError, match="expected readings, taps or samples"):
        ReplaySource(ReplaySettings(), now_ns=lambda: T0)


def test_a_header_without_rows_plays_nothing(tmp_path):
    source = make_source(tmp_path, readings=("r.csv", "t_ns,receiver,tag,rssi_dbm\n"))
    assert flat(play(source)) == []


def test_the_proof_of_a_tap_is_played_too(tmp_path):
    path = tmp_path / "taps.csv"
    path.write_text(
        f"t_ns,tap_point,tag,proof\n{T0},pay-1,{BAND},ntag424-sun\n{T0},pay-1,{BAND},\n"
    )
    source = ReplaySource(ReplaySettings(taps=str(path), speed=0), now_ns=lambda: T0)
    assert flat(play(source)) == [
        Tap(T0, "pay-1", BAND, "ntag424-sun"),
        Tap(T0, "pay-1", BAND),
    ]
