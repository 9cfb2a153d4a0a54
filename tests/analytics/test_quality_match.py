"""Pairing by overlap, one-to-one choice and edit distance against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.quality_match import (
    Intervals,
    edit_distances,
    expand,
    match_one_to_one,
    overlapping_pairs,
)

SMALL = st.integers(0, 12)


def intervals(rows):
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Intervals(group=table[:, 0], start_ns=table[:, 1], end_ns=table[:, 2])


def disjoint(rows):
    """Turn (group, gap, length) into sorted stretches that do not overlap within a group."""
    found, ends = [], {}
    for group, gap, length in sorted(rows, key=lambda row: row[0]):
        start = ends.get(group, 0) + gap
        ends[group] = start + length
        found.append((group, start, start + length))
    return found


@given(
    st.lists(st.tuples(st.integers(-1, 2), SMALL, st.integers(1, 9))),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 4))),
)
def test_overlapping_pairs_are_those_of_all_pairs(first, second):
    first = [(group, start, start + length) for group, start, length in first]
    second = disjoint(second)
    expected = [
        (i, j)
        for i, (group, start, end) in enumerate(first)
        for j, (other, low, high) in enumerate(second)
        if group == other and start < high and low < end
    ]
    at_a, at_b = overlapping_pairs(intervals(first), intervals(second))
    assert expected == list(zip(at_a.tolist(), at_b.tolist(), strict=True))


@given(st.lists(st.tuples(SMALL, SMALL)))
def test_expand_lists_every_range(ranges):
    expected = [(i, value) for i, (low, high) in enumerate(ranges) for value in range(low, high)]
    table = np.array(ranges, dtype=np.int64).reshape(-1, 2)
    row, value = expand(table[:, 0], table[:, 1])
    assert expected == list(zip(row.tolist(), value.tolist(), strict=True))


@given(st.dictionaries(st.tuples(st.integers(0, 6), st.integers(0, 6)), SMALL), st.randoms())
def test_matching_is_greedy_by_merit_and_ignores_the_order_of_pairs(pairs, random):
    used_a, used_b, expected = set(), set(), []
    for (a, b), _merit in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        if a not in used_a and b not in used_b:
            used_a.add(a)
            used_b.add(b)
            expected.append((a, b))
    rows = list(pairs.items())
    random.shuffle(rows)
    at = np.array([pair for pair, _ in rows], dtype=np.int64).reshape(-1, 2)
    merit = np.array([value for _, value in rows], dtype=np.int64)
    left, right = match_one_to_one(at[:, 0], at[:, 1], merit)
    assert sorted(expected) == list(zip(left.tolist(), right.tolist(), strict=True))


def levenshtein(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(
        levenshtein(a[1:], b) + 1,
        levenshtein(a, b[1:]) + 1,
        levenshtein(a[1:], b[1:]) + (a[0] != b[0]),
    )


@settings(max_examples=60)
@given(st.lists(st.tuples(*[st.lists(st.integers(0, 2), max_size=5)] * 2), max_size=4))
def test_edit_distances_are_those_of_the_recursion(pairs):
    expected = [levenshtein(a, b) for a, b in pairs]
    assert expected == edit_distances([a for a, _ in pairs], [b for _, b in pairs]).tolist()


@pytest.mark.parametrize(("a", "b", "expected"), [("kitten", "sitting", 3), ("", "abc", 3)])
def test_edit_distance_of_known_words(a, b, expected):
    assert [expected] == edit_distances([list(map(ord, a))], [list(map(ord, b))]).tolist()


def test_times_of_any_size_do_not_overflow():
    far = 9_000_000_000_000_000_000
    one = intervals([(10**6, far, far + 10)])
    at_a, at_b = overlapping_pairs(one, intervals([(0, 0, far), (10**6, far + 9, far + 20)]))
    assert ([0], [1]) == (at_a.tolist(), at_b.tolist())
