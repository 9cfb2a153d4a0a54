"""Read a store file, say what was understood, warn of what looks wrong, draw the plan.

Rules of the file: what is wrong is refused by `ingest.store_file` (exit code 2); what is
allowed but will disappoint is a warning here, on stdout with the rest, and the exit
code stays 0. That zones should be no smaller than the spacing of the receivers is the
measured advice of the zone study (4 m zones under 8 m spacing: a quarter of the time in
the wrong zone).
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid, build_cells, connection_cells, neighbours
from analytics.geometry import Array, overlap_area, points_in_polygon, polygon_area
from analytics.store import Store
from gateway.plan_svg import draw_plan
from ingest.config import ConfigError
from ingest.store_file import read_store

_LINE_M = 0.3
"""Receivers scatter less than this across a line when they stand in it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous store``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="draw and check a store file")
    check.add_argument("file", metavar="F", type=Path, help="the store file, store.toml")
    check.add_argument("--out", metavar="PLAN.svg", type=Path, help="write the plan as a picture")
    check.add_argument("--force", action="store_true", help="overwrite an existing picture")
    parser.epilog = check.epilog = "example: fanous store check store.toml --out plan.svg"


def run(args: argparse.Namespace) -> int:
    """Run ``fanous store check``; return the exit code.

    Parameters
    ----------
    args
        as `configure` describes them

    Returns
    -------
    code : 0

    Raises
    ------
    ConfigError
        The store file is wrong, or the picture exists or cannot be written.
    """
    if args.out is not None and args.out.exists() and not args.force:
        raise ConfigError(f"{args.out}: exists already; choose another name or say --force")
    store = read_store(args.file)
    if args.out is not None:
        _write(args.out, draw_plan(store))
    for line in described(store):
        print(line)
    found = list(warnings_about(store))
    for warning in found:
        print(f"warning: {warning}")
    print(f"{len(found)} warnings" if len(found) != 1 else "1 warning")
    if args.out is not None:
        print(f"plan: {args.out}")
    return 0


def described(store: Store) -> Iterator[str]:
    """Yield what a store file says, line by line, for people.

    Parameters
    ----------
    store
        as read

    Yields
    ------
    line : without its end
    """
    yield f"store {store.id} ({store.name}), {store.timezone}"
    yield f"outline {polygon_area(store.outline_m):.1f} m², {len(store.obstacles)} obstacles"
    grid = _cells_of(store)
    for at, floor in enumerate(store.floors):
        yield f"walkable {walkable_area(store, floor.id):.1f} m² on floor {floor.id}"
        if isinstance(grid, CellGrid):
            count = int((grid.floor == at).sum())
            yield f"{count} cells of {grid.cell_m:g} m on floor {floor.id}"
    if store.connections:
        count = len(store.connections)
        yield f"{count} connection{'s' if count > 1 else ''} between floors"
        yield from _aligned(
            (c.id, c.kind, f"floors {', '.join(c.floors)}") for c in store.connections
        )
    spacing_m = receiver_spacing(store)
    apart = f", {spacing_m:.1f} m to the nearest other (median)" if spacing_m else ""
    yield f"{len(store.receivers)} receivers{apart}"
    yield from _aligned(
        (r.id, *(f"{metres:.2f}" for metres in r.position_m), f"agent {r.agent}" if r.agent else "")
        for r in store.receivers
    )
    for layer in store.layers:
        zones = [zone for zone in store.zones if zone.layer == layer]
        yield f"{len(zones)} zones in layer {layer}"
        yield from _aligned(
            (
                zone.id,
                zone.kind,
                f"{polygon_area(zone.polygon_m):.1f} m²",
                f"touches {', '.join(zone.neighbours)}" if zone.neighbours else "touches none",
            )
            for zone in zones
        )
    yield f"{len(store.shelves)} shelves"
    yield from _aligned(
        (s.id, f"in {s.zone}", f"{len(s.sensors)} sensors", f"{len(s.products)} products")
        for s in store.shelves
    )
    yield f"{len(store.tap_points)} tap points"
    yield from _aligned((p.id, f"in {p.zone}", p.role) for p in store.tap_points)


def warnings_about(store: Store) -> Iterator[str]:
    """Yield what is allowed in a store but will disappoint, one sentence each.

    Parameters
    ----------
    store
        as read

    Yields
    ------
    warning : a sentence
    """
    yield from _receivers(store)
    for zone in store.zones:
        area_m2 = polygon_area(zone.polygon_m)
        out_m2 = area_m2 - overlap_area(zone.polygon_m, store.outline_of(zone.floor))
        if out_m2 > 0.1 * area_m2 and zone.kind != "outside":
            yield f"zone '{zone.id}' has {out_m2:.1f} of its {area_m2:.1f} m² outside the outline"
    yield from _too_fine(store)
    main = [zone for zone in store.zones if zone.layer == "main"]
    if not main:
        yield "there are no zones in layer main: positions only, no dwells, no paths"
    for zone in main:
        if len(main) > 1 and not zone.neighbours:
            yield f"zone '{zone.id}' touches no other zone, so nobody can be seen to walk into it"
    by_id = {zone.id: zone for zone in store.zones}
    for shelf in store.shelves:
        if not shelf.sensors:
            yield f"shelf '{shelf.id}' has no sensors: nothing can be picked from it"
        if shelf.rect_m is not None:
            x0, y0, x1, y1 = np.asarray(shelf.rect_m)
            near = [[x0 - 1, y0 - 1], [x1 + 1, y0 - 1], [x1 + 1, y1 + 1], [x0 - 1, y1 + 1]]
            if shelf.floor != by_id[shelf.zone].floor:
                yield (
                    f"shelf '{shelf.id}' stands on floor '{shelf.floor}', its zone "
                    f"'{shelf.zone}' is on floor '{by_id[shelf.zone].floor}'"
                )
            elif overlap_area(near, by_id[shelf.zone].polygon_m) <= 0:
                yield f"shelf '{shelf.id}' is more than 1 m away from its zone '{shelf.zone}'"
    if store.radio_map is not None and not Path(store.radio_map).is_file():
        yield (
            f"the radio map {store.radio_map} does not exist yet; make it with fanous survey fit, "
            "or remove [radio] map"
        )
    grid = _cells_of(store)
    if isinstance(grid, CellGrid):
        yield from _unreachable(store, grid)
    else:
        yield grid


def walkable_area(store: Store, floor: str) -> float:
    """Return the area of the outline less obstacles and shelves [m²], to about a percent.

    Parameters
    ----------
    store
        as read
    floor
        whose outline and obstacles count

    Returns
    -------
    area_m2 : [m²]
    """
    outline = np.asarray(store.outline_of(floor))
    low, high = outline.min(0), outline.max(0)
    steps = (np.arange(400) + 0.5) / 400
    x_m, y_m = (low + np.outer(steps, high - low)).T
    free = points_in_polygon(*_grid(x_m, y_m), outline)
    for obstacle in store.obstacles:
        if obstacle.floor == floor:
            corners = np.asarray(obstacle.polygon_m)
            first, last = corners.min(0), corners.max(0)
            columns = np.flatnonzero((x_m >= first[0]) & (x_m <= last[0]))
            rows = np.flatnonzero((y_m >= first[1]) & (y_m <= last[1]))
            block = np.ix_(rows, columns)
            free[block] &= ~points_in_polygon(*_grid(x_m[columns], y_m[rows]), corners)
    return float(free.mean() * np.prod(high - low))


def receiver_spacing(store: Store) -> float | None:
    """Return the median distance of a receiver to its nearest other [m]; None for one alone.

    Parameters
    ----------
    store
        receivers of different floors are not compared

    Returns
    -------
    spacing_m : [m], None for a receiver alone
    """
    nearest: list[float] = []
    for floor in {receiver.floor for receiver in store.receivers}:
        place = np.array([r.position_m[:2] for r in store.receivers if r.floor == floor])
        if len(place) > 1:
            apart = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1))
            np.fill_diagonal(apart, np.inf)
            nearest += apart.min(axis=1).tolist()
    return float(np.median(nearest)) if nearest else None


def _grid(x_m: Array, y_m: Array) -> tuple[Array, Array]:
    x, y = np.meshgrid(x_m, y_m)
    return x, y


def components(grid: CellGrid) -> NDArray[np.int64]:
    """Return for each cell the first cell that can be reached from it, over stairs as well.

    Parameters
    ----------
    grid
        the cells

    Returns
    -------
    first : shape (cells,), int64; cells with the same one are connected
    """
    table = neighbours(grid)
    own = np.arange(len(grid))
    table = np.where(table >= 0, table, own[:, None])
    first = own
    while True:
        found = np.minimum(first, first[table].min(axis=1))
        np.minimum.at(found, grid.links.end, found[grid.links.start])
        found = np.minimum(found, found[found])
        if (found == first).all():
            return first
        first = found


def _cells_of(store: Store) -> CellGrid | str:
    """Return the cells, or the sentence that says why there are none."""
    try:
        return build_cells(store)
    except ValueError as error:
        return str(error)


def _receivers(store: Store) -> Iterator[str]:
    for receiver in store.receivers:
        x_m, y_m, _ = receiver.position_m
        outline = np.asarray(store.outline_of(receiver.floor))
        # A receiver on the wall itself is no mistake, so the outline is widened by a little.
        widened = outline.mean(0) + (outline - outline.mean(0)) * 1.01
        if not points_in_polygon([x_m], [y_m], widened).any():
            yield f"receiver '{receiver.id}' at ({x_m:g}, {y_m:g}) lies outside the outline"
    for floor in store.floors:
        place = np.array([r.position_m[:2] for r in store.receivers if r.floor == floor.id])
        if not len(place):
            yield f"floor '{floor.id}' has no receiver, so its people are placed elsewhere"
        elif len(place) >= 3:
            across_m = np.linalg.svd(place - place.mean(0), compute_uv=False)[-1]
            if across_m / len(place) ** 0.5 < _LINE_M:
                yield (
                    f"the {len(place)} receivers of floor '{floor.id}' stand in a line or at one "
                    "place: what lies on either side of it cannot be told apart"
                )


def _unreachable(store: Store, grid: CellGrid) -> Iterator[str]:
    free = grid.weight >= 1
    if not free.any():
        yield "there is nowhere to walk: obstacles cover the whole outline, or it has no room"
    for zone, share in zip(store.zones, grid.zone_share, strict=True):
        if not share.any():
            yield (
                f"zone '{zone.id}' has no cells, so nobody is ever seen in it; it lies inside "
                f"obstacles or outside the outline of floor '{zone.floor}', or is too small"
            )
    for connection in store.connections:
        ends = connection_cells(store, grid, connection)
        for end, there in zip(connection.ends, ends, strict=True):
            if not len(there):
                yield f"connection '{connection.id}' has no cells on floor '{end.floor}'"
    first = components(grid)
    reached: int | None = None
    for at, floor in enumerate(store.floors):
        here = grid.cells_of(at)
        names, size = np.unique(first[here], return_counts=True)
        if not len(names):
            yield f"floor '{floor.id}' has no cells: obstacles cover its whole outline"
            continue
        largest = int(names[size.argmax()])
        reached = largest if reached is None else reached
        if largest != reached:
            yield (
                f"floor '{floor.id}' is an island: no [[connection]] joins it to floor "
                f"'{store.floors[0].id}', or obstacles shut its ends in"
            )
        for name in names.tolist():
            apart = np.flatnonzero((first == name) & (grid.floor == at) & free)
            if name not in (largest, reached) and len(apart):
                x_m, y_m = grid.x_m[apart[0]], grid.y_m[apart[0]]
                count = f"{len(apart)} cells" if len(apart) > 1 else "1 cell"
                yield (
                    f"{count} at ({x_m:.1f}, {y_m:.1f}) on floor '{floor.id}' cannot be "
                    "reached: obstacles shut them in"
                )


def _too_fine(store: Store) -> Iterator[str]:
    spacing_m = receiver_spacing(store)
    if spacing_m is None:
        return
    small = [
        zone.id
        for zone in store.zones
        if zone.layer == "main" and polygon_area(zone.polygon_m) ** 0.5 < 0.75 * spacing_m
    ]
    if small:
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        yield (
            f"zones smaller than the spacing of the receivers ({spacing_m:.1f} m) are told apart "
            f"less often: {', '.join(small[:5])}{more}"
        )


def _aligned(rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    table = list(rows)
    width = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(size) for cell, size in zip(row, width, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
