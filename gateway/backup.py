"""A backup of a gateway's state, made while the gateway runs.

Rules of the file: the moment of the results comes before that of the journal, so that the
journal holds all that the results are made of; both moments are held (read transactions,
which in WAL mode hold up nobody) while checkpoints, results and at last the journal are
copied. The files are whole and on the disk before the directory gets its name. The
archive is not in it: it is whole files already.
"""

import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from gateway.backup_manifest import Manifest, described, sync, write_manifest
from gateway.state_files import CHECKPOINTS, JOURNAL, RESULTS, refuse_newer, version_of
from ingest.config import ConfigError

TRIES = 3
_COPY_PAGES = 1024


def write_backup(
    state_dir: Path, store: str, out: Path, *, force: bool, now_ns: int, tell: Callable[[str], None]
) -> Manifest:
    """Copy a gateway's state into a new directory.

    Parameters
    ----------
    state_dir : of a gateway, which may run
    store : the store's id
    out : the new directory
    force : replace what is there
    now_ns : [ns] this machine's clock
    tell : told how far it is

    Returns
    -------
    Manifest
        What is in `out`.

    Raises
    ------
    ConfigError
        There is no state, or `out` exists or cannot be written; nothing was done.
    OSError
        The copying failed.
    """
    for name in (JOURNAL, RESULTS):
        if version_of(state_dir / name) is None:
            raise ConfigError(
                f"state_dir {state_dir}: expected {JOURNAL} and {RESULTS}, found no {name}; "
                "a gateway makes them when it runs for the first time"
            )
    refuse_newer(state_dir)
    with new_directory(out, force=force, subject="--out") as made:
        for _ in range(TRIES):
            if _copy_state(state_dir, made, tell):
                break
        else:
            raise OSError(
                errno.EAGAIN,
                f"state_dir {state_dir}: the newest checkpoint was replaced {TRIES} times before "
                "it could be copied; try later",
            )
        tell("checking")
        names = [JOURNAL, RESULTS]
        names += sorted(f"{CHECKPOINTS}/{path.name}" for path in (made / CHECKPOINTS).iterdir())
        manifest = Manifest(
            fanous=version("fanous"),
            store=store,
            created_ns=now_ns,
            journal_version=version_of(made / JOURNAL) or 0,
            results_version=version_of(made / RESULTS) or 0,
            journal_id=newest_journal_id(made / JOURNAL),
            files=[described(made, name) for name in names],
        )
        write_manifest(made, manifest)
    return manifest


@contextmanager
def new_directory(out: Path, *, force: bool, subject: str) -> Iterator[Path]:
    """Give a directory to be filled, which gets its name when that went well.

    Parameters
    ----------
    out : its name
    force : replace what is there
    subject : of messages

    Yields
    ------
    directory : under another name beside it

    Raises
    ------
    ConfigError
        It exists, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{subject} {out}: expected a directory, found a file")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise ConfigError(f"{subject} {out}: exists already; choose another one or say --force")
    place = out.resolve()
    partial = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(f"{subject} {out}: cannot be written ({error.strerror})") from error
    try:
        yield partial
        old = place.with_name(f".{place.name}.{os.getpid()}.old")
        if place.exists():
            place.rename(old)
        partial.rename(place)
        sync(place.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def newest_journal_id(path: Path) -> int:
    """Return the newest id that a journal has ever given, also to batches that are gone.

    Parameters
    ----------
    path : a journal that nobody uses
    """
    with closing(sqlite3.connect(path)) as db:
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batches'").fetchone()
    return int(row[0]) if row else 0


def progress_line(text: str) -> None:
    """Show how far it is on a terminal, each text over the one before.

    Parameters
    ----------
    text : "" ends the line
    """
    if sys.stderr.isatty():
        print(f"\r{text:<78.78}", end="" if text else "\r", file=sys.stderr, flush=True)


def _copy_state(state_dir: Path, made: Path, tell: Callable[[str], None]) -> bool:
    """Copy everything; return whether the newest checkpoint was still there."""
    for path in (made / RESULTS, made / JOURNAL):
        path.unlink(missing_ok=True)
    shutil.rmtree(made / CHECKPOINTS, ignore_errors=True)
    (made / CHECKPOINTS).mkdir(mode=0o700)
    with moment_of(state_dir / RESULTS) as results, moment_of(state_dir / JOURNAL) as journal:
        gone = _copy_checkpoints(results, state_dir / CHECKPOINTS, made / CHECKPOINTS, tell)
        if gone is None:
            return False
        copy_database(results, made / RESULTS, tell)
        copy_database(journal, made / JOURNAL, tell)
    if gone:
        with closing(sqlite3.connect(made / RESULTS)) as db, db:
            db.executemany("DELETE FROM checkpoints WHERE name = ?", [(name,) for name in gone])
    return True


def _copy_checkpoints(
    results: sqlite3.Connection, source: Path, target: Path, tell: Callable[[str], None]
) -> list[str] | None:
    """Copy the checkpoints that the results list; return those that had gone, None if the newest.

    Older ones are for late rows, so one that is thinned out just now does no harm.
    """
    gone: list[str] = []
    if not results.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoints'").fetchone():
        return gone  # the first version had none
    listed = results.execute("SELECT name FROM checkpoints ORDER BY id DESC").fetchall()
    for at, (name,) in enumerate(listed):
        tell(f"{CHECKPOINTS}/{name}")
        try:
            shutil.copyfile(source / name, target / name)
        except FileNotFoundError:
            if at == 0:
                return None
            gone.append(name)
    return gone


@contextmanager
def moment_of(path: Path) -> Iterator[sqlite3.Connection]:
    """Give one moment of a database that may be in use, to be read as long as it takes.

    Parameters
    ----------
    path : the file

    Yields
    ------
    db : in a read transaction

    Raises
    ------
    OSError
        It cannot be read.

    Notes
    -----
    The read transaction is held from first to last: without it SQLite's backup begins anew
    whenever somebody has written, and a journal is written four times a second.
    """
    try:
        with closing(
            sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=30.0
            )
        ) as db:
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield db
            db.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"{path} cannot be read ({error})") from error


def copy_database(source: sqlite3.Connection, target: Path, tell: Callable[[str], None]) -> None:
    """Copy one moment of a database and look whether the copy is whole.

    Parameters
    ----------
    source : as `moment_of` gives it
    target : must not exist
    tell : told how far it is

    Raises
    ------
    OSError
        The copy cannot be written or is not whole.
    """

    def told(_status: int, remaining: int, total: int) -> None:
        tell(f"{target.name}: {1.0 - remaining / max(total, 1):.0%}")

    try:
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=_COPY_PAGES, sleep=0.001, progress=told)
            copy.execute("PRAGMA journal_mode=DELETE")
            (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"{target} cannot be written ({error})") from error
    if verdict != "ok":
        raise OSError(errno.EIO, f"{target.name} is damaged ({verdict}); so is its copy")
