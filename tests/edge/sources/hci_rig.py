"""Adverts as HCI bytes: virtual controllers, a scanning host, and what BlueZ makes of them.

Rules of the file: commands and events cross as bytes, as on a real transport. What the
kernel and bluetoothd do to a report is written down here from their sources, apart from
the simulator's stand-in, so that each checks the other: Linux ``net/bluetooth/hci_event.c``
(`process_adv_report`), BlueZ ``src/eir.c`` (`eir_parse`) and ``src/shared/ad.c``. The last
step, from D-Bus properties to `AdvertisementData`, is bleak's own code.
"""

import asyncio
import uuid
from contextlib import asynccontextmanager

from bumble import hci
from bumble.controller import Controller
from bumble.host import Host
from bumble.link import LocalLink

from edge.sources.ble_radio import _Scanner
from tests.edge.agents import until

BASE = uuid.UUID("00000000-0000-1000-8000-00805f9b34fb").int
LEGACY_MOST, EXTENDED_MOST = 31, 229
_COMPLETE = 0x03


class Air:
    """One advertiser and one scanner on one link; what the scanner's host was told."""

    def __init__(self, *, extended):
        link = LocalLink()
        self.advertiser = Controller("advertiser", link=link, public_address="A4:C1:38:8D:18:B2")
        self.scanner = Controller("scanner", link=link, public_address="00:1A:7D:DA:71:00")
        if not extended:
            self.scanner.le_features &= ~hci.LeFeatureMask.LE_EXTENDED_ADVERTISING
        self.extended, self.reports, self.packets = extended, [], []
        self.host = Host(controller_source=self.scanner, controller_sink=self.scanner)
        self.host.on("advertising_report", self.reports.append)
        heard, self.scanner.hci_sink = self.scanner.hci_sink, self
        self._heard = heard
        self.advertiser.hci_sink = _Nowhere()

    def on_packet(self, packet):
        self.packets.append(packet)
        self._heard.on_packet(packet)

    async def scan(self):
        await self.host.reset()
        if self.extended:
            phys = {"scan_types": [1], "scan_intervals": [16], "scan_windows": [16]}
            await self.host.send_sync_command(
                hci.HCI_LE_Set_Extended_Scan_Parameters_Command(
                    own_address_type=0, scanning_filter_policy=0, scanning_phys=1, **phys
                )
            )
            await self.host.send_sync_command(
                hci.HCI_LE_Set_Extended_Scan_Enable_Command(
                    enable=1, filter_duplicates=0, duration=0, period=0
                )
            )
        else:
            await self.host.send_sync_command(
                hci.HCI_LE_Set_Scan_Parameters_Command(
                    le_scan_type=1,
                    le_scan_interval=16,
                    le_scan_window=16,
                    own_address_type=0,
                    scanning_filter_policy=0,
                )
            )
            await self.host.send_sync_command(
                hci.HCI_LE_Set_Scan_Enable_Command(le_scan_enable=1, filter_duplicates=0)
            )

    async def hear(self, data, address="A4:C1:38:8D:18:B2", *, is_random=False):
        """Advertise once; return the first report of it, and its event's bytes."""
        self.reports.clear()
        self.packets.clear()
        for command in (self._extended if self.extended else self._legacy)(
            data, address, is_random=is_random
        ):
            self.advertiser.on_packet(bytes(command))
        await until(lambda: self.reports)
        for command in self._silence():
            self.advertiser.on_packet(bytes(command))
        return self.reports[0], self.packets[0]

    def _legacy(self, data, address, *, is_random):
        assert len(data) <= LEGACY_MOST
        if is_random:
            yield hci.HCI_LE_Set_Random_Address_Command(random_address=hci.Address(address))
        yield hci.HCI_LE_Set_Advertising_Parameters_Command(
            advertising_interval_min=160,
            advertising_interval_max=160,
            advertising_type=0,
            own_address_type=int(is_random),
            peer_address_type=0,
            peer_address=hci.Address.ANY,
            advertising_channel_map=7,
            advertising_filter_policy=0,
        )
        yield hci.HCI_LE_Set_Advertising_Data_Command(advertising_data=data)
        yield hci.HCI_LE_Set_Advertising_Enable_Command(advertising_enable=1)

    def _extended(self, data, address, *, is_random):
        assert len(data) <= EXTENDED_MOST
        yield hci.HCI_LE_Set_Extended_Advertising_Parameters_Command(
            advertising_handle=1,
            advertising_event_properties=0,
            primary_advertising_interval_min=160,
            primary_advertising_interval_max=160,
            primary_advertising_channel_map=7,
            own_address_type=int(is_random),
            peer_address_type=0,
            peer_address=hci.Address.ANY,
            advertising_filter_policy=0,
            advertising_tx_power=0,
            primary_advertising_phy=1,
            secondary_advertising_max_skip=0,
            secondary_advertising_phy=1,
            advertising_sid=0,
            scan_request_notification_enable=0,
        )
        if is_random:
            yield hci.HCI_LE_Set_Advertising_Set_Random_Address_Command(
                advertising_handle=1, random_address=hci.Address(address)
            )
        yield hci.HCI_LE_Set_Extended_Advertising_Data_Command(
            advertising_handle=1,
            operation=_COMPLETE,
            fragment_preference=1,
            advertising_data=data,
        )
        yield hci.HCI_LE_Set_Extended_Advertising_Enable_Command(
            enable=1,
            advertising_handles=[1],
            durations=[0],
            max_extended_advertising_events=[0],
        )

    def _silence(self):
        if self.extended:
            yield hci.HCI_LE_Remove_Advertising_Set_Command(advertising_handle=1)
        else:
            yield hci.HCI_LE_Set_Advertising_Enable_Command(advertising_enable=0)


class _Nowhere:
    def on_packet(self, packet):
        del packet


@asynccontextmanager
async def on_the_air(*, extended=False):
    air = Air(extended=extended)
    await air.scan()
    yield air


def legacy_event(*reports):
    """Build an LE Advertising Report event of (type, address type, address, data, rssi).

    Bluetooth Core Specification, Vol 4 Part E, 7.7.65.2; reports one after the other, as
    controllers send them and as the kernel reads them.
    """
    body = bytes((0x02, len(reports)))
    for kind, address_type, address, data, rssi in reports:
        octets = bytes.fromhex(address.replace(":", ""))[::-1]
        body += bytes((kind, address_type)) + octets + bytes((len(data),)) + data
        body += rssi.to_bytes(1, "little", signed=True)
    return bytes((0x04, 0x3E, len(body))) + body


def parse_event(packet):
    """Take an LE (Extended) Advertising Report apart, by the specification and nothing else."""
    assert packet[:2] == b"\x04\x3e"
    assert len(packet) == packet[2] + 3
    subevent, count, at = packet[3], packet[4], 5
    found = []
    for _ in range(count):
        wide = subevent == 0x0D
        at += 2 if wide else 1
        address_type, octets = packet[at], packet[at + 1 : at + 7][::-1]
        at += 7
        if wide:  # two PHYs, SID, power; then RSSI; then interval and the direct address
            rssi = int.from_bytes(packet[at + 4 : at + 5], "little", signed=True)
            at += 14
        size = packet[at]
        data = packet[at + 1 : at + 1 + size]
        at += 1 + size
        if not wide:
            rssi = int.from_bytes(packet[at : at + 1], "little", signed=True)
            at += 1
        found.append((address_type, ":".join(f"{o:02X}" for o in octets), data, rssi))
    assert at == len(packet)
    return found


def kernel_trim(data):
    """Return the whole structures of an advert, as the kernel hands it on."""
    at = 0
    while at < len(data) and data[at] and at + 1 + data[at] <= len(data):
        at += 1 + data[at]
    return data[:at]


def bluez_properties(data, address, *, is_random, rssi):
    """Return the values of ``org.bluez.Device1`` of a device that was just found."""
    found = {
        "Address": address,
        "AddressType": "random" if is_random else "public",
        "Alias": address.replace(":", "-"),
        "RSSI": rssi,
    }
    companies, services, listed = {}, {}, []
    data, at = kernel_trim(data), 0
    while at < len(data):
        kind, payload = data[at + 1] if data[at] else 0, data[at + 2 : at + 1 + data[at]]
        at += 1 + data[at]
        if kind in LISTS:
            size = LISTS[kind]
            for begin in range(0, len(payload) - size + 1, size):
                text = uuid_text(payload[begin : begin + size])
                if text not in listed:
                    listed.append(text)
        elif kind in SERVICE_DATA and len(payload) >= SERVICE_DATA[kind]:
            size = SERVICE_DATA[kind]
            services[uuid_text(payload[:size])] = payload[size:]
        elif kind == 0xFF and len(payload) >= 2:
            companies[payload[0] | payload[1] << 8] = payload[2:]
        elif kind in {0x08, 0x09}:
            name = payload.rstrip(b"\x00")
            try:
                text = name.decode("utf-8")
            except UnicodeDecodeError:
                text = "".join(chr(octet) if octet < 0x80 else " " for octet in name)
            found["Name"] = found["Alias"] = text.strip()
        elif kind == 0x0A and payload:
            found["TxPower"] = int.from_bytes(payload[:1], "little", signed=True)
        elif kind == 0x01 and payload:
            found["AdvertisingFlags"] = payload[:1]
    if companies:
        found["ManufacturerData"] = companies
    if services:
        found["ServiceData"] = services
    return {**found, "UUIDs": listed}


LISTS = {0x02: 2, 0x03: 2, 0x04: 4, 0x05: 4, 0x06: 16, 0x07: 16}
SERVICE_DATA = {0x16: 2, 0x20: 4, 0x21: 16}


def uuid_text(little):
    number = int.from_bytes(little, "little")
    return str(uuid.UUID(int=number if len(little) == 16 else BASE + (number << 96)))


def through_bleak(properties):
    """Return the device and the record that bleak's own code makes of BlueZ's properties."""
    found = []
    scanner = _Scanner(
        lambda device, advert: found.append((device, advert)), None, "active", bluez={}
    )
    scanner._handle_advertising_data("/org/bluez/hci0/dev_x", properties)
    return found[-1]


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))
