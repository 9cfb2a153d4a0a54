import asyncio
import logging
import socket
import subprocess
import sys
import time

import msgspec
import pytest

from edge.agent import Agent, _cancel, make_sources
from edge.measurement import Reading, Sample, Tap
from edge.settings import BatchSettings, OutboxSettings
from edge.sources.source import SourceUnavailable
from edge.sources.virtual import VirtualSource
from ingest.columns import decode_batch
from ingest.config import ConfigError
from ingest.identifiers import pseudonym
from tests.edge.agents import BAND, KEY, T0, FakeSource, make_settings, until
from tests.edge.test_clock import SECOND, Machine
from tests.edge.test_profiles import EMIT
from tests.firmware_profiles.test_command import MINE


@pytest.fixture
def closed_port():
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def make_agent(folder, port, *sources, **changes):
    settings = make_settings(
        folder,
        port=port,
        **{
            "batch": BatchSettings(max_rows=4, max_ms=10),
            "outbox": OutboxSettings(commit_ms=5),
            **changes,
        },
    )
    return Agent(settings, now_ns=lambda: T0, sources=sources)


async def with_running(agent, work):
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(agent.run(stop))
        await work()
        stop.set()
        await asyncio.wait_for(task, 5)


async def stored(agent):
    await agent._outbox.open()
    return [decode_batch(batch.payload) for batch in await agent._outbox.fetch(0, 1000)]


async def reopened(agent, folder, port):
    other = make_agent(folder, port)
    found = await stored(other)
    await other._outbox.close()
    return found


def test_measurements_are_on_the_disk_without_a_broker(tmp_path, closed_port):
    rows = [Reading(T0 + n, "rx-1", BAND, -60.0) for n in range(9)]
    agent = make_agent(
        tmp_path, closed_port, FakeSource(rows, [Tap(T0, "gate-1", BAND), Sample(T0, "p-1", 5.0)])
    )

    async def main():
        await with_running(agent, lambda: until(lambda: agent.health()["outbox"]["rows"] == 11))
        return await reopened(agent, tmp_path, closed_port)

    batches = asyncio.run(main())
    readings = [batch for batch in batches if batch.kind == "ble"]
    assert [t for batch in readings for t in batch.t_ns.tolist()] == [T0 + n for n in range(9)]
    assert {value for batch in readings for value in batch.tag.values} == {pseudonym(BAND, KEY)}
    assert {batch.boot for batch in batches} == {agent.boot}
    health = agent.health()
    assert health["rows"] == {"ble": 9, "tap": 1, "sample": 1}
    assert health["connected"] is False
    assert health["sources"] == [{"name": "fake", "state": "ended"}]


def test_what_is_open_at_the_stop_is_stored(tmp_path, closed_port):
    source = FakeSource([Reading(T0, "rx-1", BAND, -60.0)], ends=False)
    slow = {"batch": BatchSettings(max_ms=60_000), "outbox": OutboxSettings(commit_ms=60_000)}
    agent = make_agent(tmp_path, closed_port, source, **slow)

    async def main():
        await with_running(agent, lambda: until(lambda: agent._batcher.pending == 1))
        return await reopened(agent, tmp_path, closed_port)

    assert [batch.rows for batch in asyncio.run(main())] == [1]


def test_nothing_raw_is_in_the_files_or_the_logs(tmp_path, closed_port, caplog):
    caplog.set_level(logging.DEBUG)
    source = FakeSource([Reading(T0, "rx-1", BAND, -60.0), Reading(T0, "rx-1", "anna", -60.0)])
    agent = make_agent(tmp_path, closed_port, source)
    asyncio.run(with_running(agent, lambda: until(lambda: agent.health()["outbox"]["rows"] == 1)))
    files = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert pseudonym(BAND, KEY).encode() in files
    for secret in (b"b9407f30", b"anna"):
        assert secret not in files
        assert secret.decode() not in caplog.text
    assert agent.health()["dropped"] == {"tag": 1}


def test_raw_identity_is_said_at_each_start(tmp_path, closed_port, caplog):
    agent = make_agent(tmp_path, closed_port, FakeSource(), identity="raw", pseudonym_key_file=None)

    async def nothing():
        pass

    asyncio.run(with_running(agent, nothing))
    assert "raw tags leave this agent" in caplog.text


def test_a_broker_host_that_does_not_answer_delays_no_stop(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        address = silent.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of connections
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        agent = make_agent(tmp_path, address[1], FakeSource([Tap(T0, "gate-1", BAND)]))
        begin_s = time.monotonic()
        work = lambda: until(lambda: agent.health()["outbox"]["batches"] == 1)  # noqa: E731
        asyncio.run(with_running(agent, work))
        assert time.monotonic() - begin_s < 4
        for one in waiting:
            one.close()


def test_aliases_are_applied(tmp_path, closed_port):
    (tmp_path / "aliases.csv").write_text(f"tag,name\n{BAND},name:band-007\n", "utf-8")
    source = FakeSource([Tap(T0, "gate-1", BAND), Tap(T0, "gate-1", "name:band-007")])
    agent = make_agent(tmp_path, closed_port, source, aliases=str(tmp_path / "aliases.csv"))

    async def main():
        await with_running(agent, lambda: until(lambda: agent.health()["outbox"]["rows"] == 2))
        return await reopened(agent, tmp_path, closed_port)

    (batch,) = asyncio.run(main())
    assert batch.tag.values == (pseudonym("name:band-007", KEY),)


def test_a_source_that_is_away_is_started_again(tmp_path, closed_port, caplog, monkeypatch):
    monkeypatch.setattr("edge.agent._RESTART_MIN_S", 0.001)

    class Unplugged(FakeSource):
        starts = 0

        async def run(self, emit):
            self.starts += 1
            if self.starts < 4:
                raise SourceUnavailable("the port is gone")

    source = Unplugged(name="gate")
    agent = make_agent(tmp_path, closed_port, source)
    states = lambda: agent.health()["sources"][0]["state"]  # noqa: E731
    asyncio.run(with_running(agent, lambda: until(lambda: states() == "ended")))
    assert source.starts == 4
    assert caplog.text.count("source lost name=gate") == 1


def test_a_broken_source_is_loud(tmp_path, closed_port):
    class Broken(FakeSource):
        async def run(self, emit):
            raise ZeroDivisionError

    agent = make_agent(tmp_path, closed_port, Broken())
    with pytest.RaisesGroup(ZeroDivisionError):
        asyncio.run(agent.run(asyncio.Event()))


def test_when_the_outbox_is_full_taps_still_pass(tmp_path, closed_port, monkeypatch):
    monkeypatch.setattr("edge.outbox.Outbox.has_room", False)
    chunk = [Reading(T0, "rx-1", BAND, -60.0), Tap(T0, "gate-1", BAND)]
    agent = make_agent(tmp_path, closed_port, FakeSource(chunk, chunk[:1]))

    async def main():
        await with_running(agent, lambda: until(lambda: agent.health()["outbox"]["lost"]))
        return await reopened(agent, tmp_path, closed_port)

    batches = asyncio.run(main())
    # What was refused has numbers too, so that the gateway counts what the ledger counts.
    assert [(b.kind, b.rows, b.dropped, b.reason) for b in batches] == [
        ("tap", 1, 0, ""),
        ("ble", 0, 2, "outbox_full"),
    ]
    assert agent.health()["rows"] == {"tap": 1}
    assert agent.health()["outbox"]["losses"] == {"outbox_full": {"ble": 2}}


def test_the_status_is_the_contracts(tmp_path, closed_port):
    agent = make_agent(tmp_path, closed_port, FakeSource())
    status = msgspec.json.decode(agent._status("online"))
    assert status["state"] == "online"
    assert {"versions", "sources", "outbox", "clock"} <= set(status)
    assert status["sources"][0]["name"] == "fake"
    assert status["clock"] == {"now_ns": T0}
    assert status["disk"] is None or status["disk"]["written_bytes"] >= 0


def test_a_clock_that_goes_back_begins_another_boot(tmp_path, closed_port, monkeypatch):
    monkeypatch.setattr("edge.agent._LOOK_S", 0.01)
    machine = Machine(kept=True)
    source = VirtualSource()
    settings = make_settings(tmp_path, port=closed_port, batch=BatchSettings(max_ms=5))
    now_ns = machine.clock.now_ns
    agent = Agent(settings, now_ns=now_ns, sources=[source], clock=machine.clock)
    first = agent.boot

    async def work():
        source.push_tap(now_ns(), "gate-1", BAND)
        await until(lambda: agent.health()["outbox"]["rows"] == 1)
        machine.offset_ns -= 3600 * SECOND
        await until(lambda: agent.boot != first)
        await until(lambda: agent.health()["clock"]["state"] == "steady")
        source.push_tap(now_ns(), "gate-1", BAND)
        await until(lambda: agent.health()["outbox"]["rows"] == 2)

    asyncio.run(with_running(agent, work))
    found = asyncio.run(reopened(agent, tmp_path, closed_port))
    assert [(b.boot, b.seq) for b in found] == [(first, 1), (agent.boot, 1)]
    assert found[1].sent_ns - found[0].sent_ns == -3600 * SECOND
    assert found[1].complete_ns <= found[1].sent_ns


def test_the_shops_own_profiles_are_those_of_the_sources(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(MINE + EMIT, "utf-8")
    port = {"name": "line", "profile": "acme_rail", "sensor": "plate-1"}
    settings = make_settings(tmp_path, source=({"kind": "virtual", "port": [port]},))
    with pytest.raises(ConfigError, match="acme_rail"):
        make_sources(settings, base=tmp_path, now_ns=lambda: T0)
    settings = msgspec.structs.replace(settings, profiles=(str(mine),))
    (source,) = make_sources(settings, base=tmp_path, now_ns=lambda: T0)
    assert source.name == "virtual"


def test_sources_come_from_the_configuration(tmp_path, closed_port):
    table = {"kind": "virtual", "name": "a"}
    settings = make_settings(tmp_path, source=({"kind": "virtual"}, table))
    sources = make_sources(settings, base=tmp_path, now_ns=lambda: T0)
    assert [source.name for source in sources] == ["virtual", "a"]
    for tables, message in [
        (({"kind": "virtual"}, {"kind": "virtual"}), "number 2: expected a name of its own"),
        (({"kind": "virtul"},), "did you mean 'virtual'"),
        (({"name": "x"},), "expected a key 'kind'"),
        (({"kind": "virtual", "queue": 1},), "unknown key 'queue'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            make_sources(make_settings(tmp_path, source=tables), base=tmp_path, now_ns=lambda: T0)


def test_nothing_that_edge_imports_loads_numpy():
    code = (
        "import importlib, pkgutil, sys, edge\n"
        "for module in pkgutil.walk_packages(edge.__path__, 'edge.'):\n"
        "    importlib.import_module(module.name)\n"
        "assert 'edge.sources.virtual' in sys.modules and 'edge.command' in sys.modules\n"
        "print(sorted({'numpy', 'pyarrow', 'aiohttp', 'zstandard'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same():
    swallowed = []

    async def stubborn():
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if len(swallowed) == 2:
                    raise
                swallowed.append(1)

    async def both():
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        await _cancel(task)
        return task.cancelled()

    assert asyncio.run(both())
    assert len(swallowed) == 2
