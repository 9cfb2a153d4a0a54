"""SQLite files of the gateway: opened and migrated forward.

Rules of the file: WAL mode, the schema's version in ``PRAGMA user_version``; an older
file is brought forward step by step, each step and its new version in one transaction,
so that a crash leaves a whole version; a newer file is refused with a sentence.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from ingest.config import ConfigError

_LOG = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
_RETRY_S = 0.5
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""The disk is full, fails or is slow now: another time it may not."""


class Patience:
    """What waits when the disk refuses for now; nothing that was asked of it is lost.

    Parameters
    ----------
    name : of the file, for the log
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._given_up = threading.Event()
        self._told = False

    def give_up(self) -> None:
        """Let whoever waits get the error: the program is stopping."""
        self._given_up.set()

    def waits_after(self, error: sqlite3.OperationalError) -> bool:
        """Wait a while when an error may pass; return whether to try again.

        Parameters
        ----------
        error : of a statement; what it had begun is undone
        """
        if (error.sqlite_errorcode or 0) & 0xFF not in _PASSING:
            return False
        if not self._told:
            self._told = True
            _LOG.error("%s cannot be written (%s); waiting until it can", self._name, error)
        return not self._given_up.wait(_RETRY_S)

    def succeeded(self) -> None:
        """Say so once after it had been waited."""
        if self._told:
            self._told = False
            _LOG.info("%s recovered", self._name)


def patient(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Have a method that is one transaction tried again while the disk refuses.

    Parameters
    ----------
    method : of an object with a `patience`
    """

    @wraps(method)
    def tried(self: Any, *words: P.args, **named: P.kwargs) -> T:  # noqa: ANN401
        while True:
            try:
                done = method(self, *words, **named)
            except sqlite3.OperationalError as error:
                if not self.patience.waits_after(error):
                    raise
                continue
            self.patience.succeeded()
            return done

    return cast("Callable[Concatenate[Any, P], T]", tried)


def sync_log(path: Path) -> None:
    """Have everything that was committed to a database survive a power cut, from now on.

    Parameters
    ----------
    path : of a database in WAL mode with synchronous=NORMAL: its log is not synced by commits
    """
    try:
        log = os.open(path.with_name(path.name + "-wal"), os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(log)
    finally:
        os.close(log)


def open_database(
    path: Path,
    tables: str,
    *,
    version: int,
    synchronous: str,
    migrations: Mapping[int, str] | None = None,
) -> sqlite3.Connection:
    """Open a SQLite file in WAL mode with its tables, bringing an older one forward.

    Parameters
    ----------
    path : the file, made when missing
    tables : CREATE TABLE IF NOT EXISTS statements
    version : this program's schema version, kept in ``PRAGMA user_version``
    synchronous : FULL or NORMAL
    migrations : version to the statements that lead to the next one

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
        for older in range(found or version, version):
            steps = (migrations or {}).get(older, "")
            db.executescript(f"BEGIN IMMEDIATE;{steps};PRAGMA user_version={older + 1};COMMIT;")
        db.executescript(tables)
        if not found:
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
