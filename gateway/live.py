"""The live picture: one message a second, encoded once for everybody who watches.

Rules of the file: a watcher's queue is bounded, and when it is full its oldest message
goes (a slow browser sees fewer pictures, nobody else notices); messages are numbered,
and a watcher that comes back gets those it has missed of the last half minute. The
picture on MQTT has no persons in it, the page's has.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from analytics.store import Store
from ingest.tag_table import TagTable

EVENTS_MAX = 50
WATCHERS_MAX = 256
_QUEUE_MAX = 8
_BACKLOG_MAX = 30


class LivePicture:
    """Who is where now, put together by the engine's thread, read by the loop."""

    def __init__(self, store: Store) -> None:
        self._zones = [zone.id for zone in store.zones]
        self._floors = [floor.id for floor in store.floors]
        self._empty = {zone.id: 0 for zone in store.zones if zone.layer == "main"}
        self._state: dict[str, Any] = {
            "t_ns": 0,
            "zones": self._empty,
            "queues": {},
            "tags": [],
        }

    @property
    def people(self) -> int:
        """Tags present now."""
        return len(self._state["tags"])

    def update(self, live: Any, tags: TagTable) -> None:  # noqa: ANN401
        """Take the engine's `live()`; call it in the engine's thread.

        Parameters
        ----------
        live : of `analytics.engine.Engine`
        tags : the names of its ids
        """
        names = tags.names(np.asarray(live.tag, dtype=np.int32))
        # With one floor a tag has no floor, as the contract says.
        floors: list[dict[str, str]] = [{} for _ in names]
        if len(self._floors) > 1:
            floors = [{"floor": self._floors[at]} for at in _list(live.floor)]
        columns = zip(
            names,
            _list(live.zone),
            _list(live.zone_p, 3),
            _list(live.x_m, 2),
            _list(live.y_m, 2),
            _list(live.sigma_m, 2),
            floors,
            strict=True,
        )
        self._state = {
            "t_ns": int(live.t_ns),
            "zones": {**self._empty, **{zone: int(n) for zone, n in live.people.items()}},
            "queues": {zone: int(n) for zone, n in live.queues.items()},
            "tags": [
                {
                    "tag": tag,
                    "zone": self._zones[zone] if zone >= 0 else None,
                    "zone_p": zone_p,
                    "x_m": x_m,
                    "y_m": y_m,
                    "sigma_m": sigma_m,
                    **floor,
                }
                for tag, zone, zone_p, x_m, y_m, sigma_m, floor in columns
            ],
        }

    def message(
        self, alarms: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return one message of ``/api/v1/live`` as an object.

        Parameters
        ----------
        alarms : what is wrong now
        events : CloudEvents since the last message; the newest fifty are taken
        """
        state = self._state
        return {
            "t_ns": state["t_ns"],
            "zones": state["zones"],
            "queues": state["queues"],
            "alarms": list(alarms),
            "tags": state["tags"],
            "events": list(events)[-EVENTS_MAX:],
        }


class LiveHub:
    """Hands each message to all watchers."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Queue[bytes | None]] = set()
        self._backlog: deque[tuple[int, bytes]] = deque(maxlen=_BACKLOG_MAX)
        self._number = 0
        self._is_closed = False
        self.messages_dropped = 0

    def __len__(self) -> int:
        """Return how many watch."""
        return len(self._watchers)

    def send(self, message: dict[str, Any]) -> None:
        """Encode a message once and put it into every watcher's queue.

        Parameters
        ----------
        message : of `LivePicture.message`
        """
        self._number += 1
        frame = b"id: %d\ndata: %s\n\n" % (self._number, msgspec.json.encode(message))
        self._backlog.append((self._number, frame))
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
                self.messages_dropped += 1
            queue.put_nowait(frame)

    def join(self, last_seen: int | None) -> "asyncio.Queue[bytes | None] | None":
        """Return a new watcher's queue, filled with what it missed; None when there are too many.

        Parameters
        ----------
        last_seen : the number of the last message it has; None = a new watcher
        """
        if len(self._watchers) >= WATCHERS_MAX:
            return None
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE_MAX)
        if self._is_closed:
            queue.put_nowait(None)
            return queue
        for frame in self._missed(last_seen):
            queue.put_nowait(frame)
        self._watchers.add(queue)
        return queue

    def leave(self, queue: "asyncio.Queue[bytes | None]") -> None:
        """Forget a watcher.

        Parameters
        ----------
        queue : as `join` returned it
        """
        self._watchers.discard(queue)

    def close(self) -> None:
        """End all streams; who joins later gets an ended one."""
        self._is_closed = True
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    def _missed(self, last_seen: int | None) -> Iterable[bytes]:
        if not self._backlog:
            return []
        if last_seen is None or not 0 <= last_seen <= self._number:
            return [self._backlog[-1][1]]
        return [frame for number, frame in self._backlog if number > last_seen][-_QUEUE_MAX + 1 :]


def _list(column: Any, decimals: int | None = None) -> list[Any]:  # noqa: ANN401
    values = np.asarray(column)
    if decimals is None:
        whole: list[Any] = values.tolist()
        return whole
    rounded = np.round(values.astype(np.float64), decimals)
    return [None if np.isnan(value) else value for value in rounded.tolist()]
