import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.calibrate_numbers import (
    Steady,
    Unfit,
    calibrate_counts,
    calibrate_range,
    refuse_saturated,
    refuse_unsteady,
    tare_counts,
    tare_grams,
)


def noisy(mean, noise, count=40, drift=0.0, seed=1):
    draw = random.Random(seed)
    return [mean + draw.gauss(0, noise) + drift * at / count for at in range(count)]


def at(value, noise=1.0):
    return Steady(median=value, noise=noise, drift=0.0, count=20)


@pytest.mark.parametrize("seed", range(50))
def test_white_noise_is_steady_and_its_size_is_found(seed):
    found = refuse_unsteady(noisy(80_000, 50, seed=seed), "counts")
    assert found.median == pytest.approx(80_000, abs=40)
    assert found.noise == pytest.approx(50, rel=0.6)


@pytest.mark.parametrize(
    "values",
    [
        noisy(80_000, 5, drift=200),
        [100.0] * 20 + [200.0] * 20,
        [80_000 + 500 * math.sin(at / 6) for at in range(40)],
        [float(at) for at in range(30)],
    ],
)
def test_drift_steps_and_swinging_are_no_rest(values):
    with pytest.raises(Unfit, match="wobbles"):
        refuse_unsteady(values, "counts")


def test_a_display_that_flickers_between_two_digits_is_at_rest():
    assert refuse_unsteady([12.5, 12.6] * 10, "g").median == pytest.approx(12.55)
    assert refuse_unsteady([12.5] * 12, "g").noise == 0


def test_too_few_values():
    with pytest.raises(Unfit, match="5 values or more, got 4"):
        refuse_unsteady([1.0] * 4, "g")


@given(
    per_g=st.floats(0.5, 5000) | st.floats(-5000, -0.5),
    empty=st.floats(-4e6, 4e6),
    mass_g=st.floats(100, 20_000),
    there_g=st.floats(-100, 20_000),
)
def test_what_is_calibrated_weighs_right(per_g, empty, mass_g, there_g):
    found = calibrate_counts(at(empty, 0.0), at(empty + mass_g * per_g, 0.0), mass_g)
    factor, tare_g = found.values["counts_per_g"], found.values["tare_g"]
    weighed = (empty + there_g * per_g) / factor - tare_g
    assert weighed == pytest.approx(there_g, rel=1e-5, abs=0.002)


def test_a_span_that_noise_could_have_made_is_refused():
    with pytest.raises(Unfit, match="the span is too small"):
        calibrate_counts(at(0, noise=100), at(1900, noise=100), 500)
    assert calibrate_counts(at(0, noise=10), at(1900, noise=10), 500).values["counts_per_g"] == 3.8


def test_what_the_engineer_should_know():
    swapped = calibrate_counts(at(0), at(-50_000), 500)
    assert "swapped" in swapped.warnings[0]
    assert swapped.values["counts_per_g"] == -100
    noisy_cell = calibrate_counts(at(0, noise=300), at(50_000, noise=300), 500)
    assert "noise is 3 g" in noisy_cell.warnings[0]
    assert calibrate_counts(at(0), at(50_000), 500).warnings == ()


def test_an_amplifier_at_its_end_is_refused_and_near_it_said():
    with pytest.raises(Unfit, match="3 values saturated"):
        refuse_saturated(3, at(0), range_counts=None)
    assert "95%" in refuse_saturated(0, at(-0.95 * 2**23), range_counts=2**23)
    assert refuse_saturated(0, at(0.5 * 2**23), range_counts=2**23) is None


def test_tare_alone():
    assert tare_counts(at(-4205), 420.5).values == {"tare_g": -10.0}
    assert tare_grams(at(12.5), None, None).values == {"tare_g": 12.5}
    assert tare_grams(at(12.5, 0.1), at(512.6, 0.1), 500).warnings == ()
    assert "wrong by +5 g" in tare_grams(at(0, 0.1), at(505, 0.1), 500).warnings[0]


def test_ranges():
    assert calibrate_range(at(3000), 300, is_counts=True).values == {"counts_per_mm": 10.0}
    assert calibrate_range(at(301), 300, is_counts=False).warnings == ()
    off = calibrate_range(at(320), 300, is_counts=False)
    assert (off.values, "off by +20 mm" in off.warnings[0]) == ({}, True)
    with pytest.raises(Unfit, match="something in its view"):
        calibrate_range(at(0), 300, is_counts=True)
