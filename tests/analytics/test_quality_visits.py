"""Figures of `evaluate` on dwells, paths and shelves, against cases worked by hand."""

import pytest

from analytics.quality import score
from tests.analytics.quality_tables import (
    STAY,
    ZONES,
    S,
    answers,
    columns,
    dwell_table,
    near,
    position_table,
    truth_table,
)


def test_dwell_error_counts_a_missed_dwell_as_one_and_short_ones_not():
    found = dwell_table([("p", "a", 0, 15 * S), ("p", "c", 20 * S, 38 * S)])
    got = score(
        positions=position_table([]), truths=[truth_table(STAY)], dwells=found, zones=ZONES
    ).dwells
    # a is 21 ticks long (it holds the tick that ends at 0), b missed, c below 10 s.
    assert near((6 / 21 + 1) / 2) == got.error
    assert (near(1 / 3), 0.0) == (got.missed, got.false)


def test_dwells_in_another_zone_tag_or_layer_match_nothing():
    found = dwell_table([("p", "b", 0, 15 * S), ("q", "a", 0, 20 * S), ("p", "a", 0, 20 * S)])
    found["layer"][2] = "brand"
    got = score(
        positions=position_table([]), truths=[truth_table(STAY)], dwells=found, zones=ZONES
    ).dwells
    assert (1.0, 1.0, 1.0) == (got.error, got.missed, got.false)


def test_a_dwell_is_cut_to_what_the_truth_covers():
    found = dwell_table([("p", "a", -500 * S, 20 * S), ("p", "c", 37 * S, 900 * S)])
    got = score(
        positions=position_table([]), truths=[truth_table(STAY)], dwells=found, zones=ZONES
    ).dwells
    # The piece of c lasts 1 s, below the minimum, and is neither right nor false.
    assert (near(0.5), near(2 / 3), 0.0) == (got.error, got.missed, got.false)


def test_staff_have_positions_but_neither_dwells_nor_visits():
    got = score(
        positions=position_table(answers()),
        truths=[truth_table(STAY)],
        dwells=dwell_table([("p", "a", 0, 15 * S)]),
        visits=columns("tag path start_ns end_ns", [("p", "a", 0, 38 * S)]),
        zones=ZONES,
        staff=["p"],
    )
    assert 12 == got.position["final"].rows
    assert {"error": None, "missed": None, "false": None} == got.as_dict()["dwells"]
    assert got.paths is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a>b>c", 0.0), ("a>c", 1 / 3), ("a>a>b>b>c", 0.0), ("", 1.0), ("a>b>c>b>d", 2 / 3)],
)
def test_edit_distance_of_a_visits_path(path, expected):
    visits = columns("tag path start_ns end_ns", [("p", path, 0, 38 * S), ("p", "b", 0, 3 * S)])
    got = score(
        positions=position_table([]), truths=[truth_table(STAY)], visits=visits, zones=ZONES
    )
    assert near(expected) == got.paths.edit_distance


def test_a_visit_that_was_not_found_has_a_distance_of_one():
    later = [(t + 900 * S, tag, x, y) for t, tag, x, y in STAY]
    visits = columns("tag path start_ns end_ns", [("p", "a>b>c", 0, 38 * S)])
    got = score(
        positions=position_table([]), truths=[truth_table(STAY + later)], visits=visits, zones=ZONES
    )
    assert near(0.5) == got.paths.edit_distance


def shelf_score(events, truth):
    return score(
        positions=position_table([]),
        truths=[],
        shelf_events=columns("t_ns shelf gtin kind status", events),
        shelf_truth=columns("t_ns shelf gtin kind", truth),
    ).shelf


def test_a_return_taken_for_a_restock_and_another_product_are_right():
    got = shelf_score(
        [(10 * S, "s", "9", "restock", "final"), (20 * S, "s", "1", "pick", "final")],
        [(int(7.5 * S), "s", "1", "return"), (21 * S, "s", "1", "pick")],
    )
    assert (1.0, 1.0) == (got.precision, got.recall)
    assert near(1.0 + 0.95 * 1.5) == got.onset_p95_s


def test_the_sign_the_shelf_and_two_and_a_half_seconds_matter():
    got = shelf_score(
        [
            (10 * S, "s", "1", "pick", "final"),
            (20 * S, "s", "1", "pick", "final"),
            (30 * S, "s", "1", "pick", "final"),
        ],
        [
            (10 * S, "s", "1", "return"),
            (20 * S, "t", "1", "pick"),
            (30 * S + 2_500_000_001, "s", "1", "pick"),
        ],
    )
    assert (0.0, 0.0, None) == (got.precision, got.recall, got.onset_p95_s)


def test_a_restock_of_many_units_is_one_act():
    truth = [(t * S, "s", "1", "restock") for t in range(24)]
    got = shelf_score([(0, "s", "1", "restock", "final")], truth)
    assert (1.0, 1.0) == (got.precision, got.recall)


def test_provisional_and_retracted_events_are_not_judged():
    got = shelf_score(
        [(0, "s", "1", "pick", "provisional"), (0, "s", "1", "pick", "retracted")],
        [(0, "s", "1", "pick")],
    )
    assert (None, 0.0) == (got.precision, got.recall)
