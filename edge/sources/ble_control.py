"""What bleak does not tell of an adapter: whether it is there and on, and switching it.

Rules of the file: a connection of our own to the system's D-Bus, which hears only of
bluetoothd's name and of this adapter, never of devices. Every call is answered within
seconds or is `SourceUnavailable`. Nothing here needs root: BlueZ's own policy decides.
"""

import asyncio
from contextlib import suppress
from typing import Any

from bleak.exc import BleakError
from dbus_fast import BusType, DBusError, Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus
from dbus_fast.errors import AuthError

from edge.sources.source import SourceUnavailable

ERRORS = (OSError, EOFError, DBusError, AuthError, BleakError, TimeoutError)
"""All that bleak and dbus-fast raise when the other side is not as it should be."""
_ADAPTER = "org.bluez.Adapter1"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_OBJECTS = "org.freedesktop.DBus.ObjectManager"
_DBUS = "org.freedesktop.DBus"
_ANSWER_S = 5.0


class AdapterControl:
    """An adapter that may be there or not.

    Parameters
    ----------
    adapter : name, like ``hci0``
    """

    def __init__(self, adapter: str) -> None:
        self.lost: str | None = None
        """Why the adapter cannot be used any more."""
        self.is_service_gone = False
        """bluetoothd went away since this was last connected."""
        self.changed = asyncio.Event()
        """Something became of bluetoothd or of the adapter."""
        self._adapter, self._path = adapter, f"/org/bluez/{adapter}"
        self._bus: MessageBus | None = None
        self._is_cycling = False

    async def open(self) -> None:
        """Connect to the system's bus and watch bluetoothd and the adapter.

        Raises
        ------
        SourceUnavailable
            There is no system bus.
        """
        self.is_service_gone = False
        bus = MessageBus(bus_type=BusType.SYSTEM)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await bus.connect()
        except ERRORS as error:
            bus.disconnect()
            raise SourceUnavailable(
                "system D-Bus: expected to connect to it, got no connection; is dbus running?"
            ) from error
        self._bus = bus
        bus.add_message_handler(self._notice)
        where = f"arg0path='{self._path}'"
        for rule in (
            f"type='signal',sender='{_DBUS}',member='NameOwnerChanged',arg0='org.bluez'",
            f"type='signal',interface='{_OBJECTS}',member='InterfacesAdded',{where}",
            f"type='signal',interface='{_OBJECTS}',member='InterfacesRemoved',{where}",
            f"type='signal',interface='{_PROPERTIES}',path='{self._path}'",
        ):
            await self._ask_bus("AddMatch", rule)

    async def missing(self) -> str | None:
        """Return what is missing before a scan can start; an adapter that is off is put on.

        Returns
        -------
        why : one sentence; None = nothing is missing

        Raises
        ------
        SourceUnavailable
            The bus is gone, or bluetoothd does not answer.
        """
        self.lost = None
        self.changed.clear()
        owned = await self._ask_bus("NameHasOwner", "org.bluez")
        if not owned.body[0]:
            return "bluetoothd: expected it to run, found nobody at org.bluez; start bluetooth"
        try:
            body = [_ADAPTER, "Powered"]
            powered = await self._ask_bluez(_PROPERTIES, "Get", "ss", body)
        except DBusError:
            return f"adapter {self._adapter}: expected it to be there, bluetoothd has none"
        if not powered.body[0].value:
            try:
                await self.power(on=True)
            except DBusError:
                return f"adapter {self._adapter}: is off and cannot be switched on; see rfkill list"
        return None

    async def power(self, *, on: bool) -> None:
        """Switch the adapter.

        Parameters
        ----------
        on : or off

        Raises
        ------
        DBusError
            BlueZ refuses.
        SourceUnavailable
            BlueZ does not answer.
        """
        body = [_ADAPTER, "Powered", Variant("b", on)]
        await self._ask_bluez(_PROPERTIES, "Set", "ssv", body)

    async def power_cycle(self) -> bool:
        """Switch the adapter off and on; the scan ends by that.

        Returns
        -------
        done : false when BlueZ refuses

        Raises
        ------
        SourceUnavailable
            BlueZ does not answer.
        """
        self._is_cycling = True
        try:
            await self.power(on=False)
            await self.power(on=True)
        except DBusError:
            return False
        finally:
            self._is_cycling = False
        return True

    async def remove_device(self, path: str) -> bool:
        """Let BlueZ forget a device: it is new again when it is next heard.

        Parameters
        ----------
        path : of the device on the bus

        Returns
        -------
        done : false when BlueZ refuses

        Raises
        ------
        SourceUnavailable
            BlueZ does not answer.
        """
        try:
            await self._ask_bluez(_ADAPTER, "RemoveDevice", "o", [path])
        except DBusError:
            return False
        return True

    async def close(self) -> None:
        """Leave the bus."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()
            with suppress(*ERRORS):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]

    def _notice(self, message: Message) -> None:
        """See what becomes of bluetoothd and of the adapter."""
        body, member = message.body, message.member
        if message.message_type is not MessageType.SIGNAL:
            return
        if member == "NameOwnerChanged" and body[0] == "org.bluez":
            if body[1]:
                self.is_service_gone = True
                self.lost = "bluetoothd: expected it to stay, it went away; start bluetooth"
        elif member == "InterfacesRemoved":
            if _ADAPTER in body[1]:
                self.lost = f"adapter {self._adapter}: expected it to stay, it was removed"
        elif member == "PropertiesChanged" and body[0] == _ADAPTER:
            powered = body[1].get("Powered")
            if powered is None or self._is_cycling:
                return
            if not powered.value:
                self.lost = f"adapter {self._adapter}: expected it to stay on, it was switched off"
        elif member != "InterfacesAdded":
            return
        self.changed.set()

    async def _ask_bus(self, member: str, text: str) -> Message:
        return await self._call(
            Message(
                destination=_DBUS,
                path="/org/freedesktop/DBus",
                interface=_DBUS,
                member=member,
                signature="s",
                body=[text],
            )
        )

    async def _ask_bluez(
        self, interface: str, member: str, signature: str, body: list[Any]
    ) -> Message:
        return await self._call(
            Message(
                destination="org.bluez",
                path=self._path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )

    async def _call(self, message: Message) -> Message:
        if self._bus is None or not self._bus.connected:
            raise SourceUnavailable("system D-Bus: expected it to stay, the connection was lost")
        try:
            async with asyncio.timeout(_ANSWER_S):
                reply = await self._bus.call(message)
        except ERRORS as error:
            raise SourceUnavailable(
                f"bluetoothd: expected an answer to {message.member}, got {reason_of(error)}"
            ) from error
        if reply.message_type is MessageType.ERROR:
            raise DBusError(reply.error_name or "org.bluez.Error.Failed", "refused")
        return reply


def reason_of(error: BaseException) -> str:
    """Return the name of an error without what it repeats of the peer.

    Parameters
    ----------
    error : one of `ERRORS`
    """
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(getattr(error, "dbus_error", None) or type(error).__name__)
