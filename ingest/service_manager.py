"""Telling systemd how a service is: ready, alive, stopping.

Rules of the file: the protocol of sd_notify(3): one datagram to the socket that the
environment names; without one nothing happens, and a manager that does not listen
changes nothing for the service.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping


class ServiceManager:
    """The other end of ``NOTIFY_SOCKET``.

    Parameters
    ----------
    environment : as the process got it
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "") if is_ours else ""
        self.alive_every_s = int(microseconds) / 2e6 if microseconds.isdigit() else None

    def ready(self) -> None:
        """Say that the service has started."""
        self._say("READY=1")

    def stopping(self) -> None:
        """Say that the service has begun to stop."""
        self._say("STOPPING=1")

    def alive(self) -> None:
        """Say that the service works; expected every `alive_every_s` where that is not None."""
        self._say("WATCHDOG=1")

    async def keep_alive(
        self, sleep: Callable[[float], Awaitable[bool]], progress: Callable[[], object]
    ) -> None:
        """Say that the service works for as long as it makes progress; else systemd restarts it.

        Parameters
        ----------
        sleep : waits some seconds and says whether to stop
        progress : returns something else each time while the work goes on
        """
        seen: object = None
        while self.alive_every_s is not None and not await sleep(self.alive_every_s):
            now = progress()
            if now != seen:
                self.alive()
            seen = now

    def status(self, sentence: str) -> None:
        """Say what the service is doing, for ``systemctl status``.

        Parameters
        ----------
        sentence : one line
        """
        self._say(f"STATUS={sentence}")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(message.encode(), address)
        except OSError:
            return
