"""The agent against a real mosquitto: nothing is lost over kills and restarts."""

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.agent import Agent
from edge.measurement import Reading, Sample, Tap
from edge.settings import BatchSettings, MqttSettings, OutboxSettings
from edge.sources.virtual import VirtualSource
from ingest.columns import decode_batch
from ingest.order import Arrival, BatchLedger
from ingest.topics import agent_topic, agents_filter, parse_topic
from tests.edge.agents import BAND, T0, FakeSource, make_settings, until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mosquitto")]


class Mosquitto:
    """A real broker on a free port of 127.0.0.1, with its sessions on the disk."""

    def __init__(self, folder):
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            if os.environ.get("CI") == "true":
                pytest.fail("mosquitto is not installed, and CI must have it")
            pytest.skip("mosquitto is not installed; install it to run this test")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.program, self.config = program, folder / "mosquitto.conf"
        self.process = None
        (folder / "broker").mkdir()
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/broker/\nautosave_on_changes true\n"
            "autosave_interval 1\nmax_queued_messages 0\nlog_dest none\nuser root\n"
        )

    def start(self):
        self.process = subprocess.Popen([self.program, "-c", str(self.config)])
        deadline = time.monotonic() + 10
        while True:
            assert self.process.poll() is None, "mosquitto ended by itself"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline, "mosquitto does not listen"
                time.sleep(0.02)
            else:
                return

    def kill(self, number=signal.SIGKILL):
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None


class FakeGateway:
    """Stands in for the gateway: keeps batches in memory and acknowledges cumulatively."""

    def __init__(self, port):
        self.ledger, self.batches, self.duplicates = BatchLedger(), {}, 0
        self.statuses = []
        self.answers = True
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="fake-gateway", clean_session=False
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._subscribe
        self.client.on_message = self._receive
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _subscribe(self, client, _user, _flags, _reason, _more):
        for leaf in ("readings", "taps", "samples", "status"):
            client.subscribe(agents_filter("demo", leaf), 1)

    def _receive(self, client, _user, message):
        topic = parse_topic(message.topic)
        if topic.leaf == "status":
            self.statuses.append(json.loads(message.payload)["state"])
            return
        batch = decode_batch(message.payload)
        assert topic.kind == batch.kind
        if not self.new(batch):
            return
        key = (batch.agent, batch.boot, batch.kind)
        if self.ledger.add(*key, batch.seq, batch.first_seq) is Arrival.NEW:
            self.batches[(*key, batch.seq)] = batch
        else:
            self.duplicates += 1
        if self.answers:
            ack = {"boot": batch.boot, "kind": batch.kind, "seq": self.ledger.ack_seq(*key)}
            client.publish(agent_topic("demo", batch.agent, "ack"), json.dumps(ack), qos=1)

    def new(self, batch):
        """Take note of a batch; false = it is as if it had never come."""
        return True

    def rows(self):
        return Counter(
            (batch.kind, int(t_ns)) for batch in list(self.batches.values()) for t_ns in batch.t_ns
        )

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path):
    mosquitto = Mosquitto(tmp_path)
    yield mosquitto
    mosquitto.kill(signal.SIGTERM)


@pytest.fixture
def gateway(broker):
    broker.start()
    fake = FakeGateway(broker.port)
    yield fake
    fake.close()


def quick(folder, port, **mqtt):
    return make_settings(
        folder,
        mqtt=MqttSettings(url=f"mqtt://127.0.0.1:{port}", backoff_max_s=1, **mqtt),
        batch=BatchSettings(max_rows=50, max_ms=20),
        outbox=OutboxSettings(commit_ms=20),
    )


def expected_rows(count):
    return (
        Counter({("ble", T0 + n): 1 for n in range(count)})
        + Counter({("sample", T0 + n): 1 for n in range(0, count, 10)})
        + Counter({("tap", T0 + n): 1 for n in range(0, count, 100)})
    )


async def feed(source, begin, end, pause_s=0.0):
    for n in range(begin, end):
        assert source.push_reading(T0 + n, "rx-1", f"name:band-{n % 30}", -60.0)
        if n % 10 == 0:
            assert source.push_sample(T0 + n, "plate-1", 640.0 + n)
        if n % 100 == 0:
            assert source.push_tap(T0 + n, "gate-1", "name:band-1")
            await asyncio.sleep(pause_s)


async def run_agent(settings, source, work):
    agent, stop = Agent(settings, now_ns=lambda: T0, sources=[source]), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(agent.run(stop))
        await work(agent)
        stop.set()
        await task
    return agent


def test_everything_arrives_once_and_the_outbox_is_empty(tmp_path, broker, gateway):
    source = VirtualSource()

    async def work(agent):
        await feed(source, 0, 2000)
        source.end()
        await asyncio.wait_for(agent.drained(), 20)
        assert agent.health()["connected"]

    agent = asyncio.run(run_agent(quick(tmp_path, broker.port), source, work))
    assert expected_rows(2000) == gateway.rows()
    assert agent.health()["outbox"]["batches"] == 0
    asyncio.run(until(lambda: gateway.statuses[-1:] == ["offline"]))
    assert "online" in gateway.statuses
    for kind in ("ble", "tap", "sample"):
        seqs = sorted(key[3] for key in gateway.batches if key[2] == kind)
        assert list(range(1, len(seqs) + 1)) == seqs


def test_nothing_is_lost_when_the_broker_is_killed_in_mid_stream(tmp_path, broker, gateway):
    source = VirtualSource()

    async def work(agent):
        for round_ in range(3):
            await feed(source, round_ * 1000, round_ * 1000 + 1000, pause_s=0.02)
            broker.kill()
            await feed(source, 10_000 + round_ * 500, 10_000 + round_ * 500 + 500)
            await until(lambda: not agent.health()["connected"])
            await asyncio.to_thread(broker.start)
            await until(lambda: agent.health()["connected"], 20)
        source.end()
        await asyncio.wait_for(agent.drained(), 40)

    agent = asyncio.run(run_agent(quick(tmp_path, broker.port, ack_timeout_s=2), source, work))
    expected = Counter(
        {
            key: count
            for key, count in expected_rows(11_500).items()
            if not 3000 <= key[1] - T0 < 10_000
        }
    )
    assert expected == gateway.rows()
    assert agent.health()["publisher"]["connects"] >= 4


def test_a_new_agent_sends_what_an_old_one_left(tmp_path, broker, gateway):
    settings = quick(tmp_path, broker.port)
    gateway.answers = False
    first = VirtualSource()

    async def unanswered(agent):
        await feed(first, 0, 1000)
        await until(lambda: agent.health()["publisher"].get("published", 0) >= 5)

    old = asyncio.run(run_agent(settings, first, unanswered))
    assert old.health()["outbox"]["batches"] > 0
    gateway.answers = True
    second = VirtualSource()

    async def answered(agent):
        await feed(second, 1000, 1100)
        second.end()
        await asyncio.wait_for(agent.drained(), 20)

    new = asyncio.run(run_agent(settings, second, answered))
    assert new.boot != old.boot
    assert expected_rows(1100) == gateway.rows()
    assert new.health()["outbox"]["batches"] == 0
    assert gateway.duplicates > 0


def test_a_broker_that_is_down_at_start_is_told_once_and_waited_for(tmp_path, broker, caplog):
    caplog.set_level(logging.INFO, "fanous.edge")
    source = FakeSource([Reading(T0, "rx-1", BAND, -60.0)])
    fakes = []

    async def work(agent):
        await until(lambda: agent.health()["outbox"]["batches"] == 1)
        await until(lambda: "broker lost" in caplog.text)
        await asyncio.to_thread(broker.start)
        fakes.append(FakeGateway(broker.port))
        await asyncio.wait_for(agent.drained(), 20)

    try:
        asyncio.run(run_agent(quick(tmp_path, broker.port), source, work))
    finally:
        for fake in fakes:
            fake.close()
    assert caplog.text.count("broker lost") == 1
    assert caplog.text.count("broker connected") == 1
    assert "p_" not in caplog.text
    assert "ibeacon" not in caplog.text


def test_what_is_not_acknowledged_in_time_is_sent_again(tmp_path, broker, gateway):
    gateway.answers = False
    source = VirtualSource()

    async def work(agent):
        await feed(source, 0, 200)
        source.end()
        await until(lambda: agent.health()["publisher"].get("ack_timeouts", 0) >= 1)
        gateway.answers = True
        await asyncio.wait_for(agent.drained(), 20)

    agent = asyncio.run(run_agent(quick(tmp_path, broker.port, ack_timeout_s=1), source, work))
    assert gateway.rows() == expected_rows(200)
    assert agent.health()["outbox"]["batches"] == 0
    assert agent.health()["publisher"]["connects"] == 1
    assert gateway.duplicates > 0


def test_acks_beyond_what_was_sent_and_nonsense_empty_nothing(tmp_path, broker, gateway):
    gateway.answers = False
    source = FakeSource([Sample(T0, "plate-1", 1.0), Tap(T0, "gate-1", BAND)], ends=False)

    async def work(agent):
        await until(lambda: agent.health()["publisher"].get("published", 0) == 2)
        topic = agent_topic("demo", "pi-1", "ack")
        for payload in (
            b"",
            b"{",
            b'{"boot": 1, "kind": "tap", "seq": 1}',
            b"x" * 2000,
            json.dumps({"boot": agent.boot, "kind": "tap", "seq": 0}).encode(),
            json.dumps({"boot": agent.boot, "kind": "ble", "seq": 9}).encode(),
            json.dumps({"boot": agent.boot, "kind": "nfc", "seq": 1}).encode(),
        ):
            gateway.client.publish(topic, payload, qos=1)
        await until(lambda: agent.health()["publisher"].get("bad_acks", 0) == 7)
        assert agent.health()["outbox"]["batches"] == 2

    agent = asyncio.run(run_agent(quick(tmp_path, broker.port), source, work))
    assert agent.health()["outbox"]["batches"] == 2
