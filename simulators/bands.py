"""The wristbands on the air: when each sends, how it fades, who hears it.

Rules of the file: state lives in arrays of a fixed number of slots, so memory is
bounded; a slot belongs to one band until it is released.
"""

import numpy as np
from numpy.typing import NDArray

from simulators.chunk import Readings
from simulators.radio import Air, Float, RadioWorld, heard_dbm

JITTER_S = 0.010  # Bluetooth Core 5.4, vol 6, part B, 4.4.2.2.1: advDelay of 0 to 10 ms
CLOCK_SD = 0.02  # bands differ in their interval


class Bands:
    """All bands of a store.

    Parameters
    ----------
    world : the frozen radio
    air : the parameters of packets
    rng : source of chance
    slots : how many bands may be on the air at once
    """

    def __init__(
        self, world: RadioWorld, air: Air, rng: np.random.Generator, *, slots: int
    ) -> None:
        self._world, self._air, self._rng = world, air, rng
        self._next_s = np.full(slots, np.inf)
        self._interval_s = np.full(slots, air.advert_s)
        self._tag_db = np.zeros(slots)
        self._slow_db = np.zeros((slots, world.receivers))

    def start(self, slot: int, at_s: float) -> None:
        """Put a band on the air.

        Parameters
        ----------
        slot : a free one
        at_s : float [s], from the start of the simulation
        """
        air = self._air
        self._interval_s[slot] = air.advert_s * (1.0 + CLOCK_SD * self._rng.normal())
        self._next_s[slot] = at_s + self._rng.uniform(0.0, air.advert_s)
        self._tag_db[slot] = self._rng.normal(0.0, air.tag_sd_db)
        self._slow_db[slot] = self._rng.normal(0.0, air.slow_sd_db, self._world.receivers)

    def stop(self, slot: int) -> None:
        """Take a band off the air.

        Parameters
        ----------
        slot : where it was
        """
        self._next_s[slot] = np.inf

    def listen(
        self,
        *,
        start_ns: int,
        origin_ns: int,
        step_s: float,
        x_m: Float,
        y_m: Float,
        heading: Float,
        present: NDArray[np.bool_],
    ) -> Readings:
        """Return what is heard during a stretch of steps.

        Parameters
        ----------
        start_ns, origin_ns : start of the stretch and of the simulation
        step_s : float [s], between two rows of the tracks
        x_m, y_m, heading : shape (steps + 1, slots), float64 [m], [m], [rad]
        present : shape (steps + 1, slots), bool, who is in the store
        """
        begin_s = (start_ns - origin_ns) / 1e9
        length_s = (len(x_m) - 1) * step_s
        times, slots, slow = self._adverts(begin_s, begin_s + length_s)
        at = np.clip((times - begin_s) / step_s, 0.0, len(x_m) - 1.000001)
        step = at.astype(np.int64)
        share = at - step
        there = present[step, slots]
        times, slots, step, share = times[there], slots[there], step[there], share[there]
        after = np.where(present[step + 1, slots], step + 1, step)
        rssi = heard_dbm(
            self._world,
            self._air,
            self._rng,
            x_m=x_m[step, slots] + share * (x_m[after, slots] - x_m[step, slots]),
            y_m=y_m[step, slots] + share * (y_m[after, slots] - y_m[step, slots]),
            heading=heading[step, slots],
            tag_db=self._tag_db[slots],
            slow_db=slow[there],
        )
        row, receiver = np.nonzero(~np.isnan(rssi))
        return Readings(
            t_ns=origin_ns + np.round(times[row] * 1e9).astype(np.int64),
            receiver=receiver.astype(np.int16),
            tag=slots[row].astype(np.int32),
            rssi_dbm=rssi[row, receiver].astype(np.float32),
        )

    def _adverts(self, begin_s: float, end_s: float) -> tuple[Float, NDArray[np.int64], Float]:
        """Return times, slots and slow fading of all adverts, in order of time."""
        times, slots, fading = [], [], []
        rounds = int((end_s - begin_s) / self._air.advert_s * 1.25) + 3
        for _ in range(rounds):
            due = np.flatnonzero(self._next_s < end_s)
            if not len(due):
                break
            times.append(self._next_s[due])
            slots.append(due)
            gap_s = self._interval_s[due] + self._rng.uniform(0.0, JITTER_S, len(due))
            self._next_s[due] += gap_s
            keep = np.exp(-gap_s / self._air.slow_s)[:, None]
            fresh = self._rng.normal(0.0, self._air.slow_sd_db, (len(due), self._world.receivers))
            self._slow_db[due] = keep * self._slow_db[due] + np.sqrt(1.0 - keep**2) * fresh
            fading.append(self._slow_db[due])
        if not times:
            empty = np.zeros((0, self._world.receivers))
            return np.zeros(0), np.zeros(0, dtype=np.int64), empty
        t, s, f = np.concatenate(times), np.concatenate(slots), np.concatenate(fading)
        order = np.lexsort((s, t))
        return t[order], s[order], f[order]
