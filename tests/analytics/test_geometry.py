"""Plane geometry: inside, area, overlap, touching, crossing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.geometry import (
    distance_to_border,
    overlap_area,
    points_in_polygon,
    polygon_area,
    polygons_touch,
    self_crossing,
)
from tests.analytics.stores import box

ELL = ((0, 0), (4, 0), (4, 1), (1, 1), (1, 3), (0, 3))


def star(radii: list[float]) -> np.ndarray:
    """Return a simple polygon: one corner per radius, going round."""
    angle = np.arange(len(radii)) * 2 * math.pi / len(radii)
    return np.stack([radii * np.cos(angle), radii * np.sin(angle)], axis=1)


def test_point_on_a_shared_border_belongs_to_exactly_one_zone() -> None:
    x = np.array([2.0, 2.0, 2.0, 1.0, 3.0])
    y = np.array([0.0, 1.0, 1.999, 0.0, 1.0])
    left, right = (points_in_polygon(x, y, box(a, 0, a + 2, 2)) for a in (0, 2))
    assert [1, 1, 1, 1, 1] == (left.astype(int) + right).tolist()


def test_concave_polygon_has_its_hole() -> None:
    inside = points_in_polygon([0.5, 3.5, 2.0, 0.5, 5.0], [2.5, 0.5, 2.0, 0.5, 0.5], ELL)
    assert [True, True, False, True, False] == inside.tolist()


@given(st.lists(st.floats(0.5, 5.0), min_size=3, max_size=9), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_area_is_the_share_of_random_points_inside(radii: list[float], seed: int) -> None:
    polygon = star(radii)
    low, high = polygon.min(0), polygon.max(0)
    points = np.random.default_rng(seed).uniform(low, high, (20_000, 2))
    share = points_in_polygon(points[:, 0], points[:, 1], polygon).mean()
    box_area = float(np.prod(high - low))
    assert abs(polygon_area(polygon) - share * box_area) < 0.03 * box_area
    assert polygon_area(polygon) == pytest.approx(polygon_area(polygon[::-1]))


def test_overlap_of_known_shapes() -> None:
    assert overlap_area(box(0, 0, 2, 2), box(1, 1, 3, 3)) == pytest.approx(1.0)
    assert overlap_area(box(0, 0, 2, 2), box(2, 0, 4, 2)) == 0.0
    assert overlap_area(box(0, 0, 9, 9), box(1, 1, 2, 3)) == pytest.approx(2.0)
    assert overlap_area(ELL, box(2, 0.5, 5, 5)) == pytest.approx(1.0)
    diamond = ((0, -1), (1, 0), (0, 1), (-1, 0))
    assert overlap_area(diamond, box(-1, -1, 0, 1)) == pytest.approx(1.0)


@given(
    st.lists(st.floats(0.5, 5.0), min_size=3, max_size=8),
    st.lists(st.floats(0.5, 5.0), min_size=3, max_size=8),
    st.floats(-4, 4),
    st.floats(-4, 4),
)
@settings(max_examples=40, deadline=None)
def test_overlap_is_symmetric_bounded_and_whole_with_itself(a, b, dx: float, dy: float) -> None:
    first, second = star(a), star(b) + np.array([dx, dy])
    shared = overlap_area(first, second)
    assert shared == pytest.approx(overlap_area(second, first), abs=1e-6)
    assert -1e-9 <= shared <= min(polygon_area(first), polygon_area(second)) + 1e-6
    assert overlap_area(first, first) == pytest.approx(polygon_area(first), rel=1e-6)


def test_touching_needs_a_stretch_of_border() -> None:
    assert polygons_touch(box(0, 0, 2, 2), box(2, 0, 4, 2))
    assert not polygons_touch(box(0, 0, 2, 2), box(2, 2, 4, 4))
    assert not polygons_touch(box(0, 0, 2, 2), box(2.2, 0, 4, 2))
    assert polygons_touch(box(0, 0, 2, 2), box(2.04, 0, 4, 2))


def test_crossing_edges_are_named_and_touching_ones_are_not() -> None:
    assert self_crossing(((0, 0), (2, 2), (2, 0), (0, 2))) == (0, 2)
    assert self_crossing(ELL) is None
    retraced = ((0, 0), (4, 0), (4, 2), (2, 2), (2, 1), (2, 2), (0, 2))
    assert self_crossing(retraced) is None


def test_distance_to_border() -> None:
    points = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [0.0, 0.0]])
    expected = [1.0, 1.0, math.sqrt(2), 0.0]
    assert expected == pytest.approx(distance_to_border(points, box(0, 0, 2, 2)).tolist())
