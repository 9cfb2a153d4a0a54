"""Whether the parts of an agent that must never stand still still move.

Rules of the file: each part beats at least every few seconds while it works, also when it has
nothing to do; the heartbeat for systemd's watchdog stops when one of them has not for
`LIMIT_S`, because its disk, its connection or a mistake holds it for ever.
"""

from collections.abc import Callable

LIMIT_S = 45.0
"""More than a connect may take: 10 s for TCP, 10 s for the broker's answer, each then closed."""


class Pulse:
    """The last beat of each part.

    Parameters
    ----------
    clock_s : [s] monotonic
    limit_s : [s] without a beat is too long
    """

    def __init__(self, clock_s: Callable[[], float], *, limit_s: float = LIMIT_S) -> None:
        self._clock_s, self._limit_s = clock_s, limit_s
        self._beats: dict[str, float] = {}

    def beating(self, name: str) -> Callable[[], None]:
        """Return what a part calls; it has beaten now.

        Parameters
        ----------
        name : of the part
        """

        def beat() -> None:
            self._beats[name] = self._clock_s()

        beat()
        return beat

    def hung(self) -> list[str]:
        """Return the parts that stand still."""
        now_s = self._clock_s()
        return sorted(name for name, at_s in self._beats.items() if now_s - at_s > self._limit_s)
