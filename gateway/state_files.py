"""The files of a gateway's state directory, and the versions of the databases among them.

Rules of the file: looking changes nothing; a version is read from the file's header
(SQLite file format, database header: `user_version`, four bytes at offset 60), so no
database is opened for it.
"""

from pathlib import Path

from gateway import journal, result_tables
from ingest.config import ConfigError

JOURNAL = "journal.sqlite"
RESULTS = "results.sqlite"
CHECKPOINTS = "checkpoints"
ARCHIVE = "archive"
VERSIONS = {JOURNAL: journal.SCHEMA_VERSION, RESULTS: result_tables.SCHEMA_VERSION}
"""The schema version that this program writes."""
_MAGIC = b"SQLite format 3\0"
_VERSION_AT = slice(60, 64)


def version_of(path: Path) -> int | None:
    """Return a database's schema version; None when there is no file, or nothing in it yet.

    Parameters
    ----------
    path : the file

    Raises
    ------
    ConfigError
        It cannot be read or is no database.
    """
    try:
        with open(path, "rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if not header:
        return None
    if not header.startswith(_MAGIC) or len(header) < 100:
        raise ConfigError(f"{path}: expected a SQLite database, found something else")
    return int.from_bytes(header[_VERSION_AT], "big")


def refuse_newer(directory: Path) -> None:
    """Refuse databases that a newer program wrote; missing ones are fine.

    Parameters
    ----------
    directory : a state directory or a backup

    Raises
    ------
    ConfigError
        One is newer, cannot be read or is no database.
    """
    for name, version in VERSIONS.items():
        found = version_of(directory / name)
        if found is not None and found > version:
            raise ConfigError(
                f"{directory / name}: expected schema version {version} or older, got {found}; "
                "it was written by a newer fanous, upgrade this one or choose another state_dir"
            )
