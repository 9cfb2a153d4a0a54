"""One adapter that scans: bleak's scanner, and a witness of what bleak does not tell.

Rules of the file: bleak calls back for any change of a device; the witness sits on
bleak's own connection, behind bleak, sees the message that caused the call, and lets
only packets through. bleak remembers every address for ever: its list of devices is not
filled here, and of the properties it holds only those of the `devices_max` devices heard
last are kept; BlueZ is asked to forget the others, which makes them new when next heard.
The witness and the keeping touch what bleak does not publish (`_bus`, `_properties`); a
bleak without these still works, with phantoms and without bound, and a warning.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

from bleak import BleakScanner
from bleak.args.bluez import BlueZScannerArgs, OrPatternLike
from bleak.backends.bluezdbus.manager import BlueZManager, get_global_bluez_manager
from bleak.backends.bluezdbus.scanner import BleakScannerBlueZDBus
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from dbus_fast import Message
from dbus_fast.aio.message_bus import MessageBus

from edge.sources.ble_control import ERRORS, AdapterControl, reason_of
from edge.sources.source import SourceUnavailable

_DEVICE = "org.bluez.Device1"
_START_S, _STOP_S = 10.0, 1.0
_DATA = {"ManufacturerData", "ServiceData"}
_PACKET = {"RSSI", *_DATA}
_USERS_OWN = ("Paired", "Bonded", "Trusted", "Connected")
_FORGET_MAX = 4096
Hear = Callable[[BLEDevice, AdvertisementData, bool], None]
"""Takes a packet, and whether its data came with it or are those of an earlier one."""
log = logging.getLogger("fanous.edge.ble")


class _Scanner(BleakScannerBlueZDBus):
    """bleak's own scanner without its list of all devices ever seen."""

    def create_or_update_device(
        self,
        key: str,
        address: str,
        name: str | None,
        details: Any,  # noqa: ANN401 - bleak's own signature
        adv: AdvertisementData,
    ) -> BLEDevice:
        del key, adv
        return BLEDevice(address, name, details)


class Radio:
    """A scan on an adapter.

    Parameters
    ----------
    control : of the adapter
    adapter : its name, like ``hci0``
    hear : called for each packet, and for nothing else; must be quick
    patterns : of a passive scan; None = an active scan
    devices_max : devices that bleak and BlueZ may remember
    """

    def __init__(
        self,
        control: AdapterControl,
        adapter: str,
        hear: Hear,
        *,
        patterns: list[tuple[int, int, bytes]] | None,
        devices_max: int,
    ) -> None:
        self.phantoms = self.forgotten = self.forget_refused = 0
        self.control, self._adapter = control, adapter
        self._hear, self._patterns, self._devices_max = hear, patterns, devices_max
        self._manager: BlueZManager | None = None
        self._watched: MessageBus | None = None
        self._scanner: BleakScanner | None = None
        self._pending: tuple[BLEDevice, AdvertisementData] | None = None
        self._devices: OrderedDict[str, None] = OrderedDict()
        self._forget: deque[str] = deque(maxlen=_FORGET_MAX)
        self._to_forget = asyncio.Event()

    async def scan(self) -> None:
        """Start the scan.

        Raises
        ------
        SourceUnavailable
            BlueZ refuses, or does not answer.
        """
        arguments: BlueZScannerArgs = {"adapter": self._adapter}
        if self._patterns is None:
            # Every packet is to be told, and data of earlier ones not to be mixed in.
            arguments["filters"] = {"DuplicateData": True}
            scanner = BleakScanner(self._called, None, "active", bluez=arguments, backend=_Scanner)
        else:
            arguments["or_patterns"] = cast("list[OrPatternLike]", self._patterns)
            scanner = BleakScanner(self._called, None, "passive", bluez=arguments, backend=_Scanner)
        try:
            async with asyncio.timeout(_START_S):
                await self._attend()
                await scanner.start()
        except ERRORS as error:
            raise SourceUnavailable(
                f"adapter {self._adapter}: expected the scan to start, got {reason_of(error)}"
            ) from error
        self._scanner = scanner

    async def end_scan(self) -> None:
        """Stop the scan; what BlueZ says to it does not matter."""
        scanner, self._scanner = self._scanner, None
        if scanner is not None:
            with suppress(*ERRORS):
                async with asyncio.timeout(_STOP_S):
                    await scanner.stop()

    async def forget_devices(self) -> None:
        """Let BlueZ forget what was pushed out, one after the other, for ever."""
        while True:
            await self._to_forget.wait()
            while self._forget:
                if await self.control.remove_device(self._forget.popleft()):
                    self.forgotten += 1
                else:
                    self.forget_refused += 1
            self._to_forget.clear()

    async def close(self) -> None:
        """Stop the scan; where bluetoothd went away, let bleak forget what it had told."""
        await self.end_scan()
        if self._watched is not None:
            self._watched.remove_message_handler(self._witness)
            self._watched = None
        if self.control.is_service_gone:
            # A new bluetoothd tells its devices anew. One that stays does not: what bleak
            # forgot of its devices it would never hear again.
            self._drop_cached(self._devices)
            self._devices.clear()
            self._forget.clear()

    async def _attend(self) -> None:
        """Stand behind bleak on its connection, which is a new one after the bus was lost."""
        self._manager = await get_global_bluez_manager()
        bus = getattr(self._manager, "_bus", None)
        if bus is None:
            log.warning("phantom packets cannot be told: this bleak is not known")
        elif bus is not self._watched:
            bus.add_message_handler(self._witness)
        self._watched = bus

    def _called(self, device: BLEDevice, advert: AdvertisementData) -> None:
        if self._watched is None:
            self._hear(device, advert, True)
        else:
            self._pending = (device, advert)

    def _witness(self, message: Message) -> None:
        """See the message that bleak has just handled."""
        pending, self._pending = self._pending, None
        if message.member == "InterfacesRemoved":
            self._devices.pop(message.body[0], None)
        if pending is None:
            return
        if message.member == "PropertiesChanged":
            path, changed = message.path or "", message.body[1]
        else:
            path, changed = message.body[0], message.body[1].get(_DEVICE, {})
        self._remember(path, pending[1].platform_data[1])
        device, advert = pending
        if _PACKET.isdisjoint(changed):
            self.phantoms += 1
        else:
            is_fresh = not _DATA.isdisjoint(changed)
            self._hear(device, _of_this_packet(advert, changed), is_fresh)

    def _remember(self, path: str, properties: Mapping[str, object]) -> None:
        if any(properties.get(key) for key in _USERS_OWN):
            self._devices.pop(path, None)  # these stay with BlueZ
            return
        self._devices[path] = None
        self._devices.move_to_end(path)
        if len(self._devices) > self._devices_max:
            oldest, _ = self._devices.popitem(last=False)
            self._drop_cached((oldest,))
            self._forget.append(oldest)
            self._to_forget.set()

    def _drop_cached(self, paths: Iterable[str]) -> None:
        cached = getattr(self._manager, "_properties", {})
        for path in paths:
            cached.pop(path, None)


def _of_this_packet(advert: AdvertisementData, changed: Mapping[str, object]) -> AdvertisementData:
    """Take away what bleak still holds of the sender's earlier packets.

    BlueZ tells all data of a packet where duplicates are asked for, but never that a kind
    of data is missing in it. Where it tells none, the data are as they were.
    """
    has_company, has_service = "ManufacturerData" in changed, "ServiceData" in changed
    if has_company == has_service:
        return advert
    if has_company:
        return advert._replace(service_data={})
    return advert._replace(manufacturer_data={})
