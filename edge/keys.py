"""Keys of senders that encrypt or sign: a file, never the configuration.

Rules of the file: a key never stands in a message, a log or a repr; a message names the
line. The number of rows is bounded. A file that others than its owner may read is used,
and said so once: refusing it would silence a shop over a mode bit.
"""

import csv
import logging
import re
import stat
from pathlib import Path
from typing import Final

from ingest.config import ConfigError
from ingest.identifiers import is_name

KEYS_MAX: Final = 10_000
KEY_BYTES: Final = 16
_HEX_DIGITS = re.compile(r"[0-9a-f]{32}")
_ADDRESS = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
log = logging.getLogger("fanous.edge.keys")


def read_keys(path: Path) -> dict[str, bytes]:
    """Read the keys of encrypted or signing senders.

    Parameters
    ----------
    path : CSV with the columns ``id,key``: a Bluetooth address ``aa:bb:cc:dd:ee:ff``, the
        UID of a card in hex digits or a name, and 32 hex digits, as the maker prints them

    Returns
    -------
    keys : id in lower case → key of 16 bytes

    Raises
    ------
    ConfigError
        The file cannot be read, a column is missing, a line is wrong, an id is given twice,
        or there are more than `KEYS_MAX` lines. The message never repeats a key.
    """
    keys: dict[str, bytes] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            _warn_of_readers(path)
            rows = csv.DictReader(file)
            missing = {"id", "key"} - set(rows.fieldnames or ())
            if missing:
                raise ConfigError(f"keys_file {path}: column {min(missing)!r} is missing")
            for row in rows:
                where = f"keys_file {path}, line {rows.line_num}"
                sender = (row["id"] or "").strip().lower()
                if not _ADDRESS.fullmatch(sender) and not is_name(sender):
                    raise ConfigError(
                        f"{where}: expected an id like 'aa:bb:cc:dd:ee:ff', a card's UID in hex "
                        "digits or a name, got something else"
                    )
                if sender in keys:
                    raise ConfigError(f"{where}: this id has a key already")
                keys[sender] = key_of(row["key"] or "", where)
                if len(keys) > KEYS_MAX:
                    raise ConfigError(f"keys_file {path}: expected at most {KEYS_MAX} lines")
    except OSError as error:
        raise ConfigError(f"keys_file {path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"keys_file {path}: expected CSV in UTF-8, got other bytes") from error
    return keys


def key_of(text: str, where: str) -> bytes:
    """Return a key of 16 bytes.

    Parameters
    ----------
    text : 32 hex digits
    where : file and line, for messages

    Raises
    ------
    ConfigError
        It is something else. The message never has the text.
    """
    digits = text.strip().lower()
    if not _HEX_DIGITS.fullmatch(digits):
        raise ConfigError(f"{where}: expected a key of 32 hex digits, got something else")
    return bytes.fromhex(digits)


def _warn_of_readers(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning(
            "keys_file %s: expected a file for its owner alone, got mode %03o; chmod 600 it",
            path,
            mode,
        )
