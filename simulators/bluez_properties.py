"""From the bytes of an advert to the properties of a device, as bluetoothd makes them.

Rules of the file: pure. Order and repetition of AD structures are lost here as they are
in BlueZ. Source: BlueZ 5 ``src/eir.c`` and ``doc/org.bluez.Device.rst``.
"""

import uuid
from typing import Any

from dbus_fast import Variant

_FLAGS, _TX_POWER, _MANUFACTURER = 0x01, 0x0A, 0xFF
_LISTS = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}
_SERVICE_DATA = {0x16: 2, 0x20: 4, 0x21: 16}
_NAMES = (0x08, 0x09)
_BASE = uuid.UUID("00000000-0000-1000-8000-00805f9b34fb").int


def device_properties(structures: list[tuple[int, bytes]], rssi_dbm: int) -> dict[str, Variant]:
    """Return what an advert changes of a device.

    Parameters
    ----------
    structures : types and payloads
    rssi_dbm : [dBm] how strong it was

    Returns
    -------
    properties : of ``org.bluez.Device1``
    """
    found: dict[str, Variant] = {"RSSI": Variant("n", rssi_dbm)}
    companies: dict[int, Variant] = {}
    services: dict[str, Variant] = {}
    listed: list[str] = []
    for kind, payload in structures:
        if kind == _MANUFACTURER and len(payload) >= 2:
            companies[int.from_bytes(payload[:2], "little")] = Variant("ay", payload[2:])
        elif kind in _SERVICE_DATA and len(payload) >= _SERVICE_DATA[kind]:
            size = _SERVICE_DATA[kind]
            services[_uuid(payload[:size])] = Variant("ay", payload[size:])
        elif kind in _LISTS:
            size = _LISTS[kind]
            whole = range(0, len(payload) - size + 1, size)
            listed += [_uuid(payload[at : at + size]) for at in whole]
        elif kind in _NAMES:
            name = payload.decode("utf-8", "replace").rstrip("\x00")
            found["Name"] = found["Alias"] = Variant("s", name)
        elif kind == _TX_POWER and len(payload) == 1:
            found["TxPower"] = Variant("n", int.from_bytes(payload, "big", signed=True))
        elif kind == _FLAGS and payload:
            found["AdvertisingFlags"] = Variant("ay", payload[:1])
    if companies:
        found["ManufacturerData"] = Variant("a{qv}", companies)
    if services:
        found["ServiceData"] = Variant("a{sv}", services)
    if listed:
        found["UUIDs"] = Variant("as", listed)
    return found


def monitor_hears(patterns: list[Any], structures: list[tuple[int, bytes]]) -> bool:
    """Tell whether an advert fits one of the patterns of a passive scan.

    Parameters
    ----------
    patterns : (where in the payload, AD type, bytes)
    structures : types and payloads
    """
    return any(
        kind == wanted and payload[at : at + len(content)] == bytes(content)
        for at, wanted, content in patterns
        for kind, payload in structures
    )


def _uuid(little: bytes) -> str:
    number = int.from_bytes(little, "little")
    return str(uuid.UUID(int=number if len(little) == 16 else _BASE + (number << 96)))
