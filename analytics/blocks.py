"""A block of lanes: the tracker, the zone decisions, and a ring of what was said.

A lane is a column of the block that belongs to one tag for the life of a visit.
Both answers, live and final, are kept for the last ticks until their rows settle.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.levels import TickLevels
from analytics.tracker import Model, Tracker

LIVE, FINAL = 0, 1
UNDECIDED = -1
MARGIN_LIVE, MARGIN_FINAL = 0.2, 0.35
"""A zone is left when another one is more probable by this much."""

I16 = NDArray[np.int16]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """How zones fall into layers.

    Attributes
    ----------
    zones : per layer, shape (zones of the layer,), int16, index into `Store.zones`
    cell_m : float [m], edge of a cell, whose own spread counts into sigma
    """

    zones: tuple[I16, ...]
    cell_m: float

    def to_store_zone(self, layer: int, decided: I16) -> I16:
        """Translate decisions within a layer to zones of the store, -1 = in none."""
        table = np.concatenate([self.zones[layer], [-1, -1]]).astype(np.int16)
        return table[decided]


def decide(mass: F32, current: I16, *, margin: float, may_change: NDArray[np.bool_]) -> I16:
    """Decide which zone each lane is in.

    Parameters
    ----------
    mass : shape (zones, lanes), float32, probabilities of disjoint zones
    current : shape (lanes,), int16, the zone decided before, `UNDECIDED` = none yet
    margin : float, by which another zone must be more probable
    may_change : shape (lanes,), bool; without new evidence a decision stands

    Returns
    -------
    decided : shape (lanes,), int16

    Examples
    --------
    >>> import numpy as np
    >>> mass = np.array([[0.5, 0.3], [0.5, 0.7]], np.float32)
    >>> decide(mass, np.zeros(2, np.int16), margin=0.2, may_change=np.ones(2, bool)).tolist()
    [0, 1]
    """
    best = mass.argmax(0).astype(np.int16)
    lanes = np.arange(mass.shape[1])
    held = np.where(current >= 0, mass[np.maximum(current, 0), lanes], -1.0)
    change = may_change & (mass[best, lanes] > held + np.where(current >= 0, margin, 0.0))
    return np.where(change, best, current).astype(np.int16)


class Block:
    """Lanes `base` to `base + lanes - 1` of the engine.

    Parameters
    ----------
    model : the store's matrices
    layers : its zone layers
    base : int, number of the first lane
    lanes : int, width
    depth : int, ticks the corrected answer looks back over
    ring : int, ticks of answers kept
    """

    def __init__(
        self, model: Model, layers: Layers, *, base: int, lanes: int, depth: int, ring: int
    ) -> None:
        self.base, self.lanes, self.ring = base, lanes, ring
        self.tracker = Tracker(model, lanes=lanes, depth=depth)
        self.levels = TickLevels(model.receivers, lanes)
        self._layers = layers
        self._zones = sum(len(zones) for zones in layers.zones)
        self._origin = np.array(model.origin_m, np.float32)
        count = len(layers.zones)
        self.decided = np.full((2, count, lanes), UNDECIDED, np.int16)
        self.place = np.full((2, ring, 3, lanes), np.nan, np.float32)
        self.zone = np.full((2, ring, count, lanes), UNDECIDED, np.int16)
        self.zone_p = np.zeros((2, ring, count, lanes), np.float32)
        self.reach = np.zeros((ring, len(model.readout) - 4 - self._zones, lanes), np.float32)
        self.final_tick_of = np.full(ring, -1, np.int64)
        self.live_tick_of = np.full(ring, -1, np.int64)
        self.age = np.full((ring, lanes), 1 << 30, np.int32)
        self.readings = np.zeros((ring, lanes), np.int32)

    def forget(self, lane: int) -> None:
        """Start a lane for a new tag: without a decision, and never near a shelf."""
        self.decided[:, :, lane] = UNDECIDED
        self.reach[:, :, lane] = 0.0

    def was_stepped(self, tick: int) -> bool:
        """Tell whether the ring holds the live answer of a tick."""
        return bool(self.live_tick_of[tick % self.ring] == tick)

    def record(
        self,
        stage: int,
        tick: int,
        readout: F32,
        evidence: NDArray[np.bool_],
        present: NDArray[np.bool_] | None = None,
    ) -> None:
        """Keep a tick's answer and decide the zones.

        Parameters
        ----------
        stage : `LIVE` or `FINAL`
        tick : int
        readout : shape (4 + zones + shelves, lanes), see `analytics.tracker.Model`
        evidence : shape (lanes,), bool, heard or tapped in this tick
        present : shape (lanes,), bool, whose corrected place counts for shelves; default all
        """
        slot = tick % self.ring
        x, y = readout[0], readout[1]
        variance = np.maximum(readout[2] - x * x, 0) + np.maximum(readout[3] - y * y, 0)
        place = self.place[stage, slot]
        np.add(x, self._origin[0], out=place[0])
        np.add(y, self._origin[1], out=place[1])
        np.sqrt(variance + np.float32(self._layers.cell_m**2 / 6), out=place[2])
        margin = MARGIN_LIVE if stage == LIVE else MARGIN_FINAL
        lanes = np.arange(self.lanes)
        for layer, zones in enumerate(self._layers.zones):
            mass = np.empty((len(zones) + 1, self.lanes), np.float32)
            np.clip(readout[4 + zones], 0, 1, out=mass[:-1])
            np.clip(1 - mass[:-1].sum(0), 0, 1, out=mass[-1])
            decided = decide(mass, self.decided[stage, layer], margin=margin, may_change=evidence)
            self.decided[stage, layer] = decided
            self.zone[stage, slot, layer] = decided
            self.zone_p[stage, slot, layer] = mass[np.maximum(decided, 0), lanes]
        if stage == LIVE:
            self.live_tick_of[slot] = tick
        else:
            reach = readout[4 + self._zones :]
            self.reach[slot] = reach if present is None else np.where(present, reach, 0.0)
            self.final_tick_of[slot] = tick

    def reach_at(self, tick: int, shelf: int) -> F32:
        """Return each lane's corrected probability of being in reach of a shelf, else 0."""
        slot = tick % self.ring
        if self.final_tick_of[slot] != tick:
            return np.zeros(self.lanes, np.float32)
        found: F32 = self.reach[slot, shelf]
        return found
