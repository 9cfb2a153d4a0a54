import json

import pytest

from analytics.rows import (
    Output,
    QueueMinute,
    ReceiverHealth,
    SensorHealth,
    ShelfEvent,
    ShelfStock,
    TagFlag,
    ZoneChange,
)
from gateway.events import CLONE_ALARM_NS, EventFinder, encode_event, encode_events, rfc3339
from ingest.topics import EVENT_NAMES
from tests.gateway.rows import dwell, visit
from tests.gateway.samples import ANNA, SECOND, STORE, T0


def _finder():
    return EventFinder(STORE, queue_long=5)


def _change(kind="entered", zone="shoes"):
    return ZoneChange(kind=kind, t_ns=T0, tag=ANNA, layer="main", zone=zone, zone_p=0.9)


def _queue(minute, length):
    return QueueMinute(
        t_ns=T0 + minute * 60 * SECOND,
        zone="promo",
        length=length,
        wait_p50_s=None,
        wait_p90_s=None,
        abandoned=0,
    )


def _stock(state, minute=0):
    return ShelfStock(
        t_ns=T0 + minute * 60 * SECOND,
        shelf="shoes-1",
        gtin="g",
        quantity=1,
        sigma=0.1,
        mass_g=1.0,
        state=state,
    )


def _shelf(kind, status):
    return ShelfEvent(
        event=f"e-{kind}",
        t_ns=T0,
        shelf="shoes-1",
        sensor="plate-1",
        gtin="g",
        kind=kind,
        status=status,
        quantity=1,
        delta_g=-1.0,
        confidence=0.5,
    )


def _receiver(state, second=0):
    return ReceiverHealth(
        receiver="rx-1",
        state=state,
        since_ns=T0 + second * SECOND,
        offset_db=-6.5,
        reason="heard too little",
    )


def _flag(kind="cloned"):
    return TagFlag(kind=kind, t_ns=T0, tag=ANNA, zones=("shoes", "promo"))


def test_an_event_is_a_cloud_event():
    (event,) = _finder().find(Output(zone_changes=[_change()]))
    message = encode_event(event, "demo")
    body = json.loads(message.payload)
    assert "fanous/v1/demo/events/zone.entered" == message.topic
    assert {
        "specversion": "1.0",
        "type": "io.fanous.zone.entered.v1",
        "source": "/stores/demo",
        "id": event.id,
        "time": "2025-11-24T16:00:00Z",
        "subject": "shoes",
        "datacontenttype": "application/json",
        "data": {"t_ns": T0, "tag": ANNA, "layer": "main", "zone": "shoes", "zone_p": 0.9},
    } == body


def test_the_same_fact_has_the_same_id_and_another_has_another():
    first, again = (
        _finder().find(Output(zone_changes=[_change()], visits=[visit("v1", T0)])) for _ in range(2)
    )
    assert [event.id for event in first] == [event.id for event in again]
    (other,) = _finder().find(Output(zone_changes=[_change(kind="left")]))
    assert other.id not in {event.id for event in first}


def test_names_and_subjects():
    output = Output(
        zone_changes=[_change(), _change("left")],
        visits_started=[("v1", ANNA, T0)],
        dwells=[dwell("d1", T0)],
        visits=[visit("v1", T0)],
        shelf_events=[
            _shelf("look", "final"),
            _shelf("pick", "provisional"),
            _shelf("return", "final"),
            _shelf("pick", "retracted"),
            _shelf("rezero", "final"),
        ],
        shelf_stock=[_stock("low"), _stock("empty", 1)],
        queues=[_queue(0, 5)],
        sensor_health=[SensorHealth(sensor="plate-1", state="stuck", since_ns=T0, reason="x")],
        receiver_health=[_receiver("deaf")],
        tag_flags=[_flag(), _flag("teleported")],
    )
    finder = _finder()
    events = finder.find(output)
    events += [finder.tapped(T0, "gate-1", ANNA), finder.agent_silent("pi-1", T0)]
    subjects = {event.name: event.subject for event in events}
    assert {
        "zone.entered": "shoes",
        "zone.left": "shoes",
        "visit.started": ANNA,
        "dwell.recorded": "shoes",
        "visit.ended": ANNA,
        "shelf.looked": "shoes-1",
        "shelf.picked": "shoes-1",
        "shelf.returned": "shoes-1",
        "shelf.retracted": "shoes-1",
        "shelf.low": "shoes-1",
        "shelf.empty": "shoes-1",
        "queue.long": "promo",
        "sensor.fault": "shoes-1",
        "receiver.fault": "rx-1",
        "tag.cloned": ANNA,
        "tag.tapped": ANNA,
        "agent.silent": "pi-1",
    } == subjects
    assert set(subjects) == EVENT_NAMES
    assert len(events) == len({event.id for event in events})
    assert {"e-look/final", "e-pick/provisional", "e-pick/retracted"} <= {
        event.id for event in events
    }


@pytest.mark.parametrize(
    ("lengths", "told"), [([5, 6, 7], [0]), ([4, 5, 4, 9], [1, 3]), ([0, 1], [])]
)
def test_a_long_queue_is_told_when_it_begins(lengths, told):
    finder = _finder()
    rows = [_queue(at, length) for at, length in enumerate(lengths)]
    minutes = [(e.t_ns - T0) // (60 * SECOND) for e in finder.find(Output(queues=rows))]
    assert told == minutes
    assert (["promo"] if lengths[-1] >= 5 else []) == finder.queues_long()


def test_a_stock_state_and_a_fault_are_told_when_they_begin():
    finder = _finder()
    rows = [_stock(s, at) for at, s in enumerate(["ok", "low", "low", "empty", "ok", "low"])]
    names = [event.name for event in finder.find(Output(shelf_stock=rows))]
    assert ["shelf.low", "shelf.empty", "shelf.low"] == names
    states = ["stuck", "stuck", "ok", "stuck"]
    health = [
        SensorHealth(sensor="plate-1", state=s, since_ns=T0 + at, reason="")
        for at, s in enumerate(states)
    ]
    assert 2 == len(finder.find(Output(sensor_health=health)))
    assert ["plate-1"] == finder.sensors_at_fault()


def test_a_cloned_tag_is_an_event_and_for_a_while_an_alarm():
    finder = _finder()
    (event,) = finder.find(Output(tag_flags=[_flag(), _flag("teleported")]))
    body = json.loads(encode_event(event, "demo").payload)
    assert {"t_ns": T0, "tag": ANNA, "zones": ["shoes", "promo"]} == body["data"]
    assert [event.id] == [again.id for again in _finder().find(Output(tag_flags=[_flag()]))]
    assert [_flag()] == finder.clones(T0 + CLONE_ALARM_NS - 1)
    assert [] == finder.clones(T0 + CLONE_ALARM_NS)
    assert {"cloned": 1, "teleported": 1} == finder.tag_flags()
    finder.find(Output(tag_flags=[_flag()] * 60))
    assert 50 == len(finder.clones(T0))


def test_a_receivers_fault_is_told_when_it_begins_or_changes():
    finder = _finder()
    states = ["ok", "moved", "moved", "deaf", "ok", "moved"]
    rows = [_receiver(state, at) for at, state in enumerate(states)]
    events = finder.find(Output(receiver_health=rows))
    assert [1, 3, 5] == [(event.t_ns - T0) // SECOND for event in events]
    assert 3 == len({event.id for event in events})
    assert {
        "receiver": "rx-1",
        "state": "deaf",
        "since_ns": T0 + 3 * SECOND,
        "offset_db": -6.5,
        "reason": "heard too little",
    } == events[1].data
    assert rows[-1:] == finder.receivers_at_fault()
    finder.find(Output(receiver_health=[_receiver("ok", 9)]))
    assert [] == finder.receivers_at_fault()


@pytest.mark.parametrize(
    ("t_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (T0, "2025-11-24T16:00:00Z"),
    ],
)
def test_rfc3339(t_ns, text):
    assert text == rfc3339(t_ns)


def test_many_events_are_encoded_as_one_by_one():
    output = Output(
        zone_changes=[_change(), _change("left", "promo")],
        dwells=[dwell("d1", T0)],
        visits=[visit("v1", T0)],
        shelf_stock=[_stock("low")],
    )
    events = _finder().find(output)
    assert 5 == len(events)
    assert [encode_event(event, "demo") for event in events] == encode_events(events, "demo")
