"""Once a second: which agents have gone silent, and once a minute their points.

Rules of the file: a silence is told when it begins; the point of a minute carries the
minute's end, in event time where the clock is the data's.
"""

from typing import Literal

from gateway.agents import MINUTE_NS, Agents
from gateway.events import Event, EventFinder, encode_event
from gateway.points import PointMaker, encode_points
from gateway.result_store import ResultStore


class AgentWatch:
    """Turns what is known of agents into events and lines.

    Parameters
    ----------
    agents : what is known
    finder : makes the events
    points : makes the points; None when there is no InfluxDB
    results : where both wait
    store_id : the store's id
    clock : wall or data
    """

    def __init__(
        self,
        agents: Agents,
        finder: EventFinder,
        points: PointMaker | None,
        results: ResultStore,
        *,
        store_id: str,
        clock: Literal["wall", "data"],
    ) -> None:
        self._agents = agents
        self._finder = finder
        self._points = points
        self._results = results
        self._store_id = store_id
        self._clock = clock

    def look(self, now_ns: int, closed_ns: int | None) -> list[Event]:
        """Look at all agents, and queue what is to be told.

        Parameters
        ----------
        now_ns : [ns] this machine's clock
        closed_ns : [ns] up to where ticks are closed

        Returns
        -------
        list
            An event for each agent that has gone silent.
        """
        silent = [self._finder.agent_silent(*found) for found in self._agents.newly_silent(now_ns)]
        minutes = self._agents.minute_over(now_ns)
        lines: list[bytes] = []
        if self._points is not None and minutes:
            at_ns = closed_ns if self._clock == "data" and closed_ns is not None else now_ns
            end_ns = at_ns // MINUTE_NS * MINUTE_NS
            lines = encode_points([self._points.of_agent(end_ns, *row) for row in minutes])
        if silent or lines:
            messages = [encode_event(event, self._store_id) for event in silent]
            self._results.queue(lines=lines, events=messages)
        return silent
