"""Telling a new press or value from the same one heard again.

Rules of the file: pure; times are nanoseconds of one clock; memory is bounded, the sender
longest unheard is forgotten. A message with a mark (packet id, counter) is new when its
mark is another, since a device sends one press many times with one mark; after a minute of
silence the same mark is new, too, since ids of one byte come round. A message without a
mark is new when the sender was silent for the hold-off. Each hearing prolongs the wait.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

_FORGET_NS = 60_000_000_000
_RECENT_NS = 3_000_000_000  # a button sends one press for a second or two


class _Last(NamedTuple):
    mark: Hashable | None
    t_ns: int


class Repeats:
    """Admits each press or value once.

    Parameters
    ----------
    hold_off_s : [s] silence that separates messages without a mark; 0 = all are new
    capacity : senders remembered
    """

    def __init__(self, hold_off_s: float, *, capacity: int = 4096) -> None:
        self._hold_off_ns = round(hold_off_s * 1e9)
        self._capacity = capacity
        self._last: OrderedDict[str, _Last] = OrderedDict()

    def admits(self, sender: str, mark: Hashable | None, t_ns: int) -> bool:
        """Tell whether a message is new, and remember it.

        Parameters
        ----------
        sender : whose
        mark : what is the same in all sendings of one message; None = there is nothing
        t_ns : [ns] when it was heard
        """
        last = self._last.pop(sender, None)
        self._last[sender] = _Last(mark, t_ns)
        if len(self._last) > self._capacity:
            self._last.popitem(last=False)
        if last is None:
            return True
        silence_ns = t_ns - last.t_ns
        if mark is None or last.mark is None:
            return silence_ns >= self._hold_off_ns
        return mark != last.mark or silence_ns >= _FORGET_NS


class Recent:
    """Knows what was really said a moment ago.

    A radio that is told only what changed hears one press many times and its data once.

    Parameters
    ----------
    capacity : senders remembered
    """

    def __init__(self, *, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._said: OrderedDict[str, _Last] = OrderedDict()

    def note(self, sender: str, mark: Hashable | None, t_ns: int) -> None:
        """Remember a message that came with its data.

        Parameters
        ----------
        sender, mark, t_ns : as of `Repeats.admits`
        """
        self._said[sender] = _Last(mark, t_ns)
        self._said.move_to_end(sender)
        if len(self._said) > self._capacity:
            self._said.popitem(last=False)

    def holds(self, sender: str, mark: Hashable | None, t_ns: int) -> bool:
        """Tell whether a message without data of its own may be that one.

        Parameters
        ----------
        sender, mark, t_ns : as of `Repeats.admits`
        """
        said = self._said.get(sender)
        return said is not None and said.mark == mark and t_ns - said.t_ns < _RECENT_NS
