"""What an agent with sources of every kind costs: memory, computing, wake-ups, its stop.

Rules of the file: memory and CPU time are the kernel's, of the agent's process alone.
Nobody acknowledges, so all that is measured gathers on the disk and is sent again. First
the agent has nothing to do, then everything speaks at once; it is stopped under load.
Devices that are asked all the time (PN532, Modbus) are not there while it idles.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from fanous.benchmarks.bluetooth_rig import until
from fanous.benchmarks.edge_rig import EdgeProcess, EdgeShop
from fanous.benchmarks.figure import Figure, Say
from fanous.benchmarks.pipeline import find_mosquitto, mosquitto
from fanous.benchmarks.process_facts import cpu_s, memory_mb, wakeups
from ingest.config import ConfigError
from simulators.private_bus import open_bus

_START_S, _SETTLE_S = 30.0, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """An agent that has nothing to do: MB, share of a core, wake-ups a second."""

    rss_mb: float
    cpu: float
    wakeups_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """An agent under load: MB now and at most, share of a core, [s] to stop, rows taken."""

    rss_mb: float
    most_mb: float
    cpu: float
    stop_s: float
    rows: int


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure an agent that idles, and one that is busy.

    Parameters
    ----------
    quick : a few seconds of each
    say : told what is being measured

    Raises
    ------
    ConfigError
        There is no mosquitto here, or the agent does not start.
    """
    program = find_mosquitto()
    if program is None:
        raise ConfigError(
            "edge: expected mosquitto on the PATH or in /usr/sbin, found none; "
            "install it, for example with: apt-get install mosquitto"
        )
    idle_s, busy_s = (2.0, 3.0) if quick else (10.0, 60.0)
    bus = open_bus(say, instead="measured without a Bluetooth source")
    try:
        address = None if bus is None else bus.address
        with (
            tempfile.TemporaryDirectory(prefix="fanous-bench-") as folder,
            mosquitto(program, Path(folder)) as port,
        ):
            say(f"fanous edge run with nothing to do, {idle_s:g} s")
            quiet = asyncio.run(_idle(_made(folder, "idle"), port, address, idle_s))
            say(f"fanous edge run with all sources speaking, {busy_s:g} s")
            busy = asyncio.run(_busy(_made(folder, "busy"), port, address, busy_s))
    finally:
        if bus is not None:
            bus.end()
    return (
        Figure(name="edge.idle_memory", value=quiet.rss_mb, unit="MB", better="lower"),
        Figure(name="edge.idle_cpu", value=quiet.cpu, unit="of a core", better="lower"),
        Figure(name="edge.idle_wakeups", value=quiet.wakeups_per_s, unit="1/s", better="lower"),
        Figure(name="edge.busy_memory", value=busy.rss_mb, unit="MB", better="lower"),
        Figure(name="edge.most_memory", value=busy.most_mb, unit="MB", better="lower"),
        Figure(name="edge.busy_cpu", value=busy.cpu, unit="of a core", better="lower"),
        Figure(name="edge.busy_rows", value=busy.rows / busy_s, unit="rows/s", better="higher"),
        Figure(name="edge.stop_under_load", value=busy.stop_s, unit="s", better="lower"),
    )


async def started(shop: EdgeShop, agent: EdgeProcess) -> None:
    """Wait until an agent scans.

    Parameters
    ----------
    shop : around it
    agent : just started

    Raises
    ------
    ConfigError
        It ended by itself, or is not there in time.
    """
    try:
        await until(lambda: shop.is_scanned or not agent.is_running, _START_S)
    except TimeoutError as error:
        raise ConfigError(f"edge: the agent was not ready within {_START_S:g} s") from error
    if not agent.is_running:
        said = agent.log.read_text(encoding="utf-8").splitlines()[-1:]
        raise ConfigError(f"edge: the agent ended by itself: {''.join(said)}")


async def _idle(folder: Path, port: int, bus_address: str | None, seconds: float) -> Quiet:
    shop = EdgeShop(folder, broker_port=port, bus_address=bus_address, polled=False, replayed=False)
    async with shop:
        with shop.start() as agent:
            await started(shop, agent)
            await asyncio.sleep(_SETTLE_S)
            began_s, cpu_began_s, woken = time.monotonic(), cpu_s(agent.pid), wakeups(agent.pid)
            await asyncio.sleep(seconds)
            took_s = time.monotonic() - began_s
            return Quiet(
                rss_mb=memory_mb(agent.pid, "VmRSS"),
                cpu=max(cpu_s(agent.pid) - cpu_began_s, 1e-9) / took_s,
                wakeups_per_s=(wakeups(agent.pid) - woken) / took_s,
            )


async def _busy(folder: Path, port: int, bus_address: str | None, seconds: float) -> Busy:
    async with EdgeShop(folder, broker_port=port, bus_address=bus_address) as shop:
        with shop.start() as agent:
            await started(shop, agent)
            began_s, cpu_began_s = time.monotonic(), cpu_s(agent.pid)
            await shop.play(seconds)
            took_s = time.monotonic() - began_s
            cpu = (cpu_s(agent.pid) - cpu_began_s) / took_s
            rss_mb, most_mb = (memory_mb(agent.pid, name) for name in ("VmRSS", "VmHWM"))
            playing = asyncio.create_task(shop.play(5.0), name="load")
            code, stop_s = await asyncio.to_thread(agent.stop)
            playing.cancel()
            await asyncio.wait([playing])
    if code:
        raise ConfigError(f"edge: expected the agent to end with 0, got {code}")
    rows = sum(agent.found()["rows"].values())
    return Busy(rss_mb=rss_mb, most_mb=most_mb, cpu=cpu, stop_s=stop_s, rows=rows)


def _made(folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir()
    return path
