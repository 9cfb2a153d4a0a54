"""Floors as cells: what is kept, which are neighbours, how belief flows, over stairs too."""

import dataclasses

import numpy as np
import pytest

from analytics.cells import (
    FLOOR_CHANGE,
    OBSTACLE_WEIGHT,
    TELEPORT,
    build_cells,
    neighbours,
    transition_matrix,
)
from analytics.store import Connection, ConnectionEnd, Floor, Obstacle, Store
from tests.analytics.stores import box, odd_store, shop, zone

WALL = dataclasses.replace(shop(), obstacles=(Obstacle(polygon_m=box(4, 0, 5, 5)),))


def at(grid, x_m: float, y_m: float) -> int:
    """Return the cell nearest to a place."""
    return int(((grid.x_m - x_m) ** 2 + (grid.y_m - y_m) ** 2).argmin())


def test_wholly_blocked_cells_are_left_out_and_mostly_blocked_ones_weigh_little() -> None:
    wide = dataclasses.replace(shop(), obstacles=(Obstacle(polygon_m=box(4, 0, 5.8, 5)),))
    grid = build_cells(wide)
    assert len(grid) == 55
    blocked = (grid.x_m > 5.8) & (grid.x_m < 6) & (grid.y_m < 5)
    assert 5 == blocked.sum()
    assert (OBSTACLE_WEIGHT == grid.weight[blocked]).all()
    assert (grid.weight[~blocked] == 1).all()
    assert grid.area_m2 == pytest.approx(50.0)


@pytest.mark.parametrize(("width_m", "height_m"), [(10, 6), (6, 10)])
def test_cells_run_along_the_shorter_side_first(width_m: float, height_m: float) -> None:
    outline = box(0, 0, width_m, height_m)
    grid = build_cells(dataclasses.replace(shop(), outline_m=outline, obstacles=()))
    along, across = (grid.x_m, grid.y_m) if width_m > height_m else (grid.y_m, grid.x_m)
    assert [0.5, 1.5, 2.5, 3.5, 4.5, 5.5] == pytest.approx(across[:6].tolist())
    assert [0.5] * 6 + [1.5] * 6 == pytest.approx(along[:12].tolist())


def test_neighbours_are_the_eight_squares_round_a_cell_that_exist() -> None:
    grid = build_cells(WALL)
    table = neighbours(grid)
    for cell, row in enumerate(table):
        near = np.flatnonzero(
            (np.abs(grid.x_m - grid.x_m[cell]) < 1.5) & (np.abs(grid.y_m - grid.y_m[cell]) < 1.5)
        )
        assert sorted({cell, *row[row >= 0].tolist()}) == near.tolist()
        for k, other in enumerate(row):
            assert other < 0 or table[other, 7 - k] == cell


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

    def chance(matrix, grid, y_m: float) -> float:
        return float(matrix[at(grid, 3.5, y_m), at(grid, 5.5, y_m)])

    assert chance(kept, walled, 0.5) < 0.5 * chance(free, open_floor, 0.5)
    assert chance(kept, walled, 5.5) > 0.7 * chance(free, open_floor, 5.5)


def test_spread_of_a_step_is_the_sigma_asked_for() -> None:
    store = dataclasses.replace(shop(), outline_m=box(0, 0, 21, 21), obstacles=(), zones=())
    grid = build_cells(store)
    middle = at(grid, 10.5, 10.5)
    row = transition_matrix(grid, 1.4)[middle]
    spread = np.sqrt((row * (grid.x_m - grid.x_m[middle]) ** 2).sum())
    # The restart anywhere adds a thousandth of the floor's own spread.
    assert spread == pytest.approx(np.sqrt(1.4**2 + TELEPORT * 21**2 / 12), rel=0.02)


def two_floors(kind: str = "stairs", *, floors: int = 2) -> Store:
    """Return the shop with its zones below and one more zone on each floor above."""
    store = shop()
    names = [str(at) for at in range(floors)]
    upper = (dataclasses.replace(zone(f"up-{n}", box(0, 0, 10, 6)), floor=n) for n in names[1:])
    ends = tuple(ConnectionEnd(floor=n, rect_m=(8, 4, 10, 6)) for n in names)
    return dataclasses.replace(
        store,
        zones=(*store.zones, *upper),
        floors=tuple(Floor(id=n, level_m=4.0 * at) for at, n in enumerate(names)),
        connections=(Connection(id="way", kind=kind, ends=ends),),
    )


def test_obstacles_and_zones_are_of_their_own_floor_alone() -> None:
    block = (Obstacle(polygon_m=box(3, 3, 6, 5)),)
    grid = build_cells(dataclasses.replace(two_floors(), obstacles=block))
    below, above = grid.cells_of(0), grid.cells_of(1)
    assert [0] * 54 + [1] * 60 == grid.floor.tolist()
    assert (grid.zone_share[:7, above] == 0).all()
    assert (grid.zone_share[7, below] == 0).all()
    assert (grid.zone_share[7, above] == 1).all()
    single = build_cells(dataclasses.replace(shop(), obstacles=block))
    assert single.zone_share.tolist() == grid.zone_share[:7, below].tolist()


def test_floors_may_have_outlines_of_their_own() -> None:
    store = two_floors()
    upper = dataclasses.replace(store.floors[1], outline_m=box(6, 2, 10, 6))
    grid = build_cells(dataclasses.replace(store, floors=(store.floors[0], upper)))
    assert 16 == (grid.floor == 1).sum()
    assert (grid.x_m[grid.floor == 1] > 6).all()


def test_stairs_alone_lead_from_floor_to_floor() -> None:
    grid = build_cells(two_floors())
    T = transition_matrix(grid, 0.9)
    assert np.allclose(T.sum(1), 1.0)
    stairs = np.unique(grid.links.start)
    on_stairs = (grid.x_m > 8) & (grid.y_m > 4)
    assert np.flatnonzero(on_stairs).tolist() == stairs.tolist()
    restart = TELEPORT * grid.weight / grid.weight.sum()
    changed = (T - restart)[grid.floor == 0][:, grid.floor == 1]
    reached = changed.sum(0) > 1e-12
    assert on_stairs[grid.floor == 1].tolist() == reached.tolist()
    # Of what arrives on the stairs in a tick a quarter is upstairs, at the same place.
    first = int(stairs[0])
    twin = int(grid.links.end[grid.links.start == first][0])
    assert (grid.x_m[first], grid.y_m[first]) == pytest.approx((grid.x_m[twin], grid.y_m[twin]))
    arrived = (T - restart)[first, [first, twin]]
    assert FLOOR_CHANGE == pytest.approx(arrived[1] / arrived.sum())
    slow = transition_matrix(grid, 0.9, tick_s=0.5)
    assert (slow[first, twin] - restart[twin]) < 0.6 * arrived[1]


@pytest.mark.parametrize(("kind", "reached"), [("lift", 2), ("stairs", 1), ("escalator", 1)])
def test_a_lift_stops_anywhere_and_stairs_at_the_next_floor(kind: str, reached: int) -> None:
    grid = build_cells(two_floors(kind, floors=3))
    first = int(grid.links.start[0])
    mine = grid.links.start == first
    assert list(range(1, reached + 1)) == grid.floor[grid.links.end[mine]].tolist()
    assert 1.0 == pytest.approx(grid.links.share[mine].sum())
    assert [4.0, 8.0][:reached] == pytest.approx(grid.links.length_m[mine].tolist())


def test_ends_of_a_connection_may_lie_apart_and_in_an_obstacle() -> None:
    store = two_floors()
    ends = (
        ConnectionEnd(floor="0", rect_m=(4, 3.5, 6, 4.5)),
        ConnectionEnd(floor="1", rect_m=(0, 0, 0.2, 0.2)),
    )
    way = Connection(id="way", kind="escalator", ends=ends)
    grid = build_cells(dataclasses.replace(store, connections=(way,)))
    below = grid.floor[grid.links.start] == 0
    start, end = grid.links.start[below], grid.links.end[below]
    assert (np.abs(grid.y_m[start] - 4.0) < 0.6).all()
    assert (grid.weight[start] == 1).all()
    assert {at_floor(grid, 1, 0.5, 0.5)} == set(end.tolist())
    far = np.sqrt((grid.x_m[start] - 0.5) ** 2 + (grid.y_m[start] - 0.5) ** 2 + 16)
    assert far.tolist() == pytest.approx(grid.links.length_m[below].tolist())


def at_floor(grid, floor: int, x_m: float, y_m: float) -> int:
    """Return the cell of a floor nearest to a place."""
    there = grid.cells_of(floor)
    far = (grid.x_m[there] - x_m) ** 2 + (grid.y_m[there] - y_m) ** 2
    return there.start + int(far.argmin())


def test_what_stands_on_no_floor_of_the_store_is_refused() -> None:
    lost = dataclasses.replace(zone("lost", box(0, 0, 1, 1)), floor="7")
    with pytest.raises(ValueError, match="store 'shop' has no floor '7'"):
        build_cells(dataclasses.replace(shop(), zones=(lost,)))
