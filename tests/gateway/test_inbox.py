import threading
import time

from gateway.commit import is_tap
from gateway.inbox import Arrived, Inbox

TOPIC = "fanous/v1/demo/agents/pi-1/"
WAIT = {"wait_s": 1.0, "group_s": 30.0, "is_urgent": is_tap}


def _arrived(mid, leaf="readings"):
    return Arrived(topic=TOPIC + leaf, payload=b"", received_ns=0, mid=mid, qos=1, connection=1)


def _inbox(*messages, most=100):
    inbox = Inbox(most)
    inbox.put(messages, is_stopping=lambda: False)
    return inbox


def _mids(group):
    return [arrived.mid for arrived in group]


def test_taps_end_a_group_at_once():
    inbox = _inbox(_arrived(1), _arrived(2, "taps"), _arrived(3))
    assert [1, 2] == _mids(inbox.take(group_max=10, **WAIT))
    assert 1 == len(inbox)


def test_an_empty_inbox_gives_an_empty_group_after_the_wait():
    assert [] == Inbox(1).take(wait_s=0.01, group_s=30.0, group_max=1, is_urgent=is_tap)


def test_a_group_is_bounded():
    inbox = _inbox(*map(_arrived, range(5)))
    assert [0, 1, 2] == _mids(inbox.take(group_max=3, **WAIT))


def test_a_group_waits_for_more_no_longer_than_it_may():
    inbox = _inbox(_arrived(1))
    began_s = time.monotonic()
    group = inbox.take(wait_s=1.0, group_s=0.05, group_max=9, is_urgent=is_tap)
    assert ([1], True) == (_mids(group), 0.05 <= time.monotonic() - began_s < 5.0)


def test_a_group_that_is_large_enough_ends_when_nothing_more_comes():
    inbox = _inbox(*map(_arrived, range(4)))
    quiet = {"quiet_s": 0.01, "quiet_least": 4}
    assert [0, 1, 2, 3] == _mids(inbox.take(group_max=100, **WAIT, **quiet))


def test_who_puts_into_a_full_inbox_waits_until_there_is_room():
    inbox = _inbox(_arrived(1), _arrived(2), most=2)
    putting = threading.Thread(
        target=inbox.put, args=([_arrived(3)],), kwargs={"is_stopping": lambda: False}
    )
    putting.start()
    assert 2 == len(inbox)
    assert [1, 2, 3] == _mids(inbox.take(group_max=3, **WAIT))
    putting.join(5.0)
    assert not putting.is_alive()


def test_who_waits_for_room_goes_when_the_service_stops():
    inbox = _inbox(_arrived(1), most=1)
    inbox.put([_arrived(2)], is_stopping=lambda: True)
    assert [1] == _mids(inbox.take(group_max=1, **WAIT))
