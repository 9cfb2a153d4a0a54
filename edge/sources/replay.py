"""A source that plays recorded files back: readings, taps and samples.

Rules of the file: standard library only. Rows are played in the order of their files,
the files merged by time; rows need not be sorted, one that is late comes at once. A row
that cannot be parsed is dropped and counted by reason; a missing column or an unreadable
file is a `ConfigError` before anything is played.
"""

import asyncio
import csv
import gzip
import heapq
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, Self

import msgspec

from edge.measurement import Emit, Measurement, Reading, Sample, Tap
from edge.sources.source import Surroundings, TableSource
from ingest.config import ConfigError, to_struct

_CHUNK = 512
_NS = 1_000_000_000
_FRACTION = re.compile(r"\.(\d{1,9})\d*")
_COLUMNS = {
    "readings": (("receiver",), ("tag",), ("rssi_dbm",)),
    "taps": (("tap_point",), ("tag",)),
    "samples": (("sensor",), ("mass_g", "range_mm")),
}
Row = Mapping[str, Any]


class ReplaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[source]]`` with ``kind = "replay"``."""

    name: str = "replay"
    readings: str | None = None
    taps: str | None = None
    samples: str | None = None
    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    retime: bool = False


class ReplaySource(TableSource):
    """Plays files back.

    Parameters
    ----------
    settings : with absolute paths. `speed` 2 plays twice as fast, 0 as fast as it goes;
        `retime` moves all times so that the first row is played now
    now_ns : [ns] the agent's clock

    Raises
    ------
    ConfigError
        No file is named, or one cannot be read or lacks a column.
    """

    def __init__(self, settings: ReplaySettings, *, now_ns: Callable[[], int]) -> None:
        self.name = settings.name
        self._settings = settings
        self._now_ns = now_ns
        self._files = {
            kind: Path(path) for kind in _COLUMNS if (path := getattr(settings, kind)) is not None
        }
        if not self._files:
            raise ConfigError(f"source {self.name!r}: expected readings, taps or samples, got none")
        for kind, path in self._files.items():
            _check_columns(path, kind)
        self.rows = 0
        self.dropped: Counter[str] = Counter()

    @classmethod
    def read(cls, table: Mapping[str, Any], around: Surroundings) -> Self:
        """Make the source.

        Parameters
        ----------
        table : as `ReplaySettings`
        around : the files are relative to its folder
        """
        settings = to_struct(table, ReplaySettings, subject=around.subject)
        paths = {
            kind: str(around.base / path)
            for kind in _COLUMNS
            if (path := getattr(settings, kind)) is not None
        }
        return cls(msgspec.structs.replace(settings, **paths), now_ns=around.now_ns)

    async def run(self, emit: Emit) -> None:
        """Play everything once.

        Parameters
        ----------
        emit : of the agent
        """
        streams = [self._measurements(path, kind) for kind, path in self._files.items()]
        rows = heapq.merge(*streams, key=lambda measurement: measurement.t_ns)
        loop = asyncio.get_running_loop()
        begin_s, first_ns, shift_ns = loop.time(), None, 0
        chunk: list[Measurement] = []
        for row in rows:
            if first_ns is None:
                first_ns = row.t_ns
                shift_ns = self._now_ns() - first_ns if self._settings.retime else 0
            due_s = begin_s
            if self._settings.speed:
                due_s += (row.t_ns - first_ns) / _NS / self._settings.speed
            if chunk and (len(chunk) >= _CHUNK or due_s > loop.time()):
                await emit(chunk)
                chunk = []
                await asyncio.sleep(0)
            if due_s > loop.time():
                await asyncio.sleep(due_s - loop.time())
            chunk.append(row._replace(t_ns=row.t_ns + shift_ns))
            self.rows += 1
        await emit(chunk)

    def health(self) -> dict[str, Any]:
        """Return how many rows were played, and dropped by reason."""
        return {"rows": self.rows, "dropped": dict(self.dropped)}

    def _measurements(self, path: Path, kind: str) -> Iterator[Measurement]:
        for row in _rows(path):
            measurement = _measurement(row, kind)
            if isinstance(measurement, str):
                self.dropped[measurement] += 1
            else:
                yield measurement


def _measurement(row: Row, kind: str) -> Measurement | str:
    """Return what a row says, or the reason why it says nothing."""
    try:
        t_ns = _time(row)
    except (ValueError, TypeError, OverflowError):
        return "time"
    try:
        if kind == "readings":
            return Reading(t_ns, str(row["receiver"]), str(row["tag"]), float(row["rssi_dbm"]))
        if kind == "taps":
            proof = str(row.get("proof") or "") or None
            return Tap(t_ns, str(row["tap_point"]), str(row["tag"]), proof)
        return Sample(t_ns, str(row["sensor"]), _number(row, "mass_g"), _number(row, "range_mm"))
    except (KeyError, ValueError, TypeError, OverflowError):
        return "value"


def _number(row: Row, name: str) -> float | None:
    value = row.get(name)
    return None if value is None or value == "" else float(value)


def _time(row: Row) -> int:
    if row.get("t_ns") not in {None, ""}:
        value = row["t_ns"]
        return int(value) if isinstance(value, str) else _whole(value)
    text = str(row["time"] if row.get("time") else "")
    fraction = _FRACTION.search(text)
    moment = datetime.fromisoformat(_FRACTION.sub("", text))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * _NS + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a time is a whole number of nanoseconds")
    return value


def _rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        if ".jsonl" in path.suffixes:
            for line in file:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                yield row if isinstance(row, dict) else {}
        else:
            yield from csv.DictReader(file)


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace", newline="")


def _check_columns(path: Path, kind: str) -> None:
    try:
        first = next(_rows(path), None)
        with _open(path) as file:
            header = file.readline()
    except (OSError, EOFError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{path}: cannot be read ({why})") from error
    if not header:
        raise ConfigError(f"{path}: the file is empty")
    as_json = ".jsonl" in path.suffixes
    there = set(first or {}) if as_json else set(next(csv.reader([header]), []))
    for names in (("t_ns", "time"), *_COLUMNS[kind]):
        if there.isdisjoint(names):
            raise ConfigError(
                f"{path}: column {' or '.join(names)} is missing; it has {', '.join(sorted(there))}"
            )
