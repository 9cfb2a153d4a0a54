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
        self.on_answers = lambda _mids: None

    def send(self, messages):
        if len(self.taken) + len(messages) > self.room:
            return []
        mids = range(len(self.taken) + 1, len(self.taken) + 1 + len(messages))
        self.taken += messages
        if self.answers:
            for answered in (mids[::2], mids[1::2]):
                answer = threading.Thread(target=self.on_answers, args=(answered,))
                answer.start()
                if answered is not mids[1::2] and len(mids) % 2:
                    answer.join()  # the answer is there before `send` returns
        return [*mids]


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
    subscriber = FakeSubscriber(room=PORTION_MAX)
    _queue(results, PORTION_MAX)
    asyncio.run(_publish(subscriber, results, lambda: _waiting(results) == 20))
    assert [f"t/{at}" for at in range(20)][:3] == [topic for topic, _ in subscriber.taken][:3]


def test_what_was_not_answered_before_the_broker_went_goes_again(results):
    _queue(results, 3)
    subscriber = FakeSubscriber(answers=False)

    def has_gone_twice():
        subscriber.is_connected = len(subscriber.taken) != 3 or subscriber.answers
        subscriber.answers = len(subscriber.taken) == 3
        subscriber.is_connected = subscriber.is_connected or subscriber.answers
        return not _waiting(results)

    asyncio.run(_publish(subscriber, results, has_gone_twice))
    assert ["t/0", "t/1", "t/2"] * 2 == [topic for topic, _ in subscriber.taken]


def test_what_is_not_answered_stays_and_stopping_does_not_wait_for_it(results):
    _queue(results, 3)
    subscriber = FakeSubscriber(answers=False)
    asyncio.run(_publish(subscriber, results, lambda: len(subscriber.taken) == 3))
    assert 3 == _waiting(results)


def test_answers_to_other_messages_count_for_nothing(results):
    _queue(results, 3)
    subscriber = FakeSubscriber(answers=False)

    def others_answered():
        subscriber.on_answers(range(100, 200))
        return len(subscriber.taken) == 3

    asyncio.run(_publish(subscriber, results, others_answered))
    assert 3 == _waiting(results)
