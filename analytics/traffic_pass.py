"""One pass over traffic: where everybody probably was, and what was heard there.

The forward and backward pass of a hidden Markov model (Rabiner 1989, eq. 19, 24 and
27) over batches of tracks, with the power of each track held at one value, because an
offset that may move explains a wrong map away. Only sums per cell and receiver are
kept (the E step of Dempster, Laird and Rubin 1977); the receivers' weights are those
of the position filter (`analytics.tracker`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid, transition_matrix
from analytics.radio_map import RadioMap
from analytics.tracker import REFERENCE_DBM, STUDENT_NU
from analytics.traffic import Traffic

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Taps = dict[int, dict[int, F32]]
"""Piece to tick within it to log likelihood per cell, shape (cells,)."""

SIGMA_M = 0.9
"""Walk per square root of a second, as in the corrected answer; 0.7 to 1.2 learn alike."""
PREDICTION_DB = 5.0
"""Scale of the densities by which maps are compared, about what one second scatters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a pass found, per cell and receiver.

    Attributes
    ----------
    weight : shape (cells, receivers), expected levels (one per tick) there
    level_db : shape (cells, receivers), their weighted sum [dB above -75 dBm], without the
        tags' own offsets
    offset_db : shape (pieces,), the tags' offsets that the pass found
    levels : shape (pieces,), how many levels that rests on, over all receivers and ticks
    """

    weight: F64
    level_db: F64
    offset_db: F64
    levels: F64


class Walk:
    """The cells and how people move on them, prepared once.

    Parameters
    ----------
    grid : the store's cells
    tick_s : float [s], > 0
    """

    def __init__(self, grid: CellGrid, *, tick_s: float) -> None:
        matrix = transition_matrix(grid, SIGMA_M * float(np.sqrt(tick_s)))
        self.forward = np.ascontiguousarray(matrix.T, np.float32)
        self.backward = np.ascontiguousarray(matrix, np.float32)
        self.prior = (grid.weight / grid.weight.sum()).astype(np.float32)[:, None]


def tap_evidence(
    traffic: Traffic, tick: NDArray[np.int64], tag: NDArray[np.int32], nats: F32
) -> Taps:
    """Return what taps say of the places of those who were heard as well.

    Parameters
    ----------
    traffic : the pieces
    tick, tag : shape (taps,), when and who
    nats : shape (taps, cells), log likelihood of each cell
    """
    found: Taps = {}
    first, last = traffic.tick[traffic.start[:-1]], traffic.tick[traffic.start[1:] - 1]
    for at in range(len(tick)):
        within = (traffic.tag == tag[at]) & (first <= tick[at]) & (tick[at] <= last)
        for piece in np.flatnonzero(within).tolist():
            ticks = found.setdefault(piece, {})
            when = int(tick[at] - first[piece])
            ticks[when] = ticks[when] + nats[at] if when in ticks else nats[at]
    return found


def level_offsets(traffic: Traffic, radio_map: RadioMap, walk: Walk) -> F64:
    """Return each piece's offset if the tag had been everywhere alike.

    Parameters
    ----------
    traffic, radio_map, walk : of one store

    Returns
    -------
    offset_db : shape (pieces,), float64 [dB]
    """
    usual = walk.prior[:, 0].astype(np.float64) @ (radio_map.mean_dbm - REFERENCE_DBM)
    rest = traffic.level_db - usual
    sums = np.add.reduceat(np.nansum(rest, axis=1, dtype=np.float64), traffic.start[:-1])
    counts = np.add.reduceat((~np.isnan(rest)).sum(axis=1), traffic.start[:-1])
    offsets: F64 = sums / np.maximum(counts, 1)
    return offsets


def listen(
    traffic: Traffic,
    radio_map: RadioMap,
    walk: Walk,
    offset_db: F64,
    *,
    taps: Taps | None = None,
) -> Heard:
    """Make one pass.

    Parameters
    ----------
    traffic : what was heard
    radio_map : what is believed of the receivers so far
    walk : the prepared cells
    offset_db : shape (pieces,), the tags' offsets [dB]
    taps : what taps say of places, see `tap_evidence`
    """
    cells, receivers = radio_map.mean_dbm.shape
    weight, total = np.zeros((cells, receivers)), np.zeros((cells, receivers))
    found, heard_of = np.zeros(len(traffic)), np.zeros(len(traffic))
    emission = _Emission(radio_map)
    for pieces in traffic.batches(cells):
        level, heard = traffic.dense(pieces)
        own = level - offset_db[pieces].astype(np.float32) * heard
        nats: dict[int, list[tuple[int, F32]]] = {}
        for lane, piece in enumerate(pieces.tolist() if taps else ()):
            for tick, known in (taps or {}).get(piece, {}).items():
                nats.setdefault(tick, []).append((lane, known))
        beliefs, loglike, robust = _forward(own, heard, walk, emission, nats)
        rest = np.zeros(len(pieces))
        beta = np.ones((cells, len(pieces)), np.float32)
        for tick in range(len(own) - 1, -1, -1):
            if tick < len(own) - 1:
                moved = walk.backward @ (np.exp(loglike[tick + 1]) * beta)
                # Nothing is heard after a piece has ended, so it sends nothing back.
                beta = moved / moved.max(0)
            place = beliefs[tick] * beta
            place /= place.sum(0)
            u = robust[tick]
            weight += place @ u.T
            total += place @ (u * own[tick]).T
            expected = emission.level.T @ place
            rest += (u * (own[tick] - expected)).sum(0)
        share = robust.sum(axis=(0, 1), dtype=np.float64)
        found[pieces] = offset_db[pieces] + rest / np.maximum(share, 1e-9)
        heard_of[pieces] = heard.sum(axis=(0, 1))
    return Heard(weight=weight, level_db=total, offset_db=found, levels=heard_of)


def predicted(traffic: Traffic, radio_map: RadioMap, walk: Walk, offset_db: F64) -> float:
    """Return how well a map predicts each next tick, in nats per heard level.

    Parameters
    ----------
    traffic : held-out traffic
    radio_map : the map to judge
    walk : the prepared cells
    offset_db : shape (pieces,), the tags' offsets under this map [dB]

    Notes
    -----
    Student-t densities of every level under the belief before it is seen; one scale for
    all maps of a comparison, or the bolder one would win.
    """
    emission = _Emission(radio_map)
    nats, levels = 0.0, 0.0
    for pieces in traffic.batches(len(radio_map.mean_dbm)):
        level, heard = traffic.dense(pieces)
        own = level - offset_db[pieces].astype(np.float32) * heard
        belief = np.repeat(walk.prior, len(pieces), axis=1)
        for tick in range(len(own)):
            belief = walk.forward @ belief
            density = emission.student(own[tick], heard[tick])
            peak = density.max(0)
            posterior = belief * np.exp(density - peak)
            mass = posterior.sum(0)
            nats += float((np.log(mass) + peak).sum(dtype=np.float64))
            belief = posterior / mass
        levels += float(heard.sum(dtype=np.float64))
    return nats / max(levels, 1.0)


class _Emission:
    """Likelihood of levels per cell."""

    def __init__(self, radio_map: RadioMap) -> None:
        level = radio_map.mean_dbm - REFERENCE_DBM
        self.level = level.astype(np.float32)
        self.noise = np.float32(radio_map.noise_db)
        self._moments = np.concatenate([level.T, level.T**2]).astype(np.float32)
        w = 1.0 / radio_map.noise_db**2
        self._evidence = np.concatenate([level * w, -0.5 * level**2 * w], axis=1)
        self._evidence = self._evidence.astype(np.float32)

    def weights(self, own: F32, heard: F32, belief: F32) -> F32:
        receivers = len(own)
        expected = self._moments @ belief
        mu = expected[:receivers]
        spread = np.maximum(expected[receivers:] - mu * mu, 0) + self.noise**2
        found: F32 = (
            heard * np.float32(STUDENT_NU + 1) / (np.float32(STUDENT_NU) + (own - mu) ** 2 / spread)
        )
        return found

    def loglike(self, own: F32, weight: F32) -> F32:
        found: F32 = self._evidence @ np.concatenate([weight * own, weight])
        return found

    def student(self, own: F32, heard: F32) -> F32:
        nu, scale = STUDENT_NU, PREDICTION_DB
        found = np.zeros((len(self.level), own.shape[1]), np.float32)
        for r in range(len(own)):
            z = (own[r][None, :] - self.level[:, r, None]) / np.float32(scale)
            found -= np.float32((nu + 1) / 2) * np.log1p(z * z / np.float32(nu)) * heard[r]
        return found


def _forward(
    own: F32, heard: F32, walk: Walk, emission: _Emission, nats: dict[int, list[tuple[int, F32]]]
) -> tuple[F32, F32, F32]:
    ticks, _, lanes = own.shape
    cells = len(walk.forward)
    beliefs = np.empty((ticks, cells, lanes), np.float32)
    loglike = np.empty_like(beliefs)
    robust = np.empty_like(own)
    belief = np.repeat(walk.prior, lanes, axis=1)
    for tick in range(ticks):
        belief = walk.forward @ belief
        robust[tick] = emission.weights(own[tick], heard[tick], belief)
        here = emission.loglike(own[tick], robust[tick])
        for lane, known in nats.get(tick, ()):
            here[:, lane] += known
        here -= here.max(0)
        loglike[tick] = here
        belief = belief * np.exp(here)
        belief /= belief.sum(0)
        beliefs[tick] = belief
    return beliefs, loglike, robust
