"""A source of serial lines: card readers, scales, range sensors, on ports by stable name.

Rules of the file: one task for each port, one queue for all. The queue has a size: when
it is full, a new sample is turned away and counted, a tap is still taken into a reserve
of a tenth. Ports fail and recover on their own, the source never ends. The name is not
``serial``, which is the package that opens the ports.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge.measurement import Emit, Measurement, Tap
from edge.sources.serial_device import SerialDevice
from edge.sources.serial_poll import dialogue_of
from edge.sources.serial_port import SerialPort
from edge.sources.serial_settings import SerialSettings, read_serial
from firmware_profiles.compile import Profile
from firmware_profiles.registry import load_registry

_CHUNK = 1024


class SerialSource:
    """Reads all ports of one ``[[source]]``.

    Parameters
    ----------
    settings : checked by `read_serial`: absolute paths, a rate for each port
    profiles : of the registry, by name
    now_ns : [ns] the agent's clock
    """

    def __init__(
        self,
        settings: SerialSettings,
        *,
        profiles: Mapping[str, Profile],
        now_ns: Callable[[], int],
    ) -> None:
        self.name = settings.name
        self.dropped: Counter[str] = Counter()
        self._queue: deque[Measurement] = deque()
        self._queue_max = settings.queue_max
        self._some = asyncio.Event()
        self._ports = []
        for port in settings.port:
            profile = profiles[port.profile]
            device = SerialDevice(port, profile, garbage_s=settings.garbage_s)
            self._ports.append(
                SerialPort(
                    self.name,
                    port,
                    device,
                    dialogue_of(port, profile),
                    now_ns=now_ns,
                    give=self._put,
                )
            )

    @classmethod
    def from_table(
        cls, table: Mapping[str, Any], *, subject: str, base: Path, now_ns: Callable[[], int]
    ) -> "SerialSource":
        """Make the source from its table; no port is touched.

        Parameters
        ----------
        table : as `SerialSettings`
        subject : which table, for messages
        base : the folder that relative paths are relative to
        now_ns : [ns] the agent's clock

        Returns
        -------
        source : not yet running

        Raises
        ------
        ConfigError
            A key is wrong, or a port does not go with its profile.
        """
        profiles = load_registry().profiles
        settings = read_serial(table, subject=subject, base=base, profiles=profiles)
        return cls(settings, profiles=profiles, now_ns=now_ns)

    async def run(self, emit: Emit) -> None:
        """Read all ports until cancelled.

        Parameters
        ----------
        emit : of the agent
        """
        async with asyncio.TaskGroup() as group:
            for port in self._ports:
                group.create_task(port.run(), name=f"port {port.name}")
            queue = self._queue
            while True:
                self._some.clear()
                while queue:
                    chunk = [queue.popleft() for _ in range(min(_CHUNK, len(queue)))]
                    await emit(chunk)
                await self._some.wait()

    def health(self) -> dict[str, Any]:
        """Return the queue's length, what was dropped by reason, and the ports."""
        return {
            "queue": len(self._queue),
            "dropped": dict(self.dropped),
            "ports": [port.health() for port in self._ports],
        }

    def _put(self, measurements: list[Measurement]) -> None:
        for measurement in measurements:
            reserve = self._queue_max // 10 if isinstance(measurement, Tap) else 0
            if len(self._queue) >= self._queue_max + reserve:
                self.dropped["queue_full"] += 1
            else:
                self._queue.append(measurement)
        self._some.set()
