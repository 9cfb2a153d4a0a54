"""The position filter: where the tags of one block are, tick by tick.

A block has a fixed number of lanes (columns); a tag keeps its lane for as long as it
is followed, so a result never depends on who else is in the shop. The belief is a
probability per walkable cell; the tag's own power is an unknown that is integrated
out in closed form, so only differences between receivers count.

Each tile of cells carries the offset that the tag would have if it were there (a
Rao-Blackwellised filter, Doucet et al. 2000, with one variance for all tiles): a
single offset per tag can lock on to a wrong place and explain it by a wrong power.
Integrating it out is a Sherman-Morrison update (Petersen and Pedersen, Matrix
Cookbook, eq. 160). The receivers' weights are those of a Student-t likelihood with 4
degrees of freedom (Lange, Little and Taylor 1989, eq. 4); the corrected belief is
the backward pass of a hidden Markov model (Rabiner 1989, eq. 24 and 27).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analytics.filter_model import Model

F32 = NDArray[np.float32]

OFFSET_DRIFT_DB2 = 0.15
"""How fast a tag's power may wander per tick; turning round is a step of 6 dB."""
OFFSET_START_DB2 = 64.0
STUDENT_NU = 4.0
LOWEST_NATS = np.float32(-60.0)
"""Evidence against a cell counts up to here: float32 stays clear of its smallest numbers."""
_TINY = np.float32(1e-20)


class Scratch:
    """Working arrays that all blocks of one width share.

    Parameters
    ----------
    model : the store's matrices
    lanes : int, width of the blocks
    """

    def __init__(self, model: Model, lanes: int) -> None:
        cells, tiles, receivers = model.cells, model.tiles, model.receivers
        self.moved = np.empty((cells, lanes), np.float32)
        self.work = np.empty((cells, lanes), np.float32)
        self.both = np.empty((2 * cells, lanes), np.float32)
        self.mass = np.empty((tiles, lanes), np.float32)
        self.moment = np.empty((tiles, lanes), np.float32)
        self.weighted = np.empty((2 * receivers, lanes), np.float32)


class Tracker:
    """Beliefs of one block of lanes, with a ring of the last ticks for the corrected answer.

    Parameters
    ----------
    model : the store's matrices
    scratch : of the block's width, which is fixed for life
    lanes : int, the width
    depth : int, ticks in the ring

    Attributes
    ----------
    expected_db, spread_db2 : shape (receivers, lanes), what the last tick's levels were
        expected to be before they were seen, and the variance of that with its noise
    """

    def __init__(self, model: Model, scratch: Scratch, *, lanes: int, depth: int) -> None:
        self.lanes = lanes
        self.depth = depth
        self._model, self._scratch = model, scratch
        ring = (depth, model.cells, lanes)
        self._beliefs = np.broadcast_to(model.prior, ring).copy()
        self._likelihoods = np.ones(ring, np.float32)
        self._slot = 0
        """Of the newest belief in the ring."""
        # Per tile the probability, and the probability times the offset.
        self._mass = np.zeros((model.tiles, lanes), np.float32)
        self._moment = np.zeros((model.tiles, lanes), np.float32)
        self._start_mass, self._prior_mass = (
            model.tile_sums.times(belief, np.empty((model.tiles, 1), np.float32))
            for belief in (model.start, model.prior)
        )
        self._mass[:] = self._prior_mass
        self._variance = np.full(lanes, OFFSET_START_DB2, np.float32)
        self.expected_db = np.zeros((model.receivers, lanes), np.float32)
        self.spread_db2 = np.ones((model.receivers, lanes), np.float32)

    def power_of(self, lane: int) -> tuple[float, float]:
        """Return what is known of a lane's power: the mean offset [dB] and its variance [dB²]."""
        return float(self._moment[:, lane].sum()), float(self._variance[lane])

    def start(self, lane: int) -> None:
        """Begin with a tag that was not heard before."""
        self._place(lane, self._model.start, self._start_mass, 0.0)
        self._variance[lane] = OFFSET_START_DB2

    def restart(
        self, lane: int, *, offset_db: float, variance_db2: float, rested_ticks: int
    ) -> None:
        """Forget where a lane's tag is; it was silent for long.

        Parameters
        ----------
        lane : int
        offset_db, variance_db2 : what was known of the tag's power [dB, dB²]
        rested_ticks : int, ticks since then, by which its power may have drifted
        """
        self._place(lane, self._model.prior, self._prior_mass, offset_db)
        grown = variance_db2 + OFFSET_DRIFT_DB2 * rested_ticks
        self._variance[lane] = min(grown, OFFSET_START_DB2)

    def step(
        self, tick: int, level_db: F32, heard: F32, tapped: dict[int, F32] | None = None
    ) -> F32:
        """Advance all lanes by one tick.

        Parameters
        ----------
        tick : int, number of the tick
        level_db : shape (receivers, lanes), power mean of the tick [dB above -75 dBm]
        heard : shape (receivers, lanes), 1 where there was a reading, else 0
        tapped : lane to log likelihood per cell, shape (cells,), of its taps in this tick

        Returns
        -------
        readout : shape (places + zones + shelves, lanes), see `Model.readout`, of the live
            belief

        Notes
        -----
        With b the offset before the tick, v its variance, h = D + b/v and T = W + 1/v the
        log likelihood is A + h²/(2 T) − b²/(2 v), and the new offset h/T.
        """
        m, s = self._model, self._scratch
        cells, receivers = m.cells, m.receivers
        w = np.float32(m.inverse_noise)
        belief = m.forward.times(self._beliefs[self._slot], s.moved)
        belief += m.restart
        offset = self._moved_offsets()
        np.minimum(
            self._variance + np.float32(OFFSET_DRIFT_DB2), OFFSET_START_DB2, out=self._variance
        )
        precision = 1.0 / self._variance
        weight = self._weights(belief, offset, level_db, heard)

        np.multiply(weight, level_db, out=s.weighted[:receivers])
        s.weighted[receivers:] = weight
        np.matmul(m.evidence, s.weighted, out=s.both)
        a, h = s.both[:cells], s.both[cells:]
        h += s.weighted[:receivers].sum(0) * w
        total = weight.sum(0) * w + precision
        work = s.work
        np.take(offset * precision, m.tile_of, axis=0, out=work, mode="clip")
        h += work
        np.multiply(h, h, out=work)
        work *= 0.5 / total
        a += work
        np.take(offset * offset * (0.5 * precision), m.tile_of, axis=0, out=work, mode="clip")
        a -= work
        for lane, nats in (tapped or {}).items():
            a[:, lane] += nats
        a -= a.max(0)
        np.maximum(a, LOWEST_NATS, out=a)

        self._slot = tick % self.depth
        likelihood, posterior = self._likelihoods[self._slot], self._beliefs[self._slot]
        np.exp(a, out=likelihood)
        np.multiply(likelihood, belief, out=posterior)
        posterior *= 1.0 / posterior.sum(0)
        m.tile_sums.times(posterior, self._mass)
        h *= posterior
        m.tile_sums.times(h, self._moment)
        self._moment /= total
        np.divide(1.0, total, out=self._variance)
        readout: F32 = m.readout @ posterior
        return readout

    def smooth(
        self, last: int, first: int, emit_to: int, weights: Callable[[int], F32]
    ) -> list[tuple[F32, F32]]:
        """Return the corrected readouts of some ticks, using the evidence up to `last`.

        Parameters
        ----------
        last : int, the newest tick in the ring
        first, emit_to : int, the ticks wanted, both included; within the ring
        weights : returns for a tick the weight of each lane in the sum over lanes

        Returns
        -------
        readouts : one per tick from `first` to `emit_to`: the readout, shape (places +
            zones + shelves, lanes), and the weighted sum of the beliefs, shape (cells,)
        """
        m, work = self._model, self._scratch.work
        beta = self._scratch.moved
        beta[:] = 1.0
        found: list[tuple[F32, F32]] = []
        for tick in range(last, first - 1, -1):
            if tick < last:
                np.multiply(self._likelihoods[(tick + 1) % self.depth], beta, out=work)
                m.backward.times(work, beta)
                beta += m.anywhere @ work
                beta *= 1.0 / beta.max(0)
            if tick <= emit_to:
                np.multiply(self._beliefs[tick % self.depth], beta, out=work)
                work *= 1.0 / work.sum(0)
                found.append((m.readout @ work, work @ weights(tick)))
        return found[::-1]

    def _place(self, lane: int, belief: F32, mass: F32, offset_db: float) -> None:
        self._beliefs[self._slot, :, lane] = belief[:, 0]
        self._mass[:, lane] = mass[:, 0]
        self._moment[:, lane] = mass[:, 0] * np.float32(offset_db)

    def _moved_offsets(self) -> F32:
        """Return the offset of each tile after one tick of walking, shape (tiles, lanes)."""
        m, s = self._model, self._scratch
        m.tile_moves.times(self._mass, s.mass)
        m.tile_moves.times(self._moment, s.moment)
        s.mass += m.tile_restart
        s.moment += m.tile_restart * self._moment.sum(0)
        return np.divide(s.moment, np.maximum(s.mass, _TINY), dtype=np.float32)

    def _weights(self, belief: F32, offset: F32, level_db: F32, heard: F32) -> F32:
        """Weigh the levels by how far they lie from what the belief expects."""
        m, s = self._model, self._scratch
        receivers = m.receivers
        expected = m.moments @ belief
        mean, square = expected[:receivers], expected[receivers:]
        mean_offset = (s.mass * offset).sum(0)
        spread_offset = (s.mass * offset * offset).sum(0) - mean_offset * mean_offset
        mu = self.expected_db
        np.add(mean, mean_offset, out=mu)
        # Level and offset are taken as independent: their covariance changes nothing.
        spread = square - mean * mean + spread_offset
        noise = self._variance + np.float32(1.0 / m.inverse_noise)
        np.add(np.maximum(spread, 0.0), noise, out=self.spread_db2)
        found: F32 = (
            heard
            * np.float32(STUDENT_NU + 1.0)
            / (np.float32(STUDENT_NU) + (level_db - mu) ** 2 / self.spread_db2)
        )
        return found
