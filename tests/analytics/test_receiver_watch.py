"""Receivers that shift, weaken or fall deaf are found; those that are merely alone are not."""

import pickle

import numpy as np
import pytest

from analytics.receiver_watch import ReceiverWatch
from tests.analytics.watch_bench import EASY, drawn, hall, receiver_story, surveyed

MINUTE_NS = 60 * 10**9


def told(changes):
    """Return changes as second, receiver, state."""
    return [(second, change.receiver, change.state) for second, change in changes]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("anchored", [True, False])
def test_no_alarm_while_nothing_happens(seed: int, anchored: bool) -> None:
    radio_map = surveyed(hall()) if anchored else drawn(hall(), 2.6)
    changes, watch = receiver_story(
        hall(), radio_map, people=12, seconds=1800, seed=seed, shifts={}
    )
    assert [] == told(changes)
    assert (watch.use == 1).all()


@pytest.mark.parametrize("shift_db", [8.0, -8.0])
def test_a_receiver_that_moved_is_told_and_goes_on_being_used(shift_db: float) -> None:
    changes, watch = receiver_story(
        hall(), surveyed(hall()), people=20, seconds=2600, seed=2, shifts={8: (600, shift_db)}
    )
    assert [("rx-8", "moved"), ("rx-8", "ok")] == [row[1:] for row in told(changes)]
    found, again = (second for second, *_ in told(changes))
    assert 600 < found <= 600 + 1200
    assert 1900 < again <= 1900 + 700
    moved = changes[0][1]
    assert shift_db == pytest.approx(moved.offset_db, abs=4)
    assert (found + 2) * 10**9 == moved.since_ns
    less = "more" if shift_db > 0 else "less"
    assert f"dB {less} than it should" in moved.reason
    assert changes[1][1].offset_db is None
    assert (watch.use == 1).all()


def test_a_weak_receiver_is_taken_out_and_comes_back() -> None:
    changes, watch = receiver_story(
        hall(), surveyed(hall()), people=20, seconds=2600, seed=3, shifts={8: (600, -20.0)},
        packets=EASY,
    )  # fmt: skip
    assert "weak" in {state for _, name, state in told(changes) if name == "rx-8"}
    first = next(second for second, _, state in told(changes) if state == "weak")
    assert first <= 600 + 900
    assert {"rx-8"} == {name for _, name, _ in told(changes)}
    assert "ok" == changes[-1][1].state
    assert (watch.use == 1).all()


def test_a_deaf_receiver_is_taken_out_and_comes_back() -> None:
    changes, watch = receiver_story(
        hall(), surveyed(hall()), people=24, seconds=1800, seed=4, shifts={}, deaf=(4,)
    )
    assert [("rx-4", "deaf"), ("rx-4", "ok")] == [row[1:] for row in told(changes)]
    assert 600 < changes[0][0] <= 600 + 240
    assert 1200 < changes[1][0] <= 1200 + 240
    assert changes[0][1].offset_db is None
    assert "while others hear those tags" in changes[0][1].reason
    assert (watch.use == 1).all()


def test_a_dead_agent_is_its_receivers_falling_deaf() -> None:
    changes, _ = receiver_story(
        hall(), surveyed(hall()), people=24, seconds=900, seed=5, shifts={}, deaf=(0, 1, 2)
    )
    assert {"rx-0", "rx-1", "rx-2"} == {c.receiver for _, c in changes if c.state == "deaf"}


def test_when_all_is_silent_nothing_changes() -> None:
    changes, watch = receiver_story(
        hall(), surveyed(hall()), people=8, seconds=1200, seed=6, shifts={}, deaf=tuple(range(12))
    )
    assert [] == told(changes)
    assert {"ok"} == set(watch.states)


NAMES = tuple(f"rx-{i}" for i in range(5))


def watch_of(receivers: int, *, anchored: bool = True) -> ReceiverWatch:
    return ReceiverWatch(NAMES[:receivers], tick_ns=10**9, anchored=anchored)


def minutes(watch: ReceiverWatch, first: int, count: int, rest_db, *, expected_db=5.0, heard=None):
    """Feed minutes in which ten tags are all expected alike; return what was said."""
    receivers = len(watch.states)
    expected = np.full((receivers, 10), expected_db, np.float32)
    level = expected + np.asarray(rest_db, np.float32).reshape(-1, 1)
    ears = np.ones((receivers, 10), np.float32)
    if heard is not None:
        ears *= np.asarray(heard, np.float32).reshape(-1, 1)
    said = []
    for tick in range(60 * first, 60 * (first + count)):
        watch.note(tick, level, ears, expected)
        said += watch.decide(tick)
    return said


def test_a_receiver_near_which_nobody_walks_stays_as_it_is() -> None:
    watch = watch_of(5)
    assert [] == minutes(watch, 0, 10, np.zeros(5))
    expected = np.full((5, 10), 5.0, np.float32)
    expected[2] = -40.0
    heard = np.ones((5, 10), np.float32)
    heard[2] = 0
    for tick in range(600, 3600):
        watch.note(tick, expected, heard, expected)
        assert [] == watch.decide(tick)


def test_a_receiver_that_never_heard_much_is_measured_by_its_own_past() -> None:
    watch, rng = watch_of(5), np.random.default_rng(1)
    expected = np.full((5, 40), -8.0, np.float32)
    said = []
    for tick in range(7200):
        # Half of the others' share from the first day on, which is its way.
        heard = (rng.random((5, 40)) < np.array([[0.9], [0.9], [0.45], [0.9], [0.9]])).astype("f4")
        if tick >= 5400:
            heard[2] = 0
        watch.note(tick, expected, heard, expected)
        said += [(tick, change.receiver, change.state) for change in watch.decide(tick)]
    assert [("rx-2", "deaf")] == [row[1:] for row in said]
    assert said[0][0] <= 5400 + 300


def test_three_receivers_lose_one_at_most_and_two_lose_none() -> None:
    three = watch_of(3)
    said = minutes(three, 0, 8, [0.0, -25.0, 0.0])
    assert [("rx-1", "weak")] == [(change.receiver, change.state) for change in said]
    assert [1, 0, 1] == three.use.tolist()
    minutes(three, 8, 10, [0.0, -25.0, 0.0], heard=[0, 1, 1])
    assert three.use.sum() == 2
    two = watch_of(2)
    assert [] == minutes(two, 0, 20, [0.0, -25.0])
    said = minutes(two, 20, 10, [0.0, 0.0], heard=[0, 1])
    assert [("rx-0", "deaf")] == [(change.receiver, change.state) for change in said]
    assert [1, 1] == two.use.tolist()


def test_one_receiver_says_nothing() -> None:
    one = watch_of(1)
    assert [] == minutes(one, 0, 20, [-25.0])
    assert [] == minutes(one, 20, 20, [0.0], heard=[0])
    assert [1] == one.use.tolist()


def test_a_common_shift_belongs_to_the_tags() -> None:
    assert [] == minutes(watch_of(5), 0, 30, np.full(5, -15.0))


def test_without_a_survey_only_a_change_counts() -> None:
    watch = watch_of(5, anchored=False)
    assert [] == minutes(watch, 0, 60, [0.0, 6.0, 0.0, -5.0, 0.0])
    said = minutes(watch, 60, 30, [0.0, 0.0, 0.0, -5.0, 0.0])
    assert [("rx-1", "moved")] == [(change.receiver, change.state) for change in said]
    assert said[0].offset_db == pytest.approx(-6 / 0.65, abs=1)
    surveyed_watch = watch_of(5)
    said = minutes(surveyed_watch, 0, 30, [0.0, 6.0, 0.0, -5.0, 0.0])
    assert ["rx-1", "rx-3"] == sorted(change.receiver for change in said)


def test_few_tags_prove_nothing() -> None:
    watch = watch_of(5)
    expected = np.zeros((5, 3), np.float32)
    level = expected + np.array([[0], [-25], [0], [0], [0]], np.float32)
    for tick in range(3600):
        watch.note(tick, level, np.ones((5, 3), np.float32), expected)
        assert [] == watch.decide(tick)


def test_blocks_portions_and_a_pickle_on_the_way_change_nothing() -> None:
    rng = np.random.default_rng(7)
    one, two = watch_of(5), watch_of(5)
    said = [[], []]
    for tick in range(3000):
        expected = rng.normal(0, 6, (5, 24)).astype(np.float32)
        level = expected + rng.normal(0, 5, (5, 24)).astype(np.float32)
        level[3] -= 20 * (tick > 1200)
        heard = (rng.random((5, 24)) < 0.7).astype(np.float32)
        heard[1] *= tick < 1800
        one.note(tick, level, heard, expected)
        for part in (slice(16, 24), slice(0, 8), slice(8, 16)):
            two.note(tick, level[:, part], heard[:, part], expected[:, part], base=part.start)
        said[0] += one.decide(tick)
        said[1] += two.decide(tick)
        if tick == 1500:
            two = pickle.loads(pickle.dumps(two))
    assert said[0] == said[1]
    assert {"rx-1", "rx-3"} == {change.receiver for change in said[0]}
    assert ("ok", "deaf", "ok", "weak", "ok") == one.states
    assert np.array_equal(one.use, two.use)


def test_memory_does_not_grow_with_time() -> None:
    watch = watch_of(5)
    minutes(watch, 0, 12, np.zeros(5))
    before = len(pickle.dumps(watch))
    minutes(watch, 12, 60, np.zeros(5))
    assert abs(len(pickle.dumps(watch)) - before) < 500
