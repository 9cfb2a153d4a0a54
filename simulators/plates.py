"""Load cells under the shelves: stock, items that differ in mass, noise, drift, hands.

Rules of the file: the load of a plate is the sum of what stands on it, so every pick
and return moves exactly the mass of one item; what the plate *says* adds gain error,
tare, drift, noise, pressing hands and the step of its converter. Parameters follow
reference/shelf.md section 5, in a simpler form: no ringing, cross-talk, dead plates
or spikes yet, and a restock arrives as one tray.
"""

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store
from simulators.chunk import Samples
from simulators.places import products_of

STOCK = (8, 16)  # least and most units of a product in the morning
LOW_SHARE = 0.3  # of the morning's stock: below it somebody restocks
RESTOCK_WAIT_S = (60.0, 180.0)
AWAY_MM = 1800.0  # what a range sensor sees with nobody before it


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One unit: its mass and how it spreads over the plates it stands on."""

    mass_g: float
    sensors: tuple[int, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateNoise:
    """How far plates and items are from ideal.

    Attributes
    ----------
    noise_g, noise_sigma, noise_max_g : lognormal median, spread and cap of the sd per plate
    step_g : what one step of the converter is worth
    drift_g : sd of the random walk over ten minutes
    gain_sd, unit_sd : relative errors of a plate, of one item's mass
    overhang_p : chance that an item stands on two plates where its product has two
    press_p : chance that a hand leans on the plate while taking
    """

    noise_g: float = 0.7
    noise_sigma: float = 0.6
    noise_max_g: float = 4.0
    step_g: float = 0.241
    drift_g: float = 3.0
    gain_sd: float = 0.004
    unit_sd: float = 0.01
    overhang_p: float = 0.35
    press_p: float = 0.6


@dataclass(slots=True)
class _Facing:
    sensors: tuple[int, ...]
    unit_g: float
    full: int
    items: deque[Item] = field(default_factory=deque)
    restock_ns: int = 0


class Plates:
    """The shelves of a store as load cells.

    Parameters
    ----------
    store : shelves, sensors and products
    noise : how far from ideal
    rng : source of chance
    sample_hz : float [Hz], samples per sensor and second, all sensors alike
    """

    def __init__(
        self, store: Store, *, noise: PlateNoise, rng: np.random.Generator, sample_hz: float
    ) -> None:
        sensors = [sensor for _, sensor in store.sensors]
        count = len(sensors)
        self._rng, self._noise = rng, noise
        self._period_ns = round(1e9 / sample_hz)
        self._is_mass = np.array([s.kind == "mass" for s in sensors], dtype=np.bool_)
        self._load = np.zeros(count)
        spread = np.exp(rng.normal(0.0, noise.noise_sigma, count))
        self._sd = np.minimum(noise.noise_g * spread, noise.noise_max_g)
        self._gain = 1.0 + rng.normal(0.0, noise.gain_sd, count)
        self._tare = rng.normal(0.0, 2.0, count)
        self._steps: list[tuple[int, Item, float]] = []
        self._presses: list[tuple[int, int, Item, float]] = []
        index = {sensor.id: at for at, sensor in enumerate(sensors)}
        self._facings = []
        for _, product in products_of(store):
            under = tuple(index[name] for name in product.sensors if self._is_mass[index[name]])
            full = int(rng.integers(STOCK[0], STOCK[1], endpoint=True))
            facing = _Facing(sensors=under, unit_g=product.unit_g, full=full)
            self._facings.append(facing)
            for _ in range(full):
                item = self._new_item(facing)
                facing.items.append(item)
                at, grams = _spread(item, item.mass_g)
                self._load[at] += grams

    @property
    def load_g(self) -> NDArray[np.float64]:
        """What really stands on each sensor, shape (sensors,), float64 [g]."""
        load = self._load.copy()
        for _, item, sign in self._steps:
            at, grams = _spread(item, sign * item.mass_g)
            load[at] += grams
        return load

    def stock(self, product: int) -> int:
        """Return how many units of a product stand on its shelf.

        Parameters
        ----------
        product : index into the store's products
        """
        return len(self._facings[product].items)

    def touch(self, product: int, t_ns: int) -> int:
        """Press a hand on a product for a moment.

        Parameters
        ----------
        product : index into the store's products
        t_ns : when it begins

        Returns
        -------
        end_ns : when the hand is gone
        """
        seconds = float(self._rng.uniform(0.15, 0.6))
        facing = self._facings[product]
        end_ns = t_ns + round(seconds * 1e9)
        if facing.items:
            grams = float(self._rng.uniform(20.0, 250.0))
            self._presses.append((t_ns, end_ns, facing.items[0], grams))
        return end_ns

    def pick(self, product: int, t_ns: int) -> tuple[Item, int] | None:
        """Take the front item of a product, perhaps leaning on the plate first.

        Parameters
        ----------
        product : index into the store's products
        t_ns : when the hand arrives

        Returns
        -------
        item, lift_ns : what was taken and when it left the plate; None = the facing is empty
        """
        facing = self._facings[product]
        if not facing.items:
            return None
        pressed = self._rng.random() < self._noise.press_p
        lift_ns = self.touch(product, t_ns) if pressed else t_ns
        item = facing.items.popleft()
        self._steps.append((lift_ns, item, -1.0))
        return item, lift_ns

    def put_back(self, product: int, item: Item, t_ns: int) -> None:
        """Put an item back at the front of its facing.

        Parameters
        ----------
        product : index into the store's products
        item : what `pick` gave
        t_ns : when it stands
        """
        self._facings[product].items.appendleft(item)
        self._steps.append((t_ns, item, 1.0))

    def restock(self, start_ns: int, end_ns: int) -> list[tuple[int, int, int]]:
        """Fill up what ran low and whose staff has come.

        Parameters
        ----------
        start_ns, end_ns : the stretch to look at

        Returns
        -------
        rows : (t_ns, product, units) of each restock
        """
        rows = []
        for product, facing in enumerate(self._facings):
            if not facing.restock_ns and len(facing.items) <= LOW_SHARE * facing.full:
                wait_s = float(self._rng.uniform(*RESTOCK_WAIT_S))
                facing.restock_ns = end_ns + round(wait_s * 1e9)
            elif facing.restock_ns and facing.restock_ns < end_ns:
                t_ns = max(start_ns, facing.restock_ns)
                missing = facing.full - len(facing.items)
                for _ in range(missing):
                    item = self._new_item(facing)
                    facing.items.append(item)
                    self._steps.append((t_ns, item, 1.0))
                facing.restock_ns = 0
                rows.append((t_ns, product, missing))
        return rows

    def sample(
        self, start_ns: int, end_ns: int, *, nearest_mm: NDArray[np.float64] | None = None
    ) -> Samples:
        """Read every sensor at the sample times of a stretch, and forget what is past.

        Parameters
        ----------
        start_ns, end_ns : the stretch, the end not included
        nearest_mm : shape (sensors,), float64 [mm], distance of whoever stands before a
            range sensor, NaN = nobody
        """
        count = len(self._load)
        first = -(-start_ns // self._period_ns)
        last = -(-end_ns // self._period_ns)
        t_ns = np.arange(first, last, dtype=np.int64) * self._period_ns
        true = np.repeat(self._load[None, :], len(t_ns), axis=0)
        for step_ns, item, sign in self._steps:
            at, grams = _spread(item, sign * item.mass_g)
            true[:, at] += (t_ns >= step_ns)[:, None] * grams
            if step_ns < end_ns:
                self._load[at] += grams
        for begin_ns, stop_ns, item, press_g in self._presses:
            pressed = (t_ns >= begin_ns) & (t_ns < stop_ns)
            at, grams = _spread(item, press_g)
            true[:, at] += pressed[:, None] * grams
        self._steps = [step for step in self._steps if step[0] >= end_ns]
        self._presses = [press for press in self._presses if press[1] >= end_ns]
        walk = self._noise.drift_g * math.sqrt((end_ns - start_ns) / 600e9)
        self._tare += self._rng.normal(0.0, walk, count)
        shown = true * self._gain + self._tare
        shown += self._rng.normal(0.0, 1.0, shown.shape) * self._sd
        shown = np.round(np.round(shown / self._noise.step_g) * self._noise.step_g, 2)
        if not self._is_mass.all():
            seen = np.full(count, np.nan) if nearest_mm is None else nearest_mm
            away = np.where(np.isnan(seen), AWAY_MM, seen)
            ranges = np.round(away + self._rng.normal(0.0, 0.01, shown.shape) * away)
            shown = np.where(self._is_mass, shown, ranges)
        sensor = np.tile(np.arange(count, dtype=np.int16), len(t_ns))
        return Samples(t_ns=np.repeat(t_ns, count), sensor=sensor, value=shown.ravel())

    def _new_item(self, facing: _Facing) -> Item:
        mass_g = facing.unit_g * (1.0 + self._noise.unit_sd * float(self._rng.normal()))
        under = facing.sensors
        if not under:
            return Item(mass_g=mass_g, sensors=(), shares=())
        at = int(self._rng.integers(len(under)))
        if len(under) > 1 and self._rng.random() < self._noise.overhang_p:
            at = min(at, len(under) - 2)
            share = float(self._rng.uniform(0.2, 0.8))
            return Item(mass_g=mass_g, sensors=under[at : at + 2], shares=(share, 1.0 - share))
        return Item(mass_g=mass_g, sensors=(under[at],), shares=(1.0,))


def _spread(item: Item, grams: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the sensors under an item, and what so many grams on it put on each."""
    return np.array(item.sensors, dtype=np.int64), grams * np.asarray(item.shares)
