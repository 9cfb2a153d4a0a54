"""The durable outbox: a batch stays on this disk until the gateway says it has it.

Rules of the file: one thread for the database, group commit, taps at once. Only `ack` takes
batches out. When the payloads exceed `max_bytes`, or the disk is full, the oldest readings
and then the oldest samples give way to stand-ins, taps never; every loss is in the ledger
before anybody is told that the new ones are stored. A full disk gets back the reserve that
was kept for it. When nothing is left that could give way, `has_room` turns false and the
agent gives up new readings and samples, counted too. One process at a time, by a lock on the
folder.
"""

import asyncio
import fcntl
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from edge.batcher import ClosedBatch, Sender
from edge.outbox_change import Counts
from edge.outbox_database import (
    REASON_DISK,
    REASON_FULL,
    REASON_LARGE,
    Database,
    StoredBatch,
    is_full,
)
from edge.outbox_reserve import Reserve
from edge.outbox_schema import FILE
from ingest.config import ConfigError

__all__ = ["REASON_DISK", "REASON_FULL", "REASON_LARGE", "Outbox", "StoredBatch"]
_PENDING_BATCHES_MAX = 256
_PENDING_TAPS_MAX = 4096
_RETRY_S = 1.0
_BEAT_S = 5.0
_RECOVER_S = 10.0
_SQUEEZED_SHARE = 0.95
T = TypeVar("T")
log = logging.getLogger("fanous.edge.outbox")


class Outbox:
    """Batches that wait for the gateway's acknowledgement.

    Parameters
    ----------
    folder : where the file lives; made when missing
    sender : an outbox that still holds batches of another agent is refused
    max_bytes : payloads that the outbox holds at most
    commit_s : [s] how long a batch waits for others before one commit takes them all
    reserve_bytes : of the disk, kept for when it is full

    Attributes
    ----------
    on_commit : called in the event loop after each commit
    on_beat : called in the event loop at least each 5 s while the writer works
    """

    def __init__(
        self,
        folder: Path,
        *,
        sender: Sender,
        max_bytes: int,
        commit_s: float = 0.25,
        reserve_bytes: int = 0,
    ) -> None:
        self._folder = folder
        self._max_bytes = self._cap_bytes = max_bytes
        self._commit_s = commit_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._base = Database(folder / FILE, sender=sender)
        self._reserve = Reserve(folder / "reserve", reserve_bytes)
        self._lock: IO[bytes] | None = None
        self._pending: list[ClosedBatch] = []
        self._committing = 0
        self._acks: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], int] = {}
        self._due = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._failing = self._is_squeezed = False
        self._flushing = asyncio.Lock()
        self.on_commit: Callable[[], None] = lambda: None
        self.on_beat: Callable[[], None] = lambda: None

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
        urgent : commit now (taps), and let the caller wait for thousands only
        """
        if not batches:
            return
        self._pending += batches
        if len(self._pending) >= _PENDING_BATCHES_MAX:
            self._room.clear()
        self._due.set()
        if urgent or not self._room.is_set():
            self._urgent.set()
        if not urgent or len(self._pending) >= _PENDING_TAPS_MAX:
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

    async def fetch(
        self, after_id: int, limit: int, *, up_to_id: int | None = None, only_taps: bool = False
    ) -> list[StoredBatch]:
        """Return committed batches in the order in which they were written.

        Parameters
        ----------
        after_id : only later ones
        limit : at most so many
        up_to_id : only so far; None = to the newest
        only_taps : pass over other kinds

        Returns
        -------
        batches : acknowledged ones are not among them
        """
        return await self._run(
            lambda: self._base.fetch(after_id, limit, up_to_id=up_to_id, only_taps=only_taps)
        )

    async def bury(self, number: int, reason: str) -> int:
        """Put a batch that no broker takes among the dead letters, a stand-in in its place.

        Parameters
        ----------
        number : its id
        reason : one word

        Returns
        -------
        rows : that it had

        Raises
        ------
        sqlite3.Error
            The disk is full or broken; it is where it was.
        """
        async with self._flushing:
            return await asyncio.shield(self._run(lambda: self._base.bury(number, reason)))

    async def run(self) -> None:
        """Commit in groups until cancelled; a full disk is told once and tried again."""
        loop = asyncio.get_running_loop()
        recover_s = loop.time() + _RECOVER_S
        while True:
            self.on_beat()
            if self._is_squeezed and loop.time() >= recover_s:
                recover_s = loop.time() + _RECOVER_S
                await self._run(self._recover)
            if not await _came(self._due, _BEAT_S):
                continue
            await _came(self._urgent, self._commit_s)
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
            stored: list[ClosedBatch] = []
            try:
                await asyncio.shield(self._run(lambda: self._store(batches, acks, stored)))
            except sqlite3.Error:
                kept = set(stored)
                self._pending = [b for b in batches if b not in kept] + self._pending
                for key, seq in acks.items():
                    self._acks[key] = max(seq, self._acks.get(key, 0))
                self._due.set()
                if stored:
                    self.on_commit()
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

    @property
    def counts(self) -> Counts:
        """What is on the disk."""
        return self._base.counts

    @property
    def lost(self) -> Counter[str]:
        """Rows in the loss ledger by kind, of all times."""
        found: Counter[str] = Counter()
        for (_, kind), rows in self.counts.lost.items():
            found[kind] += rows
        return found

    @property
    def has_room(self) -> bool:
        """Whether new readings and samples can be taken."""
        if self._is_squeezed and len(self._pending) >= _PENDING_BATCHES_MAX // 2:
            return False
        return self.counts.bytes <= self._cap_bytes

    @property
    def is_squeezed(self) -> bool:
        """Whether the disk is full, and the outbox has to do with what it has."""
        return self._is_squeezed

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # Everything below runs in the one database thread.

    def _open(self) -> None:
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
            self._base.open()
        except ConfigError:
            self._close()
            raise
        self._reserve.take()

    def _close(self) -> None:
        if self._lock is not None:
            self._base.close()
            self._lock.close()
            self._lock = None

    def _store(
        self,
        batches: list[ClosedBatch],
        acks: dict[tuple[str, str], int],
        stored: list[ClosedBatch],
    ) -> None:
        try:
            self._commit(batches, acks)
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            self._squeeze()
            try:
                self._commit(batches, acks)
            except sqlite3.Error:
                taps = [batch for batch in batches if batch.kind == "tap"]
                if taps:
                    self._commit(taps, {})
                    stored += taps
                raise

    def _commit(self, batches: list[ClosedBatch], acks: dict[tuple[str, str], int]) -> None:
        reason = REASON_DISK if self._is_squeezed else REASON_FULL
        self._base.commit(batches, acks, max_bytes=self._cap_bytes, reason=reason)

    def _squeeze(self) -> None:
        had_reserve = self._reserve.give_back()
        if not self._is_squeezed:
            log.warning(
                "outbox disk full folder=%s; the oldest readings give way%s, make room",
                self._folder,
                ", taps get the reserve" if had_reserve else "",
            )
        self._is_squeezed = True
        self._cap_bytes = min(self._cap_bytes, int(self.counts.bytes * _SQUEEZED_SHARE))
        try:
            self._base.checkpoint()
        except sqlite3.Error:
            pass  # the commit that follows tells whether there is room

    def _recover(self) -> None:
        if self._reserve.take():
            self._is_squeezed = False
            self._cap_bytes = self._max_bytes
            log.warning("outbox disk recovered folder=%s", self._folder)


async def _came(event: asyncio.Event, within_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), within_s)
    except TimeoutError:
        return False
    return True
