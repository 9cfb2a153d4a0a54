"""Seeded input for the benchmarks: people who walk through the demo store, as columns.

Rules of the file: no product code is measured here; people walk straight, turn back at
the walls and stand still most of the time; levels follow the log-distance law with 4 dB
of noise, and every receiver is as likely to hear a packet as any other.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store
from ingest.identifiers import pseudonym
from ingest.store_file import read_store
from simulators.command import DEMO_STORE

START_NS = 1_764_000_000 * 10**9
READINGS_PER_S = 7.0
SPEED_M_S, LEG_S = 0.8, 8.0
"""Everybody walks this fast for this long, then stands for the rest of 30 to 90 s."""
COARSE_CELL_M = 3.0
"""With cells of this size the demo store has 35, about one state per zone."""
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
    store = read_store(DEMO_STORE)
    return store if cell_m is None else replace(store, cell_m=cell_m)


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


def pseudonyms(count: int) -> list[str]:
    """Return the pseudonyms of the people of `make_readings`.

    Parameters
    ----------
    count : int, people
    """
    return [pseudonym(f"name:walker-{number}", _KEY) for number in range(count)]
