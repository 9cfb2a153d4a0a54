"""The archive of raw rows: whole files by day, after crashes too, and nothing that is too old."""

import re
import tomllib
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway import archive
from gateway.archive import rewind
from gateway.journal import Journal
from gateway.settings import ArchiveSettings
from ingest.config import ConfigError
from tests.gateway.archive_rig import ANNA, BEN, HOUR, MIDNIGHT, Rig
from tests.gateway.day import SECOND


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path, part_rows=100, part_s=60.0)
    yield made
    made.journal.close()


def test_a_part_is_written_after_its_time_and_says_so_to_the_journal(rig):
    rig.readings(MIDNIGHT)
    rig.run()
    assert (0, []) == (rig.archive.archived_id, rig.names())
    rig.now_s = 60.0
    rig.run()
    assert (1, ["2025-11-25/readings-1-1.parquet"]) == (rig.archive.archived_id, rig.names())
    sizes = [path.stat().st_size for path in rig.directory.glob("archive/demo/*/*")]
    assert (sum(sizes), 1) == (rig.archive.counts["bytes_written"], rig.archive.counts["rows"])
    assert sum(sizes) == rig.archive.bytes_kept


def test_a_full_part_is_written_at_once_and_more_may_be_waiting(rig):
    for _ in range(5):
        rig.readings(*range(MIDNIGHT, MIDNIGHT + 60))
    assert rig.run()
    assert ["2025-11-25/readings-1-2.parquet"] == rig.names()
    assert not rig.run(up_to_id=3, write_out=True)
    assert 3 == rig.archive.archived_id, "nothing newer than it was told"
    assert rig.run()
    assert 5 == rig.archive.archived_id


def test_columns_are_those_of_the_contract_with_the_time_beside(rig):
    rig.feed("tap", t_ns=[MIDNIGHT + 5], tap_point=["gate-1"], tag=[BEN], proof=["ntag424-sun"])
    rig.feed("tap", t_ns=[MIDNIGHT + 3], tap_point=["gate-1"], tag=[ANNA])
    rig.feed(
        "sample",
        t_ns=[MIDNIGHT, MIDNIGHT],
        sensor=["plate-1", "eye-1"],
        mass_g=[12.5, None],
        range_mm=[None, 300.0],
    )
    rig.readings(MIDNIGHT)
    rig.run(write_out=True)
    day = rig.directory / "archive" / "demo" / "2025-11-25"
    schemas = {
        stem: pq.read_schema(day / f"{stem}-1-4.parquet")
        for stem in ("readings", "taps", "samples")
    }
    text, number, instant = pa.string(), pa.float64(), pa.timestamp("ns", tz="UTC")
    times = [("t_ns", pa.int64()), ("time", instant)]
    assert [*times, ("receiver", text), ("tag", text), ("rssi_dbm", number)] == _fields(
        schemas["readings"]
    )
    assert [*times, ("tap_point", text), ("tag", text), ("proof", text)] == _fields(schemas["taps"])
    assert [*times, ("sensor", text), ("mass_g", number), ("range_mm", number)] == _fields(
        schemas["samples"]
    )
    taps = rig.rows("taps")
    assert [(MIDNIGHT + 3, ANNA, None), (MIDNIGHT + 5, BEN, "ntag424-sun")] == [
        (row["t_ns"], row["tag"], row["proof"]) for row in taps
    ]
    assert [MIDNIGHT + 3, MIDNIGHT + 5] == [row["time"] for row in taps]
    assert [("plate-1", 12.5, None), ("eye-1", None, 300.0)] == [
        (row["sensor"], row["mass_g"], row["range_mm"]) for row in rig.rows("samples")
    ]


def _fields(schema):
    return [(field.name, field.type) for field in schema]


def test_a_part_over_midnight_is_two_files(rig):
    rig.readings(MIDNIGHT - 1, MIDNIGHT + 1)
    rig.run(write_out=True)
    assert ["2025-11-24/readings-1-1.parquet", "2025-11-25/readings-1-1.parquet"] == rig.names()
    assert [MIDNIGHT - 1, MIDNIGHT + 1] == [row["t_ns"] for row in rig.rows()]


@pytest.mark.parametrize("files_before_crash", range(5))
def test_a_crash_between_two_files_loses_no_row_and_leaves_none_twice(
    rig, monkeypatch, files_before_crash
):
    rig.readings(MIDNIGHT - 1, MIDNIGHT + 1)
    rig.feed("tap", t_ns=[MIDNIGHT], tap_point=["gate-1"], tag=[ANNA])
    rig.feed("sample", t_ns=[MIDNIGHT], sensor=["plate-1"], mass_g=[1.0])
    written = []

    def write_then_die(path, data):
        if len(written) == files_before_crash:
            path.with_name(path.name + ".new").write_bytes(data[: len(data) // 2])
            raise KeyboardInterrupt
        written.append(path)
        whole(path, data)

    whole = archive.write_whole
    monkeypatch.setattr(archive, "write_whole", write_then_die)
    with pytest.raises(KeyboardInterrupt):
        rig.run(write_out=True)
    monkeypatch.undo()
    rig.readings(MIDNIGHT + 2)
    rig.open()
    assert 0 == rig.archive.archived_id
    assert [] == rig.names()
    rig.run(write_out=True)
    assert 4 == rig.archive.archived_id
    assert [MIDNIGHT - 1, MIDNIGHT + 1, MIDNIGHT + 2] == [row["t_ns"] for row in rig.rows()]
    assert (1, 1) == (len(rig.rows("taps")), len(rig.rows("samples")))
    assert not list(rig.directory.glob("archive/demo/**/*.new"))


def test_it_goes_on_where_it_was_although_its_files_are_gone(rig):
    rig.readings(MIDNIGHT)
    rig.run(write_out=True)
    rig.run(MIDNIGHT + 25 * HOUR)
    rig.open()
    rig.run(MIDNIGHT + 25 * HOUR)
    assert ([], 1) == (rig.names(), rig.archive.archived_id)


def test_a_lost_progress_file_is_made_again_from_the_names(rig):
    rig.readings(MIDNIGHT)
    rig.run(write_out=True)
    (rig.directory / "archive" / "demo" / archive.PROGRESS).write_text("{")
    rig.open()
    assert 1 == rig.archive.archived_id
    assert ["2025-11-25/readings-1-1.parquet"] == rig.names()


def test_what_is_older_than_keep_h_goes_file_by_file(rig):
    for hour in (0, 10, 20):
        rig.readings(MIDNIGHT + hour * HOUR, received_ns=MIDNIGHT + hour * HOUR)
        rig.run(MIDNIGHT + hour * HOUR, write_out=True)
    rig.now_s += archive.EXPIRE_EVERY_S
    rig.run(MIDNIGHT + 24 * HOUR + 1)
    left = ["2025-11-25/readings-2-2.parquet", "2025-11-25/readings-3-3.parquet"]
    assert left == rig.names()
    rig.now_s += archive.EXPIRE_EVERY_S
    rig.run(MIDNIGHT + 45 * HOUR)
    assert [] == rig.names()
    assert not (rig.directory / "archive" / "demo" / "2025-11-25").exists()
    assert 0 == rig.archive.bytes_kept


def test_old_files_go_even_when_nothing_is_archived_any_more(rig):
    rig.readings(MIDNIGHT)
    rig.run(write_out=True)
    rig.settings = ArchiveSettings(enabled=False)
    rig.open()
    assert rig.archive.archived_id is None
    rig.readings(MIDNIGHT)
    rig.run(MIDNIGHT + HOUR, write_out=True)
    assert ["2025-11-25/readings-1-1.parquet"] == rig.names()
    rig.now_s += archive.EXPIRE_EVERY_S
    rig.run(MIDNIGHT + 25 * HOUR)
    assert [] == rig.names()


def test_rows_that_the_gateway_sets_aside_for_their_time_are_left_out(rig):
    rig.readings(MIDNIGHT - 73 * HOUR, MIDNIGHT - 71 * HOUR, MIDNIGHT, MIDNIGHT + 61 * SECOND)
    rig.run(write_out=True)
    assert [MIDNIGHT - 71 * HOUR, MIDNIGHT] == [row["t_ns"] for row in rig.rows()]
    assert 2 == rig.archive.counts["left_out"]


def test_with_the_clock_of_the_data_no_row_is_strange_but_files_are_bounded(rig):
    rig.open(clock="data")
    days = [day * 24 * HOUR for day in range(40)]
    rig.readings(days[0], days[39])
    rig.readings(*days)
    rig.readings(days[39])
    while rig.run(MIDNIGHT) or rig.run(MIDNIGHT, write_out=True):
        pass
    by_part = [re.search(r"readings-(.*)\.", name).group(1) for name in rig.names()]
    assert {"1-1": 2, "2-2": 31, "3-3": 1} == {part: by_part.count(part) for part in by_part}
    assert 9 == rig.archive.counts["left_out"]
    assert 3 == rig.archive.archived_id


def test_a_disk_that_refuses_holds_the_journal_until_that_is_full(rig, monkeypatch, caplog):
    caplog.set_level("INFO")
    rig.readings(MIDNIGHT)

    def refuse(path, data):
        if path.name == archive.PROGRESS:
            raise OSError(28, "No space left on device")
        whole(path, data)

    whole = archive.write_whole
    monkeypatch.setattr(archive, "write_whole", refuse)
    for _ in range(3):
        rig.run(write_out=True)
        rig.now_s += archive.RETRY_S
    assert 1 == caplog.text.count("archive cannot be written (No space left on device)")
    assert (0, []) == (rig.archive.archived_id, rig.names())
    monkeypatch.setattr(Journal, "is_over_full", True)
    assert rig.archive.archived_id is None, "rather no archive than no journal"
    monkeypatch.undo()
    rig.readings(MIDNIGHT)
    rig.run(write_out=True)
    assert (2, ["2025-11-25/readings-1-2.parquet"]) == (rig.archive.archived_id, rig.names())
    assert {"rows": 2, "files": 1} == {name: rig.archive.counts[name] for name in ("rows", "files")}
    assert "archive recovered" in caplog.text


def test_a_place_that_cannot_be_used_is_told_before_anything_starts(tmp_path):
    (tmp_path / "archive").write_text("a file")
    with pytest.raises(ConfigError, match=r"expected a directory that can be written"):
        Rig(tmp_path)


def test_batches_without_rows_move_it_on(rig):
    rig.readings()
    rig.run(write_out=True)
    assert (1, []) == (rig.archive.archived_id, rig.names())


def test_it_goes_back_with_a_journal_that_was_put_back(rig):
    for _ in range(3):
        rig.readings(MIDNIGHT)
        rig.run(write_out=True)
    assert 2 == rewind(rig.directory / "archive", "demo", 1, "9")
    rig.open()
    assert 1 == rig.archive.archived_id
    rig.run(write_out=True)
    assert [
        "2025-11-25/readings-1-1.parquet",
        "2025-11-25/readings-2-2-9.parquet",
        "2025-11-25/readings-2-3.parquet",
        "2025-11-25/readings-3-3-9.parquet",
    ] == rig.names()
    assert 0 == rewind(rig.directory / "archive", "demo", 5, "10")
    assert 0 == rewind(rig.directory / "archive", "another", 5, "10")


def test_the_sample_has_every_key_with_its_default():
    sample = (Path(archive.__file__).parent / "sample.toml").read_text()
    given = tomllib.loads(re.sub(r"(?m)^# ", "", sample))["archive"]
    assert msgspec.to_builtins(ArchiveSettings()) == given
