import numpy as np
import pytest

from analytics.plateau import STABLE, Plates


def feed(plates, rows, start=0):
    """Play rows of medians; NaN is a tick without samples. Returns the steps."""
    found = []
    for k, row in enumerate(np.atleast_2d(rows)):
        seen = np.flatnonzero(np.isfinite(row))
        steps = plates.step(start + k, seen, row[seen], np.zeros(len(seen)))
        found += [
            (start + k, int(p), float(d), int(o))
            for p, d, o, s in zip(
                steps.settled, steps.delta_g, steps.onset, steps.is_step, strict=True
            )
            if s
        ]
    return found


def quiet(level, ticks, sd=0.3, seed=0):
    return level + np.random.default_rng(seed).normal(0, sd, (ticks, 1))


def test_a_step_is_dated_by_its_onset_and_measured_level_to_level():
    rows = np.vstack([quiet(1000, 60), quiet(700, 30, seed=1)])
    ((tick, plate, delta, onset),) = feed(Plates(1), rows)
    assert (0, 60) == (plate, onset)
    assert 64 <= tick <= 66
    assert pytest.approx(-300, abs=1.5) == delta


def test_a_press_that_comes_back_is_no_step():
    rows = np.vstack([quiet(1000, 60), quiet(1250, 2), quiet(1000, 30, seed=1)])
    plates = Plates(1)
    assert [] == feed(plates, rows)
    assert STABLE == plates.state[0]


def test_drift_of_fifty_grams_in_ten_minutes_is_no_step():
    rows = quiet(1000, 3000) + np.linspace(0, 50, 3000)[:, None]
    plates = Plates(1)
    assert [] == feed(plates, rows)
    assert pytest.approx(1050, abs=2) == plates.level_g[0]


def test_a_constant_added_to_a_plate_changes_nothing():
    rows = np.vstack([quiet(1000, 60), quiet(700, 30, seed=1)])
    near, far = feed(Plates(1), rows), feed(Plates(1), rows - 5000)
    assert [(t, p, o) for t, p, _, o in near] == [(t, p, o) for t, p, _, o in far]
    np.testing.assert_allclose([d for _, _, d, _ in near], [d for _, _, d, _ in far], atol=1e-6)


def test_silence_settles_nothing_and_a_minute_of_it_forgets_the_level():
    gone = np.full((400, 1), np.nan)
    rows = np.vstack([quiet(1000, 60), gone, quiet(400, 40, seed=1)])
    assert [] == feed(Plates(1), rows)


def test_a_change_during_a_short_silence_is_a_step_when_the_plate_is_back():
    gone = np.full((60, 1), np.nan)
    rows = np.vstack([quiet(1000, 60), gone, quiet(400, 40, seed=1)])
    ((_, _, delta, onset),) = feed(Plates(1), rows)
    assert 120 == onset
    assert pytest.approx(-600, abs=2) == delta


def test_empty_ticks_at_rest_change_nothing():
    plates = Plates(2)
    feed(plates, np.hstack([quiet(1000, 60), quiet(200, 60, seed=4)]))
    for tick in range(60, 60 + 40):
        plates.step(tick, np.empty(0, np.int64), np.empty(0), np.empty(0))
    assert plates.is_at_rest(100)
    before = [plates.level_g.copy(), plates.noise_g.copy(), plates.state.copy()]
    plates.step(100, np.empty(0, np.int64), np.empty(0), np.empty(0))
    for old, new in zip(before, [plates.level_g, plates.noise_g, plates.state], strict=True):
        np.testing.assert_array_equal(old, new)


def test_noise_is_learned_to_within_a_third():
    plates = Plates(3)
    sd = np.array([0.5, 5.0, 19.0])
    rows = 500 + np.random.default_rng(5).normal(0, 1, (600, 3)) * sd
    feed(plates, rows)
    assert (np.abs(plates.noise_g / sd - 1) < 0.33).all()
