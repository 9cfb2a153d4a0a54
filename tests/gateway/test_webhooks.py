import asyncio
import logging
import random
import ssl
import time

import pytest

from gateway.gate import Gate
from gateway.result_store import ResultStore
from gateway.webhooks import Patience, Webhooks
from tests.gateway.polling import until
from tests.gateway.webhook_rig import (
    QUICK,
    Receiver,
    empty,
    save,
    sending,
    webhook,
    write_certificate,
)


@pytest.fixture
def results(tmp_path):
    made = ResultStore(tmp_path / "results.sqlite")
    yield made
    made.close()


def _ids(count, first=0):
    return [empty(at).id for at in range(first, first + count)]


def _taken(receiver):
    return [message_id for message_id, _ in receiver.taken]


async def _send(results, tmp_path, script, count, *, holds=None, **more):
    """Send `count` events to a receiver with a script; return it and the summary."""
    receiver = await Receiver(script).start()
    async with sending(results, webhook(tmp_path, receiver, **more)) as hooks:
        save(results, map(empty, range(count)))
        await until(lambda: holds(receiver) if holds else not _queued(hooks))
        summary = hooks.summary()["stock"]
    await receiver.stop()
    return receiver, summary


def _queued(hooks, name="stock"):
    return hooks.summary()[name]["queued"]


def test_an_event_arrives_signed_as_a_cloud_event(results, tmp_path):
    receiver, summary = asyncio.run(_send(results, tmp_path, [], 1))
    request, _ = receiver.requests[0]
    assert "application/cloudevents+json; charset=UTF-8" == request.headers["Content-Type"]
    assert abs(time.time() - int(request.headers["webhook-timestamp"])) < 60
    message_id, event = receiver.taken[0]
    assert ("e000000", "e000000", "io.fanous.shelf.empty.v1") == (
        message_id,
        event["id"],
        event["type"],
    )
    assert {"n": 0} == event["data"]
    assert (0, 1, 0) == (receiver.forged, summary["sent"], summary["failures"])


@pytest.mark.parametrize(
    ("step", "repeats"),
    [
        (500, 1),
        (503, 1),
        (408, 1),
        (425, 1),
        ((429, {"Retry-After": "0"}), 1),
        ((307, {"Location": "/elsewhere"}), 1),
        ("hang", 1),
        ("cut", 1),
        ("drop", 1),
        ("drip", 0),
    ],
)
def test_a_failed_attempt_is_repeated_with_the_same_id_and_in_order(
    results, tmp_path, step, repeats
):
    receiver, summary = asyncio.run(_send(results, tmp_path, [204, step], 4))
    expected = _ids(2) + _ids(1, 1) * repeats + _ids(2, 2)
    assert expected == receiver.arrived
    assert {"/hook"} == {request.path for request, _ in receiver.requests}
    assert (4, 0, 0, repeats, 0) == (
        summary["sent"],
        summary["queued"],
        summary["dead"],
        summary["failures"],
        receiver.forged,
    )


def test_a_refusal_for_good_costs_only_that_event(results, tmp_path, caplog):
    receiver, summary = asyncio.run(_send(results, tmp_path, [204, 400, 404, 204], 4))
    assert _ids(4) == receiver.arrived
    assert [*_ids(1), *_ids(1, 3)] == _taken(receiver)
    assert (2, 2, 0) == (summary["sent"], summary["dead"], summary["queued"])
    kept = results.query("SELECT message_id, reason FROM webhook_events")
    assert [("e000001", "HTTP 400"), ("e000002", "HTTP 404")] == kept
    assert 1 == sum("set aside" in record.message for record in caplog.records)


def test_410_disables_for_good_until_there_is_another_url(results, tmp_path, caplog):
    async def run():
        receiver = await Receiver([204, 410]).start()
        settings = webhook(tmp_path, receiver)
        async with sending(results, settings) as hooks:
            save(results, map(empty, range(5)))
            await until(lambda: hooks.summary()["stock"]["disabled"])
            save(results, [empty(5)])
        async with sending(results, settings) as hooks:  # a restart does not forget it
            save(results, [empty(6)])
            same = hooks.summary()["stock"]
        moved = webhook(tmp_path, receiver, url=receiver.url + "/new")
        async with sending(results, moved) as hooks:
            save(results, [empty(7)])
            await until(lambda: len(receiver.taken) == 2)
        await receiver.stop()
        return receiver, same

    receiver, same = asyncio.run(run())
    assert ["e000000", "e000001", "e000007"] == receiver.arrived
    assert (1, 1, 6, 0) == (same["disabled"], same["sent"], same["dropped"], same["queued"])
    assert any("410 Gone" in r.message and "disabled" in r.message for r in caplog.records)


def test_retry_after_is_waited_for_and_longer_than_the_back_off(results, tmp_path):
    async def run():
        receiver = await Receiver([(429, {"Retry-After": "1"})]).start()
        times = []
        async with sending(results, webhook(tmp_path, receiver)):
            save(results, [empty(0)])
            for n in (1, 2):
                await until(lambda n=n: len(receiver.arrived) == n)
                times.append(time.monotonic())
        await receiver.stop()
        return times[1] - times[0]

    assert 0.95 <= asyncio.run(run()) < 3.0


def test_the_back_off_doubles_up_to_its_bound_and_is_never_less_than_half(
    results, tmp_path, monkeypatch
):
    waits = []

    async def note(event, seconds):
        waits.append(seconds)
        await asyncio.wait({asyncio.create_task(event.wait())}, timeout=0.001)

    monkeypatch.setattr("gateway.webhooks._pause", note)
    draws = iter([0.0, 1.0] * 50)

    async def run():
        receiver = await Receiver([500] * 6).start()
        patience = Patience(back_off_min_s=1.0, back_off_max_s=8.0)
        settings = webhook(tmp_path, receiver)
        async with sending(results, settings, patience=patience, random=draws.__next__) as hooks:
            save(results, [empty(0)])
            await until(lambda: hooks.summary()["stock"]["sent"])
        await receiver.stop()

    asyncio.run(run())
    assert [0.5, 2.0, 2.0, 8.0, 4.0, 8.0] == [wait for wait in waits if wait < 30.0][:6]


def test_a_receiver_that_always_fails_on_one_event_gets_the_others(results, tmp_path):
    clock = iter(range(0, 10**18, 3600 * 10**9))  # an hour at every look
    script = [500] * 40

    async def run():
        receiver = await Receiver(script).start()
        settings = webhook(tmp_path, receiver)
        async with sending(results, settings, now_ns=clock.__next__) as hooks:
            save(results, map(empty, range(3)))
            await until(lambda: hooks.summary()["stock"]["dead"] == 1)
            receiver.script.clear()
            await until(lambda: not _queued(hooks))
        await receiver.stop()
        return receiver

    receiver = asyncio.run(run())
    assert _ids(2, 1) == _taken(receiver)
    assert [("e000000", "HTTP 500 for too long")] == results.query(
        "SELECT message_id, reason FROM webhook_events"
    )


def test_a_receiver_behind_a_gateway_error_loses_nothing_however_long(results, tmp_path):
    clock = iter(range(0, 10**18, 3600 * 10**9))

    async def run():
        receiver = await Receiver([502, 503, 504] * 20).start()
        settings = webhook(tmp_path, receiver)
        async with sending(results, settings, now_ns=clock.__next__) as hooks:
            save(results, map(empty, range(2)))
            await until(lambda: not _queued(hooks))
        await receiver.stop()
        return receiver

    assert _ids(2) == _taken(asyncio.run(run()))


def test_down_for_a_while_and_back(results, tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def run():
        receiver = await Receiver().start()
        async with sending(results, webhook(tmp_path, receiver)) as hooks:
            save(results, map(empty, range(3)))
            await until(lambda: len(receiver.taken) == 3)
            await receiver.stop()
            save(results, map(empty, range(3, 8)))
            await until(lambda: hooks.summary()["stock"]["failures"] >= 3)
            waited = _queued(hooks)
            await receiver.start()
            await until(lambda: not _queued(hooks))
        await receiver.stop()
        return receiver, waited

    receiver, waited = asyncio.run(run())
    assert 5 == waited
    assert _ids(8) == receiver.arrived
    said = [record.message for record in caplog.records if "webhook stock" in record.message]
    assert ["takes nothing now", "answers again"] == [
        next(words for words in ("takes nothing now", "answers again") if words in line)
        for line in said
    ]


def test_a_dead_receiver_holds_up_neither_another_nor_the_one_who_stores(results, tmp_path):
    async def run():
        dead, alive = await Receiver(["hang"] * 1000).start(), await Receiver().start()
        hooks = (
            webhook(tmp_path, dead, name="dead", timeout_s=30.0),
            webhook(tmp_path, alive, name="alive"),
        )
        began = time.monotonic()
        async with sending(results, *hooks) as sink:
            for at in range(100):
                save(results, [empty(at)], journal_id=at)
            stored_s = time.monotonic() - began
            await until(lambda: not _queued(sink, "alive"))
            summary = sink.summary()
            stops = time.monotonic()
        stopped_s = time.monotonic() - stops
        for receiver in (dead, alive):
            await receiver.stop()
        return dead, alive, summary, stored_s, stopped_s

    dead, alive, summary, stored_s, stopped_s = asyncio.run(run())
    assert _ids(100) == alive.arrived
    assert _ids(1) == dead.arrived
    assert (100, 0) == (summary["dead"]["queued"], summary["dead"]["sent"])
    assert 100 == results.counts()["events_queued"]  # the broker's are untouched
    assert stored_s < 5.0
    assert stopped_s < 2.0  # although a request hangs


@pytest.mark.parametrize("seed", range(3))
def test_a_chaotic_receiver_and_restarts_lose_nothing_and_keep_the_order(tmp_path, seed):
    draw = random.Random(seed)
    count = 150
    steps = [500, 503, "hang", "cut", "drop", "drip", (429, {"Retry-After": "0"}), 308, 204, 204]
    script = draw.choices([*steps, 204, 204, 204], k=count)

    async def run():
        receiver = await Receiver(script).start()
        settings = webhook(tmp_path, receiver, timeout_s=0.05)
        stored = restarts = 0
        while len(set(_taken(receiver))) < count:
            results = ResultStore(tmp_path / "results.sqlite")
            hooks = Webhooks([settings], results, Gate(), patience=QUICK)
            task = asyncio.create_task(hooks.run(asyncio.Event()))
            goal = len(receiver.arrived) + draw.randint(1, 60)
            while stored < count and len(receiver.arrived) < goal:
                save(results, [empty(stored)], journal_id=stored)
                stored += 1
                await asyncio.sleep(0)
            enough = lambda goal=goal: (  # noqa: E731
                len(receiver.arrived) >= goal or len(set(_taken(receiver))) == count
            )
            await until(enough)
            task.cancel()  # in the middle of whatever it does
            await asyncio.gather(task, return_exceptions=True)
            results.close()
            restarts += 1
        await receiver.stop()
        return receiver, restarts

    receiver, restarts = asyncio.run(run())
    ids = _taken(receiver)
    assert _ids(count) == list(dict.fromkeys(ids))  # each at least once, first times in order
    assert ids == sorted(ids)  # a repetition follows at once
    causes = sum(step in ("hang", "cut") for step in script)
    assert len(ids) - count <= causes + restarts
    assert 0 == receiver.forged
    print(f"seed {seed}: {count} events, {len(receiver.arrived)} requests, {restarts} restarts, ")
    print(f"{len(ids) - count} taken twice (of {causes} cuts after taking, {restarts} restarts)")


def test_https_is_verified(results, tmp_path):
    own_certificate = write_certificate(tmp_path / "own.pem")

    async def run():
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(own_certificate)
        receiver = await Receiver().start(server)
        url = receiver.url.replace("http", "https")
        async with sending(results, webhook(tmp_path, receiver, url=url, timeout_s=5.0)) as hooks:
            save(results, [empty(0)])
            await until(lambda: hooks.summary()["stock"]["failures"] >= 2)
            before = list(receiver.arrived)
        trusting = webhook(tmp_path, receiver, url=url, ca_file=str(own_certificate), timeout_s=5.0)
        async with sending(results, trusting) as hooks:
            await until(lambda: not _queued(hooks))
        wrong_name = webhook(
            tmp_path,
            receiver,
            url=url.replace("127.0.0.1", "localhost"),
            ca_file=str(own_certificate),
            timeout_s=5.0,
        )
        async with sending(results, wrong_name) as hooks:
            save(results, [empty(1)])
            await until(lambda: hooks.summary()["stock"]["failures"] >= 1)
        await receiver.stop()
        return receiver, before

    receiver, before = asyncio.run(run())
    assert [] == before
    assert _ids(1) == receiver.arrived


def test_the_metrics_carry_the_names_of_webhooks_and_not_their_addresses(results, tmp_path):
    async def run():
        receiver = await Receiver().start()
        async with sending(results, webhook(tmp_path, receiver)) as hooks:
            save(results, [empty(0)])
            await until(lambda: hooks.summary()["stock"]["sent"])
            metrics = hooks.metrics()
        await receiver.stop()
        return metrics

    metrics = {metric.name: metric for metric in asyncio.run(run())}
    assert {"stock": 1} == metrics["fanous_webhook_sent_total"].samples
    assert {"stock": 0} == metrics["fanous_webhook_queued"].samples
    assert "webhook" == metrics["fanous_webhook_dead_total"].label


def test_without_webhooks_there_is_nothing_to_do(results):
    async def run():
        async with sending(results) as hooks:
            save(results, [empty(0)])
            return hooks.summary(), hooks.metrics()

    assert ({}, []) == asyncio.run(run())
    assert [(0,)] == results.query("SELECT count(*) FROM webhook_events")
