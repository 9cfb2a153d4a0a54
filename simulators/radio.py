"""The radio of a store: what each receiver hears of each wristband.

Rules of the file: the world (offsets, slopes, shadowing) is frozen and drawn from the
store's id alone, so a survey taken once holds for every seed; what changes from
packet to packet comes from the generator that is handed in. Everything is computed
for adverts x receivers at once.

Sources: log-distance law with a slope and offset per receiver as fitted on a real
hall (reference/positioning.md: -60.0 +- 2.6 dBm); shadowing as a Matern-3/2 field by
random Fourier features (Rahimi and Recht 2007); residual of about 4 dB with a quarter
of its variance slow (reference/position-filter.md section 5, autocorrelation .25).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store

Float = NDArray[np.float64]

WRIST_M = 1.0  # height of a wristband
HEARD_DBM = -100.0
HALF_DBM = -93.0  # every second packet is lost here
FLOOR_DB = 25.0  # lost between two floors
_FEATURES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Air:
    """How packets differ from the frozen world, all in dB but the times.

    Attributes
    ----------
    tag_sd_db : of the tags' own power
    body_db : lost at most when the body stands between tag and receiver
    slow_sd_db, slow_s : correlated fading and its time
    fast_sd_db : fading from packet to packet
    loss_p : packets lost to collisions, however strong
    advert_s : between two adverts of a tag, before jitter
    """

    tag_sd_db: float = 4.0
    body_db: float = 6.0
    slow_sd_db: float = 2.0
    slow_s: float = 3.0
    fast_sd_db: float = 3.0
    loss_p: float = 0.1
    advert_s: float = 0.5


class RadioWorld:
    """The frozen part: mean power of each receiver at each place.

    Parameters
    ----------
    store : its id and receivers decide everything
    floor : where tags are; receivers elsewhere hear through the ceiling
    """

    def __init__(self, store: Store, *, floor: str = "0") -> None:
        digest = hashlib.blake2b(b"radio " + store.id.encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "little"))
        count = len(store.receivers)
        self._position = np.array([r.position_m for r in store.receivers]).reshape(-1, 3)
        self._power = rng.normal(-60.0, 2.6, count) + [r.offset_db for r in store.receivers]
        self._power -= [0.0 if r.floor == floor else FLOOR_DB for r in store.receivers]
        self._slope = np.clip(rng.normal(1.9, 0.25, count), 1.4, 2.5)
        scale = np.sqrt(rng.chisquare(3.0, (count, _FEATURES)) / 3.0) * 2.5  # 2.5 m
        self._wave = rng.normal(0.0, 1.0, (count, _FEATURES, 2)) / scale[..., None]
        self._phase = rng.uniform(0.0, 2 * np.pi, (count, _FEATURES))
        self._shadow_db = 3.5 * np.sqrt(2.0 / _FEATURES)

    @property
    def receivers(self) -> int:
        """Number of receivers."""
        return len(self._power)

    def mean_dbm(self, x_m: Float, y_m: Float) -> Float:
        """Return the power of an average tag without a body around.

        Parameters
        ----------
        x_m, y_m : shape (n,), float64 [m]

        Returns
        -------
        mean : shape (n, receivers), float64 [dBm]
        """
        dx = x_m[:, None] - self._position[:, 0]
        dy = y_m[:, None] - self._position[:, 1]
        dz = WRIST_M - self._position[:, 2]
        distance = np.sqrt(dx**2 + dy**2 + dz**2)
        mean: Float = self._power - 10.0 * self._slope * np.log10(np.maximum(distance, 0.5))
        angle = x_m[:, None, None] * self._wave[..., 0] + y_m[:, None, None] * self._wave[..., 1]
        mean += self._shadow_db * np.cos(angle + self._phase).sum(axis=2)
        return mean

    def bearing(self, x_m: Float, y_m: Float) -> Float:
        """Return the direction from each place to each receiver.

        Parameters
        ----------
        x_m, y_m : shape (n,), float64 [m]

        Returns
        -------
        bearing : shape (n, receivers), float64 [rad]
        """
        found: Float = np.arctan2(
            self._position[:, 1] - y_m[:, None], self._position[:, 0] - x_m[:, None]
        )
        return found


def heard_dbm(
    world: RadioWorld,
    air: Air,
    rng: np.random.Generator,
    *,
    x_m: Float,
    y_m: Float,
    heading: Float,
    tag_db: Float,
    slow_db: Float | float = 0.0,
) -> Float:
    """Return what each receiver hears of each advert.

    Parameters
    ----------
    world : the frozen part
    air : the parameters
    rng : source of chance
    x_m, y_m : shape (n,), float64 [m], where the tag is
    heading : shape (n,), float64 [rad], where its wearer looks
    tag_db : shape (n,), float64 [dB], the tag's own power
    slow_db : shape (n, receivers), float64 [dB], correlated fading

    Returns
    -------
    rssi : shape (n, receivers), float64 [dBm] in whole dB, NaN = not heard

    Notes
    -----
    The band is on the left wrist, so the body is to the right of it: the loss is largest
    for receivers to the wearer's right and falls off as a cosine.
    """
    shape = (len(x_m), world.receivers)
    right = heading[:, None] - np.pi / 2
    body_db = air.body_db * (1.0 + np.cos(world.bearing(x_m, y_m) - right)) / 2
    rssi = world.mean_dbm(x_m, y_m) - body_db + tag_db[:, None] + slow_db
    rssi += rng.normal(0.0, air.fast_sd_db, shape)
    caught = (1.0 - air.loss_p) / (1.0 + np.exp((HALF_DBM - rssi) / 2.0))
    rssi = np.round(rssi)
    heard = (rng.random(shape) < caught) & (rssi >= HEARD_DBM) & (rssi <= 20.0)
    found: Float = np.where(heard, rssi, np.nan)
    return found
