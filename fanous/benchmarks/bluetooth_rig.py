"""A Bluetooth source on a private D-Bus: the stand-in of bluetoothd, real bleak, faults.

Rules of the file: no measuring and no waiting for a certain time: a condition is polled.
One bus serves many rigs, one after the other; each leaves bleak's own connection closed.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from bleak.backends.bluezdbus import manager as bleak_manager

from edge.measurement import Measurement, Reading
from edge.sources.ble import BleSource
from edge.sources.ble_settings import read_ble_settings
from edge.sources.source import SourceUnavailable
from firmware_profiles.registry import load_registry
from simulators.bluez import BluezStandIn

UUID = "b9407f30-f5f8-466e-aff9-25556b57fe6d"
REGISTRY = load_registry()
_POLL_S = 0.01


def address(number: int, first: int = 0xC4) -> str:
    """Return an address, as printed.

    Parameters
    ----------
    number : of the sender
    first : its first octet: 0xC4 lasts, 0x4A is a phone's that changes
    """
    return ":".join(f"{octet:02X}" for octet in (first, *number.to_bytes(5, "big")))


def beacon(minor: int, major: int = 1) -> bytes:
    """Return the advert of a beacon."""
    fields = {"uuid": UUID, "major": major, "minor": minor, "tx_power_1m_dbm": -59}
    return REGISTRY.encode("ibeacon", fields)


def beacon_tag(minor: int, major: int = 1) -> str:
    """Return the tag of a beacon."""
    return f"ibeacon:{UUID}-{major}-{minor}"


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until a condition holds.

    Parameters
    ----------
    condition : polled
    timeout_s : [s]

    Raises
    ------
    TimeoutError
        It does not hold in time.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - a counter of the source, which tells nobody
            await asyncio.sleep(_POLL_S)


class Rig:
    """A stand-in, a source that runs under a supervisor like the agent's, and what came.

    Parameters
    ----------
    bus_address : of the private bus, which bleak must be told by the environment
    now_ns : [ns] the clock of the readings
    poll_s : [s] as `BleSource`
    clock_s : [s] as `BleSource`
    table : of the source
    """

    def __init__(
        self,
        bus_address: str,
        *,
        now_ns: Callable[[], int],
        poll_s: float | None = None,
        clock_s: Callable[[], float] = time.monotonic,
        table: Mapping[str, Any],
    ) -> None:
        self.stand_in = BluezStandIn(bus_address, adapters=("hci0", "hci1"))
        self.readings: list[Reading] = []
        self.losses: list[str] = []
        self.held, self.waiting = asyncio.Event(), False
        """Clear `held` and the agent is held up; `waiting` says that it is."""
        self.held.set()
        settings = read_ble_settings({"receiver": "rx-1", **table}, subject="rig", base=Path())
        self.source = BleSource(settings, now_ns=now_ns, poll_s=poll_s, clock_s=clock_s)

    async def supervise(self) -> None:
        """Run the source, and again when it is lost, until cancelled."""
        while True:
            try:
                await self.source.run(self.emit)
            except SourceUnavailable as error:
                self.losses.append(str(error))
                await asyncio.sleep(0.05)

    async def emit(self, measurements: Sequence[Measurement]) -> None:
        """Take measurements, as the agent does."""
        self.waiting = True
        await self.held.wait()
        self.waiting = False
        self.readings += [reading for reading in measurements if isinstance(reading, Reading)]

    @property
    def health(self) -> dict[str, Any]:
        """Of the source."""
        return self.source.health()

    @property
    def tags(self) -> list[str]:
        """Of all readings, in order."""
        return [reading.tag for reading in self.readings]

    async def scanning(self) -> None:
        """Wait until the source scans."""
        await until(lambda: self.health["radio"] == "scanning")

    async def hears(self, *packets: tuple[Any, ...]) -> None:
        """Advertise until the source has counted every packet, one by one.

        Parameters
        ----------
        packets : adapter, address, strength, data, and perhaps the kind of address
        """
        for packet in packets:
            wanted = self.health["packets"] + 1
            kind = packet[4] if len(packet) > 4 else "public"
            assert await self.stand_in.advertise(*packet[:4], kind=kind)
            await until(lambda wanted=wanted: self.health["packets"] >= wanted)  # type: ignore[misc]
        await until(lambda: not self.health["queue"])


@contextmanager
def system_bus(bus_address: str) -> Iterator[None]:
    """Let this process take a bus for the system's, for as long as the block lasts.

    Parameters
    ----------
    bus_address : of the private bus
    """
    before = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus_address
    try:
        yield
    finally:
        if before is None:
            del os.environ["DBUS_SYSTEM_BUS_ADDRESS"]
        else:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = before


@asynccontextmanager
async def supervised(rig: Rig, *, service: bool = True) -> AsyncIterator[Rig]:
    """Run a rig for as long as the block lasts.

    Parameters
    ----------
    rig : not yet running
    service : whether bluetoothd is there from the start
    """
    if service:
        await rig.stand_in.start_service()
    task = asyncio.create_task(rig.supervise(), name="source")
    try:
        if service:
            await rig.scanning()
        yield rig
    finally:
        task.cancel()
        await asyncio.wait([task])
        await rig.stand_in.stop_service()
        await leave_bus()


async def leave_bus() -> None:
    """Close bleak's own connection, which it keeps for as long as the loop lives."""
    # bleak publishes no way to do so.
    kept: Any = getattr(bleak_manager, "_global_instances", {})
    manager = kept.pop(asyncio.get_running_loop(), None)
    bus = getattr(manager, "_bus", None)
    if bus is not None:
        bus.disconnect()
        await manager._bus_watcher_task  # noqa: SLF001 - as above


@asynccontextmanager
async def advertising(
    rig: Rig, *, senders: int = 3, every_s: float = 0.05, first: int = 1, wait: bool = True
) -> AsyncIterator[None]:
    """Let beacons advertise for as long as the block lasts.

    Parameters
    ----------
    rig : whose adapter hci0 they are near
    senders : how many
    every_s : [s] their interval
    first : number of the first
    wait : until all of them were heard
    """
    task = asyncio.create_task(_advertise(rig, senders, every_s, first), name="beacons")
    try:
        await until(lambda: not wait or len(set(rig.tags)) >= senders)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _advertise(rig: Rig, senders: int, every_s: float, first: int) -> None:
    while True:
        for number in range(first, first + senders):
            await rig.stand_in.advertise("hci0", address(number), -60, beacon(number))
        await asyncio.sleep(every_s)
