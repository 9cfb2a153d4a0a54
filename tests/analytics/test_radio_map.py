"""The radio map: from geometry, from a survey, and the reduction of a survey."""

import dataclasses
import random

import numpy as np
import pytest

from analytics.cells import build_cells
from analytics.radio_map import (
    EXPONENT,
    GP_SD_DB,
    P0_DBM,
    fit_radio_map,
    floor_losses,
    radio_map_from_geometry,
    reduce_survey,
    ten_log_distances,
)
from analytics.store import Floor
from tests.analytics.stores import receivers, rssi_at, shop

STORE = shop()
GRID = build_cells(STORE)


def survey(rows: list[tuple[float, float, float, int, float, float]]):
    """Reduce (x, y, z, receiver, rssi, count) rows."""
    x, y, z, rx, rssi, count = np.array(rows, float).T
    return reduce_survey(
        x_m=x, y_m=y, z_m=z, receiver=rx.astype(np.int16), rssi_dbm=rssi, count=count
    )


def walked(store, *, power_dbm: float = -62.0, skip: tuple[int, ...] = ()):
    """Return survey rows on a grid of half metres, as the law says."""
    rows = []
    for x in np.arange(0.5, 10, 1.0):
        for y in np.arange(0.5, 6, 1.0):
            for rx, rssi in enumerate(rssi_at(store, x, y, power_dbm=power_dbm)):
                if rx not in skip:
                    rows.append((x, y, np.nan, rx, float(rssi), np.nan))
    return rows


def test_geometry_gives_the_free_space_law_with_the_receivers_offset() -> None:
    changed = dataclasses.replace(
        STORE,
        receivers=tuple(
            dataclasses.replace(r, offset_db=5.0 if i == 2 else 0.0)
            for i, r in enumerate(STORE.receivers)
        ),
    )
    level = radio_map_from_geometry(changed, GRID).mean_dbm
    plain = np.array([rssi_at(STORE, x, y) for x, y in zip(GRID.x_m, GRID.y_m, strict=True)])
    plain[:, 2] += 5
    assert np.allclose(plain, level)
    assert radio_map_from_geometry(STORE, GRID).exponent.tolist() == [EXPONENT] * 6
    assert radio_map_from_geometry(STORE, GRID).p0_dbm.tolist() == [P0_DBM] * 6


def test_survey_is_averaged_in_milliwatt_per_square_and_weighted_by_count() -> None:
    points = survey(
        [
            (0.1, 0.1, 1.0, 0, -50.0, 1.0),
            (0.4, 0.4, 1.0, 0, -60.0, 3.0),
            (0.6, 0.4, 1.0, 0, -70.0, 1.0),
            (0.1, 0.1, 1.0, 1, -80.0, np.nan),
        ]
    )
    assert [4.0, 1.0, 1.0] == points.count.tolist()
    expected = 10 * np.log10((1e-5 + 3e-6) / 4)
    assert expected == pytest.approx(points.rssi_dbm[0])
    assert (0.1 + 3 * 0.4) / 4 == pytest.approx(points.x_m[0])
    assert [0, 0, 1] == points.receiver.tolist()


def test_impossible_survey_rows_are_refused_and_counted() -> None:
    good = (1.0, 1.0, np.nan, 0, -60.0, 1.0)
    bad = [
        (1.0, 1.0, np.nan, 0, 42.0, 1.0),
        (1.0, 1.0, np.nan, 0, -115.0, 1.0),
        (1.0, 1.0, np.nan, 0, np.nan, 1.0),
        (np.nan, 1.0, np.nan, 0, -60.0, 1.0),
        (1.0, 1.0, np.nan, -1, -60.0, 1.0),
    ]
    points = survey([good, *bad])
    assert points.refused == 5
    assert len(points.x_m) == 1
    nothing = survey(bad)
    assert nothing.refused == 5
    assert len(nothing.x_m) == 0


def test_order_of_a_survey_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (*rng.uniform(0, 3, 2), rng.choice([np.nan, 1.0]), rng.integers(3), rng.normal(-70, 8), 1.0)
        for _ in range(300)
    ]
    first = survey(rows)
    random.Random(1).shuffle(rows)
    second = survey(rows)
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert np.array_equal(a, b, equal_nan=True), field.name


def test_fit_finds_the_law_that_made_the_survey() -> None:
    fitted = fit_radio_map(STORE, GRID, survey(walked(STORE)))
    assert [-62.0] * 6 == pytest.approx(fitted.p0_dbm.tolist(), abs=0.1)
    assert [2.0] * 6 == pytest.approx(fitted.exponent.tolist(), abs=0.02)
    truth = radio_map_from_geometry(STORE, GRID).mean_dbm - 3.0
    assert np.abs(fitted.mean_dbm - truth).max() < 0.3
    assert fitted.source == "survey"


def test_fit_follows_what_the_law_cannot_say_and_knows_where_it_is_sure() -> None:
    rows = [
        (x, y, z, rx, rssi - (8.0 if x > 5 and rx == 0 else 0.0), n)
        for x, y, z, rx, rssi, n in walked(STORE)
        if x < 7.8
    ]
    fitted = fit_radio_map(STORE, GRID, survey(rows))
    law = fitted.p0_dbm - 10 * fitted.exponent * np.log10(
        np.maximum(
            np.sqrt(
                (GRID.x_m[:, None] - [r.position_m[0] for r in STORE.receivers]) ** 2
                + (GRID.y_m[:, None] - [r.position_m[1] for r in STORE.receivers]) ** 2
                + 1.3**2
            ),
            0.3,
        )
    )
    extra = (fitted.mean_dbm - law)[:, 0]
    assert extra[(GRID.x_m > 5.5) & (GRID.x_m < 7)].mean() < -1.5
    assert extra[GRID.x_m < 4].mean() > 0.5
    near, far = fitted.sd_db[GRID.x_m < 7, 0], fitted.sd_db[GRID.x_m > 9, 0]
    assert near.max() < far.min() <= GP_SD_DB


def test_receiver_without_a_survey_gets_the_mean_law() -> None:
    store = dataclasses.replace(STORE, receivers=(*STORE.receivers, *receivers((3, 3))))
    fitted = fit_radio_map(store, GRID, survey(walked(STORE)))
    assert fitted.p0_dbm[6] == pytest.approx(fitted.p0_dbm[:6].mean())
    assert fitted.exponent[6] == pytest.approx(fitted.exponent[:6].mean(), abs=0.05)
    assert np.isfinite(fitted.mean_dbm).all()
    assert (fitted.sd_db[:, 6] == GP_SD_DB).all()


@pytest.mark.parametrize("places", [1, 3])
def test_too_few_places_are_refused(places: int) -> None:
    rows = [(float(i), 1.0, np.nan, 0, -60.0 - i, 1.0) for i in range(places)]
    with pytest.raises(ValueError, match="four places or more"):
        fit_radio_map(STORE, GRID, survey(rows))


def test_survey_of_one_place_falls_back_to_the_usual_slope() -> None:
    rows = [(1.0 + 0.5 * i, 3.0, np.nan, 4, -60.0, 1.0) for i in range(8)]
    fitted = fit_radio_map(STORE, GRID, survey(rows))
    assert np.isfinite(fitted.mean_dbm).all()
    assert [EXPONENT] * 6 == fitted.exponent.tolist()


HOUSE = dataclasses.replace(
    STORE,
    zones=(),
    obstacles=(),
    floors=tuple(Floor(id=str(n), level_m=4.5 * n) for n in range(3)),
    receivers=tuple(
        dataclasses.replace(r, floor=str(at % 3)) for at, r in enumerate(STORE.receivers)
    ),
)


def test_ceilings_take_their_loss_and_distance_counts_in_space() -> None:
    grid = build_cells(HOUSE)
    level = radio_map_from_geometry(HOUSE, grid).mean_dbm
    loss = [0.0, 15.0, 19.0]
    for cell in range(0, len(grid), 7):
        for rx, receiver in enumerate(HOUSE.receivers):
            x, y, z = receiver.position_m
            storeys = int(grid.floor[cell]) - int(receiver.floor)
            d2 = (grid.x_m[cell] - x) ** 2 + (grid.y_m[cell] - y) ** 2
            d2 += (1.2 + 4.5 * storeys - z) ** 2
            expected = P0_DBM - 10 * np.log10(d2) - loss[abs(storeys)]
            assert expected == pytest.approx(level[cell, rx])


def test_floors_at_one_level_have_no_ceiling_between() -> None:
    houses = dataclasses.replace(HOUSE, floors=tuple(Floor(id=str(n)) for n in range(3)))
    assert 0.0 == np.abs(floor_losses(houses, np.arange(3, dtype=np.int16))).max()
    assert [0.0, 15.0, 19.0] == floor_losses(HOUSE, np.arange(3, dtype=np.int16))[:, 0].tolist()


def surveyed_house(*, worse_db: float = 0.0, floors=(0, 1)):
    """Return a survey of some floors by the law; receiver 0 hears worse on floor 1."""
    grid = build_cells(HOUSE)
    truth = radio_map_from_geometry(HOUSE, grid).mean_dbm - 3.0
    cells = np.flatnonzero(np.isin(grid.floor, floors))
    rx = np.tile(np.arange(6), len(cells))
    cells = np.repeat(cells, 6)
    worse = np.where((rx == 0) & (grid.floor[cells] == 1), worse_db, 0.0)
    return grid, truth, reduce_survey(
        x_m=grid.x_m[cells], y_m=grid.y_m[cells], z_m=np.full(len(cells), 1.2),
        receiver=rx.astype(np.int16), rssi_dbm=truth[cells, rx] - worse,
        count=np.ones(len(cells)), floor=grid.floor[cells],
    )  # fmt: skip


def test_floors_share_a_law() -> None:
    grid, truth, points = surveyed_house()
    fitted = fit_radio_map(HOUSE, grid, points)
    assert np.abs(fitted.mean_dbm - truth).max() < 0.1
    assert (fitted.sd_db[grid.floor == 1] < 2.5).all()
    assert (fitted.sd_db[grid.floor == 2] == GP_SD_DB).all()


def test_what_a_survey_finds_on_one_floor_says_nothing_of_another() -> None:
    grid, _, points = surveyed_house(worse_db=8.0)
    fitted = fit_radio_map(HOUSE, grid, points)
    law = fitted.p0_dbm - fitted.exponent * ten_log_distances(HOUSE, grid)
    residual = (fitted.mean_dbm - law + floor_losses(HOUSE, grid.floor))[:, 0]
    assert residual[grid.floor == 1].mean() < -2.0
    assert residual[grid.floor == 0].mean() > 2.0
    assert 0.0 == pytest.approx(np.abs(residual[grid.floor == 2]).max())


def test_a_survey_tells_floors_apart_and_refuses_unknown_ones() -> None:
    same = {
        "x_m": np.ones(4),
        "y_m": np.ones(4),
        "z_m": np.ones(4),
        "receiver": np.zeros(4, np.int16),
        "rssi_dbm": np.array([-50.0, -60.0, -70.0, -80.0]),
        "count": np.ones(4),
    }
    points = reduce_survey(**same, floor=np.array([0, 1, -1, 1], np.int16))
    assert ([0, 1], 1) == (points.on_floor.tolist(), points.refused)
    assert [0] == reduce_survey(**same).on_floor.tolist()
