"""Sessions of labelled rows: by hand, against plain Python, and against the tick-wise machine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import sessions as module
from analytics.dwell import DwellMachine
from analytics.sessions import NOWHERE, Sessions, sessions
from analytics.store import Rules

RULES = Rules()
S = 10**9


def found(rows, rules=RULES, row_s=0.0):
    """Return (tag, zone, start s, end s, rows) of each session of (s, tag, zone) rows."""
    t, tag, zone = (np.array(column) for column in zip(*rows, strict=True))
    result = sessions(
        (t * S).astype(np.int64), tag.astype(np.int32), zone.astype(np.int16),
        rules=rules, row_s=row_s,
    )  # fmt: skip
    return as_tuples(result)


def as_tuples(result: Sessions):
    return list(
        zip(
            result.tag.tolist(),
            result.zone.tolist(),
            (result.start_ns / S).tolist(),
            (result.end_ns / S).tolist(),
            result.rows.tolist(),
            strict=True,
        )
    )


def plain(rows, rules=RULES, row_s=0.0):
    """Do the same row by row in plain Python: the meaning of `sessions`, slowly."""
    out = []
    by_tag = {}
    for at, (t, tag, zone) in enumerate(rows):
        by_tag.setdefault(tag, []).append((t, at, zone))
    for tag in sorted(by_tag):
        mine = [(t, zone) for t, _, zone in sorted(by_tag[tag])]
        here = there = None  # zone, index of the first row, index of the last row
        left = 0.0

        def close(stay, tag=tag, mine=mine):
            if stay and stay[0] != NOWHERE:
                start, end = mine[stay[1]][0], mine[stay[2]][0]
                if end - start + row_s >= rules.dwell_min_s:
                    out.append((tag, stay[0], start, end, stay[2] - stay[1] + 1))

        for at, (t, zone) in enumerate(mine):
            while here and t - mine[here[2]][0] - row_s > rules.dwell_gap_s:
                close(here)
                here, there = there, None
            if there and t - left > rules.flicker_s:
                close(here)
                here, there = there, None
            if here and zone == here[0] != NOWHERE:
                here, there = (zone, here[1], at), None
                continue
            if not there:
                left = t
            there = (zone, there[1], at) if there and there[0] == zone else (zone, at, at)
            if not here or here[0] == NOWHERE or t - left + row_s > rules.flicker_s:
                close(here)
                here, there = there, None
        close(here)
        close(there)
    return out


def stay(zone, first, last, tag=0):
    return [(t, tag, zone) for t in range(first, last + 1)]


def test_a_stay_ends_with_another_zone_or_with_silence():
    rows = stay(1, 0, 9) + stay(2, 10, 20) + stay(2, 51, 60)
    assert found(rows) == [(0, 1, 0, 9, 10), (0, 2, 10, 20, 11), (0, 2, 51, 60, 10)]
    assert found(stay(2, 0, 9) + stay(2, 39, 50)) == [(0, 2, 0, 50, 22)]


def test_short_stays_do_not_count_and_a_flicker_is_bridged():
    assert found(stay(1, 0, 4)) == []
    assert found(stay(1, 0, 5)) == [(0, 1, 0, 5, 6)]
    assert found(stay(1, 0, 4), row_s=1.0) == [(0, 1, 0, 4, 5)]
    assert found(stay(1, 0, 9) + stay(2, 10, 12) + stay(1, 13, 20)) == [(0, 1, 0, 20, 21)]
    longer = stay(1, 0, 9) + stay(2, 10, 13) + stay(1, 14, 20)
    assert found(longer) == [(0, 1, 0, 9, 10), (0, 1, 14, 20, 7)]


def test_a_run_that_is_short_leads_to_where_the_last_one_led():
    rows = stay(1, 0, 9) + stay(2, 10, 10) + stay(3, 11, 20)
    assert found(rows) == [(0, 1, 0, 9, 10), (0, 3, 11, 20, 10)]
    # Nowhere is a place to flicker to, and no session itself.
    rows = stay(1, 0, 9) + stay(NOWHERE, 10, 11) + stay(1, 12, 20) + stay(NOWHERE, 21, 60)
    assert found(rows) == [(0, 1, 0, 20, 21)]


def test_a_stay_is_one_of_its_tag():
    rows = stay(1, 0, 9, tag=70_000) + stay(1, 10, 19, tag=3) + stay(1, 20, 29, tag=-5)
    expected = [(-5, 1, 20, 29, 10), (3, 1, 10, 19, 10), (70_000, 1, 0, 9, 10)]
    assert found(rows) == expected
    assert found(rows[::-1]) == expected


def test_nothing_gives_nothing_and_unequal_columns_are_refused():
    none = sessions(
        np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int16), rules=RULES
    )
    assert len(none) == 0
    with pytest.raises(ValueError, match=r"columns of 1, 2 and 1 rows; expected equal"):
        sessions(np.zeros(1, np.int64), np.zeros(2, np.int32), np.zeros(1, np.int16), rules=RULES)


def test_blocks_that_are_in_order_but_not_among_each_other(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BY_TIME", 10)
    rows = stay(1, 100, 109) + stay(1, 0, 9) + stay(2, 10, 19)
    assert found(rows) == [(0, 1, 0, 9, 10), (0, 2, 10, 19, 10), (0, 1, 100, 109, 10)]


some_rules = st.builds(
    Rules,
    dwell_min_s=st.sampled_from([0.0, 2.0, 5.0]),
    dwell_gap_s=st.sampled_from([2.0, 4.0, 30.0]),
    flicker_s=st.sampled_from([0.0, 1.0, 3.0]),
)
steps = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 2, 4, 5, 6, 40]), st.sampled_from([-1, 0, 0, 0, 1, 1, 2])),
    min_size=1,
    max_size=60,
)


def walked(of_tag, tag):
    t = np.cumsum([step for step, _ in of_tag])
    return [(int(at), tag, zone) for at, (_, zone) in zip(t, of_tag, strict=True)]


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, min_size=1, max_size=3), some_rules, st.randoms(use_true_random=False))
def test_every_order_gives_what_plain_python_gives(tags, rules, chance):
    rows = [row for tag, of_tag in enumerate(tags) for row in walked(of_tag, tag)]
    expected = plain(rows, rules)
    assert expected == found(rows, rules)
    by_time = sorted(rows, key=lambda row: row[0])
    assert expected == found(by_time, rules)
    chance.shuffle(rows)
    assert expected == found(rows, rules)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, min_size=1, max_size=3), some_rules, st.randoms(use_true_random=False))
def test_small_blocks_change_nothing(tags, rules, chance):
    rows = [row for tag, of_tag in enumerate(tags) for row in walked(of_tag, tag)]
    by_time = sorted(rows, key=lambda row: row[0])
    mixed = list(rows)
    chance.shuffle(mixed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_BY_TAG", 4)
        patch.setattr(module, "_BLOCK_BY_TIME", 7)
        blocked = found(rows, rules), found(by_time, rules), found(mixed, rules)
    assert (found(rows, rules),) * 3 == blocked


@settings(max_examples=200, deadline=None)
@given(steps, some_rules)
def test_rows_of_ticks_give_the_stays_of_the_machine(of_tag, rules):
    rows = walked(of_tag, 0)
    machine = DwellMachine(rules)
    machine.grow(1)
    lane, one = np.zeros(1, np.int64), np.ones(1)
    stays = []
    for tick, _, zone in rows:
        stays += machine.feed(
            tick, lane, np.array([zone], np.int16), one.astype(np.float32),
            one.astype(np.bool_), one.astype(np.int32),
        )  # fmt: skip
    stays += machine.end(lane)
    expected = [(0, s.zone, s.first, s.last, s.readings) for s in stays]
    assert expected == found(rows, rules, row_s=1.0)
