"""Dwell sessions from rows that have their zone already, as columns and all at once.

The rules are those of `analytics.dwell`, which works tick by tick while rows arrive;
this is for whole files. Rows are first cut into runs (one tag, one zone, no silence
longer than the gap), block by block so that nothing leaves the cache. A run longer
than a flicker is a session whatever came before it; only the short runs between
such runs are walked one by one. Rules of the file: no sort of all rows, unless a
tag's rows are out of order.

Source: run-length encoding over sorted keys (Abadi, Madden and Ferreira 2006, section
3.2); the stay rule is that of Li et al. 2008 (eq. 2) on zones instead of distances.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.store import Rules

NOWHERE = -1
_BLOCK_BY_TAG = 1 << 15
_BLOCK_BY_TIME = 1 << 17
"""Rows of a block; in order of time a larger one leaves fewer runs to put together."""

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
I16 = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Dwell sessions, in order of tag and time.

    Attributes
    ----------
    tag : shape (n,), int32
    zone : shape (n,), int16
    start_ns, end_ns : shape (n,), int64 [ns], first and last row
    rows : shape (n,), int64, rows in the session, those of bridged excursions included
    """

    tag: I32
    zone: I16
    start_ns: I64
    end_ns: I64
    rows: I64

    def __len__(self) -> int:
        """Return the number of sessions."""
        return len(self.tag)


def sessions(t_ns: I64, tag: I32, zone: I16, *, rules: Rules, row_s: float = 0.0) -> Sessions:
    """Find the dwell sessions of labelled rows.

    Parameters
    ----------
    t_ns : shape (n,), int64 [ns]
    tag : shape (n,), int32, ids
    zone : shape (n,), int16, `NOWHERE` = in no zone
    rules : `dwell_min_s`, `dwell_gap_s` and `flicker_s` are used
    row_s : float [s], for how long a row speaks: 0 for readings, the tick for rows per tick

    Returns
    -------
    found : the sessions

    Raises
    ------
    ValueError
        The columns have different lengths.

    Notes
    -----
    Fastest are rows in order of tag and time, then rows in order of time; any other
    order is sorted first. Rows of a tag at the very same time keep their order.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(8) * 10**9
    >>> zone = np.array([2, 2, 2, 2, 2, 2, 5, 2], np.int16)
    >>> found = sessions(t, np.zeros(8, np.int32), zone, rules=Rules())
    >>> found.zone.tolist(), (found.end_ns - found.start_ns).tolist()
    ([2], [7000000000])
    """
    if not len(t_ns) == len(tag) == len(zone):
        raise ValueError(f"columns of {len(t_ns)}, {len(tag)} and {len(zone)} rows; expected equal")
    times = _Times(
        row=_ns(row_s),
        gap=_ns(rules.dwell_gap_s) + _ns(row_s),
        flicker=_ns(rules.flicker_s),
        least=_ns(rules.dwell_min_s) - _ns(row_s),
    )
    t_ns, tag, zone = (
        np.asarray(t_ns, np.int64),
        np.asarray(tag, np.int32),
        np.asarray(zone, np.int16),
    )
    runs = _runs_by_tag(t_ns, tag, zone, times.gap)
    if runs is None:
        runs = _runs_by_time(t_ns, tag, zone, times.gap)
    if runs is None:
        order = np.lexsort((t_ns, tag))
        runs = _runs_by_tag(t_ns[order], tag[order], zone[order], times.gap)
        assert runs is not None
    return _stays(runs, times)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """The rules in nanoseconds; `gap` and `least` are between the times of two rows."""

    row: int
    gap: int
    flicker: int
    least: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """Runs in order of tag and time; `before` counts the rows of earlier runs."""

    tag: I32
    zone: I16
    start: I64
    end: I64
    rows: I64


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _runs_by_tag(t_ns: I64, tag: I32, zone: I16, gap_ns: int) -> _Runs | None:
    """Cut rows into runs; None when they are not in order of tag and time."""
    begins = [np.zeros(min(1, len(t_ns)), np.int64)]
    size = min(_BLOCK_BY_TAG, len(t_ns))
    step, flag, other = np.empty(size, np.int64), np.empty(size, np.bool_), np.empty(size, np.bool_)
    for first in range(1, len(t_ns), _BLOCK_BY_TAG):
        stop = min(first + _BLOCK_BY_TAG, len(t_ns))
        n = stop - first
        now, then = slice(first, stop), slice(first - 1, stop - 1)
        dt, cut, spare = step[:n], flag[:n], other[:n]
        if np.less(tag[now], tag[then], out=spare).any():
            return None
        np.subtract(t_ns[now], t_ns[then], out=dt)
        np.not_equal(tag[now], tag[then], out=cut)
        np.less(dt, 0, out=spare)
        if np.greater(spare, cut, out=spare).any():  # back in time within one tag
            return None
        cut |= np.not_equal(zone[now], zone[then], out=spare)
        cut |= np.greater(dt, gap_ns, out=spare)
        begins.append(np.flatnonzero(cut) + first)
    start = np.concatenate(begins)
    end = np.append(start[1:], len(t_ns))[: len(start)]
    return _Runs(
        tag=tag[start], zone=zone[start], start=t_ns[start], end=t_ns[end - 1], rows=end - start
    )


def _runs_by_time(t_ns: I64, tag: I32, zone: I16, gap_ns: int) -> _Runs | None:
    """Cut rows in order of time into runs; None when a tag's rows are not in that order."""
    parts = []
    size = min(_BLOCK_BY_TIME, len(t_ns))
    ordered = np.empty(size, np.int64), np.empty(size, np.int32), np.empty(size, np.int16)
    for first in range(0, len(t_ns), size):
        part = slice(first, first + size)
        order = _order_of(tag[part])
        runs = _runs_by_tag(
            np.take(t_ns[part], order, out=ordered[0][: len(order)], mode="clip"),
            np.take(tag[part], order, out=ordered[1][: len(order)], mode="clip"),
            np.take(zone[part], order, out=ordered[2][: len(order)], mode="clip"),
            gap_ns,
        )
        if runs is None:
            return None
        parts.append(runs)
    tags = np.concatenate([part.tag for part in parts])
    order = _order_of(tags)
    tags = tags[order]
    zones, start, end, rows = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("zone", "start", "end", "rows")
    )
    same = tags[1:] == tags[:-1]
    if (same & (start[1:] < end[:-1])).any():
        return None
    goes_on = same & (zones[1:] == zones[:-1]) & (start[1:] - end[:-1] <= gap_ns)
    begin = np.flatnonzero(np.append(True, ~goes_on))
    last = np.append(begin[1:], len(tags)) - 1
    return _Runs(
        tag=tags[begin],
        zone=zones[begin],
        start=start[begin],
        end=end[last],
        rows=np.add.reduceat(rows, begin),
    )


def _order_of(tag: I32) -> NDArray[np.intp]:
    """Return the stable order by tag: radix sort by halves of 16 bits."""
    if not len(tag):
        return np.empty(0, np.intp)
    bits = tag.view(np.uint32)
    order = np.argsort(bits.astype(np.uint16), kind="stable")
    if (bits >> 16 != bits[0] >> 16).any():
        # Signed, so that negative tags come first.
        order = order[np.argsort((tag >> 16).astype(np.int16)[order], kind="stable")]
    return order


def _stays(runs: _Runs, times: _Times) -> Sessions:
    same = runs.tag[1:] == runs.tag[:-1]
    fresh = np.ones(len(runs.tag), np.bool_)  # nothing before it counts
    fresh[1:] = ~same | (runs.start[1:] - runs.end[:-1] > times.gap)
    firm = fresh | (runs.end - runs.start + times.row > times.flicker)
    first, last = np.flatnonzero(firm), np.flatnonzero(firm)
    if not firm.all():
        chains = _chains(fresh, firm)
        walked = np.array(list(_walked(runs, times, chains)), np.int64).reshape(-1, 2)
        alone = np.ones(len(firm), np.bool_)
        for begin, stop in chains:
            alone[begin:stop] = False
        single = np.flatnonzero(firm & alone)
        first = np.concatenate([single, walked[:, 0]])
        last = np.concatenate([single, walked[:, 1]])
        order = np.argsort(first)
        first, last = first[order], last[order]
    keep = (runs.zone[first] != NOWHERE) & (runs.end[last] - runs.start[first] >= times.least)
    first, last = first[keep], last[keep]
    until = np.append(0, np.cumsum(runs.rows))
    return Sessions(
        tag=runs.tag[first],
        zone=runs.zone[first],
        start_ns=runs.start[first],
        end_ns=runs.end[last],
        rows=until[last + 1] - until[first],
    )


def _chains(fresh: NDArray[np.bool_], firm: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return where runs depend on each other: a firm one, short ones, and what they lead to.

    A chain that leads to a firm run goes on behind it when short runs follow that one.
    """
    short = ~firm
    # A firm run belongs to the chain before it when a short one is its neighbour there.
    joins = short.copy()
    joins[1:] |= short[:-1] & ~fresh[1:]
    begin = np.flatnonzero(~joins & np.append(joins[1:], False))
    stop = np.flatnonzero(joins & ~np.append(joins[1:], False)) + 1
    return list(zip(begin.tolist(), stop.tolist(), strict=True))


def _walked(runs: _Runs, times: _Times, chains: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the first and last run of every stay of the chains, as `DwellMachine` would."""
    for begin, stop in chains:
        part = slice(begin, stop)
        zones = runs.zone[part].tolist()
        starts, ends = runs.start[part].tolist(), runs.end[part].tolist()
        zone, first, last, until = zones[0], 0, 0, ends[0]
        away, since = -1, 0  # the run one has gone to, and when one left
        for at in range(1, stop - begin):
            start = starts[at]
            if away >= 0 and (start - since > times.flicker or start - until > times.gap):
                yield begin + first, begin + last
                zone, first, last, until, away = zones[away], away, away, ends[away], -1
            if zones[at] == zone != NOWHERE:
                last, until, away = at, ends[at], -1
                continue
            if away < 0:
                since = start
            away = at
            if zone == NOWHERE or ends[at] - since + times.row > times.flicker:
                yield begin + first, begin + last
                zone, first, last, until, away = zones[at], at, at, ends[at], -1
        yield begin + first, begin + last
        if away >= 0:
            yield begin + away, begin + away
