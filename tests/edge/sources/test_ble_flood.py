"""The Bluetooth source in a flood of new addresses: what is kept, and what is let go."""

import asyncio

import pytest

from fanous.benchmarks.bluetooth_flood import flood
from fanous.benchmarks.bluetooth_rig import address, beacon, beacon_tag
from tests.edge.agents import until
from tests.edge.sources.bluez_rig import open_bus, running

pytestmark = [pytest.mark.system]
BAND = address(1)
PATH = f"/org/bluez/hci0/dev_{BAND.replace(':', '_')}"


@pytest.fixture(scope="module")
def bus():
    with open_bus() as bus:
        yield bus


@pytest.fixture(autouse=True)
def system_bus(bus, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)


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
