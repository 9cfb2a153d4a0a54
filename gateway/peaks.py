"""The most people in a zone at one moment of each minute.

Rules of the file: counted from the corrected positions of the engine's own output, tick
by tick, so it fits the mean that the table ``occupancy`` has; only minutes whose row is
still to come are kept, and of those at most `MINUTES_MAX`, the oldest going first.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.rows import STAGES, Positions
from analytics.store import Store

MINUTE_NS = 60_000_000_000
MINUTES_MAX = 64
_FINAL = STAGES.index("final")


class Peaks:
    """Counts people per tick and zone.

    Parameters
    ----------
    store : zones and the length of a tick
    """

    def __init__(self, store: Store) -> None:
        self._tick_ns = store.rules.tick_ns
        self._zones = {zone.id: at for at, zone in enumerate(store.zones)}
        self._ticks_most = MINUTE_NS // self._tick_ns + 1
        self._minutes: dict[int, NDArray[np.int32]] = {}
        self._told = -1

    def state(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        minutes = {minute: counts.tobytes() for minute, counts in self._minutes.items()}
        return {"told": self._told, "minutes": minutes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned.

        Parameters
        ----------
        state : of the same store

        Raises
        ------
        ValueError
            It is of another store.
        """
        shape = (self._ticks_most, len(self._zones))
        self._told = int(state["told"])
        self._minutes = {
            int(minute): np.frombuffer(counts, np.int32).reshape(shape).copy()
            for minute, counts in state["minutes"].items()
        }

    def count(self, block: Positions) -> None:
        """Count a stretch of the positions table; rows of minutes already told are left out.

        Parameters
        ----------
        block : of an output
        """
        tick = block.t_ns // self._tick_ns - 1
        minute = tick * self._tick_ns // MINUTE_NS
        keep = (block.stage == _FINAL) & (block.zone >= 0) & (minute > self._told)
        for each in np.unique(minute[keep]).tolist():
            rows = keep & (minute == each)
            counts = self._minutes.get(each)
            if counts is None:
                counts = np.zeros((self._ticks_most, len(self._zones)), np.int32)
                self._minutes[each] = counts
            first = -(-each * MINUTE_NS // self._tick_ns)
            np.add.at(counts, (tick[rows] - first, block.zone[rows]), 1)
        for each in sorted(self._minutes)[:-MINUTES_MAX]:
            del self._minutes[each]

    def most(self, end_ns: int, zone: str) -> int:
        """Return the most people that a zone had in one tick of a minute.

        Parameters
        ----------
        end_ns : [ns] the minute's end
        zone : its id
        """
        counts = self._minutes.get(end_ns // MINUTE_NS - 1)
        return 0 if counts is None else int(counts[:, self._zones[zone]].max())

    def forget(self, end_ns: int) -> None:
        """Forget the minutes up to one whose rows are told.

        Parameters
        ----------
        end_ns : [ns] its end
        """
        self._told = max(self._told, end_ns // MINUTE_NS - 1)
        for each in [minute for minute in self._minutes if minute <= self._told]:
            del self._minutes[each]
