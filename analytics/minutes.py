"""People and queues minute by minute.

A minute's row is written when every tick of it has settled; a minute in which no
receiver heard anything has no row, because nothing is known of it.
"""

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analytics.rows import Dwell, Occupancy, QueueMinute
from analytics.store import Store

QUEUE_LEAST_S = 10.0
"""Shorter stays in a queue zone are people who walk through."""
SERVED_WITHIN_S = 60.0
"""Who is at a checkout within this time after the queue was served; others gave up."""
_MINUTE_NS = 60 * 10**9

Running = Callable[[str], list[tuple[str, int]]]
"""Returns the zones in which an open visit stays now, and since when [ns]."""


def _nowhere(_visit: str) -> list[tuple[str, int]]:
    return []


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
        self._queues = [z.id for z in store.zones if z.kind == "queue"]
        self._served = {z.id for z in store.zones if z.kind in {"checkout", "service"}}
        self._left: dict[str, list[Dwell]] = defaultdict(list)
        self._waits: dict[tuple[int, str], list[float]] = defaultdict(list)
        self._abandoned: dict[tuple[int, str], int] = defaultdict(int)
        self._emitted_occupancy = self._emitted_queue = -1
        # A stay is known a dwell gap after its end, one that served it began within a minute.
        least_s = max(2 * SERVED_WITHIN_S, store.rules.dwell_gap_s + SERVED_WITHIN_S)
        self._queues_late_ns = round(least_s * 1e9)

    def seen(self, tick: int) -> None:
        """Note that something was heard in a tick."""
        self._seen.add(self._minute(tick))

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
        still: list[Dwell] = []
        for queue in self._left.pop(dwell.visit, []):
            served = self._serves(dwell.zone, dwell.start_ns, queue)
            if served or dwell.layer == queue.layer:
                self._settle(queue, served=served)
            else:  # stays of other layers say nothing about what came after the queue
                still.append(queue)
        if dwell.zone in self._queues and dwell.dwell_s >= QUEUE_LEAST_S:
            still.append(dwell)
        if still:
            self._left[dwell.visit] = still

    def advance(
        self, settled_ns: int, running: Running = _nowhere
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
        for visit, waiting in list(self._left.items()):
            over = [queue for queue in waiting if queue.end_ns <= late]
            if not over:
                continue
            now = running(visit)
            for queue in over:
                served = any(self._serves(zone, start_ns, queue) for zone, start_ns in now)
                self._settle(queue, served=served)
            self._left[visit] = [queue for queue in waiting if queue.end_ns > late]
            if not self._left[visit]:
                del self._left[visit]
        last = late // _MINUTE_NS - 1
        for minute in sorted(m for m in self._seen if self._emitted_queue < m <= last):
            queues += self._queue(minute)
        self._emitted_queue = max(self._emitted_queue, last)
        for minute in [m for m in self._seen if m <= last]:
            self._seen.discard(minute)
            self._counts.pop(minute, None)
        return people, queues

    def _minute(self, tick: int) -> int:
        return tick * self._tick_ns // _MINUTE_NS

    def _serves(self, zone: str, start_ns: int, queue: Dwell) -> bool:
        if zone not in self._served:
            return False
        return queue.start_ns < start_ns <= queue.end_ns + round(SERVED_WITHIN_S * 1e9)

    def _settle(self, queue: Dwell, *, served: bool) -> None:
        key = ((queue.end_ns - 1) // _MINUTE_NS, queue.zone)
        if served:
            self._waits[key].append(queue.dwell_s)
        else:
            self._abandoned[key] += 1

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
