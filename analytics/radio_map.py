"""The radio map: what each receiver would hear of a tag in each cell.

Fitted from a survey (a Gaussian process over a fitted log-distance law) or, when
there is none, drawn from geometry alone. Only differences between receivers
matter afterwards: a tag's own power is an unknown of the position filter. Floors share
one law with the distance in space and a loss per ceiling; what a survey says beyond the
law holds on its own floor alone.

Constants and equations: kriging of RSSI residuals with a Matérn-3/2 kernel
(Rasmussen and Williams 2006, eq. 2.25, 2.26 and 4.17) over a log-distance law;
values were chosen on recordings of two places, see ``docs/method.md``. The loss between
floors is that of Recommendation ITU-R P.1238 for offices, which gives it for 1.8 to 2 GHz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid
from analytics.store import Store

Array = NDArray[np.float64]

P0_DBM = -59.0
"""Power at one metre when nothing is known; the filter takes out any common error."""
EXPONENT = 2.0
"""Path-loss exponent when nothing is known (free space)."""
TAG_HEIGHT_M = 1.2
"""Height of a worn tag when a survey does not say."""
NOISE_SURVEY_DB = 6.0
NOISE_GEOMETRY_DB = 10.0
GP_SD_DB, GP_LENGTH_M, GP_NOISE_DB = 4.0, 2.5, 3.0
SLOPE_SHRINK = 0.5
SLOPE_LOW, SLOPE_HIGH = 1.0, 5.0
"""Fitted exponents outside are noise: corridors reach down to 1, thick walls up to 5."""
SLOPE_SPREAD_DB = 1.0
"""Places whose 10 log10 of the distance scatters less than this cannot tell a slope."""
FLOOR_LOSS_DB, FLOOR_LOSS_MORE_DB = 15.0, 4.0
"""Loss through the first ceiling, and through each further one."""
RSSI_LOW_DBM, RSSI_HIGH_DBM = -110.0, -20.0
"""Survey values outside are glitches of receivers and are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyPoints:
    """A survey reduced to one power mean per receiver and square of half a metre.

    Attributes
    ----------
    x_m, y_m, z_m : shape (n,), float64 [m]; z is NaN where the survey does not say
    receiver : shape (n,), int16, index into `Store.receivers`
    rssi_dbm : shape (n,), float64 [dBm], mean of the powers in milliwatt
    count : shape (n,), float64, readings behind each mean
    refused : int, survey rows that were impossible or of unknown receivers
    floor : shape (n,), int16, index into `Store.floors`; None if all are on the first
    """

    x_m: Array
    y_m: Array
    z_m: Array
    receiver: NDArray[np.int16]
    rssi_dbm: Array
    count: Array
    refused: int
    floor: NDArray[np.int16] | None = None

    @property
    def on_floor(self) -> NDArray[np.int16]:
        """Floor of each point, shape (n,), int16."""
        return np.zeros(len(self.x_m), np.int16) if self.floor is None else self.floor


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioMap:
    """Expected RSSI in every cell.

    Attributes
    ----------
    mean_dbm : shape (cells, receivers), float64 [dBm]
    sd_db : shape (cells, receivers), float64 [dB], uncertainty of the mean
    p0_dbm, exponent : shape (receivers,), the fitted law P0 − 10 n log10(d)
    noise_db : float [dB], spread of a tick's reading that the filter assumes
    source : "survey", "learned" (from traffic) or "geometry"
    """

    mean_dbm: Array
    sd_db: Array
    p0_dbm: Array
    exponent: Array
    noise_db: float
    source: str


def radio_map_from_geometry(store: Store, grid: CellGrid) -> RadioMap:
    """Draw a radio map from the receivers' positions alone.

    Parameters
    ----------
    store : with receivers and their `offset_db`
    grid : its cells
    """
    offset = np.array([r.offset_db for r in store.receivers])
    p0 = P0_DBM + offset
    exponent = np.full(len(p0), EXPONENT)
    law = p0 - exponent * ten_log_distances(store, grid) - floor_losses(store, grid.floor)
    return RadioMap(
        mean_dbm=law,
        sd_db=np.full(law.shape, 6.0),
        p0_dbm=p0,
        exponent=exponent,
        noise_db=NOISE_GEOMETRY_DB,
        source="geometry",
    )


def ten_log_distances(store: Store, grid: CellGrid, tag_height_m: float = TAG_HEIGHT_M) -> Array:
    """Return 10 log10 of the distance in space between cells and receivers.

    Parameters
    ----------
    store, grid : the store and its cells
    tag_height_m : float [m] above the floor of the cell

    Returns
    -------
    ten_log_d : shape (cells, receivers), float64 [dB re 1 m]; nearer than 0.3 m counts as that
    """
    height = np.full(len(grid), tag_height_m)
    return _ten_log_distances(store, grid.x_m, grid.y_m, height, grid.floor)


def floor_losses(store: Store, floor: NDArray[np.int16]) -> Array:
    """Return what the ceilings between places and receivers take away.

    Parameters
    ----------
    store : floors at one level, like two houses, have no ceiling between them
    floor : shape (n,), int16, index into `Store.floors`

    Returns
    -------
    loss_db : shape (n, receivers), float64 [dB], 0 on the receiver's own floor
    """
    _, storey = np.unique([each.level_m for each in store.floors], return_inverse=True)
    theirs = storey[_receiver_floors(store)]
    ceilings = np.abs(np.subtract.outer(storey[floor], theirs))
    loss: Array = np.where(ceilings > 0, FLOOR_LOSS_DB + FLOOR_LOSS_MORE_DB * (ceilings - 1), 0.0)
    return loss


def reduce_survey(
    *,
    x_m: Array,
    y_m: Array,
    z_m: Array,
    receiver: NDArray[np.int16],
    rssi_dbm: Array,
    count: Array,
    floor: NDArray[np.int16] | None = None,
    square_m: float = 0.5,
) -> SurveyPoints:
    """Average a survey in milliwatt per receiver and square.

    Parameters
    ----------
    x_m, y_m, z_m : shape (n,), float64 [m]; z may be NaN
    receiver : shape (n,), int16, index into `Store.receivers`; -1 = unknown, refused
    rssi_dbm : shape (n,), float64 [dBm]
    count : shape (n,), float64, readings behind a row; NaN counts as 1
    floor : shape (n,), int16, index into `Store.floors`, -1 = unknown, refused; None = the first
    square_m : float [m], > 0

    Notes
    -----
    Powers are averaged in milliwatt, not in dB: deep fades then weigh little
    (10 % better live positions on the recordings).
    """
    level = np.zeros(len(x_m), np.int16) if floor is None else floor
    count = np.where(np.isfinite(count) & (count > 0), count, 1.0)
    good = (
        np.isfinite(x_m)
        & np.isfinite(y_m)
        & (rssi_dbm >= RSSI_LOW_DBM)
        & (rssi_dbm <= RSSI_HIGH_DBM)
        & (receiver >= 0)
        & (level >= 0)
    )
    refused = int((~good).sum())
    x, y, z = x_m[good], y_m[good], z_m[good]
    rx, rssi, n = receiver[good], rssi_dbm[good], count[good]
    if len(x) == 0:
        empty = np.empty(0)
        return SurveyPoints(
            x_m=empty, y_m=empty, z_m=empty, receiver=np.empty(0, np.int16),
            rssi_dbm=empty, count=empty, refused=refused, floor=np.empty(0, np.int16),
        )  # fmt: skip
    keys = np.stack(
        [rx.astype(np.int64), np.floor(x / square_m).astype(np.int64),
         np.floor(y / square_m).astype(np.int64), level[good].astype(np.int64)], axis=1,
    )  # fmt: skip
    found, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.ravel()
    # Rows are summed in an order that does not depend on the file's.
    order = np.lexsort((n, rssi, z, y, x, group))
    x, y, z, rssi, n = (a[order] for a in (x, y, z, rssi, n))
    group = group[order]
    total = np.bincount(group, n).astype(np.float64)

    def mean(values: Array) -> Array:
        return np.bincount(group, values * n) / total

    return SurveyPoints(
        x_m=mean(x),
        y_m=mean(y),
        z_m=mean(z),
        receiver=found[:, 0].astype(np.int16),
        rssi_dbm=10 * np.log10(mean(10 ** (rssi / 10))),
        count=total,
        refused=refused,
        floor=found[:, 3].astype(np.int16),
    )


def fit_radio_map(store: Store, grid: CellGrid, points: SurveyPoints) -> RadioMap:
    """Fit the radio map of a survey.

    Parameters
    ----------
    store : whose receivers the points index
    grid : the cells to predict
    points : the reduced survey

    Raises
    ------
    ValueError
        No receiver has four points or more.
    """
    receivers = len(store.receivers)
    height = points.z_m[np.isfinite(points.z_m)]
    tag_height = float(np.median(height)) if len(height) else TAG_HEIGHT_M
    z = np.where(np.isfinite(points.z_m), points.z_m, tag_height)
    rows = [np.flatnonzero(points.receiver == r) for r in range(receivers)]
    surveyed = np.array([len(r) >= 4 for r in rows])
    if not surveyed.any():
        raise ValueError("the survey has no receiver of this store with four places or more")
    floor = points.on_floor
    away = _ten_log_distances(store, points.x_m, points.y_m, z, floor)
    # Ceilings are taken out first, so that all floors speak of one law.
    own = np.arange(len(points.x_m)), points.receiver
    log_distance = away[own]
    level = points.rssi_dbm + floor_losses(store, floor)[own]
    slope = np.array([_slope(log_distance[at], level[at]) for at in rows])
    told = np.isfinite(slope)
    slope = np.clip(slope, SLOPE_LOW, SLOPE_HIGH)
    typical = float(slope[told].mean()) if told.any() else EXPONENT
    exponent = np.where(told, typical + SLOPE_SHRINK * (slope - typical), typical)
    p0 = np.zeros(receivers)
    for r, at in enumerate(rows):
        if surveyed[r]:
            p0[r] = float((level[at] + exponent[r] * log_distance[at]).mean())
    p0 = np.where(surveyed, p0, p0[surveyed].mean())

    law = p0 - exponent * ten_log_distances(store, grid, tag_height)
    law -= floor_losses(store, grid.floor)
    mean, sd = law.copy(), np.full(law.shape, GP_SD_DB)
    targets = np.stack([grid.x_m, grid.y_m], axis=1)
    for r, at in enumerate(rows):
        if not surveyed[r]:
            continue
        residual = level[at] - (p0[r] - exponent[r] * log_distance[at])
        places = np.stack([points.x_m[at], points.y_m[at]], axis=1)
        for storey in np.unique(floor[at]).tolist():
            there, here = floor[at] == storey, grid.cells_of(storey)
            extra, sd[here, r] = _krige(places[there], residual[there], targets[here])
            mean[here, r] += extra
    return RadioMap(
        mean_dbm=mean,
        sd_db=sd,
        p0_dbm=p0,
        exponent=exponent,
        noise_db=NOISE_SURVEY_DB,
        source="survey",
    )


def _receiver_floors(store: Store) -> NDArray[np.int64]:
    return np.array([store.floor_index(receiver.floor) for receiver in store.receivers], np.int64)


def _ten_log_distances(
    store: Store, x_m: Array, y_m: Array, height_m: Array, floor: NDArray[np.int16]
) -> Array:
    level = np.array([each.level_m for each in store.floors])
    place = np.array([receiver.position_m for receiver in store.receivers])
    d2 = (
        np.subtract.outer(x_m, place[:, 0]) ** 2
        + np.subtract.outer(y_m, place[:, 1]) ** 2
        + np.subtract.outer(height_m + level[floor], place[:, 2] + level[_receiver_floors(store)])
        ** 2
    )
    ten_log: Array = 10 * np.log10(np.maximum(np.sqrt(d2), 0.3))
    return ten_log


def _slope(log_distance: Array, level_dbm: Array) -> float:
    """Return the fitted path-loss exponent, NaN where the places cannot tell it."""
    if len(log_distance) < 4 or float(np.std(log_distance)) < SLOPE_SPREAD_DB:
        return np.nan
    spread = float(np.var(log_distance))
    return -float(np.cov(log_distance, level_dbm, bias=True)[0, 1]) / spread


def _krige(places: Array, residual: Array, targets: Array) -> tuple[Array, Array]:
    def kernel(a: Array, b: Array) -> Array:
        d = np.hypot(*(np.subtract.outer(a[:, i], b[:, i]) for i in (0, 1)))
        s = np.sqrt(3.0) * d / GP_LENGTH_M
        covariance: Array = GP_SD_DB**2 * (1 + s) * np.exp(-s)
        return covariance

    k = kernel(places, places)
    k[np.diag_indices_from(k)] += GP_NOISE_DB**2
    cross = kernel(targets, places)
    solved = np.linalg.solve(k, np.concatenate([residual[:, None], cross.T], axis=1))
    variance = GP_SD_DB**2 - np.einsum("ij,ji->i", cross, solved[:, 1:])
    return cross @ solved[:, 0], np.sqrt(np.maximum(variance, 0.0))
