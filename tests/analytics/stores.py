"""Small hand-made stores, small hand-made rows, and every way to give them to an engine.

`tables` turns an output into plain sorted rows with the tags' names in them, so that
two runs can be compared with `==` whatever ids their tags had (an empty cell is None).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from analytics.cells import build_cells
from analytics.engine import Engine
from analytics.flow import transitions
from analytics.radio_map import RadioMap, radio_map_from_geometry
from analytics.rows import STAGES, TABLES, ZONE_STATES, Output, Positions
from analytics.store import (
    Obstacle,
    Product,
    Receiver,
    Rules,
    Sensor,
    Shelf,
    Store,
    TapPoint,
    Zone,
)

SECOND = 10**9
START_NS = 1_764_000_000 * SECOND
"""A full minute."""
PLACES = {
    "entrance": (1.5, 1.5),
    "aisle": (5.0, 1.5),
    "queue": (8.5, 1.5),
    "checkout": (8.5, 4.5),
    "promo": (1.5, 4.5),
}
"""The middle of each zone of `shop`."""

POSITION_COLUMNS = tuple(f.name for f in dataclasses.fields(Positions) if f.name != "floor")
"""Columns of a store with one floor."""


def box(x0: float, y0: float, x1: float, y1: float) -> tuple[tuple[float, float], ...]:
    """Return a rectangle as a polygon."""
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def zone(name: str, polygon, kind: str = "aisle", layer: str = "main") -> Zone:
    """Return a zone."""
    return Zone(id=name, name=name, kind=kind, polygon_m=polygon, layer=layer)


def receivers(*places: tuple[float, float]) -> tuple[Receiver, ...]:
    """Return receivers at these places, 2.5 m high."""
    return tuple(Receiver(id=f"rx-{i}", position_m=(x, y, 2.5)) for i, (x, y) in enumerate(places))


def shop(*, shelves: bool = False, cell_m: float = 1.0, **rules: float) -> Store:
    """Return 10 m × 6 m with five zones, two layers, five tap points and six receivers."""
    return Store(
        id="shop",
        name="Shop",
        timezone="UTC",
        outline_m=box(0, 0, 10, 6),
        receivers=receivers((0, 0), (5, 0), (10, 0), (0, 6), (5, 6), (10, 6)),
        zones=(
            zone("entrance", box(0, 0, 3, 3), "entrance"),
            zone("aisle", box(3, 0, 7, 3)),
            zone("queue", box(7, 0, 10, 3), "queue"),
            zone("checkout", box(7, 3, 10, 6), "checkout"),
            zone("promo", box(0, 3, 3, 6), "promo"),
            zone("left", box(0, 0, 5, 6), layer="halves"),
            zone("right", box(5, 0, 10, 6), layer="halves"),
        ),
        obstacles=(Obstacle(polygon_m=box(3.5, 3.5, 6.5, 4.5)),),
        shelves=(shelf(),) if shelves else (),
        tap_points=tuple(
            TapPoint(id=f"tap-{role}", zone=place, role=role)
            for role, place in (
                ("entry", "entrance"),
                ("exit", "entrance"),
                ("info", "aisle"),
                ("checkout", "checkout"),
                ("shelf", "promo"),
            )
        ),
        staff_tags=("p_staff",),
        cell_m=cell_m,
        rules=Rules(**rules),
    )


def shelf() -> Shelf:
    """Return a shelf in the promo zone with one plate of 250 g items."""
    product = Product(
        gtin="04012345678901", name="Tin", category="food", unit_g=250.0, sensors=("plate-1",)
    )
    return Shelf(
        id="shelf-1",
        zone="promo",
        rect_m=(0.0, 4.0, 0.5, 5.0),
        sensors=(Sensor(id="plate-1", kind="mass"),),
        products=(product,),
    )


def odd_store(kind: str) -> Store:
    """Return a store that lacks something: zones, receivers but one, a plane of receivers."""
    store = shop()
    if kind == "no zones":
        return dataclasses.replace(store, zones=(), tap_points=())
    if kind == "one receiver":
        return dataclasses.replace(store, receivers=receivers((2, 2)))
    if kind == "in a line":
        return dataclasses.replace(store, receivers=receivers((1, 3), (4, 3), (7, 3), (9, 3)))
    raise ValueError(kind)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Readings, taps and shelf samples as lists of tuples.

    Readings are (t_ns, receiver, tag, rssi_dbm), taps (t_ns, tap_point, tag) and samples
    (t_ns, sensor, value); receiver, tap point and sensor are indices, the tag is its name.
    """

    readings: Sequence[tuple[int, int, str, float]] = ()
    taps: Sequence[tuple[int, int, str]] = ()
    samples: Sequence[tuple[int, int, float]] = ()

    def tags(self) -> list[str]:
        """Return the names that occur, in order of appearance."""
        return list(dict.fromkeys(row[2] for row in (*self.readings, *self.taps)))

    def arrivals(self) -> list[tuple[str, Any]]:
        """Return all rows with the name of their kind."""
        return [
            *(("readings", row) for row in self.readings),
            *(("taps", row) for row in self.taps),
            *(("samples", row) for row in self.samples),
        ]

    def __add__(self, other: "Rows") -> "Rows":
        """Return the rows of both."""
        return Rows(
            readings=[*self.readings, *other.readings],
            taps=[*self.taps, *other.taps],
            samples=[*self.samples, *other.samples],
        )


def rssi_at(store: Store, x_m: float, y_m: float, *, power_dbm: float = -59.0) -> np.ndarray:
    """Return what each receiver hears of a tag at a place, without noise."""
    place = np.array([r.position_m for r in store.receivers])
    d2 = (place[:, 0] - x_m) ** 2 + (place[:, 1] - y_m) ** 2 + (place[:, 2] - 1.2) ** 2
    return power_dbm - 10 * np.log10(np.maximum(d2, 0.09))


def stay(
    store: Store,
    tag: str,
    where: str | tuple[float, float],
    from_s: float,
    to_s: float,
    *,
    every_s: float = 0.5,
    noise_db: float = 0.0,
    seed: int = 0,
) -> Rows:
    """Return the readings of a tag that stands still: every receiver, every `every_s`."""
    rng = np.random.default_rng(seed)
    level = rssi_at(store, *(PLACES[where] if isinstance(where, str) else where))
    found = []
    for t_s in np.arange(from_s, to_s, every_s):
        for receiver, rssi in enumerate(level):
            t_ns = START_NS + round(t_s * SECOND) + receiver
            found.append((t_ns, receiver, tag, round(float(rssi + rng.normal(0, noise_db)), 1)))
    return Rows(readings=found)


def tour(store: Store, tag: str, *stops: tuple[str, float], from_s: float = 0.0) -> Rows:
    """Return the readings of a tag that stays in one zone after another, seconds each."""
    rows, at = Rows(), from_s
    for where, seconds in stops:
        if where != "silence":
            rows += stay(store, tag, where, at, at + seconds)
        at += seconds
    return rows


def tap(store: Store, tag: str, role: str, t_s: float) -> Rows:
    """Return one tap at the tap point of a role."""
    at = next(i for i, point in enumerate(store.tap_points) if point.role == role)
    return Rows(taps=[(START_NS + round(t_s * SECOND), at, tag)])


class Bench:
    """An engine, with the names of its tags.

    Parameters
    ----------
    store : the store
    names : tags in the order of their ids
    """

    def __init__(
        self, store: Store, names: Sequence[str], *, radio_map: RadioMap | None = None
    ) -> None:
        grid = build_cells(store)
        self.store, self.names = store, list(names)
        self._id = {name: i for i, name in enumerate(self.names)}
        self.engine = Engine(
            store,
            radio_map or radio_map_from_geometry(store, grid),
            name_of=lambda ids: [self.names[i] for i in ids.tolist()],
            grid=grid,
        )
        self.out = Output()
        self.late = 0

    def add(self, arrivals: Sequence[tuple[str, Any]]) -> None:
        """Give some rows to the engine at once, in this order."""
        by_kind: dict[str, list[Any]] = {"readings": [], "taps": [], "samples": []}
        for kind, row in arrivals:
            by_kind[kind].append(row)
        if by_kind["readings"]:
            t, rx, tag, rssi = zip(*by_kind["readings"], strict=True)
            self.late += self.engine.add_readings(
                np.array(t), np.array(rx, np.int16), self._ids(tag), np.array(rssi)
            )
        if by_kind["taps"]:
            t, point, tag = zip(*by_kind["taps"], strict=True)
            self.late += self.engine.add_taps(
                np.array(t), np.array(point, np.int16), self._ids(tag)
            )
        if by_kind["samples"]:
            t, sensor, value = zip(*by_kind["samples"], strict=True)
            self.late += self.engine.add_samples(
                np.array(t), np.array(sensor, np.int16), np.array(value, np.float64)
            )

    def advance(self, watermark_ns: int) -> Output:
        """Close ticks; return what that gave."""
        out = self.engine.advance(watermark_ns)
        self.out.extend(dataclasses.replace(out))
        return out

    def finish(self) -> dict[str, list[tuple[Any, ...]]]:
        """Close everything; return all tables."""
        self.out.extend(self.engine.finish())
        return tables(self.out, self.store, self.names)

    def _ids(self, tags: Sequence[str]) -> np.ndarray:
        return np.array([self._id[tag] for tag in tags], np.int32)


def whole(store: Store, rows: Rows, *, names: Sequence[str] | None = None, times: int = 1):
    """Give all rows at once; return all tables."""
    bench = Bench(store, names or rows.tags())
    for _ in range(times):
        bench.add(rows.arrivals())
    return bench.finish()


def portions(
    store: Store,
    rows: Rows,
    step_ns: int,
    *,
    delay_of: Callable[[int], int] = lambda _: 0,
    lateness_ns: int = 0,
    times: int = 1,
    beyond_ns: int = 0,
    names: Sequence[str] | None = None,
):
    """Give rows as they come, row i `delay_of(i)` ns after its time, in steps of a clock."""
    bench = Bench(store, names or rows.tags())
    coming = sorted(
        (row[0] + delay_of(i), i, kind, row)
        for _ in range(times)
        for i, (kind, row) in enumerate(rows.arrivals())
    )
    if coming:
        clock = coming[0][0] // step_ns * step_ns
        at = 0
        while at < len(coming) or clock < coming[-1][0] + beyond_ns:
            clock += step_ns
            until = at
            while until < len(coming) and coming[until][0] < clock:
                until += 1
            bench.add([(kind, row) for _, _, kind, row in coming[at:until]])
            at = until
            bench.advance(clock - lateness_ns)
    found = bench.finish()
    assert bench.late == 0, "rows came within the lateness and were refused"
    return found


def tables(out: Output, store: Store, names: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Return every table of an output as sorted rows, positions with names and None."""
    found: dict[str, list[tuple[Any, ...]]] = {
        name: _sorted(dataclasses.astuple(row) for row in getattr(out, name))
        for name in TABLES
        if name != "transitions"
    }
    found["transitions"] = [dataclasses.astuple(row) for row in transitions(out.dwells)]
    found["zone_changes"] = _sorted(dataclasses.astuple(row) for row in out.zone_changes)
    found["visits_started"] = sorted(out.visits_started)
    found["positions"] = _sorted(_position_rows(out.positions, store, names))
    return found


def positions_of(
    found: dict[str, list[tuple[Any, ...]]], tag: str, stage: str = "live", layer: str = "main"
) -> list[dict[str, Any]]:
    """Return the position rows of a tag in one stage and layer, as dictionaries, by time."""
    columns = list(POSITION_COLUMNS)
    rows = [dict(zip(columns, row, strict=True)) for row in found["positions"]]
    return [row for row in rows if (row["tag"], row["stage"], row["layer"]) == (tag, stage, layer)]


def records(found: dict[str, list[tuple[Any, ...]]], name: str) -> list[Any]:
    """Return the rows of a small table as its records."""
    return [TABLES[name](**_named(TABLES[name], row)) for row in found[name]]


def seconds(t_ns: int) -> float:
    """Return seconds since `START_NS`."""
    return (t_ns - START_NS) / SECOND


def _named(kind: type[Any], row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip((field.name for field in dataclasses.fields(kind)), row, strict=True))


def _position_rows(
    parts: Sequence[Positions], store: Store, names: Sequence[str]
) -> list[tuple[Any, ...]]:
    rows = []
    for part in parts:
        columns = {name: getattr(part, name).tolist() for name in POSITION_COLUMNS}
        columns["tag"] = [names[i] for i in columns["tag"]]
        columns["stage"] = [STAGES[i] for i in columns["stage"]]
        columns["layer"] = [store.layers[i] for i in columns["layer"]]
        columns["zone"] = [store.zones[i].id if i >= 0 else None for i in columns["zone"]]
        columns["zone_state"] = [ZONE_STATES[i] for i in columns["zone_state"]]
        for name in ("zone_p", "x_m", "y_m", "sigma_m"):
            columns[name] = [None if value != value else value for value in columns[name]]
        rows += list(zip(*columns.values(), strict=True))
    return rows


def _sorted(rows) -> list[tuple[Any, ...]]:
    return sorted(
        rows,
        key=lambda row: [
            (value is None, value or 0) if not isinstance(value, str) else (False, value)
            for value in row
        ],
    )
