"""Who is on the air: adverts counted by company and service, and who understands them.

Rules of the file: addresses are only compared, to count devices, and leave this module
only where they were asked for. Senders and devices are bounded; what does not fit is
counted as such, so that figures never pretend to be complete. An adapter that is off
stays off. BlueZ is asked to forget nobody: an agent may use the same adapter.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edge.check_radio import find_adapters, require_adapter
from edge.discover_names import name_of
from edge.sources.ble_adverts import LASTING, Packet, advert_of, packet_of
from firmware_profiles.advert import sender_ids
from firmware_profiles.decoded import Rejected
from firmware_profiles.registry import Registry

if TYPE_CHECKING:
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData

SENDERS_MOST, DEVICES_MOST = 256, 8192
NAMELESS = "nameless"
"""Adverts that name no company and no service."""
_NO_RSSI = {None, 0, -127, 127}
_TELL_S = 0.5


@dataclass(slots=True)
class Sender:
    """What was heard of one company or service."""

    adverts: int = 0
    devices: int = 0
    best_rssi_dbm: int = -127
    kinds: Counter[str] = field(default_factory=Counter)
    decoded: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Device:
    """One address: how often, how strong, and of which senders it is."""

    kind: str
    adverts: int = 0
    best_rssi_dbm: int = -127
    senders: set[str] = field(default_factory=set)


class Census:
    """Counts adverts.

    Parameters
    ----------
    registry : the profiles
    senders_most, devices_most : that are told apart
    """

    def __init__(
        self,
        registry: Registry,
        *,
        senders_most: int = SENDERS_MOST,
        devices_most: int = DEVICES_MOST,
    ) -> None:
        self.adverts = self.beyond_senders = self.beyond_devices = 0
        self.senders: dict[str, Sender] = {}
        self.devices: dict[str, Device] = {}
        self._registry = registry
        self._senders_most, self._devices_most = senders_most, devices_most

    def hear(self, packet: Packet) -> None:
        """Count one advert.

        Parameters
        ----------
        packet : as heard
        """
        self.adverts += 1
        data = advert_of(packet)
        device = self._device(packet)
        ids = sender_ids(data) or (NAMELESS,)
        address = packet.address if packet.kind in LASTING else None
        found = self._registry.decode_advert(data, address=address)
        owners = ids if isinstance(found, Rejected) else self._owners(ids, found.profile)
        for name in ids:
            sender = self._sender(name)
            if sender is None:
                continue
            sender.adverts += 1
            sender.best_rssi_dbm = max(sender.best_rssi_dbm, packet.rssi_dbm)
            if device is not None and name not in device.senders:
                device.senders.add(name)
                sender.devices += 1
                sender.kinds[packet.kind] += 1
            if isinstance(found, Rejected):
                sender.rejected[found.reason] += 1
            elif name in owners:
                sender.decoded[found.profile] += 1

    def _owners(self, ids: tuple[str, ...], device: str) -> tuple[str, ...]:
        """Return the senders whose profile it was that understood."""
        profiles = self._registry.profiles
        of_profile = tuple(
            name
            for name in ids
            if name != NAMELESS
            and any(profiles[p].device == device for p in self._registry.profiles_for(name))
        )
        companies = tuple(name for name in ids if name.startswith("company:"))
        return of_profile or companies or ids

    def _sender(self, name: str) -> Sender | None:
        sender = self.senders.get(name)
        if sender is None:
            if len(self.senders) >= self._senders_most:
                self.beyond_senders += 1
                return None
            sender = self.senders[name] = Sender()
        return sender

    def _device(self, packet: Packet) -> Device | None:
        device = self.devices.get(packet.address)
        if device is None:
            if len(self.devices) >= self._devices_most:
                self.beyond_devices += 1
                return None
            device = self.devices[packet.address] = Device(packet.kind)
        device.adverts += 1
        device.best_rssi_dbm = max(device.best_rssi_dbm, packet.rssi_dbm)
        return device

    def as_dict(self, seconds: float, *, with_addresses: bool = False) -> dict[str, Any]:
        """Return everything, for programs.

        Parameters
        ----------
        seconds : [s] how long was listened
        with_addresses : list the devices, too
        """
        found: dict[str, Any] = {
            "adverts": self.adverts,
            "adverts_per_s": round(self.adverts / seconds, 2),
            "devices": len(self.devices),
            "adverts_of_further_devices": self.beyond_devices,
            "adverts_of_further_senders": self.beyond_senders,
            "senders": [
                self._row(name, sender, seconds)
                for name, sender in sorted(self.senders.items(), key=lambda pair: -pair[1].adverts)
            ],
        }
        if with_addresses:
            strongest = sorted(self.devices.items(), key=lambda pair: -pair[1].best_rssi_dbm)
            found["addresses"] = [
                {
                    "address": address,
                    "kind": device.kind,
                    "adverts": device.adverts,
                    "best_rssi_dbm": device.best_rssi_dbm,
                    "senders": sorted(device.senders),
                }
                for address, device in strongest
            ]
        return found

    def _row(self, name: str, sender: Sender, seconds: float) -> dict[str, Any]:
        fits = () if name == NAMELESS else self._registry.profiles_for(name)
        return {
            "sender": name,
            "name": name_of(name),
            "devices": sender.devices,
            "kinds": dict(sender.kinds),
            "adverts": sender.adverts,
            "adverts_per_s": round(sender.adverts / seconds, 2),
            "best_rssi_dbm": sender.best_rssi_dbm,
            "profiles": list(fits),
            "decoded": dict(sender.decoded),
            "rejected": dict(sender.rejected),
        }


async def listen(
    census: Census, adapters: Iterable[str], *, seconds: float, tell: Callable[[float], None]
) -> None:
    """Count what some adapters hear for a while.

    Parameters
    ----------
    census : counts
    adapters : names, like ``hci0``
    seconds : [s]
    tell : called now and then with the seconds that have passed

    Raises
    ------
    Fault
        An adapter cannot be used; it is not switched on.
    SourceUnavailable
        BlueZ refuses the scan, or went away.
    """
    there = await find_adapters()
    names = list(dict.fromkeys(adapters))
    for name in names:
        require_adapter(name, there)
    from edge.sources.ble_control import AdapterControl
    from edge.sources.ble_radio import Radio
    from edge.sources.source import SourceUnavailable

    loop = asyncio.get_running_loop()

    def hear(device: "BLEDevice", advert: "AdvertisementData", is_fresh: bool = True) -> None:
        if advert.rssi not in _NO_RSSI:
            census.hear(
                packet_of(device.address, advert, t_ns=0, heard_s=loop.time(), is_fresh=is_fresh)
            )

    radios = [
        Radio(AdapterControl(name), name, hear, patterns=None, devices_max=DEVICES_MOST)
        for name in names
    ]
    try:
        for radio in radios:
            await radio.control.open()
            await radio.scan()
        began_s = loop.time()
        while (passed_s := loop.time() - began_s) < seconds:
            tell(passed_s)
            await asyncio.sleep(min(_TELL_S, seconds - passed_s))
            lost = next((r.control.lost for r in radios if r.control.lost is not None), None)
            if lost is not None:
                raise SourceUnavailable(lost)
        tell(seconds)
    finally:
        for radio in radios:
            await radio.close()
            await radio.control.close()


def as_lines(found: dict[str, Any]) -> list[str]:
    """Return what was heard as a table.

    Parameters
    ----------
    found : of `Census.as_dict`
    """
    lines = [
        f"{found['devices']} devices, {found['adverts']} adverts, {found['adverts_per_s']:g} a s",
        f"{'sender':<14} {'name':<22} {'devices':>7} {'adverts/s':>9} {'best dBm':>8}  understood",
    ]
    for row in found["senders"]:
        lines.append(
            f"{row['sender']:<14.14} {row['name']:<22.22} {row['devices']:>7} "
            f"{row['adverts_per_s']:>9.2f} {row['best_rssi_dbm']:>8}  {_understood(row)}"
        )
        kinds = ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items())
        lines.append(f"{'':<14} addresses: {kinds or 'not told apart'}")
    for key, what in (
        ("adverts_of_further_devices", "devices"),
        ("adverts_of_further_senders", "senders"),
    ):
        if found[key]:
            lines.append(f"and {found[key]} adverts of more {what} than are told apart")
    lines += [
        f"{one['address']}  {one['kind']:<24} {one['adverts']:>6} adverts "
        f"{one['best_rssi_dbm']:>5} dBm  {', '.join(one['senders'])}"
        for one in found.get("addresses", ())
    ]
    return lines


def _understood(row: dict[str, Any]) -> str:
    parts = [f"{count} by {name}" for name, count in row["decoded"].items()]
    rejected = row["rejected"]
    if rejected and not parts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
        known = f"known to {', '.join(row['profiles'])}, but " if row["profiles"] else ""
        return f"none: {known}{reasons}" if known else f"no profile ({reasons})"
    if rejected:
        parts.append(f"{sum(rejected.values())} not")
    return ", ".join(parts)
