"""The bounded queue between the network thread and the commit thread.

Rules of the file: who puts waits while it is full; nothing is dropped. Messages go in and
come out in portions, because each change of threads has a price.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

_LOOK_S = 0.2


class Arrived(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message as it came; `connection` counts connections, for `acknowledge`."""

    topic: str
    payload: bytes
    received_ns: int
    mid: int
    qos: int
    connection: int
    is_retained: bool = False


class Inbox:
    """Messages that have arrived, oldest first.

    Parameters
    ----------
    most : messages it holds before `put` waits
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._messages: deque[Arrived] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._messages)

    def put(self, messages: Sequence[Arrived], *, is_stopping: Callable[[], bool]) -> None:
        """Add messages; wait while it is full.

        Parameters
        ----------
        messages : in order of arrival; all of them go in when there is room for one
        is_stopping : ends the wait; then they are not added
        """
        with self._changed:
            while len(self._messages) >= self._most:
                if is_stopping():
                    return
                self._changed.wait(_LOOK_S)
            self._messages.extend(messages)
            self._changed.notify_all()

    def take(
        self,
        *,
        wait_s: float,
        group_s: float,
        group_max: int,
        is_urgent: Callable[[Arrived], bool],
        quiet_s: float | None = None,
        quiet_least: int = 1,
    ) -> list[Arrived]:
        """Take the messages of one group commit.

        Parameters
        ----------
        wait_s : [s] longest wait for the first message; then the group is empty
        group_s : [s] longest wait for more after the first
        group_max : a group this large is complete
        is_urgent : tells which messages end the group at once (taps)
        quiet_s : [s] a group of at least `quiet_least` is complete when nothing more came for
            so long: the broker waits for acknowledgements before it sends more; None = never
        quiet_least : see there
        """
        group: list[Arrived] = []
        with self._changed:
            if not self._messages:
                self._changed.wait(wait_s)
            until = time.monotonic() + group_s
            while self._messages or group:
                if self._take_some(group, group_max, is_urgent):
                    break
                left_s = until - time.monotonic()
                may_end = quiet_s is not None and len(group) >= quiet_least
                if left_s <= 0.0 or not self._changed.wait(
                    min(left_s, quiet_s) if may_end and quiet_s is not None else left_s
                ):
                    break
        return group

    def _take_some(
        self, group: list[Arrived], group_max: int, is_urgent: Callable[[Arrived], bool]
    ) -> bool:
        """Move what is there to the group; return whether the group is complete."""
        was_full = len(self._messages) >= self._most
        is_complete = False
        while self._messages and not is_complete:
            group.append(self._messages.popleft())
            is_complete = len(group) >= group_max or is_urgent(group[-1])
        if was_full:
            self._changed.notify_all()
        return is_complete
