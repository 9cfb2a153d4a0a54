"""What watches over receivers and tags while they are followed, and its rows.

Rules of the file: the watches see every closed tick once, in order, and speak of event
time alone; a receiver that is taken out goes on being watched.
"""

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import LIVE
from analytics.geometry import points_in_polygon
from analytics.lanes import Lanes
from analytics.levels import Levels
from analytics.radio_map import RadioMap
from analytics.receiver_watch import ReceiverWatch
from analytics.rows import Output, TagFlag
from analytics.seats import Seats
from analytics.store import Store
from analytics.tag_watch import Impossible, TagWatch


class Watches:
    """The receivers' and the tags' watch of one store.

    Parameters
    ----------
    store : the store
    radio_map : against which receivers are judged
    seats, lanes : the engine's parts
    """

    def __init__(self, store: Store, radio_map: RadioMap, seats: Seats, lanes: Lanes) -> None:
        self._store, self._seats, self._lanes = store, seats, lanes
        self._tick_ns = store.rules.tick_ns
        self._receivers = ReceiverWatch(
            tuple(receiver.id for receiver in store.receivers),
            tick_ns=self._tick_ns,
            anchored=radio_map.source != "geometry",
        )
        places = np.array([receiver.position_m for receiver in store.receivers]).reshape(-1, 3)
        self._tags = TagWatch(places, tick_s=store.rules.tick_s)

    @property
    def use(self) -> NDArray[np.float32]:
        """Which receivers count, shape (receivers, 1), 0 for those that are taken out."""
        return self._receivers.use[:, None]

    def forget(self, lane: int) -> None:
        """Start a lane for another tag."""
        self._tags.forget(lane)

    def note(self, tick: int, levels: Levels) -> None:
        """Look at a tick after its live answers were recorded.

        Parameters
        ----------
        tick : int
        levels : of all lanes, as they came
        """
        blocks = self._lanes.blocks
        expected = np.concatenate([block.tracker.expected_db for block in blocks], axis=1)
        places = [block.place[LIVE, tick % block.ring, :2] for block in blocks]
        x_m, y_m = np.concatenate(places, axis=1)
        self._receivers.note(tick, levels.level_db, levels.heard, expected)
        self._tags.note(tick, levels.level_db, levels.mean_db, levels.count, x_m, y_m)

    def decide(self, tick: int, out: Output) -> None:
        """Say what is new after all blocks of a tick were noted."""
        out.receiver_health += self._receivers.decide(tick)
        out.tag_flags += [self._flag(tick, found) for found in self._tags.decide(tick)]

    def _flag(self, tick: int, found: Impossible) -> TagFlag:
        seat = int(self._lanes.seat[found.lane])
        block = self._lanes.block_of(found.lane)
        decided = int(block.decided[LIVE, 0, found.lane - block.base])
        main = [zone for zone in self._store.zones if zone.layer == self._store.layers[0]]
        zones = [main[decided].id] if 0 <= decided < len(main) else []
        x_m, y_m = np.array([found.x_m]), np.array([found.y_m])
        zones += [zone.id for zone in main if points_in_polygon(x_m, y_m, zone.polygon_m)[0]]
        return TagFlag(
            kind=found.kind,
            t_ns=(tick + 1) * self._tick_ns,
            tag=self._seats.names[seat],
            zones=tuple(dict.fromkeys(zones)),
        )
