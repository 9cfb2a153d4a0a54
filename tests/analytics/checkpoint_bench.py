"""Bytes and seconds of a checkpoint: ``python -m tests.analytics.checkpoint_bench 200 900``.

The first number is of tags followed at the end, the second of tags that came in hundreds,
were heard for five seconds each, and are at rest. The store has 288 cells, 12 receivers
and two layers; the lag is 10 s.
"""

import dataclasses
import sys
import time

import numpy as np

from analytics.cells import build_cells
from analytics.checkpoint import restore, save
from analytics.radio_map import radio_map_from_geometry
from tests.analytics.stores import SECOND, START_NS, Bench, receivers, shop

WAVE, EVERY_S = 100, 60


def larger_shop():
    """Return the shop of the tests, 20 m × 15 m."""
    small = shop(shelves=True)

    def larger(polygon):
        return tuple((2.0 * x, 2.5 * y) for x, y in polygon)

    return dataclasses.replace(
        small,
        outline_m=larger(small.outline_m),
        zones=tuple(dataclasses.replace(z, polygon_m=larger(z.polygon_m)) for z in small.zones),
        obstacles=tuple(
            dataclasses.replace(o, polygon_m=larger(o.polygon_m)) for o in small.obstacles
        ),
        receivers=receivers(*[(x, y) for x in (0, 7, 13, 20) for y in (0, 7, 15)]),
    )


def main(followed: int, resting: int) -> None:
    """Print what a checkpoint needs."""
    store = larger_shop()
    bench = Bench(store, [f"p_{i}" for i in range(followed + resting)])
    rng = np.random.default_rng(1)
    place = rng.uniform([0, 0], [20, 15], (followed + resting, 2))
    hears = np.array([receiver.position_m[:2] for receiver in store.receivers])
    waves = -(-resting // WAVE)
    for at_s in range(EVERY_S * (waves + 1)):
        tags = np.arange(followed)
        wave, since_s = divmod(at_s, EVERY_S)
        if wave < waves and since_s < 5:
            come = followed + np.arange(wave * WAVE, min((wave + 1) * WAVE, resting))
            tags = np.concatenate([tags, come])
        tag = np.repeat(tags, 5).astype(np.int32)
        receiver = rng.integers(0, 12, len(tag)).astype(np.int16)
        far_m = np.hypot(*(place[tag] - hears[receiver]).T) + 1
        rssi = np.clip(-59 - 20 * np.log10(far_m) + rng.normal(0, 4, len(tag)), -110, 0)
        t_ns = START_NS + at_s * SECOND + rng.integers(0, SECOND, len(tag))
        bench.engine.add_readings(t_ns, receiver, tag, rssi)
        bench.engine.advance(START_NS + (at_s + 1) * SECOND)
    grid = build_cells(store)
    radio_map = radio_map_from_geometry(store, grid)
    began_s = time.perf_counter()
    data = save(bench.engine)
    saved_s = time.perf_counter()
    restore(
        data, store, radio_map, grid=grid,
        name_of=lambda ids: [bench.names[i] for i in ids.tolist()],
    )  # fmt: skip
    restored_s = time.perf_counter()
    print(
        f"{len(grid)} cells, {followed} followed, {resting} at rest: {len(data):,} bytes, "
        f"saved in {saved_s - began_s:.2f} s, restored in {restored_s - saved_s:.2f} s"
    )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
