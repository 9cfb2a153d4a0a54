"""The floors of a store cut into cells: which zone each belongs to, which lie side by side.

Every floor is cut into square cells. A cell without any walkable part is left out; one
that lies mostly in walls or furniture is kept with a small weight, so that a wrong plan
leaves a way out. Rules of the file: floors follow each other in the order of
`Store.floors`; within a floor cells run along the shorter side first, so that
neighbours are close in index; a connection is walkable whatever the plan has there.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.geometry import label_point, points_in_polygon
from analytics.store import Connection, Floor, Polygon, Store

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

OBSTACLE_WEIGHT = 0.1
"""Weight of a cell that lies mostly in an obstacle; 0.02 to 0.1 score alike on recordings."""
FREE_SHARE = 0.35
"""A cell is free when more than this share of it is neither wall nor furniture."""
SUBPOINTS = 9
"""A cell is judged by 9 × 9 points."""
CELLS_MOST = 20_000
_STEPS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def _no_index() -> I32:
    return np.empty(0, np.int32)


def _no_number() -> F64:
    return np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Ways from a cell of one floor to a cell of another.

    Attributes
    ----------
    start, end : shape (links,), int32, cells
    share : shape (links,), float64 [0-1]; of those who change floor in `start` so many go to
        `end`; they add up to 1 for each start
    length_m : shape (links,), float64 [m], straight length, the height included
    """

    start: I32 = field(default_factory=_no_index)
    end: I32 = field(default_factory=_no_index)
    share: F64 = field(default_factory=_no_number)
    length_m: F64 = field(default_factory=_no_number)

    def __len__(self) -> int:
        """Return the number of links."""
        return len(self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGrid:
    """The cells of a store.

    Attributes
    ----------
    cell_m : float [m], edge of a cell
    x_m, y_m : shape (cells,), float64 [m], centre of the walkable part
    weight : shape (cells,), float64 [0-1], 1 = free, `OBSTACLE_WEIGHT` = mostly blocked
    zone_share : shape (zones, cells), float64 [0-1], share of a cell that lies in a zone
    floor : shape (cells,), int16, index into `Store.floors`, non-decreasing
    lattice : shape (cells, 2), int32, number of the square along the longer side of its
        floor and across; cells of a floor are sorted by it
    links : stairs, lifts and escalators
    """

    cell_m: float
    x_m: F64
    y_m: F64
    weight: F64
    zone_share: F64
    floor: NDArray[np.int16]
    lattice: I32
    links: Links = field(default_factory=Links)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.x_m)

    @property
    def area_m2(self) -> float:
        """Walkable area [m²]."""
        return float((self.weight >= 1).sum()) * self.cell_m**2

    def cells_of(self, floor: int) -> slice:
        """Return where the cells of a floor are.

        Parameters
        ----------
        floor : index into `Store.floors`
        """
        start, stop = np.searchsorted(self.floor, [floor, floor + 1]).tolist()
        return slice(start, stop)


def build_cells(store: Store) -> CellGrid:
    """Cut a store into cells.

    Parameters
    ----------
    store : with ``cell_m``, floors, connections, outlines, obstacles and zones

    Returns
    -------
    grid : at least one cell; a zone outside of the outline or inside obstacles has none

    Raises
    ------
    ValueError
        The outlines would need more than 20,000 cells (the message proposes a cell size), or
        something stands on a floor that the store does not have.
    """
    cuts = [_Cut(store, floor) for floor in store.floors]
    squares = sum(cut.nx * cut.ny for cut in cuts)
    if squares > CELLS_MOST:
        larger = store.cell_m * float(np.sqrt(squares / (CELLS_MOST / 2)))
        raise ValueError(
            f"store '{store.id}': cells of {store.cell_m} m would be {squares}; expected at most "
            f"{CELLS_MOST}, set radio.cell_m to {larger:.1f} or more"
        )
    for name in (*(z.floor for z in store.zones), *(o.floor for o in store.obstacles)):
        store.floor_index(name)
    for cut in cuts:
        cut.judge(store)
    if not any(cut.keep.any() for cut in cuts):
        # Nowhere to walk: an answer in the wrong place beats none, so blocked cells stay.
        for cut in cuts:
            cut.keep_blocked()
    counts = [int(cut.keep.sum()) for cut in cuts]
    parts = [cut.kept() for cut in cuts]
    x_m, y_m, weight = (np.concatenate([part[i] for part in parts]) for i in range(3))
    lattice = np.concatenate([cut.order for cut in cuts])
    zone_share = np.zeros((len(store.zones), len(x_m)))
    first = np.cumsum([0, *counts])
    for at, zone in enumerate(store.zones):
        floor = store.floor_index(zone.floor)
        zone_share[at, first[floor] : first[floor + 1]] = cuts[floor].share_of(zone.polygon_m)
    return CellGrid(
        cell_m=store.cell_m,
        x_m=x_m,
        y_m=y_m,
        weight=weight,
        zone_share=zone_share,
        floor=np.repeat(np.arange(len(cuts), dtype=np.int16), counts),
        lattice=lattice,
        links=_links(store, cuts, first, np.stack([x_m, y_m], axis=1)),
    )


def neighbours(grid: CellGrid) -> I32:
    """Return the cells round each cell, those at its corners included.

    Parameters
    ----------
    grid : the cells

    Returns
    -------
    table : shape (cells, 8), int32, -1 = none. Column k and column 7 - k are opposite
    """
    table = np.full((len(grid), 8), -1, np.int32)
    for floor in np.unique(grid.floor).tolist():
        here = grid.cells_of(floor)
        along, across = grid.lattice[here].T
        index = np.full((along.max() + 3, across.max() + 3), -1, np.int32)
        index[along + 1, across + 1] = np.arange(here.start, here.stop)
        for k, (step, side) in enumerate(_STEPS):
            table[here, k] = index[along + 1 + step, across + 1 + side]
    return table


def connection_cells(store: Store, grid: CellGrid, connection: Connection) -> list[I32]:
    """Return the cells of a connection on each of its floors; none where it has no room.

    Parameters
    ----------
    store, grid : the store and its cells
    connection : one of the store's
    """
    found = []
    for end in connection.ends:
        floor = store.floor_index(end.floor)
        cut = _Cut(store, store.floors[floor])
        cut.judge(store)
        if not cut.keep.any():
            found.append(_no_index())
            continue
        found.append(cut.cells_in(end.rect_m) + np.int32(grid.cells_of(floor).start))
    return found


class _Cut:
    """One floor under the knife: 9 × 9 points per square, arrays of shape (ny · 9, nx · 9)."""

    def __init__(self, store: Store, floor: Floor) -> None:
        self._id = floor.id
        self._outline = np.asarray(floor.outline_m or store.outline_m, np.float64)
        self._low, high = self._outline.min(0), self._outline.max(0)
        self._h = store.cell_m
        extent = (high - self._low) / self._h
        self.nx, self.ny = (int(n) for n in np.maximum(np.ceil(extent - 1e-6), 1))

    def judge(self, store: Store) -> None:
        """Find which part of each square is walkable."""
        at = (np.arange(SUBPOINTS) + 0.5) / SUBPOINTS
        self._x = self._low[0] + np.add.outer(np.arange(self.nx), at).ravel() * self._h
        self._y = self._low[1] + np.add.outer(np.arange(self.ny), at).ravel() * self._h
        self._inside = self._within(self._outline)
        free = self._inside.copy()
        for obstacle in store.obstacles:
            if obstacle.floor == self._id:
                free &= ~self._within(obstacle.polygon_m)
        for connection in store.connections:
            for end in connection.ends:
                if end.floor == self._id:
                    free |= self._inside & self._within(_corners(end.rect_m))
        self._use(free)
        self.weight = np.where(
            self._count > FREE_SHARE * self._per_square(self._inside), 1.0, OBSTACLE_WEIGHT
        )

    def keep_blocked(self) -> None:
        """Keep what lies inside the outline though nobody can walk there."""
        self._use(self._inside)
        if not self.keep.any():
            # The outline slips between the points: its middle stands for all of it.
            middle = np.asarray(label_point(self._outline.tolist()))
            x, y = (np.abs(a - m).argmin() for a, m in zip((self._x, self._y), middle, strict=True))
            self._inside[y, x] = True
            self._use(self._inside)
        self.weight = np.full(self.keep.shape, OBSTACLE_WEIGHT)

    def kept(self) -> tuple[F64, F64, F64]:
        """Return x, y and weight of the cells that stay."""
        x, y = np.meshgrid(self._x, self._y)
        return self._mean(x), self._mean(y), self.weight[self._at]

    def share_of(self, polygon_m: Polygon) -> F64:
        """Return the share of each cell that lies in a polygon."""
        return self._mean(self._within(polygon_m))

    def cells_in(self, rect_m: tuple[float, float, float, float]) -> I32:
        """Return the cells that lie half in a rectangle, or the one with most of it."""
        share = self.share_of(_corners(rect_m))
        if share.max() < 0.5:
            return np.flatnonzero((share > 0) & (share == share.max()))[:1].astype(np.int32)
        return np.flatnonzero(share >= 0.5).astype(np.int32)

    def _use(self, chosen: NDArray[np.bool_]) -> None:
        """Let the cells be where these points are; their mass sits on them."""
        self._chosen = chosen
        self._count = self._per_square(chosen)
        self.keep = self._count > 0
        row, column = np.nonzero(self.keep)
        along, across = (column, row) if self.nx >= self.ny else (row, column)
        order = np.lexsort((across, along))
        self._at = (row[order], column[order])
        self.order = np.stack([along[order], across[order]], axis=1).astype(np.int32)

    def _within(self, polygon_m: Polygon | F64) -> NDArray[np.bool_]:
        corners = np.asarray(polygon_m, np.float64)
        found = np.zeros((len(self._y), len(self._x)), np.bool_)
        low, high = corners.min(0), corners.max(0)
        column = slice(*np.searchsorted(self._x, [low[0], high[0]], side="left").tolist())
        row = slice(*np.searchsorted(self._y, [low[1], high[1]], side="left").tolist())
        x, y = np.meshgrid(self._x[column], self._y[row])
        found[row, column] = points_in_polygon(x, y, corners)
        return found

    def _per_square(self, values: NDArray[np.generic]) -> F64:
        blocks = values.astype(np.float64).reshape(self.ny, SUBPOINTS, self.nx, SUBPOINTS)
        sums: F64 = blocks.sum(axis=(1, 3))
        return sums

    def _mean(self, values: NDArray[np.generic]) -> F64:
        total = self._per_square(np.where(self._chosen, values, 0))
        mean: F64 = total[self._at] / self._count[self._at]
        return mean


def _links(store: Store, cuts: list[_Cut], first: NDArray[np.int64], place_m: F64) -> Links:
    levels = [floor.level_m for floor in store.floors]
    start, end = [_no_index()], [_no_index()]
    height = [_no_number()]
    for connection in store.connections:
        ends = sorted(connection.ends, key=lambda e: levels[store.floor_index(e.floor)])
        ways = []
        for each in ends:
            floor = store.floor_index(each.floor)
            if cuts[floor].keep.any():
                cells = cuts[floor].cells_in(each.rect_m) + np.int32(first[floor])
                box = np.asarray(each.rect_m)
                ways.append((cells, (place_m[cells] - box[:2]) / (box[2:] - box[:2]), floor))
        for i, (a, at_a, floor_a) in enumerate(ways):
            for j, (b, at_b, floor_b) in enumerate(ways):
                # A lift stops anywhere, stairs lead to the next floor.
                apart = abs(i - j)
                if (
                    not len(a)
                    or not len(b)
                    or not apart
                    or (connection.kind != "lift" and apart > 1)
                ):
                    continue
                # Cells match that lie at the same place within their ends.
                far = sum(np.subtract.outer(at_a[:, k], at_b[:, k]) ** 2 for k in (0, 1))
                start.append(a)
                end.append(b[np.argmin(far, axis=1)])
                height.append(np.full(len(a), levels[floor_a] - levels[floor_b]))
    starts, ends_ = np.concatenate(start), np.concatenate(end)
    order = np.lexsort((ends_, starts))
    starts, ends_, rise = starts[order], ends_[order], np.concatenate(height)[order]
    return Links(
        start=starts,
        end=ends_,
        share=1.0 / np.bincount(starts, minlength=len(place_m))[starts],
        length_m=np.sqrt(((place_m[starts] - place_m[ends_]) ** 2).sum(axis=1) + rise**2),
    )


def _corners(rect_m: tuple[float, float, float, float]) -> Polygon:
    x0, y0, x1, y1 = rect_m
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
