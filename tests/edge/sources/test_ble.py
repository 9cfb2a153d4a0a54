"""The Bluetooth source: real bleak, a real D-Bus, a stand-in of bluetoothd."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from edge.agent import Agent
from edge.measurement import Reading
from edge.settings import BatchSettings, OutboxSettings
from edge.sources.ble import BleSource
from edge.sources.source import make_source
from tests.edge.agents import T0, make_settings, until
from tests.edge.sources.ble_flood import flood
from tests.edge.sources.bluez_rig import (
    REGISTRY,
    address,
    beacon,
    beacon_tag,
    open_bus,
    running,
)

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


async def keep_advertising(rig, *, senders=3, every_s=0.05, adapter="hci0", first=1):
    """Let some beacons advertise for ever."""
    while True:
        for number in range(first, first + senders):
            await rig.stand_in.advertise(adapter, address(number), -60, beacon(number))
        await asyncio.sleep(every_s)


class Advertising:
    """Beacons that advertise while a block lasts."""

    def __init__(self, rig, *, wait=True, **wanted):
        self.rig, self.wait, self.wanted = rig, wait, wanted

    async def __aenter__(self):
        self.task = asyncio.create_task(keep_advertising(self.rig, **self.wanted))
        senders = self.wanted.get("senders", 3)
        await until(lambda: not self.wait or len(set(self.rig.tags)) >= senders)

    async def __aexit__(self, *error):
        self.task.cancel()
        await asyncio.wait([self.task])


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


FAULTS = {"watchdog_s": 1.5}


@pytest.mark.parametrize("cure", ["scan", "power", "service"])
def test_a_silent_scan_is_noticed_in_time_and_goes_up_the_steps_until_it_hears(bus, cure, caplog):
    caplog.set_level(logging.INFO, "fanous")

    async def work():
        async with running(bus, **FAULTS) as rig, Advertising(rig):
            await until(lambda: len(rig.source._watchdog._regulars) == 3)
            rig.stand_in.deafen("hci0", until=cure)
            began_s = time.monotonic()
            await until(lambda: rig.health["steps"]["scan_restart"])
            noticed_s = time.monotonic() - began_s
            assert noticed_s <= 1.5 + 0.5  # half a second for a busy machine
            if cure == "service":
                await until(lambda: "wants" in rig.health)
                assert rig.health["radio"] == "silent"
                assert "systemctl restart bluetooth" in rig.health["wants"]
                await rig.stand_in.stop_service()
                await rig.stand_in.start_service()
            heard = rig.health["packets"]
            await until(lambda: rig.health["packets"] > heard)
            recovered_s = time.monotonic() - began_s
            print(f"\n{cure}: noticed {noticed_s:.2f} s, heard again {recovered_s:.2f} s")
            await until(lambda: "wants" not in rig.health)
            steps = rig.health["steps"]
            assert steps["power_cycle"] >= (cure != "scan")
            if cure != "service":
                assert steps["service_restart_wanted"] == 0
                assert recovered_s < 2 * 1.5 + 0.5

    asyncio.run(work())
    said = [record.getMessage() for record in caplog.records if "scan" in record.getMessage()]
    assert sum("silent" in text and "scan_restart" in text for text in said) == 1
    if cure != "service":
        assert sum("recovered" in text for text in said) == 1
    assert not any(beacon_tag(1) in text or BAND in text for text in said)


def test_silence_is_noticed_within_the_15_s_of_the_default(bus):
    """On a clock that runs 20 times as fast, so that 15 s take 0.75 s."""
    speed = 20

    async def work():
        fast = {"clock_s": lambda: time.monotonic() * speed, "poll_s": 1 / speed}
        async with running(bus, **fast) as rig, Advertising(rig, every_s=0.05):
            assert rig.source._settings.watchdog_s == 15.0
            await until(lambda: len(rig.source._watchdog._regulars) == 3)
            rig.stand_in.deafen("hci0", until="power")
            began_s = time.monotonic()
            await until(lambda: rig.health["steps"]["scan_restart"])
            assert (time.monotonic() - began_s) * speed <= 15 + speed * 0.2
            await until(lambda: rig.health["steps"]["power_cycle"])
            heard = rig.health["packets"]
            await until(lambda: rig.health["packets"] > heard)

    asyncio.run(work())


def test_the_sites_own_beacon_is_no_visitor_and_its_absence_is_told(bus):
    async def work():
        async with running(bus, watchdog_s=1.0, site_beacon=beacon_tag(99)) as rig:
            await rig.hears(("hci0", address(99), -60, beacon(99)))
            assert rig.readings == []
            assert rig.health["site_beacon"] == "heard"
            async with Advertising(rig, senders=1):
                await until(lambda: rig.health["site_beacon"] == "missed")
                assert rig.health["radio"] == "scanning"
                await until(lambda: rig.health["steps"]["scan_restart"])
                assert rig.health["steps"]["power_cycle"] == 0
            async with Advertising(rig, first=99, senders=1, wait=False):
                await until(lambda: rig.health["site_beacon"] == "heard")

    asyncio.run(work())


def test_an_adapter_that_is_pulled_out_and_put_back(bus):
    async def work():
        async with running(bus) as rig, Advertising(rig):
            await rig.stand_in.remove_adapter("hci0")
            began_s = time.monotonic()
            await until(lambda: rig.health["radio"] == "absent")
            noticed_s = time.monotonic() - began_s
            assert rig.health["state"] == "unavailable"
            assert "adapter hci0" in rig.losses[0]
            await rig.stand_in.add_adapter("hci0")
            began_s, heard = time.monotonic(), rig.health["packets"]
            await until(lambda: rig.health["packets"] > heard)
            back_s = time.monotonic() - began_s
            print(
                f"\nadapter removed: noticed {noticed_s:.3f} s, heard {back_s:.3f} s after return"
            )
            assert noticed_s < 1
            assert back_s < 2
            assert "state" not in rig.health
            assert rig.health["steps"]["adapter_lost"] >= 1

    asyncio.run(work())


def test_bluetoothd_that_ends_and_comes_back(bus):
    async def work():
        async with running(bus) as rig, Advertising(rig):
            await rig.stand_in.stop_service()
            began_s = time.monotonic()
            await until(lambda: rig.health["radio"] == "absent")
            noticed_s = time.monotonic() - began_s
            assert "bluetoothd" in rig.losses[0]
            await rig.stand_in.start_service()
            began_s, heard = time.monotonic(), rig.health["packets"]
            await until(lambda: rig.health["packets"] > heard)
            back_s = time.monotonic() - began_s
            print(f"\nname vanished: noticed {noticed_s:.3f} s, heard {back_s:.3f} s after return")
            assert noticed_s < 1
            assert back_s < 2

    asyncio.run(work())


def test_an_adapter_that_is_switched_off_is_switched_on_again(bus):
    async def work():
        async with running(bus) as rig, Advertising(rig):
            rig.stand_in.power("hci0", on=False)
            heard = rig.health["packets"]
            await until(lambda: rig.health["packets"] > heard)
            assert rig.stand_in.adapters["hci0"].powered
            assert "switched off" in rig.losses[0]
            rig.stand_in.refuses_power = True
            rig.stand_in.power("hci0", on=False)
            await until(lambda: "rfkill" in rig.health.get("why", ""))
            rig.stand_in.power("hci0", on=True)
            heard = rig.health["packets"]
            await until(lambda: rig.health["packets"] > heard)
            assert "why" not in rig.health

    asyncio.run(work())


def test_no_adapter_at_the_start_then_there_is_one(bus, tmp_path, caplog):
    """Through the agent: lost and recovered are logged once each."""
    caplog.set_level(logging.INFO, "fanous")

    async def work():
        async with running(bus) as rig:
            rig.stand_in.adapters.pop("hci1")
            source = make_source(
                {"kind": "ble", "receiver": "rx-2", "adapter": "hci1"},
                subject="test",
                base=tmp_path,
                now_ns=lambda: T0,
            )
            settings = make_settings(
                tmp_path, batch=BatchSettings(max_ms=10), outbox=OutboxSettings(commit_ms=5)
            )
            agent = Agent(settings, now_ns=lambda: T0, sources=[source], jitter=lambda: 0.0)
            stop = asyncio.Event()
            task = asyncio.create_task(agent.run(stop))
            await until(lambda: agent.health()["sources"][0]["state"] == "unavailable")
            await rig.stand_in.add_adapter("hci1")
            await until(lambda: source.health()["radio"] == "scanning")
            await rig.stand_in.advertise("hci1", BAND, -60, beacon(1))
            await until(lambda: agent.health()["rows"].get("ble") == 1)
            assert agent.health()["sources"][0]["state"] == "running"
            stop.set()
            began_s = time.monotonic()
            await asyncio.wait_for(task, 5)
            assert time.monotonic() - began_s < 2

    asyncio.run(work())
    said = [record.getMessage() for record in caplog.records]
    assert sum("source lost" in text for text in said) == 1
    assert sum("source recovered" in text for text in said) == 1


def test_no_bus_and_a_bluetoothd_that_does_not_answer(bus, monkeypatch, tmp_path):
    async def without_bus():
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
        async with running(bus, service=False) as rig:
            await until(lambda: rig.losses)
            assert "is dbus running?" in rig.losses[0]

    asyncio.run(without_bus())
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    monkeypatch.setattr("edge.sources.ble_control._ANSWER_S", 0.2)

    async def hung():
        async with running(bus) as rig:
            rig.stand_in.is_hung = True
            rig.stand_in.power("hci0", on=False)
            await until(lambda: len(rig.losses) >= 2)
            assert "got no answer" in rig.losses[1]
            rig.stand_in.is_hung = False
            await rig.scanning()

    asyncio.run(hung())


@pytest.mark.parametrize("refuses", [False, True])
def test_a_flood_of_new_addresses_keeps_memory_bounded(bus, refuses):
    async def work():
        async with running(bus, devices_cached_max=64, adverts_cached_max=64) as rig:
            rig.stand_in.refuses_removal = refuses
            await flood(rig.stand_in, rate_per_s=2000, seconds=1.0)
            await until(lambda: rig.health["packets"] >= 2000)
            radio = rig.source._radio
            await until(lambda: not radio._forget)
            cached = radio._manager._properties
            assert len(cached) <= 64 + 2  # and the adapters
            assert len(radio._scanner._backend.seen_devices) == 0
            if refuses:
                assert rig.health["forget_refused"] > 1900
            else:
                await until(lambda: len(rig.stand_in.adapters["hci0"].devices) <= 64)
            await rig.hears(("hci0", BAND, -60, beacon(1)))
            await until(lambda: rig.tags.count(beacon_tag(1)) == 1)

    asyncio.run(work())


def test_the_users_own_devices_are_never_removed_from_bluez(bus):
    async def work():
        async with running(bus, devices_cached_max=16) as rig:
            await rig.hears(("hci0", BAND, -60, beacon(1)))
            rig.stand_in.change_trust("hci0", PATH)
            await flood(rig.stand_in, rate_per_s=1000, seconds=0.2)
            await until(lambda: rig.health["devices_forgotten"] > 100)
            assert PATH in rig.stand_in.adapters["hci0"].devices
            await rig.hears(("hci0", BAND, -59, beacon(1)))

    asyncio.run(work())
