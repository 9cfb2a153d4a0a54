"""The agents' clocks: how far from ours, how fast they drift, and when one jumps.

A batch carries when its sender closed it. The shortest of many delays is the sender's
offset (the lower envelope, as in NTP's clock filter, RFC 5905, section 10); its change
from minute to minute is the drift. Within one boot and kind a later batch cannot have
been closed earlier, so a step back of more than `JUMP_NS` is the clock's, whatever the
network did. A step forward shows itself: the rows are ahead of our own clock and are set
aside one by one (`gateway.driver`).

Rules of the file: bounded to `AGENTS_MAX` agents and `STREAMS_MAX` streams, the ones
heard longest ago go; only where clocks run alike (``clock = "wall"``).
"""

from collections import deque
from dataclasses import dataclass, field

from ingest.columns import DecodedBatch

JUMP_NS = 60_000_000_000
AHEAD_NS = 60_000_000_000
AGENTS_MAX, STREAMS_MAX = 1024, 4096
_MINUTE_NS = 60_000_000_000
_MINUTES_KEPT, _MINUTES_LEAST = 60, 5

Stream = tuple[str, str, str]
"""Agent, boot, kind."""


@dataclass(slots=True)
class _Minutes:
    """Per minute of our clock, the sender's clock less ours at its largest [ns]."""

    offsets: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_MINUTES_KEPT))
    jumped_ns: int = 0

    def note(self, received_ns: int, offset_ns: int) -> None:
        minute = received_ns // _MINUTE_NS
        if self.offsets and self.offsets[-1][0] == minute:
            offset_ns = max(offset_ns, self.offsets.pop()[1])
        self.offsets.append((minute, offset_ns))


class AgentClocks:
    """Judges batches by their senders' clocks.

    Parameters
    ----------
    newest : by stream, the highest number seen and when it was closed [ns]: what the journal
        kept from before
    """

    def __init__(self, newest: dict[Stream, tuple[int, int]]) -> None:
        self._newest = dict(newest)
        self._minutes: dict[str, _Minutes] = {}

    def is_plausible(self, batch: DecodedBatch, received_ns: int) -> bool:
        """Tell whether a batch's times can be believed, and learn from it.

        Parameters
        ----------
        batch : any
        received_ns : [ns] our clock when it came

        Returns
        -------
        bool
            False when its sender's clock has jumped back and not yet caught up.
        """
        stream = (batch.agent, batch.boot, batch.kind)
        seq, closed_ns = self._newest.pop(stream, (0, 0))
        has_jumped = batch.seq > seq and batch.sent_ns < closed_ns - JUMP_NS
        if batch.seq > seq and batch.sent_ns <= received_ns + AHEAD_NS:
            # After a jump back the number goes on and the time stays, until it is passed.
            seq, closed_ns = batch.seq, max(closed_ns, batch.sent_ns)
        self._newest[stream] = (seq, closed_ns)
        if len(self._newest) > STREAMS_MAX:
            del self._newest[next(iter(self._newest))]
        minutes = self._minutes.pop(batch.agent, None) or _Minutes()
        self._minutes[batch.agent] = minutes
        if len(self._minutes) > AGENTS_MAX:
            del self._minutes[next(iter(self._minutes))]
        minutes.note(received_ns, batch.sent_ns - received_ns)
        minutes.jumped_ns = batch.sent_ns - closed_ns if has_jumped else 0
        return not has_jumped

    def newest(self, stream: Stream) -> tuple[int, int]:
        """Return the highest number of a stream and when it was closed [ns]: for the journal.

        Parameters
        ----------
        stream : agent, boot, kind
        """
        return self._newest.get(stream, (0, 0))

    def offset_ms(self, agent: str) -> float | None:
        """Return how far an agent's clock is ahead of ours, at most; None when unknown.

        Parameters
        ----------
        agent : its name
        """
        known = self._minutes.get(agent)
        return None if known is None or not known.offsets else known.offsets[-1][1] / 1e6

    def drift_ppm(self, agent: str) -> float | None:
        """Return how much faster an agent's clock runs than ours; None before five minutes.

        Parameters
        ----------
        agent : its name
        """
        known = self._minutes.get(agent)
        if known is None or len(known.offsets) < _MINUTES_LEAST:
            return None
        minutes = [at * _MINUTE_NS for at, _ in known.offsets]
        offsets = [offset_ns for _, offset_ns in known.offsets]
        middle, mean = sum(minutes) / len(minutes), sum(offsets) / len(offsets)
        spread = sum((at - middle) ** 2 for at in minutes)
        pairs = zip(minutes, offsets, strict=True)
        return 1e6 * sum((at - middle) * (off - mean) for at, off in pairs) / spread

    def jumped(self) -> list[tuple[str, float]]:
        """Return the agents whose clock has jumped back, and by how much [s], negative."""
        return [(n, m.jumped_ns / 1e9) for n, m in sorted(self._minutes.items()) if m.jumped_ns]
