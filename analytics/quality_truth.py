"""The truth as the ticks, dwells and visits that an ideal analysis would have given.

Rules of the file: truth rows may come in any order and twice; what lies between
two truth rows is known only if they are at most `TRUTH_GAP_NS` apart; zones and
tags are integer codes here. Contract section 9.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.geometry import points_in_polygon
from analytics.quality_match import Int, Intervals, expand
from analytics.store import Rules, Zone

TRUTH_GAP_NS = 2_000_000_000
OUTSIDE = -1
BY_POLYGON = -2

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """Where every tag truly was at the end of each tick, sorted by tag, then tick.

    Attributes
    ----------
    tag : int64, code of the tag
    tick : int64, number of the tick: its end is ``tick * Rules.tick_ns``
    x_m, y_m : float64 [m]
    zone : int64, code of the zone, `OUTSIDE` = in none
    """

    tag: Int
    tick: Int
    x_m: Float
    y_m: Float
    zone: Int

    def __len__(self) -> int:
        """Return the number of ticks."""
        return len(self.tag)

    def take(self, at: NDArray[np.bool_]) -> "Ticks":
        """Return the ticks where a mask holds."""
        return Ticks(
            tag=self.tag[at],
            tick=self.tick[at],
            x_m=self.x_m[at],
            y_m=self.y_m[at],
            zone=self.zone[at],
        )


def truth_ticks(
    *,
    t_ns: Int,
    tag: Int,
    x_m: Float,
    y_m: Float,
    zone: Int,
    zones: Sequence[Zone],
    tick_ns: int,
    floor: NDArray[np.object_] | None = None,
    gap_ns: int = TRUTH_GAP_NS,
) -> Ticks:
    """Interpolate the truth to the ends of ticks.

    Parameters
    ----------
    t_ns
        shape (n,), int64 [ns]
    tag
        shape (n,), int64, code of the tag
    x_m
        shape (n,), float64 [m], finite
    y_m
        as x_m
    zone
        shape (n,), int64, code of the zone, `OUTSIDE`, or `BY_POLYGON` where the truth
        does not say; code z < len(zones) is ``zones[z]``
    zones
        the zones that polygons decide between, of one layer
    tick_ns
        int [ns], > 0
    floor
        shape (n,), ids of floors, None or "" where the truth does not say; only polygons ask
    gap_ns
        int [ns]. Rows further apart have nothing between them.

    Returns
    -------
    ticks : every multiple of `tick_ns` that is a truth row's own time or lies between two
        rows of its tag at most `gap_ns` apart

    Notes
    -----
    Positions are linear between rows. A zone is not a quantity that has a middle: it is
    that of the nearer row (of the earlier one halfway). Rows with the same tag and time
    count once: the first by position, so that the order of the file cannot matter.

    Examples
    --------
    >>> at = np.array([0, 2_000_000_000])
    >>> nobody = np.full(2, OUTSIDE)
    >>> ticks = truth_ticks(t_ns=at, tag=np.zeros(2, int), x_m=np.array([0.0, 4.0]),
    ...                     y_m=np.zeros(2), zone=nobody, zones=(), tick_ns=1_000_000_000)
    >>> ticks.x_m.tolist()
    [0.0, 2.0, 4.0]
    """
    order = np.lexsort((zone, y_m, x_m, t_ns, tag))
    fresh = np.ones(len(t_ns), np.bool_)
    fresh[1:] = (np.diff(tag[order]) != 0) | (np.diff(t_ns[order]) != 0)
    chosen = order[fresh]
    t_ns, tag, zone = t_ns[chosen], tag[chosen], zone[chosen]
    x_m, y_m = x_m[chosen], y_m[chosen]
    floor = np.full(len(t_ns), None, object) if floor is None else floor[chosen]

    linked = np.zeros(len(t_ns), np.bool_)
    linked[:-1] = (tag[1:] == tag[:-1]) & (t_ns[1:] - t_ns[:-1] <= gap_ns)
    low = -(-t_ns // tick_ns)
    high = t_ns // tick_ns + 1  # its own time, if that is the end of a tick
    high[:-1] = np.where(linked[:-1], low[1:], high[:-1])
    row, tick = expand(low, high)
    after = np.minimum(row + 1, len(t_ns) - 1)
    after = np.where(linked[row], after, row)
    length_ns = np.where(linked[row], t_ns[after] - t_ns[row], 1)
    share = (tick * tick_ns - t_ns[row]) / length_ns
    x = x_m[row] + share * (x_m[after] - x_m[row])
    y = y_m[row] + share * (y_m[after] - y_m[row])
    nearer = np.where(share <= 0.5, row, after)
    by_polygon = zone_at(x, y, zones, floor=floor[nearer])
    found = np.where(zone[nearer] == BY_POLYGON, by_polygon, zone[nearer])
    return Ticks(tag=tag[row], tick=tick, x_m=x, y_m=y, zone=found)


def zone_at(
    x_m: Float, y_m: Float, zones: Sequence[Zone], *, floor: NDArray[np.object_] | None = None
) -> Int:
    """Return the index of the zone that holds each point, `OUTSIDE` where none does.

    Parameters
    ----------
    x_m
        shape (n,), float64 [m]
    y_m
        as x_m
    zones
        zones of one layer; where zones of several floors lie over each other and the floor
        is not known, the first of the file wins
    floor
        shape (n,), ids of floors, None or "" where nobody knows

    Returns
    -------
    zone : shape (n,), int64
    """
    found = np.full(len(x_m), OUTSIDE, np.int64)
    for at in reversed(range(len(zones))):
        inside = points_in_polygon(x_m, y_m, zones[at].polygon_m)
        if floor is not None:
            inside &= (floor == zones[at].floor) | ~floor.astype(np.bool_)
        found[inside] = at
    return found


def stretches(tag: Int, tick: Int, *, silence_ns: int, tick_ns: int) -> Intervals:
    """Join ticks into stretches that end where a silence is longer than `silence_ns`.

    Parameters
    ----------
    tag
        shape (n,), int64, sorted by tag, then tick
    tick
        as tag
    silence_ns
        int [ns], between the end of one tick and the start of the next
    tick_ns
        int [ns]

    Returns
    -------
    stretches : `group` is the tag; from the first tick's start to the last one's end
    """
    if not len(tag):
        return Intervals(group=tag, start_ns=tick, end_ns=tick)
    new = (tag[1:] != tag[:-1]) | ((tick[1:] - tick[:-1] - 1) * tick_ns > silence_ns)
    first = np.concatenate([[0], np.flatnonzero(new) + 1])
    last = np.concatenate([first[1:], [len(tag)]]) - 1
    return Intervals(
        group=tag[first], start_ns=(tick[first] - 1) * tick_ns, end_ns=tick[last] * tick_ns
    )


def true_dwells(ticks: Ticks, rules: Rules) -> tuple[Intervals, Int]:
    """Return the stays in zones that the truth holds, by the store's own dwell rules.

    Parameters
    ----------
    ticks
        sorted by tag, then tick
    rules
        `dwell_min_s`, `dwell_gap_s`, `flicker_s` and `tick_s` count

    Returns
    -------
    dwells : `group` is the tag; sorted by tag, then start
    zone : shape (dwells,), int64, code of the zone

    Notes
    -----
    A stay is a run of ticks in one zone; a silence of at most `dwell_gap_s` does not end
    it, an absence (in other zones or none) of at most `flicker_s` is part of it. Earlier
    stays absorb first, so A B A B with short middle parts is one A, then B, and stays
    of a tag never overlap. A stay lasts from the start of its first tick to the end of
    its last one, and at least `dwell_min_s`.
    """
    tick_ns = rules.tick_ns
    if not len(ticks):
        return Intervals(group=ticks.tag, start_ns=ticks.tick, end_ns=ticks.tick), ticks.zone
    tag, tick, zone = ticks.tag, ticks.tick, ticks.zone
    silence_ns = (tick[1:] - tick[:-1] - 1) * tick_ns
    new = (tag[1:] != tag[:-1]) | (zone[1:] != zone[:-1]) | (silence_ns > rules.dwell_gap_s * 1e9)
    first = np.concatenate([[0], np.flatnonzero(new) + 1])
    last = np.concatenate([first[1:], [len(tag)]]) - 1
    run_tag, run_zone = tag[first], zone[first]
    start_ns, end_ns = (tick[first] - 1) * tick_ns, tick[last] * tick_ns
    back, joins = _next_of_same_zone(run_tag, run_zone, start_ns, end_ns, rules.flicker_s)
    kept = np.flatnonzero(_walked(np.where(joins, back, np.arange(len(first)) + 1)))
    # A kept run that the one before it reached over an absence continues that stay.
    opens = np.concatenate([[True], ~joins[kept[:-1]]])
    opener = kept[opens]
    closer = kept[np.concatenate([np.flatnonzero(opens)[1:], [len(kept)]]) - 1]
    long_enough = end_ns[closer] - start_ns[opener] >= rules.dwell_min_s * 1e9
    good = long_enough & (run_zone[opener] != OUTSIDE)
    dwells = Intervals(group=run_tag[opener], start_ns=start_ns[opener], end_ns=end_ns[closer])
    return dwells.take(good), run_zone[opener][good]


def _next_of_same_zone(
    tag: Int, zone: Int, start_ns: Int, end_ns: Int, flicker_s: float
) -> tuple[Int, NDArray[np.bool_]]:
    """Return each run's next run of its tag and zone, and whether only a flicker parts them."""
    order = np.lexsort((start_ns, zone, tag))
    following = np.arange(len(tag))
    same = (tag[order][1:] == tag[order][:-1]) & (zone[order][1:] == zone[order][:-1])
    following[order[:-1][same]] = order[1:][same]
    away_ns = start_ns[following] - end_ns
    joins = (following > np.arange(len(tag))) & (away_ns <= flicker_s * 1e9) & (zone != OUTSIDE)
    return following, joins


def _walked(step: Int) -> NDArray[np.bool_]:
    """Tell which runs are met on the way from run 0 by `step` (pointer doubling, Wyllie 1979)."""
    count = len(step)
    met = np.zeros(count + 1, np.bool_)
    met[0] = True
    ahead = np.append(step, count)
    for _ in range(count.bit_length() + 1):
        met[ahead[met]] = True
        ahead = ahead[ahead]
    return met[:-1]
