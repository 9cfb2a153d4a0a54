"""Invariances of the shelf core: chunks, order, duplicates, permutation, time, mass balance."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.shelf import ShelfCore
from analytics.store import Store
from tests.analytics.shelf_bench import UNITS_G, Bench, booked, small_store
from tests.analytics.shelf_signals import START_NS, Condition, make_signals

BUSY = Condition(shelves=2, plates=6, secs=70, fs=5, rate=6, gap=2, dropouts=0.2, spikes=0.001)


@cache
def busy(seed):
    return make_signals(seed, BUSY)


def run(store, t_ns, sensor, value, cuts=(), lag_ns=0, rng=None):
    """Feed rows in pieces, each up to `lag_ns` late, closing ticks that far behind."""
    core = ShelfCore(store)
    arrival = t_ns if rng is None else t_ns + rng.integers(0, lag_ns + 1, len(t_ns))
    events, stock, health = [], [], []
    for end, rows in _parts(arrival, cuts):
        assert 0 == core.add(t_ns[rows], sensor[rows], value[rows])
        if end is not None:
            out = core.advance(end - lag_ns)
            events += out.events
            stock += out.stock
            health += out.health
    out = core.finish()
    return events + out.events, stock + out.stock, health + out.health


def _parts(t_ns, cuts):
    edges = [int(t_ns.min()) + int(c * 1e9) for c in sorted(cuts)]
    where = np.searchsorted(np.array(edges, np.int64), t_ns, side="right")
    return [
        (edges[k] if k < len(edges) else None, np.flatnonzero(where == k))
        for k in range(len(edges) + 1)
    ]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 3),
    cuts=st.lists(st.floats(0, 72), max_size=40),
    lag=st.integers(0, 3_000_000_000),
    shuffle=st.integers(0, 2**32 - 1),
    twice=st.booleans(),
)
def test_chunks_order_and_duplicates_change_nothing(seed, cuts, lag, shuffle, twice):
    s = busy(seed)
    rng = np.random.default_rng(shuffle)
    order = rng.permutation(len(s.t_ns))
    if twice:
        order = np.concatenate([order, rng.choice(order, len(order) // 3)])
    expected = run(s.store, s.t_ns, s.sensor, s.value)
    actual = run(s.store, s.t_ns[order], s.sensor[order], s.value[order], cuts, lag, rng)
    assert expected == actual
    assert expected[0]


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 3))
def test_permuting_shelves_permutes_results(seed):
    s = busy(seed)
    other = replace(s.store, shelves=s.store.shelves[::-1])
    first = run(s.store, s.t_ns, s.sensor, s.value)
    swapped = (s.sensor + BUSY.plates) % (2 * BUSY.plates)
    second = run(other, s.t_ns, swapped.astype(np.int16), s.value)

    def by_id(events):
        return sorted(events, key=lambda e: (e.event, e.status, e.quantity))

    assert by_id(first[0]) == by_id(second[0])
    assert sorted(first[2], key=str) == sorted(second[2], key=str)


@settings(max_examples=15, deadline=None)
@given(
    offset=st.floats(-2000, 2000),
    plate=st.integers(0, 11),
    product=st.integers(0, 5),
    share=st.floats(0, 1),
)
def test_a_constant_on_a_plate_changes_no_event(offset, plate, product, share):
    bench = Bench(secs=40, fs=10)
    unit = UNITS_G[product]
    bench.step(20.0, 2 * product, -unit * share).step(20.0, 2 * product + 1, -unit * (1 - share))
    t_ns, sensor, value = bench.rows()
    moved = value + np.where(sensor == plate, offset, 0.0)
    first, second = bench.play(rows=(t_ns, sensor, value)), bench.play(rows=(t_ns, sensor, moved))
    assert [("pick", product, 1)] == [b[:3] for b in booked(first)]
    assert booked(first) == booked(second)


@settings(max_examples=10, deadline=None)
@given(product=st.integers(0, 5), start=st.floats(15, 20), seed=st.integers(0, 99))
def test_time_turned_round_turns_picks_into_adds(product, start, seed):
    bench = Bench(secs=40, fs=10, seed=seed)
    bench.step(start, 2 * product, -UNITS_G[product])
    t_ns, sensor, value = bench.rows()
    turned = (2 * START_NS + 40_000_000_000) - t_ns
    forward, back = bench.play(rows=(t_ns, sensor, value)), bench.play(rows=(turned, sensor, value))
    assert [("pick", product, 1)] == [b[:3] for b in booked(forward)]
    assert [("restock", product, 1)] == [b[:3] for b in booked(back)]


@settings(max_examples=10, deadline=None)
@given(picks=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_booked_grams_are_the_change_of_level(picks, seed):
    bench = Bench(secs=20 + 8 * len(picks), fs=10, seed=seed)
    for k, product in enumerate(picks):
        bench.step(12.0 + 8 * k, 2 * product, -UNITS_G[product])
    out = bench.play()
    booked_g = sum(e.delta_g for e in out.events if e.status == "final")
    change = float((bench.load[-1] - bench.load[0]).sum())
    # Cross-talk removal takes a share off; the loads have none.
    assert pytest.approx(change, abs=0.04 * abs(change) + 10) == booked_g


def test_time_that_goes_on_after_the_last_sample_changes_no_event():
    s = busy(1)
    keep = s.t_ns < START_NS + 45_000_000_000
    cut = (s.t_ns[keep], s.sensor[keep], s.value[keep])
    assert run(s.store, *cut)[0] == run(s.store, *cut, cuts=[44.5, 46.3, 49.0, 70.0])[0]


def test_ids_name_store_shelf_product_and_time():
    rows = Bench().step(30.0, 2, -300).rows()

    def ids(store: Store):
        return [e.event for e in Bench().play(store, rows).events]

    assert ids(small_store()) == ids(small_store())
    assert ids(small_store()) != ids(small_store(store_id="other"))
    assert ids(small_store()) != ids(small_store(shelf_id="shelf-2"))
