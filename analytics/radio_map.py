"""The radio map: what each receiver would hear of a tag in each cell.

Fitted from a survey (a Gaussian process over a fitted log-distance law) or, when
there is none, drawn from geometry alone. Only differences between receivers
matter afterwards: a tag's own power is an unknown of the position filter.

Constants and equations: kriging of RSSI residuals with a Matérn-3/2 kernel
(Rasmussen and Williams 2006, eq. 2.25, 2.26 and 4.17) over a log-distance law;
values were chosen on recordings of two places, see ``docs/method.md``.
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
    """

    x_m: Array
    y_m: Array
    z_m: Array
    receiver: NDArray[np.int16]
    rssi_dbm: Array
    count: Array
    refused: int


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
    law = p0 - 10 * exponent * np.log10(_distances(store, grid.x_m, grid.y_m, TAG_HEIGHT_M))
    return RadioMap(
        mean_dbm=law,
        sd_db=np.full(law.shape, 6.0),
        p0_dbm=p0,
        exponent=exponent,
        noise_db=NOISE_GEOMETRY_DB,
        source="geometry",
    )


def reduce_survey(
    *,
    x_m: Array,
    y_m: Array,
    z_m: Array,
    receiver: NDArray[np.int16],
    rssi_dbm: Array,
    count: Array,
    square_m: float = 0.5,
) -> SurveyPoints:
    """Average a survey in milliwatt per receiver and square.

    Parameters
    ----------
    x_m, y_m, z_m : shape (n,), float64 [m]; z may be NaN
    receiver : shape (n,), int16, index into `Store.receivers`; -1 = unknown, refused
    rssi_dbm : shape (n,), float64 [dBm]
    count : shape (n,), float64, readings behind a row; NaN counts as 1
    square_m : float [m], > 0

    Notes
    -----
    Powers are averaged in milliwatt, not in dB: deep fades then weigh little
    (10 % better live positions on the recordings).
    """
    count = np.where(np.isfinite(count) & (count > 0), count, 1.0)
    good = (
        np.isfinite(x_m)
        & np.isfinite(y_m)
        & (rssi_dbm >= RSSI_LOW_DBM)
        & (rssi_dbm <= RSSI_HIGH_DBM)
        & (receiver >= 0)
    )
    refused = int((~good).sum())
    x, y, z = x_m[good], y_m[good], z_m[good]
    rx, rssi, n = receiver[good], rssi_dbm[good], count[good]
    if len(x) == 0:
        empty = np.empty(0)
        return SurveyPoints(
            x_m=empty, y_m=empty, z_m=empty, receiver=np.empty(0, np.int16),
            rssi_dbm=empty, count=empty, refused=refused,
        )  # fmt: skip
    keys = np.stack(
        [rx.astype(np.int64), np.floor(x / square_m).astype(np.int64),
         np.floor(y / square_m).astype(np.int64)], axis=1,
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
    p0, exponent = np.zeros(receivers), np.zeros(receivers)
    logs: list[Array] = []
    for r, at in enumerate(rows):
        place = store.receivers[r].position_m
        d = np.sqrt(
            (points.x_m[at] - place[0]) ** 2
            + (points.y_m[at] - place[1]) ** 2
            + (z[at] - place[2]) ** 2
        )
        logs.append(10 * np.log10(np.maximum(d, 0.3)))
        if surveyed[r]:
            p0[r], exponent[r] = _law(logs[r], points.rssi_dbm[at])
    exponent[surveyed] = np.clip(exponent[surveyed], 0.5, 4.5)
    typical = float(exponent[surveyed].mean())
    exponent = np.where(surveyed, typical + SLOPE_SHRINK * (exponent - typical), typical)
    for r, at in enumerate(rows):
        if surveyed[r]:
            p0[r] = float((points.rssi_dbm[at] + exponent[r] * logs[r]).mean())
    p0 = np.where(surveyed, p0, p0[surveyed].mean())

    law = p0 - 10 * exponent * np.log10(_distances(store, grid.x_m, grid.y_m, tag_height))
    mean, sd = law.copy(), np.full(law.shape, GP_SD_DB)
    for r, at in enumerate(rows):
        if not surveyed[r]:
            continue
        residual = points.rssi_dbm[at] - (p0[r] - exponent[r] * logs[r])
        places = np.stack([points.x_m[at], points.y_m[at]], axis=1)
        extra, sd[:, r] = _krige(places, residual, np.stack([grid.x_m, grid.y_m], axis=1))
        mean[:, r] += extra
    return RadioMap(
        mean_dbm=mean,
        sd_db=sd,
        p0_dbm=p0,
        exponent=exponent,
        noise_db=NOISE_SURVEY_DB,
        source="survey",
    )


def _distances(store: Store, x: Array, y: Array, tag_height_m: float) -> Array:
    place = np.array([r.position_m for r in store.receivers])
    d2 = (
        np.subtract.outer(x, place[:, 0]) ** 2
        + np.subtract.outer(y, place[:, 1]) ** 2
        + (tag_height_m - place[:, 2]) ** 2
    )
    distance: Array = np.maximum(np.sqrt(d2), 0.3)
    return distance


def _law(log_distance: Array, rssi_dbm: Array) -> tuple[float, float]:
    spread = float(np.var(log_distance))
    if spread < 1e-6:
        return float(rssi_dbm.mean()), EXPONENT
    slope = float(np.cov(log_distance, rssi_dbm, bias=True)[0, 1]) / spread
    return float(rssi_dbm.mean() - slope * log_distance.mean()), -slope


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
