"""The durable outbox: a batch stays on this disk until the gateway says it has it.

Rules of the file: SQLite in WAL mode with synchronous FULL (anything less loses rows at
a power cut, measured in the reference), one thread for the database, group commit.
Only `ack` takes batches out. When the payloads exceed `max_bytes` the oldest batches of
readings, then of samples, are replaced by empty ones with the same seq that say how many
rows are missing; taps are never dropped. When nothing is left to replace, `has_room`
turns false and the agent drops new readings and samples before they get a seq. Every
loss is in the table `loss`. One process at a time, by a lock on the folder.
"""

import asyncio
import fcntl
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from edge.batcher import ClosedBatch, Sender, dropped_batch
from ingest.batch import Kind
from ingest.config import ConfigError

SCHEMA_VERSION = 1
REASON_FULL = "outbox_full"
# What may be dropped, least valuable last: 0 = never.
_CLASS: dict[Kind, int] = {"tap": 0, "sample": 1, "ble": 2}
_PENDING_BATCHES_MAX = 256
_RETRY_S = 1.0
_TABLES = f"""
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, also when the table was empty
    boot TEXT NOT NULL, kind TEXT NOT NULL, seq INTEGER NOT NULL,
    rows INTEGER NOT NULL, class INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE (boot, kind, seq)
);
CREATE INDEX droppable ON outbox (class DESC, id) WHERE class > 0;
CREATE TABLE loss (
    reason TEXT, kind TEXT, rows INTEGER, batches INTEGER, PRIMARY KEY (reason, kind)
);
CREATE TABLE sender (one INTEGER PRIMARY KEY CHECK (one = 1), store TEXT, agent TEXT);
PRAGMA user_version = {SCHEMA_VERSION};
"""
T = TypeVar("T")
log = logging.getLogger("fanous.edge.outbox")


class StoredBatch(NamedTuple):
    """A batch as it lies in the outbox; `id` orders them as they were written."""

    id: int
    boot: str
    kind: Kind
    seq: int
    payload: bytes


class Outbox:
    """Batches that wait for the gateway's acknowledgement.

    Parameters
    ----------
    folder : where ``outbox.sqlite`` lives; made when missing
    sender : an outbox that still holds batches of another agent is refused
    now_ns : [ns] the agent's clock
    max_bytes : payloads that the outbox holds at most
    commit_s : [s] how long a batch waits for others before one commit takes them all
    """

    def __init__(
        self,
        folder: Path,
        *,
        sender: Sender,
        now_ns: Callable[[], int],
        max_bytes: int,
        commit_s: float = 0.25,
    ) -> None:
        self._folder = folder
        self._sender = sender
        self._now_ns = now_ns
        self._max_bytes = max_bytes
        self._commit_s = commit_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._database: sqlite3.Connection
        self._lock: IO[bytes] | None = None
        self._pending: list[ClosedBatch] = []
        self._committing = 0
        self._acks: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], int] = {}
        self._due = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._failing = False
        self._flushing = asyncio.Lock()
        self.on_commit: Callable[[], None] = lambda: None
        self.rows = self.batches = self.bytes = 0
        self.has_room = True
        self.lost: Counter[str] = Counter()

    async def open(self) -> None:
        """Open or make the database.

        Raises
        ------
        ConfigError
            The folder cannot be written, another agent uses it, or the file is not an
            outbox of this version.
        """
        await self._run(self._open)

    async def close(self) -> None:
        """Commit what waits, and close."""
        if self._lock is None:
            self._thread.shutdown()
            return
        try:
            await self.flush()
        except sqlite3.Error as error:
            log.error("outbox commit failed reason=%r batches_lost=%d", str(error), self.waiting)  # noqa: TRY400
        finally:
            await self._run(self._close)
            self._thread.shutdown()

    def first_seq(self, boot: str, kind: str) -> int:
        """Return the lowest seq that is not acknowledged.

        Parameters
        ----------
        boot : of this run of the agent
        kind : of the batches

        Returns
        -------
        seq : 1 before the first acknowledgement
        """
        return self._first.get((boot, kind), 1)

    async def put(self, batches: list[ClosedBatch], *, urgent: bool = False) -> None:
        """Hand over batches; they are in order at once, and the caller waits if the disk is behind.

        Parameters
        ----------
        batches : in the order of their seqs
        urgent : commit now (taps)
        """
        if not batches:
            return
        self._pending += batches
        if len(self._pending) >= _PENDING_BATCHES_MAX:
            self._room.clear()
        self._due.set()
        if urgent or not self._room.is_set():
            self._urgent.set()
        await self._room.wait()

    def ack(self, boot: str, kind: str, seq: int) -> None:
        """Take out everything of a boot and kind up to a seq, with the next commit.

        Parameters
        ----------
        boot : of the batches
        kind : of the batches
        seq : the last one that the gateway has stored
        """
        key = (boot, kind)
        self._acks[key] = max(seq, self._acks.get(key, 0))
        self._first[key] = max(self._first.get(key, 1), seq + 1)
        self._due.set()

    async def fetch(self, after_id: int, limit: int) -> list[StoredBatch]:
        """Return committed batches in the order in which they were written.

        Parameters
        ----------
        after_id : only later ones
        limit : at most so many

        Returns
        -------
        batches : acknowledged ones are not among them
        """
        return await self._run(lambda: self._fetch(after_id, limit))

    async def run(self) -> None:
        """Commit in groups until cancelled; a full disk is told once and tried again."""
        while True:
            await self._due.wait()
            try:
                await asyncio.wait_for(self._urgent.wait(), self._commit_s)
            except TimeoutError:
                pass
            try:
                await self.flush()
            except sqlite3.Error as error:
                if not self._failing:
                    self._failing = True
                    log.warning("outbox commit failed reason=%r; trying again", str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                if self._failing:
                    self._failing = False
                    log.warning("outbox commit recovered")

    async def flush(self) -> None:
        """Commit what waits now.

        Raises
        ------
        sqlite3.Error
            The disk is full or broken; nothing is lost, the batches wait in memory.
        """
        async with self._flushing:
            self._due.clear()
            self._urgent.clear()
            batches, acks = self._pending, self._acks
            self._pending, self._acks = [], {}
            if not batches and not acks:
                return
            self._committing = len(batches)
            try:
                await asyncio.shield(self._run(lambda: self._commit(batches, acks)))
            except sqlite3.Error:
                self._pending = batches + self._pending
                for key, seq in acks.items():
                    self._acks[key] = max(seq, self._acks.get(key, 0))
                self._due.set()
                raise
            finally:
                self._committing = 0
            if len(self._pending) < _PENDING_BATCHES_MAX:
                self._room.set()
            self.on_commit()

    @property
    def waiting(self) -> int:
        """Batches that are not yet on the disk."""
        return len(self._pending) + self._committing

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # Everything below runs in the one database thread.

    def _open(self) -> None:
        path = self._folder / "outbox.sqlite"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("wb")
        except OSError as error:
            raise ConfigError(
                f"state_dir {self._folder}: expected a folder to write to ({error.strerror})"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise ConfigError(
                f"state_dir {self._folder}: another agent is using it; give each its own"
            ) from None
        self._lock = lock
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            self._prepare(path)
        except sqlite3.Error as error:
            self._close()
            raise ConfigError(
                f"outbox {path}: cannot be used ({error}); move it away to start with an empty one"
            ) from error
        except ConfigError:
            self._close()
            raise

    def _prepare(self, path: Path) -> None:
        database = self._database
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise ConfigError(
                f"outbox {path}: expected schema {SCHEMA_VERSION}, got {version} of a newer "
                "fanous; use that version, or move the file away to start with an empty one"
            )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if version == 0:
            database.executescript(f"BEGIN; {_TABLES} COMMIT;")
        self._count()
        mine = (self._sender.store, self._sender.agent)
        theirs = database.execute("SELECT store, agent FROM sender").fetchone()
        if theirs not in {None, mine} and self.batches:
            raise ConfigError(
                f"outbox {path}: expected batches of agent {mine[1]!r} in store {mine[0]!r}, got "
                f"{self.batches} of {theirs[1]!r} in {theirs[0]!r}; use another state_dir"
            )
        database.execute("REPLACE INTO sender VALUES (1, ?, ?)", mine)

    def _close(self) -> None:
        if self._lock is not None:
            if hasattr(self, "_database"):
                self._database.close()
            self._lock.close()
            self._lock = None

    def _fetch(self, after_id: int, limit: int) -> list[StoredBatch]:
        rows = self._database.execute(
            "SELECT id, boot, kind, seq, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?",
            (after_id, limit),
        )
        return [StoredBatch(*row) for row in rows]

    def _commit(self, batches: list[ClosedBatch], acks: dict[tuple[str, str], int]) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        lost: Counter[str] = Counter()
        try:
            database.executemany(
                "INSERT INTO outbox (boot, kind, seq, rows, class, payload)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [(b.boot, b.kind, b.seq, b.rows, _CLASS[b.kind], b.payload) for b in batches],
            )
            count = self.batches + len(batches)
            rows = self.rows + sum(batch.rows for batch in batches)
            held = self.bytes + sum(len(batch.payload) for batch in batches)
            for (boot, kind), seq in acks.items():
                gone = database.execute(
                    "DELETE FROM outbox WHERE boot = ? AND kind = ? AND seq <= ?"
                    " RETURNING rows, length(payload)",
                    (boot, kind, seq),
                ).fetchall()
                count -= len(gone)
                rows -= sum(row for row, _ in gone)
                held -= sum(length for _, length in gone)
            if held > self._max_bytes:
                held, lost = self._make_room(held)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self.lost += lost
        self.batches, self.rows, self.bytes = count, rows - lost.total(), held
        self.has_room = held <= self._max_bytes

    def _make_room(self, held: int) -> tuple[int, Counter[str]]:
        database = self._database
        lost: Counter[str] = Counter()
        (held,) = database.execute(
            "SELECT coalesce(sum(length(payload)), 0) FROM outbox"
        ).fetchone()
        while held > self._max_bytes:
            oldest = database.execute(
                "SELECT id, boot, kind, seq, rows, payload FROM outbox WHERE class > 0"
                " ORDER BY class DESC, id LIMIT 64"
            ).fetchall()
            if not oldest:
                break
            for number, boot, kind, seq, rows, payload in oldest:
                # A tenth more than needed, so that a full outbox is not swept at every
                # commit; but samples do not go for that.
                if held <= self._max_bytes * 0.9 or (held <= self._max_bytes and kind != "ble"):
                    break
                batch = ClosedBatch(boot, kind, seq, rows, b"")
                stand_in = dropped_batch(self._sender, batch, REASON_FULL, self._now_ns())
                database.execute(
                    "UPDATE outbox SET payload = ?, rows = 0, class = 0 WHERE id = ?",
                    (stand_in, number),
                )
                database.execute(
                    "INSERT INTO loss VALUES (?, ?, ?, 1) ON CONFLICT (reason, kind) DO UPDATE"
                    " SET rows = rows + excluded.rows, batches = batches + 1",
                    (REASON_FULL, kind, rows),
                )
                held += len(stand_in) - len(payload)
                lost[kind] += rows
        return held, lost

    def _count(self) -> None:
        self.batches, self.rows, self.bytes = self._database.execute(
            "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(length(payload)), 0) FROM outbox"
        ).fetchone()
        self.has_room = self.bytes <= self._max_bytes
