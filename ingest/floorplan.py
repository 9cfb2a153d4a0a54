"""Zones and obstacles from a GeoJSON plan with IMDF feature types.

Units and sections become zones, fixtures become obstacles, openings are read and
ignored; coordinates are the store's own metres. Feature types and the shape of
names follow IMDF 1.0.0 (OGC 20-094) on RFC 7946.
"""

import json
from pathlib import Path
from typing import Any

from analytics.store import ZONE_KINDS, Obstacle, Polygon, Zone
from ingest.config import ConfigError, nearest, shown_error, wrong_value
from ingest.identifiers import is_name
from ingest.store_shapes import polygon_of

_KNOWN = ["unit", "section", "fixture", "opening"]


def read_floorplan(path: Path, *, floor: str = "0") -> tuple[tuple[Zone, ...], list[Obstacle]]:
    """Read zones and obstacles from a GeoJSON file.

    Parameters
    ----------
    path : the file; one FeatureCollection
    floor : id of the floor of features that do not say theirs

    Returns
    -------
    zones, obstacles : in the order of the file

    Raises
    ------
    ConfigError
        The file cannot be read, or a feature lacks what a zone needs.
    """
    zones: list[Zone] = []
    obstacles: list[Obstacle] = []
    for at, feature in enumerate(_features(path)):
        where = f"{path}: feature {at}"
        kind = feature.get("feature_type") if isinstance(feature, dict) else None
        if kind not in _KNOWN:
            raise wrong_value(where, "a feature_type", kind, nearest(str(kind), _KNOWN))
        if kind == "opening":
            continue
        polygon = _polygon(feature, where)
        properties = feature.get("properties")
        if properties is None:
            properties = {}
        if not isinstance(properties, dict):
            raise wrong_value(f"{where}: properties", "an object", properties)
        given = properties.get("floor", floor)
        if not isinstance(given, str | int):
            raise wrong_value(f"{where}: floor", "text like '0'", given)
        if kind == "fixture":
            obstacles.append(Obstacle(polygon_m=polygon, floor=str(given)))
        else:
            zones.append(_zone(feature, properties, polygon, str(given), where))
    return tuple(zones), obstacles


def _features(path: Path) -> list[Any]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{path}: floor plan cannot be read ({error.strerror}); "
            "check the path, it is relative to the store file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected GeoJSON as UTF-8 text, got other bytes") from error
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty; expected a GeoJSON FeatureCollection")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected GeoJSON: {shown_error(error)}") from error
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list):
        got = document.get("type") if isinstance(document, dict) else type(document).__name__
        raise wrong_value(str(path), "a GeoJSON FeatureCollection with a list 'features'", got)
    return features


def _zone(
    feature: dict[str, Any], properties: dict[str, Any], polygon: Polygon, floor: str, where: str
) -> Zone:
    name = properties.get("id") or feature.get("id")
    if not isinstance(name, str) or not is_name(name):
        raise wrong_value(f"{where}: id", "a name that a zone can have", name)
    where = f"{where} ('{name}')"
    kind = properties.get("kind", "aisle")
    if kind not in ZONE_KINDS:
        raise wrong_value(f"{where}: kind", "a kind of zone", kind, nearest(str(kind), ZONE_KINDS))
    layer = properties.get("layer", "main")
    if not isinstance(layer, str) or not is_name(layer):
        raise wrong_value(f"{where}: layer", "a name", layer)
    label = properties.get("name")
    if isinstance(label, dict):
        label = label.get("en") or next(iter(label.values()), None)
    return Zone(
        id=name,
        name=str(label or name),
        kind=kind,
        polygon_m=polygon,
        layer=layer,
        floor=floor,
    )


def _polygon(feature: dict[str, Any], where: str) -> Polygon:
    shape = feature.get("geometry")
    if not isinstance(shape, dict) or shape.get("type") != "Polygon":
        got = shape.get("type") if isinstance(shape, dict) else shape
        raise wrong_value(f"{where}: geometry", "a Polygon", got)
    rings = shape.get("coordinates")
    if not isinstance(rings, list) or len(rings) != 1 or not isinstance(rings[0], list):
        raise ConfigError(f"{where}: coordinates: expected one ring of corners, without holes")
    corners: list[list[float]] = []
    for corner in rings[0]:
        # RFC 7946 allows a height as third number.
        if not isinstance(corner, list) or not 2 <= len(corner) <= 3 or not _numbers(corner):
            raise wrong_value(f"{where}: coordinates", "corners [x, y] in metres", corner)
        corners.append([float(corner[0]), float(corner[1])])
    return polygon_of(f"{where}: coordinates", corners)


def _numbers(values: list[Any]) -> bool:
    """Tell whether all are numbers that fit a float; json gives integers of any size."""
    return all(isinstance(v, float) or (type(v) is int and abs(v) < 10**9) for v in values)
