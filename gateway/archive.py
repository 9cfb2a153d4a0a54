"""The archive: raw readings, taps and samples as Parquet, by store and day.

``<state_dir>/archive/<store>/<YYYY-MM-DD>/<readings|taps|samples>-<first>-<last>.parquet``:
the rows of one UTC day in the journal's batches from the one to the other. `fanous
analyze` and `fanous replay` read such directories (`ingest.recorded`).

Rules of the file: it reads the journal, never the live engine, and goes on from where it
was. A part is several files, so their names alone cannot tell whether all were written:
``progress.json`` says how far the archive is whole and is written last; files beyond it
are what a crash left and are made again. Whole files only, by renaming. Everything older
than `keep_h` is deleted: raw rows are about persons.
"""

import contextlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa

from gateway.archive_part import Part
from gateway.checkpoints import write_whole
from gateway.driver import AHEAD_MAX_NS, BEHIND_MAX_NS
from gateway.journal import Journal
from gateway.settings import ArchiveSettings
from ingest.columns import DecodedBatch
from ingest.config import ConfigError

_LOG = logging.getLogger(__name__)
PROGRESS = "progress.json"
PART_NAME = re.compile(r"(?:readings|taps|samples)-(\d+)-(\d+)\.parquet", re.ASCII)
HOUR_NS = 3_600_000_000_000
READ_BATCHES = 16
EXPIRE_EVERY_S = 60.0
RETRY_S = 10.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """``progress.json``: the newest batch of the journal that is in whole files."""

    archived_id: int


class Archive:
    """Writes the archive of one store; everything but `archived_id` runs in one thread.

    Parameters
    ----------
    journal : what is archived
    decode : bytes of a journaled batch to the batch
    directory : made when missing; each store has its own directory in it
    store : the store's id
    settings : ``[archive]``
    clock : "wall": rows that the gateway sets aside for their time are left out, and a
        file is as old as its newest row; "data": every row, a file is as old as it is
    monotonic_s : [s] a clock that only goes forward

    Attributes
    ----------
    counts : rows, files, bytes_written, left_out (rows), unreadable (batches)
    bytes_kept : what is on the disk

    Raises
    ------
    ConfigError
        The directory cannot be made or written.
    """

    def __init__(
        self,
        journal: Journal,
        decode: Callable[[bytes], DecodedBatch],
        directory: Path,
        store: str,
        settings: ArchiveSettings,
        *,
        clock: Literal["wall", "data"],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._journal, self._decode, self._settings = journal, decode, settings
        self._is_wall, self._monotonic_s = clock == "wall", monotonic_s
        self._place = directory / store
        self.counts: Counter[str] = Counter()
        self.bytes_kept = 0
        self._expired_s: float | None = None
        self._failed_s: float | None = None
        self._part, self._part_s = Part(), 0.0
        try:
            if settings.enabled:
                self._place.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._archived_id = self._read_id = self._open()
        except OSError as error:
            raise ConfigError(
                f"archive {self._place}: expected a directory that can be written "
                f"({error.strerror}); change its owner or set [archive] enabled = false"
            ) from error

    @property
    def archived_id(self) -> int | None:
        """The newest batch that the journal may forget; None = it need not wait for us.

        It must not when nothing is archived, and when the archive's disk refuses while the
        journal is full: the gateway goes on without an archive then, and the log says so.
        """
        if not self._settings.enabled or (
            self._failed_s is not None and self._journal.is_over_full
        ):
            return None
        return self._archived_id

    def run_once(self, now_ns: int, up_to_id: int, *, write_out: bool = False) -> bool:
        """Read what is new in the journal, write a part if one is due, delete what is old.

        Parameters
        ----------
        now_ns : [ns] this machine's clock
        up_to_id : the newest batch of the journal that may be archived
        write_out : write a part now, whatever it holds

        Returns
        -------
        bool
            Whether a part became full, so that there may be more to do at once.
        """
        if self._expired_s is None or self._monotonic_s() - self._expired_s >= EXPIRE_EVERY_S:
            self._expire(now_ns)
        if not self._settings.enabled:
            return False
        is_full = self._gather(up_to_id)
        waited_s = self._monotonic_s() - self._part_s
        is_due = is_full or write_out or waited_s >= self._settings.part_s
        if not self._part.batches or not is_due:
            return False
        if self._failed_s is not None and self._monotonic_s() - self._failed_s < RETRY_S:
            return False
        return self._write(now_ns) and is_full

    def _gather(self, up_to_id: int) -> bool:
        """Read batches into the part; return whether it is full."""
        while self._part.rows < self._settings.part_rows:
            found = self._journal.read(self._read_id, up_to_id, READ_BATCHES)
            if not found:
                return False
            for row_id, received_ns, _, payload in found:
                if not self._add(received_ns, payload):
                    return True
                self._read_id = row_id
                if self._part.rows >= self._settings.part_rows:
                    break
        return True

    def _add(self, received_ns: int, payload: bytes) -> bool:
        if not self._part.batches:
            self._part_s = self._monotonic_s()
        try:
            batch = self._decode(payload)
        except ValueError:
            self.counts["unreadable"] += 1
            return True
        keep = np.ones(batch.rows, np.bool_)
        if self._is_wall:
            keep &= batch.t_ns <= received_ns + AHEAD_MAX_NS
            keep &= batch.t_ns >= received_ns - BEHIND_MAX_NS
        added = self._part.add(batch, keep)
        if added is None:
            return False
        self.counts["left_out"] += batch.rows - added
        return True

    def _write(self, now_ns: int) -> bool:
        """Write the part and how far the archive is; on an error the part stays for later."""
        written: Counter[str] = Counter()
        paths: list[Path] = []
        try:
            for file in self._part.files():
                day = self._place / file.day
                day.mkdir(exist_ok=True, mode=0o700)
                path = day / f"{file.stem}-{self._archived_id + 1}-{self._read_id}.parquet"
                paths.append(path)
                write_whole(path, file.data)
                age_ns = file.newest_ns if self._is_wall else now_ns
                os.utime(path, ns=(age_ns, age_ns))
                written.update(files=1, rows=file.rows, bytes_written=len(file.data))
            self._save(self._read_id)
        except OSError as error:
            # The next try may hold more batches and have other names.
            for path in paths:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            if self._failed_s is None:
                _LOG.error(
                    "archive cannot be written (%s); it is tried again, and what a full "
                    "journal has to forget meanwhile will be missing from the archive",
                    error.strerror,
                )
            self._failed_s = self._monotonic_s()
            return False
        if self._failed_s is not None:
            _LOG.info("archive recovered")
        self._failed_s = None
        self.counts.update(written)
        self.bytes_kept += written["bytes_written"]
        self._archived_id = self._read_id
        self._part = Part()
        pa.default_memory_pool().release_unused()  # else it keeps what the largest part needed
        return True

    def _expire(self, now_ns: int) -> None:
        """Delete the files that are too old, and the directories of days that are empty."""
        self._expired_s = self._monotonic_s()
        before_ns = now_ns - round(self._settings.keep_h * HOUR_NS)
        self.bytes_kept = 0
        for path in _parts(self._place):
            try:
                found = path.stat()
                if found.st_mtime_ns < before_ns:
                    path.unlink()
                    if not any(path.parent.iterdir()):
                        path.parent.rmdir()
                else:
                    self.bytes_kept += found.st_size
            except OSError as error:
                _LOG.warning("archive: an old file cannot be deleted (%s)", error.strerror)

    def _open(self) -> int:
        """Return how far the archive is whole; delete what a crash has left beyond it."""
        if not self._place.is_dir():
            return 0
        parts = _parts(self._place)
        archived_id = read_progress(self._place)
        if archived_id is None:
            # Nobody has begun, or somebody has deleted the file: the names are what is left.
            archived_id = max((_last_id(path) for path in parts), default=0)
            if self._settings.enabled:
                self._save(archived_id)
        for path in (*self._place.glob("*/*.new"), *self._place.glob("*.new")):
            path.unlink(missing_ok=True)
        for path in parts:
            if _last_id(path) > archived_id:
                path.unlink(missing_ok=True)
        return archived_id

    def _save(self, archived_id: int) -> None:
        progress = Progress(archived_id=archived_id)
        write_whole(self._place / PROGRESS, msgspec.json.encode(progress) + b"\n")


def read_progress(place: Path) -> int | None:
    """Return how far a store's archive is whole; None when its file is missing or damaged.

    Parameters
    ----------
    place : the store's directory
    """
    try:
        return msgspec.json.decode((place / PROGRESS).read_bytes(), type=Progress).archived_id
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def rewind(directory: Path, store: str, last_id: int, mark: str) -> int:
    """Let an archive go on from an earlier batch, because the journal was put back to it.

    The files of later batches stay: their rows may be nowhere else. They get other names,
    because the journal gives the numbers in them again.

    Parameters
    ----------
    directory : of all archives
    store : the store's id
    last_id : the newest batch that the journal has ever had
    mark : becomes a part of the names

    Returns
    -------
    int
        Files that have another name now.
    """
    place = directory / store
    archived_id = read_progress(place)
    renamed = 0
    for path in _parts(place):
        if last_id < _last_id(path) <= (archived_id or _last_id(path)):
            path.rename(path.with_name(f"{path.stem}-{mark}.parquet"))
            renamed += 1
    if archived_id is not None and archived_id > last_id:
        write_whole(place / PROGRESS, msgspec.json.encode(Progress(archived_id=last_id)) + b"\n")
    return renamed


def _parts(place: Path) -> list[Path]:
    """Return the files of an archive, also those with other names after `rewind`."""
    return [path for path in place.glob("????-??-??/*.parquet") if path.is_file()]


def _last_id(path: Path) -> int:
    """Return the newest batch in a file by its name, 0 when that does not say."""
    found = PART_NAME.fullmatch(path.name)
    return int(found.group(2)) if found else 0
