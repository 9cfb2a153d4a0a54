"""Visits: from the first to the last sighting of a tag, with what happened in between.

A visit splits on a silence longer than `visit_gap_s` and at exit and entry taps;
shorter than `visit_min_s` it is a pass-by, which has positions but no visit row.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.dwell import Stay
from analytics.purpose import purpose_of
from analytics.row_ids import row_id
from analytics.rows import Dwell, ShelfEvent, Visit
from analytics.store import Store

RETURN_WINDOW_S = 300.0
"""Coming back to a zone within this time counts as hesitation."""
STRIDE_M = 1.0
"""Walked length adds up in steps of this size, so that a jittering dot walks nowhere."""
_WAVERING_KINDS = ("aisle", "shelf", "promo")


@dataclass(slots=True, kw_only=True)
class OpenVisit:
    """A visit that has not ended yet."""

    visit: str
    tag: str
    first: int
    last: int
    walked_m: float = 0.0
    start_place: tuple[float, float] | None = None
    place: tuple[float, float] | None = None
    confirmed: bool = False
    taps: int = 0
    picks: int = 0
    returns: int = 0
    dwells: list[Dwell] = field(default_factory=list)
    targets: list[tuple[float, float]] = field(default_factory=list)
    waiting: list[Dwell] = field(default_factory=list)

    def book(self, event: ShelfEvent) -> None:
        """Count a final shelf event that was attributed to this visitor."""
        if event.kind == "pick":
            self.picks += event.quantity
        elif event.kind == "return":
            self.returns += event.quantity


class Walks:
    """How far the visitors of all lanes walked, from where to where."""

    def __init__(self) -> None:
        self._places = np.empty((3, 2, 0))  # first, latest, and the end of the last stride
        self._walked_m = np.empty(0)

    def grow(self, lanes: int) -> None:
        """Make room for more lanes."""
        more = lanes - len(self._walked_m)
        self._places = np.concatenate([self._places, np.full((3, 2, more), np.nan)], axis=2)
        self._walked_m = np.concatenate([self._walked_m, np.zeros(more)])

    def begin(self, lane: NDArray[np.int64]) -> None:
        """Begin new walks."""
        self._places[:, :, lane] = np.nan
        self._walked_m[lane] = 0.0

    def move(
        self, lane: NDArray[np.int64], x_m: NDArray[np.float32], y_m: NDArray[np.float32]
    ) -> None:
        """Take the next corrected positions.

        Parameters
        ----------
        lane : shape (n,), distinct
        x_m, y_m : shape (n,), float32 [m]
        """
        here = np.stack([x_m, y_m]).astype(np.float64)
        first = np.isnan(self._places[0, 0, lane])
        self._places[:, :, lane[first]] = here[:, first]
        self._places[1][:, lane] = here
        step = np.hypot(*(here - self._places[2][:, lane]))
        strides = step >= STRIDE_M
        self._walked_m[lane[strides]] += step[strides]
        self._places[2][:, lane[strides]] = here[:, strides]

    def end(self, lane: int, visit: OpenVisit) -> None:
        """Write a lane's walk into its visit."""
        (x0, y0), (x1, y1), _ = self._places[:, :, lane].tolist()
        visit.walked_m = float(self._walked_m[lane])
        visit.start_place, visit.place = (x0, y0), (x1, y1)


class VisitRows:
    """Makes dwell and visit rows for one store.

    Parameters
    ----------
    store : names of zones and the rules
    walk_m : shape (cells, cells), shortest walks between cells [m]
    cells_m : shape (cells, 2), centres of the cells [m]
    """

    def __init__(
        self, store: Store, walk_m: NDArray[np.float64], cells_m: NDArray[np.float64]
    ) -> None:
        self._store = store
        self._walk_m = walk_m
        self._cells_m = cells_m
        self._tick_ns = store.rules.tick_ns
        self._shelf_zones = {shelf.zone for shelf in store.shelves}
        self._kinds = {zone.id: zone.kind for zone in store.zones}
        self._centres = {
            zone.id: np.asarray(zone.polygon_m).mean(0).tolist() for zone in store.zones
        }

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
        stops = [visit.start_place, *(self._centres[z] for z in dict.fromkeys(path)), visit.place]
        cells = [int(((self._cells_m - np.asarray(stop)) ** 2).sum(1).argmin()) for stop in stops]
        shortest = sum(float(self._walk_m[a, b]) for a, b in itertools.pairwise(cells))
        if not np.isfinite(shortest):
            return None
        return round(min(1.0, shortest / max(visit.walked_m, shortest, 1e-9)), 3)
