"""The virtual devices of a simulated shop: a serial line for each reader and sensor, and radios.

Rules of the file: a device behaves as its kind does. What is sent while nobody listens is
lost, and counted as `unheard`; what somebody listened to is counted as `heard`, so what an
agent must have in the end is known to the row. A device speaks `SETTLE_S` after its port
was opened, as one that is reset by that: opening a port throws away what is in it.
"""

import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from analytics.store import Store
from firmware_profiles.registry import Registry
from simulators.hardware_bytes import (
    SENSOR_PROFILES,
    TAP_PROFILE,
    Packet,
    band_number,
    card_tag,
)
from simulators.hardware_config import PORTS, port_of_sensor, port_of_tap_point
from simulators.private_bus import PrivateBus
from simulators.serial_ports import PseudoPort, SerialPorts

SETTLE_S = 0.3


class Radios(Protocol):
    """What hears the wristbands of a shop."""

    @property
    def missing(self) -> int:
        """How many of them nobody listens to yet."""

    async def hear(self, receiver: int, tag: str, rssi_dbm: int) -> bool:
        """Let a receiver hear a wristband; tell whether somebody listened."""

    async def pass_second(self) -> None:
        """Do what is due once a second."""


class Devices:
    """All devices of a store.

    Parameters
    ----------
    store : the store
    folder : the ports are links in its folder ``ports``
    registry : of the profiles
    radios : what hears wristbands; None = nothing does
    clock_s : [s] a clock that only goes forward

    Attributes
    ----------
    heard : rows by kind that somebody listened to
    unheard : rows by kind that nobody did
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        registry: Registry,
        *,
        radios: Radios | None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.heard: Counter[str] = Counter()
        self.unheard: Counter[str] = Counter()
        self.radios = radios
        self._ports = SerialPorts(folder / PORTS, registry)
        points = [port_of_tap_point(point.id) for point in store.tap_points]
        sensors = [port_of_sensor(sensor.kind, sensor.id) for _, sensor in store.sensors]
        self._points = [_Line(name, self._ports.open(name), clock_s) for name in points]
        self._sensors = [_Line(name, self._ports.open(name), clock_s) for name in sensors]
        self._profiles = [SENSOR_PROFILES[sensor.kind] for _, sensor in store.sensors]

    @property
    def lines(self) -> int:
        """How many serial lines there are."""
        return len(self._points) + len(self._sensors)

    @property
    def missing(self) -> int:
        """How many lines and radios nobody listens to yet."""
        silent = sum(not line.is_ready() for line in (*self._points, *self._sensors))
        return silent + (0 if self.radios is None else self.radios.missing)

    @property
    def lost_bytes(self) -> int:
        """How many bytes of heard rows did not fit into a line."""
        return sum(line.port.lost_bytes for line in (*self._points, *self._sensors))

    async def send(self, packet: Packet) -> None:
        """Let a device hear or say something.

        Parameters
        ----------
        packet : what
        """
        if packet.kind == "readings":
            heard = self.radios is not None and await self.radios.hear(
                packet.place, packet.tag, round(packet.value)
            )
        elif packet.kind == "taps":
            heard = self._tap(packet)
        else:
            heard = self._weigh(packet)
        (self.heard if heard else self.unheard)[packet.kind] += 1

    async def pass_second(self) -> None:
        """Do what is due once a second."""
        if self.radios is not None:
            await self.radios.pass_second()

    def close(self) -> None:
        """Unplug all lines; their links go."""
        self._ports.close()

    def _tap(self, packet: Packet) -> bool:
        line = self._points[packet.place]
        return line.is_ready() and self._ports.tap(
            line.name, TAP_PROFILE, card_tag(band_number(packet.tag))
        )

    def _weigh(self, packet: Packet) -> bool:
        line = self._sensors[packet.place]
        return line.is_ready() and self._ports.weigh(
            line.name, self._profiles[packet.place], packet.value
        )


@contextlib.asynccontextmanager
async def opened(
    store: Store, folder: Path, registry: Registry, bus: PrivateBus | None
) -> AsyncIterator[Devices]:
    """Open the devices of a store for the length of the context.

    Parameters
    ----------
    store : the store
    folder : of the ports
    registry : of the profiles
    bus : for the radios; None = no radios

    Yields
    ------
    devices : all plugged in
    """
    async with contextlib.AsyncExitStack() as stack:
        radios: Radios | None = None
        if bus is not None:
            from simulators.hardware_radios import BusRadios

            stand_in = radios = BusRadios(bus, registry, len(store.receivers))
            stack.push_async_callback(stand_in.close)
            await stand_in.open()
        devices = Devices(store, folder, registry, radios=radios)
        stack.callback(devices.close)
        yield devices


class _Line:
    """A port, and since when somebody has had it open."""

    def __init__(self, name: str, port: PseudoPort, clock_s: Callable[[], float]) -> None:
        self.name, self.port, self._clock_s = name, port, clock_s
        self._opened_s: float | None = None

    def is_ready(self) -> bool:
        """Tell whether somebody listens, for long enough."""
        if not self.port.is_open:
            self._opened_s = None
            return False
        now_s = self._clock_s()
        if self._opened_s is None:
            self._opened_s = now_s
        return now_s - self._opened_s >= SETTLE_S
