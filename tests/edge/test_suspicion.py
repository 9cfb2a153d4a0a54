from edge.flight import Flight
from edge.outbox import StoredBatch
from edge.pulse import Pulse
from edge.suspicion import LOSSES, STRIKES, Suspicion


def stored(number, kind="ble", size=100, seq=None):
    return StoredBatch(number, "b1", kind, number if seq is None else seq, bytes(size))


def flown(*batches, ahead=(), timeout_s=10.0):
    flight = Flight(timeout_s)
    for batch in batches:
        is_ahead = batch.id in ahead
        flight.add(batch, 100 + batch.id, 0.0, is_ahead=is_ahead, is_fresh=True)
    return flight


def lose(suspicion, flight, times, lived_s=0.1):
    return [suspicion.lost(flight.untaken, lived_s) for _ in range(times)]


def test_a_broker_that_restarts_convicts_nobody():
    suspicion, flight = Suspicion(8), flown(stored(1), stored(2))
    assert lose(suspicion, flight, 20, lived_s=60.0) == [None] * 20
    assert not suspicion.is_careful
    assert Suspicion(8).lost([], 0.1) is None


def test_who_is_alone_out_at_each_loss_is_passed_over():
    suspicion, flight = Suspicion(8), flown(stored(1, size=900))
    found = lose(suspicion, flight, LOSSES + STRIKES)
    assert found[:-1] == [None] * (LOSSES + STRIKES - 1)
    assert found[-1].id == 1
    assert set(suspicion.passed_over) == {1}


def test_it_is_given_up_only_when_a_shorter_one_of_its_kind_was_taken():
    suspicion, flight = Suspicion(3), flown(stored(1, size=900))
    lose(suspicion, flight, LOSSES + STRIKES)
    others = flown(stored(2, "tap", 50), stored(3, size=950), stored(4, size=800))
    tap, longer, shorter = others.untaken
    suspicion.taken(tap)
    suspicion.taken(longer)
    assert suspicion.convicted == []
    suspicion.taken(shorter)
    suspicion.taken(shorter)
    assert [sent.id for sent in suspicion.convicted] == [1]
    assert not suspicion.is_careful
    suspicion.close(suspicion.convicted[0])
    assert (suspicion.passed_over, suspicion.convicted) == ({}, [])


def test_a_window_empties_with_its_acknowledgements():
    flight = flown(stored(1), stored(2), stored(3, "tap", seq=1))
    assert (len(flight), flight.held, flight.held_bytes) == (3, 3, 300)
    assert [s.id for s in flight.acknowledge("b1", "ble", 1, 1.0)] == [1]
    assert flight.acknowledge("b1", "ble", 1, 1.0) == []
    assert flight.acknowledge("b2", "ble", 9, 1.0) == []
    assert [s.id for s in flight.acknowledge("b1", "tap", 7, 1.0)] == [3]
    assert (len(flight), flight.held, flight.held_bytes) == (1, 1, 100)


def test_what_went_ahead_gives_its_place_back_when_taken_and_the_gateway_is_heard():
    flight = flown(stored(1), stored(9), ahead={9})
    assert (flight.held, flight.ahead, flight.ahead_bytes) == (1, 1, 100)
    assert flight.taken(109).is_taken
    assert flight.taken(109) is None
    assert flight.ahead == 1
    flight.acknowledge("b0", "tap", 1, 1.0)
    assert (flight.ahead, flight.ahead_bytes, len(flight)) == (0, 0, 2)
    assert [s.id for s in flight.acknowledge("b1", "ble", 9, 2.0)] == [1, 9]
    assert (flight.held, flight.ahead) == (0, 0)


def test_only_the_lowest_of_a_stream_is_missing_and_waits_longer_each_time():
    flight = flown(stored(1), stored(2), stored(3, "tap", seq=1))
    assert flight.due_s() == 10.0
    assert flight.overdue(9.9) == []
    assert [s.id for s in flight.overdue(10.0)] == [1, 3]
    flight.add(stored(1), 201, 10.0, is_ahead=False, is_fresh=True)
    assert [s.id for s in flight.overdue(29.0)] == [3]
    assert [s.id for s in flight.overdue(30.0)] == [1]
    head = flight.untaken[0]
    assert (head.tries, head.missed) == (2, 0)
    flight.acknowledge("b9", "ble", 1, 35.0)
    (again,) = [s for s in flight.overdue(80.0) if s.id == 1]
    assert again.missed == 1
    flight.forget(again)
    assert 1 not in flight
    flight.acknowledge("b1", "ble", 2, 80.0)
    assert flight.due_s() == 80.0  # the tap: 10, 20, 40, now 80 s after it was sent


def test_a_part_that_stands_still_is_found():
    now = [0.0]
    pulse = Pulse(lambda: now[0], limit_s=5.0)
    outbox, publisher = pulse.beating("outbox"), pulse.beating("publisher")
    now[0] = 4.0
    outbox()
    now[0] = 6.0
    assert pulse.hung() == ["publisher"]
    publisher()
    assert pulse.hung() == []
