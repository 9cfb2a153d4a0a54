import pytest

from gateway.gate import Gate
from tests.gateway.samples import ANNA, BEN


def _event(subject, **data):
    return {"id": "1", "subject": subject, "data": data}


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("queue.long", _event("checkout", zone="checkout", length=7)),
        ("agent.silent", _event("pi-1", agent="pi-1", since_ns=1)),
        ("sensor.fault", _event("shoes-1", sensor="plate-1")),
        ("receiver.fault", _event("rx-1", receiver="rx-1")),
        ("shelf.empty", _event("shoes-1", shelf="shoes-1", quantity=0)),
    ],
)
def test_what_is_about_the_shop_leaves_as_it_is(name, event):
    gate = Gate()
    leaving = gate.event_for(event, name, "webhook")
    assert (event, None) == (leaving.event, leaving.visitor)
    assert 0 == gate.denied


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("zone.left", _event("shoes", tag=ANNA)),
        ("visit.ended", _event(ANNA, visit="v1")),
        ("brand.new", _event("shoes", something=1)),  # of a kind the gate does not know
        ("queue.long", _event("checkout", visitor="somebody")),
        ("agent.silent", _event(ANNA)),
        ("sensor.fault", _event("ble:b0b0b0b0b0b0")),
        ("dwell.recorded", _event("shoes", visit="v1", tag=None)),
    ],
)
def test_everything_else_is_about_a_person_and_denied(name, event):
    gate = Gate()
    assert gate.event_for(event, name, "webhook") is None
    assert 1 == gate.denied


def test_the_person_at_a_shelf_stays_without_consent_and_goes_with_it():
    gate = Gate(lambda visitor, _purpose: visitor == BEN)
    anna = _event("s-1", gtin="1", tag=ANNA, tag_p=0.9)
    ben = _event("s-1", gtin="1", tag=BEN, tag_p=0.9)
    nobody = _event("s-1", gtin="1", tag=None, tag_p=None)
    found = [gate.event_for(each, "shelf.picked", "webhook") for each in (anna, ben, nobody)]
    assert [{"gtin": "1"}, ben["data"], {"gtin": "1"}] == [each.event["data"] for each in found]
    assert [None, BEN, None] == [each.visitor for each in found]
    assert 1 == gate.denied
    assert ANNA == anna["data"]["tag"]  # what was given is not changed


@pytest.mark.parametrize("answer", [None, False])
def test_unknown_is_no(answer):
    gate = Gate(lambda _visitor, _purpose: answer)
    assert gate.event_for(_event("shoes", tag=ANNA), "zone.left", "webhook") is None
