"""The stand-in of bluetoothd, seen by a plain D-Bus client."""

import asyncio

import pytest
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus

from firmware_profiles.advert import ad_structures
from simulators.bluez import BluezStandIn
from simulators.bluez_properties import device_properties
from tests.edge.agents import until
from tests.edge.sources.bluez_rig import open_bus

pytestmark = [pytest.mark.system]
HCI0, BAND = "/org/bluez/hci0", "C4:00:00:00:00:01"
PATH = f"{HCI0}/dev_C4_00_00_00_00_01"
BEACON = bytes.fromhex("0201061aff4c000215b9407f30f5f8466eaff925556b57fe6d00010100b4")
RULES = (
    "type='signal',interface='org.freedesktop.DBus.ObjectManager'",
    "type='signal',interface='org.freedesktop.DBus.Properties'",
    "type='signal',member='NameOwnerChanged',arg0='org.bluez'",
)


class Client:
    """A client that keeps the signals it sees."""

    async def connect(self, bus):
        self.signals = []
        self.bus = await MessageBus(bus_address=bus.address).connect()
        self.bus.add_message_handler(self.keep)
        for rule in RULES:
            await self.call(
                "org.freedesktop.DBus",
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "AddMatch",
                "s",
                [rule],
            )
        return self

    def keep(self, message):
        if message.message_type is MessageType.SIGNAL and message.member != "NameAcquired":
            self.signals.append((message.member, message.path, message.body))

    async def call(self, to, path, interface, member, signature="", body=()):
        return await self.bus.call(
            Message(
                destination=to,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=list(body),
            )
        )

    async def adapter(self, member, signature="", body=(), *, path=HCI0):
        return await self.call("org.bluez", path, "org.bluez.Adapter1", member, signature, body)

    async def power(self, on):
        return await self.call(
            "org.bluez",
            HCI0,
            "org.freedesktop.DBus.Properties",
            "Set",
            "ssv",
            ["org.bluez.Adapter1", "Powered", Variant("b", on)],
        )

    async def objects(self):
        reply = await self.call(
            "org.bluez", "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"
        )
        return reply.body[0]

    def members(self):
        return [member for member, _, _ in self.signals]


def with_client(work):
    async def run():
        with open_bus() as bus:
            stand_in = BluezStandIn(bus.address)
            await stand_in.start_service()
            client = await Client().connect(bus)
            try:
                await work(stand_in, client)
            finally:
                client.bus.disconnect()
                await client.bus.wait_for_disconnect()
                await stand_in.stop_service()

    asyncio.run(run())


def test_an_advert_is_heard_only_while_somebody_scans():
    async def work(stand_in, client):
        assert not await stand_in.advertise("hci0", BAND, -60, BEACON)
        assert (await client.adapter("StartDiscovery")).message_type is MessageType.METHOD_RETURN
        assert (await client.adapter("StartDiscovery")).error_name == "org.bluez.Error.InProgress"
        assert await stand_in.advertise("hci0", BAND, -60, BEACON, kind="random")
        assert await stand_in.advertise("hci0", BAND, -59, BEACON, kind="random")
        await until(lambda: client.members().count("PropertiesChanged") == 2)
        added = next(body for member, _, body in client.signals if member == "InterfacesAdded")
        device = added[1]["org.bluez.Device1"]
        assert added[0] == PATH
        assert (device["Address"].value, device["AddressType"].value) == (BAND, "random")
        assert device["RSSI"].value == -60
        assert device["ManufacturerData"].value[0x004C].value == BEACON[7:]
        assert client.signals[-1][1] == PATH
        assert client.signals[-1][2][1]["RSSI"].value == -59
        assert PATH in await client.objects()
        assert (await client.adapter("StopDiscovery")).message_type is MessageType.METHOD_RETURN
        assert not await stand_in.advertise("hci0", BAND, -60, BEACON)

    with_client(work)


def test_without_a_wish_for_duplicates_data_that_stay_are_not_told_again():
    async def work(stand_in, client):
        wish = {"DuplicateData": Variant("b", False)}
        await client.adapter("SetDiscoveryFilter", "a{sv}", [wish])
        await client.adapter("StartDiscovery")
        for rssi_dbm in (-60, -61):
            await stand_in.advertise("hci0", BAND, rssi_dbm, BEACON)
        await until(lambda: client.signals[-1][1] == PATH)
        assert set(client.signals[-1][2][1]) == {"RSSI"}

    with_client(work)


def test_power_and_removal():
    async def work(stand_in, client):
        await client.adapter("StartDiscovery")
        await stand_in.advertise("hci0", BAND, -60, BEACON)
        await client.adapter("RemoveDevice", "o", [PATH])
        assert PATH not in await client.objects()
        again = await client.adapter("RemoveDevice", "o", [PATH])
        assert again.error_name == "org.bluez.Error.DoesNotExist"
        await client.power(False)
        assert (await client.adapter("StartDiscovery")).error_name == "org.bluez.Error.NotReady"
        await client.power(True)
        assert not await stand_in.advertise("hci0", BAND, -60, BEACON)  # power ended the scan
        await stand_in.remove_adapter("hci0")
        assert HCI0 not in await client.objects()
        gone = await client.adapter("StartDiscovery")
        assert gone.error_name == "org.freedesktop.DBus.Error.UnknownMethod"
        assert ["InterfacesRemoved", HCI0] in [[m, b[0]] for m, _, b in client.signals]

    with_client(work)


@pytest.mark.parametrize(
    ("until_cured", "heard"),
    [
        ("scan", [True, True, True]),
        ("power", [False, True, True]),
        ("service", [False, False, True]),
    ],
)
def test_a_deaf_adapter_says_that_it_discovers_and_hears_after_its_cure(until_cured, heard):
    async def work(stand_in, client):
        async def hears():
            return await stand_in.advertise("hci0", BAND, -60, BEACON)

        await client.adapter("StartDiscovery")
        stand_in.deafen("hci0", until=until_cured)
        assert not await hears()
        adapter = (await client.objects())[HCI0]["org.bluez.Adapter1"]
        assert adapter["Discovering"].value
        found = []
        await client.adapter("StopDiscovery")
        await client.adapter("StartDiscovery")
        found.append(await hears())
        await client.power(False)
        await client.power(True)
        await client.adapter("StartDiscovery")
        found.append(await hears())
        await stand_in.stop_service()
        await stand_in.start_service()
        await client.adapter("StartDiscovery")
        found.append(await hears())
        assert heard == found
        await until(lambda: client.members().count("NameOwnerChanged") == 2)

    with_client(work)


def test_a_client_that_leaves_ends_its_scan():
    async def work(stand_in, client):
        await client.adapter("StartDiscovery")
        assert stand_in.adapters["hci0"].scans
        client.bus.disconnect()
        await until(lambda: not stand_in.adapters["hci0"].scans)

    with_client(work)


def test_properties_are_made_as_bluez_makes_them():
    data = bytes.fromhex(
        "02011a0303aafe0516aafe1000020af40609436172740011079ecadc240ee5a9e093f3a3b50100406e"
    )
    found = {k: v.value for k, v in device_properties(ad_structures(data), -70).items()}
    assert found["AdvertisingFlags"] == b"\x1a"
    assert found["UUIDs"] == [
        "0000feaa-0000-1000-8000-00805f9b34fb",
        "6e400001-b5a3-f393-e0a9-e50e24dcca9e",
    ]
    assert found["ServiceData"]["0000feaa-0000-1000-8000-00805f9b34fb"].value == b"\x10\x00"
    assert (found["TxPower"], found["Name"], found["RSSI"]) == (-12, "Cart", -70)
