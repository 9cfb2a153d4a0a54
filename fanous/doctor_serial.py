"""Checks of the serial lines of an agent: is the port there, ours, free, and understood.

Rules of the file: a port that is free is opened for a moment and listened to; nothing is
sent. A port that the running agent holds is as it should be. Garbage is told with the
rate that the profile says, because a wrong rate looks like a broken device.
"""

import errno
import os
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanous.doctor_checks import Check, guarded, judged
from fanous.doctor_probes import is_locked
from ingest.config import ConfigError

if TYPE_CHECKING:
    from edge.sources.serial_settings import SerialPortSettings
    from firmware_profiles.compile import Profile

LISTEN_S = 1.5
_READ_BYTES = 4096
_BUSY = {errno.EBUSY, errno.EAGAIN}


def check_serial(
    tables: Sequence[Mapping[str, Any]], *, base: Path, state_dir: Path, listen_s: float = LISTEN_S
) -> Iterator[Check]:
    """Check every port of the sources of kind serial.

    Parameters
    ----------
    tables : the ``[[source]]`` tables of kind serial; a wrong one is the check of others
    base : the folder that relative paths are relative to
    state_dir : of the agent; its lock tells whether it runs
    listen_s : [s] how long a free port is listened to

    Yields
    ------
    check : of one port
    """
    from edge.sources.serial_settings import read_serial
    from firmware_profiles.registry import load_registry

    profiles = load_registry().profiles
    for table in tables:
        rest = {key: value for key, value in table.items() if key != "kind"}
        try:
            settings = read_serial(rest, subject="[[source]]", base=base, profiles=profiles)
        except ConfigError:
            continue
        for port in settings.port:
            yield _port(port, profiles[port.profile], state_dir / "lock", listen_s)


def _port(port: "SerialPortSettings", profile: "Profile", lock: Path, listen_s: float) -> Check:
    name, path = f"port {port.label}", Path(port.path)
    expected = f"a {profile.id} at {port.baud} baud"
    if not path.exists():
        return judged(
            name=name,
            ok=False,
            found=f"{path} is not there",
            expected=expected,
            remedy="plug it in; what is there is listed by: ls -l /dev/serial/by-id",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return judged(
            name=name,
            ok=False,
            found=f"no permission to open {path}",
            expected=expected,
            remedy="let this user in: usermod -a -G dialout $(id -un), then log in again",
        )
    return guarded(
        name,
        expected,
        f"end what uses it (fuser -v {path}), set the device to {port.baud} baud, 8N1 unless "
        "the table says otherwise, or choose the profile of this device",
        lambda: _listened(port, profile, lock, listen_s),
    )


def _listened(port: "SerialPortSettings", profile: "Profile", lock: Path, listen_s: float) -> str:
    from edge.sources.serial_device import SerialDevice
    from edge.sources.serial_port import close_port, open_port

    try:
        line = open_port(port)
    except OSError as error:
        if error.errno in _BUSY:
            if is_locked(lock):
                return "in use by the agent of this state_dir, which is running"
            raise ValueError(f"{port.path} is in use by another program") from error
        raise
    try:
        device = SerialDevice(port, profile, garbage_s=0.0)
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
