"""What the engine says of its memory is what Python's own accounts say."""

import gc
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest

from analytics.cells import build_cells
from analytics.engine import Engine
from analytics.radio_map import radio_map_from_geometry
from analytics.state_size import array_bytes
from tests.analytics.stores import SECOND, START_NS, shop
from tests.analytics.two_floors import two_floors

LANES = 512
"""All lanes of the first four blocks."""
SHARE = 0.3
REST_S = 40
OTHER = 4000


def feed(engine: Engine, receivers: int, tags: Iterable[int], from_s: int, seconds: int) -> None:
    """Let some tags be heard by all receivers, second by second."""
    each = np.fromiter(tags, np.int32)
    tag = np.repeat(each, receivers)
    receiver = np.tile(np.arange(receivers, dtype=np.int16), len(each))
    for second in range(from_s, from_s + seconds):
        t_ns = START_NS + second * SECOND
        engine.add_readings(np.full(len(tag), t_ns), receiver, tag, -60.0 - receiver)
        engine.advance(t_ns + SECOND)


def new_engine(store) -> Engine:
    grid = build_cells(store)
    radio_map = radio_map_from_geometry(store, grid)
    return Engine(store, radio_map, grid=grid,
                  name_of=lambda ids: [f"p_{i:016d}" for i in ids.tolist()])  # fmt: skip


def grown(before: int) -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


@pytest.mark.parametrize("store", [shop(), two_floors()], ids=["one floor", "two floors"])
def test_sizes_are_those_that_python_counts(store):
    receivers = len(store.receivers)
    feed(new_engine(store), receivers, [0], 0, 2)  # what is loaded once is loaded now
    gc.collect()
    tracemalloc.start()
    try:
        engine = new_engine(store)
        feed(engine, receivers, [0], 0, 3)
        before = grown(0)
        feed(engine, receivers, range(LANES), 3, 3)
        followed = grown(before) / (LANES - 32)  # the first block was there
        feed(engine, receivers, [OTHER], 6, REST_S)
        assert 1 == engine.live().tag.size
        before = grown(0)
        feed(engine, receivers, range(LANES, 2 * LANES - 1), 6 + REST_S, 3)
        feed(engine, receivers, [OTHER], 9 + REST_S, REST_S)
        resting = grown(before) / (LANES - 1)
    finally:
        tracemalloc.stop()
    sizes = engine.state_bytes()
    assert sizes["followed_tag"] == pytest.approx(followed, rel=SHARE)
    assert sizes["resting_tag"] == pytest.approx(resting, rel=SHARE)


def test_what_is_fixed_is_what_a_new_engine_takes():
    store = two_floors()
    new_engine(store)
    gc.collect()
    tracemalloc.start()
    try:
        engine = new_engine(store)
        taken = grown(0)
    finally:
        tracemalloc.stop()
    fixed = engine.state_bytes()["fixed"]
    assert fixed == pytest.approx(taken, rel=SHARE)
    feed(engine, len(store.receivers), range(200), 0, 3)
    # More tags need wider working arrays, but beliefs are no part of this.
    assert fixed <= engine.state_bytes()["fixed"] < 4 * fixed


def test_arrays_count_once_however_often_they_are_met():
    values = np.zeros(100)
    assert 800 == array_bytes([values, values[:10], {"again": (values,)}])
