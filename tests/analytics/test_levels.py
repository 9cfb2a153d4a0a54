"""From the readings of a tick to one power mean per receiver and lane."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.filter_model import REFERENCE_DBM
from analytics.levels import TickLevels, rssi_tenths

READINGS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-1200, 200)), max_size=40
)


def reduce(rows: list[tuple[int, int, int]], levels: TickLevels):
    """Reduce (receiver, lane, tenths) rows."""
    receiver, lane, tenths = np.array(rows or np.empty((0, 3)), np.int64).T
    levels.reduce(receiver.astype(np.int16), lane, tenths.astype(np.int16), 4)
    return levels.levels()


def test_rounds_to_a_tenth_of_a_decibel() -> None:
    assert [-612, -613, 200, -1200] == rssi_tenths(
        np.array([-61.24, -61.26, 20.0, -120.0])
    ).tolist()
    assert [-613] == rssi_tenths(np.array([-61.26], np.float32)).tolist()


@given(READINGS)
@settings(max_examples=60, deadline=None)
def test_agrees_with_a_loop_over_milliwatts(rows: list[tuple[int, int, int]]) -> None:
    found = reduce(rows, TickLevels(3))
    level, heard = found.level_db, found.heard
    for receiver in range(3):
        for lane in range(4):
            mine = [t / 10 for r, at, t in rows if (r, at) == (receiver, lane)]
            assert bool(mine) == heard[receiver, lane]
            assert len(mine) == found.count[receiver, lane]
            if mine:
                mean_db = np.mean(mine) - REFERENCE_DBM
                assert mean_db == pytest.approx(found.mean_db[receiver, lane], abs=1e-3)
            if mine and max(mine) > -100:
                expected = 10 * np.log10(np.mean([10 ** (dbm / 10) for dbm in mine]))
                assert expected - REFERENCE_DBM == pytest.approx(level[receiver, lane], abs=0.01)
            elif not mine:
                assert level[receiver, lane] == 0


@given(READINGS, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_and_what_was_before_do_not_matter(rows, random) -> None:
    fresh = reduce(rows, TickLevels(3))
    used = TickLevels(3)
    reduce([(0, 0, 200), (2, 3, -1200)], used)
    again = reduce(random.sample(rows, len(rows)), used)
    for name in ("level_db", "mean_db", "count", "heard"):
        assert np.array_equal(getattr(fresh, name), getattr(again, name))
