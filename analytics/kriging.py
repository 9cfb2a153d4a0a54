"""Residuals of a receiver's levels between places where they are known.

A Gaussian process with a Matérn-3/2 kernel (Rasmussen and Williams 2006, eq. 2.25, 2.26
and 4.17) on each floor by itself: what furniture does to levels on one floor says nothing
of another. A shift of the receiver as a whole is common to all floors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Places with their floors.

    Attributes
    ----------
    x_m, y_m : shape (n,), float64 [m]
    floor : shape (n,), int16, index into `Store.floors`
    """

    x_m: F64
    y_m: F64
    floor: NDArray[np.int16]


def krige(
    places: Places,
    residual_db: F64,
    noise_db2: F64,
    targets: Places,
    *,
    sd_db: float,
    length_m: float,
    shift_db: float,
) -> tuple[F64, F64]:
    """Return the residual at other places, as a common shift and a process, and its deviation.

    Parameters
    ----------
    places : where the residuals are known, at least one
    residual_db : shape (places,), float64 [dB]
    noise_db2 : shape (places,), float64 [dB²], variance with which each is known
    targets : where they are wanted
    sd_db : float [dB], of the process on a floor
    length_m : float [m], over which it changes
    shift_db : float [dB], standard deviation of the common shift, 0 = there is none

    Returns
    -------
    residual_db, sd_db : shape (targets,) each, float64 [dB]

    Examples
    --------
    >>> at = Places(x_m=np.zeros(1), y_m=np.zeros(1), floor=np.zeros(1, np.int16))
    >>> up = Places(x_m=np.zeros(2), y_m=np.zeros(2), floor=np.array([0, 1], np.int16))
    >>> known, sd = krige(at, np.array([6.0]), np.array([4.0]), up, sd_db=2.0, length_m=3.0,
    ...                   shift_db=0.0)
    >>> known.tolist(), sd.round(3).tolist()
    ([3.0, 0.0], [1.414, 2.0])
    """

    def kernel(a: Places, b: Places) -> F64:
        d = np.hypot(np.subtract.outer(a.x_m, b.x_m), np.subtract.outer(a.y_m, b.y_m))
        s = np.sqrt(3.0) * d / length_m
        same = np.equal.outer(a.floor, b.floor)
        covariance: F64 = same * (sd_db**2 * (1 + s) * np.exp(-s)) + shift_db**2
        return covariance

    k = kernel(places, places)
    k[np.diag_indices_from(k)] += noise_db2
    cross = kernel(targets, places)
    solved = np.linalg.solve(k, np.concatenate([residual_db[:, None], cross.T], axis=1))
    variance = sd_db**2 + shift_db**2 - np.einsum("ij,ji->i", cross, solved[:, 1:])
    return cross @ solved[:, 0], np.sqrt(np.maximum(variance, 0.0))
