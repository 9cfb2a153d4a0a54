"""Analyse recorded readings, taps and shelf samples: positions, dwells, visits, shelf events."""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analytics.cells import build_cells
from analytics.engine import Engine
from analytics.flow import transitions, visit_counts
from analytics.rows import TABLES, Output
from analytics.store import Store
from gateway.store_tags import with_pseudonymous_staff
from ingest.config import ConfigError
from ingest.identifiers import read_key_file, store_key
from ingest.measurements import Dropped, Names, read_readings, read_samples, read_taps
from ingest.radio_map_file import radio_map_of
from ingest.recorded import Recorded, find_recorded, together
from ingest.result_tables import KINDS, remove_tables, write_positions, write_table
from ingest.store_file import read_store

PORTION_TICKS = 600
"""Ticks between two looks at the progress bar, at least."""
PORTIONS_MOST = 500
"""A recording with years between two readings is not shown minute by minute."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous analyze``."""
    parser.add_argument(
        "readings",
        nargs="+",
        type=Path,
        metavar="READINGS",
        help="t_ns, receiver, tag, rssi_dbm; or a directory: a recording, a gateway's archive of "
        "one store or of one day, with the taps and samples in it",
    )
    parser.add_argument("--store", type=Path, required=True, metavar="F", help="the store file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a directory for the tables"
    )
    parser.add_argument("--taps", type=Path, metavar="F", help="t_ns, tap_point, tag")
    parser.add_argument("--shelf", type=Path, metavar="F", help="samples: t_ns, sensor, mass_g")
    parser.add_argument(
        "--identity",
        choices=("raw", "pseudonym"),
        default="pseudonym",
        help="how tags stand in the tables (default: pseudonym)",
    )
    parser.add_argument("--radio-map", type=Path, metavar="F", help="wins over [radio] map")
    parser.add_argument(
        "--key-file", type=Path, metavar="F", help="the pseudonym key, 16 to 64 bytes"
    )
    parser.add_argument("--format", choices=KINDS, default="parquet", help="(default: parquet)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="1 or more; one does the work so far"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.epilog = "example: fanous analyze readings.csv --store store.toml --out result"


def run(args: argparse.Namespace) -> int:
    """Run ``fanous analyze``."""
    if args.workers < 1:
        raise ConfigError(f"--workers: expected 1 or more, got {args.workers}")
    store = read_store(args.store)
    if args.key_file:
        key, key_source = read_key_file(args.key_file), "file"
    else:
        key, key_source = store_key(store.id), "store id"
        if args.identity == "pseudonym":
            _say("no --key-file: pseudonyms use the store's id as key, which protects nobody")
    if args.identity == "raw":
        _say("--identity raw: the tables name the tags themselves; keep them in the laboratory")
    with _output_directory(args.out, force=args.force) as directory:
        _analyse(args, with_pseudonymous_staff(store, key), key, key_source, directory)
    return 0


def _analyse(
    args: argparse.Namespace, store: Store, key: bytes, key_source: str, directory: Path
) -> None:
    started = time.monotonic()
    dropped = Dropped()
    names = Names(key=key)
    engine, readings = _loaded_engine(args, store, names, dropped)
    for line in dropped.lines():
        _say(line)
    out = _drive(engine, readings, store)
    if engine.refused_tags:
        _say(f"{engine.refused_tags} tags were not followed: too many at one time")
    remove_tables(directory)
    if args.identity == "raw":
        _name_tags(out, dict(zip(names.values, names.as_given, strict=True)))
    tables = {name: getattr(out, name) for name in TABLES if name != "transitions"}
    tables["transitions"] = transitions(out.dwells)
    rows = {name: write_table(directory, name, tables[name], kind=args.format) for name in TABLES}
    shown = names.as_given if args.identity == "raw" else names.values
    rows["positions"] = write_positions(directory, out.positions, store, shown, kind=args.format)
    visits = visit_counts(out.visits, out.dwells, bounce_s=store.rules.bounce_s)
    count = _distinct(readings)
    seconds = time.monotonic() - started
    summary = {
        "store": {"id": store.id, "name": store.name},
        "store_file": str(args.store.resolve()),
        "identity": args.identity,
        "key": key_source,
        "format": args.format,
        "tick_s": store.rules.tick_s,
        "readings": count,
        "dropped": dict(dropped.reasons),
        "tags": len(names.values),
        "visits": visits.visits,
        "pass_bys": engine.pass_bys,
        "bounces": visits.bounces,
        "engaged_visits": visits.engaged_visits,
        "staff_tags_seen": len(set(store.staff_tags).intersection(names.values)),
        "refused_tags": engine.refused_tags,
        "rows": rows,
        "seconds": round(seconds, 3),
    }
    _write_summary(directory / "summary.json", summary)
    _say(
        f"{count} readings of {len(names.values)} tags in {seconds:.1f} s: "
        f"{rows['visits']} visits, {rows['dwells']} dwells, "
        f"{rows['shelf_events']} shelf events, written to {directory}"
    )


def _say(text: str) -> None:
    print(f"fanous analyze: {text}", file=sys.stderr)


@contextlib.contextmanager
def _output_directory(path: Path, *, force: bool) -> Iterator[Path]:
    """Make the output directory; one that stays empty because of an error is removed again."""
    made: list[Path] = []
    try:
        if path.exists() and not path.is_dir():
            raise ConfigError(f"--out {path}: expected a directory, found a file")
        if path.is_dir() and any(path.iterdir()) and not force:
            raise ConfigError(f"--out {path}: exists already; choose another one or say --force")
        made = [place for place in (path, *path.parents) if not place.exists()]
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".fanous-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written ({error.strerror})") from error
    try:
        yield path
    except BaseException:
        for place in made:
            with contextlib.suppress(OSError):  # It holds something: then it stays.
                place.rmdir()
        raise


def _write_summary(path: Path, summary: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


Readings = tuple[
    np.ndarray[tuple[int], np.dtype[np.int64]],
    np.ndarray[tuple[int], np.dtype[np.int16]],
    np.ndarray[tuple[int], np.dtype[np.int32]],
    np.ndarray[tuple[int], np.dtype[np.float32]],
]
NO_READINGS: Readings = (
    np.zeros(0, np.int64),
    np.zeros(0, np.int16),
    np.zeros(0, np.int32),
    np.zeros(0, np.float32),
)


def _loaded_engine(
    args: argparse.Namespace, store: Store, names: Names, dropped: Dropped
) -> tuple[Engine, Readings]:
    try:
        grid = build_cells(store)
    except ValueError as error:
        raise ConfigError(f"{args.store}: {error}") from error
    radio_map = radio_map_of(store, grid, args.radio_map)
    if radio_map.source == "geometry":
        _say(
            "no radio map: positions come from geometry alone and will be coarse; "
            "make one with `fanous survey fit` or `fanous survey learn`"
        )
    files = _files(args)
    readings = NO_READINGS
    if files.readings:
        readings = read_readings(_told(files.readings), store, names, dropped)
    engine = Engine(store, radio_map, name_of=names.of, grid=grid)
    engine.add_readings(*readings)
    for path in _told(files.taps):
        engine.add_taps(*read_taps(path, store, names, dropped))
    for path in _told(files.samples):
        engine.add_samples(*read_samples(path, store, dropped))
    return engine, readings


def _files(args: argparse.Namespace) -> Recorded:
    """Return the files to be read; a directory's are found by their names."""
    parts = [
        together(find_recorded(path)) if path.is_dir() else Recorded(readings=(path,))
        for path in args.readings
    ]
    parts += [Recorded(taps=(path,)) for path in (args.taps,) if path]
    parts += [Recorded(samples=(path,)) for path in (args.shelf,) if path]
    return together(parts)


def _told(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield files; on a terminal say which of many it is."""
    is_shown = len(paths) > 1 and sys.stderr.isatty()
    for number, path in enumerate(paths, start=1):
        if is_shown:
            shown = f"reading file {number} of {len(paths)}: {path.name}"
            print(f"\r{shown:<78.78}", end="", file=sys.stderr, flush=True)
        yield path
    if is_shown:
        print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)


def _drive(engine: Engine, readings: Readings, store: Store) -> Output:
    out = Output()
    if len(readings[0]) and sys.stderr.isatty():
        first, last = int(readings[0].min()), int(readings[0].max())
        portion = max(PORTION_TICKS * store.rules.tick_ns, (last - first) // PORTIONS_MOST)
        for until in range(first, last, portion):
            out.extend(engine.advance(until))
            share = (until - first) / max(last - first, 1)
            filled = "#" * round(30 * share)
            print(f"\r[{filled:<30}] {share:4.0%}", end="", file=sys.stderr, flush=True)
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    out.extend(engine.finish())
    out.shelf_events = [event for event in out.shelf_events if event.status == "final"]
    return out


def _name_tags(out: Output, tag_of: dict[str, str]) -> None:
    """Put tags in the place of pseudonyms, once all ids of rows are made of the latter."""

    def named(rows: Sequence[Any]) -> list[Any]:
        return [
            row if row.tag is None else dataclasses.replace(row, tag=tag_of[row.tag])
            for row in rows
        ]

    out.dwells = named(out.dwells)
    out.visits = named(out.visits)
    out.shelf_events = named(out.shelf_events)


def _distinct(readings: Readings) -> int:
    """Count the readings that are not a repetition of another one, by a hash of 64 bits."""
    t_ns, receiver, tag, rssi_dbm = readings
    tenths = np.rint(rssi_dbm.astype(np.float64) * 10).astype(np.int64)
    mixed = np.zeros(len(t_ns), np.uint64)
    for column in (t_ns, receiver, tag, tenths):
        mixed ^= column.astype(np.int64).view(np.uint64)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    mixed.sort()
    return int(len(mixed) and 1 + (mixed[1:] != mixed[:-1]).sum())
