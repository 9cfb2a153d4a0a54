"""Where people spent their time: person-seconds per cell and quarter of an hour.

The corrected belief of every tag is added up cell by cell, not its most probable
place, so a map is as blurred as the positions are uncertain and its sum is the time that
people were there. Rules of the file: what is noted becomes whole numbers of `GRAINS`,
so the sums do not depend on the order or portions in which blocks come; quarters of an
hour are aligned to the epoch; a cell's row names the middle of its square.
"""

import numpy as np
from numpy.typing import NDArray

from analytics.cell_grid import CellGrid
from analytics.rows import Heat
from analytics.store import Store

QUARTER_NS = 900 * 10**9
LEAST_S = 0.05
"""Cells with less than this are left out."""
GRAINS = 1 << 24
"""Parts into which a tick is cut: 64 blocks lose at most 2 ms per cell in a quarter."""


class HeatMap:
    """Collects beliefs, gives the rows of quarters of an hour that are complete.

    Parameters
    ----------
    store : floors and rules
    grid : its cells

    Examples
    --------
    >>> import numpy as np
    >>> from analytics.cell_grid import build_cells
    >>> from analytics.store import Store
    >>> box = ((0, 0), (2, 0), (2, 1), (0, 1))
    >>> store = Store(id="s", name="S", timezone="UTC", outline_m=box, receivers=())
    >>> heat = HeatMap(store, build_cells(store))
    >>> for tick in range(60):
    ...     heat.note(tick, np.array([0.75, 0.25]))
    >>> [(row.x_m, row.person_s) for row in heat.advance(900 * 10**9)]
    [(0.5, 45.0), (1.5, 15.0)]
    """

    def __init__(self, store: Store, grid: CellGrid) -> None:
        self._tick_ns = store.rules.tick_ns
        self._tick_s = store.rules.tick_s
        self._floors = [floor.id for floor in store.floors]
        self._floor = np.asarray(grid.floor)
        self._x_m, self._y_m = _middles(store, grid)
        self._sums: dict[int, NDArray[np.int64]] = {}
        self._emitted = -(1 << 60)

    def note(self, tick: int, cell_ticks: NDArray[np.floating]) -> None:
        """Add the corrected belief of some lanes in one tick.

        Parameters
        ----------
        tick : int
        cell_ticks : shape (cells,), float [ticks], sum over lanes of belief × weight, where
            the weight is that of `analytics.crowd_estimates.CrowdEstimates.note`
        """
        quarter = tick * self._tick_ns // QUARTER_NS
        if quarter <= self._emitted:
            return
        grains = np.rint(np.asarray(cell_ticks, np.float64) * GRAINS).astype(np.int64)
        if quarter in self._sums:
            self._sums[quarter] += grains
        else:
            self._sums[quarter] = grains

    def advance(self, settled_ns: int) -> list[Heat]:
        """Give the rows of all quarters of an hour that are complete.

        Parameters
        ----------
        settled_ns : int [ns], everything before is noted

        Returns
        -------
        rows : in order of time, floor and cell; `person_s` in tenths of a second
        """
        last = settled_ns // QUARTER_NS - 1
        rows: list[Heat] = []
        for quarter in sorted(q for q in self._sums if q <= last):
            rows += self._rows(quarter, self._sums.pop(quarter))
        self._emitted = max(self._emitted, last)
        return rows

    def _rows(self, quarter: int, grains: NDArray[np.int64]) -> list[Heat]:
        person_s = grains / GRAINS * self._tick_s
        return [
            Heat(
                t_ns=(quarter + 1) * QUARTER_NS,
                floor=self._floors[self._floor[cell]],
                x_m=float(self._x_m[cell]),
                y_m=float(self._y_m[cell]),
                person_s=round(float(person_s[cell]), 1),
            )
            for cell in np.flatnonzero(person_s >= LEAST_S).tolist()
        ]


def _middles(store: Store, grid: CellGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle of each cell's square [m], rounded to millimetres."""
    low = np.array([np.asarray(store.outline_of(floor.id)).min(0) for floor in store.floors])
    place = np.stack([grid.x_m, grid.y_m], axis=1) - low[grid.floor]
    middle = (np.floor(place / grid.cell_m) + 0.5) * grid.cell_m + low[grid.floor]
    x_m, y_m = np.round(middle, 3).T
    return x_m, y_m
