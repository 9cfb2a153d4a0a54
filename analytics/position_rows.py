"""Rows of the positions table, from what the blocks' rings hold.

Rules of the file: rows are built for many ticks at once, and rounded as published:
centimetres and thousandths.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import FINAL, LIVE, Block, Layers
from analytics.rows import Positions
from analytics.store import Store

KNOWN, UNKNOWN, OUTSIDE = 0, 1, 2
STAGES = (LIVE, FINAL)

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said of some lanes in one tick, or of one lane in some ticks.

    Attributes
    ----------
    place : shape (stages, 3, n), float32 [m], x, y and sigma
    floor : shape (stages, n), uint8
    zone : shape (stages, layers, n), int16, decisions within their layer
    zone_p : shape (stages, layers, n), float32
    """

    place: NDArray[np.float32]
    floor: NDArray[np.uint8]
    zone: NDArray[np.int16]
    zone_p: NDArray[np.float32]


def said_in(block: Block, tick: int, local: I64) -> Said:
    """Return what a block said of some of its lanes in one tick."""
    slot = tick % block.ring
    return Said(
        place=block.place[:, slot][..., local],
        floor=block.floor[:, slot][..., local],
        zone=block.zone[:, slot][..., local],
        zone_p=block.zone_p[:, slot][..., local],
    )


def joined(parts: list[Said]) -> Said:
    """Return what was said in several blocks as one."""
    if len(parts) == 1:
        return parts[0]
    return Said(
        place=np.concatenate([said.place for said in parts], axis=-1),
        floor=np.concatenate([said.floor for said in parts], axis=-1),
        zone=np.concatenate([said.zone for said in parts], axis=-1),
        zone_p=np.concatenate([said.zone_p for said in parts], axis=-1),
    )


def said_of(block: Block, local: int, ticks: I64) -> Said:
    """Return what a block said of one lane in some ticks."""
    slots = ticks % block.ring
    return Said(
        place=block.place[..., local][:, slots].swapaxes(1, 2),
        floor=block.floor[..., local][:, slots],
        zone=block.zone[..., local][:, slots].swapaxes(1, 2),
        zone_p=block.zone_p[..., local][:, slots].swapaxes(1, 2),
    )


def first_of(said: Said, n: int) -> Said:
    """Return the first ticks (or lanes) of what was said."""
    return Said(
        place=said.place[..., :n],
        floor=said.floor[..., :n],
        zone=said.zone[..., :n],
        zone_p=said.zone_p[..., :n],
    )


def floors_of_zones(store: Store) -> NDArray[np.uint8] | None:
    """Return the floor of each zone, shape (zones,); None with one floor."""
    if len(store.floors) == 1:
        return None
    return np.array([store.floor_index(zone.floor) for zone in store.zones], np.uint8)


class PositionRows:
    """Collects stretches of the positions table.

    Parameters
    ----------
    layers : the store's zone layers
    tick_ns : int [ns]
    """

    def __init__(self, layers: Layers, tick_ns: int) -> None:
        self._layers, self._tick_ns = layers, tick_ns
        self._parts: list[tuple[NDArray[np.generic], ...]] = []

    def add(self, tick: I64, tag: NDArray[np.int32], said: Said, known: NDArray[np.bool_]) -> None:
        """Add the rows of both stages and all layers.

        Parameters
        ----------
        tick : shape (n,), int64
        tag : shape (n,), int32
        said : of these n
        known : shape (n,), bool, False where the place is unknown by now
        """
        for stage in STAGES:
            place = np.where(known, said.place[stage], np.nan)
            for layer in range(len(self._layers.zones)):
                zone = self._layers.to_store_zone(layer, said.zone[stage, layer])
                zone = np.where(known, zone, -1)
                state = np.where(known, np.where(zone >= 0, KNOWN, OUTSIDE), UNKNOWN)
                zone_p = np.where(known, said.zone_p[stage, layer], np.nan)
                which = (np.full(len(tick), stage, np.uint8), np.full(len(tick), layer, np.uint16))
                floor = self._layers.to_floor(zone, said.floor[stage])
                self._parts.append((tick, tag, *which, zone, state, floor, zone_p, *place))

    def add_unknown(self, tick: I64, tag: int) -> None:
        """Add the rows of one tag in ticks in which nothing was known of it."""
        n, layers = len(tick), len(self._layers.zones)
        nowhere = Said(
            place=np.full((2, 3, n), np.nan, np.float32),
            floor=np.zeros((2, n), np.uint8),
            zone=np.full((2, layers, n), -1, np.int16),
            zone_p=np.full((2, layers, n), np.nan, np.float32),
        )
        self.add(tick, np.full(n, tag, np.int32), nowhere, np.zeros(n, np.bool_))

    def take(self) -> list[Positions]:
        """Return what was collected since the last call, as at most one stretch."""
        if not self._parts:
            return []
        tick, tag, stage, layer, zone, state, floor, zone_p, x, y, sigma = (
            np.concatenate(column) for column in zip(*self._parts, strict=True)
        )
        self._parts = []
        return [
            Positions(
                t_ns=(tick + 1) * self._tick_ns,
                tag=tag.astype(np.int32),
                stage=stage.astype(np.uint8),
                layer=layer.astype(np.uint16),
                zone=zone.astype(np.int16),
                zone_state=state.astype(np.uint8),
                floor=np.where(state == UNKNOWN, 0, floor).astype(np.uint8),
                zone_p=_rounded(zone_p, 3),
                x_m=_rounded(x, 2),
                y_m=_rounded(y, 2),
                sigma_m=_rounded(sigma, 2),
            )
        ]


def _rounded(values: NDArray[np.generic], digits: int) -> NDArray[np.float32]:
    return np.round(values.astype(np.float64), digits).astype(np.float32)
