"""Taps of a batch as they are told: when, where, who.

Rules of the file: texts, not ids, because taps are told before the engine has seen them.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.columns import DecodedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """Taps of one batch as they will be told: [ns], tap point, tag."""

    t_ns: Sequence[int]
    tap_point: Sequence[str]
    tag: Sequence[str]


def kept_taps(batch: DecodedBatch, keep: NDArray[np.bool_]) -> Taps:
    """Return some taps of a batch.

    Parameters
    ----------
    batch : of kind tap
    keep : shape (rows,), bool
    """
    assert batch.tap_point is not None
    assert batch.tag is not None
    points, tags = batch.tap_point, batch.tag
    return Taps(
        t_ns=batch.t_ns[keep].tolist(),
        tap_point=[points.values[code] for code in points.codes[keep].tolist()],
        tag=[tags.values[code] for code in tags.codes[keep].tolist()],
    )


def taps_between(
    batch: DecodedBatch, known: Container[str], first_ns: int, last_ns: int
) -> list[tuple[int, str, str]]:
    """Return the taps of a batch at known tap points, as (t_ns, tap point, tag).

    Parameters
    ----------
    batch : any; only one of kind tap has taps
    known : tap points
    first_ns, last_ns : [ns] taps before or after these do not count
    """
    if batch.tap_point is None or batch.tag is None:
        return []
    taps = kept_taps(batch, (batch.t_ns >= first_ns) & (batch.t_ns <= last_ns))
    told = zip(taps.t_ns, taps.tap_point, taps.tag, strict=True)
    return [tap for tap in told if tap[1] in known]
