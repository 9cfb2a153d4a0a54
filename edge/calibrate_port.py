"""The values of one sensor while it is calibrated, and what the engineer types.

Rules of the file: the port is opened and spoken to by the agent's own code, so that what
is calibrated is what will be measured; it stays open from the first to the last value,
because opening it makes many bridges start anew. A port that is lost, or stays silent, is
told at once. Values are bounded in number.
"""

import asyncio
import os
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from edge.calibrate_cells import Cell
from edge.check_serial import open_or_fault
from edge.findings import Fault
from edge.measurement import Measurement, Sample
from edge.sources.serial_device import SerialDevice
from edge.sources.serial_poll import dialogue_of
from edge.sources.serial_port import SerialPort, close_port
from edge.sources.serial_settings import SerialPortSettings
from firmware_profiles.compile import Profile
from firmware_profiles.decoded import Decoded

_VALUES_MOST = 20_000
_LINE_MOST = 4096
_LOOK_S = 0.02
_LOST = {"missing", "denied", "busy", "broken"}


class Taken(NamedTuple):
    """Values of a stretch of time."""

    values: list[float]
    saturated: int


class EndOfInput(EOFError):  # noqa: N818 - as EOFError
    """Nobody answers any more."""


class Listener:
    """One sensor on its open port.

    Parameters
    ----------
    cell : the sensor
    port : its port's settings: raw, or as the agent will use them
    lock : of the agent that may use the port
    silence_s : [s] without a value, after which the sensor is taken as silent
    """

    def __init__(
        self, cell: Cell, port: SerialPortSettings, *, lock: Path, silence_s: float = 8.0
    ) -> None:
        self._cell, self._settings, self._lock = cell, port, lock
        self._silence_s = silence_s
        self._values: deque[float] = deque(maxlen=_VALUES_MOST)
        self._device = _Watched(port, cell.profile, channel=cell.channel)
        self._port = SerialPort(
            "calibrate",
            port,
            self._device,
            dialogue_of(port, cell.profile),
            now_ns=lambda: 0,
            give=self._give,
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the port.

        Raises
        ------
        Fault
            It cannot be opened.
        """
        close_port(open_or_fault(self._settings, lock=self._lock))
        self._task = asyncio.create_task(self._port.run(), name="calibrate port")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the port."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def take(self, seconds: float, *, least: int) -> Taken:
        """Take values for some seconds, and longer until there are enough.

        Parameters
        ----------
        seconds : [s]
        least : so many values

        Returns
        -------
        taken : what came after this was called

        Raises
        ------
        Fault
            The port was lost, or the sensor is silent.
        """
        loop = asyncio.get_running_loop()
        self._values.clear()
        saturated = self._device.saturated
        until_s = loop.time() + seconds
        count, news_s = 0, loop.time()
        while loop.time() < until_s or len(self._values) < least:
            await asyncio.sleep(_LOOK_S)
            self._refuse_lost()
            now = len(self._values) + self._device.saturated
            if now != count:
                count, news_s = now, loop.time()
            if self._device.saturated - saturated > 2 * least:
                break
            if loop.time() - news_s > self._silence_s:
                raise self._silent()
        return Taken(list(self._values), self._device.saturated - saturated)

    def _refuse_lost(self) -> None:
        health = self._port.health()
        if health["state"] not in _LOST and not health["reopened"]:
            return
        if health["state"] in _LOST:
            close_port(open_or_fault(self._settings, lock=self._lock))
        raise Fault(
            f"port {self._cell.port.label} was lost in between",
            "look after plug and cable, and begin again; nothing was written",
        )

    def _silent(self) -> Fault:
        health = self._port.health()
        name = self._cell.port.label
        if self._device.is_garbage or (health["bytes"] and not health["frames"]):
            return Fault(
                f"port {name}: {health['bytes']} bytes and not one good message",
                f"wrong baud? profile {self._cell.profile.id} says {self._settings.baud}; find "
                "out with: fanous edge discover --ports",
            )
        if health["frames"]:
            return Fault(
                f"port {name} speaks, but not of sensor {self._cell.sensor}",
                "look after channel, unit and address in the configuration",
            )
        return Fault(
            f"port {name} is silent",
            "look after power, cable and, for a device that is asked, ask, unit and address",
        )

    def _give(self, measurements: list[Measurement]) -> None:
        for found in measurements:
            if isinstance(found, Sample) and found.sensor == self._cell.sensor:
                value = found.range_mm if self._cell.unit in {"mm", "mm_counts"} else found.mass_g
                if value is not None:
                    self._values.append(value)


class _Watched(SerialDevice):
    """A device whose saturated values are counted, where it says so."""

    def __init__(self, port: SerialPortSettings, profile: Profile, *, channel: int | None) -> None:
        super().__init__(port, profile, garbage_s=2.0)
        self.saturated = 0
        self._own_channel = channel

    def feed(self, data: bytes, t_ns: int, now_s: float) -> tuple[list[Measurement], list[Decoded]]:
        """Take bytes, and count what is saturated in them."""
        measurements, messages = super().feed(data, t_ns, now_s)
        self.saturated += sum(
            bool(message.fields.get("saturated"))
            for message in messages
            if self._own_channel in {None, message.fields.get("channel")}
        )
        return measurements, messages


class Answers:
    """Lines that the engineer, or a script, types.

    Parameters
    ----------
    handle : of the file they come from
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._rest = b""

    async def line(self) -> str:
        """Return the next line, without its end.

        Raises
        ------
        EndOfInput
            There is none.
        """
        while b"\n" not in self._rest and len(self._rest) < _LINE_MOST:
            data = await self._read()
            if not data and not self._rest:
                raise EndOfInput
            if not data:
                break
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace").strip()

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not ready.done():
                ready.set_result(None)

        try:
            loop.add_reader(self._handle, tell)
        except PermissionError:
            # A plain file never makes anybody wait.
            return os.read(self._handle, _LINE_MOST)
        except OSError:
            return b""
        try:
            await ready
        finally:
            loop.remove_reader(self._handle)
        try:
            return os.read(self._handle, _LINE_MOST)
        except OSError:  # the terminal is gone
            return b""
