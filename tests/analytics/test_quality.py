"""Every figure of `evaluate`, against plain Python and against cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.quality import pool_truths, score
from analytics.quality_truth import Ticks, true_dwells
from analytics.store import Rules, Zone
from tests.analytics import quality_reference as reference

S = 1_000_000_000
ZONES = tuple(
    Zone(id=name, name=name, kind="aisle", polygon_m=((x, 0), (x + 2, 0), (x + 2, 3), (x, 3)))
    for name, x in (("a", 0.0), ("b", 2.0), ("c", 4.0))
)
RULES = Rules(dwell_min_s=2.0, flicker_s=1.0, dwell_gap_s=4.0, visit_min_s=1.0)


def columns(names, rows):
    """Build a table from tuples; texts become object columns."""
    table = {}
    for at, name in enumerate(names.split()):
        values = [row[at] for row in rows]
        if name.endswith("_ns"):
            table[name] = np.array(values, np.int64)
        elif name.endswith(("_m", "_s")):
            table[name] = np.array(values, np.float64)
        else:
            table[name] = np.array(values, dtype=object)
    return table


def truth_table(rows):
    return columns("t_ns tag x_m y_m", rows)


def position_table(rows):
    """Rows of (T, tag, stage, layer, zone, state, x, y)."""
    return columns("t_ns tag stage layer zone zone_state x_m y_m", rows)


def dwell_table(rows):
    """Rows of (tag, zone, start, end) in layer main."""
    return columns(
        "tag layer zone start_ns end_ns dwell_s",
        [(tag, "main", zone, start, end, (end - start) / S) for tag, zone, start, end in rows],
    )


def near(expected):
    return expected if expected is None else pytest.approx(expected, abs=2e-6, nan_ok=False)


def assert_same(expected, got):
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert got[name] == near(value), name


seconds = st.integers(0, 24)
tags = st.sampled_from(["p", "q"])
spots = st.tuples(st.integers(-1, 13).map(lambda n: n / 2 + 0.1), st.integers(0, 2))


@settings(max_examples=150)
@given(
    truth=st.lists(
        st.tuples(st.integers(0, 72).map(lambda n: n * S // 3), tags, spots).map(
            lambda row: (row[0], row[1], *map(float, row[2]))
        ),
        min_size=2,
        max_size=60,
    ),
    rows=st.dictionaries(
        st.tuples(seconds, tags, st.sampled_from(["live", "final"])),
        st.tuples(spots, st.sampled_from(["known", "known", "outside", "unknown"]), st.booleans()),
        max_size=60,
    ),
    random=st.randoms(),
)
def test_positions_and_zones_are_those_of_plain_python(truth, rows, random):
    table, answers = [], {"live": {}, "final": {}}
    for (second, tag, stage), ((x, y), state, other_layer) in rows.items():
        zone = random.choice("abcd") if state == "known" else ""
        if state == "unknown":
            x = y = float("nan")
        else:
            answers[stage][tag, second * S] = (x, float(y), zone)
        table.append((second * S, tag, stage, "main", zone, state, x, y))
        if other_layer:
            table.append((second * S, tag, stage, "brand", "z", state, x, y))
        if random.random() < 0.2:
            table.append(table[-1])
    random.shuffle(table)
    true = reference.truth_at(truth, ZONES)
    scores = score(
        positions=position_table(table), truths=[truth_table(truth)], zones=ZONES, rules=RULES
    )
    assert len(true) == scores.ticks
    if not true:
        assert scores.position is None
        return
    got = scores.as_dict()
    for stage, found in answers.items():
        assert_same(reference.position(found, true), got["position"][stage])
        assert_same(reference.zones(found, true), got["zones"][stage])


@pytest.mark.parametrize("seed", range(3))
def test_many_positions_are_those_of_plain_python(seed):
    rng = np.random.default_rng(seed)
    truth = [
        (t * S // 2, tag, float(x), 1.0)
        for tag in "pqr"
        for t, x in enumerate(rng.uniform(-0.5, 6.5, 120))
    ]
    answers, table = {}, []
    for tag in "pqr":
        for second in range(-3, 70):
            x, y = rng.uniform(0, 6, 2)
            zone = str(rng.choice(["a", "b", "c", "d", ""]))
            answers[tag, second * S] = (x, y, zone)
            state = "known" if zone else "outside"
            table.append((second * S, tag, "final", "main", zone, state, x, y))
    true = reference.truth_at(truth, ZONES)
    scores = score(
        positions=position_table(table), truths=[truth_table(truth)], zones=ZONES, rules=RULES
    )
    got = scores.as_dict()
    assert_same(reference.position(answers, true), got["position"]["final"])
    assert_same(reference.zones(answers, true), got["zones"]["final"])


@settings(max_examples=150)
@given(
    truth=st.lists(
        st.tuples(seconds, tags, spots).map(lambda r: (r[0] * S, r[1], *map(float, r[2]))),
        min_size=2,
        max_size=60,
    ),
    rows=st.lists(
        st.tuples(tags, st.sampled_from("abcd"), st.integers(-3, 25), st.integers(1, 14)),
        max_size=12,
    ),
)
def test_dwells_are_those_of_plain_python(truth, rows):
    booked = [(tag, zone, low * S, (low + length) * S) for tag, zone, low, length in rows]
    at = reference.truth_at(truth, ZONES)
    if not at:
        return
    keys = sorted(at)
    names = ["a", "b", "c", ""]
    ticks = Ticks(
        tag=np.array(["pq".index(tag) for tag, _ in keys]),
        tick=np.array([t // S for _, t in keys]),
        x_m=np.zeros(len(keys)),
        y_m=np.zeros(len(keys)),
        zone=np.array([(names.index(at[key][2]) + 1) % 4 - 1 for key in keys]),
    )
    dwells, zone = true_dwells(ticks, RULES)
    true = [
        ("pq"[tag], names[z], int(start), int(end))
        for tag, z, start, end in zip(
            dwells.group, zone, dwells.start_ns, dwells.end_ns, strict=True
        )
    ]
    scores = score(
        positions=position_table([]),
        truths=[truth_table(truth)],
        dwells=dwell_table(booked),
        zones=ZONES,
        rules=RULES,
    )
    assert_same(reference.dwells(booked, at, true, RULES), scores.as_dict()["dwells"])


shelf_rows = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda n: n * S // 2),
        st.sampled_from(["s", "t"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["pick", "return", "restock", "touch"]),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(events=shelf_rows, truth=shelf_rows)
def test_shelf_figures_are_those_of_plain_python(events, truth):
    scores = score(
        positions=position_table([]),
        truths=[],
        shelf_events=columns(
            "t_ns shelf gtin kind status",
            [(*row, "final") for row in events] + [(5 * S, "s", "1", "pick", "retracted")],
        ),
        shelf_truth=columns("t_ns shelf gtin kind", truth),
    )
    expected = reference.shelf(events, truth)
    if expected is None:
        assert scores.shelf is None
    else:
        assert_same(expected, scores.as_dict()["shelf"])


# Cases worked by hand. A walk along x at y = 1, half a metre a second: zones a, b, c.
WALK = [(t * S, "p", t / 2, 1.0) for t in range(12)]


def answers(zones="aaaabbbbcccc", stage="final", tag="p"):
    """One row a second; '?' unknown, '.' outside, ' ' no row."""
    rows = []
    for t, zone in enumerate(zones):
        if zone == "?":
            rows.append((t * S, tag, stage, "main", "", "unknown", np.nan, np.nan))
        elif zone != " ":
            known = "outside" if zone == "." else "known"
            rows.append((t * S, tag, stage, "main", zone.strip("."), known, t / 2 + 0.3, 1.4))
    return rows


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


# Zone a for 20 s, b for 12 s, c for 6 s.
STAY = [(t * S, "p", x, 1.0) for t, x in enumerate([1.0] * 21 + [3.0] * 12 + [5.0] * 6)]


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
