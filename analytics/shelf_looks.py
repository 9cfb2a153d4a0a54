"""Looks: somebody stands before a shelf, seen by its time-of-flight sensors.

Rules of the file: all range sensors at once, one call per 0.2 s tick; a look is a
stay of at least one second nearer than the empty aisle; no target (out of the
usable range) means the aisle is empty. Source: Shelf reference, section 4 ("Look"),
from which all constants come.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BASE_TICKS = 150  # the empty distance is learned in the first 30 s
ENTER_MM, LEAVE_MM = 150.0, 100.0
LEAVE_TICKS = 3
LEAST_TICKS = 5
SILENT_TICKS = 15
NEAREST_MM, FURTHEST_MM = 20.0, 4000.0
_NEVER = -(1 << 62)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A finished look: `sensor` is an index into the range sensors, ticks are 0.2 s."""

    sensor: int
    start: int
    end: int


class Looks:
    """Presence before every range sensor.

    Parameters
    ----------
    count : number of range sensors

    Attributes
    ----------
    base_mm : float64 [mm], distance of the empty aisle, NaN while it is learned
    is_present : bool, somebody is there
    """

    def __init__(self, count: int) -> None:
        self.base_mm = np.full(count, np.nan)
        self.is_present = np.zeros(count, bool)
        self._heard = np.full(count, _NEVER, np.int64)
        self._ticks = np.zeros(count, np.int64)
        self._first = np.full((BASE_TICKS, count), np.nan)
        self._ring = np.full((3, count), FURTHEST_MM)
        self._start = np.full(count, _NEVER, np.int64)
        self._inside = np.full(count, _NEVER, np.int64)

    def step(self, tick: int, sensor: Ints, median_mm: Floats) -> list[Look]:
        """Advance every sensor by one tick.

        Parameters
        ----------
        tick : number of the tick, growing from call to call
        sensor : shape (n,), range sensors with samples in this tick, each once
        median_mm : shape (n,), their medians [mm]

        Returns
        -------
        looks : those that ended in this tick
        """
        usable = (median_mm >= NEAREST_MM) & (median_mm <= FURTHEST_MM)
        self._ring[:2, sensor] = self._ring[1:, sensor]
        self._ring[2, sensor] = np.where(usable, median_mm, FURTHEST_MM)
        self._heard[sensor] = tick
        self._learn(sensor)
        a, b, c = self._ring
        value = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
        fresh = np.zeros(len(self.base_mm), bool)
        fresh[sensor] = True
        known = np.isfinite(self.base_mm)
        base = np.where(known, self.base_mm, -np.inf)
        self._follow(value, fresh & known)
        enters = fresh & ~self.is_present & (value < base - ENTER_MM)
        self._start[enters] = tick
        self.is_present |= enters
        self._inside[fresh & self.is_present & (value < base - LEAVE_MM)] = tick
        away = fresh & (tick - self._inside >= LEAVE_TICKS)
        ends = self.is_present & (away | (tick - self._heard > SILENT_TICKS))
        self.is_present &= ~ends
        return [
            Look(sensor=int(s), start=int(self._start[s]), end=int(self._inside[s]) + 1)
            for s in np.flatnonzero(ends & (self._inside + 1 - self._start >= LEAST_TICKS))
        ]

    def is_at_rest(self, tick: int) -> bool:
        """Whether empty ticks from here on change nothing.

        Parameters
        ----------
        tick : the next tick

        Returns
        -------
        is_at_rest : bool
        """
        return not self.is_present.any() and bool(np.all(tick - self._heard > SILENT_TICKS))

    def _learn(self, sensor: Ints) -> None:
        """Take the 90th percentile of the first 30 s as the empty aisle."""
        young = sensor[self._ticks[sensor] < BASE_TICKS]
        if not len(young):
            return
        self._first[self._ticks[young], young] = self._ring[2, young]
        self._ticks[young] += 1
        ready = young[self._ticks[young] == BASE_TICKS]
        if len(ready):
            self.base_mm[ready] = np.percentile(self._first[:, ready], 90, axis=0)

    def _follow(self, value: Floats, fresh: NDArray[np.bool_]) -> None:
        """Follow the empty aisle while nobody is there, and a moved display very slowly."""
        gap = value - self.base_mm
        rate = np.where(gap > 0, 0.05, 0.01)
        rate = np.where(self.is_present, np.where(gap < 0, 0.0005, 0.0), rate)
        self.base_mm = np.where(fresh, self.base_mm + rate * gap, self.base_mm)
