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

from analytics.cells import build_cells
from analytics.geometry import Array, overlap_area, points_in_polygon, polygon_area
from analytics.store import Store
from gateway.plan_svg import draw_plan
from ingest.config import ConfigError
from ingest.store_file import read_store


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
    for floor in sorted({receiver.floor for receiver in store.receivers}):
        yield f"walkable {walkable_area(store, floor):.1f} m² on floor {floor}"
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
    outline = np.asarray(store.outline_m)
    # A receiver on the wall itself is no mistake, so the outline is widened by a little.
    widened = outline.mean(0) + (outline - outline.mean(0)) * 1.01
    places = np.array([receiver.position_m[:2] for receiver in store.receivers])
    inside = points_in_polygon(places[:, 0], places[:, 1], widened)
    for receiver, is_inside in zip(store.receivers, inside, strict=True):
        if not is_inside:
            x_m, y_m, _ = receiver.position_m
            yield f"receiver '{receiver.id}' at ({x_m:g}, {y_m:g}) lies outside the outline"
    for zone in store.zones:
        area_m2 = polygon_area(zone.polygon_m)
        out_m2 = area_m2 - overlap_area(zone.polygon_m, outline)
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
            if overlap_area(near, by_id[shelf.zone].polygon_m) <= 0:
                yield f"shelf '{shelf.id}' is more than 1 m away from its zone '{shelf.zone}'"
    if store.radio_map is not None and not Path(store.radio_map).is_file():
        yield (
            f"the radio map {store.radio_map} does not exist yet; make it with fanous survey fit, "
            "or remove [radio] map"
        )
    try:
        build_cells(store)
    except ValueError as error:
        yield str(error)


def walkable_area(store: Store, floor: str) -> float:
    """Return the area of the outline less obstacles and shelves [m²], to about a percent.

    Parameters
    ----------
    store
        as read
    floor
        whose obstacles count

    Returns
    -------
    area_m2 : [m²]
    """
    outline = np.asarray(store.outline_m)
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
