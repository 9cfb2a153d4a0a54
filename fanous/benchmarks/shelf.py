"""How fast the shelf core is: plates at 60 Hz with noise, picks and returns.

Rules of the file: samples are made portion by portion before each is measured, so that
memory stays small; CPU time of one thread. The condition follows the reference: 60 Hz,
0.7 g of noise, one pick or return per shelf and minute, two plates for each product.
"""

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from analytics.shelf import ShelfCore
from analytics.store import Product, Sensor, Shelf, Store
from fanous.benchmarks.crowd import START_NS
from fanous.benchmarks.figure import Figure, Say

RATE_HZ = 60
PLATES_PER_SHELF = 12
UNIT_G = 300.0
PORTION_S = 2
TARGET_PLATES = 4_000

Portion = tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.float64]]


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure plate-samples a second, and what 4,000 plates would take of one core.

    Parameters
    ----------
    quick : fewer plates and seconds
    say : told what is being measured
    """
    shelves, seconds = (25, 20) if quick else (333, 40)
    plates = shelves * PLATES_PER_SHELF
    say(f"shelf core, {plates} plates at {RATE_HZ} Hz, {seconds} s")
    core = ShelfCore(_store(shelves))
    samples, spent_s, events = 0, 0.0, 0
    for number, (t_ns, sensor, value) in enumerate(_portions(shelves, seconds, seed=5)):
        until_ns = START_NS + (number + 1) * PORTION_S * 10**9
        began_s = time.process_time()
        core.add(t_ns, sensor, value)
        events += len(core.advance(until_ns).events)
        spent_s += time.process_time() - began_s
        samples += len(t_ns)
    began_s = time.process_time()
    events += len(core.finish().events)
    spent_s += time.process_time() - began_s
    say(f"{events} shelf events found")
    rate = samples / max(spent_s, 1e-9)
    return (
        Figure(name="shelf.samples", value=rate, unit="plate-samples/s", better="higher"),
        Figure(
            name="shelf.core_share_4000_plates",
            value=TARGET_PLATES * RATE_HZ / rate,
            unit="of a core",
            better="lower",
        ),
    )


def _store(shelves: int) -> Store:
    return Store(
        id="bench",
        name="",
        timezone="UTC",
        outline_m=(),
        receivers=(),
        shelves=tuple(_shelf(f"shelf-{number}") for number in range(shelves)),
    )


def _shelf(name: str) -> Shelf:
    plates = [f"{name}-p{plate}" for plate in range(PLATES_PER_SHELF)]
    return Shelf(
        id=name,
        zone="z",
        sensors=tuple(Sensor(id=plate, kind="mass") for plate in plates),
        products=tuple(
            Product(
                gtin=f"{at:014d}", name="", category="c", unit_g=UNIT_G + 50 * at,
                sensors=tuple(plates[at : at + 2]),
            )
            for at in range(0, PLATES_PER_SHELF, 2)
        ),
    )  # fmt: skip


def _portions(shelves: int, seconds: int, *, seed: int) -> Iterator[Portion]:
    rng = np.random.default_rng(seed)
    plates = shelves * PLATES_PER_SHELF
    unit_g = UNIT_G + 50.0 * (np.arange(plates) % PLATES_PER_SHELF // 2 * 2)
    load = 5 * unit_g
    ticks = PORTION_S * RATE_HZ
    t_ns = np.round(np.arange(ticks) / RATE_HZ * 1e9).astype(np.int64)
    sensor = np.tile(np.arange(plates, dtype=np.int16), ticks)
    for number in range(seconds // PORTION_S):
        value = np.repeat(load[None], ticks, axis=0)
        if number >= 3:  # plates first settle
            moved = rng.random(plates) < PORTION_S / 60 / PLATES_PER_SHELF
            sign = np.where((load > 2 * unit_g) & (rng.random(plates) < 0.7), -1.0, 1.0)
            step = np.where(moved, sign * unit_g, 0.0)
            begin = rng.integers(0, ticks // 2, plates)
            late = np.clip(np.arange(ticks)[:, None] - begin, 0, None) / RATE_HZ
            value += step * (1 - np.exp(-late / 0.07))
            load += step
        value += rng.normal(0.0, 0.7, value.shape)
        when = START_NS + number * PORTION_S * 10**9 + np.repeat(t_ns, plates)
        yield when, sensor, np.round(value.ravel() / 0.241) * 0.241
