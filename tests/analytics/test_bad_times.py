"""Times at the ends of the scale, local time that jumps, long silences, late rows."""

import dataclasses
import datetime as dt
import time
import tracemalloc

import numpy as np
import pytest

from tests.analytics.row_rules import assert_rows_keep_the_rules
from tests.analytics.sound_rows import HOUR_S, nameless, shifted, sound, walk
from tests.analytics.stores import (
    SECOND,
    START_NS,
    Bench,
    Rows,
    records,
    shop,
    stay,
    tour,
    whole,
)


@pytest.mark.parametrize(
    "t_ns",
    [
        0,
        5 * SECOND,
        -3600 * SECOND,
        -1,
        -40 * SECOND - 7,
        7_258_118_400 * SECOND,
        2**63 - 2 * 10**15,
    ],
    ids=["zero", "near zero", "before 1970", "just before", "across zero", "2200", "last week"],
)
def test_times_at_the_ends_of_the_scale(t_ns):
    store = shop(shelves=True)
    rows = walk(store)
    mass = [(START_NS + i * SECOND // 5, 0, 5000.0 - 250.0 * (i > 200)) for i in range(400)]
    rows += Rows(samples=mass)
    found = sound(store, shifted(rows, t_ns - START_NS))
    assert 2 == len(found["visits"])
    assert found["shelf_stock"]


CHANGES = {
    "midnight UTC": dt.datetime(2026, 5, 4, tzinfo=dt.UTC),
    "midnight in Berlin": dt.datetime(2026, 5, 3, 22, tzinfo=dt.UTC),
    "summer time ends": dt.datetime(2026, 10, 25, 1, tzinfo=dt.UTC),
    "summer time begins": dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC),
    "the year ends": dt.datetime(2026, 12, 31, 23, tzinfo=dt.UTC),
}


@pytest.mark.parametrize("at", CHANGES.values(), ids=CHANGES)
def test_nothing_happens_when_local_time_jumps(at):
    store = dataclasses.replace(shop(), timezone="Europe/Berlin")
    rows = tour(store, "p_a", ("entrance", 60), ("aisle", 90), ("queue", 40), ("checkout", 60))
    begins_ns = int(at.timestamp()) * SECOND - 120 * SECOND
    later_ns = 5040 * 60 * SECOND  # whole hours, and the same phase of anything up to ten ticks
    found = sound(store, shifted(rows, begins_ns - START_NS))
    usual = sound(store, shifted(rows, begins_ns - later_ns - START_NS))
    minutes = [row.t_ns for row in records(found, "occupancy") if row.zone == "aisle"]
    assert [60 * SECOND] * (len(minutes) - 1) == np.diff(minutes).tolist()
    for name in ("positions", "occupancy", "queues"):
        assert [(row[0] + later_ns, *row[1:]) for row in usual[name]] == found[name]
    for name in ("dwells", "visits"):
        moved = [
            dataclasses.replace(row, start_ns=row.start_ns + later_ns, end_ns=row.end_ns + later_ns)
            for row in records(usual, name)
        ]
        assert nameless(moved) == nameless(records(found, name))


@pytest.mark.parametrize("gap_s", [3 * HOUR_S, 400 * 24 * HOUR_S], ids=["hours", "a year"])
@pytest.mark.parametrize("has_shelf", [False, True])
def test_silence_costs_nothing_however_long(gap_s, has_shelf):
    store = shop(shelves=has_shelf)
    samples = [(START_NS + at_s * SECOND + i * SECOND // 5, 0, 5000.0)
               for at_s in (0, gap_s) for i in range(300 * has_shelf)]  # fmt: skip
    rows = walk(store) + Rows(samples=samples)
    rows += shifted(walk(store), gap_s * SECOND)
    bench = Bench(store, rows.tags())
    began_s = time.process_time()
    coming = sorted(rows.arrivals(), key=lambda arrival: arrival[1][0])
    early = [arrival for arrival in coming if arrival[1][0] < START_NS + gap_s * SECOND // 2]
    bench.add(early)
    bench.advance(START_NS + 100 * SECOND)
    tracemalloc.start()
    for part in range(1, 5):  # a clock that goes on in leaps while nobody is there
        bench.advance(START_NS + gap_s * SECOND * part // 4)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    bench.add(coming[len(early) :])
    found = bench.finish()
    spent_s = time.process_time() - began_s
    assert bench.late == 0
    assert_rows_keep_the_rules(found, rows, store)
    assert 4 == len(found["visits"])
    assert spent_s < 10, "a year has 35 million ticks"
    assert most < 30e6
    minutes = {row.t_ns for row in records(found, "occupancy")}
    assert len(minutes) <= 8, "minutes in which nothing was heard have no rows"


def test_rows_that_come_too_late_are_counted_and_change_nothing():
    store = shop()
    rows = walk(store)
    bench = Bench(store, rows.tags())
    bench.add(rows.arrivals())
    bench.advance(START_NS + 100 * SECOND)
    old = stay(store, "p_a", "promo", 0, 50)
    bench.add(old.arrivals())
    assert len(old.readings) == bench.late
    assert whole(store, rows) == bench.finish()
