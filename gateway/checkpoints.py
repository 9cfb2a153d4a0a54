"""Checkpoints on disk: where the live engine was, so that a restart need not begin anew.

A checkpoint belongs to one recorded step. It holds the engine, the tag table, and what
driver, event finder and point maker remember; with the journal's batches after it the
gateway goes on as if it had not stopped. Older ones are kept, further and further
apart, as places from which a stretch can be computed again when rows come late.

Rules of the file: a file is written beside its name, synced, and renamed; it counts only
when the result store lists it, in the file that also has the step; a checkpoint that
cannot be used is a sentence in the log and the next older one is tried.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.driver import Driver
from gateway.engine_room import CheckpointRefusedError, EngineRoom
from gateway.events import EventFinder
from gateway.points import PointMaker
from gateway.result_store import ResultStore, Step
from ingest.tag_table import TagTable

_LOG = logging.getLogger(__name__)
_MAGIC = b"fanous.checkpoint/1\n"
_SUM_BYTES = 16
NEWEST_KEPT = 2
APART = 1.8
"""Each older checkpoint kept is at least so many times as old as the one after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A checkpoint that the result store lists."""

    name: str
    step: Step

    @property
    def watermark_ns(self) -> int:
        """Up to where ticks were closed [ns]."""
        return self.step.watermark_ns or 0


class Checkpoints:
    """The checkpoints of one gateway.

    Parameters
    ----------
    directory : made when missing; nothing else may be in it
    results : lists them
    room : makes, saves and loads engines
    """

    def __init__(self, directory: Path, results: ResultStore, room: EngineRoom) -> None:
        self._directory = directory
        self._results = results
        self._room = room
        directory.mkdir(mode=0o700, exist_ok=True)
        self.tidy()

    @property
    def is_possible(self) -> bool:
        """Whether the engines can be saved at all."""
        return self._room.save is not None and self._room.load is not None

    def listed(self) -> list[Listed]:
        """Return the checkpoints, newest first."""
        rows = self._results.query(
            "SELECT name, step_id, journal_id, watermark_ns FROM checkpoints ORDER BY id DESC"
        )
        return [
            Listed(name=name, step=Step(id=step_id, journal_id=journal_id, watermark_ns=at_ns))
            for name, step_id, journal_id, at_ns in rows
        ]

    def write(
        self, step: Step, driver: Driver, finder: EventFinder, points: PointMaker | None
    ) -> Listed:
        """Save where everything is after a recorded step; thin out the older ones.

        Parameters
        ----------
        step : recorded, the last one that the driver did
        driver, finder, points : nothing may change them meanwhile

        Raises
        ------
        OSError
            The disk does not take it.
        """
        assert self._room.save is not None
        parts = {
            "engine": self._room.save(driver.engine),
            "tags": driver.tags.state(),
            "driver": driver.state(),
            "finder": finder.state(),
            "points": None if points is None else points.state(),
        }
        body = _MAGIC + msgspec.msgpack.encode(parts)
        name = f"{step.id:012d}.checkpoint"
        write_whole(self._directory / name, body + _checksum(body))
        with self._results.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO checkpoints (name, step_id, journal_id, watermark_ns) "
                "VALUES (?, ?, ?, ?)",
                (name, step.id, step.journal_id, step.watermark_ns),
            )
        self._thin()
        return Listed(name=name, step=step)

    def load(
        self, listed: Listed, driver: Driver, finder: EventFinder, points: PointMaker | None
    ) -> None:
        """Put everything back to where it was.

        Parameters
        ----------
        listed : the checkpoint
        driver, finder, points : new ones, of the same store

        Raises
        ------
        CheckpointRefusedError
            It is damaged, or made by another program or for another store; the new ones
            may be changed in part and must be made anew.
        """
        assert self._room.load is not None
        parts = self._read(listed)
        try:
            tags = TagTable.restored(parts["tags"])
            driver.put_engine(self._room.load(parts["engine"], tags.names), tags)
            driver.restore(parts["driver"])
            finder.restore(parts["finder"])
            if points is not None and parts["points"] is not None:
                points.restore(parts["points"])
        except CheckpointRefusedError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointRefusedError(
                f"its content is not valid ({type(error).__name__})"
            ) from error

    def drop(self, listed: Listed) -> None:
        """Forget one checkpoint.

        Parameters
        ----------
        listed : it need not exist any more
        """
        with self._results.transaction() as db:
            db.execute("DELETE FROM checkpoints WHERE name = ?", (listed.name,))
        (self._directory / listed.name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete the files that the result store does not list."""
        known = {each.name for each in self.listed()}
        for path in self._directory.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)

    def _read(self, listed: Listed) -> Mapping[str, Any]:
        try:
            data = (self._directory / listed.name).read_bytes()
        except OSError as error:
            raise CheckpointRefusedError(f"it cannot be read ({error.strerror})") from error
        body, found = data[:-_SUM_BYTES], data[-_SUM_BYTES:]
        if not body.startswith(_MAGIC) or _checksum(body) != found:
            raise CheckpointRefusedError("it is damaged or of another version")
        try:
            return msgspec.msgpack.decode(body[len(_MAGIC) :], type=dict[str, Any])
        except (ValueError, RecursionError) as error:
            raise CheckpointRefusedError("its content is not valid") from error

    def _thin(self) -> None:
        listed = self.listed()
        newest_ns = listed[0].watermark_ns
        kept_age_ns = 0
        for at, each in enumerate(listed):
            age_ns = newest_ns - each.watermark_ns
            if at < NEWEST_KEPT or at == len(listed) - 1 or age_ns >= APART * kept_age_ns:
                kept_age_ns = age_ns
            else:
                self.drop(each)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is there whole, or not at all.

    Parameters
    ----------
    path : replaced when it exists
    data : what it will hold

    Raises
    ------
    OSError
        The disk does not take it.
    """
    beside = path.with_name(path.name + ".new")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SUM_BYTES).digest()
