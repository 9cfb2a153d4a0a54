"""A small shelf on which one signal at a time is played: the single-signal cases of the reference.

Rules of the file: the store has one shelf of twelve plates; `Bench` holds the load of
every plate over time, and the test bends it.
"""

import numpy as np

from analytics.shelf import ShelfCore
from analytics.store import Product, Sensor, Shelf, Store
from tests.analytics.shelf_signals import START_NS

UNITS_G = (100.0, 300.0, 640.0, 1500.0, 70.0, 1250.0)


def small_store(plates=12, units=UNITS_G, store_id="bench", shelf_id="shelf-1"):
    """Two plates for each product, in order."""
    return Store(
        id=store_id,
        name="",
        timezone="UTC",
        outline_m=(),
        receivers=(),
        shelves=(
            Shelf(
                id=shelf_id,
                zone="z",
                sensors=tuple(Sensor(id=f"{shelf_id}-p{k}", kind="mass") for k in range(plates)),
                products=tuple(
                    Product(
                        gtin=f"{i:014d}",
                        name="",
                        category="c",
                        unit_g=u,
                        sensors=tuple(f"{shelf_id}-p{k}" for k in (2 * i, 2 * i + 1) if k < plates),
                    )
                    for i, u in enumerate(units)
                ),
            ),
        ),
    )


class Bench:
    """Loads of one shelf over time; every method bends them."""

    def __init__(self, secs=60.0, fs=60.0, plates=12, noise_g=0.7, seed=0):
        self.t = np.arange(int(secs * fs)) / fs
        self.rng = np.random.default_rng(seed)
        self.load = np.zeros((len(self.t), plates))
        for i, u in enumerate(UNITS_G):
            self.load[:, 2 * i : 2 * i + 2] += 5 * u
        self.noise_g = noise_g

    def step(self, t0, plate, grams, tau=0.07):
        d = np.clip(self.t - t0, 0, None)
        self.load[:, plate] += grams * (1 - np.exp(-d / tau))
        return self

    def press(self, t0, plate, grams, hold):
        self.load[(self.t >= t0) & (self.t < t0 + hold), plate] += grams
        return self

    def rows(self):
        p = self.load.shape[1]
        value = self.load + self.rng.normal(0, self.noise_g, self.load.shape)
        value = np.round(value / 0.241) * 0.241
        t_ns = START_NS + np.round(np.repeat(self.t[:, None], p, 1) * 1e9).astype(np.int64)
        sensor = np.broadcast_to(np.arange(p, dtype=np.int16), value.shape)
        return t_ns.ravel(), sensor.ravel(), value.ravel()

    def play(self, store=None, rows=None):
        core = ShelfCore(small_store() if store is None else store)
        core.add(*(self.rows() if rows is None else rows))
        out = core.finish()
        self.core = core
        return out


def booked(out):
    """(kind, product, quantity, onset in s) of the final item events."""
    return [
        (e.kind, int(e.gtin), e.quantity, round((e.t_ns - START_NS) / 1e9, 1))
        for e in out.events
        if e.status == "final" and e.kind in ("pick", "return", "restock")
    ]


def kinds(out):
    """Kinds of all final events."""
    return [e.kind for e in out.events if e.status == "final"]
