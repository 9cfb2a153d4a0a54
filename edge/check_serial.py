"""Checks of the serial lines of an agent: is the port there, ours, free, and understood.

Rules of the file: a port that is free is opened for a moment and listened to; nothing is
sent. A port that the running agent holds is as it should be. Garbage is told with the
rate that the profile says, because a wrong rate looks like a broken device.
"""

import errno
import grp
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.check_host import is_locked
from edge.findings import Check, Fault, guarded
from ingest.config import ConfigError

if TYPE_CHECKING:
    import serial

    from edge.sources.serial_settings import SerialPortSettings
    from firmware_profiles.compile import Profile

LISTEN_S = 1.5
BY_ID = Path("/dev/serial/by-id")
_READ_BYTES = 4096
_LISTED_MOST = 6
_BUSY = {errno.EBUSY, errno.EAGAIN}
_DENIED = {errno.EACCES, errno.EPERM}


def serial_ports_of(
    tables: Sequence[Mapping[str, Any]], *, base: Path, profiles: Mapping[str, "Profile"]
) -> Iterator["SerialPortSettings"]:
    """Return the ports of the sources of kind serial; a wrong table has none.

    Parameters
    ----------
    tables : the ``[[source]]`` tables of a configuration
    base : the folder that relative paths are relative to
    profiles : of the registry, by name

    Yields
    ------
    port : checked, with an absolute path and a rate
    """
    from edge.sources.serial_settings import read_serial

    for table in tables:
        if table.get("kind") != "serial":
            continue
        rest = {key: value for key, value in table.items() if key != "kind"}
        try:
            yield from read_serial(rest, subject="[[source]]", base=base, profiles=profiles).port
        except ConfigError:
            continue


def check_port(
    port: "SerialPortSettings",
    profile: "Profile",
    *,
    state_dir: Path,
    listen_s: float = LISTEN_S,
    listed: Path = BY_ID,
) -> Check:
    """Check one port.

    Parameters
    ----------
    port : with an absolute path and a rate
    profile : of the device
    state_dir : of the agent; its lock tells whether it runs
    listen_s : [s] how long a free port is listened to
    listed : where Linux lists serial ports by stable names
    """
    rate = (
        f"set the device to {port.baud} baud, 8N1 unless the table says otherwise, or choose the "
        "profile of this device: fanous edge discover --ports"
    )
    return guarded(
        f"port {port.label}",
        f"a {profile.id} at {port.baud} baud",
        rate,
        lambda: _listened(port, profile, state_dir / "lock", listen_s, listed),
        seconds=listen_s + 5.0,
    )


def open_or_fault(
    port: "SerialPortSettings", *, lock: Path | None = None, listed: Path = BY_ID
) -> "serial.Serial":
    """Open a port, or say what is in the way and what to do about it.

    Parameters
    ----------
    port : with an absolute path and a rate
    lock : of the agent that may use it
    listed : where Linux lists serial ports by stable names

    Raises
    ------
    Fault
        It is not there, not allowed, in use, or no serial port.
    """
    import termios

    from edge.sources.serial_port import open_port

    path = Path(port.path)
    if not path.exists():
        there = stable_names(listed)
        shown = ", ".join(map(str, there[:_LISTED_MOST])) or f"nothing in {listed}"
        raise Fault(f"{path} is not there", f"plug it in, or correct the path; there is {shown}")
    try:
        return open_port(port)
    except termios.error as error:
        raise Fault(f"{path} is no serial port", "correct the path") from error
    except OSError as error:
        if error.errno in _DENIED:
            raise Fault(
                f"no permission to open {path}",
                f"let this user in: usermod -a -G {_group(path)} $(id -un), then log in again",
            ) from error
        if error.errno in _BUSY:
            if lock is not None and is_locked(lock):
                raise Fault(
                    f"{path} is in use by the agent of this state_dir, which is running",
                    "stop it for a while: systemctl stop fanous-edge",
                ) from error
            raise Fault(
                f"{path} is in use by another program",
                f"end what uses it: fuser -v {path}",
            ) from error
        if error.errno is None or error.errno == errno.ENOTTY:
            raise Fault(f"{path} is no serial port", "correct the path") from error
        raise


def stable_names(listed: Path = BY_ID) -> list[Path]:
    """Return the serial ports by their stable names.

    Parameters
    ----------
    listed : where Linux lists them
    """
    try:
        return sorted(listed.iterdir())
    except OSError:
        return []


def _listened(
    port: "SerialPortSettings", profile: "Profile", lock: Path, listen_s: float, listed: Path
) -> str:
    from edge.keys import read_keys
    from edge.sources.serial_device import SerialDevice
    from edge.sources.serial_port import close_port

    keys = None if port.keys_file is None else read_keys(Path(port.keys_file))
    try:
        line = open_or_fault(port, lock=lock, listed=listed)
    except Fault as fault:
        # To be used by the agent of this very configuration is what it is there for.
        if "which is running" in fault.found:
            return fault.found
        raise
    try:
        device = SerialDevice(port, profile, garbage_s=0.0, keys=keys)
        until_s = time.monotonic() + listen_s
        while (rest_s := until_s - time.monotonic()) > 0 and not device.counts["frames"]:
            if select.select([line.fileno()], [], [], rest_s)[0]:
                device.feed(line.read(_READ_BYTES), 0, time.monotonic())
        device.finish(0, time.monotonic())
        device.watch(time.monotonic())
    finally:
        close_port(line)
    if device.is_garbage:
        raise ValueError(
            f"{device.counts['bytes']} bytes and not one good frame: wrong baud? "
            f"profile {profile.id} says {port.baud}"
        )
    heard = "understood" if device.counts["frames"] else f"silent for {listen_s:g} s"
    return f"{port.path} opened and {heard}"


def _group(path: Path) -> str:
    try:
        name = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
    # A port of root alone is let out by udev's rules, and the usual group is this.
    return "dialout" if name == "root" else name
