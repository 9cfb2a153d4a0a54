"""One serial port: opened, read, written, and opened again when it went away.

Rules of the file: all input and output of serial lines is here. The port is read from the
event loop, in the callback that the kernel's readiness triggers, so that a tap waits for
nobody; nothing here blocks. A port that is unplugged, or whose path leads to another
device, is opened again within 2 s; this is told once when it fails and once when it
works again. A port has one user: a lock on the file and TIOCEXCL.
"""

import asyncio
import errno
import fcntl
import logging
import os
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import serial

from edge.measurement import Measurement
from edge.sources.serial_device import SerialDevice
from edge.sources.serial_poll import Dialogue, Request
from edge.sources.serial_settings import SerialPortSettings
from firmware_profiles.decoded import Decoded

_READ_BYTES = 4096
_RETRY_MIN_S, _RETRY_MAX_S = 0.1, 1.0
_WATCH_S = 0.5
_SETTLED_S = 0.5  # open for so long, or a good frame: it works again
_PARITY = {
    "none": serial.PARITY_NONE,
    "even": serial.PARITY_EVEN,
    "odd": serial.PARITY_ODD,
}
_STATES = {
    errno.ENOENT: "missing",
    errno.ENODEV: "missing",
    errno.ENXIO: "missing",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EBUSY: "busy",
    errno.EAGAIN: "busy",
}
_REASONS = {
    "missing": "the port is not there",
    "denied": "no permission; put this user into the group that owns the port (dialout)",
    "busy": "another program uses the port",
}
log = logging.getLogger("fanous.edge.serial")


class SerialPort:
    """One port and the device on it.

    Parameters
    ----------
    source : name of the source, for logs
    settings : checked, with an absolute path and a rate
    device : decodes what comes
    dialogue : what is sent; None = the device speaks by itself
    now_ns : [ns] the agent's clock, for measurements
    give : takes measurements at once; it has a bounded queue of its own
    """

    def __init__(
        self,
        source: str,
        settings: SerialPortSettings,
        device: SerialDevice,
        dialogue: Dialogue | None,
        *,
        now_ns: Callable[[], int],
        give: Callable[[list[Measurement]], None],
    ) -> None:
        self.name = settings.label
        self._source = source
        self._settings = settings
        self._device = device
        self._dialogue = dialogue
        self._now_ns = now_ns
        self._give = give
        self._state = "waiting"
        self._troubled = self._garbage_told = False
        self._opened = self._timeouts = self._missed = 0
        self._loop: asyncio.AbstractEventLoop
        self._lost: asyncio.Future[OSError]
        self._answer: asyncio.Future[None] | None = None
        self._last_s = 0.0
        self._gap: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Read until cancelled."""
        self._loop = asyncio.get_running_loop()
        retry_s = _RETRY_MIN_S
        while True:
            line = None
            try:
                line = open_port(self._settings)
                retry_s = _RETRY_MIN_S
                await self._serve(line)
            except (OSError, termios.error) as error:
                self._tell_trouble(error)
            except asyncio.CancelledError:
                self._state = "closed"
                raise
            finally:
                if line is not None:
                    close_port(line)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _RETRY_MAX_S)

    def health(self) -> dict[str, Any]:
        """Return state, counters by reason, and what may be wrong."""
        device = self._device
        found: dict[str, Any] = {
            "name": self.name,
            "state": self._state,
            "baud": self._settings.baud,
            **{key: device.counts[key] for key in ("bytes", "frames", "held_off", "no_place")},
            "rejected": dict(device.rejected),
            "reopened": max(self._opened - 1, 0),
            "timeouts": self._timeouts,
        }
        hint = self._hint()
        return {**found, "hint": hint} if hint else found

    async def _serve(self, line: serial.Serial) -> None:
        self._opened += 1
        self._state = "open"
        began_s = self._loop.time()
        frames = self._device.counts["frames"]
        self._missed = 0
        self._device.restart(began_s)
        self._lost = self._loop.create_future()
        if self._dialogue is not None:
            self._dialogue.begin(began_s)
        self._loop.add_reader(line.fileno(), self._readable, line)
        try:
            while True:
                if self._dialogue is None:
                    await self._pause(_WATCH_S)
                else:
                    await self._exchange(line, self._dialogue)
                now_s = self._loop.time()
                if now_s - began_s >= _SETTLED_S or self._device.counts["frames"] > frames:
                    self._tell_recovery()
                refuse_moved(line, self._settings.path)
                self._device.watch(now_s)
                self._tell_garbage()
        finally:
            self._loop.remove_reader(line.fileno())
            if self._gap is not None:
                self._gap.cancel()
                self._gap = None

    async def _exchange(self, line: serial.Serial, dialogue: Dialogue) -> None:
        request = dialogue.next_request(self._loop.time(), frames=self._device.counts["frames"])
        await self._wait_until(request.at_s)
        if not request.data:
            return
        if request.target is not None:
            self._device.expect(request.target, dialogue.is_answer)
        self._answer = self._loop.create_future()
        send(line, request)
        if request.timeout_s:
            await self._pause(request.timeout_s, self._answer)
            if self._answer.done():
                self._missed = 0
            else:
                self._missed += 1
                self._timeouts += 1
                dialogue.missed()
        self._answer = None

    async def _wait_until(self, at_s: float) -> None:
        # In parts, so that a device asked rarely is watched like any other.
        while (rest_s := at_s - self._loop.time()) > 0:
            await self._pause(min(rest_s, _WATCH_S))

    async def _pause(self, seconds: float, *others: "asyncio.Future[None]") -> None:
        waited: tuple[asyncio.Future[Any], ...] = (self._lost, *others)
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._lost.done():
            raise self._lost.result()

    def _readable(self, line: serial.Serial) -> None:
        t_ns, now_s = self._now_ns(), self._loop.time()
        try:
            data = line.read(_READ_BYTES)
        except OSError as error:  # SerialException is one: gone, or ready without a byte
            self._loop.remove_reader(line.fileno())
            if not self._lost.done():
                self._lost.set_result(error)
            return
        if not data:
            return
        self._hand_on(*self._device.feed(data, t_ns, now_s))
        self._last_s = now_s
        if self._gap is None:
            self._gap = self._loop.call_at(now_s + self._device.gap_s, self._silence)

    def _silence(self) -> None:
        now_s, due_s = self._loop.time(), self._last_s + self._device.gap_s
        if now_s < due_s:
            self._gap = self._loop.call_at(due_s, self._silence)
            return
        self._gap = None
        self._hand_on(*self._device.finish(self._now_ns(), now_s))

    def _hand_on(self, measurements: list[Measurement], messages: list[Decoded]) -> None:
        if measurements:
            self._give(measurements)
        if self._answer is None or self._dialogue is None or self._answer.done():
            return
        if any(self._dialogue.is_answer(message.fields) for message in messages):
            self._answer.set_result(None)

    def _hint(self) -> str | None:
        says = f"profile {self._settings.profile} says {self._settings.baud} baud"
        if self._device.is_garbage:
            return f"wrong baud? only garbage came; {says}"
        if self._missed >= 3:
            return f"no answer to {self._missed} requests; check address, wires and rate: {says}"
        return None

    def _tell_trouble(self, error: BaseException) -> None:
        number = error.errno if isinstance(error, OSError) else None
        self._state = _STATES.get(number or 0, "broken")
        if not self._troubled:
            self._troubled = True
            reason = _REASONS.get(self._state, str(error))
            log.warning(
                "port lost source=%s port=%s reason=%r; trying again",
                self._source,
                self.name,
                reason,
            )

    def _tell_recovery(self) -> None:
        if self._troubled:
            self._troubled = False
            log.info("port recovered source=%s port=%s", self._source, self.name)

    def _tell_garbage(self) -> None:
        if self._device.is_garbage == self._garbage_told:
            return
        self._garbage_told = self._device.is_garbage
        if self._garbage_told:
            log.warning("port garbled source=%s port=%s; %s", self._source, self.name, self._hint())
        elif self._device.good_s is not None:
            log.info("port understood source=%s port=%s", self._source, self.name)


def open_port(settings: SerialPortSettings) -> serial.Serial:
    """Open a port for one user, raw, without waiting for anything.

    Parameters
    ----------
    settings : with a rate

    Returns
    -------
    line : reads return what is there

    Raises
    ------
    OSError
        It is not there, not allowed or in use.
    termios.error
        It is no serial port.
    """
    line = serial.Serial(
        settings.path,
        settings.baud or 9600,
        bytesize=settings.data_bits,
        parity=_PARITY[settings.parity],
        stopbits=settings.stop_bits,
        timeout=0,
        exclusive=True,
    )
    fcntl.ioctl(line.fileno(), termios.TIOCEXCL)
    return line


def close_port(line: serial.Serial) -> None:
    """Close a port, also one that is gone, without waiting for what it did not send.

    Parameters
    ----------
    line : open
    """
    for undo in (
        lambda: termios.tcflush(line.fileno(), termios.TCOFLUSH),
        lambda: fcntl.ioctl(line.fileno(), termios.TIOCNXCL),
        line.close,
    ):
        try:
            undo()
        except (OSError, termios.error):
            pass  # it is gone already


def refuse_moved(line: serial.Serial, path: str) -> None:
    """Refuse a line whose path now leads nowhere or to another device.

    Parameters
    ----------
    line : open
    path : by which it was opened

    Raises
    ------
    OSError
        It was unplugged, and perhaps plugged in again as another.
    """
    there, ours = Path(path).stat(), os.fstat(line.fileno())
    if there.st_rdev != ours.st_rdev or there.st_ino != ours.st_ino:
        raise OSError(errno.ENODEV, "the path leads to another device now")


def send(line: serial.Serial, request: Request) -> None:
    """Send a request without waiting; a line that takes nothing will miss its answer.

    Parameters
    ----------
    line : open
    request : some bytes

    Raises
    ------
    OSError
        The port is gone.
    """
    try:
        os.write(line.fileno(), request.data)
    except BlockingIOError:
        termios.tcflush(line.fileno(), termios.TCOFLUSH)
