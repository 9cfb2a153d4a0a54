"""``fanous survey check``: a picture of who hears what where, and receivers that add nothing.

Rules of the file: it judges the radio map alone, for a tag of the survey's power, and
takes no readings; what disappoints is said and the exit code stays 0.
"""

import argparse
import json
import os
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
from analytics.store import Store
from gateway.plan_svg import Square, draw_plan
from ingest.config import ConfigError
from ingest.radio_map_file import radio_map_of

_HOLE = "#d62828"
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
    coverage = judge_coverage(grid, radio_map)
    _write(args.out, draw_plan(store, squares=_squares(store, grid, coverage), note=_NOTE))
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
    said = {
        "store": store.id,
        "radio_map": radio_map.source,
        "out": str(args.out),
        "cells": int(free.sum()),
        "holes": [
            [round(float(grid.x_m[cell]), 2), round(float(grid.y_m[cell]), 2)]
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


_NOTE = (
    f"numbers: receivers heard above {AUDIBLE_DBM:g} dBm · red: fewer than {HOLE_RECEIVERS} · "
    f"green to orange: expected error after {STAND_S:g} s, "
    + ", ".join(f"up to {m:g} m" for m, _ in _STEPS_M[:-1])
    + " and more"
)


def _squares(store: Store, grid: CellGrid, coverage: Coverage) -> list[Square]:
    """Return the walkable cells, cut at the edge of the plan."""
    outline = np.asarray(store.outline_m)
    low, high = outline.min(0), outline.max(0)
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
    error, holes = said["error_m"], said["holes"]
    print(
        f"expected error after {STAND_S:g} s: median {error['median']:.1f} m, "
        f"p90 {error['p90']:.1f} m"
    )
    places = ", ".join(f"({x:g}, {y:g})" for x, y in holes[:5])
    more = ", …" if len(holes) > 5 else ""
    print(
        f"{len(holes)} of {said['cells']} cells are heard by fewer than {HOLE_RECEIVERS} receivers"
        + (f": {places}{more}" if holes else "")
    )
    print(f"written to {said['out']}")


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
