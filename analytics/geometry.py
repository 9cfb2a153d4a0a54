"""Plane geometry of a store: polygons as (n, 2) arrays of metres.

Rules of the file: polygons are simple and implicitly closed; points on a shared
border belong to exactly one of two touching polygons (half-open rule), so zones
that touch never both claim a visitor.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def points_in_polygon(x_m: ArrayLike, y_m: ArrayLike, polygon_m: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points lie inside a polygon.

    Parameters
    ----------
    x_m, y_m : shape (n,), float [m]
    polygon_m : shape (v, 2), float [m]

    Returns
    -------
    inside : shape (n,), bool

    Notes
    -----
    Even-odd ray casting with half-open edges (Franklin's PNPOLY rule).

    Examples
    --------
    >>> points_in_polygon([0.5, 2.0], [0.5, 0.5], [[0, 0], [1, 0], [1, 1], [0, 1]]).tolist()
    [True, False]
    """
    x = np.asarray(x_m, dtype=np.float64)
    y = np.asarray(y_m, dtype=np.float64)
    polygon = np.asarray(polygon_m, dtype=np.float64)
    inside = np.zeros(x.shape, dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        spans = (y0 > y) != (y1 > y)
        inside ^= spans & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def polygon_area(polygon_m: ArrayLike) -> float:
    """Return the area of a simple polygon [m²] (shoelace formula, never negative).

    Examples
    --------
    >>> polygon_area([[0, 0], [2, 0], [2, 3], [0, 3]])
    6.0
    """
    p = np.asarray(polygon_m, dtype=np.float64)
    x, y = p[:, 0], p[:, 1]
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def self_crossing(polygon_m: ArrayLike) -> tuple[int, int] | None:
    """Return the numbers of two edges of a polygon that cross, or None.

    Parameters
    ----------
    polygon_m : shape (v, 2), float [m]. Edge i goes from corner i to corner i + 1.
        Edges may touch (outlines traced from real plans retrace a wall); they may not cross.
    """
    p = np.asarray(polygon_m, dtype=np.float64)
    q = np.roll(p, -1, axis=0)
    count = len(p)
    for i in range(count):
        for j in range(i + 2, count):
            if i == 0 and j == count - 1:
                continue
            if _cross(p[i], q[i], p[j], q[j]):
                return i, j
    return None


def overlap_area(a_m: ArrayLike, b_m: ArrayLike) -> float:
    """Return the area that two simple polygons share [m²].

    Parameters
    ----------
    a_m, b_m : shape (v, 2), float [m]

    Notes
    -----
    The plane is cut into vertical slabs at every corner and every crossing of two
    edges; inside a slab the shared length is linear in x, so its middle is exact.
    """
    a = np.asarray(a_m, dtype=np.float64)
    b = np.asarray(b_m, dtype=np.float64)
    if (a.max(0) <= b.min(0)).any() or (b.max(0) <= a.min(0)).any():
        return 0.0
    cuts = np.unique(np.concatenate([a[:, 0], b[:, 0], _crossings_x(a, b)]))
    total = 0.0
    for x0, x1 in itertools.pairwise(cuts):
        if x1 - x0 < 1e-9:
            continue
        middle = (x0 + x1) / 2
        ya, yb = _spans(a, middle), _spans(b, middle)
        if len(ya) and len(yb):
            low = np.maximum(ya[:, None, 0], yb[None, :, 0])
            high = np.minimum(ya[:, None, 1], yb[None, :, 1])
            total += float(np.clip(high - low, 0, None).sum()) * float(x1 - x0)
    return total


def polygons_touch(a_m: ArrayLike, b_m: ArrayLike, *, within_m: float = 0.05) -> bool:
    """Tell whether two polygons share a stretch of border of about half a metre or more.

    Parameters
    ----------
    a_m, b_m : shape (v, 2), float [m]
    within_m : float [m]. Borders closer than this count as one.
    """
    a = np.asarray(a_m, dtype=np.float64)
    b = np.asarray(b_m, dtype=np.float64)
    if (a.max(0) + within_m < b.min(0)).any() or (b.max(0) + within_m < a.min(0)).any():
        return False
    step = 0.125
    points = []
    for p, q in zip(a, np.roll(a, -1, axis=0), strict=True):
        n = max(2, int(np.hypot(*(q - p)) / step) + 1)
        points.append(p + (q - p) * np.linspace(0, 1, n, endpoint=False)[:, None])
    return int((distance_to_border(np.concatenate(points), b) <= within_m).sum()) > 0.5 / step


def distance_to_border(points_m: Array, polygon_m: ArrayLike) -> Array:
    """Return each point's distance to the border of a polygon.

    Parameters
    ----------
    points_m : shape (n, 2), float64 [m]
    polygon_m : shape (v, 2), float [m]

    Returns
    -------
    distance_m : shape (n,), float64 [m]
    """
    p = np.asarray(polygon_m, dtype=np.float64)
    best = np.full(len(points_m), np.inf)
    for a, b in zip(p, np.roll(p, -1, axis=0), strict=True):
        edge = b - a
        length2 = float(edge @ edge) or 1e-12
        at = np.clip((points_m - a) @ edge / length2, 0, 1)
        best = np.minimum(best, np.hypot(*(points_m - a - at[:, None] * edge).T))
    return best


def label_point(polygon_m: ArrayLike) -> tuple[float, float]:
    """Return a point well inside a polygon, for its name.

    Parameters
    ----------
    polygon_m : shape (v, 2), float [m]

    Returns
    -------
    point : x and y [m]

    Notes
    -----
    Of a grid of 15 × 15 points over the box, the one furthest from the border; of equals, the
    one nearest to the middle of the box.
    """
    corners = np.asarray(polygon_m, dtype=np.float64)
    low, high = corners.min(0), corners.max(0)
    steps = (np.arange(15) + 0.5) / 15
    x, y = (axis.ravel() for axis in np.meshgrid(*(low + np.outer(steps, high - low)).T))
    inside = points_in_polygon(x, y, corners)
    if not inside.any():
        middle = (low + high) / 2
        return float(middle[0]), float(middle[1])
    x, y = x[inside], y[inside]
    room_m = distance_to_border(np.stack([x, y], axis=1), corners)
    off_middle_m = np.hypot(*((np.stack([x, y], axis=1) - (low + high) / 2).T))
    best = np.lexsort((off_middle_m, -np.round(room_m, 6)))[0]
    return float(x[best]), float(y[best])


def _cross(p0: Array, p1: Array, q0: Array, q1: Array) -> bool:
    def side(a: Array, b: Array, c: Array) -> float:
        return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    tiny = 1e-9
    d1, d2 = side(p0, p1, q0), side(p0, p1, q1)
    d3, d4 = side(q0, q1, p0), side(q0, q1, p1)
    return min(d1, d2) < -tiny and max(d1, d2) > tiny and min(d3, d4) < -tiny and max(d3, d4) > tiny


def _crossings_x(a: Array, b: Array) -> Array:
    found = []
    for p, q in zip(a, np.roll(a, -1, axis=0), strict=True):
        for r, s in zip(b, np.roll(b, -1, axis=0), strict=True):
            if _cross(p, q, r, s):
                d1, d2 = q - p, s - r
                t = ((r[0] - p[0]) * d2[1] - (r[1] - p[1]) * d2[0]) / (
                    d1[0] * d2[1] - d1[1] * d2[0]
                )
                found.append(p[0] + t * d1[0])
    return np.asarray(found, dtype=np.float64)


def _spans(polygon: Array, x: float) -> Array:
    p, q = polygon, np.roll(polygon, -1, axis=0)
    hit = (p[:, 0] > x) != (q[:, 0] > x)
    p, q = p[hit], q[hit]
    y = np.sort(p[:, 1] + (x - p[:, 0]) * (q[:, 1] - p[:, 1]) / (q[:, 0] - p[:, 0]))
    return y.reshape(-1, 2)
