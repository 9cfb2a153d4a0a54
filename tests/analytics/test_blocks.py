"""Deciding zones, and the ring of what a block said."""

import random

import numpy as np
import pytest

from analytics.blocks import FINAL, LIVE, UNDECIDED, Block, Layers, decide, published_p
from analytics.cells import build_cells
from analytics.filter_model import build_model
from analytics.radio_map import radio_map_from_geometry
from analytics.tracker import Scratch
from tests.analytics.stores import shop

STORE = shop()
GRID = build_cells(STORE)
MODEL = build_model(
    GRID, radio_map_from_geometry(STORE, GRID), tick_s=1.0, reach=np.ones((1, len(GRID)))
)
ALWAYS = np.ones(4, bool)
LAYERS = Layers(zones=(np.arange(5, dtype=np.int16), np.array([5, 6], np.int16)), cell_m=1.0)


def block(ring: int = 8) -> Block:
    """Return a small block."""
    return Block(MODEL, LAYERS, Scratch(MODEL, 4), base=0, lanes=4, depth=3, ring=ring)


def readout(x: float, y: float, shares: dict[int, float], reach: float = 0.0) -> np.ndarray:
    """Return the readout of four equal lanes at a sharp place."""
    dx, dy = x - MODEL.origin_m[0], y - MODEL.origin_m[1]
    column = np.zeros(4 + 7 + 1, np.float32)
    column[:4] = dx, dy, dx * dx, dy * dy
    for zone, share in shares.items():
        column[4 + zone] = share
    column[-1] = reach
    return np.repeat(column[:, None], 4, axis=1)


def test_agrees_with_the_rule_lane_by_lane() -> None:
    rng = random.Random(1)
    for _ in range(200):
        mass = np.array([[rng.random() for _ in range(3)] for _ in range(4)], np.float32)
        current = np.array([rng.choice([-1, 0, 1, 2, 3]) for _ in range(3)], np.int16)
        may = np.array([rng.random() < 0.8 for _ in range(3)])
        expected = []
        for lane in range(3):
            best = int(mass[:, lane].argmax())
            now = int(current[lane])
            first = now == UNDECIDED
            beats = first or mass[best, lane] > mass[now, lane] + np.float32(0.2)
            expected.append(best if may[lane] and beats else now)
        assert expected == decide([mass], current, margin=0.2, may_change=may).tolist()


def test_zones_are_translated_to_those_of_the_store() -> None:
    decided = np.array([0, 1, 2, UNDECIDED], np.int16)
    assert [5, 6, -1, -1] == LAYERS.to_store_zone(1, decided).tolist()


def final(one: Block, tick: int, *readouts: np.ndarray, present: np.ndarray = ALWAYS) -> None:
    """Record a corrected answer with evidence in all lanes, long before the last one."""
    masses = [one.masses(each) for each in readouts]
    one.record_final(tick, readouts[0], masses, ALWAYS, present, np.full(4, 1000))


def test_record_keeps_place_zone_and_probability_of_each_layer() -> None:
    one = block()
    evidence = np.array([True, True, True, False])
    one.record_live(3, readout(2.0, 1.0, {0: 0.6, 1: 0.1, 5: 0.9}), evidence)
    assert [2.0, 1.0] == pytest.approx(one.place[LIVE, 3, :2, 0].tolist(), abs=1e-5)
    assert one.place[LIVE, 3, 2, 0] == pytest.approx(np.sqrt(1 / 6), abs=1e-3)
    assert [0, 0, 0, UNDECIDED] == one.zone[LIVE, 3, 0].tolist()
    assert [0, 0, 0, UNDECIDED] == one.zone[LIVE, 3, 1].tolist()
    assert one.zone_p[LIVE, 3, 0, 0] == pytest.approx(0.6)
    assert one.zone_p[LIVE, 3, 1, 0] == pytest.approx(0.8)  # 0.9, less what it is too sure of
    assert np.isnan(one.place[FINAL]).all()


def test_published_probability_is_never_larger_and_keeps_its_order() -> None:
    mass = np.linspace(0, 1, 1001, dtype=np.float32)
    shown = published_p(mass)
    assert (shown <= mass + 1e-6).all()
    assert (np.diff(shown) > 0).all()
    assert [0.0, 0.7, 0.8, 1.0] == pytest.approx(shown[[0, 700, 900, 1000]].tolist())


def test_margin_is_larger_for_the_corrected_answer() -> None:
    one = block()
    one.record_live(0, readout(2, 1, {0: 0.9}), ALWAYS)
    one.record_live(1, readout(2, 1, {0: 0.3, 1: 0.6}), ALWAYS)
    assert one.zone[LIVE, 1, 0, 0] == 1
    final(one, 0, readout(2, 1, {0: 0.9}))
    final(one, 1, readout(2, 1, {0: 0.3, 1: 0.6}))
    assert one.zone[FINAL, 1, 0, 0] == 0


def test_corrected_decision_enters_when_the_lead_begins_that_will_be_clear() -> None:
    begins, clear = readout(2, 1, {0: 0.4, 1: 0.5}), readout(2, 1, {0: 0.1, 1: 0.9})
    falls = readout(2, 1, {0: 0.8, 1: 0.1})
    for following, expected in (
        ([clear, clear, clear], 1),
        ([begins, begins, begins], 0),
        ([begins, clear, clear], 1),
        ([falls, clear, clear], 0),  # it led, but not without a break
        ([begins], 0),
        ([], 0),
    ):
        one = block()
        final(one, 0, readout(2, 1, {0: 0.9}))
        final(one, 1, begins, *following)
        assert expected == one.zone[FINAL, 1, 0, 0], len(following)


def test_corrected_decision_ignores_ticks_after_the_last_evidence() -> None:
    one = block()
    final(one, 0, readout(2, 1, {0: 0.9}))
    begins, clear = readout(2, 1, {0: 0.48, 1: 0.5}), readout(2, 1, {0: 0.1, 1: 0.9})
    last = np.array([1, 1, 2, 3])
    masses = [one.masses(each) for each in (begins, begins, clear, clear)]
    one.record_final(1, begins, masses, ALWAYS, ALWAYS, last)
    assert [0, 0, 0, 1] == one.zone[FINAL, 1, 0].tolist()


def test_ring_knows_which_tick_a_slot_holds() -> None:
    one = block(ring=8)
    assert not one.was_stepped(3)
    assert (one.age > 1000).all()
    one.record_live(3, readout(2, 1, {}), ALWAYS)
    assert one.was_stepped(3)
    assert not one.was_stepped(11)
    final(one, 3, readout(2, 1, {}, reach=0.8), present=np.array([1, 1, 0, 0], bool))
    assert [0.8, 0.8, 0.0, 0.0] == pytest.approx(one.reach_at(3, 0).tolist())
    assert [0.0] * 4 == one.reach_at(11, 0).tolist()


def test_new_tag_inherits_neither_decision_nor_reach() -> None:
    one = block()
    one.record_live(0, readout(2, 1, {0: 0.9}), ALWAYS)
    final(one, 0, readout(2, 1, {0: 0.9}, reach=0.8))
    one.forget(2)
    assert [0, 0, UNDECIDED, 0] == one.decided[FINAL, 0].tolist()
    assert [0.8, 0.8, 0.0, 0.8] == pytest.approx(one.reach_at(0, 0).tolist())
