"""Taps that proved themselves, and tap points that take no others.

Rules of the file: the number of a card authorises nothing, since anybody can copy it. At a
tap point with the role `payment` a tap counts only with a proof of a scheme in `PROOFS`; the
others are dropped and counted as `UNPROVEN`. Whoever verified it is believed: the agent,
which has the keys and the counters.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store
from ingest.columns import Coded, DecodedBatch

PROOFS = frozenset({"ntag424-sun"})
"""Schemes that are believed; `firmware_profiles.crypto.PROOFS` has what verifies them."""
UNPROVEN = "unproven"


def payment_points(store: Store) -> frozenset[str]:
    """Return the tap points at which a tap needs a proof.

    Parameters
    ----------
    store : the store
    """
    return frozenset(point.id for point in store.tap_points if point.role == "payment")


def without_unproven(batch: DecodedBatch, points: frozenset[str]) -> DecodedBatch:
    """Return a batch without the taps that need a proof and have none.

    Parameters
    ----------
    batch : of any kind
    points : tap points at which a tap needs a proof

    Returns
    -------
    batch : the same object if nothing had to go
    """
    if batch.tap_point is None or points.isdisjoint(batch.tap_point.values):
        return batch
    refused = _among(batch.tap_point, points)
    if batch.proof is not None:
        refused &= ~_among(batch.proof, PROOFS)
    if not refused.any():
        return batch
    keep = ~refused
    return replace(
        batch,
        t_ns=batch.t_ns[keep],
        tap_point=_kept(batch.tap_point, keep),
        tag=_kept(batch.tag, keep),
        proof=_kept(batch.proof, keep),
    )


def _among(column: Coded, wanted: frozenset[str]) -> NDArray[np.bool_]:
    is_wanted = np.array([value in wanted for value in column.values], np.bool_)
    return is_wanted[column.codes] if len(is_wanted) else np.zeros(len(column.codes), np.bool_)


def _kept(column: Coded | None, keep: NDArray[np.bool_]) -> Coded | None:
    return None if column is None else Coded(values=column.values, codes=column.codes[keep])
