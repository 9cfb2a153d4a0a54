"""The virtual devices of a shop: what is heard, what is written for the agents."""

import asyncio
import stat
from dataclasses import replace

import pytest
import serial

from analytics.store import Sensor
from edge.agent import make_sources
from edge.settings import read_settings
from firmware_profiles.registry import load_registry
from ingest.config import ConfigError
from simulators.bluez_adapter import Adapter
from simulators.hardware import SETTLE_S, Devices
from simulators.hardware_bytes import (
    Adverts,
    Packet,
    address_of,
    beacon_tag,
    card_tag,
    packets_of,
    write_enrolment,
)
from simulators.hardware_config import BANDS, KEY, PORTS, write_configs

URL = "mqtt://127.0.0.1:1883"
REGISTRY = load_registry()


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


class FakeRadios:
    """Radios that hear all, or nothing."""

    def __init__(self, *, missing):
        self.missing, self.heard, self.seconds = missing, [], 0

    async def hear(self, *packet):
        self.heard.append(packet)
        return not self.missing

    async def pass_second(self):
        self.seconds += 1


@pytest.fixture
def shop(store, tmp_path):
    clock, radios = Clock(), FakeRadios(missing=0)
    devices = Devices(store, tmp_path, REGISTRY, radios=radios, clock_s=clock)
    yield devices, clock, radios, tmp_path / PORTS
    devices.close()
    assert [] == list((tmp_path / PORTS).iterdir())


def opened(path):
    return serial.Serial(str(path), 9600, timeout=1)


def send(devices, kind, *, place=0, value=0.0, times=1):
    async def send_all():
        for _ in range(times):
            await devices.send(Packet(1, kind, place, "name:band-0007", value))

    asyncio.run(send_all())


def test_a_line_counts_as_heard_once_it_was_open_for_long_enough(shop):
    devices, clock, _, folder = shop
    everything = devices.missing
    send(devices, "taps")
    assert everything == devices.lines
    with opened(folder / "rdm6300-gate-in") as line:
        send(devices, "taps")
        clock.now_s += 2 * SETTLE_S
        send(devices, "taps")
        assert everything - 1 == devices.missing
        (found,) = REGISTRY.stream("rdm6300").feed(line.read(14))
        assert card_tag(7) == found.tag
    clock.now_s += 1
    send(devices, "taps")
    with opened(folder / "rdm6300-gate-in"):
        send(devices, "taps")
    assert {"taps": 1} == dict(devices.heard)
    assert {"taps": 4} == dict(devices.unheard)
    assert devices.lost_bytes == 0


def test_a_scale_says_the_grams_of_its_sensor(shop, store):
    devices, clock, _, folder = shop
    place = [sensor.id for _, sensor in store.sensors].index("toys-1-3")
    with opened(folder / "mt_sics-toys-1-3") as line:
        send(devices, "samples", place=place, value=179.5)
        clock.now_s += 2 * SETTLE_S
        send(devices, "samples", place=place, value=180.25)
        (found,) = REGISTRY.stream("mt_sics").feed(line.read_until(b"\n"))
    assert found.fields["mass_g"] == 180.25


def test_a_full_line_is_no_hearing(shop):
    devices, clock, _, folder = shop
    with opened(folder / "rdm6300-gate-in"):
        send(devices, "taps")
        clock.now_s += 2 * SETTLE_S
        send(devices, "taps", times=10_000)
    assert devices.heard["taps"] + devices.unheard["taps"] == 10_001
    assert 0 < devices.heard["taps"] < 10_000
    assert devices.lost_bytes > 0


def test_an_advert_is_heard_if_its_radio_says_so(shop):
    devices, _, radios, _ = shop
    send(devices, "readings", place=3, value=-60.4)
    radios.missing = 12
    send(devices, "readings", place=3)
    assert (3, "name:band-0007", -60) == radios.heard[0]
    assert {"readings": 1} == dict(devices.heard) == dict(devices.unheard)
    assert devices.lines + 12 == devices.missing
    asyncio.run(devices.pass_second())
    assert radios.seconds == 1


def test_without_radios_nobody_hears_an_advert(store, tmp_path):
    devices = Devices(store, tmp_path, REGISTRY, radios=None)
    try:
        send(devices, "readings")
        asyncio.run(devices.pass_second())
        assert {"readings": 1} == dict(devices.unheard)
        assert devices.lines == devices.missing
    finally:
        devices.close()


def test_a_second_becomes_packets_in_order_of_time(chunks):
    for chunk in chunks[60:70]:
        packets = packets_of(chunk)
        assert sorted(p.t_ns for p in packets) == [p.t_ns for p in packets]
        for kind, rows, values in (
            ("readings", chunk.readings, chunk.readings.rssi_dbm),
            ("samples", chunk.samples, chunk.samples.value),
            ("taps", chunk.taps, None),
        ):
            mine = [p for p in packets if p.kind == kind]
            assert rows.t_ns.tolist() == [p.t_ns for p in mine]
            if values is not None:
                assert values.tolist() == [p.value for p in mine]
            if kind != "samples":
                assert [chunk.tags[at] for at in rows.tag] == [p.tag for p in mine]
    assert sum(len(chunk.taps.t_ns) for chunk in chunks) > 0


def test_a_band_is_an_ibeacon_of_its_number_and_the_shop_s_beacon_is_none_of_them():
    adverts = Adverts(REGISTRY)
    for number in (7, 39_999, 70_000):
        address, data = adverts.of_band(f"name:band-{number:04d}")
        assert address_of(number) == address
        assert beacon_tag(number) == REGISTRY.decode_advert(data).tag
    assert len({address_of(number) for number in range(1000)}) == 1000
    assert REGISTRY.decode_advert(adverts.of_site).tag.endswith("-65535-1")


def test_adapters_have_addresses_of_their_own():
    addresses = [Adapter(name=f"hci{number}").address for number in range(1000)]
    assert len(set(addresses)) == 1000
    assert {17} == {len(address) for address in addresses}


def tables_of(folder, configs):
    """Every source of every agent as the agent's own code reads it."""
    found = []
    for path in configs.values():
        settings = read_settings(path)
        make_sources(settings, base=folder, now_ns=lambda: 0)
        found += [(settings.agent, table) for table in settings.source]
    return found


def test_the_files_are_whole_and_each_device_is_read_once(store, tmp_path):
    configs = write_configs(store, tmp_path, broker_url=URL, with_radios=True)
    assert sorted({r.agent for r in store.receivers}) == sorted(configs)
    tables = tables_of(tmp_path, configs)
    radios = [(agent, table) for agent, table in tables if table["kind"] == "ble"]
    of_receiver = {table["receiver"]: agent for agent, table in radios}
    assert {r.id: r.agent for r in store.receivers} == of_receiver
    assert len({table["adapter"] for _, table in radios}) == len(store.receivers)
    ports = [port for _, table in tables for port in table.get("port", ())]
    assert sorted(p.id for p in store.tap_points) == sorted(
        port["tap_point"] for port in ports if "tap_point" in port
    )
    assert sorted(s.id for _, s in store.sensors) == sorted(
        port["sensor"] for port in ports if "sensor" in port
    )
    assert len({port["path"] for port in ports}) == len(ports)


def test_without_a_bus_there_are_serial_lines_only(store, tmp_path):
    configs = write_configs(store, tmp_path, broker_url=URL, with_radios=False)
    assert {"serial"} == {table["kind"] for _, table in tables_of(tmp_path, configs)}


def test_a_range_sensor_is_a_gy53(store, tmp_path):
    shelf = replace(store.shelves[0], sensors=(Sensor(id="eye", kind="range"),), products=())
    store = replace(store, shelves=(shelf, *store.shelves[1:]))
    configs = write_configs(store, tmp_path, broker_url=URL, with_radios=False)
    ports = [port for _, table in tables_of(tmp_path, configs) for port in table["port"]]
    (port,) = (port for port in ports if port.get("sensor") == "eye")
    assert ("gy53_vl53l0x", "ports/gy53_vl53l0x-eye") == (port["profile"], port["path"])


def test_a_folder_keeps_its_key_and_a_given_key_is_used(store, tmp_path):
    write_configs(store, tmp_path, broker_url=URL, with_radios=False)
    key = (tmp_path / KEY).read_bytes()
    write_configs(store, tmp_path, broker_url=URL, with_radios=False)
    assert key == (tmp_path / KEY).read_bytes()
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    other = tmp_path / "other.key"
    other.write_bytes(bytes(range(32)))
    configs = write_configs(
        store, tmp_path / "deep", broker_url=URL, key_file=other, with_radios=False
    )
    assert bytes(range(32)) == read_settings(configs["pi-1"]).key()
    assert not (tmp_path / "deep" / KEY).exists()


def test_what_cannot_be_written_is_said(store, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file.*: cannot be written"):
        write_configs(store, tmp_path / "file" / "x", broker_url=URL, with_radios=False)
    with pytest.raises(ConfigError, match="key file"):
        write_configs(
            store, tmp_path, broker_url=URL, key_file=tmp_path / "no.key", with_radios=False
        )


def test_every_band_has_a_beacon_and_a_card(tmp_path):
    write_enrolment(tmp_path / BANDS)
    lines = (tmp_path / BANDS).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 40_000
    assert lines[2] == "em4100:0100000001,name:band-0001"
