"""The engine as a whole: which rows there are, when things begin and end, what is bounded."""

import dataclasses

import numpy as np
import pytest

import analytics.engine
from tests.analytics.row_rules import assert_rows_keep_the_rules, stretches
from tests.analytics.stores import (
    PLACES,
    SECOND,
    START_NS,
    Bench,
    Rows,
    odd_store,
    portions,
    positions_of,
    records,
    seconds,
    shop,
    stay,
    tap,
    tour,
    whole,
)

STORE = shop()
TAG = "p_one"


def visits_of(found) -> list[tuple[float, float]]:
    """Return the start and end of all visits, in seconds."""
    return sorted((seconds(v.start_ns), seconds(v.end_ns)) for v in records(found, "visits"))


def dwells_of(found, layer: str = "main") -> list[tuple[str, float, float]]:
    """Return zone, start and end of the dwells of a layer, in seconds."""
    rows = [d for d in records(found, "dwells") if d.layer == layer]
    return sorted(
        ((d.zone, seconds(d.start_ns), seconds(d.end_ns)) for d in rows), key=lambda d: d[1]
    )


def checked(store, rows: Rows):
    """Analyse rows and hold the result against the rules."""
    found = whole(store, rows)
    assert_rows_keep_the_rules(found, rows, store)
    return found


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


@pytest.mark.parametrize("lag_s", [10.0, 60.0])
def test_occupancy_is_the_mean_of_the_corrected_rows(lag_s: float) -> None:
    store = shop(lag_s=lag_s)
    rows = tour(store, TAG, ("entrance", 50), ("aisle", 60), ("promo", 40))
    rows += tour(store, "p_two", ("aisle", 100), from_s=20.0)
    # Half a minute, of which five seconds are said after the last reading and settle late.
    rows += tour(store, "p_three", ("promo", 25), ("silence", 17), ("promo", 70), from_s=30.0)
    found = checked(store, rows)
    assert positions_of(found, "p_three", "final")[29]["zone"] == "promo"
    sums: dict[tuple[int, str], int] = {}
    for t_ns, _, stage, _, zone, *_ in found["positions"]:
        if stage == "final" and zone:
            minute = (t_ns - SECOND) // (60 * SECOND) + 1
            sums[minute, zone] = sums.get((minute, zone), 0) + 1
    minutes = {START_NS // (60 * SECOND) + at for at in (1, 2, 3)}
    expected = sorted(
        (minute * 60 * SECOND, zone.layer, zone.id, int(sums.get((minute, zone.id), 0) / 60 + 0.5))
        for minute in minutes
        for zone in STORE.zones
    )
    assert expected == found["occupancy"]


@pytest.mark.parametrize(
    ("stops", "waited", "abandoned"),
    [
        ([("queue", 40), ("checkout", 30)], 1, 0),
        ([("queue", 40), ("checkout", 400)], 1, 0),
        ([("queue", 40), ("promo", 30)], 0, 1),
        ([("queue", 40)], 0, 0),
        ([("queue", 6), ("promo", 40)], 0, 0),
    ],
)
def test_queues_through_the_engine(stops, waited: int, abandoned: int) -> None:
    rows = tour(STORE, TAG, ("entrance", 30), *stops)
    found = checked(STORE, rows)
    queues = records(found, "queues")
    assert waited == sum(row.wait_p50_s is not None for row in queues)
    assert abandoned == sum(row.abandoned for row in queues)
    assert found == portions(STORE, rows, SECOND, beyond_ns=400 * SECOND)


def test_queue_given_up_in_an_idle_store_is_known_before_its_minute_is_written() -> None:
    # The first tag's visit ends by silence at a moment at which nothing else happens.
    rows = stay(STORE, "p_a", "entrance", 0, 35) + stay(STORE, "p_b", "queue", 100, 150)
    rows += stay(STORE, "p_c", "entrance", 400, 440)
    found = checked(STORE, rows)
    assert sum(row.abandoned for row in records(found, "queues")) == 1
    assert found == portions(STORE, rows, SECOND, beyond_ns=700 * SECOND)


def test_zone_changes_alternate_and_end_with_leaving() -> None:
    rows = tour(STORE, TAG, ("entrance", 30), ("aisle", 30), ("silence", 200), ("queue", 30))
    found = checked(STORE, rows)
    inside: dict[str, str] = {}
    live = {(r["t_ns"], r["layer"]): r for r in positions_of(found, TAG)}
    for kind, t_ns, _, layer, zone, zone_p in sorted(
        found["zone_changes"], key=lambda row: (row[1], row[0] == "entered")
    ):
        if kind == "entered" and layer == "main":
            assert zone == live[t_ns, layer]["zone"]
            assert zone_p == pytest.approx(live[t_ns, layer]["zone_p"], abs=1e-3)
        if kind == "entered":
            assert layer not in inside
            inside[layer] = zone
        else:
            assert inside.pop(layer) == zone
    assert inside == {}


def test_zone_changes_name_their_tag_whatever_lane_it_was_lent() -> None:
    # The second tag sits in the lane that the first one gave back, and the first in another.
    rows = tour(STORE, TAG, ("entrance", 30), ("silence", 100), ("queue", 40))
    rows += stay(STORE, "p_two", "promo", 60, 190)
    found = checked(STORE, rows)
    entered = {(row[2], row[4]) for row in found["zone_changes"] if row[0] == "entered"}
    assert {(TAG, "entrance"), (TAG, "queue"), ("p_two", "promo")} <= entered
    assert not {(TAG, "promo"), ("p_two", "queue")} & entered


def test_live_shows_who_is_here_and_forgets_the_silent() -> None:
    rows = stay(STORE, TAG, "queue", 0, 30) + stay(STORE, "p_two", "promo", 0, 90)
    bench = Bench(STORE, rows.tags())
    assert bench.engine.live().tag.tolist() == []
    bench.add(rows.arrivals())
    bench.advance(START_NS + 30 * SECOND)
    live = bench.engine.live()
    assert live.t_ns == START_NS + 30 * SECOND
    assert [0, 1] == live.tag.tolist()
    assert ["queue", "promo"] == [STORE.zones[i].id for i in live.zone]
    assert {"queue": 1} == live.queues
    assert (1, 1, 1, 0) == tuple(live.people[z] for z in ("queue", "promo", "left", "aisle"))
    assert np.isfinite([live.x_m, live.y_m, live.sigma_m, live.zone_p]).all()
    bench.advance(START_NS + 41 * SECOND)
    assert [1] == bench.engine.live().tag.tolist()
    assert [0, 1] == sorted(bench.engine.active_tags().tolist())


@pytest.mark.parametrize("silent_s", [0, 15, 120])
def test_other_tags_do_not_change_a_tag_by_a_single_digit(silent_s: int) -> None:
    mine = tour(STORE, "p_a", ("promo", 40), ("silence", silent_s), ("aisle", 40))
    others = Rows()
    for at in range(70):  # more than one block
        others += stay(STORE, f"p_b{at}", "queue", 10, 12, every_s=1)
    others += stay(STORE, "p_c", "entrance", 10, 80 + silent_s, every_s=2, noise_db=6)
    alone, crowd = whole(STORE, mine), whole(STORE, mine + others)
    for name in ("positions", "dwells", "visits", "zone_changes"):
        at = 1 if name == "positions" else 2
        mine_only = [row for row in crowd[name] if "p_a" in (row[1], row[at])]
        assert alone[name] == mine_only


@pytest.mark.parametrize("pause_s", [0, 9, 13, 30, 97])
def test_who_sat_in_a_lane_before_does_not_matter(pause_s: int) -> None:
    begin_s = 60 + pause_s
    late = stay(STORE, "p_b", "promo", begin_s, begin_s + 60, noise_db=5)
    early = stay(STORE, "p_a", "queue", 0, 45) + tap(STORE, "p_a", "exit", 44.9)
    # Through all the pause somebody in another block keeps the engine running.
    for awake in (Rows(), stay(STORE, "p_0", "aisle", 0, begin_s + 60, every_s=3)):
        alone, after = whole(STORE, late + awake), whole(STORE, early + late + awake)
        for stage in ("live", "final"):
            expected = positions_of(alone, "p_b", stage)
            assert expected == positions_of(after, "p_b", stage)
        for name, tag_at in (("zone_changes", 2), ("dwells", 2), ("visits", 1)):
            expected = [row for row in alone[name] if row[tag_at] == "p_b"]
            assert expected == [row for row in after[name] if row[tag_at] == "p_b"]


def test_a_weaker_tag_is_in_the_same_places() -> None:
    rows = Rows(
        readings=[
            row
            for i, place in enumerate([(2, 2), (4, 2), (6, 1.5), (8, 3), (8, 5), (3, 5)])
            for row in stay(STORE, TAG, place, 12 * i, 12 * i + 12, noise_db=3, seed=i).readings
        ]
    )
    weak = Rows(readings=[(*row[:3], row[3] - 12) for row in rows.readings])
    for stage in ("live", "final"):
        a, b = (positions_of(whole(STORE, r), TAG, stage) for r in (rows, weak))
        apart = [
            np.hypot(p["x_m"] - q["x_m"], p["y_m"] - q["y_m"]) for p, q in zip(a, b, strict=True)
        ]
        assert max(apart[8:]) < 0.05


@pytest.mark.parametrize("kind", ["no zones", "one receiver", "in a line"])
def test_odd_stores_give_whole_rows(kind: str) -> None:
    store = odd_store(kind)
    rows = tour(store, TAG, ("entrance", 40), ("silence", 15), ("queue", 40))
    found = checked(store, rows)
    assert len(visits_of(found)) == 1
    assert (found["occupancy"] == []) == (kind == "no zones")
    if kind == "no zones":
        assert {"outside", "unknown"} == {row[5] for row in found["positions"]}


def test_tag_that_one_receiver_alone_hears_is_somewhere_around_it() -> None:
    rows = stay(STORE, TAG, (0.5, 0.5), 0, 60)
    found = checked(STORE, Rows(readings=[row for row in rows.readings if row[1] == 0]))
    row = positions_of(found, TAG, "final")[50]
    assert row["sigma_m"] > 1.5


@pytest.mark.parametrize(
    "rules",
    [
        {"visit_gap_s": 5.0},
        {"lag_s": 0.0},
        {"lag_s": 1.0, "tick_s": 0.5},
        {"tick_s": 2.0},
        {"tick_s": 0.5, "visit_gap_s": 3.0},
        {"lag_s": 45.0, "dwell_gap_s": 5.0},
    ],
)
def test_other_rules_keep_the_rules(rules: dict[str, float]) -> None:
    store = shop(**rules)
    rows = tour(store, TAG, ("entrance", 33), ("silence", 7), ("aisle", 20), ("silence", 18))
    rows += tour(store, TAG, ("queue", 35), ("silence", 65), ("promo", 31), from_s=78.0)
    rows += tap(store, TAG, "exit", 100.0) + tap(store, TAG, "entry", 178.1)
    found = checked(store, rows)
    assert len(stretches(rows, store)) > 1
    assert found == portions(store, rows, SECOND // 4, beyond_ns=50 * SECOND)


def test_late_rows_are_refused_and_counted_and_early_ones_are_not() -> None:
    rows = stay(STORE, TAG, "promo", 0, 60)
    bench = Bench(STORE, rows.tags())
    bench.add(rows.arrivals())
    bench.advance(START_NS + 30 * SECOND)
    bench.add([("readings", (START_NS + 30 * SECOND - 1, 0, TAG, -60.0))])
    assert bench.late == 1
    bench.add([("readings", (START_NS + 30 * SECOND, 0, TAG, -60.0))])
    bench.add(tap(STORE, TAG, "exit", 12).arrivals())
    assert bench.late == 2


def test_nothing_comes_of_nothing() -> None:
    bench = Bench(STORE, [])
    bench.advance(START_NS)
    bench.advance(START_NS + SECOND)
    assert all(rows == [] for rows in bench.finish().values())


def test_rows_before_the_first_watermark_are_late_too() -> None:
    bench = Bench(shop(shelves=True), [TAG])
    bench.advance(START_NS + 100 * SECOND)
    bench.add(stay(STORE, TAG, "promo", 0, 40).arrivals())
    assert bench.late == len(stay(STORE, TAG, "promo", 0, 40).readings)
    bench.add(stay(STORE, TAG, "promo", 100, 140).arrivals())
    found = bench.finish()
    assert [(100.0, 140.0)] == visits_of(found)
    assert None not in positions_of(found, TAG, "final")[3].values()


def test_a_flood_of_tags_is_bounded_and_leaves_no_work_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(analytics.engine, "LANES_MOST", 1024)
    store = dataclasses.replace(STORE, cell_m=2.0)
    flood = [f"p_{at:04d}" for at in range(5000)]
    bench = Bench(store, [*flood, "p_stays", "p_back"])
    bench.add(stay(store, "p_stays", "promo", 0, 120, every_s=1).arrivals())
    # Silent when the flood comes, and back in the middle of it: it still finds a lane.
    bench.add(stay(store, "p_back", "queue", 0, 5).arrivals())
    bench.add(stay(store, "p_back", "queue", 26, 60).arrivals())
    bench.add(
        [
            ("readings", (START_NS + 20 * SECOND + at * 2_000_000, at % 6, tag, -70.0))
            for at, tag in enumerate(flood)
        ]
    )
    bench.advance(START_NS + 60 * SECOND)
    lanes = bench.engine._lanes
    assert len(lanes) == 1024
    assert bench.engine.refused_tags == 5000 - 767
    assert len(bench.engine.active_tags()) == 769
    assert lanes.used == 2
    assert len(list(lanes.busy_blocks())) <= 2
    found = bench.finish()
    assert len({row[1] for row in found["positions"]}) == 769
    assert [(0.0, 60.0), (0.0, 120.0)] == visits_of(found)
    assert lanes.used == bench.engine._seats.taken == 0
    assert bench.engine.pass_bys == 767
    settling = bench.engine._settling
    assert not any((settling.visits, settling.cuts, settling.taps, settling._held))
