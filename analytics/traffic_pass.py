"""One pass over traffic: where everybody probably was, and what was heard there.

The forward and backward pass of a hidden Markov model (Rabiner 1989, eq. 19, 24 and
27) over batches of tracks, with the power of each track held at one value, because an
offset that may move explains a wrong map away. Only sums per cell and receiver are
kept (the E step of Dempster, Laird and Rubin 1977); the receivers' weights are those
of the position filter (`analytics.tracker`).
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid, transition_matrix
from analytics.filter_model import REFERENCE_DBM
from analytics.radio_map import RadioMap
from analytics.tracker import STUDENT_NU
from analytics.traffic import Traffic, chosen

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Taps = dict[int, dict[int, F32]]
"""Piece to tick within it to log likelihood per cell, shape (cells,)."""

SIGMA_M = 0.9
"""Walk per square root of a second, as in the corrected answer; 0.7 to 1.2 learn alike."""
SHIFT_ROUNDS, SHIFT_STEP = 10, 1.6
"""The belief follows a shifted receiver: a round finds a part of what is left, so step further."""
SHIFT_FLOOR_DB = 0.5
"""What the rounds leave, measured on simulated walks."""
SHIFT_LEVELS_LEAST = 20.0
SHIFT_PARTS = 8
SHIFT_FOLLOWED = 0.65
"""A part of the traffic shows about this share of its own difference from all of it."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifts:
    """By how much receivers hear otherwise than a map says.

    Attributes
    ----------
    shift_db : shape (receivers,), less the median of all, which is the tags' affair; NaN where
        too little was heard
    sd_db : shape (receivers,), its standard error, from parts of the traffic; NaN if unknown
    offset_db : shape (pieces,), the tags' offsets under the shifted map
    """

    shift_db: F64
    sd_db: F64
    offset_db: F64

    def moved(self, least_db: float) -> NDArray[np.bool_]:
        """Tell which receivers shifted at least so much, and clearly more than the error."""
        found: NDArray[np.bool_] = np.abs(self.shift_db) >= np.maximum(least_db, 3 * self.sd_db)
        return found

    def applied(self, radio_map: RadioMap, moved: NDArray[np.bool_]) -> RadioMap:
        """Return the map with the shifts of some receivers in it."""
        shift = np.where(moved & np.isfinite(self.shift_db), self.shift_db, 0.0)
        return dataclasses.replace(radio_map, mean_dbm=radio_map.mean_dbm + shift)


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


def receiver_shifts(
    traffic: Traffic, radio_map: RadioMap, walk: Walk, *, taps: Taps | None = None
) -> Shifts:
    """Find by how much each receiver hears more or less than a map says.

    Parameters
    ----------
    traffic, radio_map, walk : of one store
    taps : what taps say of places, see `tap_evidence`
    """
    receivers = radio_map.mean_dbm.shape[1]
    shift, known = np.zeros(receivers), np.zeros(receivers, np.bool_)
    offsets = level_offsets(traffic, radio_map, walk)
    for _ in range(SHIFT_ROUNDS):
        moved = dataclasses.replace(radio_map, mean_dbm=radio_map.mean_dbm + shift)
        heard = listen(traffic, moved, walk, offsets, taps=taps)
        offsets = heard.offset_db
        left, levels = _mean_residual(heard, moved)
        known = levels >= SHIFT_LEVELS_LEAST
        shift = shift + np.where(known, SHIFT_STEP * left, 0.0)
        # With two receivers nobody can say which of them shifted.
        shift -= np.median(shift[known]) if known.any() else 0.0
        shift[~known] = 0.0
    moved = dataclasses.replace(radio_map, mean_dbm=radio_map.mean_dbm + shift)
    parts = []
    for part in range(min(SHIFT_PARTS, len(traffic))):
        mine = np.arange(len(traffic)) % SHIFT_PARTS == part
        left, levels = _mean_residual(
            listen(chosen(traffic, mine), moved, walk, offsets[mine]), moved
        )
        left = np.where(levels > 0, left, np.nan)
        parts.append(left - np.nanmedian(left) if (levels > 0).any() else left)
    found = np.array(parts).reshape(-1, receivers)
    count = np.isfinite(found).sum(0)
    middle = np.where(count, np.nansum(found, axis=0) / np.maximum(count, 1), np.nan)
    scatter = np.nansum((found - middle) ** 2, axis=0) / np.maximum(count - 1, 1)
    sd = np.hypot(np.sqrt(scatter / np.maximum(count, 1)) / SHIFT_FOLLOWED, SHIFT_FLOOR_DB)
    return Shifts(
        shift_db=np.where(known, shift, np.nan),
        sd_db=np.where(known & (count > 1), sd, np.nan),
        offset_db=offsets,
    )


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


def _mean_residual(heard: Heard, radio_map: RadioMap) -> tuple[F64, F64]:
    """Return what receivers heard less what the map says, on the mean, and the levels behind it."""
    levels: F64 = heard.weight.sum(0)
    expected = (heard.weight * (radio_map.mean_dbm - REFERENCE_DBM)).sum(0)
    return (heard.level_db.sum(0) - expected) / np.maximum(levels, 1e-9), levels


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
