"""The position filter: where the tags of one block are, tick by tick.

A block has a fixed number of lanes (columns); a tag keeps its lane for the life of
a visit, so a result never depends on who else is in the shop. The belief is a
probability per walkable cell; the tag's own power is an unknown that is integrated
out in closed form, so only differences between receivers count.

Each cell carries the offset that the tag would have if it were there (a
Rao-Blackwellised filter, Doucet et al. 2000, with one variance for all cells): a
single offset per tag can lock on to a wrong place and explain it by a wrong power.
Integrating it out is a Sherman-Morrison update (Petersen and Pedersen, Matrix
Cookbook, eq. 160). The receivers' weights are those of a Student-t likelihood with 4
degrees of freedom (Lange, Little and Taylor 1989, eq. 4); the corrected belief is
the backward pass of a hidden Markov model (Rabiner 1989, eq. 24 and 27).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid, transition_matrix
from analytics.radio_map import RadioMap

F32 = NDArray[np.float32]

REFERENCE_DBM = -75.0
"""RSSI is held relative to this, so that float32 sums stay small."""
SIGMA_LIVE_M = 1.4
"""Walk per square root of a second, live: wide, so that a late track catches up."""
SIGMA_FINAL_M = 0.9
"""The same for the corrected belief, which sees what comes and may be narrow."""
OFFSET_DRIFT_DB2 = 0.15
"""How fast a tag's power may wander per tick; turning round is a step of 6 dB."""
OFFSET_START_DB2 = 64.0
STUDENT_NU = 4.0
TAP_NATS = 6.0
"""A tap counts as this much evidence (e^6 = 400 to 1) for the zone of its reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Everything fixed of a store, in float32, laid out (cells, …).

    Attributes
    ----------
    receivers, cells : int
    inverse_noise : float [1/dB²]
    forward : shape (cells, cells), Tᵀ of the live walk
    backward : shape (cells, cells), T of the corrected walk
    moments : shape (2 receivers, cells), expected level and its square
    evidence : shape (2 cells, 2 receivers), from weighted levels to log likelihood
    prior : shape (cells, 1), where a new tag may be
    origin_m : (x, y), middle of the cells, to which x and y of the readout are relative
    readout : shape (4 + zones + shelves, cells): x, y, x², y², the zones' shares of a cell,
        and 1 for cells from which a shelf can be reached
    """

    receivers: int
    cells: int
    inverse_noise: float
    forward: F32
    backward: F32
    moments: F32
    evidence: F32
    prior: F32
    origin_m: tuple[float, float]
    readout: F32


def build_model(
    grid: CellGrid,
    radio_map: RadioMap,
    *,
    tick_s: float,
    reach: NDArray[np.float64] | None = None,
) -> Model:
    """Prepare the matrices of the filter.

    Parameters
    ----------
    grid : the cells
    radio_map : expected levels in these cells
    tick_s : float [s], > 0
    reach : shape (shelves, cells), 1 where a shelf can be reached from, else 0

    Raises
    ------
    ValueError
        The radio map belongs to other cells.
    """
    level = radio_map.mean_dbm - REFERENCE_DBM
    cells, receivers = level.shape
    if cells != len(grid):
        raise ValueError(f"the radio map has {cells} cells, the store has {len(grid)}")
    w = 1.0 / radio_map.noise_db**2
    zero = np.zeros_like(level)
    evidence = np.block([[level * w, -0.5 * level**2 * w], [zero, -level * w]])
    origin = (float(grid.x_m.mean()), float(grid.y_m.mean()))
    x, y = grid.x_m - origin[0], grid.y_m - origin[1]
    if reach is None:
        reach = np.empty((0, cells))
    readout = np.concatenate([np.stack([x, y, x**2, y**2]), grid.zone_share, reach])
    scale = np.sqrt(tick_s)

    def f32(values: NDArray[np.float64]) -> F32:
        return np.ascontiguousarray(values, dtype=np.float32)

    return Model(
        receivers=receivers,
        cells=cells,
        inverse_noise=w,
        forward=f32(transition_matrix(grid, SIGMA_LIVE_M * scale).T),
        backward=f32(transition_matrix(grid, SIGMA_FINAL_M * scale)),
        moments=f32(np.concatenate([level.T, level.T**2])),
        evidence=f32(evidence),
        origin_m=origin,
        prior=f32((grid.weight / grid.weight.sum())[:, None]),
        readout=f32(readout),
    )


class Tracker:
    """Beliefs of one block of lanes, with a ring of the last ticks for the corrected answer.

    Parameters
    ----------
    model : the store's matrices
    lanes : int, width of the block, fixed for life
    depth : int, ticks in the ring
    """

    def __init__(self, model: Model, *, lanes: int, depth: int) -> None:
        self.lanes = lanes
        self.depth = depth
        self._model = model
        cells, receivers = model.cells, model.receivers
        # Belief and belief × offset lie side by side, so that one GEMM moves both.
        self._state = np.zeros((cells, 2 * lanes), np.float32)
        self._state[:, :lanes] = model.prior
        self._moved = np.empty_like(self._state)
        self._offset = np.zeros((cells, lanes), np.float32)
        self._variance = np.full(lanes, OFFSET_START_DB2, np.float32)
        self._rest_offset = np.zeros(lanes, np.float32)
        self._rest_variance = self._variance.copy()
        self._beliefs = np.repeat(model.prior[None], depth, axis=0).repeat(lanes, axis=2)
        self._loglike = np.zeros((depth, cells, lanes), np.float32)
        self._ad = np.empty((2 * cells, lanes), np.float32)
        self._work = np.empty((cells, lanes), np.float32)
        self._weighted = np.empty((2 * receivers, lanes), np.float32)

    def rest(self, lane: int) -> None:
        """Note what is known of a lane's power before it is no longer stepped.

        Whether the block goes on being stepped for others must not matter to this lane.
        """
        self._rest_offset[lane] = self._state[:, lane] @ self._offset[:, lane]
        self._rest_variance[lane] = self._variance[lane]

    def restart(self, lane: int, *, keep_offset: bool, rested_ticks: int = 0) -> None:
        """Forget where a lane's tag is; keep what was known of its power if asked.

        Parameters
        ----------
        lane : int
        keep_offset : the same tag after a silence, not a new one; it was put to rest
        rested_ticks : int, ticks since then, by which its power may have drifted
        """
        prior = self._model.prior[:, 0]
        offset = float(self._rest_offset[lane]) if keep_offset else 0.0
        grown = float(self._rest_variance[lane]) + OFFSET_DRIFT_DB2 * rested_ticks
        self._state[:, lane] = prior
        self._state[:, self.lanes + lane] = prior * np.float32(offset)
        self._offset[:, lane] = offset
        self._variance[lane] = min(grown, OFFSET_START_DB2) if keep_offset else OFFSET_START_DB2

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
        readout : shape (4 + zones + shelves, lanes), see `Model.readout`, of the live belief
        """
        m = self._model
        n, cells, receivers = self.lanes, m.cells, m.receivers
        w = np.float32(m.inverse_noise)
        np.matmul(m.forward, self._state, out=self._moved)
        belief, belief_offset = self._moved[:, :n], self._moved[:, n:]
        offset, work = self._offset, self._work
        np.divide(belief_offset, belief, out=offset)
        np.minimum(
            self._variance + np.float32(OFFSET_DRIFT_DB2), OFFSET_START_DB2, out=self._variance
        )

        # Robust weights: how far a level lies from what the belief expects.
        expected = m.moments @ belief
        np.multiply(belief_offset, offset, out=work)
        mu = expected[:receivers] + belief_offset.sum(0)
        cross = m.moments[:receivers] @ belief_offset
        mu2 = expected[receivers:] + 2.0 * cross + work.sum(0)
        spread = np.maximum(mu2 - mu * mu, 0.0) + self._variance + 1.0 / w
        weight = heard * (STUDENT_NU + 1.0) / (STUDENT_NU + (level_db - mu) ** 2 / spread)

        # Evidence with the offset integrated out, given the offset expected in each cell.
        np.multiply(weight, level_db, out=self._weighted[:receivers])
        self._weighted[receivers:] = weight
        np.matmul(m.evidence, self._weighted, out=self._ad)
        a, d0 = self._ad[:cells], self._ad[cells:]
        d0 += self._weighted[:receivers].sum(0) * w
        information = weight.sum(0) * w
        total = information + 1.0 / self._variance
        loglike = self._loglike[tick % self.depth]
        np.multiply(offset, information, out=work)
        d = np.subtract(d0, work, out=work)
        d0 += d
        d0 *= offset
        d0 *= 0.5
        a += d0
        np.multiply(d, d, out=d0)
        d0 /= 2.0 * total
        np.add(a, d0, out=loglike)
        for lane, nats in (tapped or {}).items():
            loglike[:, lane] += nats
        loglike -= loglike.max(0)

        # Posterior of place and offset.
        d /= total
        offset += d
        np.divide(1.0, total, out=self._variance)
        posterior = self._beliefs[tick % self.depth]
        np.exp(loglike, out=posterior)
        posterior *= belief
        posterior /= posterior.sum(0)
        self._state[:, :n] = posterior
        np.multiply(posterior, offset, out=self._state[:, n:])
        readout: F32 = m.readout @ posterior
        return readout

    def smooth(self, last: int, first: int, emit_to: int) -> list[F32]:
        """Return the corrected readouts of some ticks, using the evidence up to `last`.

        Parameters
        ----------
        last : int, the newest tick in the ring
        first, emit_to : int, the ticks wanted, both included; within the ring

        Returns
        -------
        readouts : one per tick from `first` to `emit_to`, shape (4 + zones + shelves, lanes)
        """
        m = self._model
        beta = np.ones((m.cells, self.lanes), np.float32)
        found: list[F32] = []
        for tick in range(last, first - 1, -1):
            if tick < last:
                np.exp(self._loglike[(tick + 1) % self.depth], out=self._work)
                self._work *= beta
                np.matmul(m.backward, self._work, out=beta)
                beta /= beta.max(0)
            if tick <= emit_to:
                np.multiply(self._beliefs[tick % self.depth], beta, out=self._work)
                self._work /= self._work.sum(0)
                found.append(m.readout @ self._work)
        return found[::-1]
