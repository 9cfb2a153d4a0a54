"""Bad input through the engine: right or honestly unknown, never an exception or NaN.

Every case runs in one portion and in portions of a second, must give equal tables, and
is held against `tests.analytics.row_rules`. Bad geometry alone (cells, radio maps of it)
is in `test_bad_geometry`; files and programs are in `tests.system.test_bad_input`.
"""

import dataclasses
import time
import tracemalloc

import numpy as np
import pytest

from analytics.cells import build_cells
from analytics.radio_map import fit_radio_map, reduce_survey
from analytics.rows import TABLES
from analytics.store import Rules
from tests.analytics.row_rules import assert_rows_keep_the_rules
from tests.analytics.sound_rows import HOUR_S, shifted, sound, thinned, walk
from tests.analytics.stores import (
    SECOND,
    START_NS,
    Bench,
    Rows,
    box,
    odd_store,
    positions_of,
    receivers,
    records,
    rssi_at,
    seconds,
    shop,
    stay,
    whole,
    zone,
)


@pytest.mark.parametrize(
    "rules",
    [
        {"tick_s": 0.5},
        {"tick_s": 2.0},
        {"tick_s": 0.3},  # no whole number of ticks in a minute
        {"tick_s": 7.0},
        {"lag_s": 0.0},
        {"lag_s": 0.5},  # less than a tick
        {"lag_s": 3.0},
        {"lag_s": 30.0},
        {"lag_s": 300.0},  # longer than the whole recording
        {"lag_s": 30.0, "visit_gap_s": 5.0},
        {"visit_gap_s": 0.1},  # less than a tick
        {"visit_gap_s": 10.0, "dwell_gap_s": 60.0},
        {"dwell_min_s": 0.0},
        {"dwell_min_s": 0.0, "visit_min_s": 0.0, "flicker_s": 0.0, "dwell_gap_s": 0.1},
        {"flicker_s": 100.0, "dwell_gap_s": 1.0},
        {"visit_min_s": 1000.0},
        {"bounce_s": 0.0, "engaged_min_s": 0.001},
        {"lateness_s": 0.0},
        {"tick_s": 60.0},
        {"tick_s": 60.0, "lag_s": 0.0, "visit_gap_s": 60.0},
        {"tagged_share": 0.01},
    ],
    ids=str,
)
def test_unusual_rules(rules):
    store = shop(**rules)
    sound(store, walk(store))


@pytest.mark.parametrize("kind", ["no zones", "one receiver", "in a line"])
def test_odd_stores(kind):
    store = odd_store(kind)
    found = sound(store, walk(store))
    places = positions_of(found, "p_a")
    assert places
    if kind == "no zones":
        assert {"outside", "unknown"} == {row["zone_state"] for row in places}
        assert [] == found["occupancy"] == found["dwells"] == found["transitions"]
        assert {0} == {visit.zones for visit in records(found, "visits")}
    if kind == "one receiver":  # distance is all it says, and the tag's power is not known
        assert min(row["sigma_m"] for row in places if row["sigma_m"] is not None) > 1.0


def test_a_survey_from_one_corner():
    store = shop()
    grid = build_cells(store)
    x, y = (a.ravel() for a in np.meshgrid([0.2, 0.7, 1.2, 1.7], [0.2, 0.7, 1.2, 1.7]))
    levels = np.array([rssi_at(store, *place) for place in zip(x, y, strict=True)])
    n = len(store.receivers)
    points = reduce_survey(
        x_m=np.repeat(x, n), y_m=np.repeat(y, n), z_m=np.full(x.size * n, np.nan),
        receiver=np.tile(np.arange(n, dtype=np.int16), x.size), rssi_dbm=levels.ravel(),
        count=np.ones(x.size * n),
    )  # fmt: skip
    rows = walk(store)
    bench = Bench(store, rows.tags(), radio_map=fit_radio_map(store, grid, points))
    bench.add(rows.arrivals())
    assert_rows_keep_the_rules(bench.finish(), rows, store)


@pytest.mark.parametrize(
    "polygon",
    [box(30, 30, 40, 40), box(9.5, 5.5, 14, 9), box(-5, -5, 0.1, 0.1), box(4.2, 3.7, 5.8, 4.3)],
    ids=["far away", "half inside", "a corner", "within an obstacle"],
)
def test_zones_outside_of_the_plan(polygon):
    store = shop()
    odd = zone("odd", polygon, layer="odd")
    store = dataclasses.replace(store, zones=(*store.zones, odd))
    found = sound(store, walk(store))
    if polygon[0][0] == 30:
        assert {0} == {row.people for row in records(found, "occupancy") if row.zone == "odd"}


def test_zones_that_overlap_in_different_layers():
    store = shop()
    same = [dataclasses.replace(z, id=f"{z.id}-2", layer="copy") for z in store.zones[:5]]
    whole_floor = zone("all", box(0, 0, 10, 6), layer="all")
    store = dataclasses.replace(store, zones=(*store.zones, *same, whole_floor))
    found = sound(store, walk(store))
    in_main = [(row.t_ns, row.zone, row.people) for row in records(found, "occupancy")
               if row.layer == "main"]  # fmt: skip
    in_copy = [(row.t_ns, row.zone[:-2], row.people) for row in records(found, "occupancy")
               if row.layer == "copy"]  # fmt: skip
    assert sorted(in_main) == sorted(in_copy)
    dwells = [dwell for dwell in records(found, "dwells") if dwell.layer == "all"]
    assert {"all"} == {dwell.zone for dwell in dwells}


def test_a_tag_that_never_moves_for_hours():
    store = shop()
    rows = stay(store, "p_still", "aisle", 0, 1.5 * HOUR_S, every_s=10)
    found = whole(store, rows)
    assert_rows_keep_the_rules(found, rows, store)
    (visit,) = records(found, "visits")
    (dwell,) = [row for row in records(found, "dwells") if row.layer == "main"]
    assert ("aisle", visit.start_ns, visit.end_ns) == (dwell.zone, dwell.start_ns, dwell.end_ns)
    assert 1.5 * HOUR_S - 9 == visit.visit_s
    assert visit.path_length_m < 5
    assert {1} == {row.people for row in records(found, "occupancy") if row.zone == "aisle"}


def test_a_tag_that_one_receiver_hears():
    store = shop()
    found = sound(store, thinned(walk(store), lambda row: row[1] == 4))
    assert positions_of(found, "p_a")


def test_a_tag_that_all_receivers_hear_equally():
    store = shop()
    rows = Rows(readings=[(row[0], row[1], row[2], -60.0) for row in walk(store).readings])
    sound(store, rows)


@pytest.mark.parametrize("rssi_dbm", [-120.0, 20.0])
def test_levels_at_the_limits(rssi_dbm):
    store = shop()
    rows = walk(store)
    sound(store, Rows(readings=[(*row[:3], rssi_dbm) for row in rows.readings], taps=rows.taps))
    mixed = [(*row[:3], 20.0 if i % 3 else -120.0) for i, row in enumerate(rows.readings)]
    sound(store, Rows(readings=mixed))


def test_two_pseudonyms_with_the_same_beginning():
    store = shop()
    names = ("p_abcdefghijklmnop", "p_abcdefghijklmnoq", "p_abcdefghijklmno")
    rows = Rows()
    for name in names:
        rows += stay(store, name, "aisle", 0, 60)
    found = sound(store, rows)
    assert sorted(names) == sorted(visit.tag for visit in records(found, "visits"))
    assert {3} == {row.people for row in records(found, "occupancy") if row.zone == "aisle"}


def test_more_receivers_and_zones_than_a_byte_counts():
    places = [(x * 2.0, y * 2.0) for y in range(15) for x in range(20)]
    zones = tuple(
        zone(f"z-{i}", box(x, y, x + 2, y + 2), "queue" if i % 7 == 0 else "aisle")
        for i, (x, y) in enumerate(places)
    )
    store = dataclasses.replace(
        shop(), outline_m=box(0, 0, 40, 30), obstacles=(), tap_points=(), zones=zones,
        receivers=receivers(*[(x + 1, y + 1) for x, y in places]), cell_m=2.0,
    )  # fmt: skip
    rows = stay(store, "p_last", (39.0, 29.0), 0, 40, every_s=1) + stay(
        store, "p_first", (1.0, 1.0), 0, 40, every_s=1
    )
    found = sound(store, rows)
    assert {"z-299"} == {row["zone"] for row in positions_of(found, "p_last", "final")}
    assert {"z-0"} == {row["zone"] for row in positions_of(found, "p_first", "final")}


def test_more_layers_than_a_byte_counts():
    layers = [zone(f"z-{i}", box(0, 0, 10, 6), layer=f"layer-{i:03}") for i in range(260)]
    store = dataclasses.replace(shop(), zones=tuple(layers), tap_points=(), cell_m=2.0)
    rows = stay(store, "p_a", (5.0, 1.5), 0, 3, every_s=1)
    found = whole(store, rows)
    assert_rows_keep_the_rules(found, rows, store)


def test_a_flood_of_tags_that_appear_once():
    store = shop()
    known = [f"p_known-{i}" for i in range(20)]
    rows = Rows()
    for i, name in enumerate(known):
        rows += stay(
            store, name, (0.5 + i % 5 * 2, 1.0 + i // 10), 0, 100, every_s=1, noise_db=3, seed=i
        )
    rng = np.random.default_rng(3)
    flood = [
        (START_NS + int(t_ns), int(rng.integers(6)), f"p_once-{i}", float(rng.integers(-90, -50)))
        for i, t_ns in enumerate(np.sort(rng.integers(20 * SECOND, 80 * SECOND, 5000)))
    ]
    both = rows + Rows(readings=flood)
    bench = Bench(store, both.tags())
    coming = sorted(both.arrivals(), key=lambda arrival: arrival[1][0])
    tracemalloc.start()
    began_s = time.process_time()
    while coming:
        until_ns = coming[0][1][0] // SECOND * SECOND + SECOND
        mine = [arrival for arrival in coming if arrival[1][0] < until_ns]
        coming = coming[len(mine) :]
        bench.add(mine)
        bench.advance(until_ns)
    found = bench.finish()
    spent_s = time.process_time() - began_s
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_rows_keep_the_rules(found, both, store)
    assert known == sorted((visit.tag for visit in records(found, "visits")), key=known.index)
    quiet = whole(store, rows)
    for name in ("dwells", "visits", "transitions"):
        assert quiet[name] == found[name], name
    mine = [row for row in found["positions"] if row[1] in set(known)]
    assert quiet["positions"] == mine
    assert spent_s < 60
    assert most < 400e6


def test_readings_of_staff_alone_give_no_rows():
    store = shop()
    found = sound(store, stay(store, "p_staff", "aisle", 0, 60))
    assert [] == found["positions"] == found["visits"]
    assert {0} == {row.people for row in records(found, "occupancy")}


def test_an_engine_without_any_rows():
    store = shop(shelves=True)
    bench = Bench(store, [])
    bench.advance(START_NS)
    bench.advance(START_NS - HOUR_S * SECOND)  # a watermark never goes back
    bench.engine.add_readings(*(np.empty(0, kind) for kind in ("i8", "i2", "i4", "f8")))
    bench.advance(START_NS + HOUR_S * SECOND)
    assert 0 == len(bench.engine.live().tag)
    found = bench.finish()
    assert {name: [] for name in (*TABLES, "positions", "zone_changes", "visits_started")} == found


def test_a_finished_engine_can_go_on():
    store = shop()
    first, second = walk(store), shifted(walk(store), 2 * HOUR_S * SECOND)
    bench = Bench(store, first.tags())
    bench.add(first.arrivals())
    bench.finish()
    bench.add(second.arrivals())
    found = bench.finish()
    assert 0 == bench.late
    assert whole(store, first + second)["visits"] == found["visits"]
    assert seconds(records(found, "visits")[0].start_ns) >= 0


def test_the_rules_under_test_are_all_rules():
    """A new rule must be added to `test_unusual_rules`."""
    tested = {
        key for mark in test_unusual_rules.pytestmark for case in mark.args[1] for key in case
    }
    assert {field.name for field in dataclasses.fields(Rules)} == tested
