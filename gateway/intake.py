"""The intake: from the subscriber's inbox through the journal to the engine's queue.

Rules of the file: one thread commits; what is committed waits in a bounded queue, and
while that is full nothing more is committed, so that the inbox, the broker and at last
the agents' outboxes hold it. Taps are told here, before the engine has seen them.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.agents import Agents
from gateway.commit import Accepted, Committed, Committer, Status, is_tap
from gateway.events import Event
from gateway.subscriber import Subscriber

_LOG = logging.getLogger(__name__)
Group = tuple[tuple[Accepted, ...], tuple[tuple[str, bool], ...]]
"""Committed batches, and which agents said that they come or go."""
GROUPS_WAITING_MAX = 64
GROUP_MESSAGES_MAX = 256
STEP_BATCHES_MAX = 512
TRIM_EVERY_S = 10.0
_INBOX_WAIT_S = 0.2
_QUIET_S, _QUIET_LEAST = 0.01, 16
"""So many messages and then nothing for so long: the broker may wait for acknowledgements."""


class Intake:
    """Commits what arrives and hands it on in order.

    Parameters
    ----------
    subscriber, committer, agents : the service's parts
    tell_taps : makes and stores the events of the taps in batches; runs in the commit thread
    trim : deletes what is no longer needed; called now and then, in the commit thread
    group_s : [s] longest wait for a group commit
    compares_clocks : whether agents' clocks and ours run alike
    """

    def __init__(
        self,
        subscriber: Subscriber,
        committer: Committer,
        agents: Agents,
        *,
        tell_taps: Callable[[Sequence[Accepted]], list[Event]],
        trim: Callable[[], None],
        group_s: float,
        compares_clocks: bool,
    ) -> None:
        self._subscriber, self._committer = subscriber, committer
        self._agents = agents
        self._tell_taps = tell_taps
        self._trim = trim
        self._group_s = group_s
        self._compares_clocks = compares_clocks
        self._groups: asyncio.Queue[Group] = asyncio.Queue(GROUPS_WAITING_MAX)
        self._handled_count = 0
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="commit")

    @property
    def has_all(self) -> bool:
        """Whether everything that has arrived is committed and queued for the engine."""
        return self._subscriber.arrived_count == self._handled_count

    @property
    def is_behind(self) -> bool:
        """Whether something that has arrived was not taken by `next_batches` yet."""
        return not self.has_all or not self._groups.empty()

    async def run(self, tell: Callable[[Sequence[Event]], None]) -> None:
        """Commit until `stop`.

        Parameters
        ----------
        tell : told the events of taps, in the loop
        """
        loop = asyncio.get_running_loop()
        trimmed_s = time.monotonic()
        while not self._stopping.is_set():
            committed, taps = await loop.run_in_executor(self._pool, self._commit_group)
            tell(taps)
            self._note_batches(committed.batches)
            told = tuple((status.agent, self._note(status)) for status in committed.statuses)
            if committed.batches or told:
                await self._put((committed.batches, told))
            self._handled_count += committed.messages
            if time.monotonic() - trimmed_s > TRIM_EVERY_S:
                trimmed_s = time.monotonic()
                await loop.run_in_executor(self._pool, self._trim_if_possible)

    async def next_batches(self, wait_s: float) -> tuple[list[Accepted], list[tuple[str, bool]]]:
        """Return what is queued, as much as one step takes; nothing after some wait.

        Parameters
        ----------
        wait_s : [s] longest wait

        Returns
        -------
        batches : in the order of the journal
        told : agents that said they come (True) or go
        """
        try:
            group = await asyncio.wait_for(self._groups.get(), wait_s)
        except TimeoutError:
            return [], []
        batches, told = list(group[0]), list(group[1])
        while len(batches) < STEP_BATCHES_MAX and not self._groups.empty():
            more, also = self._groups.get_nowait()
            batches += more
            told += also
        return batches, told

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()

    def close(self) -> None:
        """End the thread; after `run` has ended."""
        self._pool.shutdown()

    def _commit_group(self) -> tuple[Committed, list[Event]]:
        group = self._subscriber.inbox.take(
            wait_s=_INBOX_WAIT_S,
            group_s=self._group_s,
            group_max=GROUP_MESSAGES_MAX,
            is_urgent=is_tap,
            quiet_s=_QUIET_S,
            quiet_least=_QUIET_LEAST,
        )
        committed = self._committer.commit(group, self._stopping)
        return committed, self._tell_taps(committed.batches)

    def _note_batches(self, batches: Sequence[Accepted]) -> None:
        """Tell the agents what was heard of them, once for a run of batches of each."""
        of_agent: dict[str, list[Accepted]] = {}
        for accepted in batches:
            of_agent.setdefault(accepted.batch.agent, []).append(accepted)
        for agent, theirs in of_agent.items():
            self._agents.heard(
                agent,
                max(accepted.received_ns for accepted in theirs),
                readings=sum(a.batch.rows for a in theirs if a.batch.kind == "ble"),
                dropped=sum(a.batch.dropped for a in theirs),
            )

    def _trim_if_possible(self) -> None:
        try:
            self._trim()
        except (OSError, sqlite3.OperationalError) as error:
            _LOG.warning("nothing old could be deleted (%s); it is tried again", error)

    def _note(self, status: Status) -> bool:
        return self._agents.told(
            status.agent,
            status.body,
            status.received_ns,
            is_just_said=self._compares_clocks and not status.is_retained,
        )

    async def _put(self, group: Group) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._groups.put(group), 0.2)
            except TimeoutError:
                continue
            return
