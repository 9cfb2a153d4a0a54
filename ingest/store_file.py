"""The store file, ``store.toml``: read, checked, turned into an `analytics.store.Store`.

Rules of the file: everything that can be wrong is said in one sentence with the
key, what was expected and the nearest valid value; nothing is guessed silently.
Shapes are checked by `ingest.store_shapes`, floors by `ingest.store_floors`. Contract
section 2 is the specification.
"""

import difflib
import math
import zoneinfo
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from analytics import geometry
from analytics.cell_grid import CELLS_MOST
from analytics.lanes import BELIEF_BYTES, LANES_LEAST, MEMORY_BYTES
from analytics.store import (
    TAP_ROLES,
    ZONE_KINDS,
    Floor,
    Obstacle,
    Polygon,
    Product,
    Receiver,
    Rules,
    Sensor,
    Shelf,
    Store,
    TapPoint,
    Zone,
)
from ingest import store_floors
from ingest import store_form as form
from ingest import store_shapes as shapes
from ingest.config import ConfigError, nearest, read_toml, to_struct, wrong_value
from ingest.floorplan import read_floorplan
from ingest.identifiers import is_name, is_pseudonym, is_tag

SCHEMA = "fanous.store/1"
_NAME = "a name of lower-case letters, digits, '_', '.' and '-', at most 64 long"
_SENSOR_KINDS = ["mass", "range"]
_CELL_M = (0.25, 100.0)
"""Edges of a cell that make sense [m]: the filter takes the square of their number at worst."""
_FLOORS_MOST = 255
"""The number of a floor is kept in a byte."""
_TICK_S = (0.05, 60.0)
_SHARE = (0.001, 1.0)
_LAG_TICKS_MOST = 3600
_RULE_MOST_S = 7 * 86400.0
"""No rule counts in more than a week; the engine keeps counters of ticks."""
_MAY_BE_ZERO = {"lateness_s", "lag_s", "flicker_s", "dwell_min_s", "visit_min_s", "bounce_s"}


def read_store(path: Path) -> Store:
    """Read and check a store file.

    Parameters
    ----------
    path : the ``store.toml``; paths inside it are relative to it

    Raises
    ------
    ConfigError
        Anything in it is wrong; the message names the key, what was expected and found.
    """
    table = read_toml(path)
    schema = table.get("schema")
    if schema != SCHEMA:
        raise wrong_value(f"{path}: schema", repr(SCHEMA), schema)
    return _Check(path).store(to_struct(table, form.StoreForm, subject=str(path)))


class _Check:
    """Turns the raw form into records, checking as it goes; knows the file for messages."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._usual_floor = "0"

    def store(self, raw: form.StoreForm) -> Store:
        self._name("id", raw.id)
        self._timezone(raw.timezone)
        self._usual_floor = store_floors.usual_floor(raw.floor)
        zones = tuple(self._zone(at, zone) for at, zone in enumerate(raw.zone))
        obstacles = list(self._obstacles(raw))
        if raw.floorplan is not None:
            more_zones, more_obstacles = read_floorplan(
                self._beside("floorplan", raw.floorplan), floor=self._usual_floor
            )
            zones += more_zones
            obstacles += more_obstacles
        receivers = tuple(self._receiver(at, r) for at, r in enumerate(raw.receiver))
        shelves = tuple(self._shelf(at, s) for at, s in enumerate(raw.shelf))
        points = tuple(self._tap_point(at, p) for at, p in enumerate(raw.tap_point))
        if not receivers:
            raise ConfigError(f"{self._path}: expected at least one [[receiver]], got none")
        self._unique("receiver id", [r.id for r in receivers])
        self._unique("zone id", [z.id for z in zones])
        self._unique("shelf id", [s.id for s in shelves])
        self._unique("shelf.sensor id", [sensor.id for s in shelves for sensor in s.sensors])
        self._unique("tap_point id", [p.id for p in points])
        self._zones_exist(zones, shelves, points)
        subject = str(self._path)
        used = [thing.floor for things in (receivers, zones) for thing in things]
        if (count := max(len(raw.floor), len(set(used)))) > _FLOORS_MOST:
            raise self._wrong("floor", f"at most {_FLOORS_MOST} floors", count)
        floors = store_floors.floors_of(subject, raw.floor, used)
        self._floors_exist(floors, receivers, zones, obstacles, shelves)
        shapes.refuse_overlaps(subject, zones)
        for at, tag in enumerate(raw.staff_tags):
            if not (is_tag(tag) or is_pseudonym(tag)):
                # The text is not shown: it may be somebody's identifier with a slip in it.
                raise ConfigError(
                    f"{self._path}: staff_tags[{at}]: expected a tag like 'name:anna' or a "
                    "pseudonym, in lower case; got something else"
                )
        if raw.outline_m is None:
            outline = floors[0].outline_m or shapes.outline_round(zones, receivers)
        else:
            outline = shapes.polygon_of(self._key("outline_m"), raw.outline_m)
        obstacles += [
            Obstacle(polygon_m=shapes.corners_of(s.rect_m), floor=s.floor)
            for s in shelves
            if s.rect_m
        ]
        given = {zone.id for zone in raw.zone if zone.neighbours is not None}
        rules = self._rules(raw.rules)
        cell_m = self._cell_m(raw.radio.cell_m)
        self._fits(cell_m, rules, [floor.outline_m or outline for floor in floors])
        return Store(
            id=raw.id,
            name=raw.name or raw.id,
            timezone=raw.timezone,
            outline_m=outline,
            receivers=receivers,
            zones=shapes.with_neighbours(zones, given),
            obstacles=tuple(obstacles),
            shelves=shelves,
            tap_points=points,
            staff_tags=tuple(raw.staff_tags),
            cell_m=cell_m,
            radio_map=None
            if raw.radio.map is None
            else str(self._beside("radio.map", raw.radio.map).absolute()),
            rules=rules,
            floors=floors,
            connections=store_floors.connections_of(subject, raw.connection, floors, outline),
        )

    def _key(self, key: str) -> str:
        return f"{self._path}: {key}"

    def _wrong(self, key: str, expected: str, got: object, hint: str = "") -> ConfigError:
        return wrong_value(self._key(key), expected, got, hint)

    def _beside(self, key: str, name: str) -> Path:
        if not name or "\0" in name:
            raise self._wrong(key, "the path of a file, relative to the store file", name)
        return self._path.parent / name

    def _name(self, key: str, text: str) -> str:
        if not is_name(text):
            raise self._wrong(key, _NAME, text)
        return text

    def _timezone(self, text: str) -> None:
        try:
            zoneinfo.ZoneInfo(text)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            known = zoneinfo.available_timezones()
            if not known:
                raise ConfigError(
                    f"{self._path}: timezone: this machine knows no time zones; install tzdata"
                ) from error
            close = difflib.get_close_matches(text[:64], sorted(known), n=1, cutoff=0.5)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            expected = "an IANA time zone like 'Europe/Berlin'"
            raise self._wrong("timezone", expected, text, hint) from error

    def _zones_exist(
        self, zones: Sequence[Zone], shelves: Sequence[Shelf], points: Sequence[TapPoint]
    ) -> None:
        known = [zone.id for zone in zones]
        for key, zone in [
            *((f"shelf '{s.id}': zone", s.zone) for s in shelves),
            *((f"tap_point '{p.id}': zone", p.zone) for p in points),
            *((f"zone '{z.id}': neighbours", other) for z in zones for other in z.neighbours),
        ]:
            if zone not in known:
                raise self._wrong(key, "the id of a zone", zone, nearest(zone, known))

    def _floors_exist(
        self,
        floors: Sequence[Floor],
        receivers: Sequence[Receiver],
        zones: Sequence[Zone],
        obstacles: Sequence[Obstacle],
        shelves: Sequence[Shelf],
    ) -> None:
        known = [floor.id for floor in floors]
        for key, floor in [
            *((f"receiver '{r.id}': floor", r.floor) for r in receivers),
            *((f"zone '{z.id}': floor", z.floor) for z in zones),
            *((f"obstacle at {o.polygon_m[0]}: floor", o.floor) for o in obstacles),
            *((f"shelf '{s.id}': floor", s.floor) for s in shelves),
        ]:
            self._one_of(key, "the id of a floor", floor, known)

    def _unique(self, what: str, ids: list[str]) -> None:
        seen: set[str] = set()
        for name in ids:
            if name in seen:
                raise ConfigError(
                    f"{self._path}: {what} '{name}' is used more than once; expected each id once"
                )
            seen.add(name)

    def _floor(self, text: str | None) -> str:
        return self._usual_floor if text is None else text

    def _positive(self, key: str, value: float) -> float:
        if not (math.isfinite(value) and value > 0):
            raise self._wrong(key, "a number above 0", value)
        return float(value)

    def _within(self, key: str, value: float, low: float, high: float) -> float:
        if not low <= value <= high:
            raise self._wrong(key, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def _one_of(self, key: str, expected: str, text: str, known: Collection[str]) -> str:
        if text not in known:
            raise self._wrong(key, expected, text, nearest(text, known))
        return text

    def _zone(self, at: int, raw: form.ZoneForm) -> Zone:
        self._name(f"zone[{at}].id", raw.id)
        where = f"zone '{raw.id}'"
        return Zone(
            id=raw.id,
            name=raw.name or raw.id,
            kind=self._one_of(f"{where}: kind", "a kind of zone", raw.kind, ZONE_KINDS),
            polygon_m=shapes.polygon_of(self._key(f"{where}: polygon_m"), raw.polygon_m),
            layer=self._name(f"{where}: layer", raw.layer),
            neighbours=tuple(raw.neighbours or ()),
            floor=self._floor(raw.floor),
        )

    def _receiver(self, at: int, raw: form.ReceiverForm) -> Receiver:
        self._name(f"receiver[{at}].id", raw.id)
        where = f"receiver '{raw.id}'"
        place = raw.position_m
        if len(place) != 3 or not all(shapes.possible_metres(metre) for metre in place):
            raise self._wrong(f"{where}: position_m", "[x, y, z] in metres", place)
        if raw.agent is not None:
            self._name(f"{where}: agent", raw.agent)
        return Receiver(
            id=raw.id,
            position_m=(float(place[0]), float(place[1]), float(place[2])),
            agent=raw.agent,
            offset_db=self._within(f"{where}: offset_db", raw.offset_db, -100, 100),
            floor=self._floor(raw.floor),
        )

    def _shelf(self, at: int, raw: form.ShelfForm) -> Shelf:
        self._name(f"shelf[{at}].id", raw.id)
        where = f"shelf '{raw.id}'"
        sensors = []
        for sensor in raw.sensor:
            self._name(f"{where}: sensor id", sensor.id)
            key = f"{where}, sensor '{sensor.id}'"
            kind = self._one_of(f"{key}: kind", "mass or range", sensor.kind, _SENSOR_KINDS)
            capacity = self._positive(f"{key}: capacity_g", sensor.capacity_g)
            sensors.append(Sensor(id=sensor.id, kind=kind, capacity_g=capacity))
        ids = [sensor.id for sensor in sensors]
        products = [self._product(where, product, ids) for product in raw.product]
        self._unique(f"{where}: product gtin", [product.gtin for product in products])
        return Shelf(
            id=raw.id,
            zone=raw.zone,
            rect_m=None
            if raw.rect_m is None
            else shapes.rect_of(self._key(f"{where}: rect_m"), raw.rect_m),
            sensors=tuple(sensors),
            products=tuple(products),
            floor=self._floor(raw.floor),
        )

    def _product(self, shelf: str, raw: form.ProductForm, sensors: list[str]) -> Product:
        if not (raw.gtin.isprintable() and 1 <= len(raw.gtin.strip()) <= 64):
            raise self._wrong(f"{shelf}: product gtin", "digits like '04012345678901'", raw.gtin)
        where = f"{shelf}, product '{raw.gtin}'"
        if not raw.sensors:
            raise self._wrong(f"{where}: sensors", "the sensors under its facings", raw.sensors)
        for name in raw.sensors:
            self._one_of(f"{where}: sensors", "a sensor of this shelf", name, sensors)
        return Product(
            gtin=raw.gtin,
            name=raw.name or raw.gtin,
            category=raw.category,
            unit_g=self._positive(f"{where}: unit_g", raw.unit_g),
            sensors=tuple(raw.sensors),
            price=raw.price,
        )

    def _tap_point(self, at: int, raw: form.TapPointForm) -> TapPoint:
        self._name(f"tap_point[{at}].id", raw.id)
        key = f"tap_point '{raw.id}': role"
        role = self._one_of(key, "a role", raw.role, TAP_ROLES)
        return TapPoint(id=raw.id, zone=raw.zone, role=role)

    def _obstacles(self, raw: form.StoreForm) -> Iterable[Obstacle]:
        for at, item in enumerate(raw.obstacle):
            key = self._key(f"obstacle[{at}]")
            if (item.rect_m is None) == (item.polygon_m is None):
                got = "neither" if item.rect_m is None else "both"
                raise ConfigError(f"{key}: expected either rect_m or polygon_m, got {got}")
            if item.rect_m is not None:
                polygon = shapes.corners_of(shapes.rect_of(f"{key}.rect_m", item.rect_m))
            else:
                polygon = shapes.polygon_of(f"{key}.polygon_m", item.polygon_m or [])
            yield Obstacle(polygon_m=polygon, floor=self._floor(item.floor))
        if raw.obstacles is not None:
            yield from shapes.read_obstacles(
                self._beside("obstacles", raw.obstacles), floor=self._usual_floor
            )

    def _cell_m(self, cell_m: float) -> float:
        low, high = _CELL_M
        if 0 < cell_m < low:
            why = "; finer cells take many times longer and place nobody more exactly"
            raise self._wrong("radio.cell_m", f"a number from {low:g} to {high:g}", cell_m, why)
        return self._within("radio.cell_m", cell_m, low, high)

    def _fits(self, cell_m: float, rules: Rules, outlines: Iterable[Polygon]) -> None:
        """Refuse cells whose beliefs over the lag have no room for `LANES_LEAST` people."""
        ticks = math.ceil(rules.lag_s / rules.tick_s - 1e-9) + 1
        cells = sum(geometry.polygon_area(outline) for outline in outlines) / cell_m**2
        share = cells * ticks * BELIEF_BYTES * LANES_LEAST / MEMORY_BYTES
        if share * min(1.0, CELLS_MOST / cells) <= 1:  # more are refused when they are cut
            return
        larger_m = math.ceil(10 * cell_m * math.sqrt(share)) / 10
        raise self._wrong(
            "radio.cell_m",
            f"cells of {larger_m:g} m or more with rules.lag_s {rules.lag_s:g} and "
            f"rules.tick_s {rules.tick_s:g}",
            cell_m,
            f"; {cells:.0f} cells over {ticks} ticks take {share * MEMORY_BYTES / 2**30:.1f} GiB "
            f"for {LANES_LEAST} people, there is {MEMORY_BYTES / 2**30:g} GiB; a shorter lag_s "
            "helps as well",
        )

    def _rules(self, raw: form.RulesForm) -> Rules:
        values: dict[str, Any] = msgspec.structs.asdict(raw)
        self._within("rules.tagged_share", values.pop("tagged_share"), *_SHARE)
        for key, value in values.items():
            if not (math.isfinite(value) and (value > 0 or (value == 0 and key in _MAY_BE_ZERO))):
                least = "0 or more" if key in _MAY_BE_ZERO else "more than 0"
                raise self._wrong(f"rules.{key}", f"{least} seconds", value)
            if value > _RULE_MOST_S:
                raise self._wrong(f"rules.{key}", "at most a week in seconds", value)
        self._within("rules.tick_s", raw.tick_s, *_TICK_S)
        if raw.lag_s / raw.tick_s > _LAG_TICKS_MOST:
            most = _LAG_TICKS_MOST * raw.tick_s
            raise self._wrong("rules.lag_s", f"at most {most:g} with this tick_s", raw.lag_s)
        return Rules(**values, tagged_share=raw.tagged_share)
