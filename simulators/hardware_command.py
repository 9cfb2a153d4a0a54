"""`fanous simulate --serial`: virtual devices that unmodified agents read.

Rules of the file: it says what to run, waits until somebody listens, plays at the pace of
the wall clock, and leaves behind a folder without ports. Agents stamp with the machine's
clock, so the truth is only written where the shop runs at the wall's pace.
"""

import argparse
import asyncio
import contextlib
import json
import shlex
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from analytics.store import Store
from firmware_profiles.registry import load_registry
from ingest.broker import broker_address
from ingest.config import ConfigError
from ingest.identifiers import read_key_file
from simulators.chunk import Chunk
from simulators.hardware import Devices, opened
from simulators.hardware_config import PORTS, write_configs
from simulators.hardware_play import StoreClock, play
from simulators.private_bus import PrivateBus, open_bus

BROKER_URL = "mqtt://127.0.0.1:1883"
OPENING_S = 10.0
"""[s] So long after the first listener the shop opens, whoever is missing."""
LINGER_S = 0.3
"""[s] So long devices stay plugged in after their last word: unplugging throws it away."""
_POLL_S = 0.1
Say = Callable[[str], None]


def check_serial(args: argparse.Namespace) -> None:
    """Check the arguments of `fanous simulate --serial`.

    Parameters
    ----------
    args : of the command

    Raises
    ------
    ConfigError
        They cannot work.
    """
    broker_address(args.mqtt or BROKER_URL, key="--mqtt")
    if args.key_file is not None:
        read_key_file(args.key_file)
    if args.out is not None and args.speed not in (None, 1.0):
        raise ConfigError(
            "--serial with --out: expected --speed 1, since agents stamp with this machine's clock"
        )


def play_serial(
    args: argparse.Namespace,
    store: Store,
    simulated: Callable[[int], Iterable[Chunk]],
    say: Say,
) -> tuple[int, list[Chunk]]:
    """Run `fanous simulate --serial`.

    Parameters
    ----------
    args : of the command
    store : the store
    simulated : makes the simulation that starts at a time [ns]
    say : where people are told what is going on

    Returns
    -------
    code, chunks : exit code; what was played, if a recording is wanted

    Raises
    ------
    ConfigError
        Something cannot work; nothing was started.
    """
    url = args.mqtt or BROKER_URL
    instead = "serial lines only, no Bluetooth; agents without a line have nothing to do"
    bus = open_bus(say, instead=instead)
    if bus is None and not (store.tap_points or store.sensors):
        raise ConfigError(
            "--serial: expected a store with tap points or sensors, or a dbus-daemon, got none"
        )
    try:
        configs = write_configs(
            store, args.folder, broker_url=url, key_file=args.key_file, with_radios=bus is not None
        )
        shop = _Shop(args, store, simulated, say)
        code = asyncio.run(shop.run(bus, configs))
    finally:
        if bus is not None:
            bus.end()
        with contextlib.suppress(OSError):
            (args.folder / PORTS).rmdir()
    return code, shop.played


class _Shop:
    """A shop that is open until its time is over or the user interrupts."""

    def __init__(
        self,
        args: argparse.Namespace,
        store: Store,
        simulated: Callable[[int], Iterable[Chunk]],
        say: Say,
    ) -> None:
        self._args, self._store, self._simulated, self._say = args, store, simulated, say
        self._stop = asyncio.Event()
        self._signals: list[int] = []
        self.played: list[Chunk] = []

    async def run(self, bus: PrivateBus | None, configs: dict[str, Path]) -> int:
        """Play; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, number)
        async with opened(self._store, self._args.folder, load_registry(), bus) as devices:
            self._tell_start(devices, bus, configs)
            playing = asyncio.create_task(self._play(devices), name="shop")
            stopped = asyncio.create_task(self._stop.wait(), name="interruption")
            await asyncio.wait({playing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            await playing
            await asyncio.sleep(LINGER_S)
            self._tell_end(devices)
        return 130 if signal.SIGINT in self._signals else 0

    def _end(self, number: int) -> None:
        self._signals.append(number)
        self._stop.set()

    async def _play(self, devices: Devices) -> None:
        if not await self._open_doors(devices):
            return
        # The first second of the shop begins with one of the clock.
        start_ns = time.time_ns() // 10**9 * 10**9 + 10**9
        await asyncio.sleep((start_ns - time.time_ns()) / 1e9)
        paused_s = await play(
            self._simulated(start_ns),
            devices,
            StoreClock(start_ns),
            speed=self._args.speed or 1.0,
            on_chunk=self._keep,
            stop=self._stop,
        )
        if paused_s:
            self._say(f"the shop stood still for {paused_s:.1f} s: this machine was busy")

    async def _open_doors(self, devices: Devices) -> bool:
        """Wait for listeners; return false when the user does not."""
        loop = asyncio.get_running_loop()
        count = missing = devices.missing
        until_s: float | None = None
        self._say("the shop opens when an agent listens (Ctrl-C ends it)")
        # A port does not tell that it was opened: one must look.
        while missing and (until_s is None or loop.time() < until_s):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _POLL_S)
                return False
            missing = devices.missing
            if missing < count and until_s is None:
                until_s = loop.time() + OPENING_S
        more = f"; nobody listens to {missing} of {count} devices" if missing else ""
        self._say(f"the shop is open{more}")
        return True

    def _keep(self, chunk: Chunk) -> None:
        if self._args.out is not None:
            self.played.append(chunk)

    def _tell_start(
        self, devices: Devices, bus: PrivateBus | None, configs: dict[str, Path]
    ) -> None:
        address = None if bus is None else bus.address
        prefix = "" if address is None else f"DBUS_SYSTEM_BUS_ADDRESS={address} "
        commands = {
            name: f"{prefix}fanous edge run -c {shlex.quote(str(path))}"
            for name, path in sorted(configs.items())
        }
        if self._args.json:
            told = {
                "folder": str(self._args.folder),
                "ports": devices.lines,
                "adapters": 0 if bus is None else len(self._store.receivers),
                "environment": {} if address is None else {"DBUS_SYSTEM_BUS_ADDRESS": address},
                "agents": {name: str(path) for name, path in sorted(configs.items())},
                "run": commands,
            }
            print(json.dumps(told), flush=True)
            return
        radios = "" if bus is None else f", {len(self._store.receivers)} Bluetooth adapters"
        print(f"{devices.lines} serial ports in {self._args.folder / PORTS}{radios}")
        print("run, each in a terminal of its own:")
        for command in commands.values():
            print(f"  {command}", flush=True)

    def _tell_end(self, devices: Devices) -> None:
        heard, unheard = dict(devices.heard), dict(devices.unheard)
        if self._args.json:
            told = {"heard": heard, "unheard": unheard, "lost_bytes": devices.lost_bytes}
            print(json.dumps(told), flush=True)
            return
        for kind in ("readings", "taps", "samples"):
            said = f"{heard.get(kind, 0):>9} heard {unheard.get(kind, 0):>9} by nobody"
            print(f"  {kind:<9} {said}", flush=True)
