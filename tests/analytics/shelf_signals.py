"""Seeded shelf signals with their own ground truth: a compact version of the reference's generator.

Rules of the file: everything comes from one ``np.random.Generator``; a condition
is a frozen record whose defaults are the default condition of the reference
(shelf.md, section 5); the truth holds item moves only (touch and lean are not
events of an item).
"""

from dataclasses import dataclass, field

import numpy as np

from analytics.store import Product, Rules, Sensor, Shelf, Store

START_NS = 1_764_000_000_000_000_000
MIX = {
    "pick": 0.42, "return": 0.08, "handled": 0.10, "touch": 0.12, "lean": 0.03, "double": 0.06,
    "double2": 0.06, "simul": 0.05, "wrong": 0.03, "restock": 0.03, "shuffle": 0.02,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Condition:
    shelves: int = 20
    plates: int = 12
    secs: float = 600.0
    fs: float = 60.0
    noise_med: float = 0.7
    noise_all: float | None = None
    lsb: float = 0.241
    repeats: float = 0.17
    drift: float = 5.0
    xtalk: tuple[float, float] = (0.01, 0.02)
    gain_sd: float = 0.015
    cat_sd: float = 0.04
    unit_sd: float = 0.01
    weights: tuple[float, float] = (50.0, 1500.0)
    dead: float = 0.03
    offset: float = 0.03
    spikes: float = 0.0
    dropouts: float = 0.0
    rezeros: int = 0
    rate: float = 1.2
    gap: float = 4.0
    rest_hold: float = 0.1
    mix: dict = field(default_factory=lambda: dict(MIX))


CONDITIONS = {
    "default": Condition(),
    "5 Hz": Condition(fs=5),
    "10 Hz": Condition(fs=10),
    "2 Hz": Condition(fs=2),
    "noise 5 g": Condition(noise_med=5.0),
    "noise 5 g, 5 Hz": Condition(noise_med=5.0, fs=5),
    "noise 19 g": Condition(noise_all=19.0),
    "catalogue 7 %": Condition(cat_sd=0.07),
    "fruit 4 %": Condition(unit_sd=0.04),
    "drift 50 g": Condition(drift=50.0),
    "cross-talk 5 %": Condition(xtalk=(0.045, 0.055)),
    "LSB 5 g": Condition(lsb=5.0),
    "spikes": Condition(spikes=0.001),
    "dead 12 %": Condition(dead=0.12),
    "dropouts": Condition(dropouts=0.3),
    "re-zeros": Condition(rezeros=4),
    "doubles": Condition(mix={**MIX, "double": 0.35, "double2": 0.35}),
    "restock heavy": Condition(mix={**MIX, "restock": 0.4}),
    "similar weights": Condition(weights=(100.0, 110.0)),
    "touch and lean": Condition(mix={**MIX, "touch": 0.8, "lean": 0.5}, rest_hold=0.4),
    "busy 4/min": Condition(rate=4.0, gap=2.0),
    "busy 10/min": Condition(rate=10.0, gap=1.0),
    "small items": Condition(weights=(20.0, 50.0)),
}


@dataclass(frozen=True, kw_only=True)
class Move:
    t_s: float
    shelf: int
    sign: int
    product: int
    quantity: int
    alien: bool = False


@dataclass(kw_only=True)
class Signals:
    store: Store
    t_ns: np.ndarray
    sensor: np.ndarray
    value: np.ndarray
    truth: list
    dead: np.ndarray
    dead_products: set
    offset: np.ndarray
    contacts: int


def make_store(rng, c):
    shelves, true_u = [], []
    for s in range(c.shelves):
        products, units, at = [], [], 0
        while at < c.plates:
            wide = min(int(rng.choice([1, 2, 3], p=[0.2, 0.5, 0.3])), c.plates - at)
            unit = float(np.exp(rng.uniform(*np.log(c.weights))))
            wrong = float(np.clip(rng.normal(0, c.cat_sd), -2 * c.cat_sd, 2 * c.cat_sd))
            products.append(
                Product(
                    gtin=f"{s:05d}{at:09d}", name=f"product {s}-{at}", category="c",
                    unit_g=round(unit * (1 + wrong), 1),
                    sensors=tuple(f"s{s}-{p}" for p in range(at, at + wide)),
                )
            )  # fmt: skip
            units.append(unit)
            at += wide
        sensors = tuple(Sensor(id=f"s{s}-{p}", kind="mass") for p in range(c.plates))
        shelves.append(Shelf(id=f"shelf-{s}", zone="z", sensors=sensors, products=tuple(products)))
        true_u.append(units)
    store = Store(
        id="signals", name="", timezone="UTC", outline_m=(), receivers=(),
        shelves=tuple(shelves), rules=Rules(),
    )  # fmt: skip
    return store, true_u


class _Player:
    """Plays one shelf's script into its load array (samples, plates)."""

    def __init__(self, rng, c, shelf, number, units, load, t, others):
        self.rng, self.c, self.number, self.units = rng, c, number, units
        self.load, self.t, self.others = load, t, others
        self.truth, self.contacts = [], 0
        order = {s.id: i for i, s in enumerate(shelf.sensors)}
        self.facings = [[order[x] for x in p.sensors] for p in shelf.products]
        self.stock = [
            [self.unit(i) for _ in range(int(rng.integers(6, 15)))] for i in range(len(units))
        ]
        for units_here in self.stock:
            for vector in units_here:
                load += vector
        self.out = []

    def unit(self, i, u=None):
        """One unit's load on each plate."""
        u = self.units[i] if u is None else u
        facing, rng = self.facings[i], self.rng
        n = len(facing)
        width = rng.uniform(0.35, 0.9) * min(n, rng.choice([1, 1, 2, 3]))
        x0 = facing[0] + rng.uniform(0, n - width)
        if rng.random() < 0.35:
            edge = rng.uniform(0, min(0.35, 0.55 * width))
            x0 = facing[0] - edge if rng.random() < 0.5 else facing[0] + n - width + edge
        x0 = np.clip(x0, 0, self.c.plates - width)
        edges = np.arange(self.c.plates)
        share = np.clip(np.minimum(edges + 1, x0 + width) - np.maximum(edges, x0), 0, None)
        mass = u * (1 + rng.normal(0, self.c.unit_sd))
        return (mass * share / share.sum()).astype(np.float32)

    def ramp(self, t0, vector, sign):
        """An item leaves (or comes) with a hand's press, a decay and ringing."""
        rng = self.rng
        if rng.random() < 0.6:
            self.press(t0 - 0.1 if sign < 0 else t0, vector)
        tau = rng.uniform(0.1, 0.33) / 3
        dt = self.t - t0
        on = dt >= 0
        d = dt[on]
        curve = 1 - np.exp(-d / tau)
        ring = rng.uniform(0.05, 0.4) * np.exp(-d / rng.uniform(0.1, 0.33))
        curve += ring * np.sin(2 * np.pi * rng.uniform(3, 12) * d)
        self.load[on] += (sign * curve[:, None] * vector[None, :]).astype(np.float32)

    def press(self, t0, vector, hold=None, force=None):
        rng = self.rng
        length = rng.uniform(0.15, 0.6) if hold is None else hold
        force = rng.uniform(20, 250) if force is None else force
        on = (self.t >= t0) & (self.t < t0 + length)
        shape = np.sin(np.pi * np.clip((self.t[on] - t0) / length, 0, 1)) ** 0.5
        self.load[on] += (force * shape[:, None] * (vector / vector.sum())[None]).astype("f4")

    def pick(self, t0, i):
        if not self.stock[i]:
            return None
        vector = self.stock[i].pop(int(self.rng.integers(len(self.stock[i]))))
        self.ramp(t0, vector, -1)
        self.truth.append(Move(t_s=t0, shelf=self.number, sign=-1, product=i, quantity=1))
        self.out.append(i)
        return vector

    def add(self, t0, i, vector=None, alien=False):
        vector = self.unit(i) if vector is None else vector
        self.ramp(t0, vector, +1)
        if not alien:
            self.stock[i].append(vector)
        self.truth.append(
            Move(t_s=t0, shelf=self.number, sign=1, product=i, quantity=1, alien=alien)
        )

    def play(self, kind, t0):
        rng, n = self.rng, len(self.units)
        i = int(rng.integers(n))
        if kind == "pick":
            self.pick(t0, i)
        elif kind == "return":
            if self.out:
                self.add(t0, self.out.pop(int(rng.integers(len(self.out)))))
        elif kind == "handled":
            if self.pick(t0, i) is not None:
                self.out.pop()
                self.add(t0 + rng.uniform(2.0, 8.0), i)
        elif kind == "touch":
            spot = self.unit(i)
            self.contacts += 1
            if rng.random() < self.c.rest_hold:
                self.press(t0, spot, hold=rng.uniform(2, 4), force=rng.uniform(50, 400))
            else:
                self.press(t0, spot)
        elif kind == "lean":
            wide = int(rng.integers(3, 7))
            at = int(rng.integers(0, max(1, self.c.plates - wide)))
            spread = np.zeros(self.c.plates, np.float32)
            spread[at : at + wide] = rng.uniform(0.5, 1.5, len(spread[at : at + wide]))
            hold = rng.uniform(1, 8)
            self.contacts += 1
            self.press(t0, spread, hold=hold, force=float(wide * rng.uniform(50, 300)))
        elif kind in ("double", "double2", "simul"):
            j = i if kind == "double" else int(rng.integers(n))
            self.pick(t0, i)
            self.pick(t0 + rng.uniform(0.3, 1.0 if kind != "simul" else 1.5), j)
        elif kind == "wrong":
            unit = float(self.others[int(rng.integers(len(self.others)))])
            self.add(t0, i, self.unit(i, unit), alien=True)
        elif kind == "restock":
            for extra in range(int(rng.integers(4, 13))):
                self.add(t0 + extra * rng.uniform(0.75, 0.85), i)
        elif kind == "shuffle" and self.stock[i]:
            vector = self.stock[i].pop()
            self.ramp(t0, vector, -1)
            again = self.unit(i, float(vector.sum()))
            self.ramp(t0 + rng.uniform(0.4, 0.9), again, +1)
            self.stock[i].append(again)


def make_signals(seed, c=None, idle=False):
    """Return `Signals` of one seed and condition; `idle` leaves out everybody."""
    c = Condition() if c is None else c
    rng = np.random.default_rng(seed)
    store, true_u = make_store(rng, c)
    t = np.arange(int(c.secs * c.fs)) / c.fs
    others = [u for units in true_u for u in units]
    values, truth, contacts = [], [], 0
    kinds, weights = list(c.mix), np.array(list(c.mix.values()))
    weights = weights / weights.sum()
    P = c.shelves * c.plates
    dead, offset = rng.random(P) < c.dead, rng.random(P) < c.offset
    for s, shelf in enumerate(store.shelves):
        load = np.zeros((len(t), c.plates), np.float32)
        player = _Player(rng, c, shelf, s, true_u[s], load, t, others)
        now = 20.0 + rng.exponential(60 / c.rate)
        while not idle and now < c.secs - 25:
            player.play(str(rng.choice(kinds, p=weights)), now)
            last = max([now, *(m.t_s for m in player.truth)])
            now = last + c.gap + rng.exponential(max(0.1, 60 / c.rate - c.gap))
        truth += player.truth
        contacts += player.contacts
        values.append(
            _measure(rng, c, load, t, slice(s * c.plates, (s + 1) * c.plates), dead, offset)
        )
    value = np.concatenate(values, axis=1)
    when = START_NS + np.round(t * 1e9).astype(np.int64)
    t_ns = np.repeat(when[:, None], P, axis=1) + rng.integers(0, 2_000_000, (1, P))
    sensor = np.broadcast_to(np.arange(P, dtype=np.int16), value.shape)
    keep = ~_missing(rng, c, t, P)
    where = {x.id: k for k, (_, x) in enumerate(store.sensors)}
    dead_products = {
        (s, i)
        for s, shelf in enumerate(store.shelves)
        for i, p in enumerate(shelf.products)
        if any(dead[where[x]] for x in p.sensors)
    }
    return Signals(
        store=store, t_ns=t_ns[keep], sensor=sensor[keep], value=value[keep].astype(float),
        truth=sorted(truth, key=lambda m: m.t_s), dead=dead, dead_products=dead_products,
        offset=offset, contacts=contacts,
    )  # fmt: skip


def _measure(rng, c, load, t, here, dead, offset):
    n = c.plates
    sd = np.minimum(19.0, rng.lognormal(np.log(c.noise_med), 1.08, n)).clip(0.1)
    if c.noise_all is not None:
        sd = np.full(n, c.noise_all)
    noise = rng.standard_normal(load.shape, dtype=np.float32)
    for p in np.flatnonzero(rng.random(n) < 0.03):
        column = noise[:, p]
        for i in range(1, len(column)):
            column[i] = 0.6 * column[i - 1] + 0.8 * column[i]
    talk = rng.uniform(*c.xtalk, n).astype(np.float32)
    out = load.copy()
    out[:, 1:] += talk[1:] * load[:, :-1]
    out[:, :-1] += talk[:-1] * load[:, 1:]
    out *= (1 + rng.normal(0, c.gain_sd, n)).astype(np.float32)
    out += (rng.uniform(-1, 1, n) * c.drift * (t[:, None] / 600.0)).astype(np.float32)
    out += noise * sd.astype(np.float32)
    out[:, offset[here]] -= out[0, offset[here]] + rng.uniform(150, 400)
    for _ in range(c.rezeros):
        out[t > rng.uniform(30, c.secs - 30)] += np.float32(rng.uniform(-400, 400))
    out = np.round(out / c.lsb) * c.lsb
    stale = rng.random(out.shape) < c.repeats
    stale[0] = False
    rows = np.where(stale, 0, np.arange(len(t))[:, None])
    np.maximum.accumulate(rows, axis=0, out=rows)
    out = np.take_along_axis(out, rows, axis=0)
    if c.spikes:
        hit = rng.random(out.shape) < c.spikes
        out[hit] = rng.choice([0.0, 8388.0, -5000.0, 65535.0], int(hit.sum()))
    out[:, dead[here]] = out[0, dead[here]]
    return out


def _missing(rng, c, t, P):
    gone = np.zeros((len(t), P), bool)
    for p in np.flatnonzero(rng.random(P) < c.dropouts):
        for start in rng.uniform(20, max(21.0, c.secs - 60), 3):
            gone[(t > start) & (t < start + rng.uniform(5, 40)), p] = True
    return gone
