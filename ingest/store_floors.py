"""Floors and connections of a store file: which there are, how high, and what joins them.

Rules of the file: without any ``[[floor]]`` the floors are those that receivers and zones
name; a wrong one is refused with its key, what was expected and what was found. Floors
that nothing joins are no mistake here: ``fanous store check`` warns of them.
"""

from collections.abc import Mapping, Sequence

from analytics import geometry
from analytics.store import (
    CONNECTION_KINDS,
    LEVEL_STEP_M,
    Connection,
    ConnectionEnd,
    Floor,
    Polygon,
)
from ingest import store_shapes as shapes
from ingest.config import ConfigError, nearest, wrong_value
from ingest.identifiers import is_name
from ingest.store_form import ConnectionForm, FloorForm

_LEVEL_MOST_M = 1000.0
_FLOOR_LENGTH_MOST = 64
_INSIDE_LEAST_M2 = 1e-4


def usual_floor(raw: Sequence[FloorForm]) -> str:
    """Return the floor of things that do not say theirs: "0", or the only one that is given.

    Parameters
    ----------
    raw : the ``[[floor]]`` tables, none if the file has none
    """
    return raw[0].id if len(raw) == 1 else "0"


def floors_of(subject: str, raw: Sequence[FloorForm], used: Sequence[str]) -> tuple[Floor, ...]:
    """Return the floors of a store.

    Parameters
    ----------
    subject : the file, for messages
    raw : the ``[[floor]]`` tables, none if the file has none
    used : floors that receivers and zones name, in the order of the file

    Raises
    ------
    ConfigError
        An id is no text or used twice, or a level or an outline is impossible.
    """
    if not raw:
        names = list(dict.fromkeys(used))
        for name in names:
            _refuse_name(f"{subject}: floor", name)
        storeys = list(range(len(names)))
        if all(name.lstrip("-").isdecimal() for name in names):
            # Storeys that are numbered say themselves which is above which.
            storeys = [int(name) - min(map(int, names)) for name in names]
        return tuple(
            Floor(id=name, name=name, level_m=storey * LEVEL_STEP_M)
            for name, storey in zip(names, storeys, strict=True)
        )
    floors: list[Floor] = []
    for at, item in enumerate(raw):
        _refuse_name(f"{subject}: floor[{at}].id", item.id)
        where = f"{subject}: floor '{item.id}'"
        if item.id in [floor.id for floor in floors]:
            raise ConfigError(f"{where} is given more than once; expected each id once")
        level_m = at * LEVEL_STEP_M if item.level_m is None else float(item.level_m)
        if not 0 <= level_m <= _LEVEL_MOST_M:
            expected = f"metres above the lowest floor, from 0 to {_LEVEL_MOST_M:g}"
            raise wrong_value(f"{where}: level_m", expected, item.level_m)
        outline = None
        if item.outline_m is not None:
            outline = shapes.polygon_of(f"{where}: outline_m", item.outline_m)
        name = item.name or item.id
        floors.append(Floor(id=item.id, name=name, level_m=level_m, outline_m=outline))
    return tuple(floors)


def connections_of(
    subject: str, raw: Sequence[ConnectionForm], floors: Sequence[Floor], outline_m: Polygon
) -> tuple[Connection, ...]:
    """Return the stairs, lifts and escalators of a store.

    Parameters
    ----------
    subject : the file, for messages
    raw : the ``[[connection]]`` tables
    floors : of the store
    outline_m : of floors without an outline of their own

    Raises
    ------
    ConfigError
        One has a wrong id, kind or floor, joins fewer than two floors, lacks a place on one of
        them, or lies outside of an outline.
    """
    outlines = {floor.id: floor.outline_m or outline_m for floor in floors}
    found: list[Connection] = []
    for at, item in enumerate(raw):
        if not is_name(item.id):
            raise wrong_value(f"{subject}: connection[{at}].id", "a name like 'stairs-1'", item.id)
        where = f"{subject}: connection '{item.id}'"
        if item.id in [connection.id for connection in found]:
            raise ConfigError(f"{where} is given more than once; expected each id once")
        if item.kind not in CONNECTION_KINDS:
            hint = nearest(item.kind, CONNECTION_KINDS)
            raise wrong_value(f"{where}: kind", "a kind of connection", item.kind, hint)
        ends = _ends(where, item, outlines)
        found.append(Connection(id=item.id, kind=item.kind, ends=ends))
    return tuple(found)


def _ends(
    where: str, raw: ConnectionForm, outlines: Mapping[str, Polygon]
) -> tuple[ConnectionEnd, ...]:
    own = {end.floor: end.rect_m for end in raw.end}
    if len(own) < len(raw.end):
        raise ConfigError(f"{where}: expected one [[connection.end]] for each floor, got two")
    names = list(own) if raw.floors is None else raw.floors
    for name in (*names, *own):
        if name not in outlines:
            hint = nearest(name, list(outlines))
            raise wrong_value(f"{where}: floors", "the id of a floor", name, hint)
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise wrong_value(f"{where}: floors", "two floors or more, each once", names)
    stray = [name for name in own if name not in names]
    if stray:
        raise wrong_value(f"{where}: end: floor", "one of its floors", stray[0])
    ends = []
    for name in names:
        rect = own.get(name, raw.rect_m)
        if rect is None:
            raise ConfigError(
                f"{where}: expected its place on floor '{name}', got nothing; give rect_m for all "
                "floors or a [[connection.end]] for this one"
            )
        box = shapes.rect_of(f"{where}: rect_m", rect)
        if geometry.overlap_area(shapes.corners_of(box), outlines[name]) < _INSIDE_LEAST_M2:
            expected = f"a rectangle inside the outline of floor '{name}'"
            raise wrong_value(f"{where}: rect_m", expected, rect)
        ends.append(ConnectionEnd(floor=name, rect_m=box))
    return tuple(ends)


def _refuse_name(subject: str, text: str) -> None:
    if not (text.isprintable() and text == text.strip() and 1 <= len(text) <= _FLOOR_LENGTH_MOST):
        raise wrong_value(subject, "text like '0' or 'ground', at most 64 long", text)
