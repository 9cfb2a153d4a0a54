"""People and queues per minute: labelled by the end, rounded means, served or gave up."""

import dataclasses

import numpy as np
import pytest

from analytics.minutes import Minutes
from analytics.rows import Dwell, QueueMinute
from tests.analytics.stores import SECOND, START_NS, shop

MINUTE_NS = 60 * SECOND
T0 = START_NS // SECOND
STORE = shop()
ZONES = {zone.id: i for i, zone in enumerate(STORE.zones)}


def dwell(zone: str, start_s: float, end_s: float, visit: str = "v") -> Dwell:
    """Return a stay of a visit, in seconds since the start."""
    return Dwell(
        dwell=f"{visit}{zone}{start_s}", visit=visit, tag="p",
        layer=STORE.zones[ZONES[zone]].layer, zone=zone,
        start_ns=START_NS + round(start_s * SECOND), end_ns=START_NS + round(end_s * SECOND),
        dwell_s=end_s - start_s, sigma_s=1.0, confidence=1.0, readings=1,
    )  # fmt: skip


def busy(minutes: int, store=STORE) -> Minutes:
    """Return minutes in all of which something was heard."""
    found = Minutes(store)
    for minute in range(minutes):
        found.seen(T0 + 60 * minute)
    return found


def queue_rows(minutes: Minutes, until_s: float = 1e6) -> list[QueueMinute]:
    """Return the queue rows up to a time."""
    return minutes.advance(START_NS + round(until_s * SECOND))[1]


def test_people_are_the_rounded_mean_of_the_minute_labelled_by_its_end() -> None:
    minutes = busy(1)
    for tick in range(60):
        here = ["aisle", "left"] + (["aisle"] if tick < 30 else []) + ["promo"] * (tick < 29)
        minutes.count(T0 + tick, np.array([ZONES[z] for z in here] + [-1], np.int16))
    assert minutes.advance(START_NS + MINUTE_NS - 1) == ([], [])
    people, _ = minutes.advance(START_NS + MINUTE_NS)
    assert [START_NS + MINUTE_NS] * 7 == [row.t_ns for row in people]
    found = {row.zone: row.people for row in people}
    assert {"aisle": 2, "left": 1, "promo": 0, "entrance": 0} == {
        zone: found[zone] for zone in ("aisle", "left", "promo", "entrance")
    }
    assert minutes.advance(START_NS + 2 * MINUTE_NS) == ([], [])


def test_half_second_ticks_are_not_counted_double() -> None:
    minutes = Minutes(shop(tick_s=0.5))
    minutes.seen(2 * T0)
    for tick in range(120):
        minutes.count(2 * T0 + tick, np.array([ZONES["aisle"]], np.int16))
    people, _ = minutes.advance(START_NS + MINUTE_NS)
    assert {row.zone: row.people for row in people}["aisle"] == 1


def test_minute_in_which_nothing_was_heard_has_no_row() -> None:
    minutes = Minutes(STORE)
    minutes.seen(T0)
    minutes.seen(T0 + 125)
    people, queues = minutes.advance(START_NS + 20 * MINUTE_NS)
    assert {1, 3} == {(row.t_ns - START_NS) // MINUTE_NS for row in people}
    assert [1, 3] == [(row.t_ns - START_NS) // MINUTE_NS for row in queues]


@pytest.mark.parametrize(
    ("then", "wait_s"),
    [
        ([dwell("checkout", 52, 80)], 42.0),
        ([dwell("checkout", 111, 130)], None),
        ([dwell("aisle", 52, 60), dwell("checkout", 60, 80)], None),
        ([dwell("left", 0, 55), dwell("checkout", 56, 80)], 46.0),
        ([dwell("right", 5, 90), dwell("aisle", 56, 80)], None),
        ([], None),
    ],
)
def test_who_reaches_a_checkout_soon_was_served(then: list[Dwell], wait_s: float | None) -> None:
    minutes = busy(4)
    minutes.dwell(dwell("queue", 10, 50))
    for stay in then:
        minutes.dwell(stay)
    first = queue_rows(minutes)[0]
    assert first.t_ns == START_NS + MINUTE_NS
    assert wait_s == first.wait_p50_s
    assert (1 if wait_s is None else 0) == first.abandoned


def test_waits_are_quantiles_and_passing_through_is_no_queue() -> None:
    minutes = busy(2)
    for at, wait_s in enumerate((10, 20, 30)):
        minutes.dwell(dwell("queue", 0, wait_s, visit=str(at)))
        minutes.dwell(dwell("checkout", wait_s, 59, visit=str(at)))
    minutes.dwell(dwell("queue", 0, 9, visit="passing"))
    first = queue_rows(minutes)[0]
    assert (20.0, 28.0, 0) == (first.wait_p50_s, first.wait_p90_s, first.abandoned)


def test_queue_is_booked_in_the_minute_in_which_it_ended_also_at_its_very_end() -> None:
    minutes = busy(4)
    minutes.dwell(dwell("queue", 30, 60))
    rows = [row for until_s in range(0, 1200, 5) for row in queue_rows(minutes, until_s)]
    assert [1, 0, 0, 0] == [row.abandoned for row in rows]


def test_who_is_still_being_served_did_not_give_up() -> None:
    minutes = busy(2)
    minutes.dwell(dwell("queue", 10, 50))
    at_checkout = [("checkout", START_NS + 53 * SECOND)]
    asked = []

    def running(visit: str) -> list[tuple[str, int]]:
        asked.append(visit)
        return at_checkout

    _, rows = minutes.advance(START_NS + 2000 * SECOND, running)
    assert (43.0, 0) == (rows[0].wait_p50_s, rows[0].abandoned)
    assert asked == ["v"]
    minutes.dwell(dwell("checkout", 53, 900))
    assert minutes._left == {}


def test_long_dwell_gap_delays_the_rows_until_stays_can_be_known() -> None:
    minutes = busy(1, shop(dwell_gap_s=300.0))
    minutes.seen(T0 + 400)
    assert queue_rows(minutes, 60 + 300) == []
    minutes.dwell(dwell("queue", 10, 50))
    (row,) = queue_rows(minutes, 60 + 400)
    assert row.abandoned == 1


def test_nothing_is_kept_of_minutes_that_are_written() -> None:
    minutes = busy(300)
    for at in range(300):
        minutes.count(T0 + 60 * at, np.array([1], np.int16))
        minutes.dwell(dwell("queue", 60 * at, 60 * at + 20, visit=str(at)))
        minutes.advance(START_NS + at * MINUTE_NS)
        minutes.tapped("p", T0 + 60 * at, "payment")
        kept = ("_counts", "_left", "_waits", "_abandoned")
        assert max(len(getattr(minutes, name)) for name in kept) <= 6
        assert len(minutes._taps["p"]) <= 65
    minutes.advance(START_NS + 500 * MINUTE_NS)
    kept = (*kept, "_seen", "_taps")
    assert [0] * 6 == [len(getattr(minutes, name)) for name in kept]


def test_a_tap_at_the_till_ends_a_wait_also_where_the_till_is_no_zone() -> None:
    minutes = busy(4)
    minutes.dwell(dwell("queue", 10, 50))
    minutes.dwell(dwell("aisle", 52, 90))
    minutes.dwell(dwell("queue", 65, 100, visit="later"))
    assert [1, 1] == [row.abandoned for row in queue_rows(minutes)[:2]]
    minutes = busy(4)
    minutes.tapped("p", T0 + 55, "payment")
    minutes.tapped("p", T0 + 20, "info")
    minutes.dwell(dwell("queue", 10, 50))
    minutes.dwell(dwell("aisle", 52, 90))
    minutes.dwell(dwell("queue", 65, 100, visit="later"))
    rows = queue_rows(minutes)
    assert [(45.0, 0), (None, 1)] == [(row.wait_p50_s, row.abandoned) for row in rows[:2]]


def test_who_moves_on_in_the_queue_goes_on_waiting() -> None:
    minutes = busy(4)
    minutes.dwell(dwell("queue", 0, 30))
    minutes.dwell(dwell("queue", 70, 78))
    minutes.dwell(dwell("checkout", 80, 100))
    rows = queue_rows(minutes)
    assert [(None, 0), (80.0, 0)] == [(row.wait_p50_s, row.abandoned) for row in rows[:2]]


def test_who_queues_again_now_goes_on_waiting() -> None:
    minutes = busy(12)
    minutes.dwell(dwell("queue", 0, 30))
    again = [("queue", START_NS + 70 * SECOND)]
    assert minutes.advance(START_NS + 400 * SECOND, lambda _: again)[1][0].abandoned == 0
    minutes.dwell(dwell("queue", 70, 420))
    minutes.dwell(dwell("checkout", 422, 450))
    rows = queue_rows(minutes)
    assert [422.0] == [row.wait_p50_s for row in rows if row.wait_p50_s is not None]
    assert 0 == sum(row.abandoned for row in rows)


def test_wait_that_is_decided_after_its_row_counts_in_the_next() -> None:
    minutes = busy(12)
    minutes.dwell(dwell("queue", 0, 30))
    minutes.advance(START_NS + 400 * SECOND, lambda _: [("queue", START_NS + 70 * SECOND)])
    rows = queue_rows(minutes)
    assert [4] == [(row.t_ns - START_NS) // MINUTE_NS - 1 for row in rows if row.abandoned]


@pytest.mark.parametrize(("heard_s", "gave_up"), [(79, 0), (90, 1)])
def test_end_of_the_record_is_no_end_of_a_wait(heard_s: int, gave_up: int) -> None:
    minutes = Minutes(STORE)
    for tick in range(heard_s):
        minutes.seen(T0 + tick)
    minutes.dwell(dwell("queue", 10, 50))
    rows = queue_rows(minutes)
    assert [None] * len(rows) == [row.wait_p50_s for row in rows]
    assert gave_up == sum(row.abandoned for row in rows)


def test_without_a_till_in_the_store_nobody_can_be_seen_to_give_up() -> None:
    kept = tuple(z for z in STORE.zones if z.kind != "checkout")
    points = tuple(p for p in STORE.tap_points if p.role != "checkout")
    minutes = busy(4, dataclasses.replace(STORE, zones=kept, tap_points=points))
    minutes.dwell(dwell("queue", 10, 50))
    minutes.dwell(dwell("aisle", 52, 90))
    first = queue_rows(minutes)[0]
    assert (40.0, 0) == (first.wait_p50_s, first.abandoned)


def test_littles_law_holds_between_lengths_and_waits() -> None:
    """A till that serves one after another for two hours: L = arrivals per second x wait."""
    rng = np.random.default_rng(7)
    seconds, mean_gap_s, mean_service_s = 7200, 30.0, 29.0
    joined = np.cumsum(rng.exponential(mean_gap_s, 400))
    joined = joined[joined < seconds - 600]
    free_s, stays = 0.0, []
    for at, join_s in enumerate(joined.tolist()):
        served_s = max(free_s, join_s + 12.0)
        free_s = served_s + rng.exponential(mean_service_s)
        stays.append((round(join_s), round(served_s), round(free_s) + 1, str(at)))
    minutes = Minutes(STORE)
    for tick in range(seconds):
        minutes.seen(T0 + tick)
        waiting = sum(join <= tick < served for join, served, _, _ in stays)
        minutes.count(T0 + tick, np.full(waiting, ZONES["queue"], np.int16))
    for join, served, done, visit in sorted(stays, key=lambda stay: stay[1]):
        minutes.dwell(dwell("queue", join, served, visit=visit))
        minutes.dwell(dwell("checkout", served, done, visit=visit))
    rows = queue_rows(minutes)
    lengths = np.array([row.length for row in rows])
    waits = [served - join for join, served, _, _ in stays]
    law = len(stays) / seconds * np.mean(waits)
    assert lengths.mean() > 2
    assert law == pytest.approx(lengths.mean(), rel=0.05)
    booked: dict[int, list[int]] = {}
    for join, served, _, _ in stays:
        booked.setdefault((served - 1) // 60, []).append(served - join)
    for minute, row in enumerate(rows):
        found = booked.get(minute)
        p50, p90 = (None, None) if found is None else np.quantile(found, [0.5, 0.9]).round(3)
        assert (p50, p90) == (row.wait_p50_s, row.wait_p90_s)
    assert 0 == sum(row.abandoned for row in rows)
