"""Rows waiting for their tick: any order, any portions, repetitions once, late ones refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.tick_buffer import TickBuffer, ticks_in

ROWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.integers(0, 2)), max_size=40)


def columns(rows):
    """Return rows as the columns of a buffer."""
    t, a, b = np.array(rows or np.empty((0, 3)), np.int64).T
    return t, a.astype(np.int16), b.astype(np.int32)


def drained(buffer: TickBuffer) -> dict[int, list[tuple[int, ...]]]:
    """Take everything out, as sorted rows by tick."""
    found = {}
    while (tick := buffer.first_tick()) is not None:
        rows = buffer.pop(tick)
        found[tick] = sorted(zip(*(column.tolist() for column in rows), strict=True))
    return found


@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_every_portioning_gives_the_distinct_rows_of_each_tick(rows, random, parts: int) -> None:
    expected: dict[int, list[tuple[int, ...]]] = {}
    for row in sorted(set(rows)):
        expected.setdefault(row[0] // 10, []).append(row)
    mixed = random.sample(rows, len(rows))
    buffer = TickBuffer(10)
    for part in range(parts):
        assert buffer.add(columns(mixed[part::parts])) == 0
    assert buffer.last_tick() == max(expected, default=None)
    assert expected == drained(buffer)


def test_rows_of_closed_ticks_are_counted_and_refused() -> None:
    buffer = TickBuffer(10)
    buffer.next_tick = 3
    assert buffer.add(columns([(29, 0, 0), (30, 0, 0), (5, 1, 1), (45, 0, 0)])) == 2
    assert {3: [(30, 0, 0)], 4: [(45, 0, 0)]} == drained(buffer)


def test_a_tick_that_was_taken_can_be_filled_again() -> None:
    buffer = TickBuffer(10)
    buffer.add(columns([(5, 0, 0)]))
    assert buffer.pop(0) is not None
    assert buffer.pop(0) is None
    assert buffer.first_tick() is None
    buffer.add(columns([(6, 0, 0)]))
    assert buffer.first_tick() == 0
    assert {0: [(6, 0, 0)]} == drained(buffer)


def test_nothing_is_nothing() -> None:
    buffer = TickBuffer(10)
    assert buffer.add(columns([])) == 0
    assert buffer.first_tick() is None
    assert buffer.last_tick() is None


@pytest.mark.parametrize(
    ("duration_s", "tick_s", "expected"),
    [(3.0, 1.0, 3), (3.5, 1.0, 3), (0.6, 0.2, 3), (0.3, 0.1, 3), (5.0, 2.0, 2), (0.0, 1.0, 0)],
)
def test_whole_ticks_are_not_lost_to_binary_fractions(duration_s, tick_s, expected) -> None:
    assert expected == ticks_in(duration_s, tick_s)


@pytest.mark.timeout(20)
def test_a_day_of_ticks_is_not_searched_again_for_each_of_them() -> None:
    ticks = 60_000
    buffer = TickBuffer(10)
    buffer.add(columns([(10 * at, 0, 0) for at in range(ticks)][::-1]))
    for tick in range(ticks):
        assert buffer.first_tick() == tick
        assert buffer.pop(tick) is not None
    assert buffer.first_tick() is None
