"""The Bluetooth source: real bleak, a real D-Bus, a stand-in of bluetoothd."""

import asyncio
from pathlib import Path

import pytest

from edge.measurement import Reading
from edge.sources.ble import BleSource
from fanous.benchmarks.bluetooth_rig import REGISTRY, address, beacon, beacon_tag
from tests.edge.agents import T0, until
from tests.edge.sources.bluez_rig import open_bus, running

pytestmark = [pytest.mark.system]
BAND = address(1)
PATH = f"/org/bluez/hci0/dev_{BAND.replace(':', '_')}"
BUTTON = bytes.fromhex("0201060a16d2fc40001d01643a01")
NEARBY = bytes.fromhex("02011a07ff4c001002440c")
IRK, RESOLVED = "ec0234a357c8ad05341010a60a397d9b", "70:81:94:0D:FB:AA"


@pytest.fixture(scope="module")
def bus():
    with open_bus() as bus:
        yield bus


@pytest.fixture(autouse=True)
def system_bus(bus, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)


def test_adverts_of_several_profiles_become_readings_with_the_right_tags(bus):
    eddystone = bytes.fromhex("0201060303aafe1716aafe00e3123456789012346789010000000000010000")
    altbeacon = bytes.fromhex(REGISTRY.profiles["altbeacon"].table["test"][0]["hex"])
    expected = REGISTRY.decode_advert(altbeacon).emits[0].tag

    async def work():
        async with running(bus) as rig:
            await rig.hears(
                ("hci0", address(1), -61, beacon(7)),
                ("hci0", address(2), -62, eddystone, "random"),
                ("hci0", address(3), -63, altbeacon),
                ("hci0", "A4:C1:38:8D:18:B2", -64, BUTTON),
                ("hci0", "3A:11:22:33:44:55", -65, beacon(8), "random"),
                ("hci0", address(1), -66, beacon(7)),
                ("hci0", address(1), -66, beacon(7)),
            )
            await until(lambda: len(rig.readings) == 7)
            found = [(reading.tag, reading.rssi_dbm) for reading in rig.readings]
            assert found == [
                (beacon_tag(7), -61),
                ("eddystone:12345678901234678901-000000000001", -62),
                (expected, -63),
                ("ble:a4c1388d18b2", -64),
                (beacon_tag(8), -65),
                (beacon_tag(7), -66),
                (beacon_tag(7), -66),
            ]
            assert rig.readings[0] == Reading(T0, "rx-1", beacon_tag(7), -61.0)

    asyncio.run(work())


def test_a_device_that_changes_what_it_sends_is_not_mixed_with_what_it_sent(bus):
    eddystone = bytes.fromhex("0201060303aafe1716aafe00e3123456789012346789010000000000010000")

    async def work():
        async with running(bus) as rig:
            await rig.hears(
                ("hci0", BAND, -60, beacon(1)),
                ("hci0", BAND, -60, eddystone),
                ("hci0", BAND, -60, beacon(2)),
                ("hci0", BAND, -60, eddystone),
            )
            await until(lambda: len(rig.readings) == 4)
            other = "eddystone:12345678901234678901-000000000001"
            assert rig.tags == [beacon_tag(1), other, beacon_tag(2), other]

    asyncio.run(work())


def test_property_noise_and_lost_rssi_are_no_packets(bus):
    async def work():
        async with running(bus) as rig:
            await rig.hears(("hci0", BAND, -60, beacon(1)))
            rig.stand_in.change_elsewhere(PATH)
            rig.stand_in.change_name(PATH)
            rig.stand_in.invalidate_rssi("hci0", PATH)
            assert await rig.stand_in.advertise("hci0", BAND, -127, beacon(1))
            await rig.hears(("hci0", BAND, -58, beacon(1)))
            await until(lambda: len(rig.readings) == 2)
            assert [reading.rssi_dbm for reading in rig.readings] == [-60, -58]
            assert rig.health["phantoms"] == 2
            assert rig.health["dropped"] == {"no_rssi": 1}

    asyncio.run(work())


def test_a_phone_is_counted_as_nobody_unless_its_key_is_enrolled(bus, tmp_path):
    (tmp_path / "irks.csv").write_text(f"name,irk\nphone-7,{IRK}\n")

    async def work(**table):
        async with running(bus, **table) as rig:
            await rig.hears(
                ("hci0", RESOLVED, -60, NEARBY, "random"),
                ("hci0", "4A:11:22:33:44:55", -60, NEARBY, "random"),
                ("hci0", "3A:11:22:33:44:55", -60, BUTTON, "random"),
            )
            await until(lambda: sum(rig.health["dropped"].values()) + len(rig.readings) == 3)
            return rig.tags, rig.health["dropped"]

    assert asyncio.run(work()) == ([], {"no_tag": 3})
    named = asyncio.run(work(irk_file=str(tmp_path / "irks.csv")))
    assert named == (["name:phone-7"], {"no_tag": 2})


def test_who_is_not_allowed_is_dropped_before_the_queue(bus):
    async def work():
        async with running(bus, allow={"companies": ["004c"]}) as rig:
            await rig.hears(
                ("hci0", BAND, -60, beacon(1)), ("hci0", "A4:C1:38:8D:18:B2", -60, BUTTON)
            )
            await until(lambda: rig.health["dropped"])
            assert rig.tags == [beacon_tag(1)]
            assert rig.health["dropped"] == {"not_allowed": 1}

    asyncio.run(work())


def test_a_passive_scan_reports_what_the_profiles_ask_for(bus):
    async def work():
        async with running(bus, mode="passive") as rig:
            await until(lambda: rig.stand_in.adapters["hci0"].monitors)
            assert rig.stand_in.calls["StartDiscovery"] == 0
            assert not await rig.stand_in.advertise("hci0", address(9), -60, b"\x02\x01\x06")
            await rig.hears(("hci0", BAND, -60, beacon(1)))
            await until(lambda: rig.tags == [beacon_tag(1)])

    asyncio.run(work())


def test_each_adapter_has_a_source_of_its_own(bus):
    async def work():
        async with running(bus, adapter="hci1", name="second") as rig:
            first = BleSource.from_table(
                {"receiver": "rx-0"}, subject="first", base=Path(), now_ns=lambda: T0
            )
            taken = []

            async def emit(measurements):
                taken.extend(measurements)

            task = asyncio.create_task(first.run(emit))
            await until(lambda: first.health()["radio"] == "scanning")
            await rig.stand_in.advertise("hci0", BAND, -50, beacon(1))
            await rig.stand_in.advertise("hci1", BAND, -70, beacon(1))
            await until(lambda: taken and rig.readings)
            task.cancel()
            await asyncio.wait([task])
            assert taken == [Reading(T0, "rx-0", beacon_tag(1), -50.0)]
            assert rig.readings == [Reading(T0, "rx-1", beacon_tag(1), -70.0)]

    asyncio.run(work())


def test_a_full_queue_drops_the_oldest_and_counts(bus):
    async def work():
        async with running(bus, queue_max=10) as rig:
            await rig.hears(("hci0", BAND, -60, beacon(0)))
            held = rig.held = asyncio.Event()  # the agent's disk holds everything up
            await rig.stand_in.advertise("hci0", BAND, -60, beacon(0))
            await until(lambda: rig.waiting)
            for number in range(1, 31):
                await rig.stand_in.advertise("hci0", BAND, -60, beacon(number))
            await until(lambda: rig.health["packets"] == 32)
            assert rig.health["queue"] == 10
            assert rig.health["dropped"] == {"queue_full": 20}
            held.set()
            await until(lambda: not rig.health["queue"])
            await until(lambda: len(rig.readings) == 12)
            assert rig.tags[-10:] == [beacon_tag(number) for number in range(21, 31)]

    asyncio.run(work())
