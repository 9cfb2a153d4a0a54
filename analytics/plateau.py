"""Plate steps: a plate leaves its level, settles on another, and the difference is a step.

Rules of the file: all plates at once, one call per 0.2 s tick, state as struct of
arrays; no loop over plates; an empty tick on silent plates changes nothing, so
whoever drives may jump over it. The method is a plateau detector with a frozen,
rate-limited baseline (Shelf reference, sections 2.1 to 2.6): it answers "has the
plate settled", which a change-point test does not. Constants are that section's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DT_S = 0.2
RING = 5  # ticks a plate must hold still
SLOW_RING = 10
SILENT_TICKS = 15  # 3 s without a sample: nothing may settle
FORGET_TICKS = 300  # after a minute of silence the old level says nothing
WARM_TICKS = 15
WARM, STABLE, MOVING = 0, 1, 2
STEP_G = 6.0
SLOW_SIGMAS = 6.5
LEAST_STEP_G = 3.5  # a quiet plate can be believed earlier
_NEVER = -(1 << 62)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateSteps:
    """What the plates did in one tick; arrays of equal length per group.

    Attributes
    ----------
    left : int64, plates that left their level in this tick
    settled : int64, plates that settled in this tick
    delta_g : float64 [g], new level minus old, of `settled`
    onset : int64, tick in which it left, of `settled`
    peak_g : float64 [g], largest deviation on the way, of `settled`
    is_step : bool, the difference is large enough to be a step, of `settled`
    """

    left: Ints
    settled: Ints
    delta_g: Floats
    onset: Ints
    peak_g: Floats
    is_step: NDArray[np.bool_]


class Plates:
    """The state of every plate.

    Parameters
    ----------
    count : number of plates

    Attributes
    ----------
    level_g : float64 [g], the frozen, slowly following baseline
    now_g : float64 [g], the last tick median
    noise_g : float64 [g], standard deviation of tick medians
    state : int8, `WARM`, `STABLE` or `MOVING`
    onset : int64, tick in which a moving plate left its level
    heard : int64, last tick with a sample
    """

    def __init__(self, count: int) -> None:
        self.level_g = np.zeros(count)
        self.now_g = np.zeros(count)
        self.noise_g = np.full(count, 0.7)
        self.slow_g = np.full(count, 0.7)
        self.state = np.full(count, WARM, np.int8)
        self.onset = np.full(count, _NEVER, np.int64)
        self.heard = np.full(count, _NEVER, np.int64)
        self.peak_g = np.zeros(count)
        self.lsb_g = np.full(count, np.inf)
        self.lsb_seen = np.zeros(count, np.int64)
        self._learned = np.zeros(count)
        self._warm_from = np.full(count, _NEVER, np.int64)
        self._ring = np.zeros((RING, count))
        self._slow_ring = np.zeros((SLOW_RING, count))

    def step(self, tick: int, plate: Ints, median_g: Floats, step_g: Floats) -> PlateSteps:
        """Advance every plate by one tick.

        Parameters
        ----------
        tick : number of the tick, growing from call to call
        plate : shape (n,), plates with samples in this tick, each once
        median_g : shape (n,), their medians [g]
        step_g : shape (n,), smallest difference of samples within the tick [g], 0 = none

        Returns
        -------
        steps : plates that left their level, and plates that settled
        """
        self._waken(tick, plate, median_g)
        fresh = np.zeros(len(self.level_g), bool)
        fresh[plate] = True
        before = self.now_g
        now = before.copy()
        now[plate] = median_g
        self.now_g = now
        self.heard[plate] = tick
        change = np.abs(now - before)
        self._learn_lsb(plate, step_g, change)
        alive = tick - self.heard <= SILENT_TICKS
        self._ring[tick % RING] = now
        self._slow_ring[tick % SLOW_RING] = now
        high, low = self._ring.max(axis=0), self._ring.min(axis=0)
        level = (self._ring.sum(axis=0) - high - low) / (RING - 2)
        self._learn_noise(fresh, change)
        noise, lsb = self.noise_g, np.where(self.lsb_seen >= 30, self.lsb_g, 0.0)
        still = high - low <= np.maximum(2.0, np.maximum(5.0 * noise, 2.2 * lsb))

        stable = self.state == STABLE
        away = np.abs(now - self.level_g)
        bound = np.maximum(3.0, np.maximum(6.0 * noise, 1.6 * lsb))
        leaves = stable & fresh & (away > bound)
        stays = stable & alive & ~leaves
        moving = self.state == MOVING
        self.peak_g = np.where(moving | leaves, np.maximum(self.peak_g * moving, away), 0.0)
        settles = moving & still & alive & (tick - self.onset >= RING - 1)
        warmed = (self.state == WARM) & alive & (tick - self._warm_from >= WARM_TICKS)
        warmed &= still | (tick - self._warm_from >= 8 * WARM_TICKS)
        slow = self._slow_step(stays)

        # A plate that turned noisy would never settle: let its noise grow.
        noise[moving & alive & (tick - self.onset > 25) & ~settles] *= 1.02
        follow = np.clip((level - self.level_g) * (DT_S / 3.0), -0.05 * DT_S, 0.05 * DT_S)
        self.level_g += np.where(stays & ~slow, follow, 0.0)
        self.state[leaves] = MOVING
        self.onset[leaves] = tick

        done = np.flatnonzero(settles | slow)
        target = np.where(slow, self._slow_ring.mean(axis=0), level)[done]
        delta = target - self.level_g[done]
        onset = np.where(slow[done], tick - SLOW_RING // 2, self.onset[done])
        least = np.clip(8.0 * noise[done], LEAST_STEP_G, STEP_G)
        least = np.maximum(least, np.maximum(2.5 * noise[done], 1.6 * lsb[done]))
        is_step = slow[done] | (np.abs(delta) >= least)
        peak = self.peak_g[done]
        self.level_g[done] = target
        self.state[done] = STABLE
        self.level_g[warmed] = level[warmed]
        self.state[warmed] = STABLE
        # The ring of the slow path still remembers the old level.
        new = settles | slow | warmed
        self._slow_ring[:, new] = self.level_g[new]
        return PlateSteps(
            left=np.flatnonzero(leaves),
            settled=done,
            delta_g=delta,
            onset=onset,
            peak_g=peak,
            is_step=is_step,
        )

    def rebase(self, plate: Ints, tick: int) -> None:
        """Let plates find a new level without calling the change a step.

        Parameters
        ----------
        plate : which plates
        tick : the present tick
        """
        self.state[plate] = WARM
        self._warm_from[plate] = tick - WARM_TICKS + RING

    def take_rest(self, plate: Ints, floor_g: float) -> Floats:
        """Return the change of plates that did not leave their level, and book it.

        Parameters
        ----------
        plate : which plates
        floor_g : changes below this, or below two standard deviations, count as 0 [g]

        Returns
        -------
        rest_g : shape (n,), present level minus baseline, 0 where moving or too small [g]
        """
        ring = self._ring[:, plate]
        level = (ring.sum(axis=0) - ring.max(axis=0) - ring.min(axis=0)) / (RING - 2)
        rest = level - self.level_g[plate]
        counts = np.abs(rest) > np.maximum(floor_g, 2.0 * self.noise_g[plate])
        counts &= self.state[plate] == STABLE
        rest = np.where(counts, rest, 0.0)
        self.level_g[plate] += rest
        return np.asarray(rest)

    def is_at_rest(self, tick: int) -> bool:
        """Whether empty ticks from here on change nothing: all plates silent, rings flat.

        Parameters
        ----------
        tick : the next tick

        Returns
        -------
        is_at_rest : bool
        """
        return bool(np.all(tick - self.heard > SILENT_TICKS + SLOW_RING + 1))

    def _waken(self, tick: int, plate: Ints, median_g: Floats) -> None:
        new = tick - self.heard[plate] > FORGET_TICKS
        if not new.any():
            return
        which, value = plate[new], median_g[new]
        self.state[which] = WARM
        self._warm_from[which] = tick
        self._learned[which] = 0
        self.now_g[which] = value
        self.level_g[which] = value
        self._ring[:, which] = value
        self._slow_ring[:, which] = value

    def _learn_lsb(self, plate: Ints, step_g: Floats, change: Floats) -> None:
        """Smallest difference ever seen: the converter's step, once seen thirty times."""
        jump = np.where(step_g > 0, step_g, change[plate])
        seen = jump > 1e-3
        which = plate[seen]
        self.lsb_g[which] = np.minimum(self.lsb_g[which], jump[seen])
        self.lsb_seen[which] += 1

    def _learn_noise(self, fresh: NDArray[np.bool_], change: Floats) -> None:
        """.886 E|difference| is a normal law's sigma: 2/sqrt(pi) per unit of sigma."""
        noise = self.noise_g
        rate = np.where(self.state == MOVING, 0.0, np.maximum(0.01, 1.0 / (2.0 + self._learned)))
        self._learned += fresh
        target = 0.886 * np.minimum(change, 4.0 * noise)
        noise += np.where(fresh, rate, 0.0) * (target - noise)
        lsb = np.where(self.lsb_seen >= 30, self.lsb_g, 0.0)
        np.maximum(noise, np.maximum(0.15, 0.3 * np.minimum(lsb, 10.0)), out=noise)

    def _slow_step(self, stays: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Find steps too small for a noisy plate's leaving bound, over ten ticks."""
        mean = self._slow_ring.mean(axis=0)
        off = mean - self.level_g
        far = stays & (np.abs(off) > np.maximum(STEP_G, SLOW_SIGMAS * self.slow_g))
        self.slow_g += np.where(
            stays & ~far,
            0.01 * (1.25 * np.minimum(np.abs(off), 4.0 * self.slow_g) - self.slow_g),
            0.0,
        )
        np.maximum(self.slow_g, 0.15, out=self.slow_g)
        one = np.zeros(len(stays), bool)
        which = np.flatnonzero(far)
        if len(which):
            side = self._slow_ring[:, which] > self.level_g[which]
            one[which] = side.all(axis=0) | ~side.any(axis=0)
        return one
