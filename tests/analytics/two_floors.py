"""A shop on two floors, and somebody who walks on both of them.

The generator knows nothing of the core: levels follow the distance in space, less 15 dB
through the ceiling, with white noise; the truth is where the walker was, and on which
floor (None on the stairs).
"""

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from analytics.store import Connection, ConnectionEnd, Floor, Receiver, Rules, Store, Zone
from tests.analytics.stores import SECOND, START_NS, Rows, box

LEVEL_M, CEILING_DB = 4.5, 15.0
WIDTH_M, DEPTH_M = 16.0, 8.0
STAIRS_M = (13.0, 3.0, 15.0, 5.0)
STAIRS_S = 8.0
"""From one floor to the other."""
READ_EVERY_S = 0.5
TEXT = """schema = "fanous.store/1"
id = "two-floors"
timezone = "UTC"
outline_m = [[0, 0], [16, 0], [16, 8], [0, 8]]

[[floor]]
id = "0"
name = "Ground"

[[floor]]
id = "1"
name = "Upstairs"

[[connection]]
id = "stairs-1"
kind = "stairs"
floors = ["0", "1"]
rect_m = [13, 3, 15, 5]
"""


def two_floors(**rules: float) -> Store:
    """Return 16 m × 8 m twice, three zones and six receivers each, stairs at one end."""
    floors = (Floor(id="0", name="Ground"), Floor(id="1", name="Upstairs", level_m=LEVEL_M))
    return Store(
        id="two-floors",
        name="two-floors",
        timezone="UTC",
        outline_m=box(0, 0, WIDTH_M, DEPTH_M),
        receivers=tuple(
            Receiver(id=f"rx-{floor.id}{at}", position_m=(x, y, 2.5), floor=floor.id)
            for floor in floors
            for at, (x, y) in enumerate((x, y) for x in (1.0, 8.0, 15.0) for y in (0.5, 7.5))
        ),
        zones=tuple(
            Zone(id=name, name=name, kind=kind, polygon_m=box(x0, 0, x1, DEPTH_M), floor=floor)
            for name, kind, x0, x1, floor in (
                ("entrance", "entrance", 0, 5, "0"),
                ("shoes", "aisle", 5, 11, "0"),
                ("below", "service", 11, 16, "0"),
                ("above", "service", 11, 16, "1"),
                ("shirts", "aisle", 5, 11, "1"),
                ("toys", "aisle", 0, 5, "1"),
            )
        ),
        floors=floors,
        connections=(
            Connection(
                id="stairs-1",
                kind="stairs",
                ends=tuple(ConnectionEnd(floor=floor.id, rect_m=STAIRS_M) for floor in floors),
            ),
        ),
        rules=Rules(**rules),
    )


def store_file(store: Store) -> str:
    """Return the text of a store file for the store of `two_floors`."""
    parts = [TEXT]
    parts += [
        f'[[receiver]]\nid = "{each.id}"\nposition_m = {list(each.position_m)}\n'
        f'floor = "{each.floor}"\noffset_db = {each.offset_db}\n'
        for each in store.receivers
    ]
    parts += [
        f'[[zone]]\nid = "{zone.id}"\nkind = "{zone.kind}"\nfloor = "{zone.floor}"\n'
        f"polygon_m = {[list(corner) for corner in zone.polygon_m]}\n"
        for zone in store.zones
    ]
    return "\n".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """Where somebody truly was: one element per second since `START_NS`."""

    x_m: np.ndarray
    y_m: np.ndarray
    height_m: np.ndarray
    """Above the lowest floor."""

    @property
    def floor(self) -> np.ndarray:
        """Floor of each second, -1 on the stairs."""
        return np.where(self.height_m <= 0, 0, np.where(self.height_m >= LEVEL_M, 1, -1))

    def __len__(self) -> int:
        """Return the number of seconds."""
        return len(self.x_m)


def walk_up(*, back: bool = False, stay_s: float = 25.0) -> Walked:
    """Return a walk over the ground floor, up the stairs and over the upper floor.

    Parameters
    ----------
    back : down the stairs again and out
    stay_s : float [s], at each stop
    """
    foot, head = (13.5, 4.0, 0.0), (14.5, 4.0, LEVEL_M)
    stops = [(1.0, 4.0, 0.0), (3.0, 2.0, 0.0), (8.0, 6.0, 0.0), (12.0, 4.0, 0.0), foot, head]
    stops += [(12.0, 2.0, LEVEL_M), (8.0, 2.0, LEVEL_M), (2.5, 5.0, LEVEL_M)]
    if back:
        stops += [(12.0, 5.0, LEVEL_M), head, foot, (12.0, 4.0, 0.0), (1.0, 4.0, 0.0)]
    waits = {(3.0, 2.0, 0.0), (8.0, 6.0, 0.0), (8.0, 2.0, LEVEL_M), (2.5, 5.0, LEVEL_M)}
    place = [np.array(stops[0])]
    for before, after in itertools.pairwise(stops):
        a, b = np.array(before), np.array(after)
        seconds = STAIRS_S if a[2] != b[2] else max(1.0, float(np.hypot(*(b - a)[:2])) / 1.0)
        steps = round(seconds)
        place += [a + (b - a) * (i + 1) / steps for i in range(steps)]
        if after in waits:
            place += [b] * round(stay_s)
    x, y, height = np.array(place).T
    return Walked(x_m=x, y_m=y, height_m=height)


def heard(
    store: Store,
    tag: str,
    walked: Walked,
    *,
    from_s: float = 0.0,
    power_dbm: float = -59.0,
    noise_db: float = 4.0,
    seed: int = 0,
) -> Rows:
    """Return what the receivers of both floors hear of a walk."""
    rng = np.random.default_rng(seed)
    place = np.array([r.position_m for r in store.receivers])
    theirs = np.array([store.floor_index(r.floor) for r in store.receivers])
    t_s = np.arange(0.0, len(walked) - 1, READ_EVERY_S)
    at = np.arange(len(walked))
    x, y, height = (np.interp(t_s, at, a) for a in (walked.x_m, walked.y_m, walked.height_m))
    d2 = (
        np.subtract.outer(x, place[:, 0]) ** 2
        + np.subtract.outer(y, place[:, 1]) ** 2
        + np.subtract.outer(height + 1.2, place[:, 2] + theirs * LEVEL_M) ** 2
    )
    # Half way up the ceiling is half in the way, of both floors' receivers.
    ceilings = np.abs(np.subtract.outer(height / LEVEL_M, theirs))
    level = power_dbm - 10 * np.log10(np.maximum(d2, 0.09)) - CEILING_DB * ceilings
    level += rng.normal(0, noise_db, level.shape)
    found = []
    for i, seconds in enumerate(t_s):
        for receiver in np.flatnonzero(level[i] > -100).tolist():
            t_ns = START_NS + round((from_s + seconds) * SECOND) + receiver
            found.append((t_ns, receiver, tag, round(float(level[i, receiver]), 1)))
    return Rows(readings=found)


def without_floors(store: Store) -> Store:
    """Return the ground floor alone."""
    return dataclasses.replace(
        store,
        floors=store.floors[:1],
        connections=(),
        receivers=tuple(r for r in store.receivers if r.floor == "0"),
        zones=tuple(z for z in store.zones if z.floor == "0"),
    )
