"""Who is followed: seats and lanes for the tags that were heard in a tick.

Rules of the file: tags of one tick are served in the order of their names, so that
the arrangement depends on event time alone. New tags may fill only `NEW_SHARE` of the
lanes: a flood of them never takes the place of those who are known.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.lanes import Lanes
from analytics.rows import Output
from analytics.seats import FREE, Seats
from analytics.settling import Settling
from analytics.tap_turns import cut_by_entry
from analytics.tick_buffer import Columns
from analytics.watches import Watches

NEW_SHARE = 0.75

I64 = NDArray[np.int64]
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Where the rows of a tick belong.

    Attributes
    ----------
    of_reading, of_tap : shape (rows,), int64, seat of each row, -1 = not followed
    seat : shape (n,), int64, the seats with evidence in this tick
    stands_for : shape (n,), float32, ticks that this evidence speaks for: since the last
        one, unless a place was unknown in between
    """

    of_reading: I64
    of_tap: I64
    seat: I64
    stands_for: NDArray[np.float32]


class Admission:
    """Gives seats and lanes.

    Parameters
    ----------
    seats, lanes, settling, watches : the engine's parts
    name_of : returns the pseudonyms of tag ids
    staff : pseudonyms that are never followed
    roles : of the tap points
    hold : int, ticks without evidence after which a place is unknown
    tick_s : float [s]

    Attributes
    ----------
    refused_tags : int, tags that found no place, counted in every tick they were heard
    """

    def __init__(
        self,
        seats: Seats,
        lanes: Lanes,
        settling: Settling,
        watches: Watches,
        *,
        name_of: Callable[[NDArray[np.int32]], list[str]],
        staff: frozenset[str],
        roles: list[str],
        hold: int,
        tick_s: float,
    ) -> None:
        self._seats, self._lanes, self._settling = seats, lanes, settling
        self._watches = watches
        self._name_of, self._staff, self._roles = name_of, staff, roles
        self._hold, self._tick_s = hold, tick_s
        self.refused_tags = 0

    def cut(self, tick: int, taps: Columns) -> None:
        """End visits before this tick where an entry tap begins another one."""
        cut_by_entry(tick, taps, self._roles, self._seats, self._settling.cuts, self._tick_s)

    def admit(
        self, tick: int, readings: Columns | None, taps: Columns | None, out: Output
    ) -> Admitted:
        """Find or give places for the tags of a tick, and note their evidence.

        Parameters
        ----------
        tick : int
        readings : t_ns, receiver, tag, tenths, or None
        taps : t_ns, tap_point, tag, or None
        """
        seats = self._seats
        of_reading, of_tap = (
            _NONE if rows is None else seats.of(rows[2]) for rows in (readings, taps)
        )
        found = np.zeros(len(seats) + 1, np.bool_)  # the last one stands for those without a seat
        found[of_reading] = found[of_tap] = True
        at = np.flatnonzero(found[:-1])
        resting = at[seats.lane[at] < 0]
        if found[-1] or len(resting):
            unknown = [
                rows[2][seat < 0]
                for rows, seat in ((readings, of_reading), (taps, of_tap))
                if rows is not None
            ]
            self._place(tick, np.unique(np.concatenate(unknown)), resting, out)
            of_reading, of_tap = (
                _NONE if rows is None else self._followed(rows[2]) for rows in (readings, taps)
            )
            found = np.zeros(len(seats) + 1, np.bool_)
            found[of_reading] = found[of_tap] = True
            at = np.flatnonzero(found[:-1])
        elapsed = tick - seats.last[at]
        stands_for = np.where(elapsed > self._hold, 1, np.maximum(elapsed, 1)).astype(np.float32)
        begins = [
            seat for seat, cuts in self._settling.cuts.items() if cuts[-1] >= seats.last[seat]
        ]
        if begins:
            seats.first[np.intersect1d(at, begins)] = tick
        seats.last[at] = tick
        return Admitted(
            of_reading=of_reading,
            of_tap=of_tap,
            seat=at,
            stands_for=stands_for,
        )

    def _followed(self, tags: NDArray[np.int32]) -> I64:
        seat = self._seats.of(tags)
        return np.where((seat >= 0) & (self._seats.lane[seat] >= 0), seat, FREE)

    def _place(self, tick: int, new: NDArray[np.int32], resting: I64, out: Output) -> None:
        seats, lanes = self._seats, self._lanes
        waiting = [(seats.names[seat], int(seats.tag[seat]), seat) for seat in resting.tolist()]
        for name, tag in zip(self._name_of(new), new.tolist(), strict=True):
            if name not in self._staff:
                waiting.append((name, tag, FREE))
        for name, tag, known in sorted(waiting):
            if known == FREE and lanes.used >= NEW_SHARE * lanes.most:
                self.refused_tags += 1
                continue
            seat = seats.take(tag, name, tick) if known == FREE else known
            lane = None if seat is None else lanes.take(seat)
            if seat is None or lane is None:
                if seat is not None and known == FREE:
                    seats.release(seat)
                self.refused_tags += 1
                continue
            self._settling.grow()
            self._start(tick, seat, lane, out if known != FREE else None)

    def _start(self, tick: int, seat: int, lane: int, out: Output | None) -> None:
        seats = self._seats
        seats.lane[seat] = lane
        self._watches.forget(lane)
        block = self._lanes.block_of(lane)
        at = lane - block.base
        if out is None:
            block.tracker.start(at)
            return
        rested = tick - int(seats.rested[seat])
        block.tracker.restart(
            at,
            offset_db=float(seats.offset_db[seat]),
            variance_db2=float(seats.variance_db2[seat]),
            rested_ticks=rested,
        )
        block.decided[:, :, at] = seats.decided[:, :, seat]
        self._settling.resume(seat, tick, out)
