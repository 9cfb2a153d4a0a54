"""Shapes of a store file: polygons, rectangles, the obstacles' CSV, outline, neighbours.

Rules of the file: a wrong shape is refused with its key, what was expected and what
was found; nothing is repaired silently, except that a polygon may repeat its first
corner at the end, as GeoJSON does. Contract section 2.
"""

import csv
import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from analytics import geometry
from analytics.store import Obstacle, Point, Polygon, Receiver, Zone
from ingest.config import ConfigError, shown, wrong_value

METRES_MOST = 100_000.0
"""No store is larger; a larger coordinate is a mistake of units."""
_AREA_LEAST_M2 = 1e-6
_OVERLAP_MOST_M2 = 1e-4
_OBSTACLE_COLUMNS = ("x0_m", "y0_m", "x1_m", "y1_m")


def polygon_of(subject: str, corners: Sequence[Sequence[float]]) -> Polygon:
    """Return a checked polygon.

    Parameters
    ----------
    subject : file and key, for messages
    corners : [x, y] in metres

    Raises
    ------
    ConfigError
        It has too few corners or no area, crosses itself, or a number is impossible.
    """
    points = [(float(c[0]), float(c[1])) for c in corners if len(c) == 2]
    if len(points) != len(corners):
        raise wrong_value(subject, "corners [x, y] in metres", [*corners])
    if len(points) > 1 and points[0] == points[-1]:
        points.pop()
    if len(points) < 3:
        raise wrong_value(subject, "at least three corners [x, y] in metres", [*corners])
    if not all(possible_metres(metre) for point in points for metre in point):
        raise wrong_value(subject, "finite metres below 100 km", [*corners])
    crossing = geometry.self_crossing(points)
    if crossing:
        raise ConfigError(
            f"{subject}: expected a polygon that does not cross itself, "
            f"but edges {crossing[0]} and {crossing[1]} cross; check the order of the corners"
        )
    if geometry.polygon_area(points) < _AREA_LEAST_M2:
        raise wrong_value(subject, "a polygon with an area", [*corners])
    return tuple(points)


def possible_metres(value: float) -> bool:
    """Tell whether a number can be a coordinate of a store [m]."""
    return math.isfinite(value) and abs(value) <= METRES_MOST


def rect_of(subject: str, rect: Sequence[float]) -> tuple[float, float, float, float]:
    """Return a checked rectangle.

    Parameters
    ----------
    subject : file and key, for messages
    rect : x0, y0, x1, y1 in metres

    Raises
    ------
    ConfigError
        It is not four finite numbers with x0 < x1 and y0 < y1.
    """
    if (
        len(rect) != 4
        or not all(possible_metres(metre) for metre in rect)
        or rect[0] >= rect[2]
        or rect[1] >= rect[3]
    ):
        raise wrong_value(subject, "[x0, y0, x1, y1] in metres, x0 < x1 and y0 < y1", [*rect])
    return (float(rect[0]), float(rect[1]), float(rect[2]), float(rect[3]))


def corners_of(rect: tuple[float, float, float, float]) -> Polygon:
    """Return a rectangle's corners, counter-clockwise from the lower left."""
    x0, y0, x1, y1 = rect
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def read_obstacles(path: Path, *, floor: str = "0") -> tuple[Obstacle, ...]:
    """Read rectangles that nobody can walk through from a CSV file.

    Parameters
    ----------
    path : columns x0_m, y0_m, x1_m, y1_m and perhaps floor; others are ignored
    floor : id of the floor of lines that do not say theirs

    Raises
    ------
    ConfigError
        The file is unreadable or empty, lacks a column, or a line is no rectangle.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not rows.fieldnames:
                raise ConfigError(
                    f"{path}: the file is empty; expected columns {', '.join(_OBSTACLE_COLUMNS)}"
                )
            missing = [name for name in _OBSTACLE_COLUMNS if name not in rows.fieldnames]
            if missing:
                raise ConfigError(
                    f"{path}: column '{missing[0]}' is missing; expected columns "
                    f"{', '.join(_OBSTACLE_COLUMNS)}, got {shown(', '.join(rows.fieldnames))}"
                )
            return tuple(_obstacle(f"{path}: line {rows.line_num}", row, floor) for row in rows)
    except OSError as error:
        raise ConfigError(
            f"{path}: obstacles cannot be read ({error.strerror}); "
            "check the path, it is relative to the store file"
        ) from error
    except (ValueError, csv.Error) as error:
        raise ConfigError(
            f"{path}: expected obstacles as UTF-8 text with commas, got something else"
        ) from error


def _obstacle(subject: str, row: dict[str, str | None], floor: str) -> Obstacle:
    cells = [row[name] for name in _OBSTACLE_COLUMNS]
    try:
        rect = [float(cell or "") for cell in cells]
    except ValueError as error:
        raise wrong_value(subject, "numbers x0_m, y0_m, x1_m, y1_m", cells) from error
    polygon = corners_of(rect_of(subject, rect))
    return Obstacle(polygon_m=polygon, floor=(row.get("floor") or "").strip() or floor)


def refuse_overlaps(subject: str, zones: Sequence[Zone]) -> None:
    """Refuse zones of one layer and floor that share an area; touching is fine.

    Parameters
    ----------
    subject : the file, for messages
    zones : all of the store

    Raises
    ------
    ConfigError
        Two zones overlap (the message says which and by how much).
    """
    for at, zone in enumerate(zones):
        for other in zones[at + 1 :]:
            if (zone.layer, zone.floor) != (other.layer, other.floor):
                continue
            shared = geometry.overlap_area(zone.polygon_m, other.polygon_m)
            if shared > _OVERLAP_MOST_M2:
                raise ConfigError(
                    f"{subject}: zones '{zone.id}' and '{other.id}' of layer '{zone.layer}' "
                    f"overlap by {shared:.3g} m²; expected zones of one layer to touch at "
                    "most; move a corner or give one of them another layer"
                )


def outline_round(zones: Iterable[Zone], receivers: Iterable[Receiver]) -> Polygon:
    """Return the box round zones and receivers, with some floor in it whatever they are."""
    points: list[Point] = [r.position_m[:2] for r in receivers]
    points += [corner for zone in zones for corner in zone.polygon_m]
    array = np.asarray(points)
    low, high = array.min(0), array.max(0)
    if (high - low).min() <= 0:
        low, high = low - 1.0, high + 1.0
    return corners_of((float(low[0]), float(low[1]), float(high[0]), float(high[1])))


def with_neighbours(zones: Sequence[Zone], given: Collection[str]) -> tuple[Zone, ...]:
    """Return the zones with neighbours: those that the file gives, else those that touch.

    Parameters
    ----------
    zones : all of the store
    given : ids of the zones whose neighbours the file gives, be it none
    """
    done = []
    for zone in zones:
        if zone.id in given:
            done.append(zone)
            continue
        touching = tuple(
            other.id
            for other in zones
            if other is not zone
            and (other.layer, other.floor) == (zone.layer, zone.floor)
            and geometry.polygons_touch(zone.polygon_m, other.polygon_m)
        )
        done.append(dataclasses.replace(zone, neighbours=touching))
    return tuple(done)
