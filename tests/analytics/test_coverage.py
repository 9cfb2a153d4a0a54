"""Coverage: who is heard where, and what each receiver is worth."""

import dataclasses

import numpy as np

from analytics.cells import build_cells
from analytics.coverage import judge_coverage
from analytics.radio_map import RadioMap, radio_map_from_geometry
from analytics.store import Floor
from tests.analytics.stores import receivers, shop

STORE = shop()
GRID = build_cells(STORE)


def geometry(**changes) -> RadioMap:
    return radio_map_from_geometry(dataclasses.replace(STORE, **changes), GRID)


def test_a_receiver_counts_where_it_is_loud_enough() -> None:
    level = geometry().mean_dbm.copy()
    level[:, 1] = -95
    level[GRID.x_m > 5, 2] = -90.5
    found = judge_coverage(GRID, dataclasses.replace(geometry(), mean_dbm=level))
    assert np.where(GRID.x_m > 5, 4, 5).tolist() == found.heard.tolist()
    free = GRID.weight >= 1
    assert [1, 0, (GRID.x_m[free] <= 5).mean()] == found.audible_share[:3].tolist()
    assert found.gain[1] == 0


def test_more_receivers_and_less_noise_tell_places_better() -> None:
    few = geometry(receivers=receivers((0, 0), (10, 0), (5, 6)))
    error = [
        float(np.median(judge_coverage(GRID, each).error_m))
        for each in (few, geometry(), dataclasses.replace(geometry(), noise_db=3.0))
    ]
    assert error[0] > error[1] > error[2]
    assert (judge_coverage(GRID, few).gain > 0).all()


def test_the_bound_is_the_one_of_a_plane() -> None:
    # Levels that fall by 4 dB per metre along x for one receiver and along y for another.
    level = np.stack([-40 - 4 * GRID.x_m, -40 - 4 * GRID.y_m, np.full(len(GRID), -50.0)], axis=1)
    plane = dataclasses.replace(
        geometry(receivers=STORE.receivers[:3]), mean_dbm=level, noise_db=4.0
    )
    spread = np.diag([GRID.x_m.var(), GRID.y_m.var()]) + np.eye(2) / 12
    # The common offset takes the mean of the three slopes away.
    slopes = np.array([[-4.0, 0.0], [0.0, -4.0], [0.0, 0.0]])
    centred = slopes - slopes.mean(axis=0)
    expected = np.linalg.inv(centred.T @ centred * 5 / 16 + np.linalg.inv(spread))
    middle = np.argmin(np.hypot(GRID.x_m - 2.5, GRID.y_m - 2.5))
    found = judge_coverage(GRID, plane).error_m[middle]
    assert np.isclose(np.sqrt(np.trace(expected)), found, rtol=0.01)


def test_floors_are_judged_by_their_own_cells() -> None:
    two = dataclasses.replace(STORE, floors=(Floor(id="0"), Floor(id="1", level_m=4.5)))
    grid = build_cells(two)
    found = judge_coverage(grid, radio_map_from_geometry(two, grid))
    single = judge_coverage(GRID, radio_map_from_geometry(STORE, GRID))
    assert np.allclose(single.error_m, found.error_m[grid.floor == 0])
    above = found.error_m[grid.floor == 1]
    assert len(above) == 60
    # Through the ceiling nobody comes near a receiver, so levels fall less steeply.
    assert np.median(above) > np.median(single.error_m)


def test_nobody_heard_leaves_the_size_of_the_floor() -> None:
    deaf = dataclasses.replace(geometry(), mean_dbm=np.full((len(GRID), 6), -120.0))
    found = judge_coverage(GRID, deaf)
    floor_m = np.sqrt(GRID.x_m.var() + GRID.y_m.var() + 1 / 6)
    assert np.allclose(floor_m, found.error_m)
    assert (found.gain == 0).all()
