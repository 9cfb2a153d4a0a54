"""A source that is fed by the program it runs in: simulated radios, ports and sensors.

Rules of the file: what is pushed are bytes as a radio or a serial line gives them, and
they are decoded by the same profiles as from hardware; ready measurements may be pushed
too. Called from the agent's own event loop. The queue has a size: when it is full, a new
reading or sample is turned away and counted, a tap is still taken into a reserve of a
tenth. A pusher that must lose nothing awaits `room` first.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec

from edge.keys import read_keys
from edge.measurement import Emit, Measurement, Reading, Sample, Tap
from edge.sources.advert_sensors import SensorSettings, check_sensors
from edge.sources.adverts import TAP_HOLD_OFF_S, Adverts, Ear, Heard
from edge.sources.ble_settings import check_taps
from edge.sources.source import Surroundings, TableSource
from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.decoded import Emit as ProfileEmit
from firmware_profiles.registry import Registry, load_registry
from ingest.config import ConfigError, nearest, to_struct
from ingest.identifiers import is_name

_CHUNK = 1024


class PortSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One serial line: its name, which profile decodes it, and where it stands."""

    name: str
    profile: str
    tap_point: str | None = None
    sensor: str | None = None


class RadioSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver that is a tap point for button wristbands."""

    receiver: str
    tap_point: str
    tap_rssi_min_dbm: Annotated[float, msgspec.Meta(ge=-127, le=20)] | None = None


class VirtualSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[source]]`` with ``kind = "virtual"``."""

    name: str = "virtual"
    queue_max: Annotated[int, msgspec.Meta(ge=10)] = 100_000
    adverts_cached_max: Annotated[int, msgspec.Meta(ge=1)] = 4096
    tap_hold_off_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = TAP_HOLD_OFF_S
    keys_file: str | None = None
    port: tuple[PortSettings, ...] = ()
    radio: tuple[RadioSettings, ...] = ()
    sensor: tuple[SensorSettings, ...] = ()


class VirtualSource(TableSource):
    """Takes what is pushed and hands it to the agent.

    Parameters
    ----------
    settings : the source's table, with an absolute path of keys
    registry : the profiles; None = those of the program

    Raises
    ------
    ConfigError
        `keys_file` cannot be used.
    """

    def __init__(
        self, settings: VirtualSettings | None = None, *, registry: Registry | None = None
    ) -> None:
        settings = settings or VirtualSettings()
        self.name = settings.name
        self._queue: deque[Measurement] = deque()
        self._queue_max = settings.queue_max
        self._some = asyncio.Event()
        self._taken = asyncio.Event()
        self._ended = False
        registry = load_registry() if registry is None else registry
        self._adverts = Adverts(
            registry,
            sensors=settings.sensor,
            keys={} if settings.keys_file is None else read_keys(Path(settings.keys_file)),
            tap_hold_off_s=settings.tap_hold_off_s,
            cached_max=settings.adverts_cached_max,
        )
        self.dropped = self._adverts.dropped
        self._ears = {
            radio.receiver: Ear(radio.receiver, radio.tap_point, radio.tap_rssi_min_dbm)
            for radio in settings.radio
        }
        self._ports = {port.name: port for port in settings.port}
        self._streams = {p.name: registry.stream(p.profile) for p in settings.port}

    @classmethod
    def read(cls, table: Mapping[str, Any], around: Surroundings) -> Self:
        """Make the source; what is pushed has its own time.

        Parameters
        ----------
        table : as `VirtualSettings`
        around : the file of keys is relative to its folder
        """
        settings = to_struct(table, VirtualSettings, subject=around.subject)
        registry = around.profiles()
        for port in settings.port:
            _check_port(port, registry, f"{around.subject}: port {port.name!r}")
        for radio in settings.radio:
            check_taps(radio.tap_point, radio.tap_rssi_min_dbm, subject=around.subject)
        check_sensors(settings.sensor, subject=around.subject)
        if settings.keys_file is not None:
            keys_file = str(around.base / settings.keys_file)
            settings = msgspec.structs.replace(settings, keys_file=keys_file)
        return cls(settings, registry=registry)

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
        address : of the sender, if it lasts: it may become a tag, and tells shelf sensors

        Returns
        -------
        taken : false when nothing new came of it or the queue is full (both counted)
        """
        heard = Heard(
            t_ns, t_ns, rssi_dbm, data, None if address is None else address.lower(), lasts=True
        )
        found = self._adverts.measured(heard, self._ears.get(receiver) or Ear(receiver))
        taken = bool(found)
        for measurement in found:
            taken = self._put(measurement) and taken
        return taken

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
        """Return the queue's length, what was dropped by reason, and counters of adverts."""
        return {
            "queue": len(self._queue),
            "dropped": dict(self.dropped),
            **self._adverts.health(),
        }

    def _put(self, measurement: Measurement) -> bool:
        is_tap = isinstance(measurement, Tap)
        if len(self._queue) >= self._queue_max + is_tap * (self._queue_max // 10):
            self.dropped["queue_full"] += 1
            return False
        self._queue.append(measurement)
        self._some.set()
        return True


def _check_port(wanted: PortSettings, registry: Registry, where: str) -> None:
    profile = registry.profiles.get(wanted.profile)
    if profile is None:
        hint = nearest(wanted.profile, [*registry.profiles])
        raise ConfigError(f"{where}: unknown profile {wanted.profile!r}{hint}")
    if not profile.is_stream:
        raise ConfigError(
            f"{where}: expected the profile of a serial device, got {wanted.profile!r}"
        )
    if (wanted.tap_point is None) == (wanted.sensor is None):
        raise ConfigError(f"{where}: expected tap_point or sensor, one of them")
    if not is_name(wanted.tap_point or wanted.sensor or ""):
        raise ConfigError(f"{where}: expected a name like 'gate-1'")


def _placed(emit: ProfileEmit, found: Decoded, port: PortSettings, t_ns: int) -> Measurement | None:
    tag = emit.tag or found.tag
    if emit.kind == "tap" and port.tap_point is not None and tag is not None:
        return Tap(t_ns, port.tap_point, tag)
    if emit.kind == "sample" and port.sensor is not None:
        return Sample(t_ns, port.sensor, emit.mass_g, emit.range_mm)
    return None
