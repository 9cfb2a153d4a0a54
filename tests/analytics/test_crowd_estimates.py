"""People with uncertainty: sums over tags and ticks, those without a tag, and the truth."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.crowd_estimates import CrowdEstimates, everybody
from tests.analytics.stores import SECOND, START_NS, shop

MINUTE_NS = 60 * SECOND
T0 = START_NS // SECOND
STORE = shop()
ZONES = len(STORE.zones)
AISLE = 1


def masses(*columns: float) -> np.ndarray:
    """Return zone masses in which each lane is in the aisle with this probability."""
    found = np.zeros((ZONES, len(columns)), np.float32)
    found[AISLE] = columns
    return found


def crowd(store=STORE, ticks: int = 60) -> CrowdEstimates:
    """Return estimates in which something was heard in so many ticks."""
    made = CrowdEstimates(store)
    for tick in range(ticks):
        made.seen(T0 + tick)
    return made


def aisle(made: CrowdEstimates, minute: int = 0):
    """Return the aisle's row of a minute."""
    rows = made.advance(1 << 62)
    assert ZONES * (minute + 1) == len(rows)
    return rows[minute * ZONES + AISLE]


def test_tags_and_their_uncertainty_are_means_over_the_minute() -> None:
    made = crowd()
    for tick in range(60):
        made.note(T0 + tick, np.array([1, 1, 1]), masses(0.5, 1.0, 0.2 if tick < 30 else 0.0))
    row = aisle(made)
    assert (START_NS + MINUTE_NS, "main", "aisle") == (row.t_ns, row.layer, row.zone)
    assert row.tagged == pytest.approx(1.6, abs=1e-3)
    assert row.tagged_sigma == pytest.approx(math.sqrt(0.25 + 0.5 * 0.16), abs=1e-3)
    assert (row.tagged, row.tagged_sigma) == (row.people, row.people_sigma)


def test_tag_that_is_heard_seldom_counts_as_one_that_is_heard_in_every_tick() -> None:
    made = crowd()
    for tick in range(60):
        heard = tick % 5 == 4
        made.note(T0 + tick, np.array([5 * heard, 0]), masses(0.75, 1.0))
    row = aisle(made)
    assert row.tagged == pytest.approx(0.75, abs=1e-3)
    assert row.tagged_sigma == pytest.approx(math.sqrt(0.1875), abs=1e-3)


def test_masses_that_rounding_pushed_out_of_bounds_and_silent_lanes_do_no_harm() -> None:
    made = crowd()
    for tick in range(60):
        made.note(T0 + tick, np.array([1.0, 1.0, 0.0], np.float32), masses(1.001, -0.01, np.nan))
    assert (1.0, 0.0) == (aisle(made).tagged, 0.0)


def test_only_minutes_in_which_something_was_heard_have_rows_and_each_once() -> None:
    made = crowd(ticks=1)
    made.seen(T0 + 125)
    made.note(T0, np.array([1]), masses(1.0))
    assert [] == made.advance(START_NS + MINUTE_NS - 1)
    assert {1} == {(row.t_ns - START_NS) // MINUTE_NS for row in made.advance(START_NS + MINUTE_NS)}
    made.note(T0 + 3, np.array([1]), masses(1.0))
    rows = made.advance(START_NS + 9 * MINUTE_NS)
    assert {3} == {(row.t_ns - START_NS) // MINUTE_NS for row in rows}
    assert {0.0} == {row.tagged for row in rows}
    assert {} == made._sums
    assert set() == made._seen


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(1, 7))
def test_sums_do_not_depend_on_blocks_order_or_portions(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    ticks, lanes = 20, 40
    weight = rng.integers(0, 11, (ticks, lanes))
    mass = rng.dirichlet(np.ones(ZONES), (ticks, lanes)).transpose(0, 2, 1).astype(np.float32)
    whole, pieces = crowd(ticks=ticks), crowd(ticks=ticks)
    for tick in range(ticks):
        whole.note(T0 + tick, weight[tick], mass[tick])
    cuts = np.array_split(rng.permutation(lanes), parts)
    for tick in rng.permutation(ticks).tolist():
        for cut in cuts:
            pieces.note(T0 + tick, weight[tick, cut], mass[tick][:, cut])
        pieces.advance(START_NS + SECOND * tick)
    assert whole.advance(1 << 62) == pieces.advance(1 << 62)


@pytest.mark.parametrize(("tagged", "share"), [(0, 0.5), (3, 0.5), (7, 0.3), (20, 0.9)])
def test_everybody_has_the_variance_of_the_posterior_with_a_flat_prior(
    tagged: int, share: float
) -> None:
    """Against Bayes by hand: likelihood C(N, n) s^n (1 - s)^(N - n) over all N."""
    n = np.arange(tagged, 2000)
    choose = [math.lgamma(k + 1) - math.lgamma(tagged + 1) - math.lgamma(k - tagged + 1) for k in n]
    log = np.array(choose) + (n - tagged) * math.log(1 - share)
    p = np.exp(log - log.max())
    p /= p.sum()
    mean = (p * n).sum()
    people, variance = everybody(np.array([float(tagged)]), np.zeros(1), share)
    assert variance[0] == pytest.approx((p * (n - mean) ** 2).sum(), rel=1e-6)
    assert math.floor(people[0] + 1e-9) in n[np.isclose(p, p.max())]


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, math.nan])
def test_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="tagged_share: expected above 0 and at most 1"):
        everybody(np.zeros(1), np.zeros(1), share)


def test_people_without_a_tag_are_added_and_make_it_less_sure() -> None:
    half = dataclasses.replace(STORE, rules=dataclasses.replace(STORE.rules, tagged_share=0.5))
    made = crowd(half)
    for tick in range(60):
        made.note(T0 + tick, np.array([1, 1]), masses(1.0, 0.5))
    row = aisle(made)
    assert (1.5, 3.0) == (row.tagged, row.people)
    assert row.people_sigma == pytest.approx(math.sqrt(2.5 * 2 + 0.25 * 4), abs=1e-3)


def test_the_truth_lies_within_two_sigma_when_the_masses_are_right() -> None:
    """Crowds drawn from their own posteriors, each person wrong for the whole minute."""
    rng = np.random.default_rng(4)
    made = CrowdEstimates(STORE)
    true = []
    minutes, lanes = 100, 25
    for minute in range(minutes):
        p = rng.dirichlet(np.full(5, 0.6), lanes).astype(np.float32)
        mass = np.zeros((ZONES, lanes), np.float32)
        mass[:5] = p.T
        where = np.array([rng.choice(5, p=row / row.sum()) for row in p.astype(np.float64)])
        true.append(np.bincount(where, minlength=5))
        for tick in range(60 * minute, 60 * minute + 60):
            made.seen(T0 + tick)
            made.note(T0 + tick, np.ones(lanes), mass)
    rows = [row for row in made.advance(1 << 62) if row.layer == "main"]
    wrong = np.array([row.tagged for row in rows]).reshape(minutes, 5) - np.array(true)
    sigma = np.array([row.tagged_sigma for row in rows]).reshape(minutes, 5)
    within = [float((np.abs(wrong) <= k * sigma).mean()) for k in (1, 2)]
    assert 0.6 < within[0] < 0.8
    assert 0.93 < within[1] < 0.99
