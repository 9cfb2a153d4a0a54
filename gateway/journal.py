"""The journal: every accepted batch, on disk before it is acknowledged.

Rules of the file: one writer; `append` is one transaction with WAL and
synchronous=FULL, so what it returned survives a power cut (reference
reliability.md, 2.2: NORMAL loses acknowledged rows). A batch is known by (agent,
boot, kind, seq); a second copy is absorbed. The cumulative number per agent, boot
and kind and the totals are stored in the same transaction as the batches.
Retention: when payloads exceed the bound the oldest batches that the engine has
used go first; batches it has not used never go.
"""

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.config import ConfigError
from ingest.order import Arrival, BatchLedger

SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL, boot TEXT NOT NULL, kind TEXT NOT NULL, seq INTEGER NOT NULL,
    received_ns INTEGER NOT NULL, row_count INTEGER NOT NULL, payload BLOB NOT NULL,
    UNIQUE (agent, boot, kind, seq));
CREATE TABLE IF NOT EXISTS streams (
    agent TEXT NOT NULL, boot TEXT NOT NULL, kind TEXT NOT NULL,
    ranges TEXT NOT NULL, touched_ns INTEGER NOT NULL,
    PRIMARY KEY (agent, boot, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received_ns INTEGER NOT NULL,
    topic TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL);
"""
_STREAMS_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A batch to be journaled; `lost` counts rows that the agent says it dropped."""

    agent: str
    boot: str
    kind: str
    seq: int
    received_ns: int
    row_count: int
    payload: bytes
    first_seq: int = 1
    lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A refused batch; its number counts as received where it could be read."""

    topic: str
    reason: str
    received_ns: int
    payload: bytes
    agent: str | None = None
    boot: str | None = None
    kind: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What one commit did.

    Attributes
    ----------
    ids : one for each entry; 0 = not stored, a duplicate or too far ahead
    acks : (agent, boot, kind) to the seq up to which everything is on disk
    """

    ids: tuple[int, ...]
    acks: dict[tuple[str, str, str], int]


class Journal:
    """The journal's file; safe to use from several threads, one at a time inside."""

    def __init__(self, path: Path, *, max_bytes: int, dead_letters_max: int = 1000) -> None:
        self._max_bytes = max_bytes
        self._dead_letters_max = dead_letters_max
        self._lock = threading.Lock()
        self._db = open_database(path, _TABLES, version=SCHEMA_VERSION, synchronous="FULL")
        row = self._db.execute("SELECT coalesce(sum(length(payload)), 0) FROM batches").fetchone()
        self._bytes = int(row[0])
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
                self._ledger = self._read_ledger()
                raise
            self._bytes += sum(
                len(entry.payload) for entry, new in zip(entries, appended.ids, strict=True) if new
            )
        return appended

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

    def trim(self, used_id: int) -> int:
        """Delete the oldest batches while the payloads exceed the bound.

        Parameters
        ----------
        used_id : the newest batch that the engine's results on disk contain

        Returns
        -------
        int
            Batches deleted.
        """
        if self._bytes <= self._max_bytes:
            return 0
        deleted = 0
        with self._lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            excess = self._bytes - self._max_bytes * 9 // 10
            last_id = 0
            for row_id, size in self._db.execute(
                "SELECT id, length(payload) FROM batches WHERE id <= ? ORDER BY id", (used_id,)
            ):
                if excess <= 0:
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
        ids = []
        touched: dict[tuple[str, str, str], int] = {}
        for entry in entries:
            stream = (entry.agent, entry.boot, entry.kind)
            arrival = self._ledger.add(*stream, entry.seq, entry.first_seq)
            ids.append(self._insert(entry) if arrival is Arrival.NEW else 0)
            touched[stream] = entry.received_ns
            self._count("duplicates", int(arrival is Arrival.DUPLICATE))
            self._count("ahead", int(arrival is Arrival.AHEAD))
        for letter in refused:
            self._insert_dead_letter(letter)
            if letter.agent and letter.boot and letter.kind and letter.seq:
                stream = (letter.agent, letter.boot, letter.kind)
                self._ledger.add(*stream, letter.seq)
                touched[stream] = letter.received_ns
        for stream, touched_ns in touched.items():
            self._save_stream(stream, touched_ns)
        acks = {stream: self._ledger.ack_seq(*stream) for stream in touched}
        acks = {stream: seq for stream, seq in acks.items() if seq > 0}
        return Appended(ids=tuple(ids), acks=acks)

    def _insert(self, entry: Entry) -> int:
        cursor = self._db.execute(
            "INSERT INTO batches (agent, boot, kind, seq, received_ns, row_count, payload) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                *(entry.agent, entry.boot, entry.kind, entry.seq),
                *(entry.received_ns, entry.row_count, entry.payload),
            ),
        )
        if cursor.rowcount == 0:  # the ledger forgot the stream, the table did not
            self._count("duplicates", 1)
            return 0
        self._count(f"rows.{entry.kind}", entry.row_count)
        self._count("batches", 1)
        self._count("lost", entry.lost)
        return int(cursor.lastrowid or 0)

    def _save_stream(self, stream: tuple[str, str, str], touched_ns: int) -> None:
        state = self._ledger.stream_state(*stream)
        if state is None:
            return
        self._db.execute(
            "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)",
            (*stream, json.dumps(state["ranges"]), touched_ns),
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
        self._count("dead_letters", 1)
        self._count(f"refused.{letter.reason}", 1)

    def _count(self, name: str, more: int) -> None:
        if more:
            self._db.execute(
                "INSERT INTO totals VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET value = value + excluded.value",
                (name, more),
            )


def open_database(path: Path, tables: str, *, version: int, synchronous: str) -> sqlite3.Connection:
    """Open a SQLite file in WAL mode with its tables, refusing a newer schema.

    Parameters
    ----------
    path : the file, made when missing
    tables : CREATE TABLE IF NOT EXISTS statements
    version : this program's schema version, kept in ``PRAGMA user_version``
    synchronous : FULL or NORMAL

    Raises
    ------
    ConfigError
        The file is not a database, cannot be opened, or belongs to a newer version.
    """
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30.0)
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > version:
            raise ConfigError(
                f"{path}: expected schema version {version} or older, got {found}; "
                "it was written by a newer fanous, upgrade this one or choose another state_dir"
            )
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute("PRAGMA secure_delete=ON")
        db.executescript(tables)
        db.execute(f"PRAGMA user_version={version}")
    except sqlite3.Error as error:
        _close(db)
        raise ConfigError(f"{path}: cannot be opened as a database ({error})") from error
    except ConfigError:
        _close(db)
        raise
    return db


def _close(db: sqlite3.Connection | None) -> None:
    if db is not None:
        db.close()
