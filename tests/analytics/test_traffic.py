"""Traffic: readings become pieces of tracks, whatever their order, and nothing is lost."""

import numpy as np
import pytest

from analytics.levels import TickLevels
from analytics.traffic import (
    PIECE_TICKS,
    Traffic,
    reduce_traffic,
    split_by_time,
    thinned,
)

SECOND = 10**9


def traffic(rows: list[tuple[float, int, int, float]], receivers: int = 3) -> Traffic:
    """Reduce rows of time [s], receiver, tag, RSSI."""
    t, receiver, tag, rssi = np.array(rows, float).reshape(-1, 4).T
    return reduce_traffic(
        (t * SECOND).astype(np.int64),
        receiver.astype(np.int16),
        tag.astype(np.int32),
        rssi.astype(np.float32),
        receivers=receivers,
        tick_ns=SECOND,
    )


def steady(seconds, *, tag: int = 0) -> list[tuple[float, int, int, float]]:
    """Return one reading of receiver 0 in each of these seconds."""
    return [(float(second), 0, tag, -70.0) for second in seconds]


def test_a_silence_of_more_than_ten_seconds_starts_a_new_piece() -> None:
    found = traffic([*steady(range(6)), *steady(range(15, 21)), *steady(range(40, 46))])
    assert [21, 6] == found.lengths.tolist()
    assert [0, 12, 18] == found.start.tolist()


def test_tags_do_not_mix_and_short_pieces_are_left_out() -> None:
    found = traffic([*steady(range(6)), *steady(range(4), tag=1), *steady(range(7), tag=2)])
    assert [0, 2] == found.tag.tolist()
    assert [6, 7] == found.lengths.tolist()


def test_long_tracks_are_cut() -> None:
    found = traffic(steady(range(2 * PIECE_TICKS + 50)))
    assert [PIECE_TICKS, PIECE_TICKS, 50] == found.lengths.tolist()


def test_levels_are_the_means_of_the_filter_and_unheard_is_nan() -> None:
    found = traffic([*steady(range(5)), (2.5, 0, 0, -60.0), (2.5, 1, 0, -80.0)])
    reducer = TickLevels(3)
    receiver, tenths = np.array([0, 0, 1], np.int16), np.array([-700, -600, -800], np.int16)
    reducer.reduce(receiver, np.zeros(3, np.int64), tenths, 1)
    level = reducer.levels().level_db
    assert np.array_equal([level[0, 0], level[1, 0], np.nan], found.level_db[2], equal_nan=True)
    assert [6, 1, 0] == found.readings.tolist()


def test_order_and_repetition_change_nothing() -> None:
    rng = np.random.default_rng(3)
    rows = [
        (float(t), int(rng.integers(3)), int(rng.integers(4)), float(rng.integers(-90, -40)))
        for t in rng.uniform(0, 90, 2000)
    ]
    mixed = rows + rows[::2]
    rng.shuffle(mixed)
    first, second = traffic(rows), traffic([tuple(row) for row in mixed])
    for name in ("level_db", "tick", "start", "tag", "readings"):
        assert np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True), name


def test_two_levels_at_one_instant_both_count() -> None:
    found = traffic([*steady(range(5)), (2.0, 0, 0, -60.0), (2.0, 0, 0, -60.0)])
    assert [6, 0, 0] == found.readings.tolist()
    assert found.level_db[2, 0] == pytest.approx(10 * np.log10((1e-7 + 1e-6) / 2) + 75, abs=1e-3)


def test_nothing_gives_nothing() -> None:
    found = traffic([])
    assert 0 == len(found)
    assert [] == list(found.batches(10))
    early, late = split_by_time(found, 0.8)
    assert (0, 0) == (len(early), len(late))
    assert 0 == len(thinned(found, 10))


def test_split_cuts_tracks_in_time() -> None:
    found = traffic([*steady(range(100)), *steady(range(50, 70), tag=1)])
    early, late = split_by_time(found, 0.75)
    assert early.tick.max() < late.tick.min()
    assert len(found.tick) == len(early.tick) + len(late.tick)
    assert {0, 1} == set(early.tag.tolist())
    assert 0.7 < len(early.tick) / len(found.tick) < 0.8


def test_batches_hold_every_piece_once_and_lay_them_side_by_side() -> None:
    rows = [row for tag in range(70) for row in steady(range(5 + tag), tag=tag)]
    found = traffic(rows)
    groups = list(found.batches(10))
    assert list(range(70)) == sorted(np.concatenate(groups).tolist())
    assert max(map(len, groups)) == 64
    level, heard = found.dense(groups[0])
    assert (74, 3, 64) == level.shape
    assert found.lengths[groups[0]].tolist() == heard[:, 0].sum(axis=0).tolist()
    assert heard[:, 1:].sum() == 0
    assert (level[heard == 0] == 0).all()


def test_batches_shrink_where_there_are_many_cells() -> None:
    found = traffic([row for tag in range(8) for row in steady(range(300), tag=tag)])
    assert [4, 4] == [len(group) for group in found.batches(20_000)]


@pytest.mark.parametrize("most", [60, 200, 1000])
def test_thinning_keeps_whole_pieces_spread_over_the_time(most: int) -> None:
    found = traffic(
        [row for tag in range(50) for row in steady(range(20 * tag, 20 * tag + 10), tag=tag)]
    )
    kept = thinned(found, most)
    assert min(most, 500) == pytest.approx(len(kept.tick), abs=10)
    assert (kept.lengths == 10).all()
    early, late = split_by_time(kept, 0.5)
    assert abs(len(early) - len(late)) <= 1
