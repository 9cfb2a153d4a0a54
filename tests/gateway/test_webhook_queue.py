import msgspec
import pytest

from analytics.rows import Output, ShelfEvent
from gateway.events import Event, EventFinder, encode_event
from gateway.gate import Gate
from gateway.replacement import replace_after
from gateway.result_store import ResultStore, Step
from gateway.webhook_queue import DEAD_MAX, WebhookQueue
from gateway.webhook_settings import WebhookSettings
from tests.gateway.samples import ANNA, BEN, STORE, T0
from tests.gateway.webhook_rig import empty, save


@pytest.fixture
def results(tmp_path):
    made = ResultStore(tmp_path / "results.sqlite")
    yield made
    made.close()


def _webhook(name="stock", events=("shelf.empty",), **more):
    return WebhookSettings(
        url=f"https://{name}.example/", secret_file="s", events=events, name=name, **more
    )


def _picked(name="e1", *, tag=ANNA):
    data = {"event": name, "gtin": "04012345678901", "tag": tag, "tag_p": 0.9}
    return Event(name="shelf.picked", id=f"{name}/final", t_ns=T0, subject="s-1", data=data)


def _entered(name="z1", *, tag=ANNA):
    return Event(
        name="zone.entered", id=name, t_ns=T0, subject="shoes", data={"tag": tag, "zone": "shoes"}
    )


def _drain(queue, webhook="stock"):
    found = []
    while (waiting := queue.next(webhook)) is not None:
        found.append(waiting)
        queue.taken(webhook, waiting)
    return found


def test_each_gets_what_it_wants_oldest_first(results):
    queue = WebhookQueue(
        [_webhook(), _webhook("all", ("shelf.empty", "shelf.picked"))], results, Gate()
    )
    save(results, [empty(0), _picked(), empty(1)])
    assert ["e000000", "e000001"] == [each.message_id for each in _drain(queue)]
    assert ["e000000", "e1/final", "e000001"] == [w.message_id for w in _drain(queue, "all")]
    assert 3 == results.counts()["events_queued"]


def test_a_step_that_is_not_stored_queues_nothing(results):
    queue = WebhookQueue([_webhook()], results, Gate())
    with pytest.raises(ZeroDivisionError):
        _store_and_fail(results)
    assert queue.next("stock") is None
    assert {"queued": 0, "sent": 0, "dead": 0, "dropped": 0, "denied": 0} == queue.figures()[
        "stock"
    ]


def _store_and_fail(results):
    with results.transaction() as db:
        results.put_events(db, [encode_event(empty(0), "demo")])
        return 1 // 0


def test_a_full_queue_drops_its_oldest_and_nobody_elses(results):
    queue = WebhookQueue([_webhook(queue_max=3), _webhook("other")], results, Gate())
    save(results, [empty(at) for at in range(5)])
    save(results, [empty(5)])
    figures = queue.figures()
    assert (3, 3) == (figures["stock"]["queued"], figures["stock"]["dropped"])
    assert (6, 0) == (figures["other"]["queued"], figures["other"]["dropped"])
    assert ["e000003", "e000004", "e000005"] == [w.message_id for w in _drain(queue)]


def test_the_ledger_holds_when_an_event_is_dropped_while_it_is_sent(results):
    queue = WebhookQueue([_webhook(queue_max=1)], results, Gate())
    save(results, [empty(0)])
    in_flight = queue.next("stock")
    save(results, [empty(1)])
    queue.taken("stock", in_flight)
    queue.refused("stock", in_flight, "HTTP 400")
    figures = queue.figures()["stock"]
    assert (1, 1, 0, 0) == tuple(figures[n] for n in ("queued", "dropped", "sent", "dead"))


def test_refused_events_are_kept_and_bounded(results):
    queue = WebhookQueue([_webhook()], results, Gate())
    save(results, [empty(at) for at in range(DEAD_MAX + 2)])
    while (waiting := queue.next("stock")) is not None:
        queue.refused("stock", waiting, "HTTP 400")
    assert DEAD_MAX + 2 == queue.figures()["stock"]["dead"]
    assert [(DEAD_MAX, "e000002")] == results.query(
        "SELECT count(*), min(message_id) FROM webhook_events WHERE reason IS NOT NULL"
    )


def test_an_event_told_twice_before_it_is_sent_goes_once_and_keeps_its_turn(results):
    queue = WebhookQueue([_webhook()], results, Gate())
    save(results, [empty(0), empty(1)])
    save(results, [empty(0)])
    assert ["e000000", "e000001"] == [each.message_id for each in _drain(queue)]


def test_events_that_no_step_made_are_queued_too(results):
    queue = WebhookQueue([_webhook()], results, Gate())
    results.queue(events=[encode_event(empty(0), "demo")])
    assert ["e000000"] == [each.message_id for each in _drain(queue)]


def test_what_a_recomputation_changed_is_sent_again(results, tmp_path):
    queue = WebhookQueue([_webhook(events=("shelf.picked",))], results, Gate())
    finder = EventFinder(STORE, queue_long=5)
    before = _shelf_event(quantity=1)
    events = [encode_event(event, "demo") for event in finder.find(Output(shelf_events=[before]))]
    step = Step(journal_id=1, watermark_ns=T0)
    results.save(Output(shelf_events=[before]), step, closed_ns=T0, events=events)
    made = ResultStore(tmp_path / "made.sqlite")
    made.save(Output(shelf_events=[_shelf_event(quantity=2)]), step, closed_ns=T0)
    made.close()
    replace_after(
        results, tmp_path / "made.sqlite", None, step, finder=finder, points=None, dirty_ns=None
    )
    first, second = _drain(queue)
    assert "e1/final" == first.message_id
    assert second.message_id.startswith("e1/final/")
    assert [1, 2] == [msgspec.json.decode(w.body)["data"]["quantity"] for w in (first, second)]


def _shelf_event(*, quantity):
    return ShelfEvent(
        event="e1",
        t_ns=T0,
        shelf="shoes-1",
        sensor="plate-1",
        gtin="04012345678901",
        kind="pick",
        status="final",
        quantity=quantity,
        delta_g=-640.0,
        confidence=0.9,
    )


def test_a_corrected_fact_is_a_message_of_its_own_with_the_facts_id(results):
    queue = WebhookQueue([_webhook()], results, Gate())
    save(results, [empty(0)])
    _drain(queue)
    corrected = Event(name="shelf.empty", id="e000000", t_ns=T0, subject="s-1", data={"n": 99})
    for _ in range(2):
        with results.transaction() as db:
            results.put_events(db, [encode_event(corrected, "demo")], again=True)
    found = _drain(queue)
    assert 1 == len(found)
    assert found[0].message_id.startswith("e000000/")
    assert "e000000" == msgspec.json.decode(found[0].body)["id"]


@pytest.mark.parametrize(
    "event",
    [
        _entered(),
        Event(name="visit.started", id="v/s", t_ns=T0, subject=ANNA, data={"visit": "v"}),
        Event(
            name="visit.ended", id="v/e", t_ns=T0, subject=ANNA, data={"visit": "v", "tag": ANNA}
        ),
        Event(name="dwell.recorded", id="d", t_ns=T0, subject="shoes", data={"tag": ANNA}),
        Event(name="tag.tapped", id="t", t_ns=T0, subject=ANNA, data={"tag": ANNA}),
        Event(name="tag.cloned", id="c", t_ns=T0, subject="ble:b0b0b0b0b0b0", data={}),
    ],
    ids=lambda event: event.name,
)
def test_what_is_about_a_person_stays_until_consent_is_known(results, event):
    queue = WebhookQueue([_webhook(events=(event.name,))], results, gate := Gate())
    save(results, [event])
    assert queue.next("stock") is None
    assert 1 == queue.figures()["stock"]["denied"]
    assert 1 == gate.denied
    assert [(0,)] == results.query("SELECT count(*) FROM webhook_events")


def test_a_shelf_event_goes_without_its_person(results):
    queue = WebhookQueue([_webhook(events=("shelf.picked",))], results, Gate())
    save(results, [_picked("e1"), _picked("e2", tag=None)])
    bodies = [each.body for each in _drain(queue)]
    assert [
        {"event": "e1", "gtin": "04012345678901"},
        {"event": "e2", "gtin": "04012345678901"},
    ] == [msgspec.json.decode(body)["data"] for body in bodies]
    assert not any(ANNA.encode() in body for body in bodies)
    assert 0 == queue.figures()["stock"]["denied"]


def test_with_consent_a_person_goes_out_and_a_withdrawal_reaches_what_waits(results):
    agreed = {ANNA, BEN}
    gate = Gate(lambda visitor, purpose: purpose == "webhook" and visitor in agreed)
    events = ("zone.entered", "shelf.picked")
    queue = WebhookQueue([_webhook(events=events)], results, gate)
    save(results, [_entered("z1"), _entered("z2", tag=BEN), _picked("e1"), _picked("e2", tag=BEN)])
    assert [(ANNA, 2), (BEN, 2)] == results.query(
        "SELECT visitor, count(*) FROM webhook_events GROUP BY visitor ORDER BY visitor"
    )
    agreed.remove(ANNA)
    found = _drain(queue)
    assert ["z2", "e1/final", "e2/final"] == [each.message_id for each in found]
    assert [BEN, None, BEN] == [msgspec.json.decode(w.body)["data"].get("tag") for w in found]
    assert (1, 3) == tuple(queue.figures()["stock"][what] for what in ("denied", "sent"))


def test_rows_of_a_webhook_that_is_no_longer_configured_go(results, caplog):
    WebhookQueue([_webhook(), _webhook("old")], results, Gate())
    save(results, [empty(0), empty(1)])
    queue = WebhookQueue([_webhook()], results, Gate())
    assert [("stock", 2)] == results.query("SELECT webhook, count(*) FROM webhook_events")
    assert ["stock"] == list(queue.figures())
    assert any("old is no longer configured: 2 events" in r.message for r in caplog.records)


def test_everything_outlives_a_restart(tmp_path):
    first = ResultStore(tmp_path / "results.sqlite")
    queue = WebhookQueue([_webhook()], first, Gate())
    save(first, [empty(at) for at in range(4)])
    queue.taken("stock", queue.next("stock"))
    queue.refused("stock", queue.next("stock"), "HTTP 400")
    first.close()
    second = ResultStore(tmp_path / "results.sqlite")
    queue = WebhookQueue([_webhook()], second, Gate())
    assert {"queued": 2, "sent": 1, "dead": 1, "dropped": 0, "denied": 0} == queue.figures()[
        "stock"
    ]
    assert ["e000002", "e000003"] == [each.message_id for each in _drain(queue)]
    second.close()
