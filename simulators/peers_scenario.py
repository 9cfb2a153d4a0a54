"""The scenario on which open zone rules are compared with ours: six zones, one walk each.

Rules of the file: the same seed gives the same columns; each walk has a generator of
its own, so a walk does not depend on how many others are made. The figures of the
scenario (walks, law, fades, bursts, losses) are those of reference/positioning.md part
3; what that page leaves open is a constant here and said in ``docs/peers.md``: where in
a zone one stands, how high receivers and tag are, and how long a burst lasts.

Sources: log-distance law with normal noise (Rappaport 2002, eq. 4.69); slow fading as a
first-order autoregressive process (Gudmundson 1991); bursts as a two-state chain
(Gilbert 1960).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.store import Receiver, Store, Zone

Float = NDArray[np.float64]

COLUMNS, ROWS = 3, 2
START_NS = 1_764_000_000 * 10**9
RECEIVER_HEIGHT_M, TAG_HEIGHT_M = 2.4, 1.2
STOPS, STAND_S, SPEED_M_S = 12, (20.0, 60.0), 1.0
STAND_M = 1.5
"""People stand at most this far, along x and along y, from the middle of a zone."""
POWER_DBM, EXPONENT = -59.0, 2.7
FAST_SD_DB = 4.0
SLOW_SD_DB, SLOW_S = 4.0, 8.0
BURST_DB, BURST_SHARE, BURST_S = -6.0, 0.1, 3.0
HEARD_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """How the radio differs from what everybody assumes.

    Attributes
    ----------
    exponent : path-loss exponent of the truth
    receiver_db : every receiver is off by this much, up or down by chance [dB]
    tag_db : power of the tag on a body, relative to `POWER_DBM` [dB]
    """

    exponent: float = EXPONENT
    receiver_db: float = 0.0
    tag_db: float = 0.0


NOMINAL = Radio()
MISMATCH = Radio(exponent=3.2, receiver_db=4.0, tag_db=-8.0)
"""Another law, receivers that differ, and a body before the tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walks:
    """What was heard of some walks, and the truth, one walk a tag.

    Attributes
    ----------
    t_ns : shape (n,), int64 [ns], in order
    receiver : shape (n,), int16, index into `Store.receivers`
    tag : shape (n,), int32, number of the walk
    rssi_dbm : shape (n,), float64 [dBm], whole dB
    seconds : shape (walks,), int64 [s], length of each walk
    x_m, y_m : shape (walks, longest), float64 [m], where the tag is at the end of each
        second, NaN after the walk
    zone : shape (walks, longest), int16, index into `Store.zones`, -1 after the walk
    standing : shape (walks, longest), bool, at a stop
    """

    t_ns: NDArray[np.int64]
    receiver: NDArray[np.int16]
    tag: NDArray[np.int32]
    rssi_dbm: Float
    seconds: NDArray[np.int64]
    x_m: Float
    y_m: Float
    zone: NDArray[np.int16]
    standing: NDArray[np.bool_]


def peers_store(zone_m: float, *, cell_m: float = 1.0) -> Store:
    """Return the store of the scenario: three by two zones with a receiver in each middle.

    Parameters
    ----------
    zone_m : float [m], > 0, width and depth of a zone
    cell_m : float [m], > 0, edge of the cells

    Examples
    --------
    >>> [zone.id for zone in peers_store(5.0).zones]
    ['zone-1', 'zone-2', 'zone-3', 'zone-4', 'zone-5', 'zone-6']
    """
    receivers, zones = [], []
    for at in range(COLUMNS * ROWS):
        x0, y0 = at % COLUMNS * zone_m, at // COLUMNS * zone_m
        x1, y1 = x0 + zone_m, y0 + zone_m
        middle = ((x0 + x1) / 2, (y0 + y1) / 2, RECEIVER_HEIGHT_M)
        receivers.append(Receiver(id=f"rx-{at + 1}", position_m=middle))
        polygon = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
        zones.append(Zone(id=f"zone-{at + 1}", name="", kind="aisle", polygon_m=polygon))
    width, depth = COLUMNS * zone_m, ROWS * zone_m
    return Store(
        id=f"peers-{zone_m:g}m",
        name="The peers' scenario",
        timezone="UTC",
        outline_m=((0.0, 0.0), (width, 0.0), (width, depth), (0.0, depth)),
        receivers=tuple(receivers),
        zones=tuple(zones),
        cell_m=cell_m,
    )


def walk_and_hear(store: Store, seeds: Sequence[int], radio: Radio = NOMINAL) -> Walks:
    """Return what the receivers of the store hear of one walk for each seed.

    Parameters
    ----------
    store : of `peers_store`
    seeds : one for each walk, not negative; at least one
    radio : how the radio really is

    Raises
    ------
    ValueError
        There is no seed.
    """
    if not seeds:
        raise ValueError("seeds: expected at least one, found none")
    walks = [_one(store, np.random.default_rng(seed), radio) for seed in seeds]
    longest = max(len(walk.zone) for walk in walks)
    tag = np.repeat(np.arange(len(walks), dtype=np.int32), [len(walk.t_ns) for walk in walks])
    t_ns = np.concatenate([walk.t_ns for walk in walks])
    order = np.argsort(t_ns, kind="stable")

    def padded(rows: list[NDArray[np.generic]], fill: float) -> NDArray[np.generic]:
        found = np.full((len(rows), longest), fill, rows[0].dtype)
        for at, row in enumerate(rows):
            found[at, : len(row)] = row
        return found

    return Walks(
        t_ns=t_ns[order],
        receiver=np.concatenate([walk.receiver for walk in walks])[order],
        tag=tag[order],
        rssi_dbm=np.concatenate([walk.rssi_dbm for walk in walks])[order],
        seconds=np.array([len(walk.zone) for walk in walks]),
        x_m=padded([walk.x_m for walk in walks], np.nan).astype(np.float64),
        y_m=padded([walk.y_m for walk in walks], np.nan).astype(np.float64),
        zone=padded([walk.zone for walk in walks], -1).astype(np.int16),
        standing=padded([walk.standing for walk in walks], 0).astype(np.bool_),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    t_ns: NDArray[np.int64]
    receiver: NDArray[np.int16]
    rssi_dbm: Float
    x_m: Float
    y_m: Float
    zone: NDArray[np.int16]
    standing: NDArray[np.bool_]


def _one(store: Store, rng: np.random.Generator, radio: Radio) -> _Walk:
    position = np.array([r.position_m for r in store.receivers])
    when, place, stands = _legs(position[:, :2], rng)
    ticks = int(when[-1])
    end = np.arange(1.0, ticks + 1)
    x, y = (np.interp(end, when, place[:, axis]) for axis in (0, 1))
    leg = np.clip(np.searchsorted(when, end, side="left") - 1, 0, len(stands) - 1)
    sent_s = np.arange(ticks) + rng.uniform(0.05, 0.95)
    at = np.stack([np.interp(sent_s, when, place[:, axis]) for axis in (0, 1)], axis=1)
    d2 = ((at[:, None] - position[:, :2]) ** 2).sum(2) + (RECEIVER_HEIGHT_M - TAG_HEIGHT_M) ** 2
    shape = (ticks, len(position))
    rssi = POWER_DBM + radio.tag_db - 5 * radio.exponent * np.log10(d2)
    rssi += radio.receiver_db * rng.choice([-1.0, 1.0], len(position))
    rssi += rng.normal(0.0, FAST_SD_DB, shape) + _fading(rng, shape) + _bursts(rng, shape)
    row, receiver = np.nonzero(rng.random(shape) < HEARD_SHARE)
    return _Walk(
        t_ns=START_NS + np.round(sent_s[row] * 1e9).astype(np.int64),
        receiver=receiver.astype(np.int16),
        rssi_dbm=np.clip(np.rint(rssi[row, receiver]), -119, 0),
        x_m=x,
        y_m=y,
        zone=_zone_of(x, y, _zone_m(store)),
        standing=stands[leg],
    )


def _zone_m(store: Store) -> float:
    return store.outline_m[1][0] / COLUMNS


def _zone_of(x_m: Float, y_m: Float, zone_m: float) -> NDArray[np.int16]:
    column = np.clip(x_m // zone_m, 0, COLUMNS - 1)
    row = np.clip(y_m // zone_m, 0, ROWS - 1)
    return (row * COLUMNS + column).astype(np.int16)


def _legs(middle: Float, rng: np.random.Generator) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Return times and places between which one stands or walks straight, and which it is."""
    when, stands = [0.0], list[bool]()
    place: list[Float] = []
    zone = int(rng.integers(len(middle)))
    for _ in range(STOPS):
        zone = (zone + int(rng.integers(1, len(middle)))) % len(middle)  # never the same again
        stop = middle[zone] + rng.uniform(-STAND_M, STAND_M, 2)
        if place:
            when.append(when[-1] + float(np.hypot(*(stop - place[-1]))) / SPEED_M_S)
            stands.append(False)
        when.append(when[-1] + rng.uniform(*STAND_S))
        stands.append(True)
        place += [stop, stop]
    return np.array(when), np.array(place), np.array(stands)


def _fading(rng: np.random.Generator, shape: tuple[int, int]) -> Float:
    """Return slow fading of every receiver, second by second [dB]."""
    keep = np.exp(-1.0 / SLOW_S)
    fresh = rng.normal(0.0, SLOW_SD_DB, shape)
    fading = np.empty(shape)
    fading[0] = fresh[0]
    for second in range(1, len(fading)):
        fading[second] = keep * fading[second - 1] + np.sqrt(1 - keep**2) * fresh[second]
    return fading


def _bursts(rng: np.random.Generator, shape: tuple[int, int]) -> Float:
    """Return the loss by bursts, which come on their own at every receiver [dB]."""
    stop_p = 1.0 / BURST_S
    start_p = stop_p * BURST_SHARE / (1 - BURST_SHARE)
    dice = rng.random(shape)
    on = np.empty(shape, np.bool_)
    on[0] = dice[0] < BURST_SHARE
    for second in range(1, len(on)):
        on[second] = np.where(on[second - 1], dice[second] >= stop_p, dice[second] < start_p)
    return np.where(on, BURST_DB, 0.0)
