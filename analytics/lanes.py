"""Lanes: which tag sits where, since when, and what of it is settled.

Blocks of growing width are added as tags arrive, up to a limit; a lane goes to the
tag with the smallest name among those that appear in the same tick, so that the
arrangement depends on event time alone and never on the order of arrival.
"""

import heapq
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import Block, Layers
from analytics.tracker import Model

FREE = -1
NEVER = -(1 << 60)
_WIDTHS = (32, 32, 192, 256, 512, 1024)
"""Lanes of the blocks: half a block costs two thirds of a whole one, an empty one nothing."""


class Lanes:
    """All blocks, and the bookkeeping of their lanes in arrays.

    Attributes
    ----------
    tag : shape (lanes,), int32, id of the tag, `FREE` when empty
    first : shape (lanes,), int64, first tick of the visit that the newest evidence belongs to
    last : shape (lanes,), int64, last tick with evidence
    settled : shape (lanes,), int64, ticks up to here have given their rows
    active : shape (lanes,), bool, stepped in every tick
    rested : shape (lanes,), int64, tick after which it was last no longer stepped
    """

    def __init__(self, model: Model, layers: Layers, *, depth: int, ring: int, most: int) -> None:
        self._model, self._layers = model, layers
        self._depth, self._ring, self._most = depth, ring, most
        self.blocks: list[Block] = []
        self.tag = np.empty(0, np.int32)
        self.first = np.empty(0, np.int64)
        self.last = np.empty(0, np.int64)
        self.settled = np.empty(0, np.int64)
        self.active = np.empty(0, np.bool_)
        self.rested = np.empty(0, np.int64)
        self.names: list[str] = []
        self._free: list[int] = []
        self._of_tag = np.full(1024, FREE, np.int64)

    def __len__(self) -> int:
        """Return the number of lanes, used or not."""
        return len(self.tag)

    def of(self, tags: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the lane of each tag, `FREE` where it has none."""
        if len(tags):
            self._reserve(int(tags.max()))
        return self._of_tag[tags]

    def take(self, tag: int, name: str, tick: int) -> int | None:
        """Give a new tag the lowest free lane, or None when the limit is reached.

        Parameters
        ----------
        tag : its id
        name : its pseudonym
        tick : the tick in which it was first heard
        """
        if not self._free:
            if len(self) >= self._most:
                return None
            self._grow()
        lane = heapq.heappop(self._free)
        self._reserve(tag)
        self._of_tag[tag] = lane
        self.tag[lane] = tag
        self.names[lane] = name
        self.first[lane] = self.last[lane] = tick
        self.settled[lane] = tick - 1
        self.active[lane] = True
        block = self.block_of(lane)
        block.tracker.restart(lane - block.base, keep_offset=False)
        block.forget(lane - block.base)
        return lane

    def rest(self, lane: int, tick: int) -> None:
        """Stop stepping a lane after a tick: its tag has been silent for long."""
        self.active[lane] = False
        self.rested[lane] = tick
        block = self.block_of(lane)
        block.tracker.rest(lane - block.base)

    def resume(self, lane: int, tick: int) -> None:
        """Step a lane again from a tick on; its decided zones stand until evidence moves them."""
        self.active[lane] = True
        block = self.block_of(lane)
        rested = tick - int(self.rested[lane])
        block.tracker.restart(lane - block.base, keep_offset=True, rested_ticks=rested)

    def release(self, lane: int) -> None:
        """Empty a lane: its tag's visit is over and settled."""
        self._of_tag[self.tag[lane]] = FREE
        self.tag[lane] = FREE
        self.names[lane] = ""
        self.last[lane] = self.settled[lane] = NEVER
        self.active[lane] = False
        heapq.heappush(self._free, lane)

    def block_of(self, lane: int) -> Block:
        """Return the block that a lane belongs to."""
        return next(b for b in self.blocks if lane < b.base + b.lanes)

    def busy_blocks(self) -> Iterator[Block]:
        """Return the blocks with a lane that must be stepped."""
        for block in self.blocks:
            if self.active[block.base : block.base + block.lanes].any():
                yield block

    def _reserve(self, tag: int) -> None:
        if tag >= len(self._of_tag):
            more = np.full(max(tag + 1, 2 * len(self._of_tag)) - len(self._of_tag), FREE, np.int64)
            self._of_tag = np.concatenate([self._of_tag, more])

    def _grow(self) -> None:
        width = _WIDTHS[min(len(self.blocks), len(_WIDTHS) - 1)]
        self.blocks.append(
            Block(
                self._model,
                self._layers,
                base=len(self),
                lanes=width,
                depth=self._depth,
                ring=self._ring,
            )
        )
        self._free += range(len(self), len(self) + width)  # ascending, so still a heap
        self.tag = np.concatenate([self.tag, np.full(width, FREE, np.int32)])
        self.first = np.concatenate([self.first, np.full(width, NEVER, np.int64)])
        self.last = np.concatenate([self.last, np.full(width, NEVER, np.int64)])
        self.settled = np.concatenate([self.settled, np.full(width, NEVER, np.int64)])
        self.active = np.concatenate([self.active, np.zeros(width, np.bool_)])
        self.rested = np.concatenate([self.rested, np.full(width, NEVER, np.int64)])
        self.names += [""] * width
