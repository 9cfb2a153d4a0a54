"""Events to the broker: from the durable queue, QoS 1, oldest first.

Rules of the file: an event leaves the queue when the broker has taken it; after an
outage or a restart some go twice, with the same id. Nothing is held in memory beyond
one portion.
"""

import asyncio

from gateway.result_store import ResultStore
from gateway.subscriber import Subscriber

PORTION_MAX = 100
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
        self._open: set[int] = set()
        self._answered = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something to publish; from the loop's thread."""
        self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until told to stop.

        Parameters
        ----------
        stopping : ends it
        """
        loop = asyncio.get_running_loop()
        self._subscriber.on_published = lambda mid: _from_thread(loop, self._note, mid)
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
        self._open.clear()
        self._answered.clear()
        for _, topic, payload in rows:
            # Answers come through the loop, so none is noted before this loop has ended.
            self._open.add(self._subscriber.publish(topic, payload))
        if 0 in self._open:
            return False
        if not await self._is_answered(stopping):
            return False
        await asyncio.to_thread(self._results.events_sent, rows[-1][0])
        return True

    async def _is_answered(self, stopping: asyncio.Event) -> bool:
        """Wait for the broker's answers: long, or a moment when the service is stopping."""
        for _ in range(_ANSWER_TRIES):
            try:
                await asyncio.wait_for(self._answered.wait(), _ANSWER_S)
            except TimeoutError:
                if stopping.is_set():
                    return False
                continue
            return True
        return False

    def _note(self, mid: int) -> None:
        self._open.discard(mid)
        if not self._open:
            self._answered.set()


def _from_thread(loop: asyncio.AbstractEventLoop, note: "object", mid: int) -> None:
    try:
        loop.call_soon_threadsafe(note, mid)  # type: ignore[arg-type]
    except RuntimeError:
        pass  # the loop has closed: the service is gone, the event is still in the queue
