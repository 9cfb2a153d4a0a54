import numpy as np
import pytest

from analytics.shelf import ShelfCore
from analytics.shelf_looks import Looks
from analytics.store import Sensor, Shelf, Store
from tests.analytics.shelf_signals import START_NS


def play(values, sensors=1):
    looks, found = Looks(sensors), []
    for tick, row in enumerate(np.atleast_2d(values)):
        seen = np.flatnonzero(np.isfinite(row))
        found += looks.step(tick, seen, row[seen])
    return found


def aisle(ticks, seed=0):
    return 1500 + np.random.default_rng(seed).normal(0, 20, (ticks, 1))


def test_a_stay_of_six_seconds_is_one_look():
    value = aisle(400)
    value[200:230] = 600
    (look,) = play(value)
    assert pytest.approx(200, abs=2) == look.start
    assert pytest.approx(230, abs=2) == look.end


def test_a_passer_by_is_no_look():
    value = aisle(400)
    value[200:203] = 600
    assert [] == play(value)


def test_no_target_means_nobody():
    value = aisle(400)
    value[200:260] = 8190
    assert [] == play(value)


def test_a_moved_display_heals():
    value = np.vstack([aisle(200), np.full((12000, 1), 1250.0)])
    looks = Looks(1)
    for tick, row in enumerate(value):
        looks.step(tick, np.array([0]), row)
    assert not looks.is_present[0]


def test_silence_ends_a_look_at_the_last_evidence():
    value = aisle(400)
    value[200:220] = 600
    value[220:] = np.nan
    (look,) = play(value)
    assert pytest.approx(220, abs=1) == look.end


def test_the_core_reports_looks_of_range_sensors():
    store = Store(
        id="e",
        name="",
        timezone="UTC",
        outline_m=(),
        receivers=(),
        shelves=(Shelf(id="a", zone="z", sensors=(Sensor(id="tof", kind="range"),)),),
    )
    value = aisle(400)[:, 0]
    value[200:230] = 600
    value[390:] = 600
    core = ShelfCore(store)
    core.add(START_NS + np.arange(400) * 200_000_000, np.zeros(400, np.int16), value)
    out = core.finish()
    assert [("look", "tof"), ("look", "tof")] == [(e.kind, e.sensor) for e in out.events]
    assert ["ok"] == [h.state for h in out.health]
