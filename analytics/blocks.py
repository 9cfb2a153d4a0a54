"""A block of lanes: the tracker, the zone decisions, and a ring of what was said.

A lane is a column of the block that belongs to one tag for as long as it is followed.
Both answers, live and final, are kept for the last ticks until their rows settle.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.filter_model import Model
from analytics.tracker import Scratch, Tracker

LIVE, FINAL = 0, 1
UNDECIDED = -1
NEVER = -(1 << 60)
NEVER_TICKS = 1 << 30
"""Age of a lane that has had no evidence."""
MARGIN_LIVE, MARGIN_FINAL = 0.2, 0.35
"""A zone is left when another one is more probable by this much."""

AHEAD = 3
"""Following ticks that the corrected decision looks at."""
FLOOR_LEAST = np.float32(1e-6)
"""Less of a belief on a floor has no place there."""
NEXT_SHARE = np.float32(0.25)
"""Share of the next tick in the corrected masses."""

I16 = NDArray[np.int16]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """How zones fall into layers.

    Attributes
    ----------
    zones : per layer, shape (zones of the layer,), int16, index into `Store.zones`
    cell_m : float [m], edge of a cell, whose own spread counts into sigma
    p_most : float [0-1], most that is published as a zone's probability
    floor_of : shape (zones of the store,), uint8, floor of each zone; None with one floor
    """

    zones: tuple[I16, ...]
    cell_m: float
    p_most: float = 1.0
    floor_of: NDArray[np.uint8] | None = None

    def to_store_zone(self, layer: int, decided: I16) -> I16:
        """Translate decisions within a layer to zones of the store, -1 = in none."""
        table = np.concatenate([self.zones[layer], [-1, -1]]).astype(np.int16)
        return table[decided]

    def to_floor(self, zone: I16, floor: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the floor of zones of the store; of places in none, what is given."""
        if self.floor_of is None or not len(self.floor_of):
            return floor
        return np.where(zone >= 0, self.floor_of[zone], floor)


def decide(
    masses: Sequence[F32],
    current: I16,
    *,
    margin: float,
    may_change: NDArray[np.bool_],
    counts: NDArray[np.bool_] | None = None,
) -> I16:
    """Decide which zone each lane is in.

    Parameters
    ----------
    masses : shape (zones, lanes) each, float32, probabilities of disjoint zones in this
        tick and, if known, in those that follow
    current : shape (lanes,), int16, the zone decided before, `UNDECIDED` = none yet
    margin : float, by which another zone must be more probable
    may_change : shape (lanes,), bool; without new evidence a decision stands
    counts : shape (ticks, lanes), bool, which of these ticks say something; default all

    Returns
    -------
    decided : shape (lanes,), int16

    Notes
    -----
    A zone that leads by the margin in a following tick, and leads at all until then, is
    entered now already: who waits for the margin enters everything late.

    Examples
    --------
    >>> import numpy as np
    >>> now = np.array([[0.5, 0.3], [0.5, 0.7]], np.float32)
    >>> soon = np.array([[0.1, 0.3], [0.9, 0.7]], np.float32)
    >>> may, before = np.ones(2, bool), np.zeros(2, np.int16)
    >>> decide([now], before, margin=0.2, may_change=may).tolist()
    [0, 1]
    """
    lanes = np.arange(len(current))
    best = masses[0].argmax(0).astype(np.int16)
    held = np.maximum(current, 0)
    leads = np.ones(len(current), np.bool_)
    wins = np.zeros(len(current), np.bool_)
    for at, mass in enumerate(masses):
        lead = mass[best, lanes] - mass[held, lanes]
        if counts is None:
            leads &= lead > 0
            wins |= leads & (lead > margin)
        else:
            leads &= (lead > 0) | ~counts[at]
            wins |= leads & (lead > margin) & counts[at]
    change = may_change & (wins | (current < 0))
    return np.where(change, best, current).astype(np.int16)


def published_p(mass: F32) -> F32:
    """Return the probability to publish for a posterior mass, shape as given.

    The posterior is too sure of itself between 0.7 and 1, because it errs in long
    stretches; the curve makes "0.8 or more" right in 95 of 100 cases (``docs/method.md``).

    Examples
    --------
    >>> import numpy as np
    >>> published_p(np.array([0.5, 0.9, 1.0], np.float32)).round(3).tolist()
    [0.5, 0.800000011920929, 1.0]
    """
    found: F32 = np.minimum(mass, np.maximum(0.35 + 0.5 * mass, 2.0 * mass - 1.0))
    return found


class Block:
    """Lanes `base` to `base + lanes - 1` of the engine.

    Parameters
    ----------
    model : the store's matrices
    layers : its zone layers
    scratch : of this width
    base : int, number of the first lane
    lanes : int, width
    depth : int, ticks the corrected answer looks back over
    ring : int, ticks of answers kept

    Attributes
    ----------
    decided : shape (2, layers, lanes), int16, the zones decided last, by stage
    age : shape (ring, lanes), int32, ticks since the last evidence, 0 = evidence in this tick
    stands_for : shape (ring, lanes), float32, ticks that a tick's evidence speaks for
    """

    def __init__(
        self,
        model: Model,
        layers: Layers,
        scratch: Scratch,
        *,
        base: int,
        lanes: int,
        depth: int,
        ring: int,
    ) -> None:
        self.base, self.lanes, self.ring = base, lanes, ring
        self.end = base + lanes
        self.tracker = Tracker(model, scratch, lanes=lanes, depth=depth)
        self._layers = layers
        self._place_rows, self._floors = model.place_rows, model.floors
        self._zones = sum(len(zones) for zones in layers.zones)
        self._origin = np.array(model.origin_m, np.float32)
        count = len(layers.zones)
        shelves = len(model.readout) - self._place_rows - self._zones
        self.decided = np.full((2, count, lanes), UNDECIDED, np.int16)
        self.place = np.full((2, ring, 3, lanes), np.nan, np.float32)
        self.floor = np.zeros((2, ring, lanes), np.uint8)
        self.stands_on = np.full((2, lanes), UNDECIDED, np.int16)
        self.zone = np.full((2, ring, count, lanes), UNDECIDED, np.int16)
        self.zone_p = np.zeros((2, ring, count, lanes), np.float32)
        self.reach = np.zeros((ring, shelves, lanes), np.float32)
        self.final_tick_of = np.full(ring, NEVER, np.int64)
        self.live_tick_of = np.full(ring, NEVER, np.int64)
        self.age = np.full((ring, lanes), NEVER_TICKS, np.int32)
        self.readings = np.zeros((ring, lanes), np.int32)
        self.stands_for = np.zeros((ring, lanes), np.float32)

    def forget(self, lane: int) -> None:
        """Start a lane for a new tag: without a decision, and never near a shelf."""
        self.decided[:, :, lane] = UNDECIDED
        self.stands_on[:, lane] = UNDECIDED
        self.reach[:, :, lane] = 0.0
        self.stands_for[:, lane] = 0.0

    def was_stepped(self, tick: int) -> bool:
        """Tell whether the ring holds the live answer of a tick."""
        return bool(self.live_tick_of[tick % self.ring] == tick)

    def weights(self, tick: int) -> F32:
        """Return the ticks that each lane's evidence of a tick speaks for, 0 without any."""
        found: F32 = self.stands_for[tick % self.ring]
        return found

    def record_live(self, tick: int, readout: F32, evidence: NDArray[np.bool_]) -> None:
        """Keep a tick's causal answer and decide the zones.

        Parameters
        ----------
        tick : int
        readout : shape (places + zones + shelves, lanes), see `analytics.filter_model.Model`
        evidence : shape (lanes,), bool, heard or tapped in this tick
        """
        slot = tick % self.ring
        for layer, mass in enumerate(self.masses(readout)):
            self._keep_zone(LIVE, slot, layer, [mass], evidence, None)
        self._keep_place(LIVE, slot, readout, evidence)
        self.live_tick_of[slot] = tick

    def record_final(
        self,
        tick: int,
        readout: F32,
        masses: Sequence[list[F32]],
        evidence: NDArray[np.bool_],
        present: NDArray[np.bool_],
        last: NDArray[np.int64],
    ) -> None:
        """Keep a tick's corrected answer and decide the zones.

        Parameters
        ----------
        tick : int
        readout : shape (places + zones + shelves, lanes)
        masses : `masses` of this tick and, as far as known, of up to `AHEAD` that follow
        evidence : shape (lanes,), bool, heard or tapped in this tick
        present : shape (lanes,), bool, whose place counts for shelves
        last : shape (lanes,), int64, last tick with evidence so far
        """
        slot = tick % self.ring
        ticks = max(1, len(masses) - 1)
        counts = (tick + np.arange(ticks)[:, None]) <= last
        for layer in range(len(self._layers.zones)):
            by_tick = [each[layer] for each in masses]
            # Evidence speaks for the middle of a tick, its row for the end.
            mixed = [
                (1 - NEXT_SHARE) * now + NEXT_SHARE * then
                for now, then in itertools.pairwise(by_tick)
            ]
            self._keep_zone(FINAL, slot, layer, mixed or by_tick, evidence, counts)
        self._keep_place(FINAL, slot, readout, evidence)
        reach = readout[self._place_rows + self._zones :]
        self.reach[slot] = np.where(present, reach, 0.0)
        self.final_tick_of[slot] = tick

    def masses(self, readout: F32) -> list[F32]:
        """Return per layer the probability of each zone, and of none, shape (zones + 1, lanes)."""
        found = []
        for zones in self._layers.zones:
            mass = np.empty((len(zones) + 1, self.lanes), np.float32)
            np.maximum(readout[self._place_rows + zones], 0, out=mass[:-1])
            np.minimum(mass[:-1], 1, out=mass[:-1])
            np.maximum(1 - mass[:-1].sum(0), 0, out=mass[-1])
            found.append(mass)
        return found

    def zone_masses(self, readout: F32) -> F32:
        """Return the probability of each zone of the store, shape (zones, lanes)."""
        mass = readout[self._place_rows :][: self._zones]
        return np.minimum(np.maximum(mass, 0), 1)

    def reach_at(self, tick: int, shelf: int) -> F32:
        """Return each lane's corrected probability of being in reach of a shelf, else 0."""
        slot = tick % self.ring
        if self.final_tick_of[slot] != tick:
            return np.zeros(self.lanes, np.float32)
        found: F32 = self.reach[slot, shelf]
        return found

    def _keep_place(self, stage: int, slot: int, readout: F32, evidence: NDArray[np.bool_]) -> None:
        x, y, xx, yy = self._moments(readout, stage, slot, evidence)
        variance = np.maximum(xx - x * x, 0) + np.maximum(yy - y * y, 0)
        place = self.place[stage, slot]
        np.add(x, self._origin[0], out=place[0])
        np.add(y, self._origin[1], out=place[1])
        np.sqrt(variance + np.float32(self._layers.cell_m**2 / 6), out=place[2])

    def _keep_zone(
        self,
        stage: int,
        slot: int,
        layer: int,
        masses: Sequence[F32],
        evidence: NDArray[np.bool_],
        counts: NDArray[np.bool_] | None,
    ) -> None:
        before = self.decided[stage, layer]
        margin = MARGIN_LIVE if stage == LIVE else MARGIN_FINAL
        decided = decide(masses, before, margin=margin, may_change=evidence, counts=counts)
        self.decided[stage, layer] = decided
        self.zone[stage, slot, layer] = decided
        mass = masses[0][np.maximum(decided, 0), np.arange(self.lanes)]
        shown = np.minimum(published_p(mass), np.float32(self._layers.p_most))
        self.zone_p[stage, slot, layer] = shown

    def _moments(self, readout: F32, stage: int, slot: int, evidence: NDArray[np.bool_]) -> F32:
        """Return x, y, x² and y² on the floor of the zone in layer main, shape (4, lanes).

        In no zone the floor is decided as zones are, so that it does not flap on stairs.
        """
        if self._floors == 1:
            return readout[:4]
        by_floor = readout[: self._place_rows].reshape(self._floors, -1, self.lanes)
        margin = MARGIN_LIVE if stage == LIVE else MARGIN_FINAL
        before = self.stands_on[stage]
        decided = decide(
            [by_floor[:, 0]], before, margin=margin, may_change=evidence | (before < 0)
        )
        zone = self._layers.to_store_zone(0, self.decided[stage, 0])
        floor = self._layers.to_floor(zone, decided.astype(np.uint8))
        self.stands_on[stage] = self.floor[stage, slot] = floor
        lanes = np.arange(self.lanes)
        # After a silence a zone may be held that nothing speaks for any more.
        there = by_floor[floor, 0, lanes] > FLOOR_LEAST
        chosen = by_floor[np.where(there, floor, by_floor[:, 0].argmax(0)), :, lanes].T
        found: F32 = chosen[1:] / chosen[0]
        return found
