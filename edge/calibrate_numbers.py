"""Values of a sensor to a calibration: steady or not, tare, span, and what is wrong.

Rules of the file: pure. A value is steady when it neither drifts nor swings by more than
the noise from one value to the next explains; a plate that is shaken is noticed by the
noise in grams, when grams are known. Counts follow grams = counts / counts_per_g − tare_g.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import fmean, median, pstdev

VALUES_LEAST = 5
_SIGMAS = 3.0
_SPAN_LEAST = 20.0  # span in noises: below, the factor is wrong by more than some percent
_COUNTS_LEAST = 50.0
_NOISE_MOST_G = 1.0
_RANGE_MOST = 0.8
_SCALE_WRONG = 0.005


class Unfit(Exception):  # noqa: N818 - a verdict about values
    """These values make no calibration; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Some values of one state of the plate, in the unit of the values."""

    median: float
    noise: float
    drift: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What belongs into the configuration, and what the engineer should know."""

    values: dict[str, float]
    noise: float
    warnings: tuple[str, ...] = ()


def summarize(values: Sequence[float]) -> Steady:
    """Return median, noise and drift.

    Parameters
    ----------
    values : in the order in which they came

    Returns
    -------
    steady : `noise` is the standard deviation from one value to the next, over √2; `drift`
        the median of the last third less that of the first

    Raises
    ------
    Unfit
        There are too few.
    """
    if len(values) < VALUES_LEAST:
        raise Unfit(f"expected {VALUES_LEAST} values or more, got {len(values)}; take longer")
    steps = [after - before for before, after in pairwise(values)]
    third = max(len(values) // 3, 2)
    return Steady(
        median=median(values),
        noise=sqrt(fmean(step * step for step in steps) / 2),
        drift=median(values[-third:]) - median(values[:third]),
        count=len(values),
    )


def refuse_unsteady(values: Sequence[float], unit: str) -> Steady:
    """Return the summary of values that are steady.

    Parameters
    ----------
    values : in the order in which they came
    unit : of the values, for the message

    Raises
    ------
    Unfit
        They drift or swing, or there are too few.
    """
    found = summarize(values)
    most = _SIGMAS * found.noise + _resolution(values)
    if abs(found.drift) > most:
        raise Unfit(
            f"the value wobbles: it drifts by {found.drift:+.4g} {unit}, noise is "
            f"{found.noise:.3g} {unit}; hands off the plate, and let it settle"
        )
    if pstdev(values) > most:
        raise Unfit(
            f"the value wobbles: it swings by ±{pstdev(values):.4g} {unit}, noise is "
            f"{found.noise:.3g} {unit}; keep people and air from moving the shelf"
        )
    return found


def refuse_saturated(saturated: int, found: Steady, *, range_counts: float | None) -> str | None:
    """Refuse values of an amplifier at its end; return a warning near it.

    Parameters
    ----------
    saturated : values that the device itself called so
    found : the values
    range_counts : the largest value the device can say; None = not known

    Raises
    ------
    Unfit
        The amplifier is at its end.
    """
    if saturated:
        raise Unfit(
            f"the amplifier is at its end ({saturated} values saturated): check the four wires of "
            "the load cell, its excitation, and that nothing heavier than its range lies on it"
        )
    if range_counts is not None and abs(found.median) > _RANGE_MOST * range_counts:
        share = abs(found.median) / range_counts
        return f"{share:.0%} of the amplifier's range is used up: little room is left above this"
    return None


def calibrate_counts(empty: Steady, loaded: Steady, mass_g: float) -> Calibration:
    """Return factor and tare of a load cell in counts.

    Parameters
    ----------
    empty, loaded : [counts] without and with the mass
    mass_g : [g] of what was put on, more than 0

    Raises
    ------
    Unfit
        The mass made too little difference.
    """
    span, noise = loaded.median - empty.median, max(empty.noise, loaded.noise)
    if abs(span) < max(_SPAN_LEAST * noise, _COUNTS_LEAST):
        raise Unfit(
            f"the span is too small: {mass_g:g} g changed the value by {span:+.4g} counts, with a "
            f"noise of {noise:.3g}; is the mass on this very plate, and heavy enough?"
        )
    counts_per_g = float(f"{span / mass_g:.6g}")
    noise_g = noise / abs(counts_per_g)
    warnings = []
    if span < 0:
        warnings.append(
            "the slope is negative: the counts fall under load; the signal wires (A+ and A−) are "
            "swapped or the cell is upside down. It works as it is, with a negative counts_per_g"
        )
    if noise_g > _NOISE_MOST_G:
        warnings.append(
            f"noise is {noise_g:.2g} g: light products will not be told apart; check wiring, "
            "shielding and whether the plate touches its neighbours"
        )
    return Calibration(
        values={
            "counts_per_g": counts_per_g,
            "tare_g": round(empty.median / counts_per_g, 3),
        },
        noise=noise_g,
        warnings=tuple(warnings),
    )


def tare_counts(empty: Steady, counts_per_g: float) -> Calibration:
    """Return the tare of a load cell whose factor is known.

    Parameters
    ----------
    empty : [counts] of the empty plate
    counts_per_g : [counts/g]
    """
    return Calibration(
        values={"tare_g": round(empty.median / counts_per_g, 3)},
        noise=empty.noise / abs(counts_per_g),
    )


def tare_grams(empty: Steady, loaded: Steady | None, mass_g: float | None) -> Calibration:
    """Return the tare of a scale that speaks grams, and whether it weighs right.

    Parameters
    ----------
    empty : [g] of the empty plate
    loaded : [g] with the mass, if one was put on
    mass_g : [g] of it
    """
    warnings = []
    if loaded is not None and mass_g is not None:
        wrong = loaded.median - empty.median - mass_g
        most = max(_SCALE_WRONG * mass_g, _SIGMAS * max(empty.noise, loaded.noise))
        if abs(wrong) > most:
            warnings.append(
                f"the scale itself is wrong by {wrong:+.4g} g at {mass_g:g} g: adjust it by its "
                "own menu, edge.toml has no factor for scales in grams"
            )
    return Calibration(
        values={"tare_g": round(empty.median, 3)}, noise=empty.noise, warnings=tuple(warnings)
    )


def calibrate_range(
    found: Steady, distance_mm: float, *, is_counts: bool, per_mm: float = 1.0
) -> Calibration:
    """Return the factor of a range sensor in counts, or how wrong one in millimetres is.

    Parameters
    ----------
    found : values at the known distance
    distance_mm : [mm] more than 0
    is_counts : the values are counts, not millimetres
    per_mm : [counts/mm] as configured, for the check of its sign

    Raises
    ------
    Unfit
        It measured nothing.
    """
    if found.median == 0 or found.median * per_mm < 0:
        raise Unfit(
            f"the sensor says {found.median:g} at {distance_mm:g} mm: is something in its view?"
        )
    if is_counts:
        factor = float(f"{found.median / distance_mm:.6g}")
        return Calibration(values={"counts_per_mm": factor}, noise=found.noise / abs(factor))
    offset = found.median - distance_mm
    if abs(offset) <= max(_SIGMAS * found.noise, 0.01 * distance_mm, 1.0):
        return Calibration(values={}, noise=found.noise)
    warning = (
        f"the sensor is off by {offset:+.4g} mm at {distance_mm:g} mm; edge.toml has no key "
        "for that: move it, or set the offset in the sensor itself"
    )
    return Calibration(values={}, noise=found.noise, warnings=(warning,))


def _resolution(values: Sequence[float]) -> float:
    """Return the last digit of the values: 1 for whole numbers, 0.1 for 12.5."""
    most = 0
    for value in values:
        digits = repr(round(value, 6)).partition(".")[2]
        most = max(most, 0 if digits in {"", "0"} else len(digits))
    return float(10.0**-most)
