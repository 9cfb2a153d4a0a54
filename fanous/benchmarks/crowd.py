"""Seeded input for the benchmarks: stores, and people who walk through them, as columns.

Rules of the file: no product code is measured here; people walk straight, turn back at
the walls and stand still most of the time; levels follow the log-distance law with 4 dB
of noise, and every receiver is as likely to hear a packet as any other.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analytics.store import Obstacle, Receiver, Store, Zone
from ingest.identifiers import pseudonym
from ingest.store_file import read_store

START_NS = 1_764_000_000 * 10**9
READINGS_PER_S = 7.0
SPEED_M_S, LEG_S = 0.8, 8.0
"""Everybody walks this fast for this long, then stands for the rest of 30 to 90 s."""
DAY_ZONES = (8, 5)
"""Zones along x and y of the store of a day; each is 2.5 m × 3 m."""
_KEY = b"the benchmarks' own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Columns in order of time, as `analytics.engine.Engine.add_readings` takes them."""

    t_ns: NDArray[np.int64]
    receiver: NDArray[np.int16]
    tag: NDArray[np.int32]
    rssi_dbm: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of readings."""
        return len(self.t_ns)


def demo_store(*, cell_m: float | None = None) -> Store:
    """Return the demo store: 12 receivers, 300 cells of a metre.

    Parameters
    ----------
    cell_m : another size of cells
    """
    from simulators.command import DEMO_STORE  # loads brokers, which `bench dwell` does not need

    store = read_store(DEMO_STORE)
    return store if cell_m is None else replace(store, cell_m=cell_m)


def plan_store() -> Store:
    """Return a store with a floor plan: 250 walkable cells of a metre, 20 more in shelves."""
    shelves = [(x, y, x + 5.0, y + 1.0) for x in (5.0, 17.0) for y in (3.0, 6.0)]
    return _floor(
        "plan",
        size_m=(27.0, 10.0),
        zones=(5, 2),
        obstacles=tuple(
            Obstacle(polygon_m=((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
            for x0, y0, x1, y1 in shelves
        ),
    )


def day_store(*, cell_m: float | None = None) -> Store:
    """Return a store of 40 zones and 12 receivers, 300 cells of a metre.

    Parameters
    ----------
    cell_m : another size of cells
    """
    return _floor("day", size_m=(20.0, 15.0), zones=DAY_ZONES, cell_m=cell_m or 1.0)


def zone_states(store: Store) -> Store:
    """Return a store in the coarsest form the engine has: about one state per zone.

    Parameters
    ----------
    store : with an outline and zones
    """
    low, high = np.min(store.outline_m, axis=0), np.max(store.outline_m, axis=0)
    area_m2 = float(np.prod(high - low)) / max(len(store.zones), 1)
    return replace(store, cell_m=float(np.ceil(10.0 * np.sqrt(area_m2)) / 10.0))


def make_readings(store: Store, *, tags: int, seconds: float, seed: int) -> Readings:
    """Return what the receivers of a store hear of some people.

    Parameters
    ----------
    store : with an outline and receivers
    tags : int, people, all there from the first to the last second
    seconds : [s] of event time
    seed : int
    """
    rng = np.random.default_rng(seed)
    rows = round(tags * seconds * READINGS_PER_S)
    t_s = np.sort(rng.uniform(0.0, seconds, rows))
    tag = rng.integers(0, tags, rows, dtype=np.int32)
    return _heard(store, rng, t_s, tag, tags)


def make_day(store: Store, *, tags: int, active: float, seconds: float, seed: int) -> Readings:
    """Return what is heard of people who come and go.

    Parameters
    ----------
    store : with an outline and receivers
    tags : int, people in all, numbered in the order in which they come
    active : float, people there at a time, on average over the whole
    seconds : [s] from the first who comes to the last who leaves
    seed : int
    """
    rng = np.random.default_rng(seed)
    stay_s = active * seconds / tags
    begin_s = np.sort(rng.uniform(0.0, max(seconds - stay_s, 0.0), tags))
    rows = round(tags * stay_s * READINGS_PER_S)
    tag = rng.integers(0, tags, rows, dtype=np.int32)
    t_s = begin_s[tag] + rng.uniform(0.0, stay_s, rows)
    order = np.argsort(t_s, kind="stable")
    return _heard(store, rng, t_s[order], tag[order], tags)


def pseudonyms(count: int) -> list[str]:
    """Return the pseudonyms of the people of `make_readings`.

    Parameters
    ----------
    count : int, people
    """
    return [pseudonym(f"name:walker-{number}", _KEY) for number in range(count)]


def _heard(
    store: Store,
    rng: np.random.Generator,
    t_s: NDArray[np.float64],
    tag: NDArray[np.int32],
    tags: int,
) -> Readings:
    rows = len(t_s)
    receiver = rng.integers(0, len(store.receivers), rows, dtype=np.int16)
    outline = np.asarray(store.outline_m)
    low, size = outline.min(0), np.ptp(outline, axis=0)
    place = np.array([r.position_m for r in store.receivers])[receiver]
    d2 = (1.2 - place[:, 2]) ** 2
    period_s = rng.uniform(30.0, 90.0, tags)[tag]
    since_s = t_s + rng.uniform(0.0, 90.0, tags)[tag]
    legs, within_s = np.divmod(since_s, period_s)
    walked_m = SPEED_M_S * (legs * LEG_S + np.minimum(within_s, LEG_S))
    heading = rng.uniform(0.0, 2.0 * np.pi, tags)[tag]
    for axis, part in ((0, np.cos(heading)), (1, np.sin(heading))):
        phase = rng.uniform(0.0, 2.0, tags)[tag]
        share = np.abs((phase + part * walked_m / size[axis]) % 2.0 - 1.0)
        d2 += (low[axis] + size[axis] * share - place[:, axis]) ** 2
    power_db = rng.normal(0.0, 5.0, tags)[tag]
    rssi = -59.0 - 10.0 * np.log10(d2) + power_db + rng.normal(0.0, 4.0, rows)
    return Readings(
        t_ns=START_NS + np.round(t_s * 1e9).astype(np.int64),
        receiver=receiver,
        tag=tag,
        rssi_dbm=np.clip(np.rint(rssi), -105, -20).astype(np.float32),
    )


def _floor(
    name: str,
    *,
    size_m: tuple[float, float],
    zones: tuple[int, int],
    cell_m: float = 1.0,
    obstacles: tuple[Obstacle, ...] = (),
) -> Store:
    """Return a floor of equal zones under a grid of 4 × 3 receivers."""
    width, depth = size_m
    x, y = np.linspace(0.0, width, zones[0] + 1), np.linspace(0.0, depth, zones[1] + 1)
    corners = [(x[i], y[j], x[i + 1], y[j + 1]) for j in range(zones[1]) for i in range(zones[0])]
    return Store(
        id=name,
        name=name,
        timezone="UTC",
        outline_m=((0.0, 0.0), (width, 0.0), (width, depth), (0.0, depth)),
        receivers=tuple(
            Receiver(
                id=f"rx-{column}-{row}",
                position_m=(width * (column + 0.5) / 4, depth * (row + 0.5) / 3, 2.4),
            )
            for row in range(3)
            for column in range(4)
        ),
        zones=tuple(
            Zone(
                id=f"zone-{number}",
                name=f"Zone {number}",
                kind="aisle",
                polygon_m=((x0, y0), (x1, y0), (x1, y1), (x0, y1)),
            )
            for number, (x0, y0, x1, y1) in enumerate(corners)
        ),
        obstacles=obstacles,
        cell_m=cell_m,
    )
