"""Every figure of `evaluate`, against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.quality import score
from analytics.quality_truth import Ticks, true_dwells
from tests.analytics import quality_reference as reference
from tests.analytics.quality_tables import (
    RULES,
    ZONES,
    S,
    columns,
    dwell_table,
    near,
    position_table,
    truth_table,
)


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
