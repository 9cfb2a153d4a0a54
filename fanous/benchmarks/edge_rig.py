"""A shop for one agent with sources of every kind, and the agent's own process.

Rules of the file: the agent is an unmodified ``fanous edge run``; its serial lines are
pseudo-terminals, its radio is the stand-in of bluetoothd on a private D-Bus, its broker is
whoever listens on the port. A serial line of every profile that gives taps or samples says
what the profile's own test vectors say; the devices that only answer are there, too.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from edge.sources.serial_settings import has_channels, kinds_of
from fanous.benchmarks.bluetooth_rig import address, beacon
from firmware_profiles.compile import Profile
from firmware_profiles.crypto import proof_of
from firmware_profiles.decoded import Decoded
from firmware_profiles.proving import decode_message, options_of
from firmware_profiles.registry import Registry, load_registry
from ingest.config import ConfigError
from simulators.bluez import BluezStandIn
from simulators.serial_ports import MODBUS, PN532, ModbusBus, Pn532Reader, SerialPorts

KEY = b"the benchmarks' own"
ADVERTS_PER_S, DEVICES = 300, 250
LINES_PER_S = 20
REPLAYED_PER_S, REPLAYED_S = 300, 60
_TURN_S = 0.05
_END_S = 10.0
_T0_NS = 1_764_000_000_000_000_000
_HEAD = """store = "bench"
agent = "pi-1"
state_dir = "state"
pseudonym_key_file = "key"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
"""
_RADIO = """[[source]]
kind = "ble"
receiver = "rx-1"
"""
_REPLAY = """[[source]]
kind = "replay"
readings = "readings.csv"
retime = true
"""


class EdgeShop:
    """What stands around an agent, for as long as an ``async with`` block lasts.

    Parameters
    ----------
    folder : empty; the agent's configuration, its ports and its state
    broker_port : on 127.0.0.1; somebody may listen there
    bus_address : of a private D-Bus; None = the agent has no radio
    polled : there are devices that only answer, which the agent asks all the time
    replayed : a recording is played back, too
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker_port: int,
        bus_address: str | None,
        polled: bool = True,
        replayed: bool = True,
    ) -> None:
        self._folder, self._bus_address = folder, bus_address
        self._registry = load_registry()
        self._lines = lines_of(self._registry)
        self._ports = SerialPorts(folder, self._registry)
        self._stand_in = None if bus_address is None else BluezStandIn(bus_address)
        self._turn = 0
        self._cables = [(self._ports.open(name), said) for name, said in self._lines.items()]
        if polled:
            bus, reader = ModbusBus(self._registry), Pn532Reader(self._registry)
            bus.put(1, 0, 12_345)
            reader.uid_hex = "04a1b2c3d4e5f6"
            self._ports.open(MODBUS, bus)
            self._ports.open(PN532, reader)
        (folder / "key").write_bytes(KEY)
        if replayed:
            _write_recording(folder / "readings.csv")
        radio = "" if bus_address is None else _RADIO
        text = _HEAD.format(port=broker_port) + radio + (_REPLAY if replayed else "")
        text += _serial(self._registry, self._lines, polled=polled)
        (folder / "edge.toml").write_text(text, encoding="utf-8")

    async def __aenter__(self) -> Self:
        """Start bluetoothd, where there is a bus."""
        if self._stand_in is not None:
            await self._stand_in.start_service()
        return self

    async def __aexit__(self, *_details: object) -> None:
        """End everything."""
        if self._stand_in is not None:
            await self._stand_in.stop_service()
        self._ports.close()

    def start(self) -> "EdgeProcess":
        """Start the agent."""
        return EdgeProcess(self._folder, self._bus_address)

    @property
    def is_scanned(self) -> bool:
        """Whether the agent has found all that is here: it scans with the radio."""
        if self._stand_in is None:
            return True
        return any(adapter.scans for adapter in self._stand_in.adapters.values())

    async def play(self, seconds: float) -> None:
        """Let all devices speak.

        Parameters
        ----------
        seconds : [s] how long
        """
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        for turn in range(int(seconds / _TURN_S)):
            await self._adverts(int(ADVERTS_PER_S * _TURN_S))
            for port, said in self._cables:
                for _ in range(max(1, int(LINES_PER_S * _TURN_S))):
                    port.send(said)
            await asyncio.sleep(max(0.0, begin_s + (turn + 1) * _TURN_S - loop.time()))

    async def _adverts(self, count: int) -> None:
        if self._stand_in is None:
            return
        for _ in range(count):
            self._turn += 1
            number = self._turn % DEVICES
            strength = -50 - self._turn % 40
            await self._stand_in.advertise("hci0", address(number), strength, beacon(number))


class EdgeProcess:
    """A ``fanous edge run``; ended at the end of its ``with`` block at the latest."""

    def __init__(self, folder: Path, bus_address: str | None) -> None:
        bus = {} if bus_address is None else {"DBUS_SYSTEM_BUS_ADDRESS": bus_address}
        self.log = folder / "edge.log"
        self.counters = folder / "counters.json"
        command = [sys.executable, "-m", "fanous", "edge", "run", "--json"]
        with self.log.open("ab") as log, self.counters.open("wb") as counters:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, "-c", str(folder / "edge.toml")],
                env={**os.environ, **bus},
                stdout=counters,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """End it by a signal.

        Parameters
        ----------
        number : of the signal

        Returns
        -------
        code, took : its exit code; how long that took [s]
        """
        began_s = time.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(_END_S)
        return code, time.monotonic() - began_s

    def found(self) -> dict[str, Any]:
        """Return the counters it printed at its end."""
        counters: dict[str, Any] = json.loads(self.counters.read_bytes())
        return counters

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_details: object) -> None:
        """End it, if it has not ended."""
        if self.is_running:
            self._process.kill()
            self._process.wait()


def lines_of(registry: Registry) -> dict[str, bytes]:
    """Return a message of each serial device that speaks by itself, by profile.

    Parameters
    ----------
    registry : of the profiles

    Raises
    ------
    ConfigError
        A profile has no test vector that gives a tap or a sample.
    """
    return {
        name: _message(registry, profile)
        for name, profile in registry.profiles.items()
        if profile.is_stream and kinds_of(profile) and not _is_special(profile)
    }


def _is_special(profile: Profile) -> bool:
    # Answers only, or needs the keys of its cards.
    return profile.id in {MODBUS, PN532} or proof_of(profile.table) is not None


def _message(registry: Registry, profile: Profile) -> bytes:
    for test in profile.table["test"]:
        data = bytes.fromhex(test["hex"])
        heard = decode_message(registry, profile, data, options_of(test))
        if any(isinstance(found, Decoded) and found.emits for found in heard):
            return data
    raise ConfigError(f"edge: profile {profile.id} has no test vector that gives a tap or a sample")


def _serial(registry: Registry, lines: dict[str, bytes], *, polled: bool) -> str:
    text = '[[source]]\nkind = "serial"\n'
    for name in lines:
        profile = registry.profiles[name]
        place = "tap_point" if "tap" in kinds_of(profile) else "sensor"
        text += f'[[source.port]]\npath = "{name}"\nprofile = "{name}"\n'
        in_counts = "calibration" in profile.table
        rate = "counts_per_g = 420.5\n" if in_counts else ""
        if not profile.table["profile"].get("baud"):
            text += "baud = 9600\n"
        if has_channels(profile):
            cells = range(4)
            text += "".join(
                f'[[source.port.channel]]\nchannel = {at}\nsensor = "cell-{at}"\n{rate}'
                for at in cells
            )
        else:
            text += f'{place} = "{name.replace("_", "-")}"\n{rate}'
    if polled:
        text += f'[[source.port]]\npath = "{PN532}"\nprofile = "{PN532}"\ntap_point = "nfc"\n'
        text += f'[[source.port]]\npath = "{MODBUS}"\nprofile = "{MODBUS}"\n'
        text += '[[source.port.poll]]\nsensor = "polled"\ncounts_per_g = 10.0\n'
    return text


def _write_recording(path: Path) -> None:
    step_ns = 1_000_000_000 // REPLAYED_PER_S
    with path.open("w", encoding="ascii") as file:
        file.write("t_ns,receiver,tag,rssi_dbm\n")
        for row in range(REPLAYED_PER_S * REPLAYED_S):
            tag = f"name:replayed-{row % 100}"
            file.write(f"{_T0_NS + row * step_ns},rx-2,{tag},{-50 - row % 40}\n")
