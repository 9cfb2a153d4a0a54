"""A source of Bluetooth adverts: one adapter through BlueZ, by bleak.

Rules of the file: what hears a packet only puts it into a queue of bounded size (the
oldest is dropped and counted). Who is not allowed is dropped before that, but for the
shelf sensors of the table. What an advert is to the shop, `adverts` says. A silence is
answered in steps by the watchdog, which never acts as root: the last step asks for a new
bluetoothd in the health and the log.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from edge.keys import read_keys
from edge.measurement import Emit, Measurement, Reading
from edge.sources.adverts import Adverts, Ear, Heard
from edge.sources.ble_adverts import (
    LASTING,
    AllowList,
    Packet,
    advert_of,
    packet_of,
    passive_patterns,
)
from edge.sources.ble_irks import Irks, read_irks
from edge.sources.ble_settings import BleSettings, read_ble_settings
from edge.sources.ble_watchdog import CHECKS, STEPS, Step, Watchdog
from edge.sources.source import SourceUnavailable, Surroundings, TableSource
from firmware_profiles.registry import Registry, load_registry

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

    from edge.sources.ble_control import AdapterControl
    from edge.sources.ble_radio import Radio

_CHUNK = 256
_NO_RSSI = {None, 0, -127, 127}
_WAIT_S = 60.0
_STEPS = (*STEPS, "power_refused", "adapter_lost")
log = logging.getLogger("fanous.edge.ble")


class BleSource(TableSource):
    """Hears adverts on one adapter.

    Parameters
    ----------
    settings : the source's table, with absolute paths
    now_ns : [ns] the agent's clock
    clock_s : [s] a clock that only goes forward
    poll_s : [s] between two looks of the watchdog; None = as `watchdog_s` needs
    registry : the profiles; None = those of the program

    Raises
    ------
    ConfigError
        `irk_file` or `keys_file` cannot be used.
    """

    def __init__(
        self,
        settings: BleSettings,
        *,
        now_ns: Callable[[], int],
        clock_s: Callable[[], float] = time.monotonic,
        poll_s: float | None = None,
        registry: Registry | None = None,
    ) -> None:
        self.name = settings.name
        self.counts: Counter[str] = Counter()
        self._settings, self._now_ns, self._clock_s = settings, now_ns, clock_s
        self._poll_s = settings.watchdog_s / CHECKS if poll_s is None else poll_s
        registry = load_registry() if registry is None else registry
        irks = {} if settings.irk_file is None else read_irks(Path(settings.irk_file))
        keys = {} if settings.keys_file is None else read_keys(Path(settings.keys_file))
        self._irks = Irks(irks, cached_max=settings.adverts_cached_max)
        self._adverts = Adverts(
            registry,
            sensors=settings.sensor,
            keys=keys,
            tap_hold_off_s=settings.tap_hold_off_s,
            cached_max=settings.adverts_cached_max,
        )
        self.dropped = self._adverts.dropped
        self._ear = Ear(settings.receiver, settings.tap_point, settings.tap_rssi_min_dbm)
        self._allow = AllowList(settings.allow)
        self._patterns = (
            passive_patterns(registry, with_phones=bool(irks))
            if settings.mode == "passive"
            else None
        )
        self._watchdog = Watchdog(settings.watchdog_s, has_beacon=settings.site_beacon is not None)
        self._queue: deque[Packet] = deque()
        self._some = asyncio.Event()
        self._radio: Radio | None = None
        self._state = "waiting"
        self._asks = False
        self._why: str | None = None

    @classmethod
    def read(cls, table: Mapping[str, Any], around: Surroundings) -> Self:
        """Make the source.

        Parameters
        ----------
        table : as `BleSettings`
        around : the files of keys are relative to its folder
        """
        settings = read_ble_settings(table, subject=around.subject, base=around.base)
        return cls(settings, now_ns=around.now_ns, registry=around.profiles())

    async def run(self, emit: Emit) -> None:
        """Hear until cancelled.

        Parameters
        ----------
        emit : of the agent

        Raises
        ------
        SourceUnavailable
            bluetoothd, the adapter or the bus is not there, or went away.
        """
        control, radio = self._parts()
        try:
            await control.open()
            await self._await_adapter(control)
            await radio.scan()
            self._watchdog.start(self._clock_s())
            self._state, self._why, self._asks = "scanning", None, False
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hand_over(emit), name=f"ble {self.name} readings")
                group.create_task(self._watch(radio), name=f"ble {self.name} watchdog")
                group.create_task(radio.forget_devices(), name=f"ble {self.name} devices")
        except SourceUnavailable as error:
            self._lose(error)
            raise
        except ExceptionGroup as errors:
            self._lose(errors.exceptions[0])
            raise errors.exceptions[0] from None
        finally:
            await radio.close()
            await control.close()

    def health(self) -> dict[str, Any]:
        """Return the adapter's state, counters, and how often each step was taken.

        `wants` is there while only a new bluetoothd can help, `state` and `why` while the
        adapter is away: they stand above what the agent thinks.
        """
        radio, watchdog = self._radio, self._watchdog
        is_deaf = watchdog.is_silent and not watchdog.misses_beacon_only
        found: dict[str, Any] = {
            "adapter": self._settings.adapter,
            "radio": "silent" if is_deaf and self._why is None else self._state,
            "packets": self.counts["packets"],
            "readings": self.counts["readings"],
            **self._adverts.health(),
            "queue": len(self._queue),
            "dropped": dict(self.dropped),
            "phantoms": radio.phantoms if radio else 0,
            "devices_forgotten": radio.forgotten if radio else 0,
            "forget_refused": radio.forget_refused if radio else 0,
            "steps": {key: self.counts[key] for key in _STEPS},
        }
        if self._settings.site_beacon is not None:
            found["site_beacon"] = "missed" if watchdog.is_silent else "heard"
        if self._asks:
            found["wants"] = "bluetoothd restarted: systemctl restart bluetooth"
        if self._why is not None:
            found |= {"state": "unavailable", "why": self._why}
        return found

    def _parts(self) -> "tuple[AdapterControl, Radio]":
        """Return the adapter's two sides, which last over all runs of the source."""
        # bleak is loaded by who uses it, not by who checks a configuration.
        from edge.sources.ble_control import AdapterControl
        from edge.sources.ble_radio import Radio

        if self._radio is None:
            self._radio = Radio(
                AdapterControl(self._settings.adapter),
                self._settings.adapter,
                self._hear,
                patterns=self._patterns,
                devices_max=self._settings.devices_cached_max,
            )
        return self._radio.control, self._radio

    def _lose(self, error: Exception) -> None:
        self._state, self._why = "absent", str(error)
        self.counts["adapter_lost"] += 1

    async def _await_adapter(self, control: "AdapterControl") -> None:
        # The first time the agent is told at once; then this waits for the adapter itself,
        # so that it is back in use as soon as it is there and not after a back-off.
        deadline_s = asyncio.get_running_loop().time() + _WAIT_S
        while (why := await control.missing()) is not None:
            if self._why is None:
                raise SourceUnavailable(why)
            self._why = why
            try:
                async with asyncio.timeout_at(deadline_s):
                    await control.changed.wait()
            except TimeoutError:
                raise SourceUnavailable(why) from None

    def _hear(self, device: "BLEDevice", advert: "AdvertisementData", is_fresh: bool) -> None:
        now_s = self._clock_s()
        if advert.rssi in _NO_RSSI:
            self.dropped["no_rssi"] += 1
            return
        self.counts["packets"] += 1
        if self._watchdog.hear(now_s, advert.platform_data[0]):
            self._recover()
        packet = packet_of(
            device.address, advert, t_ns=self._now_ns(), heard_s=now_s, is_fresh=is_fresh
        )
        if not self._allow.allows_all and not self._is_allowed(packet):
            self.dropped["not_allowed"] += 1
            return
        if len(self._queue) >= self._settings.queue_max:
            self._queue.popleft()
            self.dropped["queue_full"] += 1
        self._queue.append(packet)
        self._some.set()

    def _is_allowed(self, packet: Packet) -> bool:
        return self._allow.admits(packet) or self._adverts.is_sensor(packet.address.lower())

    async def _hand_over(self, emit: Emit) -> None:
        queue = self._queue
        while True:
            if not queue:
                self._some.clear()
                await self._some.wait()
            await emit(self._measured(min(_CHUNK, len(queue))))
            await asyncio.sleep(0)

    def _measured(self, count: int) -> list[Measurement]:
        site_beacon = self._settings.site_beacon
        measured: list[Measurement] = []
        for _ in range(count):
            packet = self._queue.popleft()
            for found in self._adverts.measured(self._heard(packet), self._ear):
                if isinstance(found, Reading):
                    if found.tag == site_beacon:
                        # It belongs to the shop: it is no visitor.
                        self.counts["site_beacon"] += 1
                        if self._watchdog.hear_beacon(packet.heard_s):
                            self._recover()
                        continue
                    self.counts["readings"] += 1
                measured.append(found)
        return measured

    def _heard(self, packet: Packet) -> Heard:
        name = None
        if packet.kind == "resolvable_private" and self._irks.count:
            name = self._irks.tag_of(bytes.fromhex(packet.address.replace(":", "")))
        return Heard(
            packet.t_ns,
            round(packet.heard_s * 1e9),
            float(packet.rssi_dbm),
            advert_of(packet),
            packet.address.lower(),
            packet.kind in LASTING,
            name,
            packet.is_fresh,
        )

    async def _watch(self, radio: "Radio") -> None:
        control = radio.control
        while True:
            try:
                async with asyncio.timeout(self._poll_s):
                    await control.changed.wait()
                control.changed.clear()
            except TimeoutError:
                pass
            if control.lost is not None:
                raise SourceUnavailable(control.lost)
            # A packet that still waits may be what is missed: an agent that is held up by
            # its disk is not a deaf radio.
            step = None if self._queue else self._watchdog.due(self._clock_s())
            if step is not None:
                await self._take_step(step, radio)

    async def _take_step(self, step: Step, radio: "Radio") -> None:
        adapter, beacon = self._settings.adapter, self._watchdog.misses_beacon_only
        self.counts[step] += 1
        if step == "service_restart_wanted":
            if not self._asks:
                log.error("bluetooth restart wanted adapter=%s", adapter)
            self._asks = True
            return
        if step == "scan_restart" and not self._asks:
            what = "site beacon missed" if beacon else "scan silent"
            log.warning("%s adapter=%s step=%s", what, adapter, step)
        await radio.end_scan()
        if step == "power_cycle":
            log.warning("scan silent adapter=%s step=%s", adapter, step)
            if not await radio.control.power_cycle():
                self.counts["power_refused"] += 1
        await radio.scan()

    def _recover(self) -> None:
        self._asks = False
        silent_s = self._watchdog.lasted_s
        log.info("scan recovered adapter=%s silent_s=%.1f", self._settings.adapter, silent_s)
