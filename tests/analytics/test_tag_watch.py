"""Copies of a tag are found by the scatter within a tick, whatever the lanes' blocks."""

import pickle

import numpy as np
import pytest

from analytics.tag_watch import AGAIN_S, FAR_M, USUAL_START_DB, TagWatch
from ingest.store_file import read_store
from tests.analytics.watch_bench import (
    EASY,
    HARD,
    HEIGHT_M,
    MIDDLE,
    WIDTH_M,
    Filter,
    drawn,
    hall,
    reduced,
    surveyed,
    tag_story,
)
from tests.recordings import read_rows, tetam_walks

STORE = hall()
POSITIONS = np.array([receiver.position_m for receiver in STORE.receivers])
ZERO = np.zeros(1, np.float32)


def usual(scatter_db: float) -> np.ndarray:
    """Return counts of a store whose tags scatter so much."""
    found = np.zeros(128, np.int64)
    found[round(scatter_db * 10)] = 100
    return found


def columns(levels_db, scatter_db, *, count: int = 2):
    """Return one lane that some receivers hear, levels above -75 dBm by receiver."""
    level, mean = np.zeros((2, len(POSITIONS), 1), np.float32)
    heard = np.zeros((len(POSITIONS), 1), np.int32)
    for receiver, value in levels_db.items():
        level[receiver], heard[receiver] = value, count
        mean[receiver] = value - scatter_db
    return level, mean, heard


def feed(watch: TagWatch, first: int, ticks: int, levels_db, scatter_db, place=(2.0, 2.0), **more):
    """Feed one lane for some ticks; return what was said."""
    x, y = np.float32(place)
    found = []
    for tick in range(first, first + ticks):
        watch.note(tick, *columns(levels_db, scatter_db, **more), ZERO + x, ZERO + y)
        found += [(tick, flag) for flag in watch.decide(tick)]
    return found


NEAR, FAR = 0, 11
"""Receivers in two corners."""


@pytest.mark.parametrize(("packets", "scatter_db"), [(MIDDLE, 2.4), (EASY, 1.5)])
@pytest.mark.parametrize("kind", ["apart10", "ends"])
def test_copies_are_found_within_half_a_minute(kind, packets, scatter_db) -> None:
    flags, _ = tag_story(
        STORE, surveyed(STORE), kind, packets, tags=64, seconds=45, seed=1, usual=usual(scatter_db)
    )
    found = {flag.lane: flag for second, flag in flags if flag.kind == "cloned" and second > 0}
    assert len(found) >= 0.95 * 64
    assert len(found) == len(flags)
    for flag in found.values():
        assert 0 <= flag.x_m <= WIDTH_M
        assert 0 <= flag.y_m <= HEIGHT_M


@pytest.mark.parametrize("exponent", [1.4, 2.6])
@pytest.mark.parametrize("packets", [HARD, EASY])
def test_people_without_copies_are_left_alone(exponent: float, packets) -> None:
    flags, _ = tag_story(
        STORE, drawn(STORE, exponent), "one", packets, tags=64, seconds=300, seed=2
    )
    assert [] == flags


def test_the_usual_scatter_is_learned_from_everybody() -> None:
    _, watch = tag_story(STORE, surveyed(STORE), "one", EASY, tags=64, seconds=120, seed=3)
    assert 1.3 < watch.usual_db < 1.8
    assert USUAL_START_DB == TagWatch(POSITIONS, tick_s=1.0).usual_db


def test_the_second_place_is_the_far_one_and_it_is_said_once() -> None:
    watch = TagWatch(POSITIONS, tick_s=1.0)
    watch.usual_counts[:] = usual(1.5)
    levels = {NEAR: 12.0, 1: 0.0, FAR: 11.0, 10: -2.0}
    found = feed(watch, 1, 200, levels, 4.0)
    assert ["cloned"] == [flag.kind for _, flag in found]
    assert 15 <= found[0][0] <= 25
    assert tuple(POSITIONS[FAR, :2]) == (found[0][1].x_m, found[0][1].y_m)
    again = feed(watch, 201, round(AGAIN_S), levels, 4.0)
    assert ["cloned"] == [flag.kind for _, flag in again]
    assert again[0][0] - found[0][0] >= AGAIN_S
    # The believed place at the other end: then the near one is the second place.
    other = TagWatch(POSITIONS, tick_s=1.0)
    other.usual_counts[:] = usual(1.5)
    _, flag = feed(other, 1, 30, levels, 4.0, place=(22.0, 14.0))[0]
    assert tuple(POSITIONS[NEAR, :2]) == (flag.x_m, flag.y_m)


def test_no_receiver_far_away_no_second_place() -> None:
    watch = TagWatch(POSITIONS, tick_s=1.0)
    watch.usual_counts[:] = usual(1.5)
    near = [r for r in range(12) if np.hypot(*(POSITIONS[r] - POSITIONS[0])[:2]) < FAR_M]
    assert [] == feed(watch, 1, 100, dict.fromkeys(near, 10.0), 4.0)


def test_single_readings_say_nothing() -> None:
    watch = TagWatch(POSITIONS, tick_s=1.0)
    assert [] == feed(watch, 1, 100, {NEAR: 12.0, FAR: 11.0}, 0.0, count=1)
    assert USUAL_START_DB == watch.usual_db


def test_a_forgotten_lane_begins_anew() -> None:
    watch = TagWatch(POSITIONS, tick_s=1.0)
    watch.usual_counts[:] = usual(1.5)
    levels = {NEAR: 12.0, FAR: 11.0}
    assert 1 == len(feed(watch, 1, 30, levels, 4.0))
    watch.forget(0)
    watch.forget(99)
    assert [] == feed(watch, 31, 14, levels, 4.0)
    assert 1 == len(feed(watch, 45, 20, levels, 4.0))


def test_a_jump_is_a_stay_a_leap_and_another_stay() -> None:
    here, there = {NEAR: 12.0, 1: 2.0, 3: 2.0}, {FAR: 12.0, 10: 2.0, 8: 2.0}
    watch = TagWatch(POSITIONS, tick_s=1.0)
    assert [] == feed(watch, 1, 31, here, 1.0)
    found = feed(watch, 32, 60, there, 1.0, place=(22.0, 14.0))
    assert ["teleported"] == [flag.kind for _, flag in found]
    assert (22.0, 14.0) == (found[0][1].x_m, found[0][1].y_m)
    # The belief alone jumps, what is heard does not.
    watch = TagWatch(POSITIONS, tick_s=1.0)
    feed(watch, 1, 31, here, 1.0)
    assert [] == feed(watch, 32, 60, here, 1.0, place=(22.0, 14.0))


def test_nobody_is_flagged_on_the_real_walks() -> None:
    readings, _ = tetam_walks()
    store = read_store(readings[0].parent / "store.toml")
    number = {receiver.id: at for at, receiver in enumerate(store.receivers)}
    positions = np.array([receiver.position_m for receiver in store.receivers])
    for path in readings:
        header, rows = read_rows(path)
        t, name, rssi = (header.index(column) for column in ("t_ns", "receiver", "rssi_dbm"))
        ticks = np.array([int(row[t]) // 10**9 for row in rows])
        receiver = np.array([number[row[name]] for row in rows])
        level = np.array([float(row[rssi]) for row in rows])
        watch = TagWatch(positions, tick_s=1.0)
        block = Filter(store, drawn(store, 2.0), 1)
        said = []
        for tick in range(ticks.min(), ticks.max() + 1):
            now = ticks == tick
            most = np.bincount(receiver[now], minlength=12).max() if now.any() else 1
            dense, heard = np.zeros((most, 12, 1)), np.zeros((most, 12, 1), np.bool_)
            for at in range(12):
                values = level[now & (receiver == at)]
                dense[: len(values), at, 0], heard[: len(values), at] = values, True
            loud, mean, count = reduced(dense, heard)
            watch.note(tick, loud, mean, count, *block.step(tick, loud, count))
            said += watch.decide(tick)
        assert [] == said, path.name
        # What is flagged is far away: the walks scatter less than is usual at first.
        scatter = watch._scatter[0, 0] / watch._scatter[1, 0]
        assert 0.5 < scatter < 0.8 * USUAL_START_DB, path.name


def test_blocks_of_lanes_and_a_pickle_on_the_way_change_nothing() -> None:
    rng = np.random.default_rng(5)
    one, two = (TagWatch(POSITIONS, tick_s=1.0) for _ in range(2))
    said = [[], []]
    for tick in range(1, 121):
        count = rng.integers(0, 4, (12, 48)).astype(np.int32)
        level = rng.normal(0, 8, (12, 48)).astype(np.float32)
        mean = level - rng.exponential(2 + (np.arange(48) % 9 == 0) * 5, (12, 48)).astype("f4")
        x, y = rng.uniform(0, 10, (2, 48)).astype(np.float32)
        one.note(tick, level, mean, count, x, y)
        for part in (slice(32, 48), slice(0, 16), slice(16, 32)):
            two.note(
                tick, level[:, part], mean[:, part], count[:, part], x[part], y[part],
                base=part.start,
            )  # fmt: skip
        said[0] += one.decide(tick)
        said[1] += two.decide(tick)
        if tick == 60:
            two = pickle.loads(pickle.dumps(two))
    assert said[0] == said[1] != []
    assert np.array_equal(one.usual_counts, two.usual_counts)


def test_what_is_unheard_does_not_matter() -> None:
    level, mean, count = columns({NEAR: 12.0, FAR: 11.0}, 4.0)
    garbage = np.where(count > 0, level, np.float32(90))
    watches = [TagWatch(POSITIONS, tick_s=1.0) for _ in range(2)]
    said = []
    for watch, values in zip(watches, (level, garbage), strict=True):
        watch.usual_counts[:] = usual(1.5)
        found = []
        for tick in range(1, 41):
            watch.note(tick, values, np.where(count > 0, mean, values), count, ZERO, ZERO)
            found += watch.decide(tick)
        said.append(found)
    assert said[0] == said[1] != []
