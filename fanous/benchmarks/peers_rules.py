"""The zone rules of open peers, written anew from their published constants.

Rules of the file: every rule takes the RSSI of one packet a second, shape (walks,
seconds, receivers), NaN where nothing was heard, and returns the receiver that it
names at the end of each second, shape (walks, seconds), -1 while it has none. Receiver and
zone are one here. A rule sees nothing later than its second.

Sources: reference/positioning.md part 3. reelyActive names the strongest decoding of a
mixing window; ESPresense reports a Tukey mean of 15 s; Bermuda has a hugging mean over 20
intervals and a contest with 30 and 15 per cent; habluetooth before 7.x moves a device
that is heard 16 dB better; room-assistant filters with R .0008 and Q 4.
"""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Zones = NDArray[np.int16]

BERMUDA_REFERENCE_DBM, BERMUDA_ATTENUATION = -55.0, 3.0
BERMUDA_VELOCITY_M_S = 3.0
BERMUDA_TIMEOUT_S = 10
_AWAY_M = 1e6


def strongest(rssi_dbm: Float, *, window_s: int = 2) -> Zones:
    """Name who heard best within a short window (reelyActive), without hysteresis.

    Parameters
    ----------
    rssi_dbm : shape (walks, seconds, receivers) [dBm], NaN = not heard
    window_s : int [s], > 0
    """
    heard = np.where(np.isfinite(rssi_dbm), rssi_dbm, -np.inf)
    best = _best(_windows(heard, window_s, fill=-np.inf).max(axis=-1))
    last = np.maximum.accumulate(np.where(best >= 0, np.arange(best.shape[1]), 0), axis=1)
    return np.take_along_axis(best, last, axis=1)  # an empty window changes nothing


def tukey_nearest(rssi_dbm: Float, *, window_s: int = 15, report_s: int = 5) -> Zones:
    """Name the nearest of what the receivers last reported (ESPresense).

    Parameters
    ----------
    rssi_dbm : shape (walks, seconds, receivers) [dBm], NaN = not heard
    window_s : int [s], over which a receiver takes the mean within Tukey's fences
    report_s : int [s], between two reports of a receiver; each in its own second
    """
    ordered = np.sort(_windows(rssi_dbm, window_s, fill=np.nan), axis=-1)  # NaN goes last
    count = np.isfinite(ordered).sum(-1, keepdims=True)
    low, high = (_quantile(ordered, count, share) for share in (0.25, 0.75))
    reach = 1.5 * (high - low)
    inside = (ordered >= low - reach) & (ordered <= high + reach)
    total = np.where(inside, ordered, 0.0).sum(-1)
    mean = np.where(count[..., 0] > 0, total / np.maximum(inside.sum(-1), 1), -np.inf)
    second, receiver = np.ogrid[: mean.shape[1], : mean.shape[2]]
    reports = (second + receiver) % report_s == 0
    last = np.maximum.accumulate(np.where(reports, second, -1), axis=0)
    reported = mean[:, np.maximum(last, 0), receiver]
    return _best(np.where(last >= 0, reported, -np.inf))


def kalman_strongest(rssi_dbm: Float, *, process: float = 0.0008, noise: float = 4.0) -> Zones:
    """Name who hears best behind a Kalman filter of a constant (room-assistant).

    Parameters
    ----------
    rssi_dbm : shape (walks, seconds, receivers) [dBm], NaN = not heard
    process, noise : variances, per packet [dB²]
    """
    walks, seconds, receivers = rssi_dbm.shape
    level = np.full((walks, receivers), -np.inf)
    variance = np.full((walks, receivers), noise)
    found = np.empty((walks, seconds), np.int16)
    for second in range(seconds):
        new = rssi_dbm[:, second]
        heard = np.isfinite(new)
        first = heard & np.isinf(level)
        level[first] = new[first]
        more = heard & ~first
        variance[more] += process
        gain = variance[more] / (variance[more] + noise)
        level[more] += gain * (new[more] - level[more])
        variance[more] *= 1 - gain
        found[:, second] = _best(level)
    return found


def switch_at(rssi_dbm: Float, *, margin_db: float = 16.0, stale_s: int = 6) -> Zones:
    """Keep a receiver until another one hears a packet so much better (habluetooth, old).

    Parameters
    ----------
    rssi_dbm : shape (walks, seconds, receivers) [dBm], NaN = not heard
    margin_db : float [dB], over the last packet of the one that is kept
    stale_s : int [s], after which a silent receiver may be left for any other: the
        interval of a second and 5 s of patience
    """
    walks, seconds, receivers = rssi_dbm.shape
    current = np.full(walks, -1, np.int16)
    level, seen = np.full(walks, -np.inf), np.full(walks, -1)
    found = np.empty((walks, seconds), np.int16)
    for second in range(seconds):
        for receiver in range(receivers):  # packets come one after the other
            new = rssi_dbm[:, second, receiver]
            takes = (current == receiver) | (new - margin_db > level) | (current < 0)
            takes = np.isfinite(new) & (takes | (second - seen > stale_s))
            current[takes] = receiver
            level[takes], seen[takes] = new[takes], second
        found[:, second] = current
    return found


def ewma_hysteresis(
    rssi_dbm: Float, *, time_s: float = 3.0, margin_db: float = 4.0, hold_s: int = 2
) -> Zones:
    """Smooth, and change when another one is better by a margin for some seconds.

    Parameters
    ----------
    rssi_dbm : shape (walks, seconds, receivers) [dBm], NaN = not heard
    time_s : float [s], of the exponential mean
    margin_db : float [dB]
    hold_s : int [s], for which the same one must be better
    """
    walks, seconds, receivers = rssi_dbm.shape
    rows = np.arange(walks)
    share = 1 - np.exp(-1 / time_s)
    level = np.full((walks, receivers), -np.inf)
    current, candidate = (np.full(walks, -1, np.int16) for _ in range(2))
    held_s = np.zeros(walks, np.int64)
    found = np.empty((walks, seconds), np.int16)
    for second in range(seconds):
        new = rssi_dbm[:, second]
        heard = np.isfinite(new)
        first = heard & np.isinf(level)
        level[first] = new[first]
        more = heard & ~first
        level[more] += share * (new[more] - level[more])
        best = _best(level)
        current = np.where(current < 0, best, current)
        better = level[rows, best] > level[rows, current] + margin_db
        held_s = np.where(better, np.where(best == candidate, held_s, 0) + 1, 0)
        candidate = np.where(better, best, -1).astype(np.int16)
        current = np.where(held_s >= hold_s, best, current).astype(np.int16)
        found[:, second] = current
    return found


def hugging_contest(
    rssi_dbm: Float,
    *,
    samples: int = 20,
    outright: float = 0.30,
    historical: float = 0.15,
    history: tuple[int, int] = (3, 5),
) -> Zones:
    """Let every receiver contest the one that holds a device (Bermuda).

    Parameters
    ----------
    rssi_dbm : shape (walks, seconds, receivers) [dBm], NaN = not heard
    samples : int, intervals of a second in the mean, which hugs the nearest distances
    outright : by which share of their mean distance a nearer receiver wins at once
    historical : by which it wins if its worst distance was better than the other's best
    history : least and largest number of intervals looked at for that
    """
    walks, seconds, receivers = rssi_dbm.shape
    rows = np.arange(walks)
    smooth = _hugging(rssi_dbm, samples)
    current = np.full(walks, -1)
    found = np.empty((walks, seconds), np.int16)
    least, most = history
    for second in range(seconds):
        recent = smooth[:, max(0, second + 1 - most) : second + 1]
        nearest_m, farthest_m = recent.min(axis=1), recent.max(axis=1)
        for receiver in range(receivers):
            mine = smooth[:, second, receiver]
            theirs = np.where(current < 0, _AWAY_M, smooth[rows, second, current])
            gap = np.abs(mine - theirs) / ((mine + theirs) / 2)
            past = (farthest_m[:, receiver] < nearest_m[rows, current]) & (gap > historical)
            past &= recent.shape[1] > least
            wins = (mine < theirs) & (past | (gap >= outright))
            current = np.where(wins, receiver, current)
        found[:, second] = current
    return found


def _hugging(rssi_dbm: Float, samples: int) -> Float:
    """Return Bermuda's distances [m], `_AWAY_M` where nothing was heard for long."""
    walks, seconds, receivers = rssi_dbm.shape
    history = np.full((samples, walks, receivers), np.nan)  # newest first
    raw, kept = np.full((walks, receivers), _AWAY_M), np.full((walks, receivers), _AWAY_M)
    silent_s = np.full((walks, receivers), BERMUDA_TIMEOUT_S + 1)
    smooth = np.empty((walks, seconds, receivers))
    for second in range(seconds):
        new = rssi_dbm[:, second]
        heard = np.isfinite(new)
        distance = 10 ** ((BERMUDA_REFERENCE_DBM - new) / (10 * BERMUDA_ATTENUATION))
        # Who seems to run away faster than anybody can is taken to have stayed.
        fast = heard & (distance - raw > BERMUDA_VELOCITY_M_S * (silent_s + 1))
        raw = np.where(heard, distance, raw)
        kept = np.where(heard & ~fast, distance, kept)
        silent_s = np.where(heard, 0, silent_s + 1)
        gone = silent_s > BERMUDA_TIMEOUT_S
        history = np.roll(history, 1, axis=0)
        history[0] = kept
        history[:, gone] = np.nan
        filled = ~np.isnan(history)
        hugged = np.minimum.accumulate(np.where(filled, history, _AWAY_M), axis=0)
        mean = np.where(filled, hugged, 0.0).sum(0) / np.maximum(filled.sum(0), 1)
        smooth[:, second] = np.where(gone, _AWAY_M, np.minimum(mean, kept))
    return smooth


def _windows(values: Float, window_s: int, *, fill: float) -> Float:
    """Return the last seconds of each second; before the first one stands `fill`."""
    before = np.full((values.shape[0], window_s - 1, values.shape[2]), fill)
    return np.lib.stride_tricks.sliding_window_view(
        np.concatenate([before, values], axis=1), window_s, axis=1
    )


def _quantile(ordered: Float, count: NDArray[np.int64], share: float) -> Float:
    """Return a quantile of sorted values of which the first `count` exist."""
    at = share * np.maximum(count - 1, 0)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    below, above = (np.take_along_axis(ordered, index, -1) for index in (low, high))
    return below + (at - low) * (above - below)


def _best(level: Float) -> Zones:
    """Return who is best, -1 where nobody was heard; the last axis is the receivers'."""
    best = level.argmax(-1).astype(np.int16)
    return np.where(np.isneginf(level.max(-1)), -1, best).astype(np.int16)
