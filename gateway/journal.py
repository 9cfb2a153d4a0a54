"""The journal: every accepted batch, on disk before it is acknowledged.

Rules of the file: one writer; `append` is one transaction with WAL and
synchronous=FULL, so what it returned survives a power cut (reference
reliability.md, 2.2: NORMAL loses acknowledged rows). A batch is known by (agent,
boot, kind, seq); a second copy is absorbed. The cumulative number per agent, boot
and kind and the totals are stored in the same transaction as the batches.
Retention: the oldest batches go, by age and when payloads exceed the bound, as far as
the caller says that nothing needs them; batches the engine has not used never go.
"""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.database import open_database
from ingest.order import Arrival, BatchLedger

SCHEMA_VERSION = 2
_MIGRATIONS = {
    1: "ALTER TABLE batches ADD COLUMN first_ns INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE streams ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE streams ADD COLUMN closed_ns INTEGER NOT NULL DEFAULT 0;",
}
_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL, boot TEXT NOT NULL, kind TEXT NOT NULL, seq INTEGER NOT NULL,
    received_ns INTEGER NOT NULL, row_count INTEGER NOT NULL, payload BLOB NOT NULL,
    first_ns INTEGER NOT NULL DEFAULT 0, UNIQUE (agent, boot, kind, seq));
CREATE TABLE IF NOT EXISTS streams (
    agent TEXT NOT NULL, boot TEXT NOT NULL, kind TEXT NOT NULL,
    ranges TEXT NOT NULL, touched_ns INTEGER NOT NULL,
    seq INTEGER NOT NULL DEFAULT 0, closed_ns INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (agent, boot, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_ns INTEGER NOT NULL,
    topic TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL);
"""
_STREAMS_MAX = 4096
_ARRIVALS = {Arrival.DUPLICATE: "duplicates", Arrival.AHEAD: "ahead"}
_TOGETHER = (128, 32, 8, 1)
"""Batches inserted with one statement: beside a computing thread each statement waits for it."""
Stream = tuple[str, str, str]
"""Agent, boot, kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A batch to be journaled.

    Attributes
    ----------
    lost : rows that the agent says it dropped
    first_ns : [ns] the time of its earliest row, 0 when it has none
    newest : the highest number of its stream and when that was closed [ns] (`AgentClocks`)
    """

    agent: str
    boot: str
    kind: str
    seq: int
    received_ns: int
    row_count: int
    payload: bytes
    first_seq: int = 1
    lost: int = 0
    first_ns: int = 0
    newest: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A refused batch; its number counts as received where it could be read.

    `rows` [rows] are set aside with it: it is well-formed, and cannot be believed.
    """

    topic: str
    reason: str
    received_ns: int
    payload: bytes
    agent: str | None = None
    boot: str | None = None
    kind: str | None = None
    seq: int | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What one commit did.

    Attributes
    ----------
    ids : one for each entry; 0 = not stored, a duplicate or too far ahead
    acks : (agent, boot, kind) to the seq up to which everything is on disk
    """

    ids: tuple[int, ...]
    acks: dict[Stream, int]


class Journal:
    """The journal's file; safe to use from several threads, one at a time inside."""

    def __init__(self, path: Path, *, max_bytes: int, dead_letters_max: int = 1000) -> None:
        self._max_bytes = max_bytes
        self._dead_letters_max = dead_letters_max
        self._lock = threading.Lock()
        self._db = open_database(
            path,
            _TABLES,
            version=SCHEMA_VERSION,
            synchronous="FULL",
            migrations=_MIGRATIONS,
        )
        row = self._db.execute("SELECT coalesce(sum(length(payload)), 0) FROM batches").fetchone()
        self._bytes = int(row[0])
        self._counts: Counter[str] = Counter()
        self._ledger = self._read_ledger()

    def append(self, entries: Sequence[Entry], refused: Sequence[DeadLetter] = ()) -> Appended:
        """Commit entries and refused batches in one transaction.

        Parameters
        ----------
        entries : in order of arrival
        refused : malformed batches of the same group

        Returns
        -------
        Appended
            Everything named in it is on disk.
        """
        with self._lock:
            try:
                with self._db:
                    self._db.execute("BEGIN IMMEDIATE")
                    appended = self._append(entries, refused)
            except sqlite3.Error:
                self._counts.clear()
                self._ledger = self._read_ledger()
                raise
            self._bytes += sum(
                len(entry.payload) for entry, new in zip(entries, appended.ids, strict=True) if new
            )
        return appended

    def newest(self) -> dict[Stream, tuple[int, int]]:
        """Return, by stream, the highest number and when it was closed [ns], oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT agent, boot, kind, seq, closed_ns FROM streams ORDER BY touched_ns"
            ).fetchall()
        return {(agent, boot, kind): (seq, closed_ns) for agent, boot, kind, seq, closed_ns in rows}

    def last_id(self) -> int:
        """Return the id of the newest batch, 0 when there is none."""
        with self._lock:
            row = self._db.execute("SELECT coalesce(max(id), 0) FROM batches").fetchone()
        return int(row[0])

    def first_id(self) -> int:
        """Return the id of the oldest batch kept, 0 when there is none."""
        with self._lock:
            row = self._db.execute("SELECT coalesce(min(id), 0) FROM batches").fetchone()
        return int(row[0])

    def read(
        self, after_id: int, up_to_id: int, limit: int = 256
    ) -> list[tuple[int, int, str, bytes]]:
        """Return batches as (id, received_ns, agent, payload), oldest first.

        Parameters
        ----------
        after_id : exclusive
        up_to_id : inclusive
        limit : most batches returned
        """
        with self._lock:
            return self._db.execute(
                "SELECT id, received_ns, agent, payload FROM batches "
                "WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
                (after_id, up_to_id, limit),
            ).fetchall()

    def by_time(self, after_id: int, up_to_id: int) -> list[tuple[int, int]]:
        """Return batches as (id, [ns] time of the earliest row), earliest first.

        Parameters
        ----------
        after_id : exclusive
        up_to_id : inclusive
        """
        with self._lock:
            return self._db.execute(
                "SELECT id, first_ns FROM batches WHERE id > ? AND id <= ? ORDER BY first_ns, id",
                (after_id, up_to_id),
            ).fetchall()

    def read_one(self, row_id: int) -> tuple[int, bytes] | None:
        """Return when a batch was received [ns] and its payload; None when it is not kept.

        Parameters
        ----------
        row_id : its id
        """
        with self._lock:
            row: tuple[int, bytes] | None = self._db.execute(
                "SELECT received_ns, payload FROM batches WHERE id = ?", (row_id,)
            ).fetchone()
        return row

    def totals(self) -> dict[str, int]:
        """Return the durable counts: unique rows by kind, duplicates, lost, dead letters."""
        with self._lock:
            return dict(self._db.execute("SELECT name, value FROM totals").fetchall())

    def dead_letters(self) -> list[tuple[str, str, bytes]]:
        """Return the refused batches kept, as (topic, reason, payload), oldest first."""
        with self._lock:
            return self._db.execute(
                "SELECT topic, reason, payload FROM dead_letters ORDER BY id"
            ).fetchall()

    @property
    def is_over_full(self) -> bool:
        """Whether the payloads exceed the bound."""
        return self._bytes > self._max_bytes

    def trim(self, up_to_id: int, *, before_ns: int = 0) -> int:
        """Delete the oldest batches: those that are old, and while the payloads exceed the bound.

        Parameters
        ----------
        up_to_id : the newest batch that nothing needs any more
        before_ns : [ns] batches received before this go in any case

        Returns
        -------
        int
            Batches deleted.
        """
        deleted = 0
        excess = self._bytes - self._max_bytes * 9 // 10 if self.is_over_full else 0
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            last_id = 0
            for row_id, received_ns, size in self._db.execute(
                "SELECT id, received_ns, length(payload) FROM batches WHERE id <= ? ORDER BY id",
                (up_to_id,),
            ):
                if excess <= 0 and received_ns >= before_ns:
                    break
                last_id, excess = row_id, excess - size
                self._bytes -= size
                deleted += 1
            self._db.execute("DELETE FROM batches WHERE id <= ?", (last_id,))
        return deleted

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _append(self, entries: Sequence[Entry], refused: Sequence[DeadLetter]) -> Appended:
        ids = [0] * len(entries)
        new: list[int] = []
        touched: dict[Stream, int] = {}
        newest: dict[Stream, tuple[int, int]] = {}
        for at, entry in enumerate(entries):
            stream = (entry.agent, entry.boot, entry.kind)
            arrival = self._ledger.add(*stream, entry.seq, entry.first_seq)
            touched[stream], newest[stream] = entry.received_ns, entry.newest
            if arrival is Arrival.NEW:
                new.append(at)
            else:
                self._counts[_ARRIVALS[arrival]] += 1
        for at, row_id in zip(new, self._insert_all([entries[at] for at in new]), strict=True):
            ids[at] = row_id
        for letter in refused:
            self._insert_dead_letter(letter)
            if letter.agent and letter.boot and letter.kind and letter.seq:
                stream = (letter.agent, letter.boot, letter.kind)
                self._ledger.add(*stream, letter.seq)
                touched[stream] = letter.received_ns
        for stream, touched_ns in touched.items():
            self._save_stream(stream, touched_ns, newest.get(stream))
        self._save_counts()
        acks = {stream: self._ledger.ack_seq(*stream) for stream in touched}
        acks = {stream: seq for stream, seq in acks.items() if seq > 0}
        return Appended(ids=tuple(ids), acks=acks)

    def _insert_all(self, entries: Sequence[Entry]) -> list[int]:
        """Insert batches, many with one statement; return their ids, 0 = was there."""
        ids: list[int] = []
        while len(ids) < len(entries):
            left = len(entries) - len(ids)
            size = next(size for size in _TOGETHER if size <= left)
            portion = entries[len(ids) : len(ids) + size]
            ids += self._insert_together(portion) if size > 1 else [self._insert(portion[0])]
        return ids

    def _insert_together(self, entries: Sequence[Entry]) -> list[int]:
        self._db.execute("SAVEPOINT portion")
        values: list[str | int | bytes] = []
        for entry in entries:
            values += _values(entry)
        cursor = self._db.execute(_insert_sql(len(entries)), values)
        if cursor.rowcount != len(entries):  # which of them were there is not said
            self._db.execute("ROLLBACK TO portion")
            self._db.execute("RELEASE portion")
            return [self._insert(entry) for entry in entries]
        self._db.execute("RELEASE portion")
        for entry in entries:
            self._count_new(entry)
        last_id = int(cursor.lastrowid or 0)  # AUTOINCREMENT: one after the other
        return list(range(last_id - len(entries) + 1, last_id + 1))

    def _insert(self, entry: Entry) -> int:
        cursor = self._db.execute(_insert_sql(1), _values(entry))
        if cursor.rowcount == 0:  # the ledger forgot the stream, the table did not
            self._counts["duplicates"] += 1
            return 0
        self._count_new(entry)
        return int(cursor.lastrowid or 0)

    def _count_new(self, entry: Entry) -> None:
        self._counts[f"rows.{entry.kind}"] += entry.row_count
        self._counts["batches"] += 1
        self._counts["lost"] += entry.lost

    def _save_stream(self, stream: Stream, touched_ns: int, newest: tuple[int, int] | None) -> None:
        state = self._ledger.stream_state(*stream)
        if state is None:
            return
        self._db.execute(
            "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "ranges = excluded.ranges, touched_ns = excluded.touched_ns, "
            "seq = max(seq, excluded.seq), closed_ns = max(closed_ns, excluded.closed_ns)",
            (*stream, json.dumps(state["ranges"]), touched_ns, *(newest or (0, 0))),
        )
        if self._ledger.forgotten:
            self._ledger.forgotten = 0
            self._db.execute(
                "DELETE FROM streams WHERE touched_ns < (SELECT touched_ns FROM streams "
                "ORDER BY touched_ns DESC LIMIT 1 OFFSET ?)",
                (_STREAMS_MAX - 1,),
            )

    def _read_ledger(self) -> BatchLedger:
        ledger = BatchLedger(streams_max=_STREAMS_MAX)
        rows = self._db.execute(
            "SELECT agent, boot, kind, ranges FROM streams ORDER BY touched_ns"
        ).fetchall()
        ledger.restore(
            [
                {"agent": agent, "boot": boot, "kind": kind, "ranges": json.loads(ranges)}
                for agent, boot, kind, ranges in rows
            ]
        )
        return ledger

    def _insert_dead_letter(self, letter: DeadLetter) -> None:
        self._db.execute(
            "INSERT INTO dead_letters (received_ns, topic, reason, payload) VALUES (?, ?, ?, ?)",
            (letter.received_ns, letter.topic[:256], letter.reason, letter.payload[: 1 << 20]),
        )
        self._db.execute(
            "DELETE FROM dead_letters WHERE id <= (SELECT max(id) FROM dead_letters) - ?",
            (self._dead_letters_max,),
        )
        self._counts["dead_letters"] += 1
        self._counts[f"set_aside.{letter.reason}"] += letter.rows
        self._counts[f"refused.{letter.reason}"] += 1

    def _save_counts(self) -> None:
        self._db.executemany(
            "INSERT INTO totals VALUES (?, ?) "
            "ON CONFLICT DO UPDATE SET value = value + excluded.value",
            [(name, more) for name, more in self._counts.items() if more],
        )
        self._counts.clear()


def _insert_sql(rows: int) -> str:
    columns = "agent, boot, kind, seq, received_ns, row_count, payload, first_ns"
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO batches ({columns}) VALUES {values} ON CONFLICT DO NOTHING"  # noqa: S608


def _values(entry: Entry) -> tuple[str | int | bytes, ...]:
    stream = (entry.agent, entry.boot, entry.kind, entry.seq)
    return (*stream, entry.received_ns, entry.row_count, entry.payload, entry.first_ns)
