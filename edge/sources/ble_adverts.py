"""From what bleak says of an advert back to its bytes.

Rules of the file: the AD structures are rebuilt so that the profiles see what a radio
sees. BlueZ does not keep, so these cannot be rebuilt: the order of the structures (here:
flags, services, service data, manufacturer, name, power), repeated structures of one
company or service (the last one stays), whether a list or a name was complete (here: it
is), appearance and other types; name and services are those last heard, not always of
this very packet; in a passive scan that may be so of data, too. An address that changes
is never handed on as identity: only public and random static ones are. Types: Bluetooth
Core Specification Supplement, Part A.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import msgspec

from firmware_profiles.advert import FLAGS, MANUFACTURER, SERVICE_DATA16, address_kind
from firmware_profiles.registry import Registry

if TYPE_CHECKING:
    from bleak.backends.scanner import AdvertisementData

AddressKind = Literal[
    "public", "random_static", "resolvable_private", "non_resolvable_private", "reserved"
]
LASTING = {"public", "random_static"}
_BASE_UUID = "-0000-1000-8000-00805f9b34fb"
_SERVICES16, _SERVICES32, _SERVICES128, _NAME, _TX_POWER = 0x03, 0x05, 0x07, 0x09, 0x0A
_SERVICE_DATA32, _SERVICE_DATA128 = 0x20, 0x21
_PAYLOAD_MOST = 254
_FLAG_VALUES = (b"\x02", b"\x04", b"\x05", b"\x06", b"\x0a", b"\x1a")
Hex4 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{4}$")]
ServiceText = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{4}$|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
]


class Packet(NamedTuple):
    """What bleak says of one advert."""

    t_ns: int
    heard_s: float
    rssi_dbm: int
    address: str
    kind: str
    companies: Mapping[int, bytes]
    services: Mapping[str, bytes]
    listed: Iterable[str]
    name: str | None
    tx_power_dbm: int | None
    flags: bytes
    is_fresh: bool = True


class AllowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[source.allow]``: who is listened to; an empty list allows all."""

    companies: tuple[Hex4, ...] = ()
    services: tuple[ServiceText, ...] = ()
    address_kinds: tuple[AddressKind, ...] = ()


class AllowList:
    """Says who is listened to.

    Parameters
    ----------
    settings : company numbers and services as hex digits; kinds of addresses. A sender
        passes when its company or one of its services is listed, and its kind too
    """

    def __init__(self, settings: AllowSettings) -> None:
        self._companies = {int(text, 16) for text in settings.companies}
        self._services = {
            f"0000{text}{_BASE_UUID}" if len(text) == 4 else text for text in settings.services
        }
        self._kinds = set(settings.address_kinds)
        self._names_senders = bool(self._companies or self._services)
        self.allows_all = not self._names_senders and not self._kinds

    def admits(self, packet: Packet) -> bool:
        """Tell whether a packet may be looked at.

        Parameters
        ----------
        packet : as heard
        """
        if self._kinds and packet.kind not in self._kinds:
            return False
        return not self._names_senders or (
            not self._companies.isdisjoint(packet.companies)
            or not self._services.isdisjoint(packet.services)
            or not self._services.isdisjoint(packet.listed)
        )


def packet_of(
    address: str,
    advert: "AdvertisementData",
    *,
    t_ns: int,
    heard_s: float,
    is_fresh: bool = True,
) -> Packet:
    """Take from bleak's record what is needed, and let go of the rest.

    Parameters
    ----------
    address : of the sender, as printed
    advert : with BlueZ's properties of the device in its `platform_data`
    t_ns : [ns] when, on the agent's clock
    heard_s : [s] when, on a clock that only goes forward
    is_fresh : whether the data came with this packet
    """
    properties = advert.platform_data[1]
    return Packet(
        t_ns,
        heard_s,
        advert.rssi,
        address,
        kind_of(address, is_random=properties.get("AddressType") == "random"),
        advert.manufacturer_data,
        advert.service_data,
        advert.service_uuids,
        advert.local_name,
        advert.tx_power,
        bytes(properties.get("AdvertisingFlags", b"")),
        is_fresh,
    )


def kind_of(address: str, *, is_random: bool) -> str:
    """Return what kind of address this is, ``reserved`` when it is none.

    Parameters
    ----------
    address : as printed, ``C4:01:02:03:04:05``
    is_random : what BlueZ says in ``AddressType``
    """
    try:
        octets = bytes.fromhex(address.replace(":", ""))
    except ValueError:
        return "reserved"
    return address_kind(octets, random=is_random) if len(octets) == 6 else "reserved"


def advert_of(packet: Packet) -> bytes:
    """Rebuild the AD structures of an advert.

    Parameters
    ----------
    packet : as heard

    Returns
    -------
    data : as a radio would give it, but for what the file's docstring says
    """
    parts: list[tuple[int, bytes]] = []
    if packet.flags:
        parts.append((FLAGS, packet.flags))
    lists = {_SERVICES16: b"", _SERVICES32: b"", _SERVICES128: b""}
    for text in packet.listed:
        little = _little(text)
        kind = {2: _SERVICES16, 4: _SERVICES32, 16: _SERVICES128}.get(len(little))
        if kind is not None and little not in lists[kind]:
            lists[kind] += little
    parts += [(kind, octets) for kind, octets in lists.items() if octets]
    for text, payload in packet.services.items():
        little = _little(text)
        kind = {2: SERVICE_DATA16, 4: _SERVICE_DATA32, 16: _SERVICE_DATA128}.get(len(little))
        if kind is not None:
            parts.append((kind, little + payload))
    for company, payload in packet.companies.items():
        parts.append((MANUFACTURER, company.to_bytes(2, "little") + payload))
    if packet.name:
        parts.append((_NAME, packet.name.encode()))
    if packet.tx_power_dbm is not None and -128 <= packet.tx_power_dbm < 128:
        parts.append((_TX_POWER, packet.tx_power_dbm.to_bytes(1, "big", signed=True)))
    return b"".join(
        bytes((len(payload) + 1, kind)) + payload
        for kind, payload in parts
        if len(payload) <= _PAYLOAD_MOST
    )


def passive_patterns(registry: Registry, *, with_phones: bool) -> list[tuple[int, int, bytes]]:
    """Return what BlueZ must look for in a passive scan, which has no "everything".

    Parameters
    ----------
    registry : the profiles: their companies and services
    with_phones : also everything with the usual flags, for enrolled phones

    Returns
    -------
    patterns : (where in the payload, AD type, bytes)
    """
    found = {
        (0, number >> 16, (number & 0xFFFF).to_bytes(2, "little")) for number in registry.by_id
    }
    found |= {(2, MANUFACTURER, prefix.to_bytes(2, "big")) for prefix in registry.by_prefix}
    if with_phones:
        found |= {(0, FLAGS, value) for value in _FLAG_VALUES}
    return sorted(found)


@lru_cache(maxsize=1024)
def _little(text: str) -> bytes:
    """Return a service's number as it is sent, shortest form; nothing if it is none."""
    text = text.lower()
    if text.endswith(_BASE_UUID) and len(text) == 36:
        text = text[4:8] if text.startswith("0000") else text[:8]
    try:
        return bytes.fromhex(text.replace("-", ""))[::-1]
    except ValueError:
        return b""
