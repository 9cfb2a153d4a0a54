"""`fanous edge run` with sources of every kind: memory, libraries, its stop under load.

Nobody acknowledges what it sends, so everything gathers on the disk.
"""

import asyncio
import signal

import pytest

from fanous.benchmarks.bluetooth_rig import until
from fanous.benchmarks.edge_footprint import started
from fanous.benchmarks.edge_rig import EdgeShop, lines_of
from fanous.benchmarks.process_facts import mapped_files, memory_mb
from firmware_profiles.registry import load_registry
from tests.edge.sources.bluez_rig import open_bus
from tests.system.servers import free_port, mosquitto

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]
MOST_MB, STOP_S, LOAD_S = 60.0, 2.0, 15.0
HEAVY = ("numpy", "pyarrow", "openblas")


@pytest.fixture(scope="module")
def bus():
    with open_bus() as bus:
        yield bus


def bytes_on_disk(folder):
    return sum(file.stat().st_size for file in (folder / "state").glob("outbox*") if file.is_file())


def check_that_all_spoke(found):
    sources = {source["name"]: source for source in found["sources"]}
    assert set(sources) == {"ble", "serial", "replay"}
    assert sources["ble"]["readings"] > 0
    assert {"ble", "tap", "sample"} == {kind for kind, rows in found["rows"].items() if rows}


def test_memory_stays_below_60_mb_while_nobody_acknowledges(bus, tmp_path):
    async def work(port):
        async with EdgeShop(tmp_path, broker_port=port, bus_address=bus.address) as shop:
            with shop.start() as agent:
                await started(shop, agent)
                await shop.play(1.0)
                first = bytes_on_disk(tmp_path)
                await shop.play(LOAD_S - 1.0)
                most_mb, rss_mb = (memory_mb(agent.pid, name) for name in ("VmHWM", "VmRSS"))
                heavy = {f for f in mapped_files(agent.pid) if any(name in f for name in HEAVY)}
                assert bytes_on_disk(tmp_path) > first
                assert agent.is_running
                playing = asyncio.create_task(shop.play(5.0))
                code, took_s = await asyncio.to_thread(agent.stop)
                playing.cancel()
                await asyncio.wait([playing])
        return most_mb, rss_mb, heavy, code, took_s, agent

    with mosquitto(tmp_path / "broker") as broker:
        most_mb, rss_mb, heavy, code, took_s, agent = asyncio.run(work(broker.port))
    print(f"\nmost {most_mb:.1f} MB, at the end {rss_mb:.1f} MB, stopped in {took_s:.2f} s")
    assert rss_mb <= most_mb <= MOST_MB
    assert heavy == set()
    assert (code, took_s < STOP_S) == (0, True), agent.log.read_text()
    found = agent.found()
    check_that_all_spoke(found)
    assert found["publisher"]["published"] > 0
    assert found["outbox"]["batches"] > 0
    assert sum(found["outbox"]["lost"].values()) == 0
    assert "Traceback" not in agent.log.read_text()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_stops_at_once_under_load_without_a_broker(bus, tmp_path, number, expected):
    async def work():
        port = free_port()  # nobody listens there
        async with EdgeShop(tmp_path, broker_port=port, bus_address=bus.address) as shop:
            with shop.start() as agent:
                await started(shop, agent)
                playing = asyncio.create_task(shop.play(20.0))
                await until(lambda: bytes_on_disk(tmp_path) > 200_000, 15.0)
                code, took_s = await asyncio.to_thread(agent.stop, number)
                playing.cancel()
                await asyncio.wait([playing])
                return code, took_s, agent

    code, took_s, agent = asyncio.run(work())
    assert (code, took_s < STOP_S) == (expected, True), agent.log.read_text()
    found = agent.found()
    check_that_all_spoke(found)
    # What was taken is on the disk, to the last row, for the next start.
    assert sum(found["rows"].values()) == found["outbox"]["rows"]
    assert "Traceback" not in agent.log.read_text()


def test_the_load_has_a_line_for_each_serial_device_that_speaks_by_itself():
    kinds = set(lines_of(load_registry()))
    assert {"rdm6300", "keyboard_wedge", "mt_sics", "hx711_bridge", "tfmini_s"} <= kinds
    assert len(kinds) >= 9
