import asyncio
import threading

import pytest

from gateway.events import Message
from gateway.publisher import PORTION_MAX, EventPublisher
from gateway.result_store import ResultStore
from tests.gateway.polling import until


class FakeSubscriber:
    """Takes messages and answers them from a thread of its own, at once or when told."""

    def __init__(self, *, room=10**9, answers=True):
        self.is_connected = True
        self.room, self.answers = room, answers
        self.taken = []
        self.on_published = lambda _mid: None

    def publish(self, topic, payload, *, qos=1):
        if len(self.taken) >= self.room:
            return 0
        self.taken.append((topic, payload))
        mid = len(self.taken)
        if self.answers:
            answer = threading.Thread(target=self.on_published, args=(mid,))
            answer.start()
            if mid % 2:
                answer.join()  # the answer is there before `publish` returns
        return mid


@pytest.fixture
def results(tmp_path):
    made = ResultStore(tmp_path / "results.sqlite")
    yield made
    made.close()


def _queue(results, n):
    results.queue(events=[Message(topic=f"t/{at}", payload=b"{}") for at in range(n)])


async def _publish(subscriber, results, holds):
    publisher, stopping = EventPublisher(subscriber, results), asyncio.Event()
    task = asyncio.create_task(publisher.run(stopping))
    publisher.wake()
    await until(holds)
    stopping.set()
    publisher.wake()
    await task


def _waiting(results):
    return results.counts()["events_queued"]


def test_all_go_in_order_and_leave_the_queue_when_they_are_answered(results):
    count = 2 * PORTION_MAX + 7
    _queue(results, count)
    subscriber = FakeSubscriber()
    asyncio.run(_publish(subscriber, results, lambda: not _waiting(results)))
    assert [f"t/{at}" for at in range(count)] == [topic for topic, _ in subscriber.taken]
    assert count == results.counts()["events_published"]


def test_what_the_client_does_not_take_stays(results):
    _queue(results, 20)
    subscriber = FakeSubscriber(room=15)
    asyncio.run(_publish(subscriber, results, lambda: len(subscriber.taken) == 15))
    assert 20 == _waiting(results)


def test_what_is_not_answered_stays_and_stopping_does_not_wait_for_it(results):
    _queue(results, 3)
    subscriber = FakeSubscriber(answers=False)
    asyncio.run(_publish(subscriber, results, lambda: len(subscriber.taken) == 3))
    assert 3 == _waiting(results)


def test_answers_to_other_messages_count_for_nothing(results):
    _queue(results, 3)
    subscriber = FakeSubscriber(answers=False)

    def others_answered():
        for mid in range(100, 200):
            subscriber.on_published(mid)
        return len(subscriber.taken) == 3

    asyncio.run(_publish(subscriber, results, others_answered))
    assert 3 == _waiting(results)
