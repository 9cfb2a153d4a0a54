"""Many batches of readings as one: their columns joined, each batch's times kept.

Rules of the file: only what is alike is joined (`Driver` decides); nothing is dropped or
counted here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ingest.columns import DecodedBatch
from ingest.packed_tags import PackedTags

ROWS_MAX = 65_536
"""Rows joined at once, about: their columns stay in a core's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Readings of some batches in their order.

    Attributes
    ----------
    t_ns : shape (rows,), int64 [ns]
    receiver : shape (rows,), int16, index into the store's receivers
    tag_code : shape (rows,), int32, index into `tags`
    rssi_dbm : shape (rows,), float64 [dBm], rounded to 0.1 dB
    tags : those of all batches, one batch's after the other's
    tag_seen_ns : shape (len(tags),), int64 [ns], the newest row of each one's batch
    oldest_ns, newest_ns, received_ns : shape (batches,), int64 [ns]
    """

    t_ns: NDArray[np.int64]
    receiver: NDArray[np.int16]
    tag_code: NDArray[np.int32]
    rssi_dbm: NDArray[np.float64]
    tags: PackedTags
    tag_seen_ns: NDArray[np.int64]
    oldest_ns: NDArray[np.int64]
    newest_ns: NDArray[np.int64]
    received_ns: NDArray[np.int64]

    def is_within(self, behind_ns: int, ahead_ns: int) -> bool:
        """Tell whether no row is too far from when its batch arrived.

        Parameters
        ----------
        behind_ns, ahead_ns : [ns] how far is too far
        """
        return bool(
            (self.newest_ns <= self.received_ns + ahead_ns).all()
            and (self.oldest_ns >= self.received_ns - behind_ns).all()
        )


def is_plain(batch: DecodedBatch, receivers: Mapping[str, int]) -> bool:
    """Tell whether a batch may be joined with others: readings of known receivers.

    Parameters
    ----------
    batch : any
    receivers : index by name
    """
    return (
        batch.kind == "ble"
        and batch.rows > 0
        and batch.tag is not None
        and isinstance(batch.tag.values, PackedTags)
        and batch.receiver is not None
        and all(map(receivers.__contains__, batch.receiver.values))
    )


def join_readings(batches: Sequence[tuple[DecodedBatch, int]], receivers: Mapping[str, int]) -> Run:
    """Join batches.

    Parameters
    ----------
    batches : readings with packed tags and known receivers, at least a row each, and [ns]
        when each arrived
    receivers : index by name
    """
    t_ns, rssi_dbm, receiver_codes, tag_codes, a, b = [], [], [], [], [], []
    lookup: list[int] = []
    receiver_counts: list[int] = []
    for batch, _ in batches:
        assert batch.receiver is not None
        assert batch.tag is not None
        assert batch.rssi_dbm is not None
        tags = cast("PackedTags", batch.tag.values)
        receiver_counts.append(len(batch.receiver.values))
        lookup += map(receivers.__getitem__, batch.receiver.values)
        t_ns.append(batch.t_ns)
        rssi_dbm.append(batch.rssi_dbm)
        receiver_codes.append(batch.receiver.codes)
        tag_codes.append(batch.tag.codes)
        a.append(tags.a)
        b.append(tags.b)
    rows, tag_counts = [*map(len, t_ns)], [*map(len, a)]
    begins = np.array([0, *accumulate(rows[:-1])])
    joined_ns = np.concatenate(t_ns)
    newest_ns = np.maximum.reduceat(joined_ns, begins)
    return Run(
        t_ns=joined_ns,
        receiver=np.array(lookup, np.int16)[_shifted(receiver_codes, receiver_counts, rows)],
        tag_code=_shifted(tag_codes, tag_counts, rows),
        rssi_dbm=np.concatenate(rssi_dbm),
        tags=PackedTags(np.concatenate(a), np.concatenate(b)),
        tag_seen_ns=np.repeat(newest_ns, tag_counts),
        oldest_ns=np.minimum.reduceat(joined_ns, begins),
        newest_ns=newest_ns,
        received_ns=np.array([received_ns for _, received_ns in batches], np.int64),
    )


def _shifted(
    codes: Sequence[NDArray[np.int32]], counts: Sequence[int], rows: Sequence[int]
) -> NDArray[np.int32]:
    """Return codes of some lists as codes of all of them joined."""
    begins = np.cumsum(counts) - counts
    return np.concatenate(codes) + np.repeat(begins.astype(np.int32), rows)
