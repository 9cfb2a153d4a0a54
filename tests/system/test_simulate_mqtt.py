"""`fanous simulate --mqtt` and `fanous replay` against a real mosquitto and a fake gateway.

The fake gateway stands where the real one will: it decodes every batch and
acknowledges it, after the first copy only when told to.
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time

import aiomqtt
import msgspec
import pytest

from ingest.broker import BrokerAddress
from ingest.columns import decode_batch
from ingest.identifiers import is_pseudonym
from ingest.store_file import read_store
from ingest.topics import agent_topic, parse_topic
from simulators import command, replay
from simulators.command import DEMO_STORE
from simulators.publisher import play, pseudonymiser
from simulators.routing import find_routes, steps_of
from simulators.scenario import SCENARIOS
from simulators.world import simulate

MOSQUITTO = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


@pytest.fixture(autouse=True)
def _mosquitto_is_here():
    if MOSQUITTO is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed, and this is CI")
        pytest.skip("mosquitto is not installed")


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@contextlib.contextmanager
def mosquitto(port, folder):
    """Run a broker on a port of the loopback."""
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    server = subprocess.Popen(
        [MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "mosquitto did not start"
        yield
    finally:
        server.terminate()
        server.wait(10)


class FakeGateway:
    """Acknowledges each batch at its copy number `copy`, and remembers everything."""

    def __init__(self, port, *, copy=1):
        self.port, self.copy = port, copy
        self.batches = {}
        self.copies = {}
        self.statuses = []
        self.ready = asyncio.Event()

    async def run(self):
        async with aiomqtt.Client("127.0.0.1", self.port) as client:
            await client.subscribe("fanous/v1/+/agents/+/+", qos=1)
            self.ready.set()
            async for message in client.messages:
                topic = parse_topic(str(message.topic))
                if topic.leaf == "status":
                    self.statuses.append((topic.agent, msgspec.json.decode(message.payload)))
                if topic.kind is None:
                    continue
                batch = decode_batch(message.payload)
                assert (topic.store, topic.agent, topic.kind) == (
                    batch.store,
                    batch.agent,
                    batch.kind,
                )
                key = (batch.agent, batch.boot, batch.kind, batch.seq)
                self.batches.setdefault(key, batch)
                self.copies[key] = self.copies.get(key, 0) + 1
                if self.copies[key] >= self.copy:
                    ack = {"boot": batch.boot, "kind": batch.kind, "seq": batch.seq}
                    ack_topic = agent_topic(batch.store, batch.agent, "ack")
                    await client.publish(ack_topic, msgspec.json.encode(ack), qos=1)

    def rows(self, kind):
        return sum(len(b.t_ns) for key, b in self.batches.items() if key[2] == kind)


@contextlib.asynccontextmanager
async def gateway_on(port, **options):
    gateway = FakeGateway(port, **options)
    task = asyncio.create_task(gateway.run(), name="fake-gateway")
    try:
        await asyncio.wait_for(gateway.ready.wait(), 10)
        yield gateway
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def demo_steps(store, seconds):
    routes = find_routes(store)
    chunks = simulate(SCENARIOS["demo"], store, 3, seconds / 60)
    of = pseudonymiser(store.id, None, lambda _: None)
    return steps_of(chunks, store, routes, of), routes.agents


def played(store, port, seconds, said, **options):
    steps, agents = demo_steps(store, seconds)
    broker = BrokerAddress(host="127.0.0.1", port=port, tls=False)
    return play(
        steps, broker, store_id=store.id, agents=agents, speed=1000.0, say=said.append, **options
    )


def test_every_row_arrives_and_every_batch_is_acknowledged(tmp_path):
    store = read_store(DEMO_STORE)
    port = free_port()
    expected = list(simulate(SCENARIOS["demo"], store, 3, 40 / 60))

    async def scene():
        async with gateway_on(port) as gateway:
            outcome = await played(store, port, 40, said := [])
            deadline = time.monotonic() + 10
            while sum(state["state"] == "offline" for _, state in gateway.statuses) < 4:
                assert time.monotonic() < deadline
                await asyncio.sleep(0)
            return gateway, outcome, said

    with mosquitto(port, tmp_path):
        gateway, outcome, said = asyncio.run(scene())
    assert said == []
    assert outcome.batches == outcome.acked == len(gateway.batches)
    assert {
        "ble": sum(len(c.readings.t_ns) for c in expected),
        "tap": sum(len(c.taps.t_ns) for c in expected),
        "sample": sum(len(c.samples.t_ns) for c in expected),
    } == {kind: gateway.rows(kind) for kind in ("ble", "tap", "sample")}
    streams = {}
    for agent, boot, kind, seq in gateway.batches:
        streams.setdefault((agent, boot, kind), []).append(seq)
    assert all(sorted(seqs) == list(range(1, len(seqs) + 1)) for seqs in streams.values())
    assert {"pi-1", "pi-2", "pi-3", "pi-4"} == {agent for agent, _, _ in streams}
    tags = {tag for b in gateway.batches.values() if b.tag for tag in b.tag.values}
    assert len(tags) > 8
    assert all(is_pseudonym(tag) for tag in tags)
    states = [state["state"] for agent, state in gateway.statuses if agent == "pi-1"]
    assert states == ["online", "offline"]


def test_complete_times_hold(tmp_path):
    store = read_store(DEMO_STORE)
    port = free_port()

    async def scene():
        async with gateway_on(port) as gateway:
            await played(store, port, 30, [])
            return gateway

    with mosquitto(port, tmp_path):
        gateway = asyncio.run(scene())
    complete = {}
    said = 0
    for (agent, *_), batch in gateway.batches.items():
        assert batch.t_ns.min() >= complete.get(agent, 0)
        complete[agent] = max(complete.get(agent, 0), batch.complete_ns)
        said += batch.complete_ns > 0
    assert said > 4


def test_a_broker_that_is_down_is_waited_for_and_the_window_sent_again(tmp_path):
    store = read_store(DEMO_STORE)
    port = free_port()

    async def scene():
        said = []
        playing = asyncio.create_task(played(store, port, 20, said))
        deadline = time.monotonic() + 20
        while not said:
            assert time.monotonic() < deadline
            await asyncio.sleep(0)
        with mosquitto(port, tmp_path):
            async with gateway_on(port) as gateway:
                outcome = await playing
        return gateway, outcome, said

    gateway, outcome, said = asyncio.run(scene())
    assert outcome.acked == outcome.batches == len(gateway.batches) > 0
    assert any("cannot be reached" in text for text in said)
    assert any("is back" in text for text in said)


def test_a_batch_the_gateway_did_not_take_is_sent_again(tmp_path):
    store = read_store(DEMO_STORE)
    port = free_port()

    async def scene():
        async with gateway_on(port, copy=2) as gateway:
            return gateway, await played(store, port, 3, [], resend_s=0.2)

    with mosquitto(port, tmp_path):
        gateway, outcome = asyncio.run(scene())
    assert outcome.acked == outcome.batches > 0
    # A cumulative ack may cover earlier batches before their second copy arrives.
    assert max(gateway.copies.values()) >= 2


def test_who_is_never_acknowledged_is_told(tmp_path):
    store = read_store(DEMO_STORE)
    port = free_port()
    said = []
    with mosquitto(port, tmp_path):
        outcome = asyncio.run(played(store, port, 3, said, patience_s=0.3))
    assert outcome.acked == 0 < outcome.batches
    assert any("were not acknowledged within 0.3 s" in text for text in said)


def test_commands_simulate_and_replay(tmp_path, capsys):
    """The words a user types, one after the other; the gateway gets the same readings twice."""
    recording = tmp_path / "recording"
    parsers = {}
    for module in (command, replay):
        parsers[module] = argparse.ArgumentParser()
        module.configure(parsers[module])

    def run(module, *words):
        return module.run(parsers[module].parse_args([str(word) for word in words]))

    words = ["demo", "--minutes", 0.5, "--seed", 2]
    assert run(command, *words, "--out", recording) == 0
    port = free_port()
    url = f"mqtt://127.0.0.1:{port}"

    async def scene():
        async with gateway_on(port) as gateway:
            live = await asyncio.to_thread(
                run, command, *words, "--mqtt", url, "--speed", 500, "--json"
            )
            count = gateway.rows("ble"), gateway.rows("sample")
            files = [recording / f"{stem}.csv" for stem in ("readings", "taps", "samples")]
            options = ["--store", recording / "store.toml", "--mqtt", url, "--speed", 500]
            again = await asyncio.to_thread(run, replay, *files, *options, "--json")
            return live, again, count, (gateway.rows("ble"), gateway.rows("sample"))

    with mosquitto(port, tmp_path):
        live, again, count, both = asyncio.run(scene())
    assert (live, again) == (0, 0)
    assert count[0] > 500
    assert both == (2 * count[0], 2 * count[1])
    told = capsys.readouterr()
    assert "no --key-file: pseudonyms are made with the store's id 'demo'" in told.err
    assert told.out.count('"acked"') == 2
