"""Collects rows into batches: by size, by time, taps at once.

Rules of the file: no clock, no task, no disk: the agent says when. All kinds are closed
together when time is up or a tap comes, so that what an agent sends is nearly in the
order of event time, and each batch says how far the agent is complete (`complete_ns`).
Seqs count from 1 without gaps within a boot and kind, in the order of closing; a batch
gets its own only when it is known to be short enough for the broker.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from edge.measurement import Measurement, Reading, Sample, Tap
from firmware_profiles.decoders.nfc import is_random_tag
from ingest.batch import (
    INT64_MAX,
    KINDS,
    PAYLOAD_BYTES_MAX,
    RSSI_MAX_DBM,
    RSSI_MIN_DBM,
    Batch,
    Columns,
    Kind,
    encode_batch,
    round_rssi,
)
from ingest.identifiers import is_name

Row = tuple[Any, ...]


class ClosedBatch(NamedTuple):
    """A batch that is encoded and waits for the disk.

    One with `dropped` has no rows and stands for so many that had to give way.
    """

    boot: str
    kind: Kind
    seq: int
    rows: int
    payload: bytes
    sent_ns: int = 0
    dropped: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends: the fields that every batch of one run of the agent has."""

    store: str
    agent: str
    boot: str


class Batcher:
    """Turns measurements into closed batches.

    Parameters
    ----------
    sender : goes into every batch
    outer : raw tag → what may leave the agent, None = not a tag (`Identity.outer`)
    first_seq : kind → the lowest seq of this boot that the outbox still holds
    max_rows : a kind's batch is closed when it has so many rows
    bytes_max : a batch that is longer when encoded is split
    """

    ROW_BYTES_MAX = 1024
    """No single row is longer: names and tags have at most 64 characters."""

    def __init__(
        self,
        sender: Sender,
        *,
        outer: Callable[[str], str | None],
        first_seq: Callable[[Kind], int],
        max_rows: int = 512,
        bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        self._sender = sender
        self._outer = outer
        self._first_seq = first_seq
        self._max_rows = max_rows
        self._bytes_max = bytes_max
        self._open: dict[Kind, list[Row]] = {kind: [] for kind in KINDS}
        self._oldest_ns: dict[Kind, int] = dict.fromkeys(KINDS, INT64_MAX)
        self._newest_ns = 0
        self._next_seq: dict[Kind, int] = dict.fromkeys(KINDS, 1)
        self._is_name = lru_cache(maxsize=4096)(is_name)
        self.urgent = False
        self.rows: Counter[Kind] = Counter()
        self.dropped: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        """Rows in open batches."""
        return sum(map(len, self._open.values()))

    def add(self, measurements: Iterable[Measurement]) -> bool:
        """Take measurements; what cannot be right is dropped and counted by reason.

        Parameters
        ----------
        measurements : with raw tags

        Returns
        -------
        full : whether something should be closed now (`close_full`, or `close` after a tap)
        """
        for measurement in measurements:
            row = self._row(measurement)
            if isinstance(row, str):
                self.dropped[row] += 1
                continue
            kind, t_ns = _KIND_OF[type(measurement)], measurement.t_ns
            self._open[kind].append(row)
            self.rows[kind] += 1
            self._oldest_ns[kind] = min(self._oldest_ns[kind], t_ns)
            self._newest_ns = max(self._newest_ns, t_ns)
            self.urgent = self.urgent or kind == "tap"
        return self.urgent or any(len(rows) >= self._max_rows for rows in self._open.values())

    def close_full(self, sent_ns: int) -> list[ClosedBatch]:
        """Close the kinds that have `max_rows` rows; after a tap, everything.

        Parameters
        ----------
        sent_ns : [ns] the agent's clock

        Returns
        -------
        batches : in the order in which they must be stored and sent
        """
        if self.urgent:
            return self.close(sent_ns)
        full = [kind for kind in KINDS if len(self._open[kind]) >= self._max_rows]
        return self._close(full, sent_ns)

    def close(self, sent_ns: int) -> list[ClosedBatch]:
        """Close everything.

        Parameters
        ----------
        sent_ns : [ns] the agent's clock

        Returns
        -------
        batches : in the order in which they must be stored and sent
        """
        self.urgent = False
        return self._close([kind for kind in KINDS if self._open[kind]], sent_ns)

    def stand_in(self, kind: Kind, rows: int, reason: str, sent_ns: int) -> ClosedBatch:
        """Return a batch that tells of rows that were given up before they had one.

        Parameters
        ----------
        kind : of the rows
        rows : how many, at least one
        reason : one word
        sent_ns : [ns] the agent's clock
        """
        seq = self._next_seq[kind]
        self._next_seq[kind] = seq + 1
        lost = ClosedBatch(self._sender.boot, kind, seq, 0, b"", sent_ns, rows, reason)
        first_seq = min(seq, self._first_seq(kind))
        return lost._replace(payload=dropped_batch(self._sender, lost, first_seq=first_seq))

    def begin_boot(self, boot: str) -> None:
        """Count anew under another boot; everything must be closed.

        Parameters
        ----------
        boot : the new one
        """
        self._sender = replace(self._sender, boot=boot)
        self._next_seq = dict.fromkeys(KINDS, 1)
        self._newest_ns = 0

    def shorten(self, bytes_max: int) -> None:
        """Close shorter batches from now on.

        Parameters
        ----------
        bytes_max : [bytes] at most; never more than before, never less than one row needs
        """
        self._bytes_max = max(min(bytes_max, self._bytes_max), self.ROW_BYTES_MAX)

    def _close(self, kinds: list[Kind], sent_ns: int) -> list[ClosedBatch]:
        parts: list[tuple[Kind, list[Row]]] = []
        for kind in kinds:
            rows, self._open[kind] = self._open[kind], []
            self._oldest_ns[kind] = INT64_MAX
            parts += [
                (kind, rows[at : at + self._max_rows]) for at in range(0, len(rows), self._max_rows)
            ]
        # What an earlier batch may call complete ends where the rows of later ones begin.
        complete = [min(self._newest_ns, *self._oldest_ns.values())]
        for _, rows in reversed(parts[1:]):
            complete.append(min(complete[-1], _oldest(rows)))
        batches: list[ClosedBatch] = []
        for (kind, rows), complete_ns in zip(parts, reversed(complete), strict=bool(parts)):
            batches += self._encode(kind, rows, sent_ns, complete_ns)
        return batches

    def _encode(
        self, kind: Kind, rows: list[Row], sent_ns: int, complete_ns: int
    ) -> list[ClosedBatch]:
        seq = self._next_seq[kind]
        payload = encode_batch(
            Batch(
                store=self._sender.store,
                agent=self._sender.agent,
                boot=self._sender.boot,
                kind=kind,
                seq=seq,
                sent_ns=sent_ns,
                columns=_columns(kind, rows),
                first_seq=self._first_seq(kind),
                complete_ns=complete_ns,
            )
        )
        if len(payload) > self._bytes_max and len(rows) > 1:
            half = len(rows) // 2
            begin = min(complete_ns, _oldest(rows[half:]))
            first = self._encode(kind, rows[:half], sent_ns, begin)
            return first + self._encode(kind, rows[half:], sent_ns, complete_ns)
        self._next_seq[kind] = seq + 1
        return [ClosedBatch(self._sender.boot, kind, seq, len(rows), payload, sent_ns)]

    def _row(self, measurement: Measurement) -> Row | str:
        """Return the row as it leaves the agent, or the reason to drop it."""
        t_ns = measurement.t_ns
        if not 0 <= t_ns <= INT64_MAX:
            return "time"
        if not self._is_name(measurement[1]):
            return "name"
        if isinstance(measurement, Sample):
            mass_g, range_mm = map(_finite, (measurement.mass_g, measurement.range_mm))
            if mass_g is None and range_mm is None:
                return "value"
            return (t_ns, measurement.sensor, mass_g, range_mm)
        if is_random_tag(measurement.tag):
            return "random_uid"  # a phone, another one each time
        tag = self._outer(measurement.tag)
        if tag is None:
            return "tag"
        if isinstance(measurement, Tap):
            proof = measurement.proof or ""
            if proof and not self._is_name(proof):
                return "proof"
            return (t_ns, measurement.tap_point, tag, proof)
        rssi_dbm = round_rssi(measurement.rssi_dbm)
        if not RSSI_MIN_DBM <= rssi_dbm <= RSSI_MAX_DBM:
            return "rssi"
        return (t_ns, measurement.receiver, tag, rssi_dbm)


_KIND_OF: dict[type, Kind] = {Reading: "ble", Tap: "tap", Sample: "sample"}


def dropped_batch(sender: Sender, lost: ClosedBatch, *, first_seq: int = 1) -> bytes:
    """Return the payload that stands in the place of a batch that had to give way.

    Parameters
    ----------
    sender : of the batch; its boot is taken from `lost`
    lost : with `dropped`, `reason` and `sent_ns`: the stand-in was closed when the batch was,
        because within a boot and kind no later seq may have been closed earlier
    first_seq : lower ones need not be waited for

    Returns
    -------
    payload : a batch of the same boot, kind and seq with empty columns
    """
    return encode_batch(
        Batch(
            store=sender.store,
            agent=sender.agent,
            boot=lost.boot,
            kind=lost.kind,
            seq=lost.seq,
            sent_ns=lost.sent_ns,
            dropped=lost.dropped,
            reason=lost.reason,
            first_seq=first_seq,
        )
    )


def _columns(kind: Kind, rows: list[Row]) -> Columns:
    t_ns, where, *rest = map(list, zip(*rows, strict=True))
    if kind == "ble":
        return Columns(t_ns=t_ns, receiver=where, tag=rest[0], rssi_dbm=rest[1])
    if kind == "tap":
        tag, proof = rest
        # Left out where it says nothing, which every gateway understands.
        return Columns(t_ns=t_ns, tap_point=where, tag=tag, proof=proof if any(proof) else None)
    mass_g, range_mm = (None if all(v is None for v in column) else column for column in rest)
    return Columns(t_ns=t_ns, sensor=where, mass_g=mass_g, range_mm=range_mm)


def _oldest(rows: list[Row]) -> int:
    oldest_ns: int = min(row[0] for row in rows)
    return oldest_ns


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
