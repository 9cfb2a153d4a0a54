"""The figures of `analytics.quality`, one function and one record for each part.

Rules of the file: tags and zones are integer codes (`codes_of`); how each figure is
defined stands in the docstring of `analytics.quality`; contract section 9.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.quality_match import (
    Int,
    Intervals,
    edit_distances,
    match_one_to_one,
    overlapping_pairs,
)
from analytics.quality_truth import BY_POLYGON, OUTSIDE, Float, Ticks, stretches
from analytics.rows import STAGES
from analytics.store import Rules

Columns = Mapping[str, NDArray[Any]]

DWELL_SCORED_MIN_S = 10.0
MISSING = BY_POLYGON - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionFigures:
    """Metres between positions and truth; `unknown` is the share of ticks without one."""

    mean_m: float | None
    median_m: float | None
    p90_m: float | None
    rows: int
    unknown: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneFigures:
    """Zones of layer main against the true ones, shares 0-1 and counts."""

    accuracy: float
    macro_f1: float | None
    switches: int
    true_switches: int
    dwell_misplaced: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DwellFigures:
    """Final dwells against the true ones, shares 0-1; `error` is relative."""

    error: float | None
    missed: float | None
    false: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFigures:
    """Edit distance of a visit's path over the true path's length, mean of the true visits."""

    edit_distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueStays:
    """The truth of visitors, and what is needed to compare tables with it.

    Attributes
    ----------
    ticks : the truth's ticks, of visitors only
    dwells : the true dwells, `group` is the tag
    zone : int64, code of each dwell's zone
    tag_codes, zone_codes : text to code; zones that only a table has are added
    rules : the store's rules
    """

    ticks: Ticks
    dwells: Intervals
    zone: Int
    tag_codes: dict[Any, int]
    zone_codes: dict[Any, int]
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one stage of the positions says at each tick of the truth.

    Attributes
    ----------
    x_m, y_m : float64 [m], NaN where unknown or without a row
    zone : int64, code of the zone, `OUTSIDE`, or `MISSING` where unknown or without a row
    met : bool, there is a row, known or not
    """

    x_m: Float
    y_m: Float
    zone: Int
    met: NDArray[np.bool_]


def codes_of(values: NDArray[Any], codes: dict[Any, int]) -> Int:
    """Return the code of every value; values not yet in `codes` are added to it.

    Parameters
    ----------
    values
        shape (n,), texts (or None)
    codes
        value to code; new ones go on after the highest

    Returns
    -------
    codes : shape (n,), int64

    Examples
    --------
    >>> codes_of(np.array(["a", "b", "a"]), {"": -1}).tolist()
    [0, 1, 0]
    """
    listed = values.tolist()
    following = max(codes.values(), default=-1) + 1
    for value in dict.fromkeys(listed):
        if value not in codes:
            codes[value] = max(following, 0)
            following = codes[value] + 1
    return np.fromiter(map(codes.__getitem__, listed), np.int64, len(listed))


def answers(
    positions: Columns,
    ticks: Ticks,
    tag_codes: dict[Any, int],
    zone_codes: dict[Any, int],
    tick_ns: int,
) -> dict[str, Answer]:
    """Look up the ticks of the truth in the positions table.

    Parameters
    ----------
    positions
        columns as for `analytics.quality.score`
    ticks
        the truth
    tag_codes
        as used in `ticks`; zones that only the table has are added
    zone_codes
        as tag_codes
    tick_ns
        int [ns]

    Returns
    -------
    answers : one for each of `STAGES`

    Raises
    ------
    ValueError
        A stage is neither live nor final.
    """
    strange = set(positions["stage"].tolist()) - set(STAGES)
    if strange:
        raise ValueError(f"stage: expected live or final, got {min(strange)!r}")
    numbers = np.unique(ticks.tick)
    size = len(numbers) + 1
    key = ticks.tag * size + np.searchsorted(numbers, ticks.tick)
    tick = -(-np.asarray(positions["t_ns"], np.int64) // tick_ns)
    tag = looked_up(positions["tag"], tag_codes)
    at = np.searchsorted(numbers, tick)
    there = numbers[np.minimum(at, len(numbers) - 1)] == tick
    place = np.minimum(np.searchsorted(key, tag * size + at), len(key) - 1)
    rows = np.flatnonzero(there & (tag >= 0) & (key[place] == tag * size + at))
    to = place[rows]
    stage, layer, state = (positions[name][rows] for name in ("stage", "layer", "zone_state"))
    x_m, y_m = (np.asarray(positions[name], np.float64)[rows] for name in ("x_m", "y_m"))
    zone = codes_of(positions["zone"][rows], zone_codes)
    zone = np.where((state == "outside") | (zone == BY_POLYGON), OUTSIDE, zone)
    known = (state != "unknown") & np.isfinite(x_m) & np.isfinite(y_m)
    main = layer == "main"
    found = {}
    for name in STAGES:
        mine = stage == name
        answer = Answer(
            x_m=np.full(len(ticks), np.nan),
            y_m=np.full(len(ticks), np.nan),
            zone=np.full(len(ticks), MISSING, np.int64),
            met=np.zeros(len(ticks), np.bool_),
        )
        answer.met[to[mine]] = True
        for some in (mine & known & ~main, mine & known & main):
            answer.x_m[to[some]], answer.y_m[to[some]] = x_m[some], y_m[some]
        decided = mine & known & main
        answer.zone[to[decided]] = zone[decided]
        found[name] = answer
    return found


def position_figures(answer: Answer, ticks: Ticks) -> PositionFigures:
    """Return the metres between a stage's positions and the truth, over known ticks."""
    error_m = np.hypot(answer.x_m - ticks.x_m, answer.y_m - ticks.y_m)
    error_m = error_m[np.isfinite(error_m)]
    some = len(error_m) > 0
    return PositionFigures(
        mean_m=rounded(error_m.mean()) if some else None,
        median_m=rounded(np.median(error_m)) if some else None,
        p90_m=rounded(np.percentile(error_m, 90)) if some else None,
        rows=len(error_m),
        unknown=rounded(1 - len(error_m) / len(ticks)),
    )


def zone_figures(zone: Int, ticks: Ticks) -> ZoneFigures:
    """Return how well a stage's zones (shape (ticks,), codes) agree with the true ones."""
    size = int(max(zone.max(), ticks.zone.max())) + 1
    booked = np.bincount(zone[zone >= 0], minlength=size)
    true = np.bincount(ticks.zone[ticks.zone >= 0], minlength=size)
    right = zone == ticks.zone
    hits = np.bincount(zone[right & (zone >= 0)], minlength=size)
    visited = true > 0
    f1 = 2 * hits[visited] / (booked[visited] + true[visited])
    return ZoneFigures(
        accuracy=rounded(right.mean()),
        macro_f1=rounded(f1.mean()) if visited.any() else None,
        switches=_switches(zone, zone != MISSING, ticks),
        true_switches=_switches(ticks.zone, np.ones(len(ticks), np.bool_), ticks),
        dwell_misplaced=rounded(np.maximum(booked - true, 0).sum() / len(ticks)),
    )


def dwell_figures(dwells: Columns, truth: TrueStays) -> DwellFigures:
    """Return how well the dwells table agrees with the true stays.

    Parameters
    ----------
    dwells
        columns as for `analytics.quality.score`
    truth
        the true stays

    Returns
    -------
    figures : None for what there is nothing to judge by
    """
    booked, booked_s = _booked_dwells(dwells, truth)
    true = _by_zone(truth.dwells, truth.zone, truth)
    true = true.take(np.lexsort((true.start_ns, true.group)))
    at_booked, at_true = _matched(booked, true)
    true_s = (true.end_ns - true.start_ns) / 1e9
    error = np.ones(len(true))
    error[at_true] = np.abs(booked_s[at_booked] - true_s[at_true]) / true_s[at_true]
    scored = true_s >= DWELL_SCORED_MIN_S
    return DwellFigures(
        error=rounded(error[scored].mean()) if scored.any() else None,
        missed=share(len(true) - len(at_true), len(true)),
        false=share(len(booked) - len(at_booked), len(booked)),
    )


def path_figures(visits: Columns, truth: TrueStays) -> PathFigures | None:
    """Return how well the paths of the visits table agree with the true ones.

    Parameters
    ----------
    visits
        columns as for `analytics.quality.score`
    truth
        the true stays

    Returns
    -------
    figures : None if no true visit stays in any zone
    """
    true = _stretches(truth, truth.rules.visit_gap_s)
    true = true.take(true.end_ns - true.start_ns >= truth.rules.visit_min_s * 1e9)
    expected: list[list[int]] = [[] for _ in range(len(true))]
    for at_dwell, at_visit in zip(*overlapping_pairs(truth.dwells, true), strict=True):
        expected[at_visit].append(int(truth.zone[at_dwell]))
    booked = _intervals(visits, np.arange(len(visits["tag"])), truth.tag_codes)
    found: list[list[int]] = [[] for _ in range(len(true))]
    for at_booked, at_visit in zip(*_matched(booked, true), strict=True):
        path = np.array((visits["path"][at_booked] or "").split(">"), dtype=object)
        found[at_visit] = codes_of(path[path != ""], truth.zone_codes).tolist()
    walked = [at for at, path in enumerate(expected) if path]
    if not walked:
        return None
    wanted = [_without_repeats(expected[at]) for at in walked]
    distance = edit_distances([_without_repeats(found[at]) for at in walked], wanted)
    length = np.array([len(path) for path in wanted])
    return PathFigures(edit_distance=rounded((distance / length).mean()))


def looked_up(values: NDArray[Any], codes: Mapping[Any, int]) -> Int:
    """Return the code of every value, -1 for those that have none.

    Parameters
    ----------
    values
        shape (n,), texts
    codes
        value to code, not negative

    Returns
    -------
    codes : shape (n,), int64
    """
    return np.fromiter(map(codes.get, values.tolist(), repeat(-1)), np.int64, len(values))


def share(part: int, whole: int) -> float | None:
    """Return part over whole, None over nothing."""
    return rounded(part / whole) if whole else None


def rounded(value: float | np.floating[Any]) -> float:
    """Return a plain number with six decimals, as figures are printed."""
    return round(float(value), 6)


def _switches(zone: Int, decided: NDArray[np.bool_], ticks: Ticks) -> int:
    new = (ticks.tag[1:] != ticks.tag[:-1]) | (ticks.tick[1:] != ticks.tick[:-1] + 1)
    stretch = np.concatenate([[0], np.cumsum(new)])[decided]
    zone = zone[decided]
    return int(((zone[1:] != zone[:-1]) & (stretch[1:] == stretch[:-1])).sum())


def _booked_dwells(dwells: Columns, truth: TrueStays) -> tuple[Intervals, Float]:
    """Return dwells of layer main as far as the truth covers them, by tag and zone, and seconds."""
    main = np.flatnonzero(np.asarray(dwells["layer"]) == "main")
    zone = np.maximum(codes_of(np.asarray(dwells["zone"])[main], truth.zone_codes), OUTSIDE)
    whole = _intervals(dwells, main, truth.tag_codes)
    covered = _stretches(truth, truth.rules.dwell_gap_s)
    at, period = overlapping_pairs(whole, covered)
    start_ns = np.maximum(whole.start_ns[at], covered.start_ns[period])
    end_ns = np.minimum(whole.end_ns[at], covered.end_ns[period])
    whole_ns = whole.end_ns[at] - whole.start_ns[at]
    dwell_s = np.asarray(dwells["dwell_s"], np.float64)[main][at] * (end_ns - start_ns) / whole_ns
    uncut = end_ns - start_ns == whole_ns
    kept = uncut | (end_ns - start_ns >= truth.rules.dwell_min_s * 1e9)
    pieces = Intervals(group=whole.group[at], start_ns=start_ns, end_ns=end_ns)
    return _by_zone(pieces, zone[at], truth).take(kept), dwell_s[kept]


def _by_zone(stays: Intervals, zone: Int, truth: TrueStays) -> Intervals:
    """Return stays whose group is tag and zone together."""
    size = max(truth.zone_codes.values()) + 2
    return Intervals(
        group=stays.group * size + zone + 1, start_ns=stays.start_ns, end_ns=stays.end_ns
    )


def _stretches(truth: TrueStays, silence_s: float) -> Intervals:
    return stretches(
        truth.ticks.tag,
        truth.ticks.tick,
        silence_ns=round(silence_s * 1e9),
        tick_ns=truth.rules.tick_ns,
    )


def _intervals(table: Columns, rows: Int, tag_codes: dict[Any, int]) -> Intervals:
    """Return rows as stretches by tag; those of other tags or without length never pair."""
    start_ns, end_ns = (np.asarray(table[name], np.int64)[rows] for name in ("start_ns", "end_ns"))
    tag = looked_up(np.asarray(table["tag"])[rows], tag_codes)
    return Intervals(group=np.where(end_ns > start_ns, tag, -1), start_ns=start_ns, end_ns=end_ns)


def _matched(booked: Intervals, true: Intervals) -> tuple[Int, Int]:
    """Return who matches whom, largest overlap first; the order of `booked` does not matter."""
    order = np.lexsort((booked.end_ns, booked.start_ns, booked.group))
    booked = booked.take(order)
    at_booked, at_true = overlapping_pairs(booked, true)
    shared_ns = np.minimum(booked.end_ns[at_booked], true.end_ns[at_true]) - np.maximum(
        booked.start_ns[at_booked], true.start_ns[at_true]
    )
    at_booked, at_true = match_one_to_one(at_booked, at_true, shared_ns)
    return order[at_booked], at_true


def _without_repeats(path: list[int]) -> list[int]:
    return [zone for at, zone in enumerate(path) if at == 0 or zone != path[at - 1]]
