"""What speaks on serial ports: listened to at the profiles' rates, nothing is sent.

Rules of the file: a port is named by what stays the same (``/dev/serial/by-id``) where it
has such a name. Every profile hears at the rates it knows; the best has the most good
messages for each that was not. Text in 7 bits with even parity is recognised by its
parity bits. Devices that only answer are silent here, and said to be so.
"""

import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.check_serial import BY_ID, open_or_fault, stable_names
from edge.findings import Fault
from edge.sources.serial_settings import SerialPortSettings
from firmware_profiles.compile import Profile
from firmware_profiles.decoded import Rejected

RATES_MOST = 8
_GOOD_ENOUGH = 5
_READ_BYTES = 4096
_BYTES_MOST = 1 << 20
_PORTS_AT_ONCE = 8
_LOOK_S = 0.25
_USUAL = (9600, 115200, 2400, 4800, 19200, 38400, 57600, 256000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """How well a profile understood a port."""

    profile: str
    baud: int
    good: int
    bad: int
    data_bits: int = 8
    parity: str = "none"

    @property
    def score(self) -> float:
        """The share of good messages, 0 to 1."""
        return self.good / (self.good + self.bad)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was found out about one port."""

    path: str
    bytes: int = 0
    understood: tuple[Understood, ...] = ()
    trouble: str | None = None

    @property
    def best(self) -> Understood | None:
        """Who understood it best."""
        return self.understood[0] if self.understood else None


def find_ports(listed: Path = BY_ID) -> list[Path]:
    """Return the serial ports of this machine that have hardware, by stable names.

    Parameters
    ----------
    listed : where Linux lists them by stable names
    """
    from serial.tools.list_ports import comports

    named = {link.resolve(): link for link in stable_names(listed)}
    devices = [Path(port.device) for port in comports()]
    found = [named.get(device.resolve(), device) for device in devices]
    return sorted({*found, *named.values()})


def listen_ports(
    paths: Iterable[Path],
    profiles: Mapping[str, Profile],
    *,
    seconds: float,
    tell: Callable[[float], None] = lambda _passed_s: None,
) -> list[Heard]:
    """Listen to ports at the same time.

    Parameters
    ----------
    paths : of the ports
    profiles : of the registry, by name
    seconds : [s] for each, shared by its rates
    tell : called now and then with the seconds that have passed

    Returns
    -------
    heard : in the order of the paths
    """
    streams = {name: p for name, p in profiles.items() if p.is_stream and _rates([p])}
    stop, began_s = threading.Event(), time.monotonic()
    with ThreadPoolExecutor(_PORTS_AT_ONCE, thread_name_prefix="discover") as pool:
        try:
            waiting = [pool.submit(_listen, path, streams, seconds, stop) for path in paths]
            while wait(waiting, timeout=_LOOK_S).not_done:
                tell(time.monotonic() - began_s)
            return [one.result() for one in waiting]
        finally:
            stop.set()  # who interrupts does not wait for the rest


def source_tables(heard: Iterable[Heard], profiles: Mapping[str, Profile]) -> list[str]:
    """Return the ``[[source]]`` of the ports that were understood, as lines of TOML.

    Parameters
    ----------
    heard : of `listen_ports`
    profiles : of the registry, by name
    """
    lines: list[str] = []
    numbers: Counter[str] = Counter()
    for port in heard:
        best = port.best
        if best is None:
            continue
        profile = profiles[best.profile]
        emits = {emit["kind"] for emit in profile.table.get("emit", ())}
        key, stem = ("tap_point", "gate") if "tap" in emits else ("sensor", "plate")
        numbers[stem] += 1
        lines += ["[[source.port]]", f'path = "{_quoted(port.path)}"', f'profile = "{profile.id}"']
        rates = _rates([profile])
        if rates and rates[0] != best.baud:
            lines.append(f"baud = {best.baud}")
        if best.data_bits != 8:
            lines += [f"data_bits = {best.data_bits}", f'parity = "{best.parity}"']
        lines.append(f'{key} = "{stem}-{numbers[stem]}"')
        if "calibration" in profile.table:
            lines.append("counts_per_g = 1.0  # find it with: fanous edge calibrate")
    return ["[[source]]", 'kind = "serial"', *lines] if lines else []


def as_dict(heard: Heard) -> dict[str, Any]:
    """Return what was found out about a port, for programs.

    Parameters
    ----------
    heard : of `listen_ports`
    """
    return {
        "path": heard.path,
        "bytes": heard.bytes,
        "trouble": heard.trouble,
        "understood": [{**asdict(one), "score": round(one.score, 3)} for one in heard.understood],
    }


def as_line(heard: Heard) -> str:
    """Return what was found out about a port as one sentence.

    Parameters
    ----------
    heard : of `listen_ports`
    """
    if heard.trouble is not None:
        return f"{heard.path}: {heard.trouble}"
    if heard.best is None:
        if not heard.bytes:
            return (
                f"{heard.path}: silent; a device that only answers (Modbus, PN532, a scale that "
                "is asked) says nothing by itself"
            )
        return f"{heard.path}: {heard.bytes} bytes that no profile understands"
    said = ", ".join(
        f"{one.profile} at {one.baud} baud"
        + (f" {one.data_bits} bits, parity {one.parity}" if one.data_bits != 8 else "")
        + f" ({one.good} good, {one.bad} not)"
        for one in heard.understood
    )
    return f"{heard.path}: {said}"


def _listen(
    path: Path, profiles: Mapping[str, Profile], seconds: float, stop: threading.Event
) -> Heard:
    from edge.sources.serial_port import close_port

    rates = _rates(profiles.values())[:RATES_MOST]
    port = SerialPortSettings(path=str(path), profile="", baud=rates[0])
    try:
        line = open_or_fault(port)
    except Fault as fault:
        return Heard(path=str(path), trouble=f"{fault.found}; {fault.remedy}")
    except OSError as error:
        return Heard(path=str(path), trouble=f"cannot be opened ({error.strerror or error})")
    count, found = 0, []
    try:
        for rate in rates:
            line.baudrate = rate
            line.reset_input_buffer()
            data = _read(line, seconds / len(rates), stop)
            count += len(data)
            found += _judge(data, rate, profiles)
            if any(one.good >= _GOOD_ENOUGH and one.score == 1 for one in found):
                break
    except OSError:
        return Heard(path=str(path), bytes=count, trouble="was unplugged while it was listened to")
    finally:
        close_port(line)
    found.sort(key=lambda one: (-one.score, -one.good, one.profile))
    best: dict[str, Understood] = {}
    for one in found:
        best.setdefault(one.profile, one)
    return Heard(path=str(path), bytes=count, understood=tuple(best.values())[:3])


def _read(line: Any, seconds: float, stop: threading.Event) -> bytes:  # noqa: ANN401 - a serial.Serial
    data = b""
    until_s = time.monotonic() + seconds
    while (rest_s := until_s - time.monotonic()) > 0 and len(data) < _BYTES_MOST:
        if stop.is_set():
            break
        if select.select([line.fileno()], [], [], min(rest_s, _LOOK_S))[0]:
            data += line.read(_READ_BYTES)
    return data


def _judge(data: bytes, rate: int, profiles: Mapping[str, Profile]) -> list[Understood]:
    """Let every profile that knows this rate read the bytes."""
    found = []
    is_seven = any(byte & 0x80 for byte in data) and all(byte.bit_count() % 2 == 0 for byte in data)
    plain = bytes(byte & 0x7F for byte in data) if is_seven else data
    for name, profile in profiles.items():
        if rate not in profile.table["profile"].get("baud", ()):
            continue
        is_text = bool(profile.line_length_max)
        heard = plain if is_text else data
        stream = profile.stream({})
        messages = [*stream.feed(heard), *stream.finish()]
        good = sum(not isinstance(message, Rejected) for message in messages)
        # What is cut off where listening began and ended is nobody's fault.
        bad = max(len(messages) - good - 2, 0)
        if good and good > bad:
            shape = {"data_bits": 7, "parity": "even"} if is_seven and is_text else {}
            found.append(Understood(profile=name, baud=rate, good=good, bad=bad, **shape))  # type: ignore[arg-type]
    return found


def _rates(profiles: Iterable[Profile]) -> list[int]:
    """Return the rates of profiles: the usual ones, then those that most know."""
    counts = Counter(rate for p in profiles for rate in p.table["profile"].get("baud", ()))
    if len(counts) and max(counts.values()) == 1:
        return list(counts)  # of one profile: in its own order
    return sorted(
        counts, key=lambda rate: (_USUAL.index(rate) if rate in _USUAL else 99, -counts[rate])
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
