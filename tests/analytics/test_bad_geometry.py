"""Stores and surveys that make little sense: an answer or a sentence, never a NaN."""

import dataclasses
import warnings

import numpy as np
import pytest

from analytics.cells import build_cells, transition_bands, walking_distances
from analytics.coverage import judge_coverage
from analytics.filter_model import build_model
from analytics.radio_map import (
    GP_SD_DB,
    SLOPE_HIGH,
    SLOPE_LOW,
    RadioMap,
    fit_radio_map,
    radio_map_from_geometry,
    reduce_survey,
)
from analytics.store import Obstacle, Store
from tests.analytics.stores import box, odd_store, receivers, rssi_at, shop, zone

SHOP = shop()
FAR_AWAY = box(200, 200, 203, 203)
SLIVER = ((0.0, 0.0), (9.0, 5.9), (9.0, 5.901))
BOW_TIE = ((0.0, 0.0), (10.0, 6.0), (10.0, 0.0), (0.0, 6.0))


def strip_zones(count: int) -> tuple:
    """Return so many zones side by side over the shop."""
    edges = np.linspace(0, 10, count + 1)
    return tuple(zone(f"z-{i}", box(edges[i], 0, edges[i + 1], 6)) for i in range(count))


ODD = {
    "no zones": odd_store("no zones"),
    "one receiver": odd_store("one receiver"),
    "receivers in a line": odd_store("in a line"),
    "receivers at one place": dataclasses.replace(SHOP, receivers=receivers(*[(3, 3)] * 5)),
    "400 receivers": dataclasses.replace(
        SHOP, receivers=receivers(*[(i % 20 / 2, i // 20 / 4) for i in range(400)])
    ),
    "300 zones": dataclasses.replace(SHOP, zones=strip_zones(300), tap_points=()),
    "zone far away": dataclasses.replace(SHOP, zones=(*SHOP.zones, zone("far", FAR_AWAY))),
    "zone half outside": dataclasses.replace(SHOP, zones=(zone("half", box(8, -5, 20, 9)),)),
    "zone in an obstacle": dataclasses.replace(
        SHOP,
        obstacles=(Obstacle(polygon_m=box(3, 2, 6, 5)),),
        zones=(zone("stuck", box(3, 2, 6, 5)),),
    ),
    "obstacles everywhere": dataclasses.replace(
        SHOP, obstacles=(Obstacle(polygon_m=box(-1, -1, 11, 7)),)
    ),
    "outline smaller than a cell": dataclasses.replace(SHOP, outline_m=box(2, 2, 2.3, 2.4)),
    "outline between the points": dataclasses.replace(SHOP, outline_m=box(2, 2, 2.01, 2.01)),
    "outline as thin as a line": dataclasses.replace(SHOP, outline_m=SLIVER),
    "outline that crosses itself": dataclasses.replace(SHOP, outline_m=BOW_TIE),
}  # fmt: skip


@pytest.fixture(params=ODD.values(), ids=ODD.keys())
def store(request) -> Store:
    return request.param


def assert_finite(record) -> None:
    """Look for a NaN or an infinity in all arrays of a record."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        for array in value if isinstance(value, tuple) else (value,):
            if isinstance(array, np.ndarray | float):
                assert np.isfinite(array).all(), field.name


def survey_of(store: Store, places, heard=None):
    """Return the reduced survey of some places, by receivers or those given."""
    rows = [
        (x, y, rx, rssi)
        for x, y in places
        for rx, rssi in enumerate(rssi_at(store, x, y))
        if heard is None or rx in heard
    ]
    x, y, rx, rssi = np.array(rows, float).T
    return reduce_survey(
        x_m=x, y_m=y, z_m=np.full(len(x), np.nan), receiver=rx.astype(np.int16),
        rssi_dbm=rssi, count=np.ones(len(x)),
    )  # fmt: skip


def test_cells_model_and_coverage_have_no_nan(store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = build_cells(store)
        assert len(grid) >= 1
        assert_finite(grid)
        assert grid.zone_share.shape == (len(store.zones), len(grid))
        assert (grid.zone_share <= 1 + 1e-9).all()
        radio_map = radio_map_from_geometry(store, grid)
        assert_finite(radio_map)
        assert (len(grid), len(store.receivers)) == radio_map.mean_dbm.shape
        assert_finite(build_model(grid, radio_map, tick_s=1.0))
        assert_finite(judge_coverage(grid, radio_map))
        assert_finite(transition_bands(grid, 1.4))
        assert not np.isnan(walking_distances(grid)).any()


def test_a_survey_of_it_gives_physical_laws(store) -> None:
    grid = build_cells(store)
    places = [(x, y) for x in np.arange(0.5, 10, 1) for y in np.arange(0.5, 6, 1)]
    fitted = fit_radio_map(store, grid, survey_of(store, places))
    assert_finite(fitted)
    assert_lawful(fitted)


def assert_lawful(fitted: RadioMap) -> None:
    assert (fitted.exponent >= SLOPE_LOW).all()
    assert (fitted.exponent <= SLOPE_HIGH).all()


@pytest.mark.parametrize("name", ["zone far away", "zone in an obstacle"])
def test_a_zone_where_nobody_can_be_has_no_cells(name) -> None:
    grid = build_cells(ODD[name])
    assert 0 == grid.zone_share[-1].sum()


@pytest.mark.parametrize("name", ["outline smaller than a cell", "outline between the points"])
def test_a_tiny_store_is_one_cell_within_it(name) -> None:
    grid = build_cells(ODD[name])
    assert 1 == len(grid)
    assert 2.0 < grid.x_m[0] < 2.3
    assert 2.0 < grid.y_m[0] < 2.4


def test_a_survey_from_one_corner_leaves_the_law_elsewhere() -> None:
    grid = build_cells(SHOP)
    rng = np.random.default_rng(3)
    corner = [(x, y) for x in np.arange(0.1, 1.2, 0.5) for y in np.arange(0.1, 1.2, 0.5)]
    clean = survey_of(SHOP, corner)
    noisy = dataclasses.replace(clean, rssi_dbm=clean.rssi_dbm + rng.normal(0, 6, len(clean.x_m)))
    fitted = fit_radio_map(SHOP, grid, noisy)
    assert_finite(fitted)
    assert_lawful(fitted)
    # The receiver in the opposite corner hears all places alike: it has no slope of its own.
    assert fitted.exponent[5] == pytest.approx(fitted.exponent[2], abs=1e-9)
    away = (grid.x_m > 8) & (grid.y_m > 4)
    assert (fitted.sd_db[away] > 0.99 * GP_SD_DB).all()
    loudest = fitted.mean_dbm[away].argmax(axis=1)
    assert {5} == set(loudest.tolist())


def test_a_survey_with_one_receiver_serves_the_others() -> None:
    grid = build_cells(SHOP)
    places = [(x, y) for x in np.arange(0.5, 10, 1) for y in np.arange(0.5, 6, 1)]
    fitted = fit_radio_map(SHOP, grid, survey_of(SHOP, places, heard={1}))
    assert_finite(fitted)
    assert [2.0] * 6 == pytest.approx(fitted.exponent.tolist(), abs=0.05)
    assert [fitted.p0_dbm[1]] * 6 == fitted.p0_dbm.tolist()


def test_levels_that_rise_with_distance_give_a_physical_slope() -> None:
    grid = build_cells(SHOP)
    places = [(x, y) for x in np.arange(0.5, 10, 1) for y in np.arange(0.5, 6, 1)]
    points = survey_of(SHOP, places)
    fitted = fit_radio_map(SHOP, grid, dataclasses.replace(points, rssi_dbm=-130 - points.rssi_dbm))
    assert [SLOPE_LOW] * 6 == fitted.exponent.tolist()
    assert_finite(fitted)
