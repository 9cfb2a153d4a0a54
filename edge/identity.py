"""From the tag a radio heard to the name that may leave this process.

Rules of the file: the only place where raw tags are held, in a cache of bounded size;
nothing here is ever logged or written. First the aliases say which raw tags are one
wristband (its beacon and its RFID chip), then the store's key makes the pseudonym.
"""

import csv
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ingest.config import ConfigError
from ingest.identifiers import is_pseudonym, is_tag, pseudonym

ALIASES_MAX = 100_000


class Identity:
    """Turns raw tags into what leaves the agent.

    Parameters
    ----------
    key : the store's pseudonym key; None = raw tags leave (laboratory)
    aliases : raw tag → raw tag, applied before the pseudonym
    cache_max : tags whose answer is remembered; the one used longest ago is forgotten
    """

    def __init__(
        self, key: bytes | None, aliases: Mapping[str, str] | None = None, *, cache_max: int = 65536
    ) -> None:
        self._key = key
        self._aliases = dict(aliases or {})
        self.outer = lru_cache(maxsize=cache_max)(self._outer)

    def _outer(self, tag: str) -> str | None:
        """Return what leaves the agent for a tag, None when it is neither tag nor pseudonym."""
        if not tag.isascii() or not (is_tag(tag) or is_pseudonym(tag)):
            return None
        tag = self._aliases.get(tag, tag)
        return tag if self._key is None else pseudonym(tag, self._key)


def read_aliases(path: Path) -> dict[str, str]:
    """Read which raw tags are one and the same wristband.

    Parameters
    ----------
    path : CSV with the columns ``tag,name``: two raw tags, for example
        ``em4100:0a00d2f0c1,name:band-007``

    Returns
    -------
    aliases : tag → name

    Raises
    ------
    ConfigError
        The file cannot be read, a column is missing, a line holds something else than two
        tags, a tag is given twice, or there are more than `ALIASES_MAX` lines. The
        message names the line and never the tag.
    """
    aliases: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"tag", "name"} - set(rows.fieldnames or ())
            if missing:
                raise ConfigError(f"aliases {path}: column {min(missing)!r} is missing")
            for row in rows:
                tag, name = (row["tag"] or "").strip(), (row["name"] or "").strip()
                if not is_tag(tag) or not is_tag(name):
                    raise ConfigError(
                        f"aliases {path}, line {rows.line_num}: expected two tags like "
                        "'em4100:0a00d2f0c1,name:band-007', got something else"
                    )
                if tag in aliases:
                    raise ConfigError(
                        f"aliases {path}, line {rows.line_num}: this tag has a name already"
                    )
                aliases[tag] = name
                if len(aliases) > ALIASES_MAX:
                    raise ConfigError(f"aliases {path}: expected at most {ALIASES_MAX} lines")
    except OSError as error:
        raise ConfigError(f"aliases {path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"aliases {path}: expected CSV in UTF-8, got other bytes") from error
    return aliases
