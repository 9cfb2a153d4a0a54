"""Order on arrival: which batches are new, what may be acknowledged, how far time is.

Rules of the file: standard library only, no clock; the state is plain data, so that
the gateway commits it in the transaction that stores the batch; every table has a
size and a written policy. Acknowledgement is cumulative over the contiguous prefix
only (RFC 9293, section 3.4, has the same rule for bytes); the watermark is the
smallest event time of the healthy agents (Akidau et al. 2015, section 2.3).
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypedDict

NS = 1_000_000_000
QUIET_S = 5.0
SETTLE_S = 0.5
_UNSETTLED_MAX = 64


class Arrival(Enum):
    """What `BatchLedger.add` says about a batch."""

    NEW = "new"  # store it, then acknowledge
    DUPLICATE = "duplicate"  # stored before: do not store, acknowledge again
    AHEAD = "ahead"  # too many gaps before it: do not store, do not acknowledge; it comes again


class StreamState(TypedDict):
    """One stream of a ledger as plain data."""

    agent: str
    boot: str
    kind: str
    ranges: list[list[int]]


@dataclass(slots=True)
class _Stream:
    # Closed ranges [first, last] of the seqs that are there, disjoint, ascending, never
    # touching; the first one begins at 1 once everything from 1 on is there.
    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)


class BatchLedger:
    """Which (agent, boot, kind, seq) are stored, and up to where that is without a gap.

    Parameters
    ----------
    streams_max : (agent, boot, kind) that are remembered; beyond it the stream that was
        touched longest ago is forgotten. Its batches, should one come again, count as new
    gaps_max : gaps that one stream may have; a batch that would open one more is `AHEAD`

    Notes
    -----
    Memory is at most ``streams_max * gaps_max`` ranges; in practice one a stream.
    """

    def __init__(self, *, streams_max: int = 4096, gaps_max: int = 1024) -> None:
        self.streams_max = streams_max
        self.gaps_max = gaps_max
        self.forgotten = 0
        self._streams: dict[tuple[str, str, str], _Stream] = {}

    def add(self, agent: str, boot: str, kind: str, seq: int, first_seq: int = 1) -> Arrival:
        """Enter a batch.

        Parameters
        ----------
        agent : of the batch
        boot : of the batch
        kind : of the batch
        seq : of the batch, >= 1
        first_seq : lowest seq the sender still held when it closed the batch; all before
            were acknowledged by a gateway, so they are taken as there (a gateway that
            lost its ledger would otherwise wait for them for ever)

        Returns
        -------
        arrival : what to do with the batch
        """
        key = (agent, boot, kind)
        stream = self._streams.pop(key, None) or _Stream()
        self._streams[key] = stream
        if len(self._streams) > self.streams_max:
            del self._streams[next(iter(self._streams))]
            self.forgotten += 1
        first_seq = min(first_seq, seq)
        if first_seq > 1:
            _insert(stream, 1, first_seq - 1)
        if _holds(stream, seq):
            return Arrival.DUPLICATE
        if _gaps_with(stream, seq) > self.gaps_max:
            return Arrival.AHEAD
        _insert(stream, seq, seq)
        return Arrival.NEW

    def holds(self, agent: str, boot: str, kind: str, seq: int) -> bool:
        """Tell whether a batch is entered.

        Parameters
        ----------
        agent : of the batch
        boot : of the batch
        kind : of the batch
        seq : of the batch

        Returns
        -------
        held : whether it is
        """
        stream = self._streams.get((agent, boot, kind))
        return stream is not None and _holds(stream, seq)

    def ack_seq(self, agent: str, boot: str, kind: str) -> int:
        """Return the seq up to which everything is there.

        Parameters
        ----------
        agent : of the stream
        boot : of the stream
        kind : of the stream

        Returns
        -------
        seq : 0 = nothing to acknowledge
        """
        stream = self._streams.get((agent, boot, kind))
        if stream is None or not stream.firsts or stream.firsts[0] != 1:
            return 0
        return stream.lasts[0]

    def state(self) -> list[StreamState]:
        """Return everything as plain data, oldest stream first."""
        return [self._state(*key) for key in self._streams]

    def stream_state(self, agent: str, boot: str, kind: str) -> StreamState | None:
        """Return one stream as plain data: what changed with one batch.

        Parameters
        ----------
        agent : of the stream
        boot : of the stream
        kind : of the stream

        Returns
        -------
        state : None when nothing of the stream is known
        """
        return self._state(agent, boot, kind) if (agent, boot, kind) in self._streams else None

    def restore(self, states: list[StreamState]) -> None:
        """Take over what `state` or `stream_state` returned, in its order.

        Parameters
        ----------
        states : oldest stream first
        """
        for state in states:
            key = (state["agent"], state["boot"], state["kind"])
            self._streams.pop(key, None)
            self._streams[key] = _Stream(
                [first for first, _ in state["ranges"]], [last for _, last in state["ranges"]]
            )

    def _state(self, agent: str, boot: str, kind: str) -> StreamState:
        stream = self._streams[agent, boot, kind]
        ranges = [list(pair) for pair in zip(stream.firsts, stream.lasts, strict=True)]
        return {"agent": agent, "boot": boot, "kind": kind, "ranges": ranges}


class AgentState(TypedDict):
    """One agent of a watermark as plain data."""

    agent: str
    event_ns: int
    heard_ns: int
    online: bool


@dataclass(slots=True)
class _Agent:
    event_ns: int
    heard_ns: int
    online: bool = True
    has_come: bool = True
    # (from when on it counts, event time): what batches that are not complete said.
    unsettled: deque[tuple[int, int]] = field(default_factory=deque)

    def settle(self, now_ns: int) -> None:
        while self.unsettled and self.unsettled[0][0] <= now_ns:
            self.event_ns = max(self.event_ns, self.unsettled.popleft()[1])

    def newest_ns(self) -> int:
        return max([self.event_ns, *(event_ns for _, event_ns in self.unsettled)])


class Watermark:
    """How far event time is complete, by the slowest healthy agent.

    Parameters
    ----------
    clock : "wall": an agent is silent when nothing came from it for `silent_s` of the
        caller's clock, and when all are silent time goes on with the clock. "data": so
        too, and already after `QUIET_S` when its event time is `silent_s` behind the newest
        agent's (at speed a slow agent is soon minutes behind); when all are silent time
        stands still
    silent_s : [s] see clock
    lateness_s : [s] how long after its end a tick stays open (`[rules] lateness_s`)
    agents_max : agents that are remembered; beyond it the one with the oldest event time
        is forgotten
    expected : agents that the store file names; from the first batch on they are waited
        for, unless they have said that they are offline, for `QUIET_S` (or `silent_s` where
        that is less) of the caller's clock

    Notes
    -----
    The watermark never goes back. An agent that is silent, offline or unexpected does not
    hold it back; what such an agent sends later is late and belongs to the recomputation.
    What a batch that does not say how far it is complete tells about time counts `SETTLE_S`
    after it came: its sender may send other kinds for the same seconds right after it.
    """

    def __init__(
        self,
        *,
        clock: Literal["wall", "data"] = "wall",
        silent_s: float = 10.0,
        lateness_s: float = 1.0,
        agents_max: int = 1024,
        expected: Iterable[str] = (),
    ) -> None:
        self.clock = clock
        self._expected = tuple(dict.fromkeys(expected))[:agents_max]
        self.agents_max = agents_max
        self._silent_ns = round(silent_s * NS)
        self._lateness_ns = round(lateness_s * NS)
        self._agents: dict[str, _Agent] = {}
        self._reached_ns: int | None = None
        self._offline: set[str] = set()  # expected agents that said so before the first batch

    def add(self, agent: str, event_ns: int, now_ns: int, *, is_complete: bool = True) -> None:
        """Note how far an agent is.

        Parameters
        ----------
        agent : its name
        event_ns : [ns] `DecodedBatch.event_ns`
        now_ns : [ns] the caller's clock
        is_complete : whether the agent says that nothing before `event_ns` will follow
        """
        behind_ns = event_ns - self._silent_ns // 2
        if not self._agents:
            self._agents = {
                name: _Agent(behind_ns, now_ns, online=name not in self._offline, has_come=False)
                for name in self._expected
            }
        known = self._agents.get(agent)
        if known is None:
            if len(self._agents) >= self.agents_max:
                del self._agents[min(self._agents, key=lambda a: self._agents[a].event_ns)]
            known = self._agents[agent] = _Agent(behind_ns, now_ns)
        known.heard_ns = max(known.heard_ns, now_ns)
        known.online = known.has_come = True
        if is_complete:
            known.event_ns = max(known.event_ns, event_ns)
            return
        known.settle(now_ns)
        if event_ns > known.newest_ns():
            if len(known.unsettled) >= _UNSETTLED_MAX:  # a burst: its newest two become one
                known.unsettled.pop()
            known.unsettled.append((now_ns + round(SETTLE_S * NS), event_ns))

    def set_online(self, agent: str, online: bool) -> None:
        """Note what an agent's status says; an agent that is not known changes nothing.

        Parameters
        ----------
        agent : its name
        online : state of `A/status`
        """
        if agent in self._agents:
            self._agents[agent].online = online
        elif agent in self._expected:
            (self._offline.discard if online else self._offline.add)(agent)

    def excuse(self, now_ns: int) -> None:
        """Count all agents as heard now, because nobody could be heard until now."""
        for agent in self._agents.values():
            agent.heard_ns = max(agent.heard_ns, now_ns)

    def silent_agents(self, now_ns: int) -> list[str]:
        """Return the agents that do not hold the watermark back now.

        Parameters
        ----------
        now_ns : [ns] the caller's clock

        Returns
        -------
        agents : names, in order
        """
        return sorted(set(self._agents) - set(self._healthy(now_ns)))

    def watermark_ns(self, now_ns: int) -> int | None:
        """Return the time up to which ticks may close.

        Parameters
        ----------
        now_ns : [ns] the caller's clock

        Returns
        -------
        watermark_ns : [ns] None before the first reading
        """
        if not self._agents:
            return self._reached_ns
        for agent in self._agents.values():
            agent.settle(now_ns)
        healthy = self._healthy(now_ns)
        if healthy:
            found = min(self._agents[name].event_ns for name in healthy)
        elif self.clock == "wall":
            found = now_ns - self._silent_ns
        else:
            online = [agent.event_ns for agent in self._agents.values() if agent.online]
            found = min(online) if online else max(a.event_ns for a in self._agents.values())
        found -= self._lateness_ns
        self._reached_ns = max(found, self._reached_ns) if self._reached_ns is not None else found
        return self._reached_ns

    def state(self) -> tuple[int | None, list[AgentState]]:
        """Return the watermark and the agents as plain data."""
        return self._reached_ns, [
            {"agent": name, "event_ns": a.event_ns, "heard_ns": a.heard_ns, "online": a.online}
            for name, a in self._agents.items()
        ]

    def restore(self, reached_ns: int | None, agents: list[AgentState]) -> None:
        """Take over what `state` returned.

        Parameters
        ----------
        reached_ns : the watermark
        agents : the agents
        """
        self._reached_ns = reached_ns
        self._agents = {
            a["agent"]: _Agent(a["event_ns"], a["heard_ns"], a["online"]) for a in agents
        }

    def _healthy(self, now_ns: int) -> list[str]:
        quiet_ns = min(self._silent_ns, round(QUIET_S * NS))
        newest_ns = max((a.event_ns for a in self._agents.values() if a.online), default=0)

        def is_healthy(agent: _Agent) -> bool:
            is_behind = newest_ns - agent.event_ns > self._silent_ns
            soon = not agent.has_come or (self.clock == "data" and is_behind)
            return agent.online and now_ns - agent.heard_ns <= (
                quiet_ns if soon else self._silent_ns
            )

        return [name for name, agent in self._agents.items() if is_healthy(agent)]


def _holds(stream: _Stream, seq: int) -> bool:
    at = bisect_right(stream.firsts, seq) - 1
    return at >= 0 and seq <= stream.lasts[at]


def _gaps_with(stream: _Stream, seq: int) -> int:
    # Only a batch that touches no range adds one; a range that does not begin at 1 has a
    # gap before it.
    at = bisect_right(stream.firsts, seq)
    touches = (at > 0 and stream.lasts[at - 1] + 1 >= seq) or (
        at < len(stream.firsts) and stream.firsts[at] - 1 <= seq
    )
    return 0 if touches or seq == 1 else len(stream.firsts) + 1 - _begins_at_one(stream)


def _begins_at_one(stream: _Stream) -> int:
    return 1 if stream.firsts and stream.firsts[0] == 1 else 0


def _insert(stream: _Stream, first: int, last: int) -> None:
    low = bisect_right(stream.lasts, first - 2)  # ranges before it end before first - 1
    high = bisect_right(stream.firsts, last + 1)  # ranges from it on begin after last + 1
    if low < high:
        first = min(first, stream.firsts[low])
        last = max(last, stream.lasts[high - 1])
    stream.firsts[low:high] = [first]
    stream.lasts[low:high] = [last]
