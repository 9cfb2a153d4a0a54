"""SQLite files of the gateway: opened and migrated forward.

Rules of the file: WAL mode, the schema's version in ``PRAGMA user_version``; an older
file is brought forward step by step, each step and its new version in one transaction,
so that a crash leaves a whole version; a newer file is refused with a sentence.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ingest.config import ConfigError


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
