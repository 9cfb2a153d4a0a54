"""``fanous survey check``: a picture of who hears what where, and receivers that add nothing.

Rules of the file: it judges the radio map, for a tag of the survey's power; with readings
of ordinary traffic also by how much each receiver hears otherwise than the map says. What
disappoints is said and the exit code stays 0.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analytics.cells import CellGrid
from analytics.coverage import (
    AUDIBLE_DBM,
    HOLE_RECEIVERS,
    IDLE_SHARE,
    STAND_S,
    Coverage,
    judge_coverage,
)
from analytics.radio_map import RadioMap
from analytics.store import Store
from analytics.traffic_pass import Walk, receiver_shifts
from gateway.plan_svg import Square, draw_plan
from gateway.survey_learn import RECEIVERS_LEAST, read_traffic
from ingest.config import ConfigError
from ingest.radio_map_file import radio_map_of

MOVED_DB = 5.0
"""A receiver has moved when it hears so much more or less, and clearly more than the error."""
MARK_M = 0.35
_HOLE, _MOVED, _SILENT = "#d62828", "#7b2cbf", "#000000"
_STEPS_M = ((1.5, "#1a9850"), (2.5, "#91cf60"), (4.0, "#fee08b"), (np.inf, "#fc8d59"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous survey check``."""
    parser.epilog = (
        "example: fanous survey check --store store.toml --radio-map radio-map.npz "
        "--out coverage.svg"
    )
    parser.add_argument("--store", type=Path, required=True, metavar="F", help="the store file")
    parser.add_argument("--radio-map", type=Path, metavar="F", help="wins over [radio] map")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PAGE.svg", help="the picture to write"
    )
    parser.add_argument(
        "--readings",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="ordinary traffic, to see which receivers have moved since the survey",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing picture")
    parser.add_argument("--json", action="store_true", help="one JSON document to stdout")


def run(args: argparse.Namespace, store: Store, grid: CellGrid) -> int:
    """Run ``fanous survey check``; return the exit code.

    Parameters
    ----------
    args
        as `configure` describes them
    store, grid
        the store and its cells
    """
    _refuse(args.out, force=args.force)
    if not store.receivers:
        raise ConfigError(f"{args.store}: expected receivers, got none")
    radio_map = radio_map_of(store, grid, args.radio_map)
    drift = _drift(args.readings, store, grid, radio_map) if args.readings else None
    coverage = judge_coverage(grid, radio_map)
    squares, note = _squares(store, grid, coverage), _NOTE
    if drift is not None:
        squares += _marks(store, drift)
        note += " · purple: moved since the survey · black: heard nothing"
    _write(args.out, draw_plan(store, squares=squares, note=note))
    free = grid.weight >= 1
    holes = free & (coverage.heard < HOLE_RECEIVERS)
    idle = (coverage.audible_share == 0) | (coverage.gain < IDLE_SHARE)
    rows: list[dict[str, Any]] = [
        {
            "receiver": receiver.id,
            "audible_share": round(float(coverage.audible_share[at]), 3),
            "gain": round(float(coverage.gain[at]), 3),
            "idle": bool(idle[at]),
        }
        for at, receiver in enumerate(store.receivers)
    ]
    if drift is not None:
        rows = [row | told for row, told in zip(rows, drift, strict=True)]
    said = {
        "store": store.id,
        "radio_map": radio_map.source,
        "out": str(args.out),
        "cells": int(free.sum()),
        "holes": [
            [
                round(float(grid.x_m[cell]), 2),
                round(float(grid.y_m[cell]), 2),
                *([store.floors[grid.floor[cell]].id] if len(store.floors) > 1 else []),
            ]
            for cell in np.flatnonzero(holes)
        ],
        "error_m": {
            "median": round(float(np.median(coverage.error_m[free])), 2),
            "p90": round(float(np.quantile(coverage.error_m[free], 0.9)), 2),
        },
        "receivers": rows,
    }
    print(json.dumps(said)) if args.json else _print(said)
    return 0


def _drift(
    readings: Sequence[Path], store: Store, grid: CellGrid, radio_map: RadioMap
) -> list[dict[str, Any]]:
    """Return for each receiver what traffic says of it."""
    traffic, _ = read_traffic(readings, store, grid, say=_say)
    shifts = receiver_shifts(traffic, radio_map, Walk(grid, tick_s=store.rules.tick_s))
    moved = shifts.moved(MOVED_DB)
    found = []
    for at in range(len(store.receivers)):
        offset, sd = float(shifts.shift_db[at]), float(shifts.sd_db[at])
        # With two receivers nobody can say which of them moved, and by geometry none has.
        known = len(store.receivers) >= RECEIVERS_LEAST and bool(np.isfinite(offset + sd))
        found.append(
            {
                "readings": int(traffic.readings[at]),
                "offset_db": round(offset, 1) if known else None,
                "offset_sd_db": round(sd, 1) if known else None,
                "moved": known and bool(moved[at]) and radio_map.source != "geometry",
            }
        )
    return found


def _marks(store: Store, drift: list[dict[str, Any]]) -> list[Square]:
    """Return a mark beside each receiver that moved or heard nothing."""
    found = []
    for receiver, told in zip(store.receivers, drift, strict=True):
        if not told["moved"] and told["readings"]:
            continue
        x, y = receiver.position_m[:2]
        text = _told(receiver.id, told)
        found.append(
            Square(
                box_m=(x - MARK_M, y - MARK_M, x + MARK_M, y + MARK_M),
                label_m=(x, y - 1.6 * MARK_M),
                colour=_MOVED if told["moved"] else _SILENT,
                label=f"{told['offset_db']:+.1f} dB" if told["moved"] else "nothing",
                tip=text,
                floor=receiver.floor,
            )
        )
    return found


def _told(receiver: str, told: dict[str, Any]) -> str:
    """Return a sentence on a receiver that moved or heard nothing, else nothing."""
    if not told["readings"]:
        return f"{receiver} heard nothing in this traffic: is it running?"
    if not told["moved"]:
        return ""
    less = "less" if told["offset_db"] < 0 else "more"
    return (
        f"{receiver} hears {abs(told['offset_db']):.1f} dB {less} than in the survey: turned, "
        "moved or shaded; survey it again or run `fanous survey learn`"
    )


_NOTE = (
    f"numbers: receivers heard above {AUDIBLE_DBM:g} dBm · red: fewer than {HOLE_RECEIVERS} · "
    f"green to orange: expected error after {STAND_S:g} s, "
    + ", ".join(f"up to {m:g} m" for m, _ in _STEPS_M[:-1])
    + " and more"
)


def _squares(store: Store, grid: CellGrid, coverage: Coverage) -> list[Square]:
    """Return the walkable cells, each on its floor, cut at the edge of its outline."""
    outlines = [np.asarray(store.outline_of(floor.id)) for floor in store.floors]
    low, high = (
        np.array([bound(outline, axis=0) for outline in outlines])[grid.floor]
        for bound in (np.min, np.max)
    )
    places = np.stack([grid.x_m, grid.y_m], axis=1)
    corner = low + np.floor((places - low) / grid.cell_m) * grid.cell_m
    boxes = np.concatenate([corner, np.minimum(corner + grid.cell_m, high)], axis=1)
    squares = []
    for cell in np.flatnonzero(grid.weight >= 1).tolist():
        heard, error = int(coverage.heard[cell]), float(coverage.error_m[cell])
        colour = next(colour for limit, colour in _STEPS_M if error <= limit)
        squares.append(
            Square(
                box_m=tuple(boxes[cell].tolist()),
                label_m=(float(grid.x_m[cell]), float(grid.y_m[cell])),
                colour=_HOLE if heard < HOLE_RECEIVERS else colour,
                label=str(heard),
                tip=f"{heard} receivers above {AUDIBLE_DBM:g} dBm, expected error {error:.1f} m",
                floor=store.floors[grid.floor[cell]].id,
            )
        )
    return squares


def _print(said: dict[str, Any]) -> None:
    if said["radio_map"] == "geometry":
        print("no radio map: this shows what geometry alone promises")
    print(f"{'receiver':<20}{'audible':>9}{'worth':>8}")
    for row in said["receivers"]:
        idle = "  contributes nothing" if row["idle"] else ""
        print(f"{row['receiver']:<20}{row['audible_share']:>9.0%}{row['gain']:>+8.1%}{idle}")
    _print_drift(said)
    error, holes = said["error_m"], said["holes"]
    print(
        f"expected error after {STAND_S:g} s: median {error['median']:.1f} m, "
        f"p90 {error['p90']:.1f} m"
    )
    places = ", ".join(
        f"({x:g}, {y:g})" + "".join(f" on floor {name}" for name in floor)
        for x, y, *floor in holes[:5]
    )
    more = ", …" if len(holes) > 5 else ""
    print(
        f"{len(holes)} of {said['cells']} cells are heard by fewer than {HOLE_RECEIVERS} receivers"
        + (f": {places}{more}" if holes else "")
    )
    print(f"written to {said['out']}")


def _print_drift(said: dict[str, Any]) -> None:
    rows = [row for row in said["receivers"] if "readings" in row]
    if not rows:
        return
    against = {"geometry": "geometry", "learned": "the learned map"}.get(
        said["radio_map"], "the survey"
    )
    print(f"{'against ' + against:<20}{'readings':>9}{'offset [dB]':>17}")
    for row in rows:
        known = row["offset_db"] is not None
        offset = f"{row['offset_db']:+.1f} ± {row['offset_sd_db']:.1f}" if known else "-"
        print(f"{row['receiver']:<20}{row['readings']:>9}{offset:>17}")
    for row in rows:
        if sentence := _told(row["receiver"], row):
            print(sentence)


def _say(text: str) -> None:
    print(f"fanous survey check: {text}", file=sys.stderr)


def _refuse(path: Path, *, force: bool) -> None:
    if path.suffix != ".svg":
        raise ConfigError(f"{path}: expected a name ending in .svg")
    if path.is_dir():
        raise ConfigError(f"{path}: expected a file, found a directory")
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; choose another name or say --force")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: cannot be written ({path.parent} is no directory)")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
