"""The walkable floor: where a body fits, and the shortest way round everything else.

Rules of the file: a point is free when its grid cell's centre keeps `BODY_M` from
every wall and obstacle, so a path along free cells never touches one; only the
largest connected part of the floor counts. Distances by Dijkstra on an
eight-neighbour grid, then pulled straight wherever the line of sight is free (the
idea of any-angle planning, Daniel et al. 2010, "Theta*").
"""

import heapq
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analytics.geometry import distance_to_border, points_in_polygon
from analytics.store import Point, Store
from ingest.config import ConfigError

GRID_M = 0.25
CELLS_MAX = 60_000  # larger floors take a coarser grid
BODY_M = 0.3  # half of a shopper with a bag
FIELDS_MAX = 512  # distance fields kept; the oldest goes first
CUT_M = 0.2  # how much of a corner is rounded off
_STEPS = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]


class Floor:
    """One floor of a store as a grid of free cells.

    Parameters
    ----------
    store : its outline, obstacles and zones of that floor count
    floor : the name of the floor

    Raises
    ------
    ConfigError
        Nobody fits anywhere.
    """

    def __init__(self, store: Store, *, floor: str = "0") -> None:
        outline = np.asarray(store.outline_m, dtype=np.float64)
        self._origin = outline.min(axis=0)
        size = outline.max(axis=0) - self._origin
        self.grid_m = max(GRID_M, math.sqrt(float(size[0] * size[1]) / CELLS_MAX))
        self._nx, self._ny = (max(1, math.ceil(float(side) / self.grid_m - 1e-9)) for side in size)
        y, x = np.divmod(np.arange(self._nx * self._ny), self._nx)
        self._centres = self._origin + (np.column_stack([x, y]) + 0.5) * self.grid_m
        self._zones = [
            (index, zone.polygon_m)
            for index, zone in enumerate(store.zones)
            if zone.layer == "main" and zone.floor == floor
        ]
        free = self._clear(outline, store, floor)
        self._near = self._neighbours(free)
        self._free = self._largest_part(free)
        if not self._free.any():
            raise ConfigError(
                f"store '{store.id}': expected a floor where a shopper of {2 * BODY_M:g} m fits, "
                f"found none; check outline_m and the obstacles"
            )
        self._fields: dict[int, list[float]] = {}

    @property
    def free_points(self) -> NDArray[np.float64]:
        """Centres of the free cells, shape (n, 2), float64 [m]."""
        points: NDArray[np.float64] = self._centres[self._free]
        return points

    def zone_of(self, x_m: ArrayLike, y_m: ArrayLike) -> NDArray[np.int16]:
        """Return the zone of layer main at each point, -1 where there is none.

        Parameters
        ----------
        x_m, y_m : shape (n,), float [m]
        """
        x, y = np.asarray(x_m, dtype=np.float64), np.asarray(y_m, dtype=np.float64)
        zone = np.full(x.shape, -1, dtype=np.int16)
        for index, polygon in self._zones:
            zone[points_in_polygon(x, y, polygon) & (zone < 0)] = index
        return zone

    def is_free(self, x_m: ArrayLike, y_m: ArrayLike) -> NDArray[np.bool_]:
        """Tell which points lie in free cells.

        Parameters
        ----------
        x_m, y_m : shape (n,), float [m]
        """
        i = np.floor((np.asarray(x_m) - self._origin[0]) / self.grid_m).astype(np.int64)
        j = np.floor((np.asarray(y_m) - self._origin[1]) / self.grid_m).astype(np.int64)
        within = (i >= 0) & (i < self._nx) & (j >= 0) & (j < self._ny)
        free: NDArray[np.bool_] = within & self._free[np.where(within, j * self._nx + i, 0)]
        return free

    def nearest_free(self, point_m: Point) -> Point:
        """Return a free point nearest to a point: itself, or the centre of a free cell.

        Parameters
        ----------
        point_m : [m]
        """
        if bool(self.is_free([point_m[0]], [point_m[1]])[0]):
            return point_m
        free = self.free_points
        at = int(np.argmin(((free - np.asarray(point_m)) ** 2).sum(axis=1)))
        return float(free[at, 0]), float(free[at, 1])

    def path(self, start_m: Point, goal_m: Point) -> list[Point]:
        """Return the corners of a smooth way from a point to another, the start left out.

        Parameters
        ----------
        start_m, goal_m : [m]; the nearest free points are taken

        Returns
        -------
        corners : each leg stays on free cells but for corners rounded by `CUT_M`
        """
        goal = self.nearest_free(goal_m)
        if self._sees(start_m, goal):
            return [goal]
        field = self._field(self._cell(goal))
        cell = self._cell(self.nearest_free(start_m))
        points = [start_m]
        while field[cell] > 0:
            cell = min(self._near[cell], key=lambda step: field[step[0]] + step[1])[0]
            points.append((float(self._centres[cell, 0]), float(self._centres[cell, 1])))
        points.append(goal)
        return _rounded(self._straight(points))[1:]

    def _cell(self, point: Point) -> int:
        i = int((point[0] - float(self._origin[0])) / self.grid_m)
        j = int((point[1] - float(self._origin[1])) / self.grid_m)
        return min(max(j, 0), self._ny - 1) * self._nx + min(max(i, 0), self._nx - 1)

    def _sees(self, a: Point, b: Point) -> bool:
        count = int(math.dist(a, b) / (0.4 * self.grid_m)) + 2
        share = np.linspace(0.0, 1.0, count)
        x, y = a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
        return bool(self.is_free(x, y).all())

    def _straight(self, points: list[Point]) -> list[Point]:
        kept, at = [points[0]], 0
        while at < len(points) - 1:
            to = len(points) - 1
            while to > at + 1 and not self._sees(points[at], points[to]):
                to -= 1
            kept.append(points[to])
            at = to
        return kept

    def _field(self, goal: int) -> list[float]:
        if goal in self._fields:
            return self._fields[goal]
        distance = [math.inf] * len(self._near)
        distance[goal] = 0.0
        heap = [(0.0, goal)]
        while heap:
            reached, cell = heapq.heappop(heap)
            if reached > distance[cell]:
                continue
            for other, cost in self._near[cell]:
                if reached + cost < distance[other]:
                    distance[other] = reached + cost
                    heapq.heappush(heap, (reached + cost, other))
        if len(self._fields) >= FIELDS_MAX:
            del self._fields[next(iter(self._fields))]
        self._fields[goal] = distance
        return distance

    def _clear(self, outline: NDArray[np.float64], store: Store, floor: str) -> NDArray[np.bool_]:
        centres = self._centres
        free = points_in_polygon(centres[:, 0], centres[:, 1], outline)
        free &= distance_to_border(centres, outline) >= BODY_M
        for obstacle in store.obstacles:
            if obstacle.floor != floor:
                continue
            polygon = np.asarray(obstacle.polygon_m, dtype=np.float64)
            low, high = polygon.min(axis=0) - BODY_M, polygon.max(axis=0) + BODY_M
            near = np.flatnonzero(((centres >= low) & (centres <= high)).all(axis=1) & free)
            points = centres[near]
            blocked = points_in_polygon(points[:, 0], points[:, 1], polygon)
            blocked |= distance_to_border(points, polygon) < BODY_M
            free[near[blocked]] = False
        return free

    def _neighbours(self, free: NDArray[np.bool_]) -> list[list[tuple[int, float]]]:
        nx, ny = self._nx, self._ny
        near: list[list[tuple[int, float]]] = [[] for _ in range(nx * ny)]
        for cell in np.flatnonzero(free).tolist():
            j, i = divmod(cell, nx)
            for dj, di in _STEPS:
                if 0 <= i + di < nx and 0 <= j + dj < ny and free[cell + dj * nx + di]:
                    near[cell].append((cell + dj * nx + di, self.grid_m * math.hypot(di, dj)))
        return near

    def _largest_part(self, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
        part = np.zeros(len(free), dtype=np.int64)
        for cell in np.flatnonzero(free).tolist():
            if part[cell]:
                continue
            part[cell] = cell + 1
            open_cells = [cell]
            while open_cells:
                for other, _ in self._near[open_cells.pop()]:
                    if not part[other]:
                        part[other] = cell + 1
                        open_cells.append(other)
        found, sizes = np.unique(part[free], return_counts=True)
        largest = found[np.argmax(sizes)] if len(found) else -1
        kept: NDArray[np.bool_] = free & (part == largest)
        return kept


def _rounded(points: list[Point]) -> list[Point]:
    """Replace each inner corner by two points `CUT_M` before and behind it."""
    found = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        for other in (before, after):
            length = math.dist(corner, other)
            share = min(CUT_M, length / 2) / length if length else 0.0
            found.append(
                (
                    corner[0] + share * (other[0] - corner[0]),
                    corner[1] + share * (other[1] - corner[1]),
                )
            )
    found.append(points[-1])
    return found
