"""Rows waiting for their tick to close.

Rows arrive in any order and in any portions; they are kept by tick and, when the
tick closes, identical rows are counted once. Nothing that is computed from a tick
depends on the order in which its rows came.
"""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = tuple[NDArray[Any], ...]


def ticks_in(duration_s: float, tick_s: float) -> int:
    """Return how many whole ticks fit into a duration.

    Parameters
    ----------
    duration_s, tick_s : float [s]; tick_s > 0

    Examples
    --------
    >>> ticks_in(0.6, 0.2), ticks_in(5.0, 2.0)
    (3, 2)
    """
    return int(duration_s / tick_s + 1e-9)


class TickBuffer:
    """Rows by tick; the first column is the time.

    Parameters
    ----------
    tick_ns : int [ns], length of a tick
    """

    def __init__(self, tick_ns: int) -> None:
        self._tick_ns = tick_ns
        self._ticks: dict[int, list[Columns]] = {}
        self._order: list[int] = []
        self.next_tick: int | None = None
        """Ticks before this one are closed; None until the first one closed."""

    def add(self, columns: Sequence[NDArray[Any]]) -> int:
        """Add rows.

        Parameters
        ----------
        columns : arrays of equal length; the first is t_ns, int64 [ns]

        Returns
        -------
        late : rows whose tick is closed already, which were not added
        """
        tick = columns[0] // self._tick_ns
        late = 0
        if self.next_tick is not None and len(tick) and tick.min() < self.next_tick:
            keep = tick >= self.next_tick
            late = int((~keep).sum())
            tick = tick[keep]
            columns = [column[keep] for column in columns]
        if len(tick) == 0:
            return late
        if (np.diff(tick) < 0).any():
            order = np.argsort(tick, kind="stable")
            tick = tick[order]
            columns = [column[order] for column in columns]
        starts = np.concatenate([[0], np.flatnonzero(np.diff(tick)) + 1, [len(tick)]])
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            rows = tuple(column[start:end] for column in columns)
            number = int(tick[start])
            if number not in self._ticks:
                self._ticks[number] = []
                heapq.heappush(self._order, number)
            self._ticks[number].append(rows)
        return late

    def first_tick(self) -> int | None:
        """Return the earliest tick that has rows, or None."""
        while self._order and self._order[0] not in self._ticks:
            heapq.heappop(self._order)
        return self._order[0] if self._order else None

    def last_tick(self) -> int | None:
        """Return the latest tick that has rows, or None."""
        return max(self._ticks, default=None)

    def pop(self, tick: int) -> Columns | None:
        """Take the distinct rows of a tick, or None when it has none."""
        parts = self._ticks.pop(tick, None)
        if parts is None:
            return None
        rows = parts[0] if len(parts) == 1 else _joined(parts)
        return _distinct(rows)


def _joined(parts: list[Columns]) -> Columns:
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _distinct(rows: Columns) -> Columns:
    """Drop rows that repeat another one in all columns.

    Rows race for the places of a hash table; who loses to an equal row is a repetition,
    who loses to another one races again.
    """
    count = len(rows[0])
    mixed = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for column in rows:
            mixed ^= column.astype(np.int64, copy=False).view(np.uint64)
            mixed *= np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    bits = (8 * count).bit_length()
    place = (mixed >> np.uint64(64 - bits)).astype(np.int64)
    table = np.empty(1 << bits, np.int64)
    racing = np.arange(count)
    repeats = np.zeros(count, np.bool_)
    while len(racing):
        table[place[racing]] = racing
        winner = table[place[racing]]
        lost = winner != racing
        racing, winner = racing[lost], winner[lost]
        same = np.ones(len(racing), np.bool_)
        for column in rows:
            same &= column[racing] == column[winner]
        repeats[racing[same]] = True
        racing = racing[~same]
    return tuple(column[~repeats] for column in rows) if repeats.any() else rows
