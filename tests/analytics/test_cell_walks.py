"""Walking distances: those of Floyd and Warshall, round walls and over stairs."""

import dataclasses

import numpy as np
import pytest

from analytics.cells import CellGrid, build_cells, neighbours, walking_distances
from analytics.store import Obstacle
from tests.analytics.stores import box, shop
from tests.analytics.test_cells import WALL, at, at_floor, two_floors


def reference(grid: CellGrid) -> np.ndarray:
    """Return all shortest walks by the plain algorithm."""
    table, cells = neighbours(grid), len(grid)
    cost = np.where(grid.weight >= 1, 1.0, 10.0)
    found = np.full((cells, cells), np.inf)
    for a in range(cells):
        found[a, a] = 0.0
        for b in table[a][table[a] >= 0]:
            straight = np.hypot(grid.x_m[a] - grid.x_m[b], grid.y_m[a] - grid.y_m[b])
            found[a, b] = straight * max(cost[a], cost[b])
    np.minimum.at(found, (grid.links.start, grid.links.end), grid.links.length_m)
    for via in range(cells):
        found = np.minimum(found, found[:, via, None] + found[None, via, :])
    return found


def maze(seed: int):
    """Return a hall full of shelves, some of which shut cells in."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, [14, 8], (30, 2))
    sizes = rng.uniform(0.5, [3.0, 1.5], (30, 2))
    obstacles = tuple(
        Obstacle(polygon_m=box(*low, *(low + size)), floor=str(at % 2))
        for at, (low, size) in enumerate(zip(corners, sizes, strict=True))
    )
    return dataclasses.replace(two_floors(), outline_m=box(0, 0, 14, 9), obstacles=obstacles)


@pytest.mark.parametrize("store", [WALL, two_floors("lift", floors=3), *map(maze, range(4))])
def test_walks_are_the_shortest_ones(store) -> None:
    grid = build_cells(store)
    expected, found = reference(grid), walking_distances(grid)
    assert np.array_equal(np.isinf(expected), np.isinf(found))
    reached = np.isfinite(expected)
    assert np.abs(expected[reached] - found[reached]).max() < 1e-5
    some = np.array([3, 0, len(grid) - 1])
    assert found[some].tolist() == walking_distances(grid, some).tolist()


def test_walks_go_round_walls() -> None:
    grid = build_cells(WALL)
    walk = walking_distances(grid)
    a, b = at(grid, 3.5, 0.5), at(grid, 5.5, 0.5)
    assert np.allclose(walk, walk.T)
    assert walk[a, a] == 0
    assert 10.0 < walk[a, b] < 13.0
    free = build_cells(dataclasses.replace(WALL, obstacles=()))
    open_walk = walking_distances(free)[at(free, 3.5, 0.5), at(free, 5.5, 0.5)]
    assert open_walk == pytest.approx(2.0)


def test_the_way_upstairs_counts_its_height() -> None:
    grid = build_cells(two_floors())
    below, above = at_floor(grid, 0, 8.5, 5.5), at_floor(grid, 1, 8.5, 5.5)
    assert 4.0 == pytest.approx(walking_distances(grid, np.array([below]))[0, above])
    far = at_floor(grid, 1, 0.5, 5.5)
    assert 12.0 == pytest.approx(walking_distances(grid, np.array([below]))[0, far])


def test_what_is_shut_in_has_no_way_out() -> None:
    ring = (box(2, 1, 5, 2), box(2, 4, 5, 5), box(2, 2, 3, 4), box(4, 2, 5, 4))
    store = dataclasses.replace(
        shop(), obstacles=tuple(Obstacle(polygon_m=polygon) for polygon in ring)
    )
    grid = build_cells(store)
    inside = at(grid, 3.5, 2.5)
    walk = walking_distances(grid, np.array([inside]))[0]
    assert {inside, at(grid, 3.5, 3.5)} == set(np.flatnonzero(np.isfinite(walk)).tolist())
