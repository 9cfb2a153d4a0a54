"""Presses and shelf sensors on a real bus, in an active and in a passive scan."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from edge.measurement import Reading, Sample, Tap
from fanous.benchmarks.bluetooth_rig import Rig, supervised
from tests.edge.agents import T0, until
from tests.edge.sources.bluez_rig import open_bus
from tests.edge.sources.test_adverts import KEY, bthome, pressed, sealed

pytestmark = [pytest.mark.system]
BUTTON, SCALE, TOF = "A4:C1:38:8D:18:B2", "54:48:E6:8F:80:A5", "AC:23:31:23:45:67"
TAG = "ble:a4c1388d18b2"
TOF_500 = bytes.fromhex("0201061bff3906ca1e0064f4010f450700000000000000000000001234abcd")
INFO = bytes.fromhex("0201061bff3906ca006745233123ac6421870000000000000000001234abcd")
MODES = pytest.mark.parametrize("mode", ["active", "passive"])
HELP = {"tap_point": "help-1", "tap_rssi_min_dbm": -65}


class Place(Rig):
    """Keeps everything that comes."""

    def __init__(self, bus, table):
        self.measured = []
        super().__init__(bus.address, now_ns=lambda: T0, table=table)

    async def emit(self, measurements):
        self.measured += measurements

    def of(self, kind):
        return [one for one in self.measured if isinstance(one, kind)]


@pytest.fixture(scope="module")
def bus():
    with open_bus() as bus:
        yield bus


@pytest.fixture(autouse=True)
def system_bus(bus, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)


@asynccontextmanager
async def running(bus, **table):
    rig = Place(bus, table)
    async with supervised(rig, service=True):
        if table.get("mode") == "passive":
            await until(lambda: rig.stand_in.adapters["hci0"].monitors)
        yield rig


@MODES
def test_a_press_is_one_tap_however_often_and_from_where_it_is_heard(bus, mode):
    async def work():
        async with running(bus, mode=mode, **HELP) as rig:
            for packet_id in (1, 2):
                for rssi in (-80, -60, -61, -60):
                    await rig.hears(("hci0", BUTTON, rssi, pressed(packet_id)))
            await until(lambda: len(rig.of(Reading)) == 8)
            assert rig.of(Tap) == [Tap(T0, "help-1", TAG)] * 2
            counts = {key: rig.health[key] for key in rig.health if "tap" in key}
            assert counts == {"taps": 2, "taps_far": 2, "taps_held": 4, "taps_stale": 0}

    asyncio.run(work())


@MODES
def test_a_packet_without_data_is_no_press(bus, mode):
    """The name that a button sends now and then, while BlueZ still has its last press."""

    async def work():
        async with running(bus, mode=mode, **HELP) as rig:
            clock_s = rig.source._clock_s
            await rig.hears(("hci0", BUTTON, -60, pressed(1)))
            await until(lambda: len(rig.of(Tap)) == 1)
            rig.source._clock_s = lambda: clock_s() + 100
            # Strength alone, as of a packet of flags: BlueZ tells no data.
            scans = rig.stand_in.adapters["hci0"].scans
            scans.update(dict.fromkeys(scans, False))
            await rig.hears(("hci0", BUTTON, -55, pressed(1)))
            await until(lambda: rig.health["taps_stale"] == 1)
            assert len(rig.of(Tap)) == 1

    asyncio.run(work())


@MODES
def test_sensors_over_the_air_give_samples_and_no_readings(bus, mode):
    sensors = [
        {"address": SCALE, "sensor": "plate-1", "tare_g": 100.0},
        {"address": SCALE, "sensor": "plate-2", "value": "count", "grams_per_count": 0.5},
        {"address": TOF, "sensor": "range-1", "value": "range"},
    ]

    async def work():
        # The allow-list does not know them: what is configured is allowed.
        allow = {"companies": ["004c"]}
        async with running(bus, mode=mode, sensor=sensors, allow=allow) as rig:
            await rig.hears(
                ("hci0", SCALE, -70, bthome("000106e803")),
                ("hci0", SCALE, -71, bthome("000106e803")),
                ("hci0", SCALE, -70, bthome("00023d2c01")),
                ("hci0", TOF, -70, INFO),
                ("hci0", TOF, -70, TOF_500),
            )
            await until(lambda: len(rig.measured) == 3)
            assert rig.measured == [
                Sample(T0, "plate-1", 9900.0),
                Sample(T0, "plate-2", 150.0),
                Sample(T0, "range-1", None, 500),
            ]
            assert (rig.health["samples"], rig.health["samples_held"]) == (3, 1)
            assert rig.health["dropped"] == {"no_value": 1}

    asyncio.run(work())


@MODES
def test_encrypted_adverts_are_opened_and_a_replay_is_nothing(bus, mode, tmp_path):
    keys = tmp_path / "keys.csv"
    keys.write_text(f"id,key\n{BUTTON},{KEY.hex()}\n")
    keys.chmod(0o600)

    async def work():
        async with running(bus, mode=mode, keys_file=str(keys), tap_point="help-1") as rig:
            for counter in (5000, 5001, 5000):
                await rig.hears(("hci0", BUTTON, -60, sealed(counter)))
            await rig.hears(("hci0", BUTTON, -60, pressed(3)))
            await rig.hears(("hci0", SCALE, -60, sealed(9, address=SCALE.lower())))
            await until(lambda: sum(rig.health["dropped"].values()) == 3)
            assert rig.of(Tap) == [Tap(T0, "help-1", TAG)] * 2
            assert rig.health["dropped"] == {"replayed": 1, "downgraded": 1, "no_key": 1}

    asyncio.run(work())


def test_the_unknown_are_counted_without_addresses(bus):
    async def work():
        async with running(bus) as rig:
            for number in range(3):
                strange = bytes.fromhex("02010604ff341201")
                await rig.hears(("hci0", f"C4:00:00:00:00:0{number}", -60, strange))
            await until(lambda: rig.health["unknown"] == {"company:1234": 3})

    asyncio.run(work())
