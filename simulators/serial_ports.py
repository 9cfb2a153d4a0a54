"""Serial devices on pseudo-terminals: ports with stable names that speak like the hardware.

Rules of the file: bytes are written by the device's own profile, so what reads them is
tested against the same data. A port behaves as a cable does: what is sent while nobody
listens is lost, unplugging hangs up the reader and takes the name away. One thread serves
the devices that only answer (Modbus, PN532); it ends with the ports.
"""

import errno
import os
import pty
import select
import threading
import tty
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from firmware_profiles.registry import Registry, load_registry

_READ_BYTES = 4096
_SERVE_S = 0.002
MODBUS, PN532 = "modbus_rtu_load_cell", "pn532_hsu"


class PseudoPort:
    """A pseudo-terminal under a name of its own, like one in ``/dev/serial/by-id``.

    Parameters
    ----------
    link : the name; made as a symbolic link
    """

    def __init__(self, link: Path) -> None:
        self.link = link
        self.lost_bytes = 0
        self._master: int | None = None
        self.plug()

    def plug(self) -> None:
        """Plug in: a new terminal under the old name, raw as a serial line is."""
        self.unplug()
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        name = os.ttyname(slave)
        os.close(slave)
        self._master = master
        self.link.parent.mkdir(parents=True, exist_ok=True)
        self.link.symlink_to(name)

    def unplug(self) -> None:
        """Unplug: the name goes, and who reads is hung up on."""
        self.link.unlink(missing_ok=True)
        if self._master is not None:
            os.close(self._master)
            self._master = None

    def send(self, data: bytes) -> bool:
        """Send bytes.

        Parameters
        ----------
        data : any

        Returns
        -------
        heard : false when it is unplugged or the line is full; what did not pass is lost, and
            so is, as on a real line, what came before somebody opened the port
        """
        sent = 0
        if self._master is not None:
            try:
                sent = os.write(self._master, data)
            except OSError as error:
                if error.errno not in {errno.EIO, errno.EAGAIN}:
                    raise
        self.lost_bytes += len(data) - sent
        return sent == len(data)

    @property
    def is_open(self) -> bool:
        """Whether somebody has the port open."""
        if self._master is None:
            return False
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def receive(self) -> bytes:
        """Return what was sent to the device, without waiting."""
        if self._master is None:
            return b""
        try:
            return os.read(self._master, _READ_BYTES)
        except OSError as error:
            if error.errno not in {errno.EIO, errno.EAGAIN}:
                raise
            return b""


class Answering(Protocol):
    """A device that only answers."""

    def answer(self, data: bytes) -> bytes:
        """Return what it answers to these bytes."""


class ModbusBus:
    """Units on one line, each with registers; a unit that is not in the table is silent.

    Parameters
    ----------
    registry : writes and reads the frames
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.registers: dict[tuple[int, int], int] = {}

    def put(self, unit: int, address: int, value: int, *, words: int = 2) -> None:
        """Set a signed value, most significant word first.

        Parameters
        ----------
        unit : its address on the line
        address : of its first register
        value : in counts
        words : registers that hold it
        """
        data = value.to_bytes(2 * words, signed=True)
        for word in range(words):
            self.registers[unit, address + word] = int.from_bytes(data[2 * word : 2 * word + 2])

    def answer(self, data: bytes) -> bytes:
        """Return the answers to the requests among these bytes."""
        stream = self._registry.stream(MODBUS)
        out = b""
        for found in (*stream.feed(data), *stream.finish()):
            fields = getattr(found, "fields", {})
            if fields.get("kind") != "request":
                continue
            unit, first, count = fields["unit"], fields["address"], fields["count"]
            places = [(unit, address) for address in range(first, first + count)]
            if all(place in self.registers for place in places):
                registers = [self.registers[place] for place in places]
                head = {"unit": unit, "function": fields["function"]}
                out += self._registry.encode(MODBUS, {**head, "registers": registers})
        return out


class Pn532Reader:
    """A PN532 that answers to set-up and to the question for a card.

    Parameters
    ----------
    registry : writes and reads the frames
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._stream = registry.stream(PN532)
        self.uid_hex: str | None = None
        self.commands: list[int] = []

    def answer(self, data: bytes) -> bytes:
        """Return acknowledgements and responses to the commands among these bytes."""
        out = b""
        for found in self._stream.feed(data):
            fields = getattr(found, "fields", {})
            if fields.get("type") != "command":
                continue
            self.commands = [*self.commands[-99:], fields["code"]]
            out += self._registry.encode(PN532, {"type": "ack"})
            out += self._registry.encode(PN532, self._response(fields["code"]))
        return out

    def _response(self, code: int) -> Mapping[str, Any]:
        if code == 0x4A and self.uid_hex is not None:
            return {"uid_hex": self.uid_hex}
        payload = "00" if code == 0x4A else ""
        return {"type": "response", "code": code + 1, "payload_hex": payload}


class SerialPorts:
    """The ports of a simulated shop, in one folder.

    Parameters
    ----------
    folder : where the names are
    registry : None = the profiles of the program
    """

    def __init__(self, folder: Path, registry: Registry | None = None) -> None:
        self.registry = registry or load_registry()
        self._folder = folder
        self._ports: dict[str, PseudoPort] = {}
        self._answering: dict[str, Answering] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Return the ports."""
        return self

    def __exit__(self, *_details: object) -> None:
        """End them."""
        self.close()

    def open(self, name: str, device: Answering | None = None) -> PseudoPort:
        """Return a new port.

        Parameters
        ----------
        name : in the folder
        device : what answers on it, if it only answers

        Returns
        -------
        port : plugged in
        """
        with self._lock:
            port = self._ports[name] = PseudoPort(self._folder / name)
            if device is not None:
                self._answering[name] = device
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._serve, name="serial-ports", daemon=True
                    )
                    self._thread.start()
        return port

    def tap(self, name: str, profile: str, tag: str) -> bool:
        """Hold a card to a reader once.

        Parameters
        ----------
        name : of the port
        profile : rdm6300 or keyboard_wedge
        tag : em4100:…, nfc:… or wiegand:…

        Returns
        -------
        heard : as `PseudoPort.send`
        """
        return self._ports[name].send(self.registry.encode(profile, TAPS[profile](tag)))

    def weigh(self, name: str, profile: str, value: float, **more: float) -> bool:
        """Send one value of a scale in grams or of a range sensor in millimetres.

        Parameters
        ----------
        name : of the port
        profile : a key of `SAMPLES`
        value : [g] or [mm]
        more : `channel` and `counts_per_g` of a bridge

        Returns
        -------
        heard : as `PseudoPort.send`
        """
        fields = SAMPLES[profile](value, **more)
        return self._ports[name].send(self.registry.encode(profile, fields))

    def close(self) -> None:
        """Unplug everything and end the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for port in self._ports.values():
            port.unplug()

    def _serve(self) -> None:
        while not self._stop.wait(_SERVE_S):
            with self._lock:
                pairs = [(self._ports[name], device) for name, device in self._answering.items()]
            for port, device in pairs:
                try:
                    data = port.receive()
                    answer = device.answer(data) if data else b""
                    if answer:
                        port.send(answer)
                except OSError:  # unplugged between two lines
                    continue


def _em4100(tag: str) -> dict[str, Any]:
    digits = tag.removeprefix("em4100:")
    data = bytes.fromhex(digits)
    return {
        "tag_hex": digits,
        "version": data[0],
        "card_number": int.from_bytes(data[1:]),
        "wiegand_facility": data[2],
        "wiegand_card": int.from_bytes(data[3:]),
    }


def _typed(tag: str) -> dict[str, Any]:
    scheme, _, value = tag.partition(":")
    if scheme == "wiegand":
        return {"tag_format": "dec10", "card_number": int(value)}
    return {"tag_format": f"hex{len(value)}", "tag_hex": value}


def _bridge(mass_g: float, *, channel: float = 0, counts_per_g: float = 1.0) -> dict[str, Any]:
    return {"channel": int(channel), "raw_counts": round(mass_g * counts_per_g)}


TAPS: dict[str, Callable[[str], dict[str, Any]]] = {"rdm6300": _em4100, "keyboard_wedge": _typed}
SAMPLES: dict[str, Callable[..., dict[str, Any]]] = {
    "mt_sics": lambda mass_g: {"stable": True, "mass_g": mass_g},
    "aandd": lambda mass_g: {"stable": True, "mass_g": mass_g},
    "st_gs_ascii": lambda mass_g: {"stable": True, "net": False, "mass_kg": mass_g / 1000},
    "hx711_bridge": _bridge,
    "tfmini_s": lambda range_mm: {
        "distance_mm": round(range_mm, -1),
        "strength": 1200,
        "chip_temperature_c": 31.5,
        "valid": True,
    },
    "gy53_vl53l0x": lambda range_mm: {"distance_mm": round(range_mm), "mode": 2},
}
