"""The outbox's file: opened, read, changed.

Rules of the file: SQLite in WAL mode with synchronous FULL (anything less loses rows at a
power cut, measured in the reference, reliability 2.2). Everything here runs in one thread.
The tables are `edge.outbox_schema`, what a commit does is `edge.outbox_change`.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from edge.batcher import ClosedBatch, Sender
from edge.outbox_change import Change, Counts
from edge.outbox_schema import prepare
from ingest.batch import Kind
from ingest.config import ConfigError

REASON_FULL = "outbox_full"
REASON_DISK = "disk_full"
REASON_LARGE = "too_large"


class StoredBatch(NamedTuple):
    """A batch as it lies in the outbox; `id` orders them as they were written."""

    id: int
    boot: str
    kind: Kind
    seq: int
    payload: bytes


class Database:
    """The file of an outbox.

    Parameters
    ----------
    path : the file, in a folder that is there and locked
    sender : an outbox that still holds batches of another agent is refused

    Attributes
    ----------
    counts : what is in it
    """

    def __init__(self, path: Path, *, sender: Sender) -> None:
        self._path = path
        self._sender = sender
        self._database: sqlite3.Connection | None = None
        self.counts = Counts()

    def open(self) -> None:
        """Open or make the file, and bring an older one forward.

        Raises
        ------
        ConfigError
            It is not an outbox, is of a newer version, or holds another agent's batches.
        """
        try:
            self._database = sqlite3.connect(self._path, isolation_level=None)
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise ConfigError(
                f"outbox {self._path}: cannot be used ({error}); "
                "move it away to start with an empty one"
            ) from error
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def fetch(
        self, after_id: int, limit: int, *, up_to_id: int | None = None, only_taps: bool = False
    ) -> list[StoredBatch]:
        """Return batches in the order in which they were written.

        Parameters
        ----------
        after_id : only later ones
        limit : at most so many
        up_to_id : only so far; None = to the newest
        only_taps : pass over other kinds
        """
        where = "kind = 'tap' AND " if only_taps else ""
        rows = self._open_one.execute(
            f"SELECT id, boot, kind, seq, payload FROM outbox WHERE {where}id > ? AND id <= ?"  # noqa: S608
            " ORDER BY id LIMIT ?",
            (after_id, self.counts.last_id if up_to_id is None else up_to_id, limit),
        )
        return [StoredBatch(*row) for row in rows]

    def commit(
        self,
        batches: Sequence[ClosedBatch],
        acks: Mapping[tuple[str, str], int],
        *,
        max_bytes: int,
        reason: str = REASON_FULL,
    ) -> None:
        """Put batches in, take acknowledged ones out, let the oldest give way; all or nothing.

        Parameters
        ----------
        batches : in the order of their seqs
        acks : boot and kind to the last seq that the gateway has
        max_bytes : payloads that may be held
        reason : why batches give way

        Raises
        ------
        sqlite3.Error
            The disk is full or broken; nothing has changed.
        """
        coming_bytes = sum(len(batch.payload) for batch in batches)
        with self._change() as change:
            for (boot, kind), seq in acks.items():
                change.remove(boot, kind, seq)
            # Before the new ones, so that these take the place and the file does not grow.
            change.make_room(max_bytes - coming_bytes, reason)
            for batch in batches:
                change.insert(batch)
            for (boot, kind), seq in acks.items():
                change.remove(boot, kind, seq)
            change.make_room(max_bytes, reason)
            change.note_newest()
        self.counts = change.counts

    def bury(self, number: int, reason: str) -> int:
        """Put a batch that no broker takes among the dead, and a stand-in in its place.

        Parameters
        ----------
        number : its id
        reason : one word

        Returns
        -------
        rows : that it had; 0 when it is not there any more
        """
        with self._change() as change:
            rows = change.bury(number, reason)
        self.counts = change.counts
        return rows

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file and give its room back."""
        self._open_one.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _change(self) -> Change:
        return Change(self._open_one, sender=self._sender, counts=self.counts)

    @property
    def _open_one(self) -> sqlite3.Connection:
        if self._database is None:
            raise sqlite3.ProgrammingError("the outbox is not open")
        return self._database

    def _prepare(self) -> None:
        database = self._open_one
        prepare(database, self._path)
        self._count()
        mine = (self._sender.store, self._sender.agent)
        theirs = database.execute("SELECT store, agent FROM sender").fetchone()
        if theirs not in {None, mine} and self.counts.batches:
            raise ConfigError(
                f"outbox {self._path}: expected batches of agent {mine[1]!r} in store "
                f"{mine[0]!r}, got {self.counts.batches} of {theirs[1]!r} in {theirs[0]!r}; "
                "use another state_dir"
            )
        if theirs != mine:
            database.execute("REPLACE INTO sender (one, store, agent) VALUES (1, ?, ?)", mine)

    def _count(self) -> None:
        base, counts = self._open_one, Counts()
        counts.batches, counts.rows, counts.bytes, counts.last_id, newest_ns = base.execute(
            "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(length(payload)), 0),"
            " coalesce(max(id), 0), coalesce(max(sent_ns), 0) FROM outbox"
        ).fetchone()
        (counts.stand_in_bytes,) = base.execute(
            "SELECT coalesce(sum(length(payload)), 0) FROM outbox WHERE dropped > 0"
        ).fetchone()
        (counts.noted_ns,) = base.execute(
            "SELECT coalesce(max(newest_ns), 0) FROM sender"
        ).fetchone()
        counts.newest_ns = max(newest_ns, counts.noted_ns)
        (counts.dead_letters,) = base.execute("SELECT count(*) FROM dead_letter").fetchone()
        for reason, kind, rows in base.execute("SELECT reason, kind, rows FROM loss"):
            counts.lost[reason, kind] = rows
        self.counts = counts


def is_full(error: sqlite3.Error) -> bool:
    """Tell whether a commit failed because the disk has no room.

    Parameters
    ----------
    error : of SQLite
    """
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
