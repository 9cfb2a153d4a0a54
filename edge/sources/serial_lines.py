"""A source of serial lines: card readers, scales, range sensors, on ports by stable name.

Rules of the file: one task for each port, one queue for all. The queue has a size: when
it is full, a new sample is turned away and counted, a tap is still taken into a reserve
of a tenth. Ports fail and recover on their own, the source never ends. The name is not
``serial``, which is the package that opens the ports.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from edge.keys import read_keys
from edge.measurement import Emit, Measurement, Tap
from edge.sources.serial_device import SerialDevice
from edge.sources.serial_poll import dialogue_of
from edge.sources.serial_port import SerialPort
from edge.sources.serial_proofs import Proofs
from edge.sources.serial_settings import SerialSettings, read_serial
from edge.sources.source import Surroundings, TableSource
from edge.tap_counters import TapCounters, check_counters
from firmware_profiles.compile import Profile
from firmware_profiles.decoders.ntag424 import FILE_KEY
from ingest.config import ConfigError

_CHUNK = 1024
_UID = re.compile(r"[0-9a-f]{14}")


class SerialSource(TableSource):
    """Reads all ports of one ``[[source]]``.

    Parameters
    ----------
    settings : checked by `read_serial`: absolute paths, a rate for each port
    profiles : of the registry, by name
    now_ns : [ns] the agent's clock
    keys : of cards that prove themselves, by the port's keys file
    """

    def __init__(
        self,
        settings: SerialSettings,
        *,
        profiles: Mapping[str, Profile],
        now_ns: Callable[[], int],
        keys: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> None:
        self.name = settings.name
        self.dropped: Counter[str] = Counter()
        self._proofs: Proofs | None = None
        if settings.counters_file is not None:
            counters = TapCounters(Path(settings.counters_file))
            self._proofs = Proofs(counters, self._put, self.dropped)
        self._queue: deque[Measurement] = deque()
        self._queue_max = settings.queue_max
        self._some = asyncio.Event()
        self._ports = []
        for port in settings.port:
            profile = profiles[port.profile]
            device = SerialDevice(
                port,
                profile,
                garbage_s=settings.garbage_s,
                keys=None if keys is None or port.keys_file is None else keys[port.keys_file],
                claim=None if self._proofs is None else self._proofs.put,
            )
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
    def read(cls, table: Mapping[str, Any], around: Surroundings) -> Self:
        """Make the source from its table; no port is touched.

        Parameters
        ----------
        table : as `SerialSettings`
        around : what it is read with

        Returns
        -------
        source : not yet running

        Raises
        ------
        ConfigError
            A key is wrong, a port does not go with its profile, or the file of the keys or of
            the counters cannot be used.
        """
        profiles = around.profiles().profiles
        settings = read_serial(table, subject=around.subject, base=around.base, profiles=profiles)
        files = {port.keys_file for port in settings.port if port.keys_file is not None}
        keys = {path: _keys(path) for path in sorted(files)}
        if settings.counters_file is not None:
            check_counters(Path(settings.counters_file))
        return cls(settings, profiles=profiles, now_ns=around.now_ns, keys=keys)

    async def run(self, emit: Emit) -> None:
        """Read all ports until cancelled.

        Parameters
        ----------
        emit : of the agent
        """
        async with asyncio.TaskGroup() as group:
            for port in self._ports:
                group.create_task(port.run(), name=f"port {port.name}")
            if self._proofs is not None:
                group.create_task(self._proofs.run(), name="proofs")
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


def _keys(path: str) -> dict[str, bytes]:
    keys = read_keys(Path(path))
    proving = {name: key for name, key in keys.items() if name == FILE_KEY or _UID.fullmatch(name)}
    if not proving:
        raise ConfigError(
            f"keys_file {path}: expected a key with the id file, or with a card's UID of 14 hex "
            "digits, got none"
        )
    if not all(map(any, proving.values())):
        raise ConfigError(
            f"keys_file {path}: expected keys of your own, got the factory's (all zeros): with it "
            "anybody can write such a card; change the cards' keys first"
        )
    return keys
