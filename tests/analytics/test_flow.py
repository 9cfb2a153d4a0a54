"""Transitions between consecutive stays, against a plain count; what became of visits."""

import random

import pytest

from analytics.flow import VisitCounts, transitions, visit_counts
from analytics.rows import Dwell, Transition, Visit
from tests.analytics.stores import SECOND


def dwell(visit: str, zone: str, start_s: float, end_s: float, layer: str = "main") -> Dwell:
    """Return a stay."""
    return Dwell(
        dwell=f"{visit}{zone}{start_s}", visit=visit, tag="p", layer=layer, zone=zone,
        start_ns=round(start_s * SECOND), end_ns=round(end_s * SECOND), dwell_s=end_s - start_s,
        sigma_s=1.0, confidence=1.0, readings=1,
    )  # fmt: skip


def test_counts_within_one_visit_and_layer() -> None:
    rows = [
        dwell("v1", "a", 0, 10), dwell("v1", "b", 14, 20), dwell("v1", "a", 30, 40),
        dwell("v1", "x", 0, 12, "other"), dwell("v1", "y", 13, 40, "other"),
        dwell("v2", "a", 0, 10), dwell("v2", "b", 16, 20),
        dwell("v3", "b", 0, 10),
    ]  # fmt: skip
    random.Random(0).shuffle(rows)
    assert [
        Transition(layer="main", from_zone="a", to_zone="b", count=2, median_s=5.0, p90_s=5.8),
        Transition(layer="main", from_zone="b", to_zone="a", count=1, median_s=10.0, p90_s=10.0),
        Transition(layer="other", from_zone="x", to_zone="y", count=1, median_s=1.0, p90_s=1.0),
    ] == transitions(rows)


@pytest.mark.parametrize(("gap_s", "count"), [(120.0, 1), (121.0, 0)])
def test_stays_far_apart_are_no_movement(gap_s: float, count: int) -> None:
    rows = [dwell("v", "a", 0, 10), dwell("v", "b", 10 + gap_s, 200)]
    assert count == len(transitions(rows))


def test_same_zone_again_is_no_movement() -> None:
    assert transitions([dwell("v", "a", 0, 10), dwell("v", "a", 20, 30)]) == []
    assert transitions([]) == []


def visit(name: str, visit_s: float = 60.0, **more) -> Visit:
    """Return a visit in which nothing happened."""
    empty = {"taps": 0, "picks": 0, "shelf_s": 0.0, **more}
    return Visit(
        visit=name, tag="p", start_ns=0, end_ns=round(visit_s * SECOND), visit_s=visit_s,
        zones=1, path="a", path_length_m=1.0, directness=None, hesitations=0, returns=0,
        purpose="unknown", purpose_p=None, **empty,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "stays", "bounces", "engaged"),
    [
        (visit("v"), [], 1, 0),
        (visit("v", 119.9), [dwell("v", "a", 0, 14.9)], 1, 0),
        (visit("v", 120.0), [], 0, 0),
        (visit("v"), [dwell("v", "a", 0, 15)], 0, 0),
        (visit("v"), [dwell("v", "a", 0, 15), dwell("v", "a", 40, 60)], 0, 1),
        (visit("v"), [dwell("v", "x", 0, 15, "other"), dwell("v", "y", 40, 60, "other")], 1, 0),
        (visit("v"), [dwell("w", "a", 0, 15), dwell("w", "b", 40, 60)], 1, 0),
        (visit("v", taps=1), [], 0, 1),
        (visit("v", picks=1), [], 0, 1),
        (visit("v", shelf_s=8.0), [dwell("v", "a", 0, 8)], 1, 1),
    ],
)
def test_what_became_of_a_visit(row: Visit, stays: list[Dwell], bounces: int, engaged: int) -> None:
    expected = VisitCounts(visits=2, bounces=bounces, engaged_visits=engaged + 1)
    other = visit("other", 600.0, taps=2)
    assert expected == visit_counts([row, other], stays, bounce_s=120.0)
