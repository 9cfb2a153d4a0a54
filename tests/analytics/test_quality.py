"""Figures of `evaluate` on positions and zones, against cases worked by hand."""

import numpy as np
import pytest

from analytics.quality import pool_truths, score
from analytics.store import Zone
from tests.analytics.quality_tables import (
    WALK,
    ZONES,
    S,
    answers,
    columns,
    dwell_table,
    near,
    position_table,
    truth_table,
)


def test_a_perfect_answer_is_perfect():
    table = position_table(answers() + answers(stage="live"))
    got = score(positions=table, truths=[truth_table(WALK)], zones=ZONES).as_dict()
    for stage in ("live", "final"):
        assert {
            "mean_m": 0.5, "median_m": 0.5, "p90_m": 0.5, "rows": 12, "unknown": 0.0
        } == got["position"][stage]  # fmt: skip
        assert {
            "accuracy": 1.0, "macro_f1": 1.0, "switches": 2, "true_switches": 2,
            "dwell_misplaced": 0.0,
        } == got["zones"][stage]  # fmt: skip


def test_unknown_ticks_and_ticks_without_a_row_are_wrong_zones_and_no_metres():
    table = position_table(answers("aaa? bbbcc.b"))
    final = score(positions=table, truths=[truth_table(WALK)], zones=ZONES)
    assert (10, near(2 / 12)) == (final.position["final"].rows, final.position["final"].unknown)
    assert near(0.5) == final.position["final"].mean_m
    assert near(8 / 12) == final.zones["final"].accuracy
    # a→b, b→c, c→outside, outside→b
    assert 4 == final.zones["final"].switches
    f1_a, f1_b, f1_c = 6 / 7, 6 / 8, 4 / 6
    assert near((f1_a + f1_b + f1_c) / 3) == final.zones["final"].macro_f1
    live = final.position["live"]
    assert (0, 1.0, None) == (live.rows, live.unknown, live.mean_m)
    assert 0.0 == final.zones["live"].accuracy


def test_an_unknown_tick_is_no_switch_and_a_gap_of_the_truth_is_not_crossed():
    two_walks = WALK[:4] + [(t + 100 * S, tag, x, y) for t, tag, x, y in WALK[4:]]
    rows = answers("aa?a") + [(row[0] + 100 * S, *row[1:]) for row in answers("    bb?bcccc")]
    got = score(positions=position_table(rows), truths=[truth_table(two_walks)], zones=ZONES)
    assert (1, 1) == (got.zones["final"].switches, got.zones["final"].true_switches)


def test_time_beyond_a_zones_true_total_is_misplaced():
    table = position_table(answers("aabbbbbbbb??"))
    got = score(positions=table, truths=[truth_table(WALK)], zones=ZONES)
    assert near(4 / 12) == got.zones["final"].dwell_misplaced


def test_rows_outside_the_truths_span_or_in_its_gaps_do_not_count():
    rows = [(t * S, "p", "final", "main", "a", "known", 99.0, 99.0) for t in range(-3, 30)]
    truth = truth_table([(5 * S, "p", 99.0, 99.0), (9 * S, "p", 99.0, 99.0)])
    got = score(positions=position_table(rows), truths=[truth])
    assert (2, 0.0) == (got.position["final"].rows, got.position["final"].mean_m)


def test_truths_are_pooled_and_positions_count_once_per_tag_and_tick():
    rows = answers() * 2 + [
        (*row[:3], "brand", "promo", *row[5:6], 77.0, 77.0) for row in answers()
    ]
    halves = [truth_table(WALK[:7]), truth_table(WALK[5:]), truth_table(WALK[2:4])]
    got = score(positions=position_table(rows), truths=halves, zones=ZONES)
    assert (12, 0.5, 1.0) == (
        got.position["final"].rows,
        got.position["final"].mean_m,
        got.zones["final"].accuracy,
    )


def test_a_truth_without_zones_has_no_zone_figures():
    got = score(
        positions=position_table(answers()),
        truths=[truth_table(WALK)],
        dwells=dwell_table([("p", "a", 0, 9 * S)]),
        visits=columns("tag path start_ns end_ns", [("p", "a", 0, 11 * S)]),
    )
    assert (None, None, None, None) == (got.zones, got.dwells, got.paths, got.shelf)
    assert got.position is not None


def test_no_truth_is_no_figure():
    got = score(positions=position_table(answers()), truths=[truth_table([])], zones=ZONES)
    empty = dict.fromkeys(("position", "zones", "dwells", "paths", "shelf"))
    assert empty == got.as_dict()


def test_the_truths_own_zones_win_over_polygons_and_empty_columns_do_not():
    named = truth_table(WALK) | {"zone": np.array(["c"] * 6 + [""] * 6, dtype=object)}
    table = position_table(answers("cccccc......"))
    assert 1.0 == score(positions=table, truths=[named], zones=ZONES).zones["final"].accuracy
    assert 1.0 == score(positions=table, truths=[named]).zones["final"].accuracy
    blank = truth_table(WALK) | {"zone": np.array([""] * 12, dtype=object)}
    table = position_table(answers())
    assert 1.0 == score(positions=table, truths=[blank], zones=ZONES).zones["final"].accuracy


def test_zones_of_other_layers_place_nobody():
    layer = Zone(
        id="x", name="x", kind="promo", layer="brand", polygon_m=((0, 0), (9, 0), (9, 9), (0, 9))
    )
    table = position_table(answers())
    got = score(positions=table, truths=[truth_table(WALK)], zones=(layer, *ZONES))
    assert 1.0 == got.zones["final"].accuracy


def test_an_unheard_of_stage_is_refused():
    rows = [(0, "p", "draft", "main", "", "unknown", np.nan, np.nan)]
    with pytest.raises(ValueError, match="'draft'"):
        score(positions=position_table(rows), truths=[truth_table(WALK)])


def test_rows_without_time_tag_or_place_are_no_truth():
    rows = [(-1, "p", 1.0, 1.0), (0, "", 1.0, 1.0), (0, "p", np.nan, 1.0), (0, "p", 1.0, 1.0)]
    pooled = pool_truths([truth_table(rows)])
    assert [["p"], [0]] == [pooled["tag"].tolist(), pooled["t_ns"].tolist()]


def test_no_array_of_the_caller_changes():
    table, truth = position_table(answers()), truth_table(WALK)
    before = {name: values.copy() for name, values in (table | truth).items()}
    score(positions=table, truths=[truth], zones=ZONES)
    for name, values in (table | truth).items():
        np.testing.assert_array_equal(before[name], values)
