"""From MQTT batches to stored results: a real broker, a real gateway, nothing lost.

Rules of the file: mosquitto and the publisher are processes of their own, the gateway
runs here with its embedded store; the time is wall time from the first publish until
every tick that can be closed is analysed and stored, on two cores that the three of them
share. Everything published must be journaled and used: what is not is a figure of its
own. The archive is off: it reads the journal afterwards. The peer, on the same cores, is a
paho subscriber that only counts (`pipeline_peer`). Each run ends after `LIMIT_S` whatever
happens.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fanous.benchmarks import process_facts
from fanous.benchmarks.crowd import READINGS_PER_S, START_NS, demo_store, zone_states
from fanous.benchmarks.figure import Figure, Say
from fanous.benchmarks.pipeline_peer import Counter, counting, seconds_until_all
from gateway.service import Service
from gateway.settings import ArchiveSettings, GatewaySettings, HttpSettings, MqttSettings
from ingest.config import ConfigError
from simulators.command import DEMO_STORE

CORES = 2
LIMIT_S = 60.0
START_S = 10.0
PLACES = "/usr/sbin:/usr/local/sbin"
"""Where Debian puts mosquitto; not on everybody's PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: [s] of wall and of each one's CPU, readings sent and where they went."""

    wall_s: float
    cpu_s: float
    broker_s: float
    publisher_s: float
    sent: int
    stored: int
    unused: int


def find_mosquitto() -> str | None:
    """Return the path of mosquitto, None when it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=PLACES)


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure readings a second through broker, gateway and store.

    Parameters
    ----------
    quick : fewer tags and readings, one size of cells
    say : told what is being measured

    Raises
    ------
    ConfigError
        There is no mosquitto here, or it does not start.
    """
    program = find_mosquitto()
    if program is None:
        raise ConfigError(
            "pipeline: expected mosquitto on the PATH or in /usr/sbin, found none; "
            "install it, for example with: apt-get install mosquitto"
        )
    tags, seconds = (200, 20) if quick else (2_000, 216)
    sizes = [("coarse", zone_states(demo_store()).cell_m), ("cells", 1.0)]
    figures: list[Figure] = []
    with _cores(CORES):
        say("a paho subscriber that only counts")
        peer = {"paho, only counts": _count_once(program, tags=tags, seconds=seconds)}
        for name, cell_m in sizes[:1] if quick else sizes:
            rows = round(tags * seconds * READINGS_PER_S)
            say(f"{rows} readings of {tags} tags, cells of {cell_m:g} m")
            run = _run_once(program, cell_m=cell_m, tags=tags, seconds=seconds)
            figures += _figures(name, run, peer)
    return tuple(figures)


@contextlib.contextmanager
def _cores(count: int) -> Iterator[None]:
    """Keep to so many cores, and what is started meanwhile, too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _figures(name: str, run: Run, peer: Mapping[str, float]) -> list[Figure]:
    used = run.stored - run.unused
    return [
        *(
            Figure(
                name=f"pipeline.{who}_cpu_{name}",
                value=spent_s / run.sent * 1e6,
                unit="CPU-seconds per million readings",
                better="lower",
            )
            for who, spent_s in (
                ("gateway", run.cpu_s),
                ("broker", run.broker_s),
                ("publisher", run.publisher_s),
            )
        ),
        Figure(
            name=f"pipeline.readings_{name}",
            value=used / run.wall_s,
            unit="readings/s",
            better="higher",
            peer=peer,
        ),
        Figure(
            name=f"pipeline.lost_{name}",
            value=run.sent - used,
            unit="readings",
            better="lower",
        ),
    ]


def _run_once(program: str, *, cell_m: float, tags: int, seconds: int) -> Run:
    logger = logging.getLogger("gateway")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="fanous-bench-") as folder,
            broker(program, Path(folder)) as (port, pid),
        ):
            settings = _settings(Path(folder), port, cell_m)
            return asyncio.run(_through(settings, (port, pid), tags, seconds))
    finally:
        logger.setLevel(level)


def _count_once(program: str, *, tags: int, seconds: int) -> float:
    """Return how many readings a second a subscriber that only counts receives."""
    with (
        tempfile.TemporaryDirectory(prefix="fanous-bench-") as folder,
        broker(program, Path(folder)) as (port, _),
        counting(port, demo_store().id) as counter,
    ):
        return asyncio.run(_count(counter, port, tags, seconds))


async def _count(counter: Counter, port: int, tags: int, seconds: int) -> float:
    async with _publisher(port, tags, seconds) as publisher:
        sent, counter.expected = map(int, (await _line(publisher)).split())
        assert publisher.stdin is not None
        publisher.stdin.write(b"go\n")
        await publisher.stdin.drain()
        wall_s = await asyncio.to_thread(seconds_until_all, counter, LIMIT_S)
    return sent * counter.count / counter.expected / wall_s


def _settings(folder: Path, port: int, cell_m: float) -> GatewaySettings:
    text = DEMO_STORE.read_text(encoding="utf-8")
    assert "cell_m = 1.0" in text
    store = folder / "store.toml"
    store.write_text(text.replace("cell_m = 1.0", f"cell_m = {cell_m}"), encoding="utf-8")
    key = folder / "bench.key"
    key.write_bytes(b"the benchmarks' own")
    return GatewaySettings(
        store=str(store),
        state_dir=str(folder / "state"),
        clock="data",
        pseudonym_key_file=str(key),
        mqtt=MqttSettings(url=f"mqtt://127.0.0.1:{port}"),
        http=HttpSettings(port=0),
        archive=ArchiveSettings(enabled=False),
    )


async def _through(
    settings: GatewaySettings, broker: tuple[int, int], tags: int, seconds: int
) -> Run:
    service = Service(settings)
    port, pid = broker
    async with _publisher(port, tags, seconds) as publisher:
        sent, _ = map(int, (await _line(publisher)).split())
        await service.start()
        try:
            await _until_ready(service.http_port)
            began_s, cpu_began_s, broker_began_s = (
                time.perf_counter(),
                time.process_time(),
                process_facts.cpu_s(pid),
            )
            assert publisher.stdin is not None
            publisher.stdin.write(b"go\n")
            await publisher.stdin.drain()
            end_ns = START_NS + round((seconds - service.store.rules.lateness_s) * 1e9)
            await _until(lambda: (service.driver.closed_ns or 0) >= end_ns, LIMIT_S)
            wall_s = time.perf_counter() - began_s
            cpu_s = time.process_time() - cpu_began_s
            broker_s = process_facts.cpu_s(pid) - broker_began_s
            publisher_s = float(await _line(publisher))
            counts = service.counters()
        finally:
            await service.stop()
    unused = sum(counts["dropped"].values()) + sum(counts["unknown"].values()) + counts["late"]
    return Run(
        wall_s=wall_s, cpu_s=cpu_s, broker_s=broker_s, publisher_s=publisher_s,
        sent=sent, stored=counts["readings"], unused=unused,
    )  # fmt: skip


async def _until_ready(port: int) -> None:
    def asks() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as reply:
                return int(reply.status)
        except OSError:
            return 0

    limit_s = time.monotonic() + START_S
    while await asyncio.to_thread(asks) != 200:
        if time.monotonic() > limit_s:
            raise ConfigError(f"pipeline: the gateway was not ready within {START_S:g} s")
        await asyncio.sleep(0.02)


async def _until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - counters live in other threads
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def _publisher(
    port: int, tags: int, seconds: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fanous.benchmarks.pipeline_publisher",
        *map(str, (port, tags, seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line:
        raise ConfigError("pipeline: the publishing process did not start; see its message above")
    return line


@contextlib.contextmanager
def mosquitto(program: str, folder: Path) -> Iterator[int]:
    """Run a broker on a free port of 127.0.0.1, which is yielded.

    Parameters
    ----------
    program : of the broker
    folder : for its configuration and log
    """
    with broker(program, folder) as (port, _):
        yield port


@contextlib.contextmanager
def broker(program: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Run a broker; yields its free port of 127.0.0.1 and its process id.

    Parameters
    ----------
    program : of the broker
    folder : for its configuration and log
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config, log = folder / "mosquitto.conf", folder / "mosquitto.log"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 1000\n"
        "set_tcp_nodelay true\n",
        encoding="utf-8",
    )
    with log.open("wb") as out:
        process = subprocess.Popen([program, "-c", str(config)], stdout=out, stderr=out)  # noqa: S603
    try:
        _wait_for_port(process, port)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(process: "subprocess.Popen[bytes]", port: int) -> None:
    limit_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < limit_s:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise ConfigError("pipeline: mosquitto was started and does not answer on 127.0.0.1")
