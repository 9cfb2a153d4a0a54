"""What the position filter knows of a store: matrices made once, in float32.

Rules of the file: everything is laid out (cells, …), relative to the middle of the
cells and to `REFERENCE_DBM`, so that float32 sums stay small. Constants were chosen
on recordings, see ``docs/method.md``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.bands import ROWS, Bands, in_bands
from analytics.cells import CellGrid, TransitionBands, transition_bands
from analytics.radio_map import RadioMap

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

REFERENCE_DBM = -75.0
"""RSSI is held relative to this, so that float32 sums stay small."""
SIGMA_LIVE_M = 1.4
"""Walk per square root of a second, live: wide, so that a late track catches up."""
SIGMA_FINAL_M = 0.9
"""The same for the corrected belief, which sees what comes and may be narrow."""
TILE_M = 2.0
"""A tag's offset is held per tile of this edge: as good as per cell, at a third of the cost."""
TOLERANCE = 1e-5
"""Smaller chances of a move are left out; a restart anywhere weighs about as much."""
TAP_NATS = 6.0
"""A tap counts as this much evidence (e^6 = 400 to 1) for the zone of its reader."""
ENTRANCE_SHARE = 0.3
"""Part of a new tag's belief that is laid on the entrances."""
_FLOOR_ROWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Everything fixed of a store.

    Attributes
    ----------
    receivers, cells, tiles, floors : int
    inverse_noise : float [1/dB²]
    forward : (cells, cells), Tᵀ of the live walk, less the restart anywhere
    restart : shape (cells, 1), what the restart anywhere adds in each tick
    backward : (cells, cells), T of the corrected walk, less the restart anywhere
    anywhere : shape (1, cells), where a restart leads, times its share
    moments : shape (2 receivers, cells), expected level and its square
    evidence : shape (2 cells, 2 receivers), from weighted levels to log likelihood
    prior : shape (cells, 1), where a tag may be of which nothing is known
    start : shape (cells, 1), where a tag may be that is heard for the first time
    tile_of : shape (cells,), int64, tile of each cell
    tile_sums : (tiles, cells), adds up cells to tiles
    tile_moves : (tiles, tiles), Tᵀ between tiles, less the restart anywhere
    tile_restart : shape (tiles, 1), what the restart adds to each tile
    origin_m : (x, y), middle of the cells, to which x and y of the readout are relative
    readout : shape (places + zones + shelves, cells): x, y, x² and y² (with several floors:
        1, x, y, x², y² of each), the zones' shares of a cell, and 1 for cells from which a
        shelf can be reached
    """

    receivers: int
    cells: int
    tiles: int
    floors: int
    inverse_noise: float
    forward: Bands
    restart: F32
    backward: Bands
    anywhere: F32
    moments: F32
    evidence: F32
    prior: F32
    start: F32
    tile_of: NDArray[np.int64]
    tile_sums: Bands
    tile_moves: Bands
    tile_restart: F32
    origin_m: tuple[float, float]
    readout: F32

    @property
    def place_rows(self) -> int:
        """Rows of the readout that tell the place."""
        return place_rows(self.floors)


def place_rows(floors: int) -> int:
    """Return how many rows of a readout tell the place, for a number of floors."""
    return 4 if floors == 1 else _FLOOR_ROWS * floors


def build_model(
    grid: CellGrid,
    radio_map: RadioMap,
    *,
    tick_s: float,
    reach: F64 | None = None,
    entrance: F64 | None = None,
    floors: int = 1,
) -> Model:
    """Prepare the matrices of the filter.

    Parameters
    ----------
    grid : the cells
    radio_map : expected levels in these cells
    tick_s : float [s], > 0
    reach : shape (shelves, cells), 1 where a shelf can be reached from, else 0
    entrance : shape (cells,), share of each cell that is entrance, if there is one
    floors : int, floors of the store

    Raises
    ------
    ValueError
        The radio map belongs to other cells.
    """
    level = radio_map.mean_dbm - REFERENCE_DBM
    cells, receivers = level.shape
    if cells != len(grid):
        raise ValueError(f"the radio map has {cells} cells, the store has {len(grid)}")
    w = 1.0 / radio_map.noise_db**2
    zero = np.zeros_like(level)
    evidence = np.block([[level * w, -0.5 * level**2 * w], [zero, -level * w]])
    origin = (float(grid.x_m.mean()), float(grid.y_m.mean()))
    if reach is None:
        reach = np.empty((0, cells))
    readout = np.concatenate([_places(grid, origin, floors), grid.zone_share, reach])
    scale = np.sqrt(tick_s)
    prior = grid.weight / grid.weight.sum()
    forward, backward = (
        transition_bands(
            grid, sigma_m * scale, tick_s=tick_s, tolerance=TOLERANCE, rows=ROWS, transposed=turned
        )
        for sigma_m, turned in ((SIGMA_LIVE_M, True), (SIGMA_FINAL_M, False))
    )
    tile_of = _tiles(grid)
    sums = np.zeros((int(tile_of.max()) + 1, cells))
    sums[tile_of, np.arange(cells)] = 1.0
    restart = forward.restart.astype(np.float64)
    return Model(
        receivers=receivers,
        cells=cells,
        tiles=len(sums),
        floors=floors,
        inverse_noise=w,
        forward=_bands(forward),
        restart=_f32(restart[:, None]),
        backward=_bands(backward),
        anywhere=_f32(restart[None]),
        moments=_f32(np.concatenate([level.T, level.T**2])),
        evidence=_f32(evidence),
        prior=_f32(prior[:, None]),
        start=_f32(_start(prior, entrance)[:, None]),
        tile_of=tile_of,
        tile_sums=in_bands(sums, rows=16),
        tile_moves=in_bands(_tile_moves(forward, tile_of, prior), tolerance=TOLERANCE),
        tile_restart=_f32(sums @ restart[:, None]),
        origin_m=origin,
        readout=_f32(readout),
    )


def _bands(transition: TransitionBands) -> Bands:
    return Bands(shape=transition.shape, blocks=transition.blocks, more=transition.crossing)


def _f32(values: F64) -> F32:
    return np.ascontiguousarray(values, dtype=np.float32)


def _places(grid: CellGrid, origin: tuple[float, float], floors: int) -> F64:
    x, y = grid.x_m - origin[0], grid.y_m - origin[1]
    if floors == 1:
        return np.stack([x, y, x**2, y**2])
    rows = np.stack([np.ones_like(x), x, y, x**2, y**2])
    here = grid.floor == np.arange(floors)[:, None]
    by_floor: F64 = (rows * here[:, None]).reshape(_FLOOR_ROWS * floors, len(x))
    return by_floor


def _start(prior: F64, entrance: F64 | None) -> F64:
    """Return where new tags may be: most come in by an entrance, some were not heard there."""
    at_entrance = prior * (0.0 if entrance is None else entrance)
    if at_entrance.sum() <= 0:
        return prior
    mixed: F64 = (1 - ENTRANCE_SHARE) * prior + ENTRANCE_SHARE * at_entrance / at_entrance.sum()
    return mixed


def _tiles(grid: CellGrid) -> NDArray[np.int64]:
    """Return the tile of each cell, numbered in the order of their first cell."""
    edge = max(TILE_M, grid.cell_m)
    x = np.floor((grid.x_m - grid.x_m.min()) / edge + 1e-6)
    y = np.floor((grid.y_m - grid.y_m.min()) / edge + 1e-6)
    key = (grid.floor.astype(np.float64) * 1_000_003 + x) * 1_000_003 + y
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.ravel()]


def _tile_moves(forward: TransitionBands, tile_of: NDArray[np.int64], prior: F64) -> F64:
    """Return the chance to come from one tile to another, shape (to, from), rows to columns."""
    tiles = int(tile_of.max()) + 1
    moves = np.zeros((tiles, tiles))
    for row, row_end, column, column_end, values in (*forward.blocks, *forward.crossing):
        leaving = np.zeros((tiles, row_end - row))
        np.add.at(leaving, tile_of[column:column_end], (values * prior[column:column_end]).T)
        np.add.at(moves, tile_of[row:row_end], leaving.T)
    found: F64 = moves / np.bincount(tile_of, prior)
    return found
