"""A survey of a simulated store: what somebody who stands on every metre writes down.

Rules of the file: the same frozen radio as the simulation, a tag of average power;
at each point the surveyor turns through four quarters. One row per point, receiver
and RSSI value with its count, so that power can be averaged in milliwatt.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store
from simulators.floor import Floor
from simulators.places import floor_of, grid_points
from simulators.radio import WRIST_M, Air, RadioWorld, heard_dbm

GAP_M = 1.0
ADVERTS = 40  # about ten seconds at each point


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Rows of a survey; `receiver` is an index into ``Store.receivers``."""

    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]
    z_m: NDArray[np.float64]
    receiver: NDArray[np.int16]
    rssi_dbm: NDArray[np.float64]
    count: NDArray[np.int64]


def take_survey(store: Store, seed: int, *, gap_m: float = GAP_M, air: Air | None = None) -> Survey:
    """Take a survey on a grid over the free floor.

    Parameters
    ----------
    store : the place
    seed : same seed, same rows
    gap_m : float [m], > 0, between neighbouring points
    air : parameters of packets, None = the usual ones
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3])
    floor_name = floor_of(store)
    points = np.asarray(grid_points(Floor(store, floor=floor_name), gap_m)).reshape(-1, 2)
    world = RadioWorld(store, floor=floor_name)
    per_point = np.tile(np.repeat(np.arange(4) * np.pi / 2, ADVERTS // 4), len(points))
    rssi = heard_dbm(
        world,
        air or Air(),
        rng,
        x_m=np.repeat(points[:, 0], ADVERTS),
        y_m=np.repeat(points[:, 1], ADVERTS),
        heading=per_point,
        tag_db=np.zeros(len(per_point)),
    )
    row, receiver = np.nonzero(~np.isnan(rssi))
    keys = np.column_stack([row // ADVERTS, receiver, rssi[row, receiver].astype(np.int64)])
    found, count = np.unique(keys, axis=0, return_counts=True)
    return Survey(
        x_m=np.round(points[found[:, 0], 0], 3),
        y_m=np.round(points[found[:, 0], 1], 3),
        z_m=np.full(len(found), WRIST_M),
        receiver=found[:, 1].astype(np.int16),
        rssi_dbm=found[:, 2].astype(np.float64),
        count=count.astype(np.int64),
    )
