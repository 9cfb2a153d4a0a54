"""Who is no longer followed: lanes of the silent, seats of those whose visit is over.

Rules of the file: a lane is given back when its tag has been silent for a while and
every answer said meanwhile is final; a seat when the visit has ended and is settled.
What must survive a silence (power, decisions) moves from the lane to the seat.
"""

import numpy as np

from analytics.blocks import LIVE
from analytics.lanes import Lanes
from analytics.rows import Output
from analytics.seats import FREE, Seats
from analytics.settling import Settling
from analytics.zone_changes import ZoneChanges


class Departures:
    """Gives lanes and seats back.

    Parameters
    ----------
    seats, lanes, settling, changes : the engine's parts
    hold : int, ticks without evidence after which a place is unknown
    park_after : int, ticks of silence after which a lane is given back, at least `hold`
    gap : int, ticks of silence that end a visit
    """

    def __init__(
        self,
        seats: Seats,
        lanes: Lanes,
        settling: Settling,
        changes: ZoneChanges,
        *,
        hold: int,
        park_after: int,
        gap: int,
    ) -> None:
        self._seats, self._lanes = seats, lanes
        self._settling, self._changes = settling, changes
        self._hold, self._park_after, self._gap = hold, park_after, gap

    def park(self, tick: int, final_tick: int) -> None:
        """Take the lanes of those who have been silent for long.

        Parameters
        ----------
        tick : int, the tick that closes
        final_tick : int, corrected answers exist up to here
        """
        seats, lanes = self._seats, self._lanes
        silent = (seats.lane >= 0) & (tick - seats.last > self._park_after)
        silent &= seats.last + self._hold <= final_tick
        for seat in np.flatnonzero(silent).tolist():
            self._settling.park(seat)
            lane = int(seats.lane[seat])
            block = lanes.block_of(lane)
            at = lane - block.base
            seats.offset_db[seat], seats.variance_db2[seat] = block.tracker.power_of(at)
            seats.decided[:, :, seat] = block.decided[:, :, at]
            seats.rested[seat] = tick
            seats.lane[seat] = FREE
            lanes.release(lane)

    def expire(self, tick: int, out: Output) -> None:
        """End the visits whose tag has been silent for longer than the gap."""
        seats = self._seats
        over = np.flatnonzero((seats.tag >= 0) & (tick - seats.last - 1 > self._gap))
        for seat in over.tolist():
            cuts = self._settling.cuts.setdefault(seat, [])
            if not cuts or cuts[-1] < seats.last[seat]:
                cuts.append(int(seats.last[seat]))
        if len(over):
            self.free_ended(out)

    def end_all(self, out: Output) -> None:
        """End all visits at their last evidence."""
        for seat in np.flatnonzero(self._seats.tag >= 0).tolist():
            self._settling.cuts.setdefault(seat, []).append(int(self._seats.last[seat]))
        self.free_ended(out)

    def free_ended(self, out: Output) -> None:
        """Close visits whose end is settled, and empty the seats of those who left."""
        seats = self._seats
        ended = [
            seat
            for seat, cuts in self._settling.cuts.items()
            if cuts[-1] >= seats.last[seat] and seats.settled[seat] >= seats.last[seat]
        ]
        for seat in ended:
            del self._settling.cuts[seat]
        self._settling.close(ended, out)
        for seat in ended:
            lane, decided = int(seats.lane[seat]), seats.decided[LIVE, :, seat]
            if lane >= 0:
                block = self._lanes.block_of(lane)
                decided = block.decided[LIVE, :, lane - block.base]
                self._lanes.release(lane)
            out.zone_changes += self._changes.gone(seats, seat, decided)
            seats.release(seat)
