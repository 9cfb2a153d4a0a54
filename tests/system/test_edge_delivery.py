"""The agent against a real mosquitto: backlogs, live rows, what is missing, what is refused."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from edge.agent import Agent
from edge.batcher import Batcher, Sender
from edge.measurement import Reading
from edge.outbox import Outbox
from edge.settings import BatchSettings, MqttSettings, OutboxSettings
from edge.sources.virtual import VirtualSource
from tests.edge.agents import BAND, T0, make_settings, until
from tests.system.test_edge_broker import FakeGateway, Mosquitto

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mosquitto")]
BACKLOG = 2000


class Listener(FakeGateway):
    """Remembers what came when, and may not see chosen batches."""

    def __init__(self, port, *, work_s=0.0, blind=()):
        self.order, self.at_s, self.work_s, self.blind = [], {}, work_s, dict(blind)
        super().__init__(port)

    def _receive(self, client, user, message):
        if not message.topic.endswith("/status"):
            time.sleep(self.work_s)  # a gateway has work to do with each batch
        super()._receive(client, user, message)

    def new(self, batch):
        key = (batch.kind, batch.seq)
        if self.blind.get(key, 0):
            self.blind[key] -= 1
            return False
        self.order.append((batch.boot, *key))
        self.at_s.setdefault((batch.boot, *key), time.monotonic())
        return True


def settings_for(folder, port, *, window=64, max_rows=50, **mqtt):
    return make_settings(
        folder,
        mqtt=MqttSettings(url=f"mqtt://127.0.0.1:{port}", window=window, backoff_max_s=1, **mqtt),
        batch=BatchSettings(max_rows=max_rows, max_ms=20),
        outbox=OutboxSettings(commit_ms=20),
    )


async def fill(settings, batches, *, rows=50, width=1, boot="0ld0ld0ld0ld0ld0"):
    """Store a backlog, as an agent that had no broker leaves it."""
    sender = Sender(store="demo", agent="pi-1", boot=boot)
    outbox = Outbox(Path(settings.state_dir), sender=sender, max_bytes=10**9)
    closer = Batcher(sender, outer=lambda tag: tag, first_seq=lambda _kind: 1, max_rows=10_000)
    await outbox.open()
    for number in range(batches):
        closer.add(
            Reading(T0 + number * rows + n, f"{n:0{width}d}", "p_abcdefghijklmnop", -60.0)
            for n in range(rows)
        )
        await outbox.put(closer.close(T0 + number))
        if number % 100 == 99:
            await outbox.flush()
    await outbox.close()


def in_memory(folder, more=""):
    """A broker that does not save each change, so that its disk is not what is measured."""
    mosquitto = Mosquitto(folder)
    text = mosquitto.config.read_text().replace("persistence true", "persistence false")
    mosquitto.config.write_text(f"{text}{more}\n")
    mosquitto.start()
    return mosquitto


@pytest.fixture
def broker(tmp_path):
    mosquitto = in_memory(tmp_path)
    yield mosquitto
    mosquitto.kill()


def listening(broker, **options):
    return closing(Listener(broker.port, **options))


async def run(settings, source, work):
    agent, stop = Agent(settings, now_ns=lambda: T0, sources=[source]), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(agent.run(stop))
        try:
            await work(agent)
        finally:
            stop.set()
        await task
    return agent


def test_a_backlog_drains_oldest_first_and_live_rows_do_not_wait(tmp_path, broker):
    settings = settings_for(tmp_path, broker.port)
    asyncio.run(fill(settings, BACKLOG))
    source, pushed_s = VirtualSource(), []

    async def work(agent):
        drained = lambda: agent.health()["outbox"]["batches"] == 0  # noqa: E731
        await until(lambda: agent.health()["publisher"].get("acked", 0) > 100)
        while len(pushed_s) < 60 and not drained():
            pushed_s.append(time.monotonic())
            source.push_tap(T0, "gate-1", BAND)
            source.push_reading(T0, "rx-1", BAND, -60.0)
            await asyncio.sleep(0.03)
        assert not drained(), "the backlog must outlast what is measured"
        assert len(pushed_s) == 60
        await until(drained, 60)

    with listening(broker, work_s=0.002) as gateway:
        agent = asyncio.run(run(settings, source, work))
        taps = [(s, at) for (_, kind, s), at in gateway.at_s.items() if kind == "tap"]
        late_s = sorted(at - pushed_s[seq - 1] for seq, at in taps)
        old = [seq for boot, _, seq in gateway.order if boot != agent.boot]
        live = [
            n
            for n, (boot, kind, _) in enumerate(gateway.order)
            if (boot, kind) == (agent.boot, "ble")
        ]
        print(f"\ntaps during the drain: median {late_s[30]:.4f} s, most {late_s[-1]:.4f} s")
        assert old == list(range(1, BACKLOG + 1))
        assert len(taps) == 60
        assert late_s[-1] < 2.0  # the whole drain takes longer than that
        assert len(live) >= 30
        assert (
            live[-1] < len(gateway.order) - 100
        )  # the last live rows came before the last old ones
        assert gateway.duplicates == 0


def test_rows_of_one_boot_that_wait_for_their_turn_are_not_sent_twice(tmp_path, broker):
    """The gateway acknowledges a boot's batches in order, so the live ones wait for the old."""
    settings = settings_for(tmp_path, broker.port, window=8, ack_timeout_s=1)
    source = VirtualSource()

    async def work(agent):
        broker.kill()
        await until(lambda: not agent.health()["connected"])
        for n in range(300 * 50):
            source.push_reading(T0 + n, "rx-1", BAND, -60.0)
            if n % 500 == 0:
                await asyncio.sleep(0.01)
        await until(lambda: agent.health()["outbox"]["rows"] == 15_000)
        await asyncio.to_thread(broker.start)
        await until(lambda: agent.health()["publisher"].get("acked", 0) > 20, 20)
        for n in range(40):
            source.push_reading(T0 + 10**6 + n, "rx-1", BAND, -60.0)
            source.push_tap(T0, "gate-1", BAND)
            await asyncio.sleep(0.03)
        await until(lambda: agent.health()["outbox"]["batches"] == 0, 60)

    with listening(broker, work_s=0.015) as gateway:
        agent = asyncio.run(run(settings, source, work))
        seqs = [seq for boot, kind, seq in gateway.order if kind == "ble"]
        assert set(seqs) == set(range(1, max(seqs) + 1))
        assert seqs != sorted(seqs)  # live rows went ahead
        assert gateway.duplicates <= 20  # a slow machine passes the short time-out now and then
        assert agent.health()["publisher"]["published"] <= len(gateway.order) + 10


def test_only_what_is_missing_is_sent_again(tmp_path, broker):
    settings = settings_for(tmp_path, broker.port, ack_timeout_s=1)
    asyncio.run(fill(settings, 40))

    async def work(agent):
        await until(lambda: agent.health()["publisher"].get("acked", 0) == 40, 30)

    with listening(broker, blind={("ble", 7): 1, ("ble", 9): 2}.items()) as gateway:
        agent = asyncio.run(run(settings, VirtualSource(), work))
        assert len(gateway.order) == 40
        assert gateway.duplicates == 0
        assert agent.health()["publisher"]["published"] == 43


@pytest.mark.parametrize("where", [1, 10])
def test_a_batch_that_the_broker_refuses_costs_only_itself(tmp_path, where, caplog):
    mosquitto = in_memory(tmp_path, "max_packet_size 20000")
    settings = settings_for(tmp_path, mosquitto.port)

    source = VirtualSource()
    asyncio.run(fill(settings, where - 1))
    asyncio.run(fill(settings, 1, rows=1000, width=64, boot="1arge1arge1arge0"))
    asyncio.run(fill(settings, 20, boot="after0after0afte"))

    async def drained(agent):
        await until(lambda: agent.health()["publisher"].get("buried", 0) == 1, 60)
        await until(lambda: agent.health()["outbox"]["batches"] == 0, 30)

    try:
        with closing(Listener(mosquitto.port)) as gateway:
            agent = asyncio.run(run(settings, source, drained))
            dropped = [b for b in gateway.batches.values() if b.dropped]
            assert [(1000, "too_large")] == [(b.dropped, b.reason) for b in dropped]
            assert len(gateway.batches) == where - 1 + 1 + 20
    finally:
        mosquitto.kill()
    health = agent.health()
    assert health["outbox"]["losses"] == {"too_large": {"ble": 1000}}
    assert health["publisher"]["connects"] <= 12
    assert caplog.text.count("broker closes the connection at a batch") == 1
    assert agent._batcher._bytes_max < 80_000
    with closing(sqlite3.connect(tmp_path / "state" / "outbox.sqlite")) as database:
        assert [(1000,)] == database.execute("SELECT rows FROM dead_letter").fetchall()


def test_a_batch_that_never_arrives_is_given_up(tmp_path, broker, monkeypatch):
    """As with mosquitto's message_size_limit, which takes a message and drops it."""
    monkeypatch.setattr("edge.publisher._MISSED_MAX", 2)
    settings = settings_for(tmp_path, broker.port, ack_timeout_s=1)
    asyncio.run(fill(settings, 20))
    source = VirtualSource()

    async def work(agent):
        for n in range(1000):
            source.push_tap(T0 + n, "gate-1", BAND)  # by these the gateway is heard of
            await asyncio.sleep(0.02)
            if agent.health()["outbox"]["losses"]:
                break
        await until(lambda: agent.health()["outbox"]["batches"] == 0)

    with listening(broker, blind={("ble", 7): 2}.items()) as gateway:
        agent = asyncio.run(run(settings, source, work))
        assert agent.health()["outbox"]["losses"] == {"refused": {"ble": 50}}
        assert [b.dropped for b in gateway.batches.values() if b.kind == "ble"].count(50) == 1
