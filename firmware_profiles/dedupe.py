"""Deciding whether a message says something new: repeats, replays and hold-off.

Rules of the file: a profile's `[dedupe]` says what marks a repeat; memory is bounded,
the entry longest unused is forgotten; time is an argument. `fields`: the same values as
last time are a repeat. `counter`: a counter that does not rise is a replay (one below
100 is a restart of the device, as in bthome-ble). `hold_off_s`: the same tag within
that time of its last sighting is one presentation.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firmware_profiles.decoded import Decoded

RESTART_BELOW = 100


@dataclass(slots=True)
class _Last:
    marks: tuple[Any, ...] | None = None
    counter: int = -1
    t_ns: int | None = None


class Deduper:
    """Admits each message once.

    Parameters
    ----------
    capacity : senders remembered
    """

    def __init__(self, capacity: int = 4096) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[tuple[str, str], _Last] = OrderedDict()

    def admits(
        self, found: Decoded, rule: Mapping[str, Any], t_ns: int, *, sender: str = ""
    ) -> bool:
        """Tell whether a message is new, and remember it.

        Parameters
        ----------
        found : the message
        rule : `[dedupe]` of its profile; empty admits everything
        t_ns : when it came [ns]
        sender : address or port, where the message itself does not tell

        Returns
        -------
        Whether the message is to be used.

        Examples
        --------
        >>> tap, rule = Decoded("rdm6300", {}, "em4100:67003b51c6"), {"hold_off_s": 2.0}
        >>> seen = Deduper()
        >>> [seen.admits(tap, rule, t) for t in (0, 10**9, 2 * 10**9, 5 * 10**9)]
        [True, False, False, True]
        """
        if not rule:
            return True
        key = (found.profile, found.tag or sender)
        last = self._seen.pop(key, None)
        new = last is None or self._is_new(found, rule, last, t_ns)
        last = last or _Last()
        last.t_ns = t_ns
        if new:
            last.marks = _marks(found, rule)
            last.counter = found.fields.get(rule.get("counter", ""), -1)
        self._seen[key] = last
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return new

    @staticmethod
    def _is_new(found: Decoded, rule: Mapping[str, Any], last: _Last, t_ns: int) -> bool:
        hold_off = rule.get("hold_off_s")
        if hold_off is not None and last.t_ns is not None and t_ns - last.t_ns < hold_off * 1e9:
            return False
        counter = found.fields.get(rule.get("counter", ""))
        if counter is not None and counter <= last.counter and counter >= RESTART_BELOW:
            return False
        if counter is not None and counter == last.counter:
            return False
        marks = _marks(found, rule)
        return marks is None or marks != last.marks


def _marks(found: Decoded, rule: Mapping[str, Any]) -> tuple[Any, ...] | None:
    names = rule.get("fields", ())
    marks = tuple(found.fields.get(name) for name in names)
    return None if not marks or None in marks else marks
