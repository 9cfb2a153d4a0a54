"""People and queues minute by minute.

A minute's row is written when every tick of it has settled; a minute in which no
receiver heard anything has no row, because nothing is known of it.

A wait runs from joining the queue to being served: until the stay at the till begins
or a tap is made there. Who leaves for anywhere else has given up. Little's law (Little
1961, Operations Research 9, 383-387: mean length = arrivals per second × mean wait)
holds between the lengths and the waits, and is a test.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.rows import Dwell, Occupancy, QueueMinute
from analytics.store import Store

QUEUE_LEAST_S = 10.0
"""Shorter stays in a queue zone are people who walk through."""
SERVED_WITHIN_S = 60.0
"""Who is at a checkout within this time after the queue was served; others gave up."""
TAPS_KEPT_S = 3600.0
"""A tap at a till counts for a wait that ends within this time of it."""
_MINUTE_NS = 60 * 10**9
_TILL_KINDS = {"checkout", "service"}
_TILL_ROLES = {"checkout", "payment"}

Running = Callable[[str], list[tuple[str, int]]]
"""Returns the zones in which an open visit stays now, and since when [ns]."""


def nowhere(_visit: str) -> list[tuple[str, int]]:
    """Return that no visit stays anywhere."""
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """Somebody who has left a queue and may still turn up at a till."""

    tag: str
    layer: str
    zone: str
    start_ns: int
    end_ns: int


class Minutes:
    """Collects settled ticks and finished dwells, gives rows of minutes that are complete.

    Parameters
    ----------
    store : zones and rules
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tick_ns = store.rules.tick_ns
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._seen: set[int] = set()
        self._heard_ns = 0
        self._queues = {z.id for z in store.zones if z.kind == "queue"}
        self._tills = {z.id for z in store.zones if z.kind in _TILL_KINDS}
        self._sees_service = bool(self._tills) or any(
            point.role in _TILL_ROLES for point in store.tap_points
        )
        self._gap_ns = round(store.rules.dwell_gap_s * 1e9)
        self._left: dict[str, list[_Wait]] = {}
        self._taps: dict[str, list[int]] = defaultdict(list)
        self._waits: dict[tuple[int, str], list[float]] = defaultdict(list)
        self._abandoned: dict[tuple[int, str], int] = defaultdict(int)
        self._emitted_occupancy = self._emitted_queue = -(1 << 60)
        # A stay is known a dwell gap after its end, one that served it began within a minute.
        least_s = max(2 * SERVED_WITHIN_S, store.rules.dwell_gap_s + SERVED_WITHIN_S)
        self._queues_late_ns = round(least_s * 1e9)

    def seen(self, tick: int) -> None:
        """Note that something was heard in a tick."""
        self._seen.add(self._minute(tick))
        self._heard_ns = max(self._heard_ns, (tick + 1) * self._tick_ns)

    def tapped(self, tag: str, tick: int, role: str) -> None:
        """Note a tap; one at a till ends its tag's wait.

        Parameters
        ----------
        tag : its name, as dwells have it
        tick : int
        role : of the tap point
        """
        if role in _TILL_ROLES and self._queues:
            self._taps[tag].append(tick * self._tick_ns)

    def count(self, tick: int, zone: NDArray[np.int16]) -> None:
        """Count the tags that settled in some zones in one tick.

        Parameters
        ----------
        tick : int
        zone : shape (n,), int16, index into `Store.zones`, -1 = in none
        """
        minute = self._minute(tick)
        if minute <= self._emitted_occupancy:
            return
        found = np.bincount(zone[zone >= 0], minlength=len(self._store.zones))
        if minute in self._counts:
            self._counts[minute] += found
        else:
            self._counts[minute] = found.astype(np.int64)

    def dwell(self, dwell: Dwell) -> None:
        """Take a finished stay; stays of a visit and layer come in order of their end."""
        still: list[_Wait] = []
        start_ns = dwell.start_ns
        waits = dwell.zone in self._queues and dwell.dwell_s >= QUEUE_LEAST_S
        for wait in self._left.pop(dwell.visit, []):
            is_soon = _is_soon(wait, dwell.start_ns)
            if dwell.zone in self._tills and is_soon:
                self._settle(wait, served_ns=dwell.start_ns)
            elif dwell.layer != wait.layer:
                still.append(wait)  # stays of other layers say nothing about what came after
            elif dwell.zone in self._queues and is_soon:
                waits, start_ns = True, wait.start_ns
            else:
                self._settle(wait)
        if waits:
            still.append(
                _Wait(
                    tag=dwell.tag,
                    layer=dwell.layer,
                    zone=dwell.zone,
                    start_ns=start_ns,
                    end_ns=dwell.end_ns,
                )
            )
        if still:
            self._left[dwell.visit] = still

    def advance(
        self, settled_ns: int, running: Running = nowhere
    ) -> tuple[list[Occupancy], list[QueueMinute]]:
        """Give the rows of all minutes that are complete.

        Parameters
        ----------
        settled_ns : int [ns], everything before is settled
        running : says where an open visit stays, for those still being served
        """
        people: list[Occupancy] = []
        queues: list[QueueMinute] = []
        last = settled_ns // _MINUTE_NS - 1
        for minute in sorted(m for m in self._seen if self._emitted_occupancy < m <= last):
            people += self._occupancy(minute)
        self._emitted_occupancy = max(self._emitted_occupancy, last)
        late = settled_ns - self._queues_late_ns
        for visit in list(self._left):
            self._settle_late(visit, late, running)
        last = late // _MINUTE_NS - 1
        for minute in sorted(m for m in self._seen if self._emitted_queue < m <= last):
            queues += self._queue(minute)
        if last > self._emitted_queue:
            self._emitted_queue = last
            self._forget(last, late - round(TAPS_KEPT_S * 1e9))
        return people, queues

    def _minute(self, tick: int) -> int:
        return tick * self._tick_ns // _MINUTE_NS

    def _settle_late(self, visit: str, late_ns: int, running: Running) -> None:
        """Decide about those of a visit whose next stay would be known by now."""
        waiting = self._left.pop(visit)
        still = [wait for wait in waiting if wait.end_ns > late_ns]
        if len(still) < len(waiting):
            now = running(visit)
            for wait in waiting:
                if wait.end_ns > late_ns:
                    continue
                soon = [(zone, start_ns) for zone, start_ns in now if _is_soon(wait, start_ns)]
                served = [start_ns for zone, start_ns in soon if zone in self._tills]
                if served:
                    self._settle(wait, served_ns=min(served))
                elif any(zone in self._queues for zone, _ in soon):
                    still.append(wait)  # goes on waiting
                else:
                    # Nobody was heard since: the end of the record, not of the wait.
                    is_cut = wait.end_ns + self._gap_ns >= self._heard_ns
                    self._settle(wait, is_cut=is_cut)
        if still:
            self._left[visit] = still

    def _settle(self, wait: _Wait, *, served_ns: int | None = None, is_cut: bool = False) -> None:
        minute = max((wait.end_ns - 1) // _MINUTE_NS, self._emitted_queue + 1)
        ends = [at for at in self._taps.get(wait.tag, ()) if _is_soon(wait, at)]
        if served_ns is not None:
            ends.append(served_ns)
        elif not self._sees_service and not is_cut:
            ends.append(wait.end_ns)
        if ends:
            self._waits[minute, wait.zone].append((min(ends) - wait.start_ns) / 1e9)
        elif not is_cut:
            self._abandoned[minute, wait.zone] += 1

    def _forget(self, last_minute: int, taps_before_ns: int) -> None:
        self._seen = {minute for minute in self._seen if minute > last_minute}
        self._counts = {m: found for m, found in self._counts.items() if m > last_minute}
        for booked in (self._waits, self._abandoned):
            for key in [key for key in booked if key[0] <= last_minute]:
                del booked[key]
        for tag, taps in list(self._taps.items()):
            kept = [at for at in taps if at >= taps_before_ns]
            if kept:
                self._taps[tag] = kept
            else:
                del self._taps[tag]

    def _mean(self, minute: int) -> NDArray[np.float64]:
        ticks = max(1, _MINUTE_NS // self._tick_ns)
        zero = np.zeros(len(self._store.zones), np.int64)
        return np.asarray(self._counts.get(minute, zero) / ticks, dtype=np.float64)

    def _occupancy(self, minute: int) -> list[Occupancy]:
        mean = self._mean(minute)
        return [
            Occupancy(
                t_ns=(minute + 1) * _MINUTE_NS,
                layer=zone.layer,
                zone=zone.id,
                people=math.floor(float(value) + 0.5),
            )
            for zone, value in zip(self._store.zones, mean, strict=True)
        ]

    def _queue(self, minute: int) -> list[QueueMinute]:
        mean = self._mean(minute)
        rows = []
        for at, zone in enumerate(self._store.zones):
            if zone.id not in self._queues:
                continue
            waits = self._waits.pop((minute, zone.id), [])
            rows.append(
                QueueMinute(
                    t_ns=(minute + 1) * _MINUTE_NS,
                    zone=zone.id,
                    length=math.floor(float(mean[at]) + 0.5),
                    wait_p50_s=round(float(np.quantile(waits, 0.5)), 3) if waits else None,
                    wait_p90_s=round(float(np.quantile(waits, 0.9)), 3) if waits else None,
                    abandoned=self._abandoned.pop((minute, zone.id), 0),
                )
            )
        return rows


def _is_soon(wait: _Wait, start_ns: int) -> bool:
    """Tell whether what begins at a moment comes of this wait."""
    return wait.start_ns < start_ns <= wait.end_ns + round(SERVED_WITHIN_S * 1e9)
