"""People and queues per minute: labelled by the end, rounded means, served or gave up."""

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
    ("then", "served"),
    [
        ([dwell("checkout", 52, 80)], True),
        ([dwell("checkout", 111, 130)], False),
        ([dwell("aisle", 52, 60), dwell("checkout", 60, 80)], False),
        ([dwell("left", 0, 55), dwell("checkout", 56, 80)], True),
        ([dwell("right", 5, 90), dwell("aisle", 56, 80)], False),
        ([], False),
    ],
)
def test_who_reaches_a_checkout_soon_was_served(then: list[Dwell], *, served: bool) -> None:
    minutes = busy(4)
    minutes.dwell(dwell("queue", 10, 50))
    for stay in then:
        minutes.dwell(stay)
    first = queue_rows(minutes)[0]
    assert first.t_ns == START_NS + MINUTE_NS
    assert (40.0 if served else None) == first.wait_p50_s
    assert (0 if served else 1) == first.abandoned


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
    assert (40.0, 0) == (rows[0].wait_p50_s, rows[0].abandoned)
    assert asked == ["v"]
    minutes.dwell(dwell("checkout", 53, 900))
    assert minutes._left == {}


def test_long_dwell_gap_delays_the_rows_until_stays_can_be_known() -> None:
    minutes = busy(1, shop(dwell_gap_s=300.0))
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
    kept = (minutes._counts, minutes._left, minutes._waits, minutes._abandoned)
    assert max(map(len, kept)) <= 6
    minutes.advance(START_NS + 400 * MINUTE_NS)
    assert [0] * 5 == [len(part) for part in (*kept, minutes._seen)]
