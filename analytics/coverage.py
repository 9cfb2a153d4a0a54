"""What a radio map promises: who is heard where, and how well that tells places apart.

The expected error is the Cramér-Rao bound (Kay 1993, eq. 3.31) of a place from levels
whose common offset is unknown, for a tag that stands for `STAND_S` on a known floor, with
what its size says added as a prior; a real filter does worse near walls and
better in motion. It compares cells and receivers, it is no promise of metres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid, neighbours
from analytics.radio_map import RadioMap

F64 = NDArray[np.float64]

AUDIBLE_DBM = -90.0
"""Receivers lose most packets of weaker tags."""
HOLE_RECEIVERS = 3
"""Fewer audible receivers than this cannot tell a place and a tag's power."""
STAND_S = 5.0
IDLE_SHARE = 0.005
"""A receiver whose loss worsens the median error by less than this adds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What each cell and each receiver has.

    Attributes
    ----------
    heard : shape (cells,), int64, receivers above `AUDIBLE_DBM`
    error_m : shape (cells,), float64 [m], expected distance of a place from the true one
    audible_share : shape (receivers,), float64 [0-1], of the walkable cells
    gain : shape (receivers,), float64, by what share the median error grows without it
    """

    heard: NDArray[np.int64]
    error_m: F64
    audible_share: F64
    gain: F64


def judge_coverage(grid: CellGrid, radio_map: RadioMap) -> Coverage:
    """Judge a radio map cell by cell and receiver by receiver.

    Parameters
    ----------
    grid : the cells; if none is free, blocked ones count instead
    radio_map : expected levels in these cells
    """
    audible = radio_map.mean_dbm > AUDIBLE_DBM
    free = grid.weight >= 1
    free = free if free.any() else np.ones(len(grid), np.bool_)
    slope = _gradients(grid, radio_map.mean_dbm)
    error = _errors(grid, slope, audible, radio_map.noise_db)
    usual = float(np.median(error[free]))
    receivers = audible.shape[1]
    without = np.empty(receivers)
    for r in range(receivers):
        others = np.delete(np.arange(receivers), r)
        left = _errors(grid, slope[:, others], audible[:, others], radio_map.noise_db)
        without[r] = np.median(left[free])
    return Coverage(
        heard=audible.sum(axis=1),
        error_m=error,
        audible_share=audible[free].mean(axis=0),
        gain=without / usual - 1,
    )


def _gradients(grid: CellGrid, level: F64) -> F64:
    """Fit a plane of the levels through each cell's surroundings; shape (cells, receivers, 2)."""
    table = neighbours(grid)
    # The small ridge keeps a cell without neighbours to one side at a slope of zero there.
    normal = np.tile(1e-3 * grid.cell_m**2 * np.eye(2), (len(grid), 1, 1))
    change = np.zeros((len(grid), 2, level.shape[1]))
    for column in table.T:
        other = np.where(column >= 0, column, np.arange(len(grid)))
        step = np.stack([grid.x_m[other] - grid.x_m, grid.y_m[other] - grid.y_m], axis=1)
        normal += step[:, :, None] * step[:, None, :]
        change += step[:, :, None] * (level[other] - level)[:, None, :]
    slope: F64 = np.asarray(np.linalg.solve(normal, change), np.float64)
    return slope.transpose(0, 2, 1)


def _errors(grid: CellGrid, slope: F64, audible: NDArray[np.bool_], noise_db: float) -> F64:
    heard = audible[:, :, None].astype(np.float64)
    count = np.maximum(heard.sum(axis=1, keepdims=True), 1.0)
    centred = (slope - (slope * heard).sum(axis=1, keepdims=True) / count) * heard
    information = np.einsum("cri,crj->cij", centred, centred) * STAND_S / noise_db**2
    for floor in np.unique(grid.floor).tolist():
        here = grid.cells_of(floor)
        size = np.array([grid.x_m[here].var(), grid.y_m[here].var()]) + grid.cell_m**2 / 12
        information[here] += np.diag(1 / size)
    errors: F64 = np.sqrt(np.trace(np.linalg.inv(information), axis1=1, axis2=2))
    return errors
