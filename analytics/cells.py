"""How people move on the cells of a store: chances per tick, dense or in bands, and walks.

Positions, zones and movements all live on the same cells (`analytics.cell_grid`), so they
can never disagree. The diffusion round obstacles (small Gaussian steps weighted by how
walkable the target is, to the n-th power) is measured in ``docs/method.md``. People change
floor on stairs and lifts alone, but for the few who restart anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cell_grid import (
    OBSTACLE_WEIGHT,
    CellGrid,
    Links,
    build_cells,
    connection_cells,
    neighbours,
)
from analytics.cell_walks import walking_distances

__all__ = [
    "FLOOR_CHANGE",
    "OBSTACLE_WEIGHT",
    "TELEPORT",
    "CellGrid",
    "Links",
    "TransitionBands",
    "build_cells",
    "connection_cells",
    "neighbours",
    "transition_bands",
    "transition_matrix",
    "walking_distances",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Block = tuple[int, int, int, int, F32]
"""First and last row, first and last column (lasts excluded), and the values."""

TELEPORT = 1e-3
"""Share of the belief that restarts anywhere in each tick, so that a lost track recovers."""
FLOOR_CHANGE = 0.25
"""Share of those on stairs or in a lift who are on another floor a second later."""
BAND_ROWS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionBands:
    """A transition without its small entries, as dense blocks along the diagonal.

    T = blocks + crossing + restart (in every row), and its rows sum to 1. If transposed,
    blocks and crossing are those of Tᵀ, and the restart belongs into every column.

    Attributes
    ----------
    shape : (cells, cells)
    blocks : within floors; every row is in exactly one of them, in order
    crossing : from floor to floor; their products are to be added
    restart : shape (cells,), float32, where those are who restart anywhere; sums to `TELEPORT`
    """

    shape: tuple[int, int]
    blocks: tuple[Block, ...]
    crossing: tuple[Block, ...]
    restart: F32


def transition_matrix(grid: CellGrid, sigma_m: float, *, tick_s: float = 1.0) -> F64:
    """Return the chance to go from one cell to another within one tick.

    Parameters
    ----------
    grid : the cells
    sigma_m : float [m], > 0. Standard deviation of the walk per tick and axis
    tick_s : float [s], > 0, for the share of those who change floor

    Returns
    -------
    T : shape (cells, cells), float64, T[i, j] from i to j, rows sum to 1

    Notes
    -----
    n steps of a Gaussian of sd sigma / sqrt(n), targets weighted by walkability, rows
    normalised, to the n-th power with n = max(2, (sigma / 0.7 h)²): steps shorter than a
    cell cannot jump through a wall, so the belief flows round obstacles. Then a share of
    those on a connection takes it.
    """
    steps, step_m = _steps(grid, sigma_m)
    moved = np.zeros((len(grid), len(grid)))
    for floor in np.unique(grid.floor).tolist():
        here = grid.cells_of(floor)
        kernel = _kernel(grid, here, here, step_m)
        kernel /= kernel.sum(1, keepdims=True)
        moved[here, here] = np.linalg.matrix_power(kernel, steps)
    if len(grid.links):
        start, end, share = _taken(grid, tick_s)
        leaving = moved[:, start] * share
        moved[:, np.unique(start)] *= (1 - FLOOR_CHANGE) ** tick_s
        np.add.at(moved.T, end, leaving.T)
    mixed: F64 = (1 - TELEPORT) * moved + _restart(grid)
    return mixed


def transition_bands(
    grid: CellGrid,
    sigma_m: float,
    *,
    tick_s: float = 1.0,
    tolerance: float = 1e-6,
    rows: int = BAND_ROWS,
    transposed: bool = False,
) -> TransitionBands:
    """Return the chances of `transition_matrix` in bands, never holding cells × cells.

    Parameters
    ----------
    grid : the cells
    sigma_m, tick_s : as there
    tolerance : float, > 0. A block reaches as far as it has larger entries
    rows : int, > 0, most rows of a block
    transposed : the bands of Tᵀ, to move beliefs forward

    Notes
    -----
    Rows are normalised again after small entries are left out, so mass is conserved. Powers
    come from squaring band by band; with steps of 0.7 cells entries fall below the
    tolerance 5 sigma away, whatever the size of the store.
    """
    steps, step_m = _steps(grid, sigma_m)
    within: list[Block] = []
    for floor in np.unique(grid.floor).tolist():
        within += _power(_one_step(grid, grid.cells_of(floor), step_m, tolerance, rows), steps,
                         tolerance / 100)  # fmt: skip
    within = [_trimmed(block, tolerance) for block in within]
    crossing: list[Block] = []
    if len(grid.links):
        within, crossing = _with_links(grid, within, tick_s, tolerance)
    if transposed:
        edges = [(row, row_end) for row, row_end, *_ in within]
        within, crossing = (
            [_trimmed(each, tolerance) for edge in edges for each in _turned(blocks, edge)]
            for blocks in (within, crossing)
        )
    _normalise([*within, *crossing], len(grid), axis=0 if transposed else 1)
    return TransitionBands(
        shape=(len(grid), len(grid)),
        blocks=tuple(within),
        crossing=tuple(crossing),
        restart=_restart(grid).astype(np.float32),
    )


def _steps(grid: CellGrid, sigma_m: float) -> tuple[int, float]:
    """Return how many small steps a tick has, and their standard deviation."""
    steps = max(2, round((sigma_m / (0.7 * grid.cell_m)) ** 2))
    return steps, sigma_m / float(np.sqrt(steps))


def _kernel(grid: CellGrid, rows: slice, columns: slice, step_m: float) -> F64:
    d2 = (
        np.subtract.outer(grid.x_m[rows], grid.x_m[columns]) ** 2
        + np.subtract.outer(grid.y_m[rows], grid.y_m[columns]) ** 2
    )
    weighted: F64 = np.exp(-0.5 * d2 / step_m**2) * grid.weight[columns]
    return weighted


def _restart(grid: CellGrid) -> F64:
    anywhere: F64 = TELEPORT * grid.weight / grid.weight.sum()
    return anywhere


def _taken(grid: CellGrid, tick_s: float) -> tuple[NDArray[np.int32], NDArray[np.int32], F64]:
    """Return the links and which share of those at their start takes them in a tick."""
    share = (1 - (1 - FLOOR_CHANGE) ** tick_s) * grid.links.share
    return grid.links.start, grid.links.end, share


def _one_step(
    grid: CellGrid, here: slice, step_m: float, tolerance: float, rows: int
) -> list[Block]:
    """Return the bands of one small step on a floor."""
    along = grid.lattice[here, 0]
    # A centre lies within its square, so squares this far apart are out of reach.
    reach = int(step_m * np.sqrt(2 * np.log(1e4 / tolerance)) / grid.cell_m) + 2
    blocks = []
    for row in range(here.start, here.stop, rows):
        row_end = min(row + rows, here.stop)
        near = [grid.lattice[row, 0] - reach, grid.lattice[row_end - 1, 0] + reach + 1]
        column, column_end = (here.start + np.searchsorted(along, near)).tolist()
        kernel = _kernel(grid, slice(row, row_end), slice(column, column_end), step_m)
        kernel /= kernel.sum(1, keepdims=True)
        values = kernel.astype(np.float32)
        blocks.append(_trimmed((row, row_end, column, column_end, values), tolerance / 100))
    return blocks


def _power(base: list[Block], exponent: int, tolerance: float) -> list[Block]:
    found: list[Block] | None = None
    while exponent:
        if exponent % 2:
            found = base if found is None else _product(found, base, tolerance)
        exponent //= 2
        if exponent:
            base = _product(base, base, tolerance)
    assert found is not None, "there is one step at least"
    return found


def _product(left: list[Block], right: list[Block], tolerance: float) -> list[Block]:
    """Multiply two bands of one floor."""
    found = []
    for row, row_end, column, column_end, values in left:
        met = [other for other in right if other[0] < column_end and other[1] > column]
        first, end = min(other[2] for other in met), max(other[3] for other in met)
        total = np.zeros((row_end - row, end - first), np.float32)
        for start, stop, near, far, theirs in met:
            low, high = max(start, column), min(stop, column_end)
            part = values[:, low - column : high - column]
            total[:, near - first : far - first] += part @ theirs[low - start : high - start]
        found.append(_trimmed((row, row_end, first, end, total), tolerance))
    return found


def _trimmed(block: Block, tolerance: float) -> Block:
    """Leave out columns at both ends that have nothing above a tolerance."""
    row, row_end, column, _, values = block
    used = np.flatnonzero(values.max(axis=0) > tolerance)
    first, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    kept = np.ascontiguousarray(values[:, first:end])
    return row, row_end, column + first, column + end, kept


def _normalise(blocks: list[Block], cells: int, *, axis: int) -> None:
    """Scale in place, so that what leaves each cell is all but the restart."""
    total = np.zeros(cells)
    places = [slice(*block[2:4]) if axis == 0 else slice(*block[:2]) for block in blocks]
    for place, block in zip(places, blocks, strict=True):
        total[place] += block[4].sum(axis=axis, dtype=np.float64)
    scale = ((1 - TELEPORT) / total).astype(np.float32)
    for place, block in zip(places, blocks, strict=True):
        values = block[4]
        values *= scale[place] if axis == 0 else scale[place, None]


def _with_links(
    grid: CellGrid, within: list[Block], tick_s: float, tolerance: float
) -> tuple[list[Block], list[Block]]:
    start, end, share = _taken(grid, tick_s)
    crossing: list[Block] = []
    for row, row_end, column, column_end, values in within:
        here = (start >= column) & (start < column_end)
        at, to = start[here] - column, end[here]
        leaving = values[:, at] * share[here].astype(np.float32)
        values[:, np.unique(at)] *= np.float32((1 - FLOOR_CHANGE) ** tick_s)
        for floor in np.unique(grid.floor[to]).tolist():
            there = grid.floor[to] == floor
            first, last = int(to[there].min()), int(to[there].max())
            arriving = np.zeros((row_end - row, last + 1 - first), np.float32)
            np.add.at(arriving.T, to[there] - first, leaving[:, there].T)
            if arriving.max() > tolerance:
                crossing.append(_trimmed((row, row_end, first, last + 1, arriving), tolerance))
    return within, crossing


def _turned(blocks: list[Block], edge: tuple[int, int]) -> Iterator[Block]:
    """Yield the rows from edge to edge of the transposed bands, a block for each stretch."""
    low, high = edge
    met = [block for block in blocks if block[2] < high and block[3] > low]
    while met:
        # Blocks whose rows follow each other join to one; a gap is a floor in between.
        count = next((i for i in range(1, len(met)) if met[i][0] > met[i - 1][1]), len(met))
        part, met = met[:count], met[count:]
        first, end = part[0][0], part[-1][1]
        values = np.zeros((high - low, end - first), np.float32)
        for row, row_end, column, column_end, theirs in part:
            a, b = max(low, column), min(high, column_end)
            rows = slice(row - first, row_end - first)
            values[a - low : b - low, rows] += theirs[:, a - column : b - column].T
        yield low, high, first, end, values
