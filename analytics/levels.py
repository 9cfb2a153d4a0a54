"""From the readings of one tick to one level per tag and receiver.

Powers are summed as integers in a fixed scale, so the order of the readings cannot
matter, and averaged in milliwatt: deep fades then weigh little.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.filter_model import REFERENCE_DBM

LOW_TENTHS, HIGH_TENTHS = -1200, 200
"""Possible RSSI [0.1 dBm]; anything outside is refused on entry."""
_SCALE_DBM = 110.0
_POWER = np.rint(
    10 ** ((np.arange(LOW_TENTHS, HIGH_TENTHS + 1) / 10 + _SCALE_DBM) / 10) * 1000
).astype(np.int64)


def rssi_tenths(rssi_dbm: NDArray[np.floating]) -> NDArray[np.int16]:
    """Round RSSI to 0.1 dB.

    Parameters
    ----------
    rssi_dbm : shape (n,), float [dBm], within -120 to +20

    Returns
    -------
    tenths : shape (n,), int16 [0.1 dBm]
    """
    return np.rint(np.asarray(rssi_dbm, np.float64) * 10).astype(np.int16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What some lanes were heard with in one tick, each of shape (receivers, lanes).

    Attributes
    ----------
    level_db : float32, mean power [dB above `REFERENCE_DBM`], 0 where unheard
    mean_db : float32, mean of the readings themselves, 0 where unheard
    count : int32, readings
    heard : float32, 1 where heard, else 0
    """

    level_db: NDArray[np.float32]
    mean_db: NDArray[np.float32]
    count: NDArray[np.int32]
    heard: NDArray[np.float32]


class TickLevels:
    """Levels of all lanes in one tick.

    Parameters
    ----------
    receivers : int
    """

    def __init__(self, receivers: int) -> None:
        self._receivers = receivers
        self._count = np.zeros((receivers, 0), np.int32)
        self._tenths = np.zeros((receivers, 0), np.int32)
        self._power = np.zeros((receivers, 0), np.int64)

    def reduce(
        self,
        receiver: NDArray[np.int16],
        lane: NDArray[np.int64],
        tenths: NDArray[np.int16],
        lanes: int,
    ) -> None:
        """Add up a tick's readings.

        Parameters
        ----------
        receiver, lane : shape (n,), indices
        tenths : shape (n,), int16 [0.1 dBm]
        lanes : int, how many there are by now
        """
        if self._count.shape[1] != lanes:
            self._count, self._tenths = np.zeros((2, self._receivers, lanes), np.int32)
            self._power = np.zeros((self._receivers, lanes), np.int64)
        else:
            for sums in (self._count, self._tenths, self._power):
                sums[:] = 0
        if len(lane):
            at = receiver.astype(np.int64) * lanes + lane
            # An array of ones: a scalar would take numpy's slow way.
            np.add.at(self._count.ravel(), at, np.ones(len(at), np.int32))
            np.add.at(self._tenths.ravel(), at, tenths.astype(np.int32))
            np.add.at(self._power.ravel(), at, _POWER[tenths.astype(np.int64) - LOW_TENTHS])

    def levels(self) -> Levels:
        """Return the levels of all lanes."""
        count = self._count
        heard = count > 0
        some = np.maximum(count, 1)
        mean = np.maximum(self._power, 1) / (1000.0 * some)
        level = np.where(heard, 10 * np.log10(mean) - (_SCALE_DBM + REFERENCE_DBM), 0.0)
        mean_db = self._tenths / (np.float32(10) * some) - np.float32(REFERENCE_DBM)
        return Levels(
            level_db=level.astype(np.float32),
            mean_db=np.where(heard, mean_db, 0).astype(np.float32),
            count=count.copy(),
            heard=heard.astype(np.float32),
        )
