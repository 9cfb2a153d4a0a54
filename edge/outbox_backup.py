"""A copy of the outbox while the agent runs, and its way back.

Rules of the file: the copy is one moment of the outbox, whole, checked, and on the disk before
it gets its name. What the gateway has acknowledged since is sent once more after a restore, and
known there by its number. A restore needs the agent to be stopped, and says so.
"""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from edge.outbox_schema import FILE, refuse_newer
from ingest.config import ConfigError

_COPY_PAGES = 256
_WAIT_S = 30.0


class Copied(NamedTuple):
    """What a copy holds."""

    path: Path
    batches: int
    rows: int
    bytes: int


def backup_outbox(state_dir: Path, out: Path, *, force: bool) -> Copied:
    """Copy an outbox.

    Parameters
    ----------
    state_dir : of an agent, which may run
    out : the file to write
    force : replace what is there

    Returns
    -------
    copied : what is in `out`

    Raises
    ------
    ConfigError
        There is no outbox, or `out` is there or cannot be written.
    """
    source = state_dir / FILE
    if not source.is_file():
        raise ConfigError(
            f"state_dir {state_dir}: expected {FILE}, found none; "
            "an agent makes it when it runs for the first time"
        )
    _refuse_existing(out, force=force)
    return _copy(source, out)


def restore_outbox(state_dir: Path, source: Path, *, force: bool) -> Copied:
    """Put a copy in the place of an outbox.

    Parameters
    ----------
    state_dir : of an agent that does not run; made when missing
    source : a file that `backup_outbox` has written
    force : replace the outbox that is there

    Returns
    -------
    copied : what is in the outbox now

    Raises
    ------
    ConfigError
        The agent runs, the copy is none or of a newer version, or an outbox is there.
    """
    if not source.is_file():
        raise ConfigError(f"{source}: expected a backup of an outbox, found no file")
    target = state_dir / FILE
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("wb")
    except OSError as error:
        raise ConfigError(
            f"state_dir {state_dir}: expected a folder to write to ({error.strerror})"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"state_dir {state_dir}: an agent is using it; stop it first"
            ) from None
        _refuse_existing(target, force=force)
        return _copy(source, target)


def _refuse_existing(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(f"{path}: expected no file there, found one; replace it with --force")


def _copy(source: Path, target: Path) -> Copied:
    fresh = target.with_name(f".{target.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        uri = f"{source.resolve().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S)) as there,
            closing(sqlite3.connect(fresh, timeout=_WAIT_S)) as here,
        ):
            (version,) = there.execute("PRAGMA user_version").fetchone()
            refuse_newer(source, version)
            if version < 1:
                raise ConfigError(f"{source}: expected an outbox, got another database")
            there.backup(here, pages=_COPY_PAGES, sleep=0.01)
            here.execute("PRAGMA journal_mode = DELETE")
            (verdict,) = here.execute("PRAGMA integrity_check").fetchone()
            if verdict != "ok":
                raise ConfigError(f"{source}: its copy is damaged ({verdict}); it may be too")
            batches, rows = here.execute(
                "SELECT count(*), coalesce(sum(rows), 0) FROM outbox"
            ).fetchone()
        size = fresh.stat().st_size
        _sync(fresh)
        # A log of the file that was there would be played into the new one.
        for end in ("-wal", "-shm"):
            target.with_name(target.name + end).unlink(missing_ok=True)
        fresh.replace(target)
        _sync(target.parent)
    except sqlite3.Error as error:
        raise ConfigError(f"{source}: cannot be copied to {target} ({error})") from error
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        fresh.unlink(missing_ok=True)
    return Copied(path=target, batches=batches, rows=rows, bytes=size)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
