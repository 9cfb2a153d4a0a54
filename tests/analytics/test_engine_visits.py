"""When the engine begins and ends visits and dwells, and what taps do to them."""

import numpy as np
import pytest

from tests.analytics.engine_checks import STORE, TAG, checked, dwells_of, visits_of
from tests.analytics.stores import (
    PLACES,
    SECOND,
    START_NS,
    Bench,
    Rows,
    portions,
    positions_of,
    records,
    shop,
    stay,
    tap,
    tour,
    whole,
)


def test_a_tour_gives_its_zones_times_and_places() -> None:
    rows = tour(STORE, TAG, ("entrance", 30), ("aisle", 40), ("queue", 30), ("checkout", 20))
    found = checked(STORE, rows)
    assert [(0.0, 120.0)] == visits_of(found)
    (visit,) = records(found, "visits")
    assert visit.path == "entrance>aisle>queue>checkout"
    for (zone, start_s, _), true_s in zip(dwells_of(found), (0, 30, 70, 100), strict=True):
        assert abs(start_s - true_s) <= 3, zone
    assert dwells_of(found)[-1][2] == 120.0
    assert [("left", "right")] == [
        (t.from_zone, t.to_zone) for t in records(found, "transitions") if t.layer == "halves"
    ]
    for stage, within_m in (("live", 1.2), ("final", 1.0)):
        row = positions_of(found, TAG, stage)[60]
        x, y = PLACES["aisle"]
        assert np.hypot(row["x_m"] - x, row["y_m"] - y) < within_m


def test_dwell_ends_with_the_last_evidence_and_not_with_the_visit() -> None:
    rows = tour(STORE, TAG, ("entrance", 40), ("silence", 100), ("promo", 40))
    found = checked(STORE, rows)
    assert ("entrance", 0.0, 40.0) in dwells_of(found)
    assert ("promo", 140.0, 180.0) in dwells_of(found)


@pytest.mark.parametrize("silent_s", [5, 11, 14, 17, 21, 45, 599, 600, 601, 602, 700])
def test_silence_within_a_visit_is_unknown_and_a_long_one_ends_it(silent_s: int) -> None:
    rows = tour(STORE, TAG, ("entrance", 40), ("silence", silent_s), ("aisle", 40))
    found = checked(STORE, rows)
    assert len(visits_of(found)) == (1 if silent_s <= 600 else 2)
    unknown = [r for r in positions_of(found, TAG) if r["zone_state"] == "unknown"]
    assert len(unknown) == (max(0, silent_s - 10) if silent_s <= 600 else 0)
    assert found == portions(STORE, rows, SECOND)
    # What was said at the time does not depend on when, if ever, the silence ended.
    brief = whole(STORE, tour(STORE, TAG, ("entrance", 40), ("silence", 13), ("aisle", 40)))
    said = min(10, silent_s) if silent_s <= 600 else 0
    expected = positions_of(brief, TAG)[: 40 + said]
    assert expected == positions_of(found, TAG)[: 40 + said]


def test_visit_ends_by_silence_while_nothing_else_happens() -> None:
    rows = tour(STORE, TAG, ("entrance", 40))
    bench = Bench(STORE, [TAG])
    bench.add(rows.arrivals())
    bench.advance(START_NS + 640 * SECOND)
    assert bench.out.visits == []
    bench.advance(START_NS + 650 * SECOND)
    assert [40.0] == [v.visit_s for v in bench.out.visits]
    assert [40.0] == [d.dwell_s for d in bench.out.dwells if d.layer == "main"]
    assert "left" in {change.kind for change in bench.out.zone_changes}
    assert len(bench.engine.active_tags()) == 0


def test_exit_tap_ends_the_visit_and_what_follows_is_another() -> None:
    rows = stay(STORE, TAG, "entrance", 0, 100) + tap(STORE, TAG, "exit", 50.5)
    assert [(0.0, 51.0), (51.0, 100.0)] == visits_of(checked(STORE, rows))


def test_a_bouncing_exit_tap_does_not_cut_the_next_visit() -> None:
    rows = stay(STORE, TAG, "entrance", 0, 100)
    for t_s in (50.1, 50.3, 50.9):
        rows += tap(STORE, TAG, "exit", t_s)
    assert [(0.0, 51.0), (51.0, 100.0)] == visits_of(checked(STORE, rows))


def test_entry_tap_begins_a_new_visit_only_after_a_minute() -> None:
    early = stay(STORE, TAG, "entrance", 0, 100) + tap(STORE, TAG, "entry", 55.5)
    assert [(0.0, 100.0)] == visits_of(checked(STORE, early))
    late = stay(STORE, TAG, "entrance", 0, 100) + tap(STORE, TAG, "entry", 65.5)
    assert [(0.0, 65.0), (65.0, 100.0)] == visits_of(checked(STORE, late))


@pytest.mark.parametrize("silent_s", [8, 14, 60, 400])
def test_entry_tap_after_a_silence_ends_the_old_visit_at_its_last_reading(silent_s: int) -> None:
    rows = tour(STORE, TAG, ("promo", 70), ("silence", silent_s), ("entrance", 40))
    rows += tap(STORE, TAG, "entry", 70.2 + silent_s)
    found = checked(STORE, rows)
    assert [(0.0, 70.0), (70.0 + silent_s, 110.0 + silent_s)] == visits_of(found)


def test_entry_taps_do_not_depend_on_the_lag() -> None:
    store = shop(lag_s=60.0)
    rows = stay(store, TAG, "entrance", 0, 130)
    for t_s in (61.5, 100.5, 123.5):
        rows += tap(store, TAG, "entry", t_s)
    assert [(0.0, 61.0), (61.0, 123.0)] == visits_of(checked(store, rows))


def test_pass_by_has_positions_and_nothing_else() -> None:
    found = checked(STORE, stay(STORE, TAG, "entrance", 0, 20))
    assert len(positions_of(found, TAG)) == 20
    for name in ("visits", "dwells", "transitions", "visits_started"):
        assert found[name] == []
    assert len(visits_of(checked(STORE, stay(STORE, TAG, "entrance", 0, 30)))) == 1


def test_a_single_reading_gives_one_tick() -> None:
    found = checked(STORE, Rows(readings=[(START_NS + 5, 0, TAG, -60.0)]))
    assert len(found["positions"]) == 4


def test_a_tap_alone_gives_a_tick_near_its_reader() -> None:
    found = checked(STORE, tap(STORE, TAG, "checkout", 3.0))
    (row,) = positions_of(found, TAG)
    assert ("checkout", "known") == (row["zone"], row["zone_state"])
    assert row["zone_p"] >= 0.75


def test_tap_pulls_the_place_to_its_reader() -> None:
    rows = stay(STORE, TAG, (7.5, 2.8), 0, 40, noise_db=4) + tap(STORE, TAG, "checkout", 30.5)
    found = checked(STORE, rows)
    assert positions_of(found, TAG)[30]["zone"] == "checkout"
    assert [1] == [v.taps for v in records(found, "visits")]


def test_staff_are_not_there() -> None:
    rows = stay(STORE, "p_staff", "promo", 0, 60) + tap(STORE, "p_staff", "exit", 20)
    found = whole(STORE, rows)
    assert all(found[name] == [] for name in ("positions", "visits", "dwells", "zone_changes"))
    assert {row.people for row in records(found, "occupancy")} == {0}
