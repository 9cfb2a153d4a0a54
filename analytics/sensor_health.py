"""Whether each shelf sensor can be believed: ok, stuck, noisy, offset or silent.

Rules of the file: all sensors at once, states change once a second; `since_ns` is
when the state began, not when it was noticed. A sensor is stuck when at least
`STUCK_SAMPLES` samples over at least `STUCK_TICKS` ticks were identical; one that
has been seen to be that quiet while working needs three times its longest run
(Shelf reference 2.13; the last rule is ours, against false alarms of quiet
plates on coarse converters).
"""

import numpy as np
from numpy.typing import NDArray

from analytics.rows import SensorHealth
from analytics.sample_ticks import TICK_NS

OK, STUCK, NOISY, OFFSET, SILENT = 0, 1, 2, 3, 4
STATES = ("ok", "stuck", "noisy", "offset", "silent")
CHECK_TICKS = 5
SILENT_TICKS = 15
STUCK_TICKS = 50
STUCK_SAMPLES = 300
SLOW_STUCK_TICKS = 300  # below 10 Hz: as many samples take a minute
NOISY_G = 8.0
OFFSET_G = -100.0
_NEVER = -(1 << 62)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Health:
    """The state of every sensor.

    Parameters
    ----------
    names : sensor ids, in flat order
    is_mass : shape (sensors,), bool, only these can be stuck, noisy or offset

    Attributes
    ----------
    state : int8, index into `STATES`
    """

    def __init__(self, names: tuple[str, ...], is_mass: NDArray[np.bool_]) -> None:
        count = len(names)
        self._names = names
        self._is_mass = is_mass
        self.state = np.full(count, -1, np.int8)
        self.heard = np.full(count, _NEVER, np.int64)
        self._first = np.full(count, _NEVER, np.int64)
        self._value = np.full(count, np.nan)
        self._same = np.zeros(count, np.int64)
        self._same_from = np.full(count, _NEVER, np.int64)
        self._longest = np.zeros(count, np.int64)
        self._noisy_from = np.full(count, _NEVER, np.int64)
        self._start: int | None = None

    def see(self, tick: int, sensor: Ints, median: Floats, spread: Floats, count: Ints) -> None:
        """Note the samples of one tick.

        Parameters
        ----------
        tick : number of the tick
        sensor : shape (n,), flat sensor index, each once
        median : shape (n,) [g or mm]
        spread : shape (n,), largest minus smallest sample [g or mm]
        count : shape (n,), samples in the tick
        """
        if self._start is None:
            self._start = tick
        self.heard[sensor] = tick
        new = self._first[sensor] == _NEVER
        self._first[sensor[new]] = tick
        same = (spread == 0.0) & (median == self._value[sensor])
        broken = sensor[~same]
        run = np.where(self._same[broken] > 0, tick - self._same_from[broken], 0)
        was_stuck = self.state[broken] == STUCK
        self._longest[broken] = np.maximum(
            self._longest[broken], np.where(was_stuck, run // 3, run)
        )
        self._same[broken] = np.where(spread[~same] == 0.0, count[~same], 0)
        self._same_from[broken] = tick
        self._same[sensor[same]] += count[same]
        self._value[sensor] = median

    def check(
        self, tick: int, noise_g: Floats, level_g: Floats, is_settled: NDArray[np.bool_]
    ) -> list[SensorHealth]:
        """Return the sensors whose state changed, once a second.

        Parameters
        ----------
        tick : number of the tick; other ticks than every fifth change nothing
        noise_g : shape (sensors,), tick noise of mass sensors [g]
        level_g : shape (sensors,), level of mass sensors [g]
        is_settled : shape (sensors,), bool, the two above mean something

        Returns
        -------
        rows : one for each sensor whose state changed
        """
        if tick % CHECK_TICKS or self._start is None:
            return []
        mass = self._is_mass & is_settled
        run = tick - self._same_from
        stuck = self._is_mass & (self._same >= STUCK_SAMPLES) & (run >= STUCK_TICKS)
        stuck |= self._is_mass & (self._same >= STUCK_TICKS) & (run >= SLOW_STUCK_TICKS)
        stuck &= (run >= 3 * self._longest) | (self.state == STUCK)
        loud = mass & (noise_g > np.where(self.state == NOISY, 0.75 * NOISY_G, NOISY_G))
        self._noisy_from = np.where(
            loud, np.where(self._noisy_from == _NEVER, tick, self._noisy_from), _NEVER
        )
        low = mass & (level_g < np.where(self.state == OFFSET, 0.8 * OFFSET_G, OFFSET_G))
        last = np.maximum(self.heard, self._start)
        silent = tick - last > SILENT_TICKS
        state = np.where(is_settled | ~self._is_mass, OK, self.state)
        state = np.where(~self._is_mass & (self.heard == _NEVER), self.state, state)
        state = np.where(loud & (tick - self._noisy_from >= SILENT_TICKS), NOISY, state)
        state = np.where(low, OFFSET, state)
        state = np.where(stuck, STUCK, state)
        state = np.where(silent, SILENT, state).astype(np.int8)
        changed = np.flatnonzero(state != self.state)
        old, self.state = self.state, state
        return [self._row(int(s), int(old[s]), tick) for s in changed]

    def blind(self) -> NDArray[np.bool_]:
        """Sensors that show nothing: stuck or silent, shape (sensors,)."""
        return np.asarray((self.state == STUCK) | (self.state == SILENT))

    def is_at_rest(self) -> bool:
        """Whether every sensor is known to be silent, so that empty ticks change nothing."""
        return bool(np.all(self.state == SILENT))

    def _row(self, sensor: int, old: int, tick: int) -> SensorHealth:
        state = int(self.state[sensor])
        since, reason = tick, ""
        if state == OK:
            reason = "first seen" if old < 0 else f"was {STATES[old]}"
            since = int(self._first[sensor]) if old < 0 else tick
        elif state == SILENT:
            never = self.heard[sensor] == _NEVER
            since = int(self._start or 0) if never else int(self.heard[sensor]) + 1
            reason = "never heard" if never else "no sample for 3 s"
        elif state == STUCK:
            since, reason = int(self._same_from[sensor]), "identical samples"
        elif state == NOISY:
            since, reason = int(self._noisy_from[sensor]), "noise above 8 g"
        elif state == OFFSET:
            reason = "level below -100 g"
        return SensorHealth(
            sensor=self._names[sensor], state=STATES[state], since_ns=since * TICK_NS, reason=reason
        )
