"""The adapters of a simulated shop, on a real private D-Bus."""

import asyncio

import pytest

from firmware_profiles.registry import load_registry
from ingest.config import ConfigError
from simulators.hardware_bytes import SITE_ADDRESS, address_of
from simulators.hardware_radios import FORGET_S, BusRadios
from tests.edge.sources.bluez_rig import open_bus

pytestmark = pytest.mark.system
REGISTRY = load_registry()
BAND = "name:band-0007"


def device(adapter, address):
    return f"/org/bluez/{adapter}/dev_{address.replace(':', '_')}"


async def run(bus, steps, **options):
    """Open radios of which a client scans with hci0 and hci1, and take steps."""
    radios = BusRadios(bus, REGISTRY, 3, **options)
    await radios.open()
    try:
        for name in ("hci0", "hci1"):
            radios.stand_in.adapters[name].scans[":1.99"] = True
        return await steps(radios)
    finally:
        await radios.close()


def test_who_scans_hears_and_who_does_not_is_missing():
    async def steps(radios):
        heard = [await radios.hear(at, BAND, -60) for at in range(3)]
        return radios.missing, heard, radios.stand_in.adapters

    with open_bus() as bus:
        missing, heard, adapters = asyncio.run(run(bus, steps))
    assert missing == 1
    assert [True, True, False] == heard
    assert len(adapters) == 3


def test_all_hear_the_shop_s_own_beacon_once_a_second():
    async def steps(radios):
        await radios.pass_second()
        return [list(adapter.devices) for adapter in radios.stand_in.adapters.values()]

    with open_bus() as bus:
        known = asyncio.run(run(bus, steps))
    assert [[device("hci0", SITE_ADDRESS)], [device("hci1", SITE_ADDRESS)], []] == known


def test_who_is_not_heard_any_more_is_forgotten():
    now_s = [1000.0]

    async def steps(radios):
        await radios.hear(0, BAND, -60)
        now_s[0] += FORGET_S - 1
        await radios.pass_second()
        before = list(radios.stand_in.adapters["hci0"].devices)
        now_s[0] += 2
        await radios.pass_second()
        return before, list(radios.stand_in.adapters["hci0"].devices)

    with open_bus() as bus:
        before, after = asyncio.run(run(bus, steps, clock_s=lambda: now_s[0]))
    band = device("hci0", address_of(7))
    assert {band, device("hci0", SITE_ADDRESS)} == set(before)
    assert [device("hci0", SITE_ADDRESS)] == after


def test_a_bus_that_ends_is_heard_by_nobody_and_no_error():
    async def steps(radios):
        heard = [await radios.hear(0, BAND, -60)]
        bus.end()
        for _ in range(200):  # until the end of the bus was noticed, and beyond
            heard.append(await radios.hear(0, BAND, -60))
            await radios.pass_second()
            await asyncio.sleep(0)
        return heard

    with open_bus() as bus:
        heard = asyncio.run(run(bus, steps))
    assert heard[0]
    assert not heard[-1]


def test_more_receivers_than_names_are_refused():
    with open_bus() as bus, pytest.raises(ConfigError, match="at most 1000 receivers"):
        BusRadios(bus, REGISTRY, 1001)
