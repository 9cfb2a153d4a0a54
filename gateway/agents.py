"""What the gateway knows about its agents: last heard, status, rows a minute.

Rules of the file: bounded to `AGENTS_MAX`, the one heard longest ago goes; a status is
foreign text: numbers are taken from it where they are numbers, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

AGENTS_MAX = 1024
MINUTE_NS = 60_000_000_000


@dataclass(slots=True)
class Agent:
    """One agent; counts since the last minute's point."""

    heard_ns: int
    is_online: bool = True
    is_silent: bool = False
    readings: int = 0
    dropped: int = 0
    outbox: int | None = None
    clock_offset_ms: float | None = None
    temperature_c: float | None = None
    silent_since_ns: int = 0
    status: Mapping[str, Any] = field(default_factory=dict)


class Agents:
    """All agents of the store.

    Parameters
    ----------
    silent_s : [s] an agent that says nothing for longer is silent
    """

    def __init__(self, *, silent_s: float) -> None:
        self._silent_ns = round(silent_s * 1e9)
        self._agents: dict[str, Agent] = {}
        self._minute: int | None = None

    def __len__(self) -> int:
        """Return how many agents are known."""
        return len(self._agents)

    def heard(self, name: str, now_ns: int, *, readings: int, dropped: int) -> None:
        """Note a batch.

        Parameters
        ----------
        name : the agent
        now_ns : [ns] this machine's clock
        readings : rows in it
        dropped : rows it says were dropped
        """
        agent = self._get(name, now_ns)
        agent.is_online = True
        agent.readings += readings
        agent.dropped += dropped

    def told(
        self, name: str, body: Mapping[str, Any], now_ns: int, *, is_just_said: bool = False
    ) -> bool:
        """Note a status; return whether the agent says it is online.

        Parameters
        ----------
        name : the agent
        body : the JSON of ``A/status``
        now_ns : [ns] this machine's clock when it came
        is_just_said : its clock's time can be compared with ours
        """
        agent = self._get(name, now_ns)
        agent.is_online = body.get("state") != "offline"
        outbox = _number(body.get("outbox"), ("batches", "rows", "size"))
        agent.outbox = None if outbox is None else int(outbox)
        agent.clock_offset_ms = _number(_part(body, "clock", "offset_ms"), ())
        if agent.clock_offset_ms is None and is_just_said:
            their_ns = _part(body, "clock", "now_ns")
            if isinstance(their_ns, int) and 0 < their_ns < 1 << 63:
                agent.clock_offset_ms = _number((their_ns - now_ns) / 1e6, ())
        agent.temperature_c = _number(body.get("temperature_c"), ())
        return agent.is_online

    def newly_silent(self, now_ns: int) -> list[tuple[str, int]]:
        """Return the agents that have gone silent since the last call, with since when [ns].

        Parameters
        ----------
        now_ns : [ns] this machine's clock
        """
        found = []
        for name, agent in list(self._agents.items()):
            is_silent = not agent.is_online or now_ns - agent.heard_ns > self._silent_ns
            if is_silent and not agent.is_silent:
                agent.silent_since_ns = agent.heard_ns
                found.append((name, agent.heard_ns))
            agent.is_silent = is_silent
        return found

    def silent(self) -> list[tuple[str, int]]:
        """Return the silent agents and since when [ns], as of the last `newly_silent`."""
        known = list(self._agents.items())
        return [(name, a.silent_since_ns) for name, a in known if a.is_silent]

    def minute_over(self, now_ns: int) -> list[tuple[str, dict[str, Any]]]:
        """Return each agent's fields for measurement ``agent`` once a minute, else nothing.

        Parameters
        ----------
        now_ns : [ns] this machine's clock
        """
        minute = now_ns // MINUTE_NS
        before, self._minute = self._minute, minute
        if before is None or minute <= before:
            return []
        seconds = 60.0 * (minute - before)
        rows = []
        for name, agent in list(self._agents.items()):
            rows.append(
                (
                    name,
                    {
                        "up": agent.is_online and not agent.is_silent,
                        "outbox": agent.outbox,
                        "readings_per_s": agent.readings / seconds,
                        "dropped": agent.dropped,
                        "clock_offset_ms": agent.clock_offset_ms,
                        "temperature_c": agent.temperature_c,
                    },
                )
            )
            agent.readings = agent.dropped = 0
        return rows

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return, by agent, when it was last heard and whether it is silent."""
        return {
            name: {
                "heard_ns": agent.heard_ns,
                "up": agent.is_online and not agent.is_silent,
                "silent": agent.is_silent,
                "outbox": agent.outbox,
            }
            for name, agent in sorted(self._agents.items())
        }

    def _get(self, name: str, now_ns: int) -> Agent:
        agent = self._agents.get(name)
        if agent is None:
            if len(self._agents) >= AGENTS_MAX:
                del self._agents[min(self._agents, key=lambda n: self._agents[n].heard_ns)]
            agent = self._agents[name] = Agent(heard_ns=now_ns)
        agent.heard_ns = max(agent.heard_ns, now_ns)
        return agent


def _part(body: Mapping[str, Any], table: str, key: str) -> object:
    found = body.get(table)
    return found.get(key) if isinstance(found, Mapping) else None


def _number(value: object, keys: tuple[str, ...]) -> float | None:
    if isinstance(value, Mapping):
        value = next((value[key] for key in keys if key in value), None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e15 else None
