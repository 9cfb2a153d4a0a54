"""Play recorded readings, taps and shelf samples back through MQTT.

Rules of the file: what a file holds is told by its columns; rows that are impossible
or unknown to the store are dropped and counted by reason, as everywhere (contract
section 3); the rows of all files are merged in order of time, an archive's day by day.
"""

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store
from ingest.batch import Kind
from ingest.broker import broker_address
from ingest.config import ConfigError
from ingest.files import BAD_TIME, read_columns
from ingest.identifiers import is_name, is_pseudonym, is_tag
from ingest.recorded import Recorded, find_recorded
from ingest.store_file import read_store
from simulators.command import positive, report, say
from simulators.publisher import play, pseudonymiser
from simulators.routing import Routes, Rows, Step, find_routes, sample_columns, split_rows

STEP_NS = 1_000_000_000
RSSI_DBM = (-120.0, 20.0)
_COLUMNS = ("receiver", "tap_point", "sensor", "tag", "rssi_dbm", "mass_g", "range_mm", "proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of one kind in order of time, with the agent that sends each."""

    kind: Kind
    agent: NDArray[np.int32]
    columns: dict[str, NDArray[Any]]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fanous replay`.

    Parameters
    ----------
    parser : of this verb
    """
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="readings, taps or shelf samples; or a directory: a recording, a gateway's archive "
        "of one store or of one day",
    )
    parser.add_argument("--store", type=Path, required=True, help="store file")
    parser.add_argument("--mqtt", metavar="URL", required=True, help="mqtt://host:port")
    parser.add_argument("--agent", help="one agent sends everything; default: as the store says")
    parser.add_argument("--key-file", type=Path, help="the store's pseudonym key")
    parser.add_argument(
        "--speed", type=positive, default=1.0, help="event seconds per wall second (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = (
        "example: fanous replay recording/readings.csv --store recording/store.toml "
        "--mqtt mqtt://127.0.0.1:1883 --speed 10"
    )


def run(args: argparse.Namespace) -> int:
    """Run `fanous replay` and return its exit code.

    Parameters
    ----------
    args : as `configure` describes them

    Raises
    ------
    ConfigError
        The arguments, the store or a file cannot work.
    """
    broker = broker_address(args.mqtt, key="--mqtt")
    if args.agent is not None and not is_name(args.agent):
        raise ConfigError(f"--agent '{args.agent}': expected a name like 'pi-1'")
    store = read_store(args.store)
    routes = find_routes(store, agent=args.agent)
    dropped: Counter[str] = Counter()
    pseudonym_of = pseudonymiser(store.id, args.key_file, say)
    portions = find_portions(args.files)
    unreadable: list[ConfigError] = []

    def steps() -> Iterator[Step]:
        for number, files in enumerate(portions, start=1):
            if len(portions) > 1:
                say(f"day {number} of {len(portions)}: {len(files)} files")
            try:
                tables = [read_table(path, store, routes, pseudonym_of, dropped) for path in files]
            except ConfigError as error:
                unreadable.append(error)
                return
            for reason, count in sorted(dropped.items()):
                say(f"{count} rows dropped: {reason}")
            dropped.clear()
            yield from merged_steps(joined(tables), routes)

    first = next(played := steps(), None)
    if first is None and unreadable:
        raise unreadable[0]  # nothing was sent
    playing = play(
        played if first is None else chain([first], played),
        broker,
        store_id=store.id,
        agents=routes.agents,
        speed=args.speed,
        say=say,
    )
    code = report(asyncio.run(playing), as_json=args.json)
    for error in unreadable:
        say(f"stopped early: {error}")
    return 1 if unreadable else code


def find_portions(paths: Sequence[Path]) -> list[list[Path]]:
    """Return the files to be played in portions, one after the other in time.

    An archive is played day by day, so that only one day is in memory; everything else is
    merged and is one portion.

    Parameters
    ----------
    paths : files and directories

    Raises
    ------
    ConfigError
        A directory cannot be read or holds no such files.
    """
    of_day: dict[str, list[Path]] = {}
    for path in paths:
        parts = find_recorded(path) if path.is_dir() else [Recorded(readings=(path,))]
        for part in parts:
            of_day.setdefault(part.day, []).extend(part.files)
    if "" in of_day:
        return [[path for files in of_day.values() for path in files]]
    return [files for _, files in sorted(of_day.items())]


def joined(tables: Sequence[Table]) -> list[Table]:
    """Return one table for each kind of rows and set of columns.

    Parameters
    ----------
    tables : each in order of time
    """
    if any("proof" in table.columns for table in tables):
        tables = [_with_proof(table) if table.kind == "tap" else table for table in tables]
    alike: dict[tuple[str, ...], list[Table]] = {}
    for table in tables:
        alike.setdefault((table.kind, *sorted(table.columns)), []).append(table)
    return [_merged(same) if len(same) > 1 else same[0] for same in alike.values()]


def _with_proof(table: Table) -> Table:
    nothing = np.full(len(table.agent), "", object)
    return replace(table, columns={"proof": nothing, **table.columns})


def _merged(tables: Sequence[Table]) -> Table:
    order = np.argsort(np.concatenate([t.columns["t_ns"] for t in tables]), kind="stable")
    return Table(
        kind=tables[0].kind,
        agent=np.concatenate([table.agent for table in tables])[order],
        columns={
            name: np.concatenate([table.columns[name] for table in tables])[order]
            for name in tables[0].columns
        },
    )


def read_table(
    path: Path,
    store: Store,
    routes: Routes,
    pseudonym_of: Callable[[str], str],
    dropped: Counter[str],
) -> Table:
    """Read one file of readings, taps or samples.

    Parameters
    ----------
    path : the file
    store : what its names refer to
    routes : who sends what
    pseudonym_of : a tag's pseudonym
    dropped : rows dropped, counted by reason

    Raises
    ------
    ConfigError
        It cannot be read, or its columns are of none of the three kinds.
    """
    columns = read_columns(path, required=["t_ns"], optional=_COLUMNS)
    good = _Good(columns["t_ns"], dropped)
    good.keep(columns["t_ns"] != BAD_TIME, "unreadable time")
    if {"receiver", "tag", "rssi_dbm"} <= set(columns):
        return _readings(columns, store, routes, pseudonym_of, good)
    if {"tap_point", "tag"} <= set(columns):
        return _taps(columns, store, routes, pseudonym_of, good)
    if "sensor" in columns and ({"mass_g", "range_mm"} & set(columns)):
        return _samples(columns, store, routes, good)
    raise ConfigError(
        f"{path}: expected the columns of readings (receiver, tag, rssi_dbm), of taps (tap_point, "
        f"tag) or of samples (sensor, mass_g or range_mm), found {', '.join(sorted(columns))}"
    )


def merged_steps(tables: list[Table], routes: Routes) -> Iterator[Step]:
    """Yield the rows of all tables second by second; empty seconds are left out.

    Parameters
    ----------
    tables : each in order of time
    routes : who sends what

    Yields
    ------
    step : one for each second that has rows
    """
    seconds = [table.columns["t_ns"] // STEP_NS for table in tables]
    every = np.unique(np.concatenate(seconds)) if seconds else np.zeros(0, dtype=np.int64)
    for second in every.tolist():
        rows: list[Rows] = []
        for table, of in zip(tables, seconds, strict=True):
            part = slice(*np.searchsorted(of, [second, second + 1]).tolist())
            columns = {name: values[part] for name, values in table.columns.items()}
            rows += split_rows(table.kind, routes.agents, table.agent[part], columns)
        yield Step(end_ns=(second + 1) * STEP_NS, rows=tuple(rows))


class _Good:
    """Which rows of a file are good, and why the others are not."""

    def __init__(self, t_ns: NDArray[np.int64], dropped: Counter[str]) -> None:
        self._good = np.ones(len(t_ns), dtype=np.bool_)
        self._t_ns, self._dropped = t_ns, dropped

    def keep(self, fine: NDArray[np.bool_], reason: str) -> None:
        bad = int((self._good & ~fine).sum())
        if bad:
            self._dropped[reason] += bad
        self._good &= fine

    def rows(self) -> NDArray[np.int64]:
        """Return the good rows in order of time."""
        rows = np.flatnonzero(self._good)
        return rows[np.argsort(self._t_ns[rows], kind="stable")]


def _coded(names: NDArray[Any], known: list[str], what: str, good: _Good) -> NDArray[np.int64]:
    """Return the index of each name; unknown ones are dropped, told name by name."""
    found, inverse = np.unique(names.astype(str), return_inverse=True)
    index = {name: at for at, name in enumerate(known)}
    code = np.array([index.get(name, -1) for name in found.tolist()], dtype=np.int64)
    for at in np.flatnonzero(code < 0)[:20].tolist():
        shown = found[at] if is_name(str(found[at])) else "(not a name)"
        good.keep(inverse != at, f"unknown {what} {shown}")
    codes: NDArray[np.int64] = code[inverse]
    good.keep(codes >= 0, f"unknown {what} of other names")
    return codes


def _tags(
    tags: NDArray[Any], pseudonym_of: Callable[[str], str], good: _Good
) -> NDArray[np.object_]:
    found, inverse = np.unique(tags.astype(str), return_inverse=True)
    known = [
        pseudonym_of(tag) if is_tag(tag) or is_pseudonym(tag) else "" for tag in found.tolist()
    ]
    names = np.array(known, dtype=object)[inverse]
    good.keep(names != "", "the tag is neither a tag nor a pseudonym")
    return names


def _readings(
    columns: dict[str, NDArray[Any]],
    store: Store,
    routes: Routes,
    pseudonym_of: Callable[[str], str],
    good: _Good,
) -> Table:
    code = _coded(columns["receiver"], [r.id for r in store.receivers], "receiver", good)
    tags = _tags(columns["tag"], pseudonym_of, good)
    rssi = np.round(columns["rssi_dbm"], 1)
    good.keep((rssi >= RSSI_DBM[0]) & (rssi <= RSSI_DBM[1]), "RSSI outside -120 to +20 dBm")
    rows = good.rows()
    return Table(
        kind="ble",
        agent=routes.receiver[code[rows]],
        columns={
            "t_ns": columns["t_ns"][rows],
            "receiver": columns["receiver"][rows],
            "tag": tags[rows],
            "rssi_dbm": rssi[rows],
        },
    )


def _taps(
    columns: dict[str, NDArray[Any]],
    store: Store,
    routes: Routes,
    pseudonym_of: Callable[[str], str],
    good: _Good,
) -> Table:
    code = _coded(columns["tap_point"], [p.id for p in store.tap_points], "tap point", good)
    tags = _tags(columns["tag"], pseudonym_of, good)
    rows = good.rows()
    kept = {
        "t_ns": columns["t_ns"][rows],
        "tap_point": columns["tap_point"][rows],
        "tag": tags[rows],
    }
    if "proof" in columns and (columns["proof"] != "").any():
        # What was proven where the tap was made; the gateway believes known schemes only.
        kept["proof"] = columns["proof"][rows]
    return Table(kind="tap", agent=routes.tap_point[code[rows]], columns=kept)


def _samples(columns: dict[str, NDArray[Any]], store: Store, routes: Routes, good: _Good) -> Table:
    code = _coded(columns["sensor"], [s.id for _, s in store.sensors], "sensor", good)
    mass_kinds = np.array([s.kind == "mass" for _, s in store.sensors], dtype=np.bool_)
    is_mass = mass_kinds[code] if len(mass_kinds) else np.zeros(len(code), dtype=np.bool_)
    absent = np.full(len(code), np.nan)
    value = np.where(is_mass, columns.get("mass_g", absent), columns.get("range_mm", absent))
    good.keep(np.isfinite(value), "no value of the sensor's kind")
    rows = good.rows()
    return Table(
        kind="sample",
        agent=routes.sensor[code[rows]],
        columns=sample_columns(
            columns["t_ns"][rows], columns["sensor"][rows], value[rows], is_mass[rows]
        ),
    )
