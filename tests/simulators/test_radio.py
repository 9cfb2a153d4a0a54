import dataclasses

import numpy as np
import pytest

from simulators.radio import Air, RadioWorld, heard_dbm
from simulators.survey import take_survey

CLEAN = Air(tag_sd_db=0.0, body_db=0.0, fast_sd_db=0.0, loss_p=0.0)


def hear(world, air, x, y, heading=0.0, seed=1, **changes):
    n = len(x)
    return heard_dbm(
        world,
        air,
        np.random.default_rng(seed),
        x_m=np.asarray(x, dtype=float),
        y_m=np.asarray(y, dtype=float),
        heading=np.full(n, heading),
        tag_db=changes.get("tag_db", np.zeros(n)),
    )


def test_power_falls_with_distance(store):
    world = RadioWorld(store)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 20, 2000), rng.uniform(0, 15, 2000)
    mean = world.mean_dbm(x, y)
    for index, receiver in enumerate(store.receivers):
        away = np.hypot(x - receiver.position_m[0], y - receiver.position_m[1])
        near, far = mean[away < 2.5, index].mean(), mean[away > 10, index].mean()
        assert near > far + 5
        slope = np.polyfit(np.log10(np.maximum(away, 1)), mean[:, index], 1)[0]
        assert -30 < slope < -5


def test_the_world_is_frozen_and_belongs_to_the_store(store):
    x, y = np.array([3.0, 9.0]), np.array([5.0, 13.0])
    mean = RadioWorld(store).mean_dbm(x, y)
    assert np.array_equal(mean, RadioWorld(store).mean_dbm(x, y))
    other = RadioWorld(dataclasses.replace(store, id="other")).mean_dbm(x, y)
    assert np.abs(mean - other).max() > 1


def test_shadowing_is_smooth_in_space(store):
    world = RadioWorld(store)
    x = np.full(100, 10.0)
    y = np.linspace(4, 14, 100)
    near = np.abs(np.diff(world.mean_dbm(x, y), axis=0))
    assert near.mean() < 0.6  # a step of 10 cm changes little
    assert np.ptp(world.mean_dbm(x, y), axis=0).mean() > 4


def test_rssi_is_whole_db_and_weak_packets_get_lost(store):
    world = RadioWorld(store)
    x, y = np.full(4000, 10.0), np.full(4000, 13.0)
    plain = hear(world, Air(), x, y)
    weak = hear(world, Air(), x, y, tag_db=np.full(4000, -18.0))
    heard = plain[~np.isnan(plain)]
    assert np.array_equal(heard, np.round(heard))
    assert heard.min() >= -100
    assert np.isnan(weak).mean() > np.isnan(plain).mean() + 0.2
    assert 0.05 < np.isnan(plain).mean() < 0.35


def test_a_body_in_the_way_costs_power(store):
    world = RadioWorld(store)
    receiver = store.receivers[4]
    x, y = np.array([receiver.position_m[0] - 4.0]), np.array([receiver.position_m[1]])
    air = dataclasses.replace(CLEAN, body_db=6.0)
    # The receiver lies to the east; who looks south has the band, left, on its side.
    free = hear(world, air, x, y, heading=-np.pi / 2)[0, 4]
    shaded = hear(world, air, x, y, heading=np.pi / 2)[0, 4]
    assert free - shaded == pytest.approx(6.0, abs=1.0)


def test_a_survey_has_the_contract_s_rows_and_repeats(store):
    survey = take_survey(store, 4, gap_m=3.0)
    again = take_survey(store, 4, gap_m=3.0)
    assert np.array_equal(survey.rssi_dbm, again.rssi_dbm)
    assert survey.count.min() >= 1
    assert set(survey.receiver.tolist()) == set(range(12))
    points = np.unique(np.column_stack([survey.x_m, survey.y_m]), axis=0)
    assert len(points) > 15
    first = (survey.x_m == points[0, 0]) & (survey.y_m == points[0, 1])
    at_first = survey.count[first & (survey.receiver == 0)].sum()
    assert 1 <= at_first <= 40
