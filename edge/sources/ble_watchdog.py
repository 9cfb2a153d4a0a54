"""Telling a deaf radio from an empty shop, and what to do about it.

Rules of the file: pure; times are seconds of any clock that only goes forward. Silence
is measured against the site's own beacon where there is one, else against the senders
that were heard at regular intervals: a radio that falls deaf loses all of them at once, a
shop that closes loses one after the other. Each silence goes up the steps (new scan,
power off and on, ask for a new bluetoothd), with a wait after each; after the last one
the waits double. Known faults behind the steps: reference page ``bluez.md``.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

Step = Literal["scan_restart", "power_cycle", "service_restart_wanted"]
STEPS: tuple[Step, ...] = ("scan_restart", "power_cycle", "service_restart_wanted")
CHECKS = 15
"""Checks in one `watchdog_s`; a silence is called so one and a half early, to be in time."""
_REGULAR_AFTER = 4
_CANDIDATES_MAX, _REGULARS_MAX = 256, 64
_ALL_AT_ONCE = 3  # regular senders that fall silent together: that is the radio
_NOTHING_KNOWN = 10  # silences of watchdog_s before a scan is tried anew without a reason
_WAIT_MAX_S = 600.0


@dataclass(slots=True)
class _Sender:
    last_s: float
    interval_s: float = 0.0
    count: int = 1


class Watchdog:
    """Decides when a silence is a fault.

    Parameters
    ----------
    watchdog_s : [s] a silence this long is noticed
    has_beacon : the site has a beacon of its own, which must always be heard
    """

    def __init__(self, watchdog_s: float, *, has_beacon: bool) -> None:
        self.is_silent = False
        self.lasted_s = 0.0
        """[s] how long the last silence was that has ended."""
        self._watchdog_s, self._has_beacon = watchdog_s, has_beacon
        self._candidates: OrderedDict[str, _Sender] = OrderedDict()
        self._regulars: dict[str, _Sender] = {}
        self._any_s = self._beacon_s = 0.0
        self._step, self._next_s, self._wait_s = 0, 0.0, watchdog_s

    @property
    def misses_beacon_only(self) -> bool:
        """Whether others are heard and the site's beacon is not: its battery, most likely."""
        late_s = self._any_s - self._beacon_s
        return self._has_beacon and self.is_silent and late_s > self._watchdog_s / 2

    def start(self, now_s: float) -> None:
        """Take a first scan as the beginning of time.

        Parameters
        ----------
        now_s : [s]
        """
        self._any_s = self._beacon_s = now_s
        self._regulars.clear()
        self._candidates.clear()
        self.is_silent, self._step, self._wait_s = False, 0, self._watchdog_s

    def hear(self, now_s: float, sender: str) -> bool:
        """Take note of a packet.

        Parameters
        ----------
        now_s : [s] when
        sender : any text that is the same for the same sender

        Returns
        -------
        ended : it ended a silence; `lasted_s` says how long that was
        """
        known = self._regulars.get(sender)
        if known is None:
            known = self._candidates.pop(sender, None) or _Sender(now_s, count=0)
            self._candidates[sender] = known
            if len(self._candidates) > _CANDIDATES_MAX:
                self._candidates.popitem(last=False)
        if known.count and now_s > known.last_s and not self.is_silent:
            gap_s = now_s - known.last_s
            known.interval_s += (gap_s - known.interval_s) / min(known.count, 8)
        known.last_s = now_s
        known.count += 1
        if known.count == _REGULAR_AFTER:
            self._promote(sender, known, now_s)
        last_s, self._any_s = self._any_s, now_s
        return not self._has_beacon and self._end(now_s, last_s)

    def hear_beacon(self, now_s: float) -> bool:
        """Take note of the site's own beacon.

        Parameters
        ----------
        now_s : [s] when

        Returns
        -------
        ended : it ended a silence
        """
        last_s, self._beacon_s = self._beacon_s, now_s
        return self._has_beacon and self._end(now_s, last_s)

    def due(self, now_s: float) -> Step | None:
        """Tell what is to be done now; called `CHECKS` times in `watchdog_s`.

        Parameters
        ----------
        now_s : [s]

        Returns
        -------
        step : None = nothing
        """
        last_s = self._beacon_s if self._has_beacon else self._any_s
        limit_s = self._watchdog_s * (1 - 1.5 / CHECKS)
        together = self._fell_silent()
        if not self._has_beacon and not together:
            limit_s *= _NOTHING_KNOWN
        if now_s - last_s < limit_s:
            return None
        if not self.is_silent:
            self.is_silent, self._step, self._wait_s = True, 0, self._watchdog_s
        elif now_s < self._next_s:
            return None
        step = STEPS[self._step]
        if self._step >= self._last_step(len(together)):
            self._step = 0
            self._next_s = now_s + self._wait_s
            self._wait_s = min(_WAIT_MAX_S, 2 * self._wait_s)
        else:
            self._step += 1
            fastest_s = min((s.interval_s for s in together), default=self._watchdog_s)
            self._next_s = now_s + min(self._watchdog_s, max(self._watchdog_s / 3, 5 * fastest_s))
        return step

    def _last_step(self, together: int) -> int:
        """Return how far a silence may go, by what speaks for a fault."""
        if self._has_beacon:
            return 0 if self.misses_beacon_only else 2
        return 2 if together >= _ALL_AT_ONCE else min(together, 1)

    def _fell_silent(self) -> list[_Sender]:
        """Return the regular senders that were there at the last packet."""
        return [s for s in self._regulars.values() if self._any_s - s.last_s <= 3 * s.interval_s]

    def _promote(self, sender: str, known: _Sender, now_s: float) -> None:
        if not 0 < known.interval_s <= self._watchdog_s / 3:
            known.count = 1  # it may become regular later
            return
        if len(self._regulars) >= _REGULARS_MAX:
            for name, old in list(self._regulars.items()):
                if now_s - old.last_s > 10 * old.interval_s:
                    del self._regulars[name]
        if len(self._regulars) < _REGULARS_MAX:
            self._candidates.pop(sender, None)
            self._regulars[sender] = known

    def _end(self, now_s: float, last_s: float) -> bool:
        if not self.is_silent:
            return False
        self.is_silent, self.lasted_s = False, now_s - last_s
        self._step, self._wait_s = 0, self._watchdog_s
        return True
