import itertools
import math

import numpy as np
import pytest

from analytics.attribution import attribute


def plain(q, untagged):
    """Sum over every set of tags that may be there and every number of untagged people."""
    p = np.zeros(len(q))
    for there in itertools.product([0, 1], repeat=len(q)):
        weight = math.prod(x if t else 1 - x for x, t in zip(q, there, strict=True))
        for u in range(25):
            both = weight * math.exp(-untagged) * untagged**u / math.factorial(u)
            if sum(there) + u:
                p += both * np.array(there) / (sum(there) + u)
    return p / (1 - math.prod(1 - x for x in q) * math.exp(-untagged))


@pytest.mark.parametrize("untagged", [0.0, 0.1, 1.5])
def test_agrees_with_the_sum_over_all_sets_of_people(untagged):
    rng = np.random.default_rng(3)
    for _ in range(20):
        q = rng.uniform(0, 1, int(rng.integers(1, 6)))
        expected = plain(q, untagged)
        best, p = attribute(q, untagged=untagged)
        if expected.max() >= 0.5:
            assert (int(expected.argmax()), round(float(expected.max()), 3)) == (best, p)
        else:
            assert (-1, round(1 - float(expected.max()), 3)) == (best, p)


def test_nobody_near_is_unattributed():
    assert (-1, 1.0) == attribute(np.zeros(0))
    assert (-1, 1.0) == attribute(np.zeros(4))


def test_a_lone_tag_far_away_does_not_win_by_being_alone():
    assert -1 == attribute(np.array([0.05]))[0]


def test_two_people_at_one_shelf_are_not_told_apart():
    assert -1 == attribute(np.array([0.9, 0.9]))[0]


def test_more_untagged_people_make_it_less_sure():
    sure = attribute(np.array([0.95]), untagged=0.05)[1]
    unsure = attribute(np.array([0.95]), untagged=0.5)[1]
    assert unsure < sure


@pytest.mark.parametrize("presence", [[-0.1], [1.1], [np.nan], [[0.5]]])
def test_refuses_what_is_not_a_probability(presence):
    with pytest.raises(ValueError, match="presence"):
        attribute(np.array(presence))


@pytest.mark.parametrize("untagged", [-1.0, np.nan, np.inf])
def test_refuses_an_impossible_crowd(untagged):
    with pytest.raises(ValueError, match="untagged"):
        attribute(np.array([0.5]), untagged=untagged)
