"""Walking distances over the cells of a store, round obstacles and over stairs.

Rules of the file: a step goes to one of the eight squares round a cell; a mostly blocked
cell costs ten times its length; stairs and lifts cost their straight length. Distances are
relaxed line by line over each floor, there and back (fast sweeping, Zhao 2005, with the
edges of a graph for the upwind scheme), for many sources at once.
"""

import numpy as np
from numpy.typing import NDArray

from analytics.cell_grid import CellGrid

F64 = NDArray[np.float64]

BLOCKED_COST = 10.0
_GAP_M = 1e7
"""More than any walk: how far it is across a square that is no cell."""
_SETTLED_M = 1e-6


def walking_distances(grid: CellGrid, sources: NDArray[np.integer] | None = None) -> F64:
    """Return the length of the shortest walk from some cells to all.

    Parameters
    ----------
    grid : the cells; blocked ones cost ten times their length
    sources : shape (sources,), int, cells; all of them if not given

    Returns
    -------
    distance_m : shape (sources, cells), float64 [m], inf where there is no way
    """
    begin = np.arange(len(grid)) if sources is None else np.asarray(sources, np.int64)
    floors = [_FloorWalk(grid, floor, len(begin)) for floor in np.unique(grid.floor).tolist()]
    found = np.full((len(begin), len(grid)), np.inf)
    found[np.arange(len(begin)), begin] = 0.0
    start, end, length = grid.links.start, grid.links.end, grid.links.length_m
    while True:
        before = found.copy()
        for each in floors:
            found[:, each.cells] = each.settled(found[:, each.cells])
        if len(start):
            np.minimum.at(found.T, end, found[:, start].T + length[:, None])
        if len(floors) == 1 or not (found < before - _SETTLED_M).any():
            return found


class _FloorWalk:
    """The squares of one floor as lines across it, padded by a square without a cell."""

    def __init__(self, grid: CellGrid, floor: int, sources: int) -> None:
        self.cells = grid.cells_of(floor)
        along, across = grid.lattice[self.cells].T
        along = along - along.min()
        lines, width = along.max() + 1, across.max() + 3
        self._at = (along, across + 1)
        self._sources = sources
        x, y, cost = (np.full((lines, width), np.nan) for _ in range(3))
        x[self._at], y[self._at] = grid.x_m[self.cells], grid.y_m[self.cells]
        cost[self._at] = np.where(grid.weight[self.cells] >= 1, 1.0, BLOCKED_COST)

        def edge(a: tuple[slice, slice], b: tuple[slice, slice]) -> F64:
            length: F64 = np.hypot(x[a] - x[b], y[a] - y[b]) * np.maximum(cost[a], cost[b])
            return np.where(np.isnan(length), np.inf, length)

        middle, all_of = slice(1, -1), slice(None)
        # Edges from a line to the next: straight on, and to either side.
        self._next = [
            edge(
                (slice(None, -1), slice(1 + side, width - 1 + side)),
                (slice(1, None), middle),
            )
            for side in (-1, 0, 1)
        ]
        self._back = [
            edge(
                (slice(1, None), slice(1 + side, width - 1 + side)),
                (slice(None, -1), middle),
            )
            for side in (-1, 0, 1)
        ]
        across_m = edge((all_of, slice(None, -1)), (all_of, slice(1, None)))
        across_m = np.where(np.isinf(across_m), _GAP_M, across_m)
        self._across = np.concatenate([np.zeros((lines, 1)), across_m.cumsum(axis=1)], axis=1)
        self._missing = np.isnan(x)

    def settled(self, distance: F64) -> F64:
        """Return the shortest walks on this floor from where distances are known."""
        lines, width = self._missing.shape
        d = np.full((lines, self._sources, width), np.inf)
        d[self._at[0], :, self._at[1]] = distance.T
        if np.isinf(distance).all():
            return distance
        while True:
            before = d.copy()
            self._along(d, 0)
            for line in range(1, lines):
                self._step(d, line, line - 1, self._next, line - 1)
            for line in range(lines - 2, -1, -1):
                self._step(d, line, line + 1, self._back, line)
            if not (d < before - _SETTLED_M).any():
                # Padding and a walk across it are no places: they are read by nobody.
                settled: F64 = d[self._at[0], :, self._at[1]].T
                return np.where(settled < _GAP_M / 2, settled, np.inf)

    def _step(self, d: F64, line: int, last: int, edges: list[F64], at: int) -> None:
        inner = d[line][:, 1:-1]
        width = d.shape[2]
        for side, edge in zip((-1, 0, 1), edges, strict=True):
            np.minimum(inner, d[last][:, 1 + side : width - 1 + side] + edge[at], out=inner)
        self._along(d, line)

    def _along(self, d: F64, line: int) -> None:
        """Relax within a line in both directions: a running minimum of distance less way."""
        way, here = self._across[line], d[line]
        up = np.minimum.accumulate(here - way, axis=1) + way
        down = np.minimum.accumulate((here + way)[:, ::-1], axis=1)[:, ::-1] - way
        relaxed = np.minimum(up, down)
        # Sums of long ways round off; only a real gain counts.
        better = (relaxed < here - 1e-9) & ~self._missing[line] & (relaxed < _GAP_M / 2)
        np.copyto(here, relaxed, where=better)
