"""Where people were, thinned for the heat map: as much as an hour of it may be kept.

Rules of the file: of a tick with few people every position is kept, of a tick with many
each person's only every so many seconds, in turn, so that each has the same weight and the
embedded store's bound holds a whole hour. What is kept depends on the tick alone, so a
recomputation keeps the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.rows import Output, Positions
from gateway.engine_room import Trail

PER_TICK_MAX = 100
"""Positions kept of a tick of a second, about: 3,600 of them are within `positions_max`."""
SECOND_NS = 1_000_000_000


def trail_of(
    output: Output,
    *,
    layer_main: int,
    floors: Sequence[str],
    names: Callable[[NDArray[np.int32]], list[str]],
) -> Trail | None:
    """Return live positions of layer main in an output; None when there are none.

    Parameters
    ----------
    output : of `advance` or `finish`
    layer_main : index of the layer
    floors : ids of the floors
    names : returns the pseudonyms of tag ids
    """
    parts = []
    for block in output.positions:
        keep = (block.stage == 0) & (block.layer == layer_main) & np.isfinite(block.x_m)
        if keep.any():
            parts.append((block, keep))
    if not parts:
        return None
    kept = _in_turn(_joined(parts, "t_ns"), _joined(parts, "tag"))
    if not len(kept):
        return None
    distinct, at = np.unique(_joined(parts, "tag")[kept], return_inverse=True)
    texts = names(distinct)
    return Trail(
        t_ns=_joined(parts, "t_ns")[kept].tolist(),
        tag=[texts[i] for i in at.tolist()],
        zone=_joined(parts, "zone")[kept].tolist(),
        floor=[floors[i] for i in _joined(parts, "floor")[kept].tolist()],
        x_m=_rounded(_joined(parts, "x_m")[kept]),
        y_m=_rounded(_joined(parts, "y_m")[kept]),
    )


def _in_turn(t_ns: NDArray[np.int64], tag: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return which rows are kept: of a tick with many people each person's every so many."""
    _, tick, people = np.unique(t_ns, return_inverse=True, return_counts=True)
    every = -(-people // PER_TICK_MAX)
    return np.flatnonzero((t_ns // SECOND_NS + tag) % every[tick] == 0)


def _joined(parts: Sequence[tuple[Positions, NDArray[np.bool_]]], column: str) -> NDArray[Any]:
    return np.concatenate([getattr(block, column)[keep] for block, keep in parts])


def _rounded(numbers: NDArray[np.float32]) -> list[float]:
    rounded: list[float] = np.round(numbers.astype(np.float64), 2).tolist()
    return rounded
