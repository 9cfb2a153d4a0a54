"""Seats: every tag whose visit is open, followed or at rest, in arrays.

A seat holds the little that must survive a silence; a lane of the filter is lent to
it only while its tag is heard. So many tags can be known while few are followed.
"""

import heapq

import numpy as np
from numpy.typing import NDArray

FREE = -1
NEVER = -(1 << 60)
SEATS_MOST = 131_072
"""Tags known at one time; further ones are refused and counted."""
_FIRST = 256

I64 = NDArray[np.int64]


class Seats:
    """Bookkeeping of the tags that are known.

    Attributes
    ----------
    tag : shape (seats,), int32, id of the tag, `FREE` when empty
    lane : shape (seats,), int64, lane that follows it, `FREE` at rest
    first : shape (seats,), int64, first tick of the visit that the newest evidence belongs to
    last : shape (seats,), int64, last tick with evidence
    settled : shape (seats,), int64, ticks up to here have given their rows
    rested : shape (seats,), int64, tick after which it was no longer followed
    offset_db, variance_db2 : shape (seats,), float64, power of the tag when put to rest
    decided : shape (2, layers, seats), int16, zones decided when put to rest
    names : pseudonym of each seat, empty when free
    """

    def __init__(self, layers: int) -> None:
        self.tag = np.empty(0, np.int32)
        self.lane = np.empty(0, np.int64)
        self.first = np.empty(0, np.int64)
        self.last = np.empty(0, np.int64)
        self.settled = np.empty(0, np.int64)
        self.rested = np.empty(0, np.int64)
        self.offset_db = np.empty(0)
        self.variance_db2 = np.empty(0)
        self.decided = np.empty((2, layers, 0), np.int16)
        self.names: list[str] = []
        self.taken = 0
        self._free: list[int] = []
        self._of_tag = np.full(1024, FREE, np.int64)
        self._grow()

    def __len__(self) -> int:
        """Return the number of seats, taken or not."""
        return len(self.tag)

    def of(self, tags: NDArray[np.int32]) -> I64:
        """Return the seat of each tag, `FREE` where it has none."""
        if len(tags):
            self._reserve(int(tags.max()))
        return self._of_tag[tags]

    def take(self, tag: int, name: str, tick: int) -> int | None:
        """Give a new tag a seat, or None when all are taken.

        Parameters
        ----------
        tag : its id
        name : its pseudonym
        tick : the tick in which it was first heard
        """
        if not self._free:
            if len(self) >= SEATS_MOST:
                return None
            self._grow()
        seat = heapq.heappop(self._free)
        self._reserve(tag)
        self._of_tag[tag] = seat
        self.tag[seat] = tag
        self.lane[seat] = FREE
        self.names[seat] = name
        self.first[seat] = self.last[seat] = tick
        self.settled[seat] = tick - 1
        self.taken += 1
        return seat

    def release(self, seat: int) -> None:
        """Empty a seat: its tag's visit is over and settled."""
        self._of_tag[self.tag[seat]] = FREE
        self.tag[seat] = self.lane[seat] = FREE
        self.names[seat] = ""
        self.last[seat] = self.settled[seat] = NEVER
        self.taken -= 1
        heapq.heappush(self._free, seat)

    def _reserve(self, tag: int) -> None:
        if tag >= len(self._of_tag):
            more = np.full(max(tag + 1, 2 * len(self._of_tag)) - len(self._of_tag), FREE, np.int64)
            self._of_tag = np.concatenate([self._of_tag, more])

    def _grow(self) -> None:
        size = len(self)
        more = min(max(_FIRST, size), SEATS_MOST - size)

        def longer(values: I64, fill: int) -> I64:
            return np.concatenate([values, np.full(more, fill, np.int64)])

        self._free += range(size, size + more)  # ascending, so still a heap
        self.tag = np.concatenate([self.tag, np.full(more, FREE, np.int32)])
        self.lane = longer(self.lane, FREE)
        self.first, self.last = longer(self.first, NEVER), longer(self.last, NEVER)
        self.settled, self.rested = longer(self.settled, NEVER), longer(self.rested, NEVER)
        self.offset_db = np.concatenate([self.offset_db, np.zeros(more)])
        self.variance_db2 = np.concatenate([self.variance_db2, np.zeros(more)])
        fresh = np.full((*self.decided.shape[:2], more), -1, np.int16)
        self.decided = np.concatenate([self.decided, fresh], axis=2)
        self.names += [""] * more
