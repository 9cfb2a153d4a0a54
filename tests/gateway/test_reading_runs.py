import dataclasses
import random

import numpy as np
import pytest

from gateway.driver import AHEAD_MAX_NS, Driver
from ingest.group import GroupDecoder
from ingest.tag_table import TagTable
from tests.gateway.fake_engine import FakeEngine
from tests.gateway.samples import SECOND, STORE, T0, readings, taps

NAMES = ["p_" + "".join(random.Random(at).choices("abcdefgh234567", k=16)) for at in range(60)]


def _driver(clock="data", *, store=STORE, capacity=1000):
    return Driver(
        store,
        lambda name_of: FakeEngine(STORE, name_of),
        clock=clock,
        silent_s=30.0,
        report=lambda _sentence: None,
        tags=TagTable(capacity),
    )


def _batches(rng, count, *, receivers=("rx-1", "rx-2"), odd=False, ahead=False):
    """Batches of readings, among them taps; odd = with impossible levels."""
    made, times = [], []
    for seq in range(1, count + 1):
        at_ns = T0 + seq * SECOND // 4
        rows = [
            (
                at_ns + rng.randrange(-SECOND, SECOND),
                rng.choice(receivers),
                rng.choice(NAMES),
                99 if odd and rng.random() < 0.1 else rng.randrange(-900, -400) / 10,
            )
            for _ in range(rng.randrange(1, 40))
        ]
        if ahead and rng.random() < 0.3:
            rows[0] = (at_ns + 2 * AHEAD_MAX_NS, *rows[0][1:])
        said = {"complete_ns": at_ns - SECOND} if rng.random() < 0.5 else {}
        made.append(readings(seq, rows, agent=f"pi-{seq % 3}", **said))
        if rng.random() < 0.2:
            made.append(taps(seq, [(at_ns, "gate-1", rng.choice(NAMES))]))
        times += [at_ns + SECOND] * (len(made) - len(times))
    return [*zip(GroupDecoder().decode(made), times, strict=True)]


def _check_same(one, other):
    assert one.engine.rows == other.engine.rows
    assert one.engine.taps == other.engine.taps
    assert one.state() == other.state()
    assert one.tags.state() == other.tags.state()
    assert one.dirty_ns == other.dirty_ns


CASES = {
    "good ones": {},
    "impossible levels": {"odd": True},
    "a receiver nobody knows": {"receivers": ("rx-1", "rx-9")},
    "times ahead": {"ahead": True},
}


@pytest.mark.parametrize("clock", ["data", "wall"])
@pytest.mark.parametrize("case", CASES)
def test_many_at_once_are_as_one_by_one(case, clock):
    batches = _batches(random.Random(case), 60, **CASES[case])
    store = dataclasses.replace(STORE, staff_tags=(NAMES[3], "p_staffstaffstaffs"))
    together, one_by_one = _driver(clock, store=store), _driver(clock, store=store)
    for first in range(0, len(batches), 25):
        portion = batches[first : first + 25]
        expected = [taps for b, ns in portion if (taps := one_by_one.feed(b, ns)) is not None]
        assert expected == together.feed_all(portion)
        to_ns = T0 + first * SECOND // 4  # what is before it will be late
        together.advance(to_ns)
        one_by_one.advance(to_ns)
    _check_same(one_by_one, together)
    assert one_by_one.counts.used["ble"] > 0
    assert {NAMES[3]} == set(together.state()["staff_seen"])


def test_late_rows_are_counted_and_the_earliest_is_noted():
    batches = _batches(random.Random(5), 20)
    together, one_by_one = _driver(), _driver()
    for driver in (together, one_by_one):
        driver.engine.advance(T0 + 3 * SECOND)
    together.feed_all(batches)
    for batch, received_ns in batches:
        one_by_one.feed(batch, received_ns)
    _check_same(one_by_one, together)
    assert together.counts.late["ble"] > 0


def test_a_full_tag_table_refuses_the_same():
    batches = _batches(random.Random(6), 20)
    together, one_by_one = _driver(capacity=30), _driver(capacity=30)
    together.feed_all(batches)
    for batch, received_ns in batches:
        one_by_one.feed(batch, received_ns)
    _check_same(one_by_one, together)
    assert together.counts.dropped["tag_table_full"] > 0


def test_long_runs_are_cut(monkeypatch):
    monkeypatch.setattr("gateway.driver.ROWS_MAX", 50)
    batches = _batches(random.Random(7), 40)
    together, one_by_one = _driver(), _driver()
    together.feed_all(batches)
    for batch, received_ns in batches:
        one_by_one.feed(batch, received_ns)
    _check_same(one_by_one, together)
    assert np.isfinite([row[3] for row in together.engine.rows]).all()
