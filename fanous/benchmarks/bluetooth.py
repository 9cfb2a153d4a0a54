"""Seconds until a fault of the radio is noticed and cured, and what a flood costs.

Rules of the file: the real clock, real bleak on a private D-Bus, a stand-in in the place of
bluetoothd; five beacons that advertise at regular intervals are the shop. Seconds count
from the moment of the fault, or, where something must come back by itself (an adapter that
was pulled out, bluetoothd), from the moment it is back. bluetoothd is started anew as soon
as the source asks for it. A scan falls silent in three ways, by what cures it. Until a
packet is heard again a beacon must send one: up to its interval (1 s) is in that time.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from fanous.benchmarks.bluetooth_flood import measure_flood
from fanous.benchmarks.bluetooth_rig import (
    Rig,
    address,
    advertising,
    beacon,
    supervised,
    system_bus,
    until,
)
from fanous.benchmarks.figure import Figure, Say
from ingest.config import ConfigError
from simulators.bluez_adapter import Cure
from simulators.private_bus import PrivateBus, find_daemon

SENDERS, NOISES = 5, 100
FLOOD_PER_S = 1000.0
_LIMIT_S = 90.0
_HEARD_EACH = 6
"""Packets of a sender after which the watchdog knows its interval."""
BAND = address(1)
PATH = f"/org/bluez/hci0/dev_{BAND.replace(':', '_')}"
Seconds = dict[str, float]


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure faults of the radio and a flood of new addresses.

    Parameters
    ----------
    quick : a watchdog of 1.5 s instead of 15 s, and a flood of 2 s instead of a minute
    say : told what is being measured

    Raises
    ------
    ConfigError
        There is no dbus-daemon here, or a fault was not noticed at all.
    """
    if find_daemon() is None:
        raise ConfigError(
            "bluetooth: expected dbus-daemon on the PATH or in /usr/bin, found none; "
            "install it, for example with: apt-get install dbus"
        )
    watchdog_s, every_s, flood_s = (1.5, 0.05, 2.0) if quick else (15.0, 1.0, 60.0)
    figures: list[Figure] = []
    with PrivateBus() as bus, system_bus(bus.address), _unsaid():
        for name, fault in FAULTS.items():
            say(f"{name}, watchdog of {watchdog_s:g} s")
            spent = _run(name, bus.address, fault, watchdog_s=watchdog_s, every_s=every_s)
            figures += [
                Figure(name=f"bluetooth.{name}.{what}", value=value, unit="s", better="lower")
                for what, value in spent.items()
            ]
        say(f"{NOISES} changes of a device that are no packets")
        shares = asyncio.run(_noise(bus.address))
        figures += [
            Figure(name=f"bluetooth.{name}", value=value, unit="of it", better="higher")
            for name, value in shares.items()
        ]
        say(f"{FLOOD_PER_S:g} new addresses a second for {flood_s:g} s")
        figures += _flood(bus.address, flood_s)
    return tuple(figures)


def _run(
    name: str,
    bus_address: str,
    fault: "Callable[[Rig], Awaitable[Seconds]]",
    *,
    watchdog_s: float,
    every_s: float,
) -> Seconds:
    async def work() -> Seconds:
        rig = Rig(bus_address, now_ns=time.time_ns, table={"watchdog_s": watchdog_s})
        async with supervised(rig), advertising(rig, senders=SENDERS, every_s=every_s):
            await until(lambda: rig.health["packets"] >= SENDERS * _HEARD_EACH, _LIMIT_S)
            return await fault(rig)

    try:
        return asyncio.run(work())
    except TimeoutError as error:
        raise ConfigError(
            f"bluetooth: expected {name} to be over within {_LIMIT_S:g} s, it is not"
        ) from error


async def silent(rig: Rig, cure: Cure) -> Seconds:
    """Let the scan report nothing any more, while BlueZ says that it runs.

    Parameters
    ----------
    rig : that has heard its beacons
    cure : what ends the silence

    Returns
    -------
    seconds : until noticed, until a new bluetoothd was asked for, until heard again [s]
    """
    rig.stand_in.deafen("hci0", until=cure)
    since = _Since()
    await until(lambda: rig.health["steps"]["scan_restart"], _LIMIT_S)
    found = {"noticed": since.s()}
    if cure == "service":
        await until(lambda: "wants" in rig.health, _LIMIT_S)
        found["restart_wanted"] = since.s()
        await rig.stand_in.stop_service()
        await rig.stand_in.start_service()
    await _heard(rig)
    return {**found, "heard": since.s()}


async def pulled_out(rig: Rig) -> Seconds:
    """Pull the adapter out and put it back.

    Parameters
    ----------
    rig : that has heard its beacons

    Returns
    -------
    seconds : until noticed; from its return until heard again [s]
    """
    since = _Since()
    await rig.stand_in.remove_adapter("hci0")
    await until(lambda: rig.health["radio"] == "absent", _LIMIT_S)
    noticed_s = since.s()
    since = _Since()
    await rig.stand_in.add_adapter("hci0")
    await _heard(rig)
    return {"noticed": noticed_s, "heard": since.s()}


async def switched_off(rig: Rig) -> Seconds:
    """Switch the adapter off, as another program does; the source switches it on.

    Parameters
    ----------
    rig : that has heard its beacons

    Returns
    -------
    seconds : until noticed and until heard again [s]
    """
    losses = len(rig.losses)
    rig.stand_in.power("hci0", on=False)
    since = _Since()
    await until(lambda: len(rig.losses) > losses, _LIMIT_S)
    noticed_s = since.s()
    await _heard(rig)
    return {"noticed": noticed_s, "heard": since.s()}


async def name_vanished(rig: Rig) -> Seconds:
    """End bluetoothd and start it again.

    Parameters
    ----------
    rig : that has heard its beacons

    Returns
    -------
    seconds : until noticed; from its return until heard again [s]
    """
    since = _Since()
    await rig.stand_in.stop_service()
    await until(lambda: rig.health["radio"] == "absent", _LIMIT_S)
    noticed_s = since.s()
    await rig.stand_in.start_service()
    since = _Since()
    await _heard(rig)
    return {"noticed": noticed_s, "heard": since.s()}


FAULTS: dict[str, Callable[[Rig], Awaitable[Seconds]]] = {
    "adapter_removed": pulled_out,
    "powered_off": switched_off,
    "name_vanished": name_vanished,
    "silent_until_scan": lambda rig: silent(rig, "scan"),
    "silent_until_power": lambda rig: silent(rig, "power"),
    "silent_until_service": lambda rig: silent(rig, "service"),
}
"""Name → what brings the fault about and returns the seconds it took."""


async def _noise(bus_address: str) -> Seconds:
    """Return which share of property noise and of −127 became no reading."""
    rig = Rig(bus_address, now_ns=time.time_ns, table={})
    async with supervised(rig):
        await rig.hears(("hci0", BAND, -60, beacon(1)))
        stand_in = rig.stand_in
        for number in range(NOISES):
            stand_in.change_name(PATH)
            stand_in.change_trust("hci0", PATH)
            if not number % 10:
                await stand_in.advertise("hci0", address(2), -60, beacon(2))  # takes a breath
        await until(lambda: rig.health["phantoms"] >= 2 * NOISES)
        believed = rig.tags.count(rig.tags[0]) - 1
        for _ in range(NOISES):
            await stand_in.advertise("hci0", BAND, -127, beacon(1))
        await until(lambda: rig.health["dropped"].get("no_rssi", 0) >= NOISES)
        await until(lambda: not rig.health["queue"])
        without = rig.tags.count(rig.tags[0]) - 1 - believed
    return {
        "property_noise.refused": 1 - believed / (2 * NOISES),
        "no_rssi.refused": 1 - without / NOISES,
    }


def _flood(bus_address: str, seconds: float) -> list[Figure]:
    found = asyncio.run(measure_flood(bus_address, rate_per_s=FLOOD_PER_S, seconds=seconds))
    return [
        Figure(
            name="bluetooth.flood.grown",
            value=found.most_mb - found.before_mb,
            unit="MB",
            better="lower",
        ),
        Figure(name="bluetooth.flood.most", value=found.most_mb, unit="MB", better="lower"),
        Figure(
            name="bluetooth.flood.heard",
            value=found.heard / found.addresses,
            unit="of it",
            better="higher",
        ),
        Figure(
            name="bluetooth.flood.cpu", value=found.cpu_us, unit="us per packet", better="lower"
        ),
    ]


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keep the source's warnings of faults, which are meant here, out of the output."""
    logger = logging.getLogger("fanous.edge")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


async def _heard(rig: Rig) -> None:
    packets = rig.health["packets"]
    await until(lambda: rig.health["packets"] > packets, _LIMIT_S)


class _Since:
    """A stop-watch that runs."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def s(self) -> float:
        return time.monotonic() - self._began_s
