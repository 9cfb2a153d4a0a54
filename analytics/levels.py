"""From the readings of one tick to one level per tag and receiver.

Powers are summed as integers in a fixed scale, so the order of the readings cannot
matter, and averaged in milliwatt: deep fades then weigh little.
"""

import numpy as np
from numpy.typing import NDArray

from analytics.tracker import REFERENCE_DBM

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


class TickLevels:
    """Levels of one block of lanes in one tick, with reused scratch.

    Parameters
    ----------
    receivers, lanes : int
    """

    def __init__(self, receivers: int, lanes: int) -> None:
        self._count = np.zeros((receivers, lanes), np.int32)
        self._power = np.zeros((receivers, lanes), np.int64)

    def reduce(
        self, receiver: NDArray[np.int16], lane: NDArray[np.int64], tenths: NDArray[np.int16]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """Average a tick's readings.

        Parameters
        ----------
        receiver, lane : shape (n,), indices into the block
        tenths : shape (n,), int16 [0.1 dBm]

        Returns
        -------
        level_db : shape (receivers, lanes), float32 [dB above `REFERENCE_DBM`], 0 where unheard
        heard : shape (receivers, lanes), float32, 1 where heard, else 0
        readings : shape (lanes,), int32, readings of each lane
        """
        count, power = self._count, self._power
        count[:] = 0
        power[:] = 0
        if len(lane):
            at = receiver.astype(np.int64) * count.shape[1] + lane
            np.add.at(count.ravel(), at, 1)
            np.add.at(power.ravel(), at, _POWER[tenths.astype(np.int64) - LOW_TENTHS])
        heard = count > 0
        mean = np.maximum(power, 1) / (1000.0 * np.maximum(count, 1))
        level = np.where(heard, 10 * np.log10(mean) - _SCALE_DBM - REFERENCE_DBM, 0.0)
        return level.astype(np.float32), heard.astype(np.float32), count.sum(0, dtype=np.int32)
