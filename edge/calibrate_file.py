"""Putting a calibration into edge.toml, with everything else left as it is.

Rules of the file: comments, order and line ends stay. What comes out is parsed, and must
differ from what was there in these keys alone; else nothing is written and the engineer
puts the lines in by hand. The new file takes the old one's place in one step, with its
mode and owner, and the old one stays beside it under a name that was free.
"""

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from edge.calibrate_cells import Place
from ingest.config import ConfigError

_HEADER = re.compile(r"^\s*\[")
_ARRAY = re.compile(r"^\s*\[\[\s*(source(?:\s*\.\s*port(?:\s*\.\s*(channel|poll))?)?)\s*\]\]")
_BACKUPS_MOST = 1000


def toml_lines(values: Mapping[str, float]) -> list[str]:
    """Return values as lines of TOML.

    Parameters
    ----------
    values : by key
    """
    return [f"{key} = {_number(value)}" for key, value in values.items()]


def refuse_unwritable(path: Path) -> None:
    """Refuse a file that could not be replaced, before anybody lifts a mass.

    Parameters
    ----------
    path : ``edge.toml``

    Raises
    ------
    ConfigError
        It or its folder cannot be written.
    """
    real = path.resolve()
    if not (os.access(real, os.W_OK) and os.access(real.parent, os.W_OK | os.X_OK)):
        raise ConfigError(
            f"--write: {path}: expected a file that this user may write, in a folder that he may "
            "write, got none; run this as its owner, or put the lines in by hand"
        )


def write_values(path: Path, place: Place, values: Mapping[str, float]) -> Path:
    """Put values into a table of a file; the old file is kept.

    Parameters
    ----------
    path : ``edge.toml``; a symbolic link stays one
    place : of the table
    values : by key

    Returns
    -------
    backup : the old file's new name

    Raises
    ------
    ConfigError
        The table is written in a way that is not understood here; nothing was changed.
    OSError
        The disk refuses; nothing was changed.
    """
    real = path.resolve()
    old = real.read_bytes().decode("utf-8")
    new = with_values(old, place, values)
    if new is None:
        raise ConfigError(
            f"{path}: the table of this sensor is written in a way that is not changed here; "
            f"put into it: {', '.join(toml_lines(values))}"
        )
    backup = _copy(real, old.encode())
    _replace(real, new.encode())
    return backup


def with_values(text: str, place: Place, values: Mapping[str, float]) -> str | None:
    """Return a file's text with values in one of its tables.

    Parameters
    ----------
    text : the file
    place : of the table
    values : by key

    Returns
    -------
    text : None when the table was not found, or more than these keys would change
    """
    lines = text.removeprefix("\ufeff").split("\n")
    begin, end = _find(lines, place)
    if begin < 0:
        return None
    missing = []
    for key, value in values.items():
        line = re.compile(rf"^(\s*{key}\s*=\s*)[^#\s]+(.*)$", re.DOTALL)
        at = next((at for at in range(begin, end) if line.match(lines[at])), None)
        if at is None:
            missing.append((key, value))
        else:
            lines[at] = line.sub(rf"\g<1>{_number(value)}\g<2>", lines[at])
    named = re.compile(r"^(\s*)sensor\s*=")
    at = next((at for at in range(begin, end) if named.match(lines[at])), None)
    if at is None:
        return None
    found = named.match(lines[at])
    indent, ending = found[1] if found else "", "\r" if lines[at].endswith("\r") else ""
    lines[at + 1 : at + 1] = [f"{indent}{key} = {_number(v)}{ending}" for key, v in missing]
    out = ("\ufeff" if text.startswith("\ufeff") else "") + "\n".join(lines)
    return out if _is_only_change(text, out, place, values) else None


def _find(lines: list[str], place: Place) -> tuple[int, int]:
    """Return the lines after the table's header, and where the next begins; -1 = not there."""
    source, port, inner = -1, -1, {"channel": -1, "poll": -1}
    begin = -1
    for at, line in enumerate(lines):
        if not _HEADER.match(line):
            continue
        if begin >= 0:
            return begin, at
        array = _ARRAY.match(line)
        if array is None:
            continue
        if array[2]:
            inner[array[2]] += 1
            here: Place = (source, port, array[2], inner[array[2]])
        elif "port" in array[1]:
            port, inner = port + 1, {"channel": -1, "poll": -1}
            here = (source, port, "", 0)
        else:
            source, port = source + 1, -1
            continue
        if here == place:
            begin = at + 1
    return begin, len(lines)


def _is_only_change(old: str, new: str, place: Place, values: Mapping[str, float]) -> bool:
    try:
        wanted: dict[str, Any] = deepcopy(tomllib.loads(old.removeprefix("\ufeff")))
        found = tomllib.loads(new.removeprefix("\ufeff"))
        table = wanted["source"][place[0]]["port"][place[1]]
        if place[2]:
            table = table[place[2]][place[3]]
    except (ValueError, LookupError, TypeError):
        return False
    table.update(values)
    return found == wanted


def _number(value: float) -> str:
    return repr(float(value))


def _copy(real: Path, data: bytes) -> Path:
    names = (f"{real.name}.bak{number or ''}" for number in range(_BACKUPS_MOST))
    backup = next(
        (real.with_name(name) for name in names if not real.with_name(name).exists()), None
    )
    if backup is None:
        raise ConfigError(f"{real}: expected fewer than {_BACKUPS_MOST} old files; remove some")
    with backup.open("xb") as file:
        os.fchmod(file.fileno(), real.stat().st_mode & 0o7777)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return backup


def _replace(real: Path, data: bytes) -> None:
    before = real.stat()
    handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), before.st_mode & 0o7777)
            with suppress(PermissionError):  # only root may give a file away
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(real.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
