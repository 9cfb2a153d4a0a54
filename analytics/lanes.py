"""Lanes: the columns of the position filter, lent to tags while they are followed.

Blocks of growing width are added as tags arrive, up to a limit. Lanes are given in
the order of names among the tags of one tick, lowest first, so that the arrangement
depends on event time alone and never on the order of arrival.
"""

import heapq
from collections.abc import Iterator

import numpy as np

from analytics.blocks import Block, Layers
from analytics.filter_model import Model
from analytics.tracker import Scratch

FREE = -1
_WIDTHS = (32, 96, 128, 256)
"""Lanes of the blocks; an idle block costs nothing, a wider one would leave the cache."""
MEMORY_BYTES = 1 << 30
"""What all lanes may take together; they take it only as tags arrive."""
BELIEF_BYTES = 8
"""Of these, what a cell takes in each tick of the lag: its belief and its likelihood."""
LANES_LEAST = 256
"""A store is served by at least so many, whatever they take."""


def lane_bytes(model: Model, layers: Layers, *, depth: int, ring: int) -> int:
    """Return what a lane takes: its beliefs of the last ticks, and what was said of it.

    Parameters
    ----------
    model, layers, depth, ring : as for `Lanes`

    Notes
    -----
    Counted on a block with one lane. Most of it is 8 bytes for each cell and tick of `depth`.
    """
    block = Block(model, layers, Scratch(model, 1), base=0, lanes=1, depth=depth, ring=ring)
    own = (*vars(block).values(), *vars(block.tracker).values())
    return sum(array.nbytes for array in own if isinstance(array, np.ndarray))


def lanes_in_memory(bytes_each: int) -> int:
    """Return how many lanes `MEMORY_BYTES` have room for: whole blocks, `LANES_LEAST` or more.

    Parameters
    ----------
    bytes_each : int, what a lane takes

    Examples
    --------
    >>> lanes_in_memory(30_000), lanes_in_memory(1 << 20), lanes_in_memory(1 << 30)
    (35584, 1024, 256)
    """
    width = _WIDTHS[-1]
    return max(LANES_LEAST, MEMORY_BYTES // max(bytes_each, 1) // width * width)


class Lanes:
    """All blocks, and which seat uses which lane.

    Parameters
    ----------
    model : the store's matrices
    layers : its zone layers
    depth : int, ticks the corrected answer looks back over
    ring : int, ticks of answers kept
    most : int, lanes at most

    Attributes
    ----------
    blocks : list of blocks, in order of their lanes
    seat : shape (lanes,), int64, seat that uses the lane, `FREE` when none does
    """

    def __init__(self, model: Model, layers: Layers, *, depth: int, ring: int, most: int) -> None:
        self._model, self._layers = model, layers
        self._depth, self._ring, self.most = depth, ring, most
        self.blocks: list[Block] = []
        self.seat = np.empty(0, np.int64)
        self.used = 0
        self._free: list[int] = []
        self._block_of: list[Block] = []
        self._scratch: dict[int, Scratch] = {}

    def __len__(self) -> int:
        """Return the number of lanes, used or not."""
        return len(self.seat)

    def take(self, seat: int) -> int | None:
        """Give a seat the lowest free lane, or None when the limit is reached."""
        if not self._free:
            if len(self) >= self.most:
                return None
            self._grow()
        lane = heapq.heappop(self._free)
        self.seat[lane] = seat
        self.used += 1
        block = self.block_of(lane)
        block.forget(lane - block.base)
        return lane

    def release(self, lane: int) -> None:
        """Take a lane back."""
        self.seat[lane] = FREE
        self.used -= 1
        heapq.heappush(self._free, lane)

    def block_of(self, lane: int) -> Block:
        """Return the block that a lane belongs to."""
        return self._block_of[lane]

    def busy_blocks(self) -> Iterator[Block]:
        """Return the blocks with a lane in use."""
        for block in self.blocks:
            if (self.seat[block.base : block.end] >= 0).any():
                yield block

    def _grow(self) -> None:
        width = _WIDTHS[min(len(self.blocks), len(_WIDTHS) - 1)]
        if width not in self._scratch:
            self._scratch[width] = Scratch(self._model, width)
        block = Block(
            self._model,
            self._layers,
            self._scratch[width],
            base=len(self),
            lanes=width,
            depth=self._depth,
            ring=self._ring,
        )
        self.blocks.append(block)
        self._block_of += [block] * width
        self._free += range(len(self), len(self) + width)  # ascending, so still a heap
        self.seat = np.concatenate([self.seat, np.full(width, FREE, np.int64)])
