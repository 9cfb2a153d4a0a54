"""Visits: from the first to the last sighting of a tag, with what happened in between.

A visit splits on a silence longer than `visit_gap_s` and at exit and entry taps;
shorter than `visit_min_s` it is a pass-by, which has positions but no visit row.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid, walking_distances
from analytics.dwell import Stay
from analytics.purpose import purpose_of
from analytics.row_ids import row_id
from analytics.rows import Dwell, ShelfEvent, Visit
from analytics.store import Store

RETURN_WINDOW_S = 300.0
"""Coming back to a zone within this time counts as hesitation."""
STRIDE_M = 1.0
"""Walked length adds up in steps of this size, so that a jittering dot walks nowhere."""
_FLOORS_APART_M = 1e5
"""Keeps the nearest cell on the floor itself."""
_WAVERING_KINDS = ("aisle", "shelf", "promo")


@dataclass(slots=True, kw_only=True)
class OpenVisit:
    """A visit that has not ended yet."""

    visit: str
    tag: str
    first: int
    last: int
    walked_m: float = 0.0
    start_place: NDArray[np.float64] | None = None
    place: NDArray[np.float64] | None = None
    confirmed: bool = False
    taps: int = 0
    picks: int = 0
    returns: int = 0
    dwells: list[Dwell] = field(default_factory=list)
    waiting: list[Dwell] = field(default_factory=list)

    def book(self, event: ShelfEvent) -> None:
        """Count a final shelf event that was attributed to this visitor."""
        if event.kind == "pick":
            self.picks += event.quantity
        elif event.kind == "return":
            self.returns += event.quantity


class Walks:
    """How far the visitors of all seats walked, from where to where."""

    def __init__(self) -> None:
        # First, latest, and the end of the last stride: x, y and floor of each.
        self._places = np.empty((3, 3, 0))
        self._walked_m = np.empty(0)

    def grow(self, seats: int) -> None:
        """Make room for more seats."""
        more = seats - len(self._walked_m)
        self._places = np.concatenate([self._places, np.full((3, 3, more), np.nan)], axis=2)
        self._walked_m = np.concatenate([self._walked_m, np.zeros(more)])

    def begin(self, seat: NDArray[np.int64]) -> None:
        """Begin new walks."""
        self._places[:, :, seat] = np.nan
        self._walked_m[seat] = 0.0

    def move(
        self,
        seat: NDArray[np.int64],
        x_m: NDArray[np.float32],
        y_m: NDArray[np.float32],
        floor: NDArray[np.uint8],
    ) -> None:
        """Take the next corrected positions.

        Parameters
        ----------
        seat : shape (n,), distinct
        x_m, y_m : shape (n,), float32 [m]
        floor : shape (n,), uint8, index into `Store.floors`
        """
        here = np.stack([x_m, y_m, floor]).astype(np.float64)
        first = np.isnan(self._places[0, 0, seat])
        self._places[:, :, seat[first]] = here[:, first]
        self._places[1][:, seat] = here
        step = np.hypot(*(here - self._places[2][:, seat])[:2])
        strides = step >= STRIDE_M
        self._walked_m[seat[strides]] += step[strides]
        self._places[2][:, seat[strides]] = here[:, strides]

    def end(self, seat: int, visit: OpenVisit) -> None:
        """Write a seat's walk into its visit."""
        first, last, _ = self._places[:, :, seat]
        visit.walked_m = float(self._walked_m[seat])
        visit.start_place, visit.place = first, last


class VisitRows:
    """Makes dwell and visit rows for one store.

    Parameters
    ----------
    store : names of zones and the rules
    grid : the store's cells
    """

    def __init__(self, store: Store, grid: CellGrid) -> None:
        self._store = store
        self._cells = np.stack([grid.x_m, grid.y_m, grid.floor * _FLOORS_APART_M], axis=1)
        self._tick_ns = store.rules.tick_ns
        self._shelf_zones = {shelf.zone for shelf in store.shelves}
        self._kinds = {zone.id: zone.kind for zone in store.zones}
        centres = [
            self._cell((*np.asarray(zone.polygon_m).mean(0), store.floor_index(zone.floor)))
            for zone in store.zones
        ]
        walks = walking_distances(grid, np.array(centres, np.int64))
        self._centre = {zone.id: at for zone, at in zip(store.zones, centres, strict=True)}
        self._walk_m = {zone.id: walk for zone, walk in zip(store.zones, walks, strict=True)}

    def open(self, tag: str, tick: int) -> OpenVisit:
        """Begin a visit of a pseudonym at a tick."""
        name = row_id(self._store.id, tag=tag, kind="visit", start_tick=tick)
        return OpenVisit(visit=name, tag=tag, first=tick, last=tick)

    def dwell(self, visit: OpenVisit, stay: Stay) -> Dwell:
        """Name a stay and give it its times."""
        zone = self._store.zones[stay.zone]
        name = row_id(
            self._store.id,
            tag=visit.tag,
            kind="dwell",
            layer=zone.layer,
            place=zone.id,
            start_tick=stay.first,
        )
        return Dwell(
            dwell=name,
            visit=visit.visit,
            tag=visit.tag,
            layer=zone.layer,
            zone=zone.id,
            start_ns=stay.first * self._tick_ns,
            end_ns=(stay.last + 1) * self._tick_ns,
            dwell_s=round((stay.last - stay.first + 1) * self._store.rules.tick_s, 3),
            sigma_s=stay.sigma_s,
            confidence=stay.confidence,
            readings=stay.readings,
        )

    def close(self, visit: OpenVisit) -> Visit:
        """Make the row of a visit that is over."""
        rules = self._store.rules
        main = [d for d in visit.dwells if d.layer == self._store.layers[0]]
        main.sort(key=lambda d: d.start_ns)
        path: list[str] = []
        for dwell in main:
            if not path or path[-1] != dwell.zone:
                path.append(dwell.zone)
        directness = self._directness(visit, path)
        hesitations = self._wavering(main) + visit.returns
        visit_s = round((visit.last - visit.first + 1) * rules.tick_s, 3)
        zones = len({d.zone for d in main})
        purpose, purpose_p = purpose_of(
            visit_s=visit_s,
            dwells=len(main),
            zones=zones,
            directness=directness,
            hesitations=hesitations,
            picks=visit.picks,
            returns=visit.returns,
        )
        engaged = (
            d.dwell_s
            for d in main
            if d.zone in self._shelf_zones and d.dwell_s >= rules.engaged_min_s
        )
        return Visit(
            visit=visit.visit,
            tag=visit.tag,
            start_ns=visit.first * self._tick_ns,
            end_ns=(visit.last + 1) * self._tick_ns,
            visit_s=visit_s,
            zones=zones,
            path=">".join(path),
            path_length_m=round(visit.walked_m, 2),
            directness=directness,
            hesitations=hesitations,
            taps=visit.taps,
            shelf_s=round(sum(engaged), 3),
            picks=visit.picks,
            returns=visit.returns,
            purpose=purpose,
            purpose_p=purpose_p,
        )

    def _wavering(self, main: list[Dwell]) -> int:
        left: dict[str, int] = {}
        count = 0
        before = ""
        for dwell in main:
            back = left.get(dwell.zone)
            soon = back is not None and (dwell.start_ns - back) / 1e9 <= RETURN_WINDOW_S
            if soon and dwell.zone != before and self._kinds[dwell.zone] in _WAVERING_KINDS:
                count += 1
            left[dwell.zone] = dwell.end_ns
            before = dwell.zone
        return count

    def _directness(self, visit: OpenVisit, path: list[str]) -> float | None:
        """Shortest walk from start over the distinct zones to the end, by the walked length."""
        if not path or visit.start_place is None or visit.place is None or visit.walked_m <= 0:
            return None
        zones = list(dict.fromkeys(path))
        shortest = float(self._walk_m[zones[0]][self._cell(visit.start_place)])
        for here, there in itertools.pairwise(zones):
            shortest += float(self._walk_m[here][self._centre[there]])
        shortest += float(self._walk_m[zones[-1]][self._cell(visit.place)])
        if not np.isfinite(shortest):
            return None
        return round(min(1.0, shortest / max(visit.walked_m, shortest, 1e-9)), 3)

    def _cell(self, place: Sequence[float] | NDArray[np.float64]) -> int:
        """Return the cell nearest to x, y on a floor."""
        x, y, floor = place
        here = np.array([x, y, floor * _FLOORS_APART_M])
        return int(((self._cells - here) ** 2).sum(1).argmin())
