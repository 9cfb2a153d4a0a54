"""Checks of Bluetooth: the bus, bluetoothd, the adapter, its power.

Rules of the file: asks and changes nothing, above all not the power of an adapter: another
program, or the person who blocked it, may have reasons. A bluetoothd that takes a call
and does not answer is told as such. Source: BlueZ 5 ``doc/org.bluez.Adapter.rst``.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge.findings import Check, Fault, guarded

ANSWER_S = 3.0
RFKILL = Path("/sys/class/rfkill")
_ADAPTER = "org.bluez.Adapter1"


def check_radio(adapter: str, *, rfkill: Path = RFKILL) -> Check:
    """Check that an adapter can be used.

    Parameters
    ----------
    adapter : like ``hci0``
    rfkill : where Linux says which radios are blocked
    """
    return guarded(
        f"bluetooth {adapter}",
        "an adapter that is there and on",
        "restart bluetoothd: systemctl restart bluetooth",
        lambda: _looked(adapter, asyncio.run(find_adapters()), rfkill),
        seconds=3 * ANSWER_S,
    )


async def find_adapters() -> dict[str, bool]:
    """Ask bluetoothd for its adapters.

    Returns
    -------
    adapters : name to whether it is on

    Raises
    ------
    Fault
        There is no bus, no bluetoothd, no permission or no answer.
    """
    from dbus_fast import BusType, Message, MessageType
    from dbus_fast.aio.message_bus import MessageBus

    from edge.sources.ble_control import ERRORS, reason_of

    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        async with asyncio.timeout(ANSWER_S):
            await bus.connect()
    except ERRORS as error:
        bus.disconnect()
        raise Fault(
            "no system D-Bus answers", "install and start it: apt-get install dbus bluez"
        ) from error

    async def call(member: str, *, destination: str, path: str, interface: str, text: str) -> Any:  # noqa: ANN401 - of D-Bus
        async with asyncio.timeout(ANSWER_S):
            reply = await bus.call(
                Message(
                    destination=destination,
                    path=path,
                    interface=interface,
                    member=member,
                    signature="s" if text else "",
                    body=[text] if text else [],
                )
            )
        if reply.message_type is MessageType.ERROR:
            if reply.error_name == "org.freedesktop.DBus.Error.AccessDenied":
                raise Fault(
                    "D-Bus does not let this user talk to bluetoothd",
                    "let this user in: usermod -a -G bluetooth $(id -un), then log in again",
                )
            raise Fault(
                f"bluetoothd answers {reply.error_name}",
                "restart it: systemctl restart bluetooth",
            )
        return reply.body[0]

    dbus = {
        "destination": "org.freedesktop.DBus",
        "path": "/org/freedesktop/DBus",
        "interface": "org.freedesktop.DBus",
    }
    objects = {
        "destination": "org.bluez",
        "path": "/",
        "interface": "org.freedesktop.DBus.ObjectManager",
    }
    try:
        if not await call("NameHasOwner", text="org.bluez", **dbus):
            raise Fault(
                "bluetoothd does not run",
                "start it: systemctl enable --now bluetooth (package bluez)",
            )
        found: Mapping[str, Mapping[str, Mapping[str, Any]]] = await call(
            "GetManagedObjects", text="", **objects
        )
    except ERRORS as error:
        raise Fault(
            f"bluetoothd gives no answer ({reason_of(error)})",
            "restart it: systemctl restart bluetooth",
        ) from error
    finally:
        bus.disconnect()
        with suppress(*ERRORS):
            await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
    return {
        path.rpartition("/")[2]: bool(interfaces[_ADAPTER]["Powered"].value)
        for path, interfaces in sorted(found.items())
        if _ADAPTER in interfaces
    }


def require_adapter(adapter: str, adapters: Mapping[str, bool], *, rfkill: Path = RFKILL) -> None:
    """Refuse an adapter that is not there or off.

    Parameters
    ----------
    adapter : like ``hci0``
    adapters : as `find_adapters` gives them
    rfkill : where Linux says which radios are blocked

    Raises
    ------
    Fault
        It cannot be used.
    """
    if adapter not in adapters:
        there = ", ".join(adapters)
        found = f"there is no {adapter}, but {there}" if there else "bluetoothd has no adapter"
        raise Fault(
            found,
            f"say adapter = {next(iter(adapters))!r} or plug the other in"
            if there
            else "plug one in, or enable the one of this machine; see dmesg and rfkill list",
        )
    if not adapters[adapter]:
        block = _block(adapter, rfkill)
        if block == "hard":
            raise Fault(f"{adapter} is off, blocked by a switch of this machine", "use that switch")
        if block == "soft":
            raise Fault(f"{adapter} is off, blocked by rfkill", "rfkill unblock bluetooth")
        raise Fault(
            f"{adapter} is off",
            "bluetoothctl power on (the agent does so at its start); if it stays off: rfkill list",
        )


def _looked(adapter: str, adapters: Mapping[str, bool], rfkill: Path) -> str:
    require_adapter(adapter, adapters, rfkill=rfkill)
    return f"{adapter} is there and on"


def _block(adapter: str, rfkill: Path) -> str | None:
    for entry in sorted(rfkill.glob("rfkill*")):
        values = {name: _text(entry / name) for name in ("type", "name", "soft", "hard")}
        if values["type"] != "bluetooth" or values["name"] not in {adapter, ""}:
            continue
        if values["hard"] == "1":
            return "hard"
        if values["soft"] == "1":
            return "soft"
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
