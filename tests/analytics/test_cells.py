"""The floor as cells: what is kept, how belief flows, how long walks are."""

import dataclasses

import numpy as np
import pytest

from analytics.cells import (
    OBSTACLE_WEIGHT,
    TELEPORT,
    build_cells,
    transition_matrix,
    walking_distances,
)
from analytics.store import Obstacle
from tests.analytics.stores import box, odd_store, shop, zone

WALL = dataclasses.replace(shop(), obstacles=(Obstacle(polygon_m=box(4, 0, 5, 5)),))


def at(grid, x_m: float, y_m: float) -> int:
    """Return the cell nearest to a place."""
    return int(((grid.x_m - x_m) ** 2 + (grid.y_m - y_m) ** 2).argmin())


def test_cells_cover_the_outline_and_blocked_ones_keep_a_small_weight() -> None:
    grid = build_cells(WALL)
    assert len(grid) == 60
    blocked = (grid.x_m > 4) & (grid.x_m < 5) & (grid.y_m < 5)
    assert (OBSTACLE_WEIGHT == grid.weight[blocked]).all()
    assert (grid.weight[~blocked] == 1).all()
    assert grid.area_m2 == pytest.approx(55.0)


def test_outline_that_is_no_box_drops_the_cells_outside() -> None:
    ell = ((0, 0), (10, 0), (10, 2), (2, 2), (2, 6), (0, 6))
    grid = build_cells(dataclasses.replace(shop(), outline_m=ell, obstacles=()))
    assert len(grid) == 28
    assert not ((grid.x_m > 2) & (grid.y_m > 2)).any()


def test_zone_shares_of_a_layer_add_up_to_the_share_of_its_zones() -> None:
    grid = build_cells(shop(cell_m=0.7))
    halves = grid.zone_share[5:]
    assert np.allclose(halves.sum(0), 1.0)
    main = grid.zone_share[:5].sum(0)
    assert (main <= 1 + 1e-12).all()
    assert grid.zone_share[0, at(grid, 1, 1)] == 1
    assert grid.zone_share[0, at(grid, 9, 5)] == 0


def test_share_of_a_cell_counts_only_where_one_can_walk() -> None:
    store = dataclasses.replace(
        shop(),
        obstacles=(Obstacle(polygon_m=box(0, 0, 0.5, 6)),),
        zones=(zone("west", box(0, 0, 0.5, 6)), zone("east", box(0.5, 0, 10, 6))),
    )
    grid = build_cells(store)
    first = at(grid, 0.5, 0.5)
    assert grid.x_m[first] > 0.5
    assert [0.0, 1.0] == pytest.approx(grid.zone_share[:, first].tolist())


def test_store_without_zones_has_no_shares() -> None:
    grid = build_cells(odd_store("no zones"))
    assert grid.zone_share.shape == (0, len(grid))


def test_too_many_cells_are_refused_with_a_proposal() -> None:
    with pytest.raises(ValueError, match=r"expected at most 20000, set radio.cell_m to"):
        build_cells(shop(cell_m=0.05))


@pytest.mark.parametrize("sigma_m", [0.3, 0.9, 1.4, 4.0])
def test_transition_is_a_probability_that_leaves_no_cell_out(sigma_m: float) -> None:
    grid = build_cells(WALL)
    T = transition_matrix(grid, sigma_m)
    assert np.allclose(T.sum(1), 1.0)
    assert T.min() >= TELEPORT * OBSTACLE_WEIGHT / grid.weight.sum() * 0.999


def test_belief_flows_round_a_wall_rather_than_through_it() -> None:
    open_floor = build_cells(dataclasses.replace(WALL, obstacles=()))
    walled = build_cells(WALL)
    free, kept = transition_matrix(open_floor, 1.4), transition_matrix(walled, 1.4)
    through = (at(walled, 3.5, 0.5), at(walled, 5.5, 0.5))
    gap = (at(walled, 3.5, 5.5), at(walled, 5.5, 5.5))
    assert kept[through] < 0.5 * free[through]
    assert kept[gap] > 0.7 * free[gap]


def test_spread_of_a_step_is_the_sigma_asked_for() -> None:
    store = dataclasses.replace(shop(), outline_m=box(0, 0, 21, 21), obstacles=(), zones=())
    grid = build_cells(store)
    middle = at(grid, 10.5, 10.5)
    row = transition_matrix(grid, 1.4)[middle]
    spread = np.sqrt((row * (grid.x_m - grid.x_m[middle]) ** 2).sum())
    # The restart anywhere adds a thousandth of the floor's own spread.
    assert spread == pytest.approx(np.sqrt(1.4**2 + TELEPORT * 21**2 / 12), rel=0.02)


def test_walks_go_round_walls() -> None:
    grid = build_cells(WALL)
    walk = walking_distances(grid)
    a, b = at(grid, 3.5, 0.5), at(grid, 5.5, 0.5)
    assert np.allclose(walk, walk.T)
    assert walk[a, a] == 0
    straight = float(np.hypot(grid.x_m[a] - grid.x_m[b], grid.y_m[a] - grid.y_m[b]))
    assert 10.0 < walk[a, b] < 13.0
    assert straight == pytest.approx(2.0)
    open_walk = walking_distances(build_cells(dataclasses.replace(WALL, obstacles=())))
    assert open_walk[a, b] == pytest.approx(2.0)
