"""A stand-in of bluetoothd: org.bluez with adapters and devices, on a private D-Bus.

Rules of the file: only what a scanning client sees, as real D-Bus messages: the object
manager, Adapter1, Device1, the monitors of passive scanning, and properties. An advert
is given as the bytes a radio receives and is taken apart as bluetoothd does. Faults are
methods. Not modelled: GATT, pairing, the duplicate filter of kernel and controller.
Sources: BlueZ 5 ``doc/org.bluez.{Adapter,Device,AdvertisementMonitorManager}.rst``.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus

from firmware_profiles.advert import ad_structures
from simulators.bluez_adapter import ADAPTER, MONITORS, Adapter, Cure, Properties
from simulators.bluez_properties import device_properties, monitor_hears

DEVICE = "org.bluez.Device1"
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
_BUS_ENDED = (OSError, EOFError)
_ROUND_TRIP_EVERY = 20  # dbus-fast's writer fails on a full socket: wait for the bus at times


class BluezStandIn:
    """A bluetoothd that hears what it is told.

    Parameters
    ----------
    bus_address : of the private bus
    adapters : names
    """

    def __init__(self, bus_address: str, *, adapters: tuple[str, ...] = ("hci0",)) -> None:
        self.adapters = {name: Adapter(name=name) for name in adapters}
        self.calls: Counter[str] = Counter()
        """Methods called by clients."""
        self.refuses_power = False
        self.refuses_removal = False
        self.is_hung = False
        """It takes calls and does not answer."""
        self._address = bus_address
        self._bus: MessageBus | None = None
        self._sent = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[str, Callable[[Adapter, Message], Message]] = {
            "SetDiscoveryFilter": self._set_filter,
            "StartDiscovery": self._start,
            "StopDiscovery": self._stop,
            "RemoveDevice": self._remove,
            "RegisterMonitor": self._register,
            "UnregisterMonitor": self._unregister,
            "Get": self._get,
            "Set": self._set,
        }

    async def start_service(self) -> None:
        """Connect to the bus and take the name; every adapter hears again."""
        bus = await MessageBus(bus_address=self._address).connect()
        bus.add_message_handler(self._handle)
        await bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=["type='signal',member='NameOwnerChanged',arg2=''"],
            )
        )
        self._bus = bus
        await bus.request_name("org.bluez")
        for adapter in self.adapters.values():
            adapter.cure = None
            self._add_objects(adapter)

    async def stop_service(self) -> None:
        """Leave the bus as a bluetoothd that ends: nobody is told but by the lost name."""
        bus, self._bus = self._bus, None
        for task in tuple(self._tasks):
            task.cancel()
        for adapter in self.adapters.values():
            for known in (adapter.scans, adapter.filters, adapter.monitors, adapter.devices):
                known.clear()
        if bus is not None:
            bus.disconnect()
            with suppress(*_BUS_ENDED):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    async def advertise(
        self, adapter: str, address: str, rssi_dbm: int, data: bytes, *, kind: str = "public"
    ) -> bool:
        """Let an adapter receive an advert.

        Parameters
        ----------
        adapter : name
        address : of the sender, like ``C4:01:02:03:04:05``
        rssi_dbm : [dBm] how strong
        data : the AD structures
        kind : ``public`` or ``random``

        Returns
        -------
        heard : false when the adapter is away, off, deaf or not scanning, or the bus has ended
        """
        radio = self.adapters.get(adapter)
        if self._bus is None or not self._bus.connected:
            return False
        if radio is None or not radio.powered or radio.cure is not None:
            return False
        structures = ad_structures(data) or []
        if not radio.scans and not any(
            monitor_hears(patterns, structures) for patterns in radio.monitors.values()
        ):
            return False
        path = f"{radio.path}/dev_{address.replace(':', '_')}"
        known = radio.devices.get(path)
        heard = device_properties(structures, rssi_dbm)
        if known is None:
            fixed = {
                "Address": Variant("s", address),
                "AddressType": Variant("s", kind),
                "Alias": Variant("s", address.replace(":", "-")),
                "Adapter": Variant("o", radio.path),
                "Paired": Variant("b", False),
                "Trusted": Variant("b", False),
                "Connected": Variant("b", False),
                "UUIDs": Variant("as", []),
            }
            radio.devices[path] = {**fixed, **heard}
            self._signal(
                "/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, {DEVICE: {**fixed, **heard}}]
            )
        else:
            # The clients' wish for duplicates: data that did not change are told again.
            again = any(radio.scans.values())
            told = {n: v for n, v in heard.items() if n == "RSSI" or again or known.get(n) != v}
            known.update(heard)
            self._change(path, DEVICE, told)
        await self._breathe()
        return True

    async def remove_device(self, adapter: str, path: str) -> None:
        """Forget a device, as bluetoothd does some time after its last advert."""
        if self.adapters[adapter].devices.pop(path, None) is not None:
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, [DEVICE]])
            await self._breathe()

    async def remove_adapter(self, name: str) -> None:
        """Unplug an adapter: its devices go, then itself."""
        adapter = self.adapters.pop(name)
        for path in tuple(adapter.devices):
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, [DEVICE]])
            await self._breathe()
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [adapter.path, [ADAPTER, MONITORS]])

    async def add_adapter(self, name: str, *, powered: bool = True) -> None:
        """Plug an adapter in."""
        adapter = self.adapters[name] = Adapter(name=name)
        adapter.powered = powered
        self._add_objects(adapter)
        await self._breathe()

    def deafen(self, name: str, *, until: Cure) -> None:
        """Let an adapter hear nothing while ``Discovering`` stays true.

        Parameters
        ----------
        name : of the adapter
        until : what cures it: a new scan, power off and on, or a new bluetoothd; what is
            stronger cures it too
        """
        self.adapters[name].cure = until

    def power(self, name: str, *, on: bool) -> None:
        """Switch an adapter, as rfkill or another program does."""
        adapter = self.adapters[name]
        adapter.powered = on
        changed = {"Powered": Variant("b", on)}
        if not on:
            adapter.scans.clear()
            adapter.monitors.clear()
            changed["Discovering"] = Variant("b", False)
            adapter.cure_by("power")
        self._change(adapter.path, ADAPTER, changed)

    def change_trust(self, adapter: str, path: str) -> None:
        """Let a device change without an advert, which is no packet."""
        self._change(path, DEVICE, {"Trusted": Variant("b", True)})
        self.adapters[adapter].devices[path]["Trusted"] = Variant("b", True)

    def change_name(self, path: str) -> None:
        """Let a device be renamed by its user, which is no packet."""
        self._change(path, DEVICE, {"Alias": Variant("s", "renamed")})

    def change_elsewhere(self, path: str) -> None:
        """Let another interface of a device change, which is no packet."""
        self._change(path, "org.bluez.Battery1", {"Percentage": Variant("y", 50)})

    def invalidate_rssi(self, adapter: str, path: str) -> None:
        """Let a device lose its RSSI, as when another client stops its scan."""
        self.adapters[adapter].devices[path].pop("RSSI", None)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [DEVICE, {}, ["RSSI"]])

    def _add_objects(self, adapter: Adapter) -> None:
        body = [adapter.path, adapter.properties()]
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", body)

    def _change(self, path: str, interface: str, changed: Properties) -> None:
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, []])

    def _signal(
        self, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> None:
        if self._bus is not None and self._bus.connected:
            self._sent += 1
            with suppress(*_BUS_ENDED):
                self._bus.send(Message.new_signal(path, interface, member, signature, body))

    async def _breathe(self) -> None:
        if self._bus is not None and self._sent >= _ROUND_TRIP_EVERY:
            self._sent = 0
            with suppress(*_BUS_ENDED):
                await self._bus.call(
                    Message(
                        destination="org.freedesktop.DBus",
                        path="/org/freedesktop/DBus",
                        interface="org.freedesktop.DBus",
                        member="GetId",
                    )
                )

    def _handle(self, message: Message) -> Message | bool | None:
        if message.message_type is MessageType.SIGNAL and message.member == "NameOwnerChanged":
            for adapter in self.adapters.values():
                adapter.forget_client(message.body[0])
            return None
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        member = message.member or ""
        self.calls[member] += 1
        if self.is_hung:
            return True
        if member == "GetManagedObjects" and message.path == "/":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects()])
        called = next((a for a in self.adapters.values() if a.path == message.path), None)
        answer = self._answers.get(member)
        if called is None or answer is None:
            unknown = "org.freedesktop.DBus.Error.UnknownMethod"
            return Message.new_error(message, unknown, "no such method here")
        return answer(called, message)

    def _objects(self) -> dict[str, dict[str, Properties]]:
        objects: dict[str, dict[str, Properties]] = {}
        for adapter in self.adapters.values():
            objects[adapter.path] = adapter.properties()
            objects.update({path: {DEVICE: known} for path, known in adapter.devices.items()})
        return objects

    def _set_filter(self, adapter: Adapter, message: Message) -> Message:
        wanted = message.body[0].get("DuplicateData")
        adapter.filters[message.sender] = wanted is None or bool(wanted.value)
        return Message.new_method_return(message)

    def _start(self, adapter: Adapter, message: Message) -> Message:
        if not adapter.powered:
            return _failed(message, "NotReady")
        if message.sender in adapter.scans:
            return _failed(message, "InProgress")
        adapter.scans[message.sender] = adapter.filters.get(message.sender, True)
        adapter.cure_by("scan")
        self._change(adapter.path, ADAPTER, {"Discovering": Variant("b", True)})
        return Message.new_method_return(message)

    def _stop(self, adapter: Adapter, message: Message) -> Message:
        if not adapter.powered:
            return _failed(message, "NotReady")
        if adapter.scans.pop(message.sender, None) is None:
            return _failed(message, "Failed")
        if not adapter.scans:
            self._change(adapter.path, ADAPTER, {"Discovering": Variant("b", False)})
        return Message.new_method_return(message)

    def _remove(self, adapter: Adapter, message: Message) -> Message:
        if self.refuses_removal:
            return _failed(message, "NotAuthorized")
        if adapter.devices.pop(message.body[0], None) is None:
            return _failed(message, "DoesNotExist")
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [message.body[0], [DEVICE]])
        return Message.new_method_return(message)

    def _get(self, adapter: Adapter, message: Message) -> Message:
        value = adapter.properties().get(message.body[0], {}).get(message.body[1])
        if value is None:
            return _failed(message, "InvalidArguments")
        return Message.new_method_return(message, "v", [value])

    def _set(self, adapter: Adapter, message: Message) -> Message:
        if message.body[:2] != [ADAPTER, "Powered"]:
            return _failed(message, "InvalidArguments")
        if self.refuses_power:
            return _failed(message, "Failed")
        if adapter.powered != message.body[2].value:
            self.power(adapter.name, on=message.body[2].value)
        return Message.new_method_return(message)

    def _register(self, adapter: Adapter, message: Message) -> Message:
        if not adapter.powered:
            return _failed(message, "NotReady")
        task = asyncio.create_task(
            self._read_monitor(adapter, message.sender, message.body[0]), name="monitor"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        adapter.cure_by("scan")
        return Message.new_method_return(message)

    def _unregister(self, adapter: Adapter, message: Message) -> Message:
        if adapter.monitors.pop((message.sender, message.body[0]), None) is None:
            return _failed(message, "DoesNotExist")
        return Message.new_method_return(message)

    async def _read_monitor(self, adapter: Adapter, client: str, path: str) -> None:
        # The client exports its monitor after it was answered: ask until it is there.
        for _ in range(50):
            if self._bus is None:
                return
            reply = await self._bus.call(
                Message(
                    destination=client,
                    path=path,
                    interface=PROPERTIES,
                    member="GetAll",
                    signature="s",
                    body=["org.bluez.AdvertisementMonitor1"],
                )
            )
            if reply is not None and reply.message_type is MessageType.METHOD_RETURN:
                adapter.monitors[client, path] = reply.body[0]["Patterns"].value
                return
            await asyncio.sleep(0.01)


def _failed(message: Message, error: str) -> Message:
    return Message.new_error(message, f"org.bluez.Error.{error}", error)
