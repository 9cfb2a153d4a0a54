"""A D-Bus of our own: dbus-daemon on a socket in a folder of its own, ended by its pid.

Rules of the file: nothing of the machine's own buses is touched. A program that is told
`address` by ``DBUS_SYSTEM_BUS_ADDRESS`` takes this one for the system's bus.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <keep_umask/>
  <listen>{address}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="false"/>
    <allow receive_sender="*" eavesdrop="false"/>
  </policy>
</busconfig>
"""
_END_S = 5.0


def find_daemon() -> str | None:
    """Return the path of dbus-daemon, None when the machine has none."""
    return shutil.which("dbus-daemon") or shutil.which("dbus-daemon", path="/usr/bin")


def open_bus(say: Callable[[str], None], *, instead: str) -> "PrivateBus | None":
    """Start a private D-Bus, or say why there is none.

    Parameters
    ----------
    say : told the reason
    instead : what is done then

    Returns
    -------
    bus : None = there is none
    """
    if find_daemon() is None:
        say(f"no dbus-daemon on this machine (apt-get install dbus): {instead}")
        return None
    if find_spec("dbus_fast") is None or find_spec("bleak") is None:
        say(f"bleak or dbus-fast is not installed (fanous[edge]): {instead}")
        return None
    try:
        return PrivateBus()
    except ConnectionError:
        say(f"dbus-daemon does not start: {instead}")
        return None


class PrivateBus:
    """A bus for as long as a ``with`` block lasts.

    Raises
    ------
    FileNotFoundError
        There is no dbus-daemon on this machine.
    ConnectionError
        dbus-daemon did not start.
    """

    def __init__(self) -> None:
        program = find_daemon()
        if program is None:
            raise FileNotFoundError("dbus-daemon: expected it to be installed, found none")
        # A folder of its own: a unix socket's path may have 107 characters only.
        self._folder = Path(tempfile.mkdtemp(prefix="fanous-bus-"))
        self.address = f"unix:path={self._folder / 'bus'}"
        config = self._folder / "bus.conf"
        config.write_text(_CONFIG.format(address=self.address), encoding="utf-8")
        # It prints its address when it listens: reading the line is waiting for that.
        self._process = subprocess.Popen(  # noqa: S603 - a program of the system, no shell
            [program, f"--config-file={config}", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DBUS_VERBOSE": "0"},
        )
        if self._process.stdout is None or not self._process.stdout.readline():
            self.end()
            raise ConnectionError("dbus-daemon: expected it to listen, it ended by itself")

    def end(self) -> None:
        """End the daemon and remove its folder; may be called again."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the daemon."""
        self.end()
