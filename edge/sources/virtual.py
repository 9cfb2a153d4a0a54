"""A source that is fed by the program it runs in: simulated radios, ports and sensors.

Rules of the file: what is pushed are bytes as a radio or a serial line gives them, and
they are decoded by the same profiles as from hardware; ready measurements may be pushed
too. Called from the agent's own event loop. The queue has a size: when it is full, a new
reading or sample is turned away and counted, a tap is still taken into a reserve of a
tenth. A pusher that must lose nothing awaits `room` first.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edge.measurement import Emit, Measurement, Reading, Sample, Tap
from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.decoded import Emit as ProfileEmit
from firmware_profiles.registry import load_registry
from ingest.config import ConfigError, nearest, to_struct
from ingest.identifiers import is_name

_CHUNK = 1024


class PortSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One serial line: its name, which profile decodes it, and where it stands."""

    name: str
    profile: str
    tap_point: str | None = None
    sensor: str | None = None


class VirtualSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[source]]`` with ``kind = "virtual"``."""

    name: str = "virtual"
    queue_max: Annotated[int, msgspec.Meta(ge=10)] = 100_000
    adverts_cached_max: Annotated[int, msgspec.Meta(ge=1)] = 4096
    port: tuple[PortSettings, ...] = ()


class VirtualSource:
    """Takes what is pushed and hands it to the agent.

    Parameters
    ----------
    settings : the source's table
    """

    def __init__(self, settings: VirtualSettings | None = None) -> None:
        settings = settings or VirtualSettings()
        self.name = settings.name
        self.dropped: Counter[str] = Counter()
        self._queue: deque[Measurement] = deque()
        self._queue_max = settings.queue_max
        self._some = asyncio.Event()
        self._taken = asyncio.Event()
        self._ended = False
        self._registry = load_registry()
        self._advert = lru_cache(maxsize=settings.adverts_cached_max)(self._decode_advert)
        self._ports = {port.name: port for port in settings.port}
        self._streams = {p.name: self._registry.stream(p.profile) for p in settings.port}

    @classmethod
    def from_table(
        cls, table: Mapping[str, Any], *, subject: str, base: Path, now_ns: Callable[[], int]
    ) -> "VirtualSource":
        """Make the source from its table.

        Parameters
        ----------
        table : as `VirtualSettings`
        subject : which table, for messages
        base : not used, there are no paths
        now_ns : not used, what is pushed has its time

        Returns
        -------
        source : not yet running

        Raises
        ------
        ConfigError
            A key is wrong, or a port has no known profile or not one of tap point and sensor.
        """
        del base, now_ns
        settings = to_struct(table, VirtualSettings, subject=subject)
        known = load_registry().profiles
        for wanted in settings.port:
            where = f"{subject}: port {wanted.name!r}"
            if wanted.profile not in known:
                hint = nearest(wanted.profile, [*known])
                raise ConfigError(f"{where}: unknown profile {wanted.profile!r}{hint}")
            try:
                load_registry().stream(wanted.profile)
            except ValueError:
                raise ConfigError(
                    f"{where}: expected the profile of a serial device, got {wanted.profile!r}"
                ) from None
            if (wanted.tap_point is None) == (wanted.sensor is None):
                raise ConfigError(f"{where}: expected tap_point or sensor, one of them")
            if not is_name(wanted.tap_point or wanted.sensor or ""):
                raise ConfigError(f"{where}: expected a name like 'gate-1'")
        return cls(settings)

    def push_advert(
        self, t_ns: int, receiver: str, rssi_dbm: float, data: bytes, *, address: str | None = None
    ) -> bool:
        """Take an advert as a receiver hears it.

        Parameters
        ----------
        t_ns : [ns] when
        receiver : which
        rssi_dbm : [dBm] how strong
        data : the AD structures
        address : of the sender, if it may be used as identity

        Returns
        -------
        taken : false when it was not understood or the queue is full (both counted)
        """
        tag = self._advert(data, address)
        if tag is None:
            self.dropped["advert"] += 1
            return False
        return self._put(Reading(t_ns, receiver, tag, rssi_dbm))

    def push_serial(self, t_ns: int, port: str, data: bytes) -> bool:
        """Take bytes as they come from a serial line; frames may be cut anywhere.

        Parameters
        ----------
        t_ns : [ns] when
        port : one of the configured ports
        data : any part of the stream

        Returns
        -------
        taken : false when something was not understood or the queue is full (counted)

        Raises
        ------
        KeyError
            The port is not configured.
        """
        taken = True
        for found in self._streams[port].feed(data):
            if isinstance(found, Rejected):
                self.dropped[found.reason] += 1
                taken = False
                continue
            for emit in found.emits:
                measurement = _placed(emit, found, self._ports[port], t_ns)
                if measurement is None:
                    self.dropped["no_place"] += 1
                taken = measurement is not None and self._put(measurement) and taken
        return taken

    def push_reading(self, t_ns: int, receiver: str, tag: str, rssi_dbm: float) -> bool:
        """Take a ready reading.

        Parameters
        ----------
        t_ns : [ns] when
        receiver : which
        tag : raw
        rssi_dbm : [dBm] how strong

        Returns
        -------
        taken : false when the queue is full
        """
        return self._put(Reading(t_ns, receiver, tag, rssi_dbm))

    def push_tap(self, t_ns: int, tap_point: str, tag: str) -> bool:
        """Take a ready tap.

        Parameters
        ----------
        t_ns : [ns] when
        tap_point : which
        tag : raw

        Returns
        -------
        taken : false when queue and reserve are full
        """
        return self._put(Tap(t_ns, tap_point, tag))

    def push_sample(
        self, t_ns: int, sensor: str, mass_g: float | None = None, range_mm: float | None = None
    ) -> bool:
        """Take a ready sample.

        Parameters
        ----------
        t_ns : [ns] when
        sensor : which
        mass_g : [g] None = not measured
        range_mm : [mm] None = not measured

        Returns
        -------
        taken : false when the queue is full
        """
        return self._put(Sample(t_ns, sensor, mass_g, range_mm))

    async def room(self) -> None:
        """Wait until the queue is less than half full."""
        while len(self._queue) * 2 > self._queue_max:
            self._taken.clear()
            await self._taken.wait()

    def end(self) -> None:
        """Say that nothing more will be pushed: `run` returns when the queue is empty."""
        self._ended = True
        self._some.set()

    async def run(self, emit: Emit) -> None:
        """Hand over what is pushed until `end`.

        Parameters
        ----------
        emit : of the agent
        """
        queue = self._queue
        while not self._ended or queue:
            if not queue:
                self._some.clear()
                await self._some.wait()
            chunk = [queue.popleft() for _ in range(min(_CHUNK, len(queue)))]
            self._taken.set()
            await emit(chunk)
            await asyncio.sleep(0)

    def health(self) -> dict[str, Any]:
        """Return the queue's length and what was dropped by reason."""
        return {"queue": len(self._queue), "dropped": dict(self.dropped)}

    def _put(self, measurement: Measurement) -> bool:
        is_tap = isinstance(measurement, Tap)
        if len(self._queue) >= self._queue_max + is_tap * (self._queue_max // 10):
            self.dropped["queue_full"] += 1
            return False
        self._queue.append(measurement)
        self._some.set()
        return True

    def _decode_advert(self, data: bytes, address: str | None) -> str | None:
        found = self._registry.decode_advert(data, address=address)
        if isinstance(found, Rejected):
            return None
        tags = (emit.tag or found.tag for emit in found.emits if emit.kind == "reading")
        return next(tags, None)


def _placed(emit: ProfileEmit, found: Decoded, port: PortSettings, t_ns: int) -> Measurement | None:
    tag = emit.tag or found.tag
    if emit.kind == "tap" and port.tap_point is not None and tag is not None:
        return Tap(t_ns, port.tap_point, tag)
    if emit.kind == "sample" and port.sensor is not None:
        return Sample(t_ns, port.sensor, emit.mass_g, emit.range_mm)
    return None
