"""The tables of the outbox's file, brought forward from older versions.

Rules of the file: the version is in ``PRAGMA user_version``; a step and its new version are one
transaction, so a crash leaves a whole version; a newer file is refused with a sentence.
"""

import sqlite3
from pathlib import Path

import msgspec

from ingest.config import ConfigError

SCHEMA_VERSION = 2
FILE = "outbox.sqlite"
_OUTBOX = """
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    boot TEXT NOT NULL, kind TEXT NOT NULL, seq INTEGER NOT NULL,
    rows INTEGER NOT NULL, class INTEGER NOT NULL, payload BLOB NOT NULL,
    sent_ns INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0, UNIQUE (boot, kind, seq)
);
CREATE INDEX droppable ON outbox (class DESC, id) WHERE class > 0;
CREATE INDEX taps ON outbox (id) WHERE kind = 'tap';
CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY, boot TEXT, kind TEXT, seq INTEGER, rows INTEGER, reason TEXT,
    sent_ns INTEGER, payload BLOB
);
"""
_TABLES = f"""
{_OUTBOX}
CREATE TABLE loss (
    reason TEXT, kind TEXT, rows INTEGER, batches INTEGER, PRIMARY KEY (reason, kind)
);
CREATE TABLE sender (
    one INTEGER PRIMARY KEY CHECK (one = 1), store TEXT, agent TEXT,
    newest_ns INTEGER NOT NULL DEFAULT 0
);
"""
_MIGRATION_1 = """
BEGIN IMMEDIATE;
ALTER TABLE outbox RENAME TO older;
DROP INDEX droppable;
@outbox@
INSERT INTO outbox
    SELECT id, boot, kind, seq, rows, class, payload, sent_ns_of(payload),
        CASE WHEN class = 0 AND kind != 'tap' THEN dropped_of(payload) ELSE 0 END
    FROM older;
DROP TABLE older;
ALTER TABLE sender ADD COLUMN newest_ns INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
COMMIT;
"""


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring them forward to this version.

    Parameters
    ----------
    database : without a transaction
    path : of its file, for messages

    Raises
    ------
    ConfigError
        The file is of a newer version.
    sqlite3.Error
        It is no database, or the disk is full.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    refuse_newer(path, version)
    database.execute("PRAGMA page_size = 1024")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA wal_autocheckpoint = 4000")
    if version == 0:
        database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    elif version == 1:
        _migrate_1(database)


def refuse_newer(path: Path, version: int) -> None:
    """Refuse the file of a newer program.

    Parameters
    ----------
    path : the file
    version : its own

    Raises
    ------
    ConfigError
        The sentence says what to do.
    """
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"outbox {path}: expected schema {SCHEMA_VERSION}, got {version} of a newer "
            "fanous; use that version, or move the file away to start with an empty one"
        )


def _migrate_1(database: sqlite3.Connection) -> None:
    """Bring version 1 forward: it knew neither when a batch was closed nor what it stands for."""
    database.create_function("sent_ns_of", 1, lambda payload: _told(payload).sent_ns)
    database.create_function("dropped_of", 1, lambda payload: _told(payload).dropped)
    database.executescript(_MIGRATION_1.replace("@outbox@", _OUTBOX))


class _Told(msgspec.Struct):
    """What version 1 kept in the payload alone."""

    sent_ns: int = 0
    dropped: int = 0


def _told(payload: bytes) -> _Told:
    try:
        return msgspec.msgpack.decode(payload, type=_Told)
    except msgspec.DecodeError:
        return _Told()
