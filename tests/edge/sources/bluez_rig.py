"""What the Bluetooth tests share: a private D-Bus, a stand-in of bluetoothd, real bleak."""

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bleak.backends.bluezdbus import manager as bleak_manager

from edge.sources.ble import BleSource
from edge.sources.source import SourceUnavailable
from firmware_profiles.registry import load_registry
from simulators.bluez import BluezStandIn
from simulators.private_bus import PrivateBus, find_daemon
from tests.edge.agents import T0, until

UUID = "b9407f30-f5f8-466e-aff9-25556b57fe6d"
REGISTRY = load_registry()


def open_bus():
    """Start a bus; skip where there is no dbus-daemon, but not in CI."""
    if find_daemon() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("dbus-daemon is not installed, and CI must have it")
        pytest.skip("dbus-daemon is not installed; install dbus to run this test")
    return PrivateBus()


def beacon(minor, major=1):
    fields = {"uuid": UUID, "major": major, "minor": minor, "tx_power_1m_dbm": -59}
    return REGISTRY.encode("ibeacon", fields)


def beacon_tag(minor, major=1):
    return f"ibeacon:{UUID}-{major}-{minor}"


def address(number, first=0xC4):
    return ":".join(f"{octet:02X}" for octet in (first, *number.to_bytes(5, "big")))


class Rig:
    """A stand-in, a source that runs under a supervisor like the agent's, and what came."""

    def __init__(self, bus, *, poll_s=None, clock_s=None, **table):
        self.stand_in = BluezStandIn(bus.address, adapters=("hci0", "hci1"))
        self.readings, self.losses = [], []
        self.held, self.waiting = asyncio.Event(), False
        self.held.set()
        extra = {} if clock_s is None else {"clock_s": clock_s}
        made = BleSource.from_table(
            {"receiver": "rx-1", **table}, subject="test", base=Path(), now_ns=lambda: T0
        )
        self.source = BleSource(made._settings, now_ns=lambda: T0, poll_s=poll_s, **extra)

    async def supervise(self):
        while True:
            try:
                await self.source.run(self.emit)
            except SourceUnavailable as error:
                self.losses.append(str(error))
                await asyncio.sleep(0.05)

    async def emit(self, measurements):
        self.waiting = True
        await self.held.wait()
        self.waiting = False
        self.readings.extend(measurements)

    @property
    def health(self):
        return self.source.health()

    @property
    def tags(self):
        return [reading.tag for reading in self.readings]

    async def scanning(self):
        await until(lambda: self.health["radio"] == "scanning")

    async def hears(self, *packets):
        """Advertise until the source has counted every packet, one by one."""
        for packet in packets:
            wanted = self.health["packets"] + 1
            assert await self.stand_in.advertise(*packet[:4], kind=(*packet, "public")[4])
            await until(lambda wanted=wanted: self.health["packets"] >= wanted)
        await until(lambda: not self.health["queue"])


@asynccontextmanager
async def running(bus, *, service=True, **table):
    rig = Rig(bus, **table)
    if service:
        await rig.stand_in.start_service()
    task = asyncio.create_task(rig.supervise())
    try:
        if service:
            await rig.scanning()
        yield rig
    finally:
        task.cancel()
        await asyncio.wait([task])
        await rig.stand_in.stop_service()
        await leave_bus()


async def leave_bus():
    """Close bleak's own connection, which it keeps for as long as the loop lives."""
    manager = bleak_manager._global_instances.pop(asyncio.get_running_loop(), None)
    if manager is not None and manager._bus is not None:
        manager._bus.disconnect()
        await manager._bus_watcher_task
