"""Enrolled phones: names for the private addresses that their keys resolve.

Rules of the file: keys come from a file and never leave this object, neither does an
address; what is said outside is the name that the person agreed to. Source: Bluetooth
Core Specification, Vol 3 Part H section 2.2.2 (function ah), Vol 6 Part B section
1.3.2.3 (resolution).
"""

import csv
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from edge.keys import key_of
from ingest.config import ConfigError
from ingest.identifiers import is_tag

PHONES_MAX = 1000


class Irks:
    """Finds whose phone a resolvable private address belongs to.

    Parameters
    ----------
    keys : tag → identity resolving key, 16 bytes, most significant first
    cached_max : addresses whose answer is remembered
    """

    def __init__(self, keys: dict[str, bytes], *, cached_max: int = 4096) -> None:
        self._ciphers = [
            # ECB of one block is the plain cipher that `ah` is made of.
            (tag, Cipher(algorithms.AES(key), modes.ECB()).encryptor())  # noqa: S305
            for tag, key in keys.items()
        ]
        self.tag_of = lru_cache(maxsize=cached_max)(self._tag_of)

    @property
    def count(self) -> int:
        """How many phones are enrolled."""
        return len(self._ciphers)

    def _tag_of(self, address: bytes) -> str | None:
        """Return the tag of an address (6 bytes, most significant first), or None."""
        block = bytes(13) + address[:3]
        for tag, cipher in self._ciphers:
            if cipher.update(block)[13:] == address[3:]:
                return tag
        return None


def read_irks(path: Path) -> dict[str, bytes]:
    """Read the keys of enrolled phones.

    Parameters
    ----------
    path : CSV with the columns ``name,irk``: ``phone-7`` and 32 hex digits, the most
        significant byte first

    Returns
    -------
    keys : tag ``name:<kebab>`` → key

    Raises
    ------
    ConfigError
        The file cannot be read, a column is missing, or a line is wrong. The message
        names the line and never the key.
    """
    keys: dict[str, bytes] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"name", "irk"} - set(rows.fieldnames or ())
            if missing:
                raise ConfigError(f"irk_file {path}: column {min(missing)!r} is missing")
            for row in rows:
                where = f"irk_file {path}, line {rows.line_num}"
                tag = f"name:{(row['name'] or '').strip()}"
                if not is_tag(tag):
                    raise ConfigError(f"{where}: expected a name like 'phone-7'")
                if tag in keys:
                    raise ConfigError(f"{where}: this name is there already")
                keys[tag] = key_of(row["irk"] or "", where)
                if len(keys) > PHONES_MAX:
                    raise ConfigError(f"irk_file {path}: expected at most {PHONES_MAX} phones")
    except OSError as error:
        raise ConfigError(f"irk_file {path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"irk_file {path}: expected CSV in UTF-8, got other bytes") from error
    return keys
