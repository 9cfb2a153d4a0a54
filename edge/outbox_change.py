"""One change of the outbox's file: batches in, acknowledged ones out, the oldest give way.

Rules of the file: a change is one transaction, and what is counted of the file changes with
it or not at all. What gives way, the oldest readings first, then the oldest samples, becomes
a stand-in: same boot, kind, seq and time of closing, no rows, and how many it had; the ledger
`loss` says the same. Taps never give way. Where stand-ins weigh more than a quarter of what may
be held, those with nothing before them become one, whose `first_seq` tells the gateway not to
wait for the others (after days without a gateway they would be all that is left).
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Self

from edge.batcher import ClosedBatch, Sender, dropped_batch
from ingest.batch import INT64_MAX, Kind

# What may be dropped, least valuable last: 0 = never.
_CLASS: dict[Kind, int] = {"tap": 0, "sample": 1, "ble": 2}
_LETTERS_BYTES_MAX = 8_000_000
_NOTE_EVERY_NS = 60_000_000_000


@dataclass(slots=True, kw_only=True)
class Counts:
    """What is in the file.

    Attributes
    ----------
    batches, rows, bytes : with stand-ins, without them, [bytes] of payloads
    stand_in_bytes : of them in stand-ins
    last_id : the newest batch
    newest_ns, noted_ns : [ns] when the newest batch was closed, and what of that is written
    dead_letters : batches that no broker takes
    lost : rows in the ledger by reason and kind, of all times
    """

    batches: int = 0
    rows: int = 0
    bytes: int = 0
    stand_in_bytes: int = 0
    last_id: int = 0
    newest_ns: int = 0
    noted_ns: int = 0
    dead_letters: int = 0
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)


class Change:
    """A transaction, as a context manager.

    Parameters
    ----------
    base : without a transaction
    sender : goes into stand-ins
    counts : of the file

    Attributes
    ----------
    counts : as they are when the change is committed
    """

    def __init__(self, base: sqlite3.Connection, *, sender: Sender, counts: Counts) -> None:
        self._base = base
        self._sender = sender
        self.counts = replace(counts, lost=counts.lost.copy())

    def __enter__(self) -> Self:
        """Begin."""
        self._base.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Commit, or take everything back."""
        try:
            if kind is None:
                self._base.execute("COMMIT")
        finally:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")

    def insert(self, batch: ClosedBatch) -> None:
        """Put a batch in, or a stand-in that was one from the beginning.

        Parameters
        ----------
        batch : with the next seq of its boot and kind
        """
        self.counts.last_id += 1
        rank = 0 if batch.dropped else _CLASS[batch.kind]
        self._base.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.counts.last_id,
                *(batch.boot, batch.kind, batch.seq, batch.rows, rank, batch.payload),
                *(batch.sent_ns, batch.dropped),
            ),
        )
        self.counts.batches += 1
        self.counts.rows += batch.rows
        self.counts.bytes += len(batch.payload)
        self.counts.newest_ns = max(self.counts.newest_ns, batch.sent_ns)
        if batch.dropped:
            self.counts.stand_in_bytes += len(batch.payload)
            self._lose(batch.reason, batch.kind, batch.dropped)

    def remove(self, boot: str, kind: str, seq: int) -> None:
        """Take out what is acknowledged.

        Parameters
        ----------
        boot : of the batches
        kind : of the batches
        seq : the last one that the gateway has
        """
        gone = self._base.execute(
            "DELETE FROM outbox WHERE boot = ? AND kind = ? AND seq <= ?"
            " RETURNING rows, length(payload), dropped",
            (boot, kind, seq),
        ).fetchall()
        self.counts.batches -= len(gone)
        self.counts.rows -= sum(rows for rows, *_ in gone)
        self.counts.bytes -= sum(length for _, length, _ in gone)
        self.counts.stand_in_bytes -= sum(length for _, length, dropped in gone if dropped)

    def make_room(self, max_bytes: int, reason: str) -> None:
        """Let the oldest batches give way.

        Parameters
        ----------
        max_bytes : payloads that may be held; 0 and less = all that may go, goes
        reason : one word
        """
        counts = self.counts
        if counts.stand_in_bytes > max_bytes // 4:
            self._merge_stand_ins(reason)
        while counts.bytes > max_bytes:
            oldest = self._base.execute(
                "SELECT id, boot, kind, seq, rows, length(payload), sent_ns FROM outbox"
                " WHERE class > 0 ORDER BY class DESC, id LIMIT 64"
            ).fetchall()
            for number, boot, kind, seq, rows, length, sent_ns in oldest:
                # A tenth more than needed, so that a full outbox is not swept at every
                # commit; but samples do not go for that.
                enough = counts.bytes <= max_bytes * 0.9
                if enough or (counts.bytes <= max_bytes and kind != "ble"):
                    return
                lost = ClosedBatch(boot, kind, seq, 0, b"", sent_ns, rows, reason)
                self._replace(number, length, lost)
            if not oldest:
                return

    def bury(self, number: int, reason: str) -> int:
        """Put a batch among the dead letters, and a stand-in in its place.

        Parameters
        ----------
        number : its id
        reason : one word

        Returns
        -------
        rows : that it had; 0 when it is not there any more
        """
        found = self._base.execute(
            "SELECT boot, kind, seq, rows, payload, sent_ns FROM outbox"
            " WHERE id = ? AND dropped = 0",
            (number,),
        ).fetchone()
        if found is None:
            return 0
        boot, kind, seq, rows, payload, sent_ns = found
        self._base.execute(
            "INSERT INTO dead_letter (boot, kind, seq, rows, reason, sent_ns, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (boot, kind, seq, rows, reason, sent_ns, payload),
        )
        self._base.execute(
            "DELETE FROM dead_letter WHERE id NOT IN (SELECT id FROM (SELECT id,"
            " sum(length(payload)) OVER (ORDER BY id DESC) AS held FROM dead_letter)"
            " WHERE held <= ?)",
            (max(_LETTERS_BYTES_MAX, len(payload)),),
        )
        lost = ClosedBatch(boot, kind, seq, 0, b"", sent_ns, rows, reason)
        self._replace(number, len(payload), lost)
        (self.counts.dead_letters,) = self._base.execute(
            "SELECT count(*) FROM dead_letter"
        ).fetchone()
        return int(rows)

    def note_newest(self) -> None:
        """Write down the newest time, for a start after the outbox was emptied."""
        # Seldom: it would be one more page to write with each commit.
        if self.counts.newest_ns - self.counts.noted_ns >= _NOTE_EVERY_NS:
            self.counts.noted_ns = self.counts.newest_ns
            self._base.execute("UPDATE sender SET newest_ns = ?", (self.counts.newest_ns,))

    def _replace(self, number: int, length: int, lost: ClosedBatch) -> None:
        stand_in = dropped_batch(self._sender, lost)
        self._base.execute(
            "UPDATE outbox SET payload = ?, rows = 0, class = 0, dropped = ? WHERE id = ?",
            (stand_in, lost.dropped, number),
        )
        self.counts.bytes += len(stand_in) - length
        self.counts.stand_in_bytes += len(stand_in)
        self.counts.rows -= lost.dropped
        self._lose(lost.reason, lost.kind, lost.dropped)

    def _merge_stand_ins(self, reason: str) -> None:
        streams = self._base.execute(
            "SELECT boot, kind, max(seq), sum(dropped), max(sent_ns), count(*),"
            " sum(length(payload)) FROM outbox LEFT JOIN (SELECT boot, kind, min(seq) AS first"
            " FROM outbox WHERE dropped = 0 GROUP BY boot, kind) USING (boot, kind)"
            " WHERE dropped > 0 AND seq < coalesce(first, ?)"
            " GROUP BY boot, kind HAVING count(*) > 1",
            (INT64_MAX,),
        ).fetchall()
        for boot, kind, seq, dropped, sent_ns, count, length in streams:
            lost = ClosedBatch(boot, kind, seq, 0, b"", sent_ns, dropped, reason)
            stand_in = dropped_batch(self._sender, lost, first_seq=seq)
            self._base.execute(
                "DELETE FROM outbox WHERE boot = ? AND kind = ? AND seq < ?", (boot, kind, seq)
            )
            self._base.execute(
                "UPDATE outbox SET payload = ?, dropped = ?"
                " WHERE boot = ? AND kind = ? AND seq = ?",
                (stand_in, dropped, boot, kind, seq),
            )
            self.counts.batches -= count - 1
            self.counts.bytes += len(stand_in) - length
            self.counts.stand_in_bytes += len(stand_in) - length

    def _lose(self, reason: str, kind: str, rows: int) -> None:
        self._base.execute(
            "INSERT INTO loss VALUES (?, ?, ?, 1) ON CONFLICT (reason, kind) DO UPDATE"
            " SET rows = rows + excluded.rows, batches = batches + 1",
            (reason, kind, rows),
        )
        self.counts.lost[reason, kind] += rows
