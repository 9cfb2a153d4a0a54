"""Events to the broker: from the durable queue, QoS 1, oldest first.

Rules of the file: an event leaves the queue when the broker has taken it; after an
outage or a restart some go twice, with the same id. Nothing is held in memory beyond
one portion. A portion is handed over and answered as a whole, and the loop hears of it
once: the engine holds the interpreter for milliseconds at a time, and each change of
threads waits for it.
"""

import asyncio
import threading
from collections.abc import Sequence

from gateway.result_store import ResultStore
from gateway.subscriber import Subscriber

PORTION_MAX = 500
_ANSWER_S = 1.0
_ANSWER_TRIES = 10
_IDLE_S = 1.0


class EventPublisher:
    """Publishes the events that the result store holds.

    Parameters
    ----------
    subscriber : the MQTT connection
    results : where the events wait
    """

    def __init__(self, subscriber: Subscriber, results: ResultStore) -> None:
        self._subscriber = subscriber
        self._results = results
        self._wake = asyncio.Event()
        self._answers = _Answers()

    def wake(self) -> None:
        """Say that there is something to publish; from the loop's thread."""
        self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until told to stop.

        Parameters
        ----------
        stopping : ends it
        """
        self._answers = _Answers(asyncio.get_running_loop())
        self._subscriber.on_answers = self._answers.note
        while not stopping.is_set():
            self._wake.clear()
            more = self._subscriber.is_connected and await self._publish_portion(stopping)
            if not more:
                try:
                    await asyncio.wait_for(self._wake.wait(), _IDLE_S)
                except TimeoutError:
                    pass

    async def _publish_portion(self, stopping: asyncio.Event) -> bool:
        """Publish one portion; return whether there may be more."""
        rows = await asyncio.to_thread(self._results.next_events, 0, PORTION_MAX)
        if not rows:
            return False
        self._answers.begin()
        mids = self._subscriber.send([(topic, payload) for _, topic, payload in rows])
        if not mids:
            return False
        self._answers.expect(mids)
        if not await self._is_answered(stopping):
            return False
        await asyncio.to_thread(self._results.events_sent, rows[-1][0])
        return True

    async def _is_answered(self, stopping: asyncio.Event) -> bool:
        """Wait for the broker's answers: long, or a moment when the service is stopping."""
        for _ in range(_ANSWER_TRIES):
            try:
                await asyncio.wait_for(self._answers.all_came.wait(), _ANSWER_S)
            except TimeoutError:
                if stopping.is_set() or not self._subscriber.is_connected:
                    return False
                continue
            return True
        return False


class _Answers:
    """The broker's answers to one portion; `note` is called by the network thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._open: set[int] | None = None
        self._early: set[int] = set()
        self.all_came = asyncio.Event()

    def begin(self) -> None:
        """Start a portion; in the loop."""
        with self._lock:
            self._open = None
            self._early.clear()
        self.all_came.clear()

    def expect(self, mids: Sequence[int]) -> None:
        """Wait for the answers to messages, some of which may have come already."""
        with self._lock:
            self._open = {*mids} - self._early
            self._tell_when_all_came()

    def note(self, mids: Sequence[int]) -> None:
        """Take answers, perhaps to an earlier portion."""
        with self._lock:
            if self._open is None:
                self._early.update(mids)
            elif self._open:
                self._open.difference_update(mids)
                self._tell_when_all_came()

    def _tell_when_all_came(self) -> None:
        if self._open or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self.all_came.set)
        except RuntimeError:
            pass  # the loop has closed: the service is gone, the event is still in the queue
