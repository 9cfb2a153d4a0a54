"""The floor as cells: where one can walk, which zone a cell belongs to, how people move.

A store is cut into square cells; a cell that lies mostly in walls or furniture is
kept with a small weight, so that a wrong plan leaves a way out. Positions, zones
and movements all live on these cells, so they can never disagree.

The diffusion round obstacles (small Gaussian steps weighted by how walkable the
target is, to the n-th power) is measured in ``docs/method.md``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.geometry import points_in_polygon
from analytics.store import Store

OBSTACLE_WEIGHT = 0.1
"""Weight of a cell that lies mostly in an obstacle; 0.02 to 0.1 score alike on recordings."""
FREE_SHARE = 0.35
"""A cell is free when more than this share of it is neither wall nor furniture."""
SUBPOINTS = 9
"""A cell is judged by 9 × 9 points."""
TELEPORT = 1e-3
"""Share of the belief that restarts anywhere in each tick, so that a lost track recovers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGrid:
    """The cells of a store.

    Attributes
    ----------
    cell_m : float [m], edge of a cell
    x_m, y_m : shape (cells,), float64 [m], centre of the walkable part
    weight : shape (cells,), float64 [0-1], 1 = free, `OBSTACLE_WEIGHT` = blocked
    zone_share : shape (zones, cells), float64 [0-1], share of a cell that lies in a zone
    """

    cell_m: float
    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    weight: NDArray[np.float64]
    zone_share: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.x_m)

    @property
    def area_m2(self) -> float:
        """Walkable area [m²]."""
        return float((self.weight >= 1).sum()) * self.cell_m**2


def build_cells(store: Store) -> CellGrid:
    """Cut a store into cells.

    Parameters
    ----------
    store : with ``cell_m``, outline, obstacles and zones

    Returns
    -------
    grid : cells whose square touches the outline, row by row from the lower left

    Raises
    ------
    ValueError
        The outline would need more than 20,000 cells (the message proposes a cell size).
    """
    outline = np.asarray(store.outline_m)
    low, high = outline.min(0), outline.max(0)
    h = store.cell_m
    nx, ny = np.maximum(np.ceil((high - low) / h - 1e-6).astype(int), 1)
    if nx * ny > 20_000:
        larger = h * float(np.sqrt(nx * ny / 10_000))
        raise ValueError(
            f"store '{store.id}': cells of {h} m would be {nx * ny}; expected at most 20000, "
            f"set radio.cell_m to {larger:.1f} or more"
        )
    sub = (np.arange(SUBPOINTS) + 0.5) / SUBPOINTS * h
    sx = np.add.outer(low[0] + np.arange(nx) * h, sub).ravel()
    sy = np.add.outer(low[1] + np.arange(ny) * h, sub).ravel()
    px, py = (a.ravel() for a in np.meshgrid(sx, sy))
    inside = points_in_polygon(px, py, outline)
    free = inside.copy()
    for obstacle in store.obstacles:
        free &= ~points_in_polygon(px, py, obstacle.polygon_m)

    def per_cell(values: NDArray[np.generic]) -> NDArray[np.float64]:
        blocks = values.astype(np.float64).reshape(ny, SUBPOINTS, nx, SUBPOINTS)
        sums: NDArray[np.float64] = blocks.sum(axis=(1, 3))
        return sums.ravel()

    n_inside, n_free = per_cell(inside), per_cell(free)
    keep = n_inside > 0
    # A cell's mass sits on its walkable part; a blocked one keeps its whole square.
    basis = np.where(n_free > 0, n_free, np.maximum(n_inside, 1))
    chosen = free | (
        inside
        & np.repeat(
            np.repeat((n_free == 0).reshape(ny, nx), SUBPOINTS, axis=0), SUBPOINTS, axis=1
        ).ravel()
    )
    centre_x = per_cell(np.where(chosen, px, 0.0)) / basis
    centre_y = per_cell(np.where(chosen, py, 0.0)) / basis
    shares = [
        per_cell(chosen & points_in_polygon(px, py, zone.polygon_m)) / basis for zone in store.zones
    ]
    return CellGrid(
        cell_m=h,
        x_m=centre_x[keep],
        y_m=centre_y[keep],
        weight=np.where(n_free[keep] > FREE_SHARE * n_inside[keep], 1.0, OBSTACLE_WEIGHT),
        zone_share=np.array([share[keep] for share in shares]).reshape(len(shares), keep.sum()),
    )


def transition_matrix(grid: CellGrid, sigma_m: float) -> NDArray[np.float64]:
    """Return the chance to go from one cell to another within one tick.

    Parameters
    ----------
    grid : the cells
    sigma_m : float [m], > 0. Standard deviation of the walk per tick and axis

    Returns
    -------
    T : shape (cells, cells), float64, T[i, j] from i to j, rows sum to 1

    Notes
    -----
    n steps of a Gaussian of sd sigma / sqrt(n), targets weighted by walkability, rows
    normalised, to the n-th power with n = max(2, (sigma / 0.7 h)²): steps shorter than a
    cell cannot jump through a wall, so the belief flows round obstacles.
    """
    n = max(2, round((sigma_m / (0.7 * grid.cell_m)) ** 2))
    step = sigma_m / np.sqrt(n)
    d2 = np.subtract.outer(grid.x_m, grid.x_m) ** 2 + np.subtract.outer(grid.y_m, grid.y_m) ** 2
    kernel = np.exp(-0.5 * d2 / step**2) * grid.weight[None, :]
    kernel /= kernel.sum(1, keepdims=True)
    moved = np.linalg.matrix_power(kernel, n)
    mixed: NDArray[np.float64] = (1 - TELEPORT) * moved + TELEPORT * grid.weight / grid.weight.sum()
    return mixed


def walking_distances(grid: CellGrid) -> NDArray[np.float64]:
    """Return the length of the shortest walk between any two cells.

    Parameters
    ----------
    grid : the cells; blocked ones cost ten times their length

    Returns
    -------
    distance_m : shape (cells, cells), float64 [m], inf where there is no way

    Notes
    -----
    Floyd and Warshall on the graph of cells closer than 1.5 cells (8 neighbours).
    """
    d = np.hypot(np.subtract.outer(grid.x_m, grid.x_m), np.subtract.outer(grid.y_m, grid.y_m))
    cost = np.where(grid.weight >= 1, 1.0, 10.0)
    reach = np.where(d <= 1.6 * grid.cell_m, d * np.maximum.outer(cost, cost), np.inf)
    np.fill_diagonal(reach, 0.0)
    via = np.empty_like(reach)
    for k in range(len(grid)):
        np.add(reach[:, k, None], reach[None, k, :], out=via)
        np.minimum(reach, via, out=reach)
    return reach
