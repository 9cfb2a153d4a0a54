"""What is said to devices that do not speak by themselves: Modbus, PN532, asked scales.

Rules of the file: no input or output; a dialogue says what to send when, and knows an
answer when it sees one. Requests are written by the device's own profile. Sources: Modbus
over serial line V1.02, section 2.5.1 (silence of 3.5 characters, 1.75 ms above 19200
baud); NXP UM0701-02, sections 7.2.10 (SAM), 7.3.1 (RF configuration) and 7.3.5 (targets);
MT-SICS reference manual, commands S, SI and SIR.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from edge.sources.serial_settings import PollSettings, SerialPortSettings, decoder_of
from firmware_profiles.compile import Profile
from firmware_profiles.decoded import Fields
from firmware_profiles.writing import write_message

_MODBUS_MS, _PN532_MS = 100, 25  # a card is a tap within 60 ms
_MISSES_MAX = 3
_ABSENT_S = 1.0  # a unit that does not answer is asked so often, and does not slow the rest
_ASK_AGAIN_S = 5.0
_CHARACTER_BITS = 11
_WAKE = b"\x55\x55" + bytes(14)
_SAM, _RF, _TARGETS = 0x14, 0x32, 0x4A
_PN532_SET_UP = ((_SAM, "011401"), (_RF, "05ff0102"))
"""Normal mode, time-out 1 s, with IRQ; two tries to find a card, then "no target"."""


class Request(NamedTuple):
    """Something to send: not before `at_s`, then wait `timeout_s` for an answer (0 = none)."""

    at_s: float
    data: bytes
    timeout_s: float = 0.0
    target: int | None = None


class Dialogue(Protocol):
    """What one port says to its device."""

    def begin(self, now_s: float) -> None:
        """Begin with a port that was opened."""

    def next_request(self, now_s: float, *, frames: int) -> Request:
        """Return what to send next, given how many good frames there were."""

    def is_answer(self, fields: Fields) -> bool:
        """Tell whether this answers the last request."""

    def missed(self) -> None:
        """Take note that the last request had no answer in time."""


def dialogue_of(port: SerialPortSettings, profile: Profile) -> Dialogue | None:
    """Return what is said to a port's device.

    Parameters
    ----------
    port : checked
    profile : of the device

    Returns
    -------
    dialogue : None for a device that speaks by itself
    """
    decoder = decoder_of(profile)
    if decoder == "modbus":
        return ModbusDialogue(port, profile)
    if decoder == "pn532":
        return Pn532Dialogue(port, profile)
    return None if port.ask is None else AskDialogue(port.ask, port.ask_every_ms / 1000)


class ModbusDialogue:
    """Asks each of the port's registers in turn, all of them each `poll_ms`.

    Parameters
    ----------
    port : with ``poll``
    profile : writes the requests
    """

    def __init__(self, port: SerialPortSettings, profile: Profile) -> None:
        self._polls = port.poll
        self._requests = [write_message(profile, _registers(poll)) for poll in port.poll]
        self._interval_s = port.interval_s(_MODBUS_MS)
        self._timeout_s = port.timeout_ms / 1000
        characters_s = 3.5 * _CHARACTER_BITS / (port.baud or 9600)
        self._silence_s = max(characters_s, 0.00175)
        self._misses = [0] * len(port.poll)
        self._due_s = [0.0] * len(port.poll)
        self._last = -1

    def begin(self, now_s: float) -> None:
        """Ask everything again at once."""
        self._due_s = [now_s] * len(self._polls)

    def next_request(self, now_s: float, *, frames: int) -> Request:
        """Return the request that is due first."""
        del frames
        target = min(range(len(self._polls)), key=lambda index: (self._due_s[index], index))
        at_s = max(self._due_s[target], now_s + self._silence_s)
        is_absent = self._misses[target] >= _MISSES_MAX
        rest_s = max(self._interval_s, _ABSENT_S) if is_absent else self._interval_s
        # On time again after a stall, without making up for what was missed.
        self._due_s[target] = max(self._due_s[target] + rest_s, at_s)
        self._last = target
        return Request(at_s, self._requests[target], self._timeout_s, target)

    def is_answer(self, fields: Fields) -> bool:
        """Tell whether unit, function and length are what was asked for."""
        poll = self._polls[self._last]
        if fields.get("kind") == "request" or fields["unit"] != poll.unit:
            return False
        if fields["function"] & 0x7F != poll.function:
            return False
        if "exception" not in fields and len(fields["registers"]) != poll.count:
            return False
        self._misses[self._last] = 0
        return True

    def missed(self) -> None:
        """Ask this one less often when it stays silent."""
        self._misses[self._last] += 1


class Pn532Dialogue:
    """Wakes the reader, sets it up, and asks for a card each `poll_ms`.

    Parameters
    ----------
    port : its times
    profile : writes the requests
    """

    def __init__(self, port: SerialPortSettings, profile: Profile) -> None:
        self._write: Callable[[Mapping[str, Any]], bytes] = lambda fields: write_message(
            profile, fields
        )
        self._interval_s = port.interval_s(_PN532_MS)
        self._timeout_s = port.timeout_ms / 1000
        self._step = 0
        self._code = 0
        self._misses = 0
        self._due_s = 0.0

    def begin(self, now_s: float) -> None:
        """Wake and set up again."""
        self._step, self._misses, self._due_s = 0, 0, now_s

    def next_request(self, now_s: float, *, frames: int) -> Request:
        """Return a command of the set-up, then always the question for a card."""
        del frames
        is_set_up = self._step >= len(_PN532_SET_UP)
        code, payload = (_TARGETS, "0100") if is_set_up else _PN532_SET_UP[self._step]
        command = self._write({"type": "command", "code": code, "payload_hex": payload})
        self._code = code
        at_s = max(self._due_s, now_s)
        self._due_s = at_s + (self._interval_s if is_set_up else 0.0)
        return Request(at_s, (_WAKE if self._step == 0 else b"") + command, self._timeout_s)

    def is_answer(self, fields: Fields) -> bool:
        """Tell whether this is the response to the last command."""
        if fields["type"] != "response" or fields["code"] != self._code + 1:
            return False
        self._misses = 0
        self._step = min(self._step + 1, len(_PN532_SET_UP))
        return True

    def missed(self) -> None:
        """Wake and set up again when it stays silent: it may have lost its power."""
        self._misses += 1
        if self._misses >= _MISSES_MAX or self._step < len(_PN532_SET_UP):
            self._step = 0


class AskDialogue:
    """Sends a text: regularly, or at the start and again when nothing comes.

    Parameters
    ----------
    text : with its line end
    every_s : [s] 0 = only at the start, and when nothing came for a while
    """

    def __init__(self, text: str, every_s: float) -> None:
        self._data = text.encode("ascii")
        self._every_s = every_s
        self._due_s = 0.0
        self._frames = -1

    def begin(self, now_s: float) -> None:
        """Ask at once."""
        self._due_s, self._frames = now_s, -1

    def next_request(self, now_s: float, *, frames: int) -> Request:
        """Return the text, or nothing while the device speaks."""
        is_speaking = not self._every_s and frames != self._frames and self._frames >= 0
        self._frames = frames
        at_s = max(self._due_s, now_s)
        self._due_s = at_s + (self._every_s or _ASK_AGAIN_S)
        return Request(at_s, b"" if is_speaking else self._data)

    def is_answer(self, fields: Fields) -> bool:
        """Nothing is waited for."""
        del fields
        return False

    def missed(self) -> None:
        """Nothing is waited for."""


def _registers(poll: PollSettings) -> dict[str, int]:
    return {
        "unit": poll.unit,
        "function": poll.function,
        "address": poll.address,
        "count": poll.count,
    }
