"""Directories of readings, taps and samples: a recording, or a gateway's archive.

Rules of the file: what a file holds is told by its name, ``readings``, ``taps`` or
``samples`` with anything after a hyphen (contract section 3; the gateway's archive);
directories named like days are looked into, other files are left alone. Only names
are looked at here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ingest.config import ConfigError

_FILE = re.compile(r"(readings|taps|samples)(?:-[^/]*)?\.(?:csv|csv\.gz|jsonl|parquet)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Files by what they hold, in the order of their directories and names.

    Attributes
    ----------
    day : the name of the day's directory, "" for files that belong to none
    """

    day: str = ""
    readings: tuple[Path, ...] = ()
    taps: tuple[Path, ...] = ()
    samples: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.readings, *self.taps, *self.samples)


def find_recorded(directory: Path) -> list[Recorded]:
    """Return the files of a recording or an archive, day by day, earliest first.

    Parameters
    ----------
    directory : of a recording, of one store's archive, or of one day of it

    Returns
    -------
    list of Recorded
        First those that belong to no day, if there are any, then each day.

    Raises
    ------
    ConfigError
        It cannot be read or holds none.
    """
    try:
        days = _days(directory)
        own_day = directory.resolve().name
        found = [_files(directory, own_day if _DAY.fullmatch(own_day) else "")]
        found += [_files(day, day.name) for day in days]
        found = [recorded for recorded in found if recorded.files]
        if not found:
            stores = sorted(path.name for path in directory.iterdir() if path.is_dir())
            stores = [name for name in stores if _days(directory / name)]
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be read ({error.strerror})") from error
    if not found:
        hint = f"; name one store's directory, {directory / stores[0]}" if stores else ""
        raise ConfigError(
            f"{directory}: expected files named readings, taps or samples, or directories of "
            f"days (2026-01-31) with such files, found none{hint}"
        )
    return found


def together(parts: Iterable[Recorded]) -> Recorded:
    """Return the files of all days as one.

    Parameters
    ----------
    parts : in order
    """
    every = list(parts)
    return Recorded(
        readings=tuple(path for part in every for path in part.readings),
        taps=tuple(path for part in every for path in part.taps),
        samples=tuple(path for part in every for path in part.samples),
    )


def _days(directory: Path) -> list[Path]:
    found = (path for path in directory.iterdir() if _DAY.fullmatch(path.name))
    return sorted(path for path in found if path.is_dir())


def _files(directory: Path, day: str) -> Recorded:
    of: dict[str, list[Path]] = {"readings": [], "taps": [], "samples": []}
    for path in sorted(directory.iterdir(), key=_in_order):
        found = _FILE.fullmatch(path.name)
        if found and path.is_file():
            of[found.group(1)].append(path)
    return Recorded(day=day, **{kind: tuple(paths) for kind, paths in of.items()})


def _in_order(path: Path) -> tuple[object, ...]:
    """Sort numbers in names by their size."""
    return tuple(
        (1, int(part), "") if part.isascii() and part.isdigit() else (0, 0, part)
        for part in re.split(r"(\d+)", path.name)
    )
