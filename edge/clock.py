"""The agent's clock: it runs on by itself, and follows the system's clock by a rule.

Rules of the file: time is the monotonic clock plus a base, so a jump of the system's clock
(NTP's step, somebody's ``date``) does not move a row by itself. `look`, called each second,
compares both. Below `STEP_NS` they are brought together by at most `SLEW_PPM`, as adjtime(3)
and NTP do (RFC 5905, section 12: 500 ppm). More is a step, and is followed when it was seen
twice and somebody else confirms it: the kernel says that its clock is kept, or the gateway's
time, told in its acknowledgements, is nearer to it than half the round trip and `AGREES_NS`.
Else it is told in the status and not followed. Forward the clock jumps; back it never goes
within a boot: the agent begins another boot first (`wants_boot`, `go_back`).
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

STEP_NS = 500_000_000
SLEW_PPM = 500
AGREES_NS = 250_000_000
ROUND_TRIP_MAX_NS = 1_000_000_000
UNSET_BEFORE_NS = 1_704_067_200_000_000_000
"""[ns] 2024: a clock before it was never set."""
_BEHIND_NS = 60_000_000_000
_SAME_NS = 100_000_000
_SLEWING_NS = 10_000_000
_SAMPLES, _SAMPLE_AGE_NS = 8, 600_000_000_000
log = logging.getLogger("fanous.edge.clock")


class _Sample(NamedTuple):
    """The gateway's time less the monotonic clock, when it was heard, how sure it is [ns]."""

    base_ns: int
    heard_ns: int
    error_ns: int


class AgentClock:
    """The clock of an agent and its sources.

    Parameters
    ----------
    wall_ns : [ns since 1970, UTC] the system's clock
    monotonic_ns : [ns] a clock that nobody sets, counting while the machine sleeps
    is_kept : tells whether the kernel says that NTP keeps its clock
    """

    def __init__(
        self,
        wall_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
        *,
        is_kept: Callable[[], bool] = lambda: False,
    ) -> None:
        self._wall_ns, self._monotonic_ns, self._is_kept = wall_ns, monotonic_ns, is_kept
        self._at_ns = monotonic_ns()
        self._base_ns = wall_ns() - self._at_ns
        self._slew_ns = 0
        self._wall_offset_ns = 0
        self._seen_ns: int | None = None
        self._is_told = False
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)
        self._newest_ns = 0
        self.wants_boot = False

    def now_ns(self) -> int:
        """Return the agent's time [ns since 1970, UTC]; it never goes back within a boot."""
        at_ns = self._monotonic_ns()
        return at_ns + self._base_ns + self._slewed(at_ns)

    def begin(self, newest_ns: int) -> None:
        """Tell what is wrong with the clock at the start.

        Parameters
        ----------
        newest_ns : [ns] when the newest batch of the outbox was closed, by this agent's clock
        """
        self._newest_ns = newest_ns
        now_ns = self.now_ns()
        if now_ns < UNSET_BEFORE_NS:
            log.warning(
                "clock unset now_s=%d; it says a year before 2024, so rows will be refused: "
                "set it, timedatectl set-ntp true",
                now_ns // 10**9,
            )
        elif now_ns < newest_ns - _BEHIND_NS:
            log.warning(
                "clock behind by_s=%d; rows were stored later than it says: set it, "
                "timedatectl set-ntp true",
                (newest_ns - now_ns) // 10**9,
            )

    def look(self) -> None:
        """Compare with the system's clock, and follow it as far as the rule lets."""
        at_ns, offset_ns = self._compare()
        self._base_ns += self._slewed(at_ns)
        self._at_ns, self._slew_ns = at_ns, 0
        offset_ns -= self._base_ns
        self._wall_offset_ns = offset_ns
        self.wants_boot = False
        if abs(offset_ns) < STEP_NS:
            self._slew_ns, self._seen_ns = offset_ns, None
            self._tell_together()
            return
        is_steady = self._seen_ns is not None and abs(offset_ns - self._seen_ns) <= _SAME_NS
        self._seen_ns = offset_ns
        if not is_steady or not (self._is_kept() or self._gateway_agrees(offset_ns)):
            self._tell_apart(offset_ns)
        elif offset_ns > 0:
            self._follow(offset_ns)
        else:
            self.wants_boot = True

    def go_back(self) -> None:
        """Follow a confirmed step back; the caller has begun another boot."""
        if self.wants_boot:
            self._follow(self._wall_offset_ns)

    def hear(self, gateway_ns: int, round_trip_ns: int) -> None:
        """Take what an acknowledgement, just received, says of the gateway's time.

        Parameters
        ----------
        gateway_ns : [ns] the gateway's clock when it acknowledged
        round_trip_ns : [ns] since the batch was sent; a long one is no measurement
        """
        if not 0 <= round_trip_ns <= ROUND_TRIP_MAX_NS:
            return
        # It was said somewhere between sending and now (RFC 5905, section 8).
        heard_ns, error_ns = self._monotonic_ns(), round_trip_ns // 2
        self._samples.append(_Sample(gateway_ns - heard_ns + error_ns, heard_ns, error_ns))

    def state(self) -> dict[str, Any]:
        """Return what the status says of the clock.

        Returns
        -------
        clock : ``now_ns``; ``offset_ms``, how far it is ahead of the gateway's, None = not
            known; ``wall_offset_ms``, how far the system's clock is ahead of it; ``state``
        """
        now_ns = self.now_ns()
        best = self._best()
        ours_ns = now_ns - self._monotonic_ns()
        return {
            "now_ns": now_ns,
            "offset_ms": None if best is None else round((ours_ns - best.base_ns) / 1e6, 1),
            "wall_offset_ms": round(self._wall_offset_ns / 1e6, 1),
            "state": self._word(now_ns),
        }

    def _compare(self) -> tuple[int, int]:
        """Return the monotonic clock, and the system's clock less it, read close together."""
        read = []
        for _ in range(3):
            before_ns, wall_ns, after_ns = (
                self._monotonic_ns(),
                self._wall_ns(),
                self._monotonic_ns(),
            )
            read.append((after_ns - before_ns, after_ns, wall_ns - (before_ns + after_ns) // 2))
        return read[-1][1], min(read)[2]

    def _slewed(self, at_ns: int) -> int:
        most_ns = max(0, at_ns - self._at_ns) * SLEW_PPM // 1_000_000
        return max(-most_ns, min(most_ns, self._slew_ns))

    def _best(self) -> _Sample | None:
        """Return the sample with the shortest round trip, as NTP's clock filter does."""
        oldest_ns = self._monotonic_ns() - _SAMPLE_AGE_NS
        fresh = [sample for sample in self._samples if sample.heard_ns >= oldest_ns]
        return min(fresh, key=lambda sample: sample.error_ns, default=None)

    def _gateway_agrees(self, offset_ns: int) -> bool:
        best = self._best()
        if best is None:
            return False
        apart_ns = abs(best.base_ns - (self._base_ns + offset_ns))
        return apart_ns <= best.error_ns + AGREES_NS

    def _follow(self, offset_ns: int) -> None:
        self._base_ns += offset_ns
        self._wall_offset_ns, self._seen_ns, self.wants_boot = 0, None, False
        log.warning("clock stepped by_s=%+.3f; the agent follows", offset_ns / 1e9)
        self._is_told = False

    def _tell_apart(self, offset_ns: int) -> None:
        if not self._is_told:
            self._is_told = True
            log.warning(
                "clock apart by_s=%+.3f; the agent goes on by its own until the kernel says that "
                "NTP keeps the system's, or the gateway agrees with it",
                offset_ns / 1e9,
            )

    def _tell_together(self) -> None:
        if self._is_told:
            self._is_told = False
            log.warning("clock together again")

    def _word(self, now_ns: int) -> str:
        if now_ns < UNSET_BEFORE_NS:
            return "unset"
        if now_ns < self._newest_ns - _BEHIND_NS:
            return "behind"
        if abs(self._wall_offset_ns) >= STEP_NS:
            return "apart"
        return "slewing" if abs(self._wall_offset_ns) >= _SLEWING_NS else "steady"
