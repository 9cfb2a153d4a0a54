"""Who was in reach when something happened on a shelf."""

import dataclasses

import numpy as np
import pytest

from analytics.cells import build_cells
from analytics.presence import REACH_M, reach_of_shelves, zone_index
from tests.analytics.stores import (
    SECOND,
    START_NS,
    Bench,
    Rows,
    records,
    seconds,
    shelf,
    shop,
    stay,
    tap,
    tour,
    whole,
)

STORE = shop(shelves=True)


def plate(*changes: tuple[float, float], until_s: float = 120.0) -> Rows:
    """Return samples of the plate: 5 kg, and what changes [g] when [s]."""
    rng = np.random.default_rng(0)
    rows, mass = [], 5000.0
    for i in range(round(until_s * 5)):
        mass += sum(delta for t_s, delta in changes if round(t_s * 5) == i)
        rows.append((START_NS + i * 200_000_000, 0, round(mass + rng.normal(0, 0.5), 1)))
    return Rows(samples=rows)


def events(found, kind: str = "pick"):
    """Return the final events of a kind."""
    rows = records(found, "shelf_events")
    return [row for row in rows if row.status == "final" and row.kind == kind]


def test_reach_is_near_the_shelf_or_its_zone() -> None:
    grid = build_cells(STORE)
    (near,) = reach_of_shelves(STORE, grid)
    dx = np.maximum(grid.x_m - 0.5, 0)
    dy = np.maximum(np.maximum(4 - grid.y_m, grid.y_m - 5), 0)
    assert np.array_equal(near > 0, np.hypot(dx, dy) <= REACH_M + 0.5)
    placeless = dataclasses.replace(STORE, shelves=(dataclasses.replace(shelf(), rect_m=None),))
    (zone,) = reach_of_shelves(placeless, grid)
    assert np.array_equal(zone, grid.zone_share[zone_index(STORE, "promo")])
    assert reach_of_shelves(shop(), grid).shape == (0, len(grid))


def test_pick_belongs_to_who_stood_there_and_counts_in_the_visit() -> None:
    rows = tour(STORE, "p_near", ("entrance", 20), ("promo", 60), ("entrance", 20))
    rows += tour(STORE, "p_far", ("queue", 100))
    found = whole(STORE, rows + plate((50.0, -500.0)))
    (pick,) = events(found)
    assert ("p_near", 2) == (pick.tag, pick.quantity)
    assert pick.tag_p > 0.7
    assert abs(seconds(pick.t_ns) - 50) < 2
    visits = {row.tag: row.picks for row in records(found, "visits")}
    assert {"p_near": 2, "p_far": 0} == visits


def test_pick_with_nobody_in_reach_is_nobodys() -> None:
    rows = tour(STORE, "p_far", ("queue", 100))
    (pick,) = events(whole(STORE, rows + plate((50.0, -250.0))))
    assert (None, None) == (pick.tag, pick.tag_p)


def test_shelf_events_without_a_single_reading_still_come() -> None:
    (pick,) = events(whole(STORE, plate((50.0, -250.0))))
    assert pick.tag is None


def test_pick_in_the_last_seconds_of_the_data_still_finds_its_person() -> None:
    rows = tour(STORE, "p_near", ("promo", 60)) + plate((57.0, -250.0), until_s=60)
    found = whole(STORE, rows)
    (pick,) = events(found)
    assert pick.tag == "p_near"
    assert [1] == [row.picks for row in records(found, "visits")]


@pytest.mark.parametrize(
    ("pick_s", "newcomer_s"), [(57.6, 65), (57.6, 67), (58.4, 66), (66.0, 65), (68.0, 66)]
)
def test_newcomer_in_a_lane_inherits_no_reach(pick_s: float, newcomer_s: int) -> None:
    # The first tag stands at the shelf and leaves by an exit tap; another one appears far
    # away and sits in the same lane before the pick, then or later, is settled.
    rows = stay(STORE, "p_first", "promo", 0, 58.9) + tap(STORE, "p_first", "exit", 58.9)
    rows += stay(STORE, "p_second", "queue", newcomer_s, 120)
    rows += stay(STORE, "p_awake", "checkout", 0, 120)
    found = whole(STORE, rows + plate((pick_s, -250.0)))
    (pick,) = events(found)
    assert pick.tag in {"p_first", None}
    assert (pick.tag is None) or pick_s < 59


def test_newcomer_was_not_where_the_lane_was_before() -> None:
    store = shop(shelves=True, visit_gap_s=3.0)
    rows = stay(store, "p_first", "promo", 0, 59) + stay(store, "p_awake", "checkout", 0, 120)
    rows += stay(store, "p_second", "queue", 70, 120)
    bench = Bench(store, rows.tags())
    bench.add(rows.arrivals())
    bench.advance(START_NS + 80 * SECOND)
    lanes, seats = bench.engine._lanes, bench.engine._seats
    lane, awake = (int(seats.lane[seats.names.index(tag)]) for tag in ("p_second", "p_awake"))
    assert lane == awake + 1
    first = START_NS // SECOND + 70
    before = [lanes.blocks[0].reach_at(tick, 0)[lane] for tick in range(first - 8, first)]
    assert [0.0] * 8 == before


def test_pick_just_before_leaving_is_known_before_the_lane_is_empty() -> None:
    rows = stay(STORE, "p_first", "promo", 0, 58.9) + tap(STORE, "p_first", "exit", 58.9)
    found = whole(STORE, rows + plate((53.0, -250.0)) + stay(STORE, "p_awake", "queue", 0, 90))
    (pick,) = events(found)
    assert pick.tag == "p_first"
    assert [1] == [v.picks for v in records(found, "visits") if v.tag == "p_first"]


def test_shelves_advance_by_whole_ticks() -> None:
    bench = Bench(STORE, [])
    bench.add(plate().arrivals())
    shelves, asked = bench.engine._shelves, []
    advance = shelves.advance

    def spied(until_ns: int):
        asked.append(until_ns)
        return advance(until_ns)

    shelves.advance = spied
    for quarter in range(40):
        bench.advance(START_NS + quarter * SECOND // 4)
    assert asked
    assert {0} == {until_ns % SECOND for until_ns in asked}


def test_event_waits_for_its_surroundings() -> None:
    rows = tour(STORE, "p_near", ("promo", 100))
    bench = Bench(STORE, rows.tags())
    bench.add((rows + plate((50.0, -250.0))).arrivals())
    told = {}
    for t_s in range(45, 80):
        for event in bench.advance(START_NS + t_s * SECOND).shelf_events:
            told.setdefault((event.kind, event.status), (t_s, event.tag))
    at_s, tag = told["pick", "final"]
    assert tag == "p_near"
    assert 53 <= at_s <= 75
