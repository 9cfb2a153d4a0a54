"""Result tables hold the columns of contract section 3, in both formats the same."""

import csv
import dataclasses
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics.rows import (
    TABLES,
    Dwell,
    Heat,
    Occupancy,
    OccupancyEstimate,
    Positions,
    QueueMinute,
    ReceiverHealth,
    SensorHealth,
    ShelfEvent,
    ShelfStock,
    Transition,
    Visit,
)
from analytics.store import Floor
from ingest.config import ConfigError
from ingest.result_tables import remove_tables, write_positions, write_table
from tests.ingest.small_store import small_store

T0 = 1_764_000_000_000_000_000
CONTRACT = {
    "positions": "t_ns tag stage layer zone zone_state zone_p x_m y_m sigma_m",
    "dwells": "dwell visit tag layer zone start_ns end_ns dwell_s sigma_s confidence readings",
    "visits": "visit tag start_ns end_ns visit_s zones path path_length_m directness hesitations "
    "taps shelf_s picks returns purpose purpose_p",
    "transitions": "layer from_zone to_zone count median_s p90_s",
    "shelf_events": "event t_ns shelf sensor gtin kind status quantity delta_g confidence tag "
    "tag_p",
    "shelf_stock": "t_ns shelf gtin quantity sigma mass_g state",
    "sensor_health": "sensor state since_ns reason",
    "occupancy": "t_ns layer zone people",
    "queues": "t_ns zone length wait_p50_s wait_p90_s abandoned",
    "occupancy_estimates": "t_ns layer zone tagged tagged_sigma people people_sigma",
    "heat": "t_ns floor x_m y_m person_s",
    "receiver_health": "receiver state since_ns offset_db reason",
}
ANNA = "p_abcdefghijklmnop"
ROWS = {
    "dwells": [
        Dwell(dwell="d2", visit="v", tag=ANNA, layer="main", zone="left", start_ns=T0 + 5,
              end_ns=T0 + 9, dwell_s=12.5, sigma_s=0.25, confidence=0.875, readings=7),
        Dwell(dwell="d1", visit="v", tag=ANNA, layer="main", zone="right", start_ns=T0,
              end_ns=T0 + 1, dwell_s=10.0, sigma_s=0.5, confidence=1.0, readings=3),
    ],
    "visits": [
        Visit(visit="v", tag=ANNA, start_ns=T0, end_ns=T0 + 9, visit_s=60.0, zones=2,
              path="left>right", path_length_m=12.34, directness=None, hesitations=0, taps=1,
              shelf_s=0.0, picks=0, returns=0, purpose="unknown", purpose_p=None)
    ],
    "transitions": [
        Transition(layer="main", from_zone="left", to_zone="right", count=3, median_s=1.5,
                   p90_s=2.0)
    ],
    "shelf_events": [
        ShelfEvent(event="e", t_ns=T0, shelf="board", sensor="plate-1", gtin=None, kind="touch",
                   status="final", quantity=0, delta_g=0.0, confidence=0.5)
    ],
    "shelf_stock": [
        ShelfStock(t_ns=T0, shelf="board", gtin="04012345678901", quantity=5, sigma=0.1,
                   mass_g=None, state="ok")
    ],
    "sensor_health": [SensorHealth(sensor="eye-1", state="silent", since_ns=T0, reason="no rows")],
    "occupancy": [Occupancy(t_ns=T0, layer="main", zone="left", people=4)],
    "queues": [
        QueueMinute(t_ns=T0, zone="left", length=2, wait_p50_s=None, wait_p90_s=1.0, abandoned=0)
    ],
    "occupancy_estimates": [
        OccupancyEstimate(t_ns=T0, layer="main", zone="left", tagged=1.5, tagged_sigma=0.5,
                          people=3.0, people_sigma=2.125)
    ],
    "heat": [
        Heat(t_ns=T0, floor="0", x_m=0.5, y_m=1.5, person_s=2.5),
        Heat(t_ns=T0, floor="0", x_m=1.5, y_m=0.5, person_s=0.1),
    ],
    "receiver_health": [
        ReceiverHealth(receiver="rx-1", state="moved", since_ns=T0, offset_db=-6.25, reason="r"),
        ReceiverHealth(receiver="rx-2", state="deaf", since_ns=T0, offset_db=None, reason="r"),
    ],
}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path)


def positions(rows=3):
    return Positions(
        t_ns=np.array([T0 + 10**9, T0, T0][:rows], np.int64),
        tag=np.array([0, 1, 0][:rows], np.int32),
        stage=np.array([0, 1, 1][:rows], np.uint8),
        layer=np.zeros(rows, np.uint8),
        zone=np.array([0, 1, -1][:rows], np.int16),
        zone_state=np.array([0, 0, 1][:rows], np.uint8),
        floor=np.zeros(rows, np.uint8),
        zone_p=np.array([0.123, 1.0, np.nan][:rows], np.float32),
        x_m=np.array([1.1, 2.25, np.nan][:rows], np.float32),
        y_m=np.array([0.07, 2.0, np.nan][:rows], np.float32),
        sigma_m=np.array([0.7, 0.5, np.nan][:rows], np.float32),
    )


def cells(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def as_cells(table):
    def cell(value):
        if value is None:
            return ""
        return f"{value:g}" if isinstance(value, float) else str(value)

    return [table.column_names, *([cell(v) for v in row.values()] for row in table.to_pylist())]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("filled", [True, False])
def test_both_formats_hold_the_contracts_columns_and_the_same(tmp_path, name, filled):
    rows = ROWS[name] if filled else []
    for kind in ("csv", "parquet"):
        assert len(rows) == write_table(tmp_path, name, rows, kind=kind)
    expected = CONTRACT[name].split()
    table = pq.read_table(tmp_path / f"{name}.parquet")
    assert expected == table.column_names[: len(expected)]
    assert as_cells(table.select(expected)) == cells(tmp_path / f"{name}.csv")


def test_parquet_adds_times_and_keeps_types(tmp_path):
    utc = pa.timestamp("ns", tz="UTC")
    for rows in (ROWS["dwells"], []):
        write_table(tmp_path, "dwells", rows, kind="parquet")
        schema = pq.read_schema(tmp_path / "dwells.parquet")
        assert ["start_time", "end_time"] == schema.names[-2:]
        assert [utc, utc] == [schema.field(name).type for name in ("start_time", "end_time")]
        assert [pa.int64(), pa.int64(), pa.float64(), pa.string()] == [
            schema.field(name).type for name in ("start_ns", "readings", "dwell_s", "tag")
        ]
    write_table(tmp_path, "queues", ROWS["queues"], kind="parquet")
    table = pq.read_table(tmp_path / "queues.parquet")
    assert utc == table.schema.field("time").type
    moment = table["time"].cast(pa.timestamp("us", tz="UTC"))[0].as_py()
    assert datetime(2025, 11, 24, 16, tzinfo=UTC) == moment


def test_rows_are_sorted_by_time(tmp_path):
    write_table(tmp_path, "dwells", ROWS["dwells"], kind="csv")
    assert ["d1", "d2"] == [row[0] for row in cells(tmp_path / "dwells.csv")[1:]]
    write_table(tmp_path, "heat", ROWS["heat"], kind="csv")
    assert ["1.5", "0.5"] == [row[2] for row in cells(tmp_path / "heat.csv")[1:]]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_positions(tmp_path, store, kind):
    names = ["p_bbbbbbbbbbbbbbbb", "p_aaaaaaaaaaaaaaaa"]
    parts = [positions(2), positions(3)]
    assert 5 == write_positions(tmp_path, parts, store, names, kind=kind)
    path = tmp_path / f"positions.{kind}"
    expected = CONTRACT["positions"].split()
    found = cells(path) if kind == "csv" else as_cells(pq.read_table(path).select(expected))
    assert expected == found[0]
    assert [str(T0), names[1], "final", "main", "right", "known", "1", "2.25", "2", "0.5"] == found[
        1
    ]
    assert [str(T0), names[0], "final", "main", "", "unknown", "", "", "", ""] == found[3]
    assert [str(T0 + 10**9), names[0], "live", "main", "left", "known", "0.123", "1.1", "0.07",
            "0.7"] == found[4]  # fmt: skip


@pytest.mark.parametrize("parts", [[], [positions(0)]])
def test_no_positions_are_a_table_with_its_columns_and_types(tmp_path, store, parts):
    write_positions(tmp_path, parts, store, [], kind="csv")
    assert [CONTRACT["positions"].split()] == cells(tmp_path / "positions.csv")
    write_positions(tmp_path, parts, store, [], kind="parquet")
    schema = pq.read_schema(tmp_path / "positions.parquet")
    assert [*CONTRACT["positions"].split(), "time"] == schema.names
    kinds = [pa.int64(), *[pa.string()] * 5, *[pa.float64()] * 4, pa.timestamp("ns", tz="UTC")]
    assert kinds == schema.types


def test_tables_of_an_earlier_run_go_and_other_files_stay(tmp_path):
    for name in ("positions.csv", "dwells.parquet", "mine.csv"):
        (tmp_path / name).write_text("")
    remove_tables(tmp_path)
    assert ["mine.csv"] == [path.name for path in tmp_path.iterdir()]


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_table(tmp_path / "file", "dwells", [], kind="csv")
    (tmp_path / "dwells.csv").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        remove_tables(tmp_path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_with_several_floors_positions_end_with_the_floor(tmp_path, store, kind):
    up = dataclasses.replace(store, floors=(Floor(id="0"), Floor(id="up")))
    part = dataclasses.replace(positions(3), floor=np.array([0, 1, 0], np.uint8))
    write_positions(tmp_path, [part], up, ["p_b", "p_a"], kind=kind)
    path = tmp_path / f"positions.{kind}"
    expected = [*CONTRACT["positions"].split(), "floor"]
    if kind == "csv":
        found = cells(path)
        assert expected == found[0]
        assert ["up", "", "0"] == [row[-1] for row in found[1:]]
    else:
        table = pq.read_table(path)
        assert [*expected, "time"] == table.column_names
        assert ["up", None, "0"] == table["floor"].to_pylist()
