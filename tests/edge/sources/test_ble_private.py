"""What of bleak is not published: a bleak without it still hears."""

import asyncio
import logging

import pytest

from edge.sources import ble_radio
from fanous.benchmarks.bluetooth_rig import address, beacon, beacon_tag
from tests.edge.agents import until
from tests.edge.sources.bluez_rig import open_bus, running
from tests.edge.sources.test_adverts import pressed

pytestmark = [pytest.mark.system]
BAND, BUTTON = address(1), "A4:C1:38:8D:18:B2"


def path_of(sender):
    return f"/org/bluez/hci0/dev_{sender.replace(':', '_')}"


class Changed:
    """bleak's manager without some of its parts, as a later version may be."""

    def __init__(self, manager, hidden):
        self._manager, self._hidden = manager, hidden

    def __getattr__(self, name):
        if name in self._hidden:
            raise AttributeError(name)
        return getattr(self._manager, name)


@pytest.fixture(scope="module")
def bus():
    with open_bus() as bus:
        yield bus


@pytest.fixture
def hide(bus, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    real = ble_radio.get_global_bluez_manager

    def without(*names):
        async def changed():
            return Changed(await real(), set(names))

        monkeypatch.setattr(ble_radio, "get_global_bluez_manager", changed)

    return without


def test_bleak_has_today_what_the_radio_uses(bus, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)

    async def work():
        async with running(bus) as rig:
            manager = rig.source._radio._manager
            assert manager._bus is rig.source._radio._watched
            assert "/org/bluez/hci0" in manager._properties

    asyncio.run(work())


def test_without_its_connection_phantoms_pass_and_a_warning_says_so(bus, hide, caplog):
    hide("_bus", "_properties")
    caplog.set_level(logging.WARNING, "fanous")

    async def work():
        async with running(bus, tap_point="help-1", devices_cached_max=16) as rig:
            await rig.hears(("hci0", BAND, -60, beacon(1)), ("hci0", BAND, -61, beacon(1)))
            rig.stand_in.change_name(path_of(BAND))
            await until(lambda: rig.health["packets"] == 3)
            await until(lambda: rig.tags == [beacon_tag(1)] * 3)
            assert rig.health["phantoms"] == 0
            await rig.hears(("hci0", BUTTON, -60, pressed(1)), ("hci0", BUTTON, -60, pressed(1)))
            await until(lambda: rig.health["taps_held"] == 1)
            assert rig.health["taps"] == 1
            for number in range(2, 40):
                await rig.hears(("hci0", address(number), -60, beacon(number)))
            assert rig.health["devices_forgotten"] == 0
            await rig.stand_in.stop_service()
            await until(lambda: rig.health["radio"] == "absent")
            await rig.stand_in.start_service()
            await rig.scanning()
            await rig.hears(("hci0", BAND, -60, beacon(1)))

    asyncio.run(work())
    said = [record.getMessage() for record in caplog.records]
    assert any("phantom packets cannot be told" in text for text in said)


def test_without_its_table_devices_are_still_forgotten_by_bluez(bus, hide):
    hide("_properties")

    async def work():
        async with running(bus, devices_cached_max=16) as rig:
            for number in range(40):
                await rig.hears(("hci0", address(number), -60, beacon(number)))
            await until(lambda: rig.health["devices_forgotten"] == 24)
            rig.stand_in.change_name(path_of(address(39)))
            await until(lambda: rig.health["phantoms"] == 1)
            await rig.stand_in.stop_service()
            await until(lambda: rig.health["radio"] == "absent")

    asyncio.run(work())
