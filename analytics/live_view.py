"""Who is where now: the causal answer that the page and the events show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import LIVE, Layers
from analytics.lanes import Lanes
from analytics.seats import Seats
from analytics.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Who is where now, causally.

    Attributes
    ----------
    t_ns : int [ns], end of the last closed tick
    tag : shape (n,), int32
    zone : shape (n,), int16, index into `Store.zones` in layer main, -1 = in none
    zone_p, x_m, y_m, sigma_m : shape (n,), float32
    floor : shape (n,), uint8, index into `Store.floors`
    people : zone id to tags in it, all layers
    queues : zone id to tags in it, zones of kind queue
    """

    t_ns: int
    tag: NDArray[np.int32]
    zone: NDArray[np.int16]
    zone_p: NDArray[np.float32]
    x_m: NDArray[np.float32]
    y_m: NDArray[np.float32]
    sigma_m: NDArray[np.float32]
    floor: NDArray[np.uint8]
    people: dict[str, int]
    queues: dict[str, int]


def live_view(
    store: Store, layers: Layers, lanes: Lanes, seats: Seats, *, tick: int, hold: int
) -> Live:
    """Collect the live answers of a closed tick.

    Parameters
    ----------
    store, layers, lanes, seats : the engine's parts
    tick : int, the last closed tick
    hold : int, ticks without evidence after which a tag is no longer shown
    """
    parts: list[tuple[NDArray[np.generic], ...]] = []
    counts = np.zeros(len(store.zones), np.int64)
    for block in lanes.blocks:
        seat = lanes.seat[block.base : block.end]
        here = np.flatnonzero((seat >= 0) & (tick - seats.last[seat] <= hold))
        slot = tick % block.ring
        for layer in range(len(layers.zones)):
            zone = layers.to_store_zone(layer, block.decided[LIVE, layer, here])
            counts += np.bincount(zone[zone >= 0], minlength=len(counts))
        zone = layers.to_store_zone(0, block.decided[LIVE, 0, here])
        place = np.round(block.place[LIVE, slot][:, here], 2)
        zone_p = np.round(block.zone_p[LIVE, slot, 0, here], 3)
        floor = layers.to_floor(zone, block.floor[LIVE, slot, here])
        parts.append((seats.tag[seat[here]], zone, floor, zone_p, *place))
    if not parts:
        none, nowhere = np.empty(0, np.float32), np.empty(0, np.int16)
        parts = [(np.empty(0, np.int32), nowhere, nowhere, none, none, none, none)]
    tag, zone_of, floor_of, p, x, y, sigma = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    people = {zone.id: int(n) for zone, n in zip(store.zones, counts, strict=True)}
    return Live(
        t_ns=(tick + 1) * store.rules.tick_ns,
        tag=tag.astype(np.int32),
        zone=zone_of.astype(np.int16),
        zone_p=p.astype(np.float32),
        x_m=x.astype(np.float32),
        y_m=y.astype(np.float32),
        sigma_m=sigma.astype(np.float32),
        floor=floor_of.astype(np.uint8),
        people=people,
        queues={zone.id: people[zone.id] for zone in store.zones if zone.kind == "queue"},
    )
