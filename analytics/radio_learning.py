"""Learning the radio map from ordinary traffic, nobody's place known.

With a survey: first by how much each receiver has shifted as a whole, then one round, a
Gaussian process around the survey's map, which stays the anchor. Without one: first an
offset per receiver, then offset and slope, then rounds of the process. The order matters:
slope or process from the first round on lead astray, and so does a tag's offset that may
move, for it explains any place by another power. Each round
is one of expectation and maximisation (Dempster, Laird and Rubin 1977) over
`analytics.traffic_pass`; the process is that of Rasmussen and Williams 2006, eq. 2.25 and
4.17. Values: ``docs/method.md``.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid
from analytics.filter_model import REFERENCE_DBM
from analytics.kriging import Places, krige
from analytics.radio_map import (
    NOISE_GEOMETRY_DB,
    NOISE_SURVEY_DB,
    P0_DBM,
    RadioMap,
    floor_losses,
    ten_log_distances,
)
from analytics.store import Store
from analytics.traffic import Traffic
from analytics.traffic_pass import (
    F64,
    Heard,
    Taps,
    Walk,
    level_offsets,
    listen,
    predicted,
    receiver_shifts,
)

EXPONENT_START = 1.8
"""Where slopes start from; 1.6 and 2.0 end at the same map."""
OFFSET_ROUNDS, SLOPE_ROUNDS, PROCESS_ROUNDS = 8, 10, 4
RECEIVER_SD_DB = 8.0
"""How far receivers may lie from `P0_DBM` while nothing but their offsets is fitted."""
OFFSET_SD_DB, SLOPE_SD = 4.0, 0.4
TAG_SD_DB, TAG_NOISE_DB = 4.0, 3.0
"""A tag's offset lies so far from the one that its mean level says, and is read so well."""
SURVEY_SD_DB, SURVEY_LENGTH_M = 2.0, 3.0
"""How far the truth may lie from a survey's map from place to place."""
SURVEY_SHIFT_DB, SHIFT_SPREAD_M = 8.0, 1.5
"""How far a receiver may have shifted as a whole, if it heard people walk about so far."""
SHIFT_LEAST_DB, SHIFT_SEEN_DB = 5.0, 4.0
"""Smaller shifts are not believed: believing all of them made real walks worse (0.86 to 0.92 m)."""
LAW_SD_DB, LAW_LENGTH_M = 4.0, 2.5
"""How far it may lie from a log-distance law, as in `analytics.radio_map`."""
CELL_NOISE_DB2, TICK_NOISE_DB2 = 9.0, 36.0
"""A mean of n levels in a cell is uncertain by 36 / n + 9: neighbours in time are alike."""
LEVELS_LEAST = 0.3
"""Cells with fewer expected levels of a receiver say nothing of it."""
TICKS_LEAST = 60
TICKS_MOST = 100_000
"""More ticks of traffic are thinned to this: time and memory stay bounded."""
HELD_OUT = 0.2
_ELSEWHERE_M = 1e6
"""Further than any place on the same floor."""

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What traffic has taught; it does not depend on the size of the cells.

    Attributes
    ----------
    p0_dbm, exponent : shape (receivers,), the learned law; None when a survey is the anchor
    x_m, y_m : shape (n,), float64 [m]
    receiver : shape (n,), int16, index into `Store.receivers`
    residual_db : shape (n,), float64 [dB], mean level there less what the anchor says
    weight : shape (n,), float64, expected levels behind it
    floor : shape (n,), int16, index into `Store.floors`; None if all are on the first
    """

    p0_dbm: F64 | None
    exponent: F64 | None
    x_m: F64
    y_m: F64
    receiver: NDArray[np.int16]
    residual_db: F64
    weight: F64
    floor: NDArray[np.int16] | None = None

    @property
    def on_floor(self) -> NDArray[np.int16]:
        """Floor of each residual, shape (n,), int16."""
        return np.zeros(len(self.x_m), np.int16) if self.floor is None else self.floor


def radio_map_of_law(store: Store, grid: CellGrid, p0_dbm: F64, exponent: F64) -> RadioMap:
    """Draw a radio map from a law of each receiver.

    Parameters
    ----------
    store, grid : the store and its cells
    p0_dbm : shape (receivers,), power at one metre [dBm]
    exponent : shape (receivers,), path-loss exponent
    """
    law = p0_dbm - exponent * ten_log_distances(store, grid) - floor_losses(store, grid.floor)
    return RadioMap(
        mean_dbm=law,
        sd_db=np.full(law.shape, LAW_SD_DB),
        p0_dbm=p0_dbm,
        exponent=exponent,
        noise_db=NOISE_SURVEY_DB,
        source="learned",
    )


def apply_learned(
    anchor: RadioMap | None, store: Store, grid: CellGrid, known: Learned
) -> RadioMap:
    """Add to a map what traffic has taught.

    Parameters
    ----------
    anchor : the survey's map, or None when `known` holds the law itself
    store, grid : the store and its cells
    known : what traffic has taught

    Raises
    ------
    ValueError
        There is neither a survey nor a law.
    """
    sd_db, length_m, shift_db = SURVEY_SD_DB, SURVEY_LENGTH_M, SURVEY_SHIFT_DB
    if known.p0_dbm is not None and known.exponent is not None:
        anchor = radio_map_of_law(store, grid, known.p0_dbm, known.exponent)
        sd_db, length_m, shift_db = LAW_SD_DB, LAW_LENGTH_M, 0.0
    if anchor is None:
        raise ValueError("what traffic has taught has no anchor: neither a survey nor a law")
    mean, sd = anchor.mean_dbm.copy(), anchor.sd_db.copy()
    here = Places(x_m=grid.x_m, y_m=grid.y_m, floor=grid.floor)
    mean_db = _mean_residuals(known, mean.shape[1])
    usual_db = float(np.nanmedian(mean_db)) if np.isfinite(mean_db).any() else 0.0
    for r in range(mean.shape[1]):
        at = known.receiver == r
        if at.any():
            places = np.stack([known.x_m[at], known.y_m[at]], axis=1)
            noise = TICK_NOISE_DB2 / known.weight[at] + CELL_NOISE_DB2
            wide = _spread_m(places, known.weight[at]) >= SHIFT_SPREAD_M
            moved = wide and abs(mean_db[r] - usual_db) >= SHIFT_SEEN_DB
            extra, spread = krige(
                Places(x_m=known.x_m[at], y_m=known.y_m[at], floor=known.on_floor[at]),
                known.residual_db[at], noise, here,
                sd_db=sd_db, length_m=length_m, shift_db=shift_db * moved,
            )  # fmt: skip
            mean[:, r] += extra
            sd[:, r] = np.minimum(sd[:, r], spread)
    return dataclasses.replace(anchor, mean_dbm=mean, sd_db=sd, source="learned")


def learn_around(
    anchor: RadioMap,
    store: Store,
    grid: CellGrid,
    traffic: Traffic,
    *,
    taps: Taps | None = None,
    tell: Tell = lambda _: None,
) -> Learned:
    """Learn how today's levels differ from a survey's map.

    Parameters
    ----------
    anchor : the survey's map
    store, grid : the store and its cells
    traffic : at least one piece
    taps : what taps say of places, see `analytics.traffic_pass.tap_evidence`
    tell : is told the share that is done
    """
    walk = Walk(grid, tick_s=store.rules.tick_s)
    first = listen(traffic, anchor, walk, level_offsets(traffic, anchor, walk), taps=taps)
    offsets, believed = first.offset_db, anchor
    shifts = receiver_shifts(traffic, anchor, walk, taps=taps)
    tell(0.9)
    if (moved := shifts.moved(SHIFT_LEAST_DB)).any():
        offsets, believed = shifts.offset_db, shifts.applied(anchor, moved)
    heard = listen(traffic, believed, walk, offsets, taps=taps)
    tell(1.0)
    return _residuals(heard, grid, anchor)


def learn_alone(
    store: Store,
    grid: CellGrid,
    traffic: Traffic,
    *,
    taps: Taps | None = None,
    tell: Tell = lambda _: None,
) -> Learned:
    """Learn a radio map from traffic and the receivers' positions alone.

    Parameters
    ----------
    store, grid : the store and its cells
    traffic : at least one piece
    taps : as in `learn_around`
    tell : is told the share that is done

    Notes
    -----
    A tag's offset is held near the one its mean level says, as if it had been everywhere
    alike: nothing but that keeps tracks from the walls, where a stronger tag would be.
    """
    walk = Walk(grid, tick_s=store.rules.tick_s)
    distance, loss = ten_log_distances(store, grid), floor_losses(store, grid.floor)
    usual = walk.prior[:, 0].astype(np.float64) @ distance
    start = np.array([P0_DBM + receiver.offset_db for receiver in store.receivers])
    slope = np.full(len(start), EXPONENT_START)
    p0, exponent = start, slope
    law = radio_map_of_law(store, grid, p0, exponent)
    rounds = OFFSET_ROUNDS + SLOPE_ROUNDS + PROCESS_ROUNDS
    done = 0

    def heard_under(believed: RadioMap, before: Heard | None) -> Heard:
        nonlocal done
        offsets = _tag_offsets(traffic, believed, walk, before)
        found = listen(traffic, believed, walk, offsets, taps=taps)
        done += 1
        tell(done / rounds)
        return found

    # The first map is wrong by more than a tick's noise: it must not be believed too much.
    heard = heard_under(dataclasses.replace(law, noise_db=NOISE_GEOMETRY_DB), None)
    for turn in range(OFFSET_ROUNDS):
        shift, _ = _fitted(heard, start - slope * distance - loss, distance - usual, 0.0)
        p0 = _for_the_unheard(start + shift, start, heard)
        if turn < OFFSET_ROUNDS - 1:
            heard = heard_under(radio_map_of_law(store, grid, p0, slope), None)
    middle = p0
    for _ in range(SLOPE_ROUNDS):
        heard = heard_under(radio_map_of_law(store, grid, p0, exponent), heard)
        before = middle - slope * distance - loss
        shift, tilt = _fitted(heard, before, distance - usual, SLOPE_SD)
        exponent = slope + tilt
        p0 = _for_the_unheard(middle + shift + tilt * usual, middle, heard)
    law = radio_map_of_law(store, grid, p0, exponent)
    believed = law
    known = _residuals(heard, grid, law)
    for _ in range(PROCESS_ROUNDS):
        heard = heard_under(believed, heard)
        known = dataclasses.replace(_residuals(heard, grid, law), p0_dbm=p0, exponent=exponent)
        believed = apply_learned(None, store, grid, known)
    return known


def held_out_nats(radio_map: RadioMap, store: Store, grid: CellGrid, traffic: Traffic) -> float:
    """Return how well a map predicts traffic that it was not learned from.

    Parameters
    ----------
    radio_map : the map to judge
    store, grid : the store and its cells
    traffic : held-out traffic

    Returns
    -------
    nats : mean log density of a level before it is heard, up to a constant
    """
    walk = Walk(grid, tick_s=store.rules.tick_s)
    offsets = level_offsets(traffic, radio_map, walk)
    for _ in range(2):
        offsets = listen(traffic, radio_map, walk, offsets).offset_db
    return predicted(traffic, radio_map, walk, offsets)


def moved_db(before: RadioMap, after: RadioMap, grid: CellGrid, known: Learned) -> F64:
    """Return by how much each receiver's level moved where people were.

    Parameters
    ----------
    before, after : two maps of these cells
    grid : the cells
    known : its places and weights say where people were

    Returns
    -------
    moved_db : shape (receivers,), less the median of all, which is the tags' affair; NaN
        where nothing was heard
    """
    receivers = after.mean_dbm.shape[1]
    moved = np.full(receivers, np.nan)
    change = after.mean_dbm - before.mean_dbm
    for r in range(receivers):
        at = known.receiver == r
        if at.any():
            far = np.hypot(
                np.subtract.outer(known.x_m[at], grid.x_m),
                np.subtract.outer(known.y_m[at], grid.y_m),
            )
            # The nearest cell of the same floor; if the plan has none left there, of any.
            far += _ELSEWHERE_M * np.not_equal.outer(known.on_floor[at], grid.floor)
            moved[r] = np.average(change[far.argmin(axis=1), r], weights=known.weight[at])
    return moved - np.nanmedian(moved) if np.isfinite(moved).any() else moved


def _tag_offsets(traffic: Traffic, believed: RadioMap, walk: Walk, before: Heard | None) -> F64:
    usual = level_offsets(traffic, believed, walk)
    if before is None:
        return usual
    read = TAG_NOISE_DB**2 + TICK_NOISE_DB2 / np.maximum(before.levels, 1.0)
    offsets: F64 = usual + TAG_SD_DB**2 / (TAG_SD_DB**2 + read) * (before.offset_db - usual)
    return offsets


def _residuals(heard: Heard, grid: CellGrid, anchor: RadioMap) -> Learned:
    cell, receiver = np.nonzero(heard.weight > LEVELS_LEAST)
    weight = heard.weight[cell, receiver]
    level = heard.level_db[cell, receiver] / weight + REFERENCE_DBM
    return Learned(
        p0_dbm=None,
        exponent=None,
        x_m=grid.x_m[cell],
        y_m=grid.y_m[cell],
        receiver=receiver.astype(np.int16),
        residual_db=level - anchor.mean_dbm[cell, receiver],
        weight=weight,
        floor=grid.floor[cell],
    )


def _fitted(heard: Heard, law: F64, centred: F64, slope_sd: float) -> tuple[F64, F64]:
    """Return how much the offset and the exponent of each receiver differ from a law."""
    weight = np.where(
        heard.weight > LEVELS_LEAST,
        1 / (TICK_NOISE_DB2 / np.maximum(heard.weight, 1e-9) + CELL_NOISE_DB2),
        0.0,
    )
    rest = heard.level_db / np.maximum(heard.weight, 1e-9) + REFERENCE_DBM - law
    offset_sd = OFFSET_SD_DB if slope_sd else RECEIVER_SD_DB
    a = weight.sum(0) + offset_sd**-2
    x = (weight * rest).sum(0)
    if not slope_sd:
        return x / a, np.zeros_like(x)
    b = -(weight * centred).sum(0)
    d = (weight * centred**2).sum(0) + slope_sd**-2
    y = -(weight * rest * centred).sum(0)
    det = a * d - b * b
    return (d * x - b * y) / det, (a * y - b * x) / det


def _for_the_unheard(p0: F64, start: F64, heard: Heard) -> F64:
    """Move receivers that heard nothing by as much as the others moved."""
    known = (heard.weight > LEVELS_LEAST).any(axis=0)
    if known.all() or not known.any():
        return p0
    return np.where(known, p0, start + (p0 - start)[known].mean())


def _mean_residuals(known: Learned, receivers: int) -> F64:
    """Return by how much each receiver hears more than its anchor says, NaN = unheard."""
    weight = np.bincount(known.receiver, known.weight, receivers)
    total = np.bincount(known.receiver, known.weight * known.residual_db, receivers)
    found: F64 = np.where(weight > 0, total / np.maximum(weight, 1e-9), np.nan)
    return found


def _spread_m(places: F64, weight: F64) -> float:
    middle = np.average(places, axis=0, weights=weight)
    off = ((places - middle) ** 2).sum(axis=1)
    return float(np.sqrt(np.average(off, weights=weight)))
