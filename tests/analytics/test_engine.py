"""The engine as a whole: which rows there are, who they are about, what is bounded."""

import dataclasses

import numpy as np
import pytest

import analytics.engine
from tests.analytics.engine_checks import STORE, TAG, checked, visits_of
from tests.analytics.row_rules import stretches
from tests.analytics.stores import (
    SECOND,
    START_NS,
    Bench,
    Rows,
    odd_store,
    portions,
    positions_of,
    records,
    shop,
    stay,
    tap,
    tour,
    whole,
)


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
