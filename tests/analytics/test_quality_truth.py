"""Truth at ticks and true dwells against plain Python."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.quality_truth import (
    BY_POLYGON,
    OUTSIDE,
    Ticks,
    stretches,
    true_dwells,
    truth_ticks,
    zone_at,
)
from analytics.store import Rules, Zone

S = 1_000_000_000
LEFT = Zone(id="left", name="", kind="aisle", polygon_m=((0, 0), (2, 0), (2, 2), (0, 2)))
RIGHT = Zone(id="right", name="", kind="aisle", polygon_m=((2, 0), (4, 0), (4, 2), (2, 2)))


def ticks_of(rows, zones=(), tick_ns=S):
    """Rows of (t_ns, tag, x, zone); y is 1."""
    return truth_ticks(
        t_ns=np.array([row[0] for row in rows], np.int64),
        tag=np.array([row[1] for row in rows], np.int64),
        x_m=np.array([row[2] for row in rows], np.float64),
        y_m=np.ones(len(rows)),
        zone=np.array([row[3] for row in rows], np.int64),
        zones=zones,
        tick_ns=tick_ns,
    )


def reference_ticks(rows, tick_ns):
    found = []
    by_tag = {}
    for t, tag, x, zone in sorted(rows, key=lambda row: (row[1], row[0], row[2], row[3])):
        by_tag.setdefault(tag, {}).setdefault(t, (x, zone))
    for tag, samples in sorted(by_tag.items()):
        times = sorted(samples)
        for number in range(times[0] // tick_ns, times[-1] // tick_ns + 2):
            t = number * tick_ns
            before = [u for u in times if u <= t]
            after = [u for u in times if u >= t]
            if not before or not after or after[0] - before[-1] > 2 * S:
                continue
            (x0, z0), (x1, z1) = samples[before[-1]], samples[after[0]]
            length = after[0] - before[-1]
            share = (t - before[-1]) / length if length else 0.0
            found.append((tag, number, x0 + share * (x1 - x0), z0 if share <= 0.5 else z1))
    return found


@given(
    st.lists(
        st.tuples(
            st.integers(0, 60).map(lambda n: n * S // 4),
            st.integers(0, 2),
            st.integers(0, 4).map(float),
            st.integers(-1, 2),
        ),
        max_size=40,
    ),
    st.sampled_from([S // 2, S, 2 * S]),
)
def test_ticks_are_those_of_plain_python(rows, tick_ns):
    expected = reference_ticks(rows, tick_ns)
    ticks = ticks_of(rows, tick_ns=tick_ns)
    got = list(zip(ticks.tag, ticks.tick, ticks.x_m, ticks.zone, strict=True))
    assert [row[:2] + row[3:] for row in expected] == [row[:2] + row[3:] for row in got]
    assert [row[2] for row in expected] == pytest.approx([row[2] for row in got])


def test_a_gap_of_two_seconds_is_bridged_and_a_longer_one_is_not():
    assert [0, 1, 2] == ticks_of([(0, 0, 0, 0), (2 * S, 0, 0, 0)]).tick.tolist()
    assert [0] == ticks_of([(0, 0, 0, 0), (2 * S + 1, 0, 0, 0)]).tick.tolist()


def test_a_zone_comes_from_the_nearer_row_and_else_from_the_polygon():
    named = ticks_of([(S // 2, 0, 1, 5), (S * 5 // 4, 0, 1, 6), (2 * S, 0, 1, 7)])
    assert [6, 7] == named.zone.tolist()
    halfway = ticks_of([(0, 0, 1, 5), (2 * S, 0, 1, 6)])
    assert [5, 5, 6] == halfway.zone.tolist()
    placed = ticks_of([(0, 0, 1, BY_POLYGON), (2 * S, 0, 5, BY_POLYGON)], zones=(LEFT, RIGHT))
    assert [0, 1, OUTSIDE] == placed.zone.tolist()


def test_where_zones_lie_over_each_other_the_floor_decides():
    above = dataclasses.replace(LEFT, id="above", floor="1")
    floor = np.array(["0", "1", "2", "", None], object)
    at = np.ones(5), np.ones(5)
    assert [0, 1, OUTSIDE, 0, 0] == zone_at(*at, [LEFT, above], floor=floor).tolist()
    ticks = truth_ticks(
        t_ns=np.array([0, 2 * S]), tag=np.zeros(2, int), x_m=np.ones(2), y_m=np.ones(2),
        zone=np.full(2, BY_POLYGON), zones=(LEFT, above), tick_ns=S,
        floor=np.array(["1", "0"], object),
    )  # fmt: skip
    assert [1, 1, 0] == ticks.zone.tolist()


def test_touching_zones_claim_their_border_once():
    at = np.array([2.0]), np.array([1.0])
    claims = [zone_at(*at, [zone]).tolist() for zone in (LEFT, RIGHT)]
    assert 1 == sum(claim == [0] for claim in claims)


def reference_dwells(rows, rules):
    """Walk through the ticks of each tag: (tag, tick, zone) sorted."""
    tick_s = rules.tick_s
    runs = []
    for tag, tick, zone in rows:
        last = runs[-1] if runs else None
        if (
            last
            and (last[0], last[1]) == (tag, zone)
            and (tick - last[3] - 1) * tick_s <= rules.dwell_gap_s
        ):
            last[3] = tick
        else:
            runs.append([tag, zone, tick, tick])
    found, at = [], 0
    while at < len(runs):
        tag, zone, first, last = runs[at]
        ahead = at + 1
        while zone != OUTSIDE:
            again = [i for i in range(ahead, len(runs)) if (runs[i][0], runs[i][1]) == (tag, zone)]
            if not again or (runs[again[0]][2] - 1 - last) * tick_s > rules.flicker_s:
                break
            last, ahead = runs[again[0]][3], again[0] + 1
        if zone != OUTSIDE and (last - first + 1) * tick_s >= rules.dwell_min_s:
            found.append((tag, zone, first - 1, last))
        at = ahead
    return found


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 6), st.integers(-1, 2)), max_size=60),
    st.sampled_from([(1.0, 0.0, 3.0), (3.0, 2.0, 4.0), (5.0, 3.0, 30.0)]),
)
def test_dwells_are_those_of_plain_python(steps, times):
    minimum, flicker, gap = times
    rules = Rules(dwell_min_s=minimum, flicker_s=flicker, dwell_gap_s=gap)
    clock, rows = {}, []
    for tag, step, zone in steps:
        # Most steps are one tick, some leave a silence.
        clock[tag] = clock.get(tag, 0) + (1 if step < 5 else step)
        rows.append((tag, clock[tag], zone))
    rows.sort()
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    nowhere = np.zeros(len(rows))
    dwells, zone = true_dwells(
        Ticks(tag=table[:, 0], tick=table[:, 1], x_m=nowhere, y_m=nowhere, zone=table[:, 2]), rules
    )
    got = zip(dwells.group, zone, dwells.start_ns // S, dwells.end_ns // S, strict=True)
    assert reference_dwells(rows, rules) == list(got)


def dwells_of(text, rules):
    """One letter a tick, '.' outside, ' ' no truth; return e.g. [("A", 0, 8)]."""
    rows = [(at, letter) for at, letter in enumerate(text, start=1) if letter != " "]
    ticks = Ticks(
        tag=np.zeros(len(rows), np.int64),
        tick=np.array([at for at, _ in rows]),
        x_m=np.zeros(len(rows)),
        y_m=np.zeros(len(rows)),
        zone=np.array([".ABC".index(letter) - 1 for _, letter in rows]),
    )
    dwells, zone = true_dwells(ticks, rules)
    return [
        ("ABC"[z], int(start // S), int(end // S))
        for z, start, end in zip(zone, dwells.start_ns, dwells.end_ns, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AAAAA", [("A", 0, 5)]),
        ("AAAA", []),
        ("AAABBBAAA", [("A", 0, 9)]),
        ("AAAAABBBBAAAAA", [("A", 0, 5), ("A", 9, 14)]),
        ("AAA..AAA", [("A", 0, 8)]),
        ("..A...", []),
        ("AAAABBAABBBBBB", [("A", 0, 8), ("B", 8, 14)]),
        ("AAAAA" + " " * 30 + "AAAAA", [("A", 0, 40)]),
        ("AAAAA" + " " * 31 + "AAAAA", [("A", 0, 5), ("A", 36, 41)]),
        ("AAAAA     BBBBB", [("A", 0, 5), ("B", 10, 15)]),
    ],
)
def test_dwell_rules(text, expected):
    assert expected == dwells_of(text, Rules())


def test_being_outside_absorbs_no_stay():
    assert [("A", 2, 5)] == dwells_of("..AAA...", Rules(dwell_min_s=2.0))


def test_stretches_end_at_a_silence_and_at_another_tag():
    tag, tick = np.array([0, 0, 0, 1]), np.array([1, 2, 6, 7])
    found = stretches(tag, tick, silence_ns=2 * S, tick_ns=S)
    assert [(0, 0, 2), (0, 5, 6), (1, 6, 7)] == list(
        zip(found.group, found.start_ns // S, found.end_ns // S, strict=True)
    )
