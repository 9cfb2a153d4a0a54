"""Tags that do what no person can: be at two far places at once, or jump.

Two copies of a tag betray themselves within a tick: a receiver near one of them hears
strong and weak packets by turns, so that the mean of their powers lies far above the
mean of their levels. A single tag scatters as all others of the store do. Places are no
use for this: the belief of a cloned tag settles between the copies and explains both.

A jump is a stay, 12 m in three ticks, and another stay, of the belief and of the
receivers that hear loudest.

Rules of the file: event time only; every closed tick once and in order; a lane depends on
no other but through the store's usual scatter, which is a count. Thresholds were chosen on
simulated radio with ``python -m tests.analytics.watch_bench tags``; recordings of real
copies were not at hand. Measured there, on 24 m × 16 m with 12 receivers and two packets a
second: copies 10 m apart and more are found within 30 s in 52 % of cases with 8 dB of noise,
bursts and half of the packets lost, in 96 % with 6 dB, in 99 % with 4.5 dB; wrong flags were
3, 0 and 0 in 256 tag-hours each. Jumps of 14 to 18 m are found in 0 to 13 % only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

SHARE = 0.05
"""Of a tick in the running means: about 20 ticks with evidence."""
SCATTER_MOST_DB = 12.0
FAINT_DB, LOUD_DB = -20.0, 0.0
"""Levels [dB above -75 dBm] count from nothing to fully: near a copy the turns are loud."""
CLONE_RATIO, CLONE_FEW = 1.25, 0.36
"""A tag that scatters 1.25 + 0.36 / √n times the usual is cloned, n receivers hearing it twice."""
PAIRS_LEAST = 0.05
USUAL_START_DB, USUAL_LEAST_DB = 3.6, 1.0
"""Usual scatter while little is known (8 dB of noise give 3.5), and the least believed."""
SCORES_LEAST, SCORES_MOST = 30, 4000
TICKS_LEAST = 15
EVERY_TICKS = 5
FAR_M = 8.0
STAY_TICKS, JUMP_TICKS = 8, 3
JUMP_M = 12.0
"""In three ticks this is 4 m/s."""
STAY_M = 2.0
TURN_M = 14.0
"""So far the middle of the receivers that hear must move as well: a belief can jump alone."""
AGAIN_S = 600.0
_RING = 2 * STAY_TICKS + JUMP_TICKS
_TRAIL = 4
_BIN_DB = 0.1
_BINS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Impossible:
    """What a lane's tag did: `kind` is cloned or teleported; the second place it is at [m]."""

    lane: int
    kind: str
    x_m: float
    y_m: float


class TagWatch:
    """All lanes of a store.

    Parameters
    ----------
    positions_m : shape (receivers, 2 or 3), float64 [m]
    tick_s : float [s]
    """

    def __init__(self, positions_m: NDArray[np.float64], *, tick_s: float) -> None:
        place = np.asarray(positions_m, np.float64)[:, :2]
        self._place = place
        self._far = np.hypot(*(np.subtract.outer(axis, axis) for axis in place.T)) > FAR_M
        self._centre = np.concatenate([place.T, np.ones((1, len(place)))]).astype(np.float32)
        self._again = round(AGAIN_S / tick_s)
        self.usual_counts = np.zeros(_BINS, np.int64)
        self._scatter = np.zeros((2, 0), np.float32)
        self._ticks = np.zeros((1, 0), np.int32)
        self._flagged = np.zeros((1, 0), np.int64)
        self._trail = np.zeros((_RING * _TRAIL, 0), np.float32)
        self._seen = np.zeros((_RING, 0), np.int64)
        self._suspects: dict[int, NDArray[np.float64]] = {}

    @property
    def usual_db(self) -> float:
        """The store's usual scatter within a tick [dB]."""
        total = int(self.usual_counts.sum())
        if total < SCORES_LEAST:
            return USUAL_START_DB
        middle = int(np.searchsorted(np.cumsum(self.usual_counts), (total + 1) // 2))
        return max((middle + 0.5) * _BIN_DB, USUAL_LEAST_DB)

    def forget(self, lane: int) -> None:
        """Start a lane for another tag, or for one that comes back after a silence."""
        if lane < self._ticks.shape[1]:
            for state in (self._scatter, self._ticks, self._flagged, self._seen):
                state[:, lane] = 0
            self._suspects.pop(lane, None)

    def note(
        self,
        tick: int,
        level_db: F32,
        mean_db: F32,
        count: I32,
        x_m: F32,
        y_m: F32,
        *,
        base: int = 0,
    ) -> None:
        """Take in one tick of some lanes.

        Parameters
        ----------
        tick : int, > 0
        level_db : shape (receivers, lanes), mean power of the tick's readings [dB above -75 dBm]
        mean_db : the same shape, mean of their levels; both only matter where `count` is not 0
        count : the same shape, int32, readings in the tick
        x_m, y_m : shape (lanes,), the live place after the tick [m]
        base : int, number of the first lane
        """
        lanes = level_db.shape[1]
        self._grow(base + lanes)
        mine = slice(base, base + lanes)
        number = count.astype(np.float32)
        more = np.maximum(number - 1, 0)
        above = np.maximum(level_db - np.float32(FAINT_DB), 0)
        loud = np.minimum(above, np.float32(LOUD_DB - FAINT_DB))
        loud *= np.minimum(more, 1)
        gap = level_db - mean_db
        # n / (n - 1): the scatter of few readings is too small by that much.
        gap *= number
        gap /= np.maximum(more, 1)
        np.minimum(gap, np.float32(SCATTER_MOST_DB), out=gap)
        gap *= loud
        above *= above
        # To the sixth: the middle then follows the loudest receivers.
        above *= above * above
        above *= np.minimum(number, 1)
        scatter = self._scatter[:, mine]
        pairs = loud.sum(0)
        pairs *= np.float32(1 / (LOUD_DB - FAINT_DB))
        known = pairs > 0
        rate = np.float32(SHARE) * known
        scatter[0] += rate * (gap.sum(0) * np.float32(1 / (LOUD_DB - FAINT_DB)) - scatter[0])
        scatter[1] += rate * (pairs - scatter[1])
        self._ticks[0, mine] += known
        centre = self._centre @ above
        slot = tick % _RING
        trail = self._trail[slot * _TRAIL : (slot + 1) * _TRAIL, mine]
        trail[0], trail[1] = x_m, y_m
        np.divide(centre[:2], np.maximum(centre[2], np.float32(1e-3)), out=trail[2:])
        self._seen[slot, mine] = np.where(centre[2] > 0, tick, 0)
        for lane, state in self._suspects.items():
            if base <= lane < base + lanes:
                state[0] += np.where(count[:, lane - base] > 0, level_db[:, lane - base], 0.0)
                state[1] += count[:, lane - base] > 0

    def decide(self, tick: int) -> list[Impossible]:
        """Return what is new after a tick has been noted for all lanes; cheap when not due."""
        if tick % EVERY_TICKS:
            return []
        pairs = np.maximum(self._scatter[1], np.float32(PAIRS_LEAST))
        score = self._scatter[0] / pairs
        known = (self._ticks[0] >= TICKS_LEAST) & (self._scatter[1] >= PAIRS_LEAST)
        limit = (CLONE_RATIO + CLONE_FEW / np.sqrt(pairs)) * np.float32(self.usual_db)
        over = known & (score > limit)
        flagged = self._flagged[0]
        found = []
        suspects = np.flatnonzero(over & self._fresh(tick)).tolist()
        for lane in suspects:
            second = self._second(lane, tick) if lane in self._suspects else None
            if second is not None:
                flagged[lane] = tick
                found.append(Impossible(lane=lane, kind="cloned", x_m=second[0], y_m=second[1]))
        self._suspects = {lane: np.zeros((2, len(self._place))) for lane in suspects}
        if tick % (4 * EVERY_TICKS) == 0:
            self._learn(score[known & ~over & (flagged == 0)])
        for lane in np.flatnonzero(self._jumped(tick) & self._fresh(tick) & ~over).tolist():
            flagged[lane] = tick
            x, y = self._at(tick)[:2, lane].tolist()
            found.append(Impossible(lane=lane, kind="teleported", x_m=x, y_m=y))
        return found

    def _fresh(self, tick: int) -> NDArray[np.bool_]:
        fresh: NDArray[np.bool_] = (self._flagged[0] == 0) | (
            tick - self._flagged[0] >= self._again
        )
        return fresh

    def _at(self, tick: int) -> F32:
        """Return the trail at a tick of the ring: place, and middle of the receivers that hear."""
        slot = tick % _RING
        return self._trail[slot * _TRAIL : (slot + 1) * _TRAIL]

    def _second(self, lane: int, tick: int) -> tuple[float, float] | None:
        """Return the loudest receiver far from the loudest: of the two, the one further away."""
        total, share = self._suspects[lane]
        level = np.where(share > 0, total / np.maximum(share, 1), -np.inf)
        first = int(level.argmax())
        apart = np.where(self._far[first], level, -np.inf)
        other = int(apart.argmax())
        if not np.isfinite(apart[other]):
            return None
        here = self._at(tick)[:2, lane]
        away = [float(np.hypot(*(self._place[r] - here))) for r in (first, other)]
        chosen = self._place[first if away[0] > away[1] else other]
        return float(chosen[0]), float(chosen[1])

    def _jumped(self, tick: int) -> NDArray[np.bool_]:
        """Tell which lanes stayed, jumped, and have stayed since, by place and by levels."""
        ends = self._at(tick - _RING + 1), self._at(tick)
        far = np.hypot(*(ends[1][:2] - ends[0][:2])) > JUMP_M - 2 * STAY_M
        far &= self._seen[(tick + 1) % _RING] == tick - _RING + 1
        found = np.zeros(len(far), np.bool_)
        lanes = np.flatnonzero(far)
        if not len(lanes):
            return found
        order = (tick + 1 + np.arange(_RING)) % _RING
        trail = self._trail.reshape(_RING, _TRAIL, -1)[order][:, :, lanes]
        weight = (self._seen[order][:, lanes] > tick - _RING)[:, None]
        ok = np.ones(len(lanes), np.bool_)
        parts = (slice(STAY_TICKS), slice(_RING - STAY_TICKS, _RING))
        middles, halves = [], []
        for part in parts:
            middle = _mean(trail[part], weight[part])
            off = np.hypot(trail[part, 0] - middle[0], trail[part, 1] - middle[1])
            ok &= weight[part, 0].sum(0) >= STAY_TICKS // 2
            ok &= (off * weight[part, 0]).max(0) <= STAY_M
            half = STAY_TICKS // 2
            first, last = (
                _mean(trail[part][cut], weight[part][cut])
                for cut in (slice(half), slice(half, None))
            )
            halves.append(np.hypot(*(last - first)[2:]))
            middles.append(middle)
        moved = middles[1] - middles[0]
        ok &= np.hypot(*moved[:2]) > JUMP_M
        turned = np.hypot(*moved[2:])
        ok &= turned > TURN_M
        ok &= turned > 2 * np.maximum(*halves)
        found[lanes] = ok
        return found

    def _learn(self, scores: F32) -> None:
        bins = np.clip((scores / _BIN_DB).astype(np.int64), 0, _BINS - 1)
        self.usual_counts += np.bincount(bins, minlength=_BINS)
        while self.usual_counts.sum() > SCORES_MOST:
            self.usual_counts //= 2

    def _grow(self, lanes: int) -> None:
        more = lanes - self._ticks.shape[1]
        if more <= 0:
            return
        for name in ("_scatter", "_ticks", "_flagged", "_trail", "_seen"):
            setattr(self, name, np.pad(getattr(self, name), ((0, 0), (0, more))))


def _mean(trail: F32, weight: NDArray[np.bool_]) -> F32:
    total: F32 = (trail * weight).sum(0) / np.maximum(weight.sum(0), 1).astype(np.float32)
    return total
