"""Where things happen in a store: doors, shelf fronts, queue positions, tills.

Rules of the file: everything is derived from the store file, so any store can be
played; what a store does not have (tills, a queue, an exit) shoppers do without.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.geometry import distance_to_border, points_in_polygon
from analytics.store import Point, Product, Shelf, Store, Zone
from simulators.floor import Floor

REACH_M = 0.45  # from the shelf's edge to the shopper who stands before it
QUEUE_GAP_M = 0.8
WANDER_GAP_M = 2.0
_NO_WANDER = {"staff", "outside", "queue", "checkout", "entrance", "exit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facing:
    """One product on its shelf and where a shopper stands to take it."""

    shelf: int
    product: Product
    stand_m: Point
    look_m: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Till:
    """Where somebody pays, and the tap point there (-1: none)."""

    stand_m: Point
    tap_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The points of a store that shoppers walk to.

    Attributes
    ----------
    tap_points : where to stand for each tap point of the store
    entry, exit : index of the tap point of that role, -1 = none
    facings : one per product, shelf by shelf
    wander : free points about `WANDER_GAP_M` apart in zones for customers
    queue : waiting positions, the head first
    """

    door_in_m: Point
    door_out_m: Point
    tap_points: tuple[Point, ...]
    entry: int
    exit: int
    infos: tuple[int, ...]
    facings: tuple[Facing, ...]
    wander: tuple[Point, ...]
    queue: tuple[Point, ...]
    tills: tuple[Till, ...]


def floor_of(store: Store) -> str:
    """Return the floor that is simulated: that of the entrance, else of the first zone.

    Parameters
    ----------
    store : its zones count; without any it is floor "0"
    """
    zone = _zone_of_kind(store, "entrance") or (store.zones[0] if store.zones else None)
    return zone.floor if zone else "0"


def products_of(store: Store) -> tuple[tuple[int, Product], ...]:
    """Return every product with the index of its shelf, in the order of the file.

    Parameters
    ----------
    store : the store
    """
    return tuple((at, p) for at, shelf in enumerate(store.shelves) for p in shelf.products)


def find_places(store: Store, floor: Floor) -> Places:
    """Find the places of a store.

    Parameters
    ----------
    store : the store
    floor : its walkable floor
    """
    entrance, leave = _zone_of_kind(store, "entrance"), _zone_of_kind(store, "exit")
    door_in = _door(store, floor, entrance)
    door_out = _door(store, floor, leave) if leave else door_in
    points = [_tap_stand(store, floor, index) for index in range(len(store.tap_points))]
    by_role = {p.role: i for i, p in reversed(list(enumerate(store.tap_points)))}
    tills = _tills(store, floor)
    for till in tills:
        if till.tap_point >= 0:
            points[till.tap_point] = till.stand_m
    return Places(
        door_in_m=door_in,
        door_out_m=door_out,
        tap_points=tuple(points),
        entry=by_role.get("entry", -1),
        exit=by_role.get("exit", -1),
        infos=tuple(i for i, p in enumerate(store.tap_points) if p.role == "info"),
        facings=tuple(
            _facing(store, floor, shelf, product) for shelf, product in products_of(store)
        ),
        wander=_wander(store, floor),
        queue=_queue(store, floor, tills),
        tills=tills,
    )


def grid_points(floor: Floor, gap_m: float) -> list[Point]:
    """Return free points of a square grid in the order of a serpentine walk.

    Parameters
    ----------
    floor : the walkable floor
    gap_m : float [m], > 0, between neighbours
    """
    free = floor.free_points
    low, high = free.min(axis=0), free.max(axis=0)
    found: list[Point] = []
    for row, y in enumerate(np.arange(low[1], high[1] + 1e-9, gap_m)):
        x = np.arange(low[0], high[0] + 1e-9, gap_m)[:: 1 if row % 2 == 0 else -1]
        x = x[floor.is_free(x, np.full(len(x), y))]
        found += [(float(value), float(y)) for value in x]
    return found


def _zone_of_kind(store: Store, kind: str) -> Zone | None:
    return next((zone for zone in store.zones if zone.kind == kind), None)


def _inside(floor: Floor, zone: Zone | None) -> NDArray[np.float64]:
    """Free points of a zone; of the whole floor where it has none."""
    free = floor.free_points
    if zone is None:
        return free
    inside = free[points_in_polygon(free[:, 0], free[:, 1], zone.polygon_m)]
    return inside if len(inside) else free


def _nearest(points: NDArray[np.float64], to: Point | NDArray[np.float64]) -> Point:
    at = int(np.argmin(((points - np.asarray(to)) ** 2).sum(axis=1)))
    return float(points[at, 0]), float(points[at, 1])


def _door(store: Store, floor: Floor, zone: Zone | None) -> Point:
    """Return the free point by the outer wall that is nearest to the zone's middle."""
    points = _inside(floor, zone)
    wall = distance_to_border(points, np.asarray(store.outline_m, dtype=np.float64))
    by_wall = points[wall <= wall.min() + floor.grid_m]
    return _nearest(by_wall, points.mean(axis=0))


def _tap_stand(store: Store, floor: Floor, index: int) -> Point:
    """Return where to stand for a tap point; several in one zone share it out."""
    zone_id = store.tap_points[index].zone
    zone = next(zone for zone in store.zones if zone.id == zone_id)
    peers = [i for i, point in enumerate(store.tap_points) if point.zone == zone_id]
    return _shared(_inside(floor, zone), len(peers))[peers.index(index)]


def _shared(points: NDArray[np.float64], count: int) -> list[Point]:
    """Cut points into strips along the longer side; the middle of each strip."""
    extent = points.max(axis=0) - points.min(axis=0)
    axis = int(np.argmax(extent))
    parts = np.array_split(points[np.argsort(points[:, axis], kind="stable")], count)
    return [_nearest(part if len(part) else points, part.mean(axis=0)) for part in parts]


def _tills(store: Store, floor: Floor) -> tuple[Till, ...]:
    zone = _zone_of_kind(store, "checkout")
    if zone is None:
        return ()
    taps = [
        index
        for index, point in enumerate(store.tap_points)
        if point.zone == zone.id and point.role in {"checkout", "payment"}
    ] or [-1]
    stands = _shared(_inside(floor, zone), len(taps))
    return tuple(Till(stand_m=s, tap_point=t) for s, t in zip(stands, taps, strict=True))


def _queue(store: Store, floor: Floor, tills: tuple[Till, ...]) -> tuple[Point, ...]:
    zone = _zone_of_kind(store, "queue")
    if not tills:
        return ()
    if zone is None:
        return (tills[0].stand_m,)
    points = _inside(floor, zone)
    low, high = points.min(axis=0), points.max(axis=0)
    along = int(np.argmax(high - low))
    middle = points.mean(axis=0)
    ahead = np.mean([till.stand_m for till in tills], axis=0) - middle
    places = np.arange(low[along], high[along] + 1e-9, QUEUE_GAP_M)
    places = places[::-1] if ahead[along] > 0 else places
    across = np.arange(low[1 - along], high[1 - along] + 1e-9, QUEUE_GAP_M)
    across = across[np.argsort(np.abs(across - middle[1 - along]), kind="stable")]
    found: list[Point] = []
    for row, value in enumerate(across):
        for place in places[:: 1 if row % 2 == 0 else -1]:
            x, y = (place, value) if along == 0 else (value, place)
            if bool(floor.is_free([x], [y])[0]) and floor.zone_of([x], [y])[0] >= 0:
                found.append((float(x), float(y)))
    return tuple(found)


def _facing(store: Store, floor: Floor, at: int, product: Product) -> Facing:
    shelf = store.shelves[at]
    zone = next(zone for zone in store.zones if zone.id == shelf.zone)
    if shelf.rect_m is None:
        stand = _nearest(_inside(floor, zone), _inside(floor, zone).mean(axis=0))
        return Facing(shelf=at, product=product, stand_m=stand, look_m=stand)
    x0, y0, x1, y1 = shelf.rect_m
    share = _share_along(shelf, product)
    if x1 - x0 >= y1 - y0:
        middle = (x0 + share * (x1 - x0), (y0 + y1) / 2)
        sides = [(middle[0], y0 - REACH_M), (middle[0], y1 + REACH_M)]
    else:
        middle = ((x0 + x1) / 2, y0 + share * (y1 - y0))
        sides = [(x0 - REACH_M, middle[1]), (x1 + REACH_M, middle[1])]
    sides = [p for p in sides if bool(floor.is_free([p[0]], [p[1]])[0])] or [middle]
    in_zone = [p for p in sides if points_in_polygon([p[0]], [p[1]], zone.polygon_m)[0]]
    stand = floor.nearest_free((in_zone or sides)[0])
    return Facing(shelf=at, product=product, stand_m=stand, look_m=middle)


def _share_along(shelf: Shelf, product: Product) -> float:
    """Return how far along the shelf a product stands, 0 to 1."""
    ids = [sensor.id for sensor in shelf.sensors]
    at = [ids.index(name) for name in product.sensors if name in ids]
    return (sum(at) / len(at) + 0.5) / len(ids) if at else 0.5


def _wander(store: Store, floor: Floor) -> tuple[Point, ...]:
    points = np.asarray(grid_points(floor, WANDER_GAP_M)).reshape(-1, 2)
    zone = floor.zone_of(points[:, 0], points[:, 1])
    kept = np.array(
        [z < 0 or store.zones[z].kind not in _NO_WANDER for z in zone.tolist()], dtype=np.bool_
    )
    chosen = points[kept] if kept.any() else floor.free_points[:1]
    return tuple((float(x), float(y)) for x, y in chosen)
