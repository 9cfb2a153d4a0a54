"""Who was in reach of a shelf when something happened on it.

A shelf event waits until the corrected places around it are known, a few seconds,
and then gets its person from the same posterior that gives positions and zones.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from analytics.attribution import attribute
from analytics.cells import CellGrid
from analytics.lanes import Lanes
from analytics.rows import Output, ShelfEvent
from analytics.seats import Seats
from analytics.settling import Settling
from analytics.store import Store

REACH_M = 1.2
"""A shelf can be reached from here, measured from its edge."""
PRESENCE_S = 3.0
"""A shelf event belongs to who was in reach within this time of it."""
_BY_PEOPLE = {"pick", "return", "touch", "look", "move"}


def zone_index(store: Store, zone: str) -> int:
    """Return the index of a zone in `Store.zones`."""
    return next(i for i, z in enumerate(store.zones) if z.id == zone)


def reach_of_shelves(store: Store, grid: CellGrid) -> NDArray[np.float64]:
    """Return from which cells each shelf can be reached.

    Parameters
    ----------
    store, grid : the store and its cells

    Returns
    -------
    reach : shape (shelves, cells), float64 [0-1]; a shelf without a place is reached
        from anywhere in its zone
    """
    rows = []
    for shelf in store.shelves:
        if shelf.rect_m is None:
            rows.append(grid.zone_share[zone_index(store, shelf.zone)])
            continue
        x0, y0, x1, y1 = shelf.rect_m
        dx = np.maximum(np.maximum(x0 - grid.x_m, grid.x_m - x1), 0)
        dy = np.maximum(np.maximum(y0 - grid.y_m, grid.y_m - y1), 0)
        rows.append((np.hypot(dx, dy) <= REACH_M + grid.cell_m / 2).astype(np.float64))
    return np.array(rows).reshape(len(rows), len(grid))


def entrance_share(store: Store, grid: CellGrid) -> NDArray[np.float64]:
    """Return which share of each cell is an entrance, shape (cells,), float64 [0-1]."""
    found = np.zeros(len(grid))
    for zone, share in zip(store.zones, grid.zone_share, strict=True):
        if zone.kind == "entrance":
            np.maximum(found, share, out=found)
    return found


class Presence:
    """Shelf events on their way to their person.

    Parameters
    ----------
    store, lanes, seats, settling : the engine's parts
    """

    def __init__(self, store: Store, lanes: Lanes, seats: Seats, settling: Settling) -> None:
        self._store, self._lanes, self._seats = store, lanes, seats
        self._settling = settling
        self._around = max(1, round(PRESENCE_S / store.rules.tick_s))
        self._shelf = {shelf.id: i for i, shelf in enumerate(store.shelves)}
        self._waiting: list[ShelfEvent] = []

    def wait(self, events: list[ShelfEvent], out: Output) -> None:
        """Take new shelf events; what is provisional or concerns no person passes at once."""
        for event in events:
            if event.status == "final" and event.kind in _BY_PEOPLE:
                self._waiting.append(event)
            else:
                out.shelf_events.append(event)

    def release(self, final_tick: int, out: Output) -> None:
        """Give the events whose surroundings are known.

        Parameters
        ----------
        final_tick : int, corrected answers exist up to here
        out : receives the events
        """
        still: list[ShelfEvent] = []
        for event in self._waiting:
            tick = event.t_ns // self._store.rules.tick_ns
            if tick + self._around > final_tick:
                still.append(event)
            else:
                out.shelf_events.append(self._attributed(event, tick, out))
        self._waiting = still

    def _attributed(self, event: ShelfEvent, tick: int, out: Output) -> ShelfEvent:
        shelf = self._shelf[event.shelf]
        seats: list[int] = []
        masses: list[float] = []
        for block in self._lanes.blocks:
            total = np.zeros(block.lanes)
            for near in range(tick - self._around, tick + self._around + 1):
                total += block.reach_at(near, shelf)
            mean = np.clip(total / (2 * self._around + 1), 0, 1)
            of_lane = self._lanes.seat[block.base : block.end]
            here = np.flatnonzero((mean > 1e-3) & (of_lane >= 0))
            seats += of_lane[here].tolist()
            masses += mean[here].tolist()
        winner, p = attribute(np.array(masses))
        if winner < 0:
            return event
        seat = seats[winner]
        tag = self._seats.names[seat]
        found = dataclasses.replace(event, tag=tag, tag_p=round(p, 3))
        self._settling.book(seat, tag, tick, found)
        visit = self._visit_of(seat, tag, tick)
        if visit is not None:
            out.shelf_visits.append((event.event, visit))
        return found

    def _visit_of(self, seat: int, tag: str, tick: int) -> str | None:
        """Return the visit in whose row `Settling.book` counted a shelf event."""
        running = self._settling.visits.get(seat)
        candidates = [*([] if running is None else [running]), *self._settling.closing]
        return next((v.visit for v in candidates if v.tag == tag and v.first <= tick), None)
