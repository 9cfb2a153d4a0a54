"""`fanous edge discover`: the census, and real bleak on a private D-Bus."""

import argparse
import asyncio
import json
import threading
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import command, discover
from edge.discover_air import Census, as_lines
from edge.sources.ble_adverts import Packet
from edge.sources.ble_settings import read_ble_settings
from firmware_profiles.registry import load_registry
from simulators.bluez import BluezStandIn
from tests.edge.sources.bluez_rig import open_bus

REGISTRY = load_registry()

APPLE = bytes.fromhex("02440c")
BUTTON = bytes.fromhex("0201060a16d2fc40001d01643a01")
UNKNOWN = bytes.fromhex("020106" + "05ff342156aa")
SEALED = bytes.fromhex("0201061216d2fc41a47266c95f730011223378237214")


def beacon(minor):
    uuid = "b9407f30-f5f8-466e-aff9-25556b57fe6d"
    fields = {"uuid": uuid, "major": 1, "minor": minor, "tx_power_1m_dbm": -59}
    return REGISTRY.encode("ibeacon", fields)


def address(number):
    return ":".join(f"{octet:02X}" for octet in (0xC4, *number.to_bytes(5, "big")))


def packet(number, *, companies=None, services=None, rssi=-60, kind="public", listed=()):
    return Packet(
        0, 0.0, rssi, address(number), kind, companies or {}, services or {}, listed, "n", None, b""
    )


def rows(census, seconds=10.0):
    return {row["sender"]: row for row in census.as_dict(seconds)["senders"]}


def test_senders_devices_kinds_and_profiles_are_counted():
    census = Census(REGISTRY)
    frame = bytes.fromhex("0215b9407f30f5f8466eaff925556b57fe6d00010001c5")
    for number in (1, 2, 2):
        census.hear(packet(number, companies={0x004C: frame}, rssi=-50 - number))
    census.hear(packet(3, companies={0x004C: APPLE}, kind="resolvable_private"))
    census.hear(packet(4, companies={0x2134: b"\x01"}, rssi=-90))
    census.hear(packet(5))
    found = rows(census)
    apple = found["company:004c"]
    assert ("Apple", 3, 4, 0.4, -51) == (
        apple["name"],
        apple["devices"],
        apple["adverts"],
        apple["adverts_per_s"],
        apple["best_rssi_dbm"],
    )
    assert {"public": 2, "resolvable_private": 1} == apple["kinds"]
    assert apple["decoded"]["ibeacon"] == 3
    assert "ibeacon" in apple["profiles"]
    assert {"unknown-device": 1} == found["company:2134"]["rejected"]
    assert ("", [], {}) == tuple(found["company:2134"][k] for k in ("name", "profiles", "decoded"))
    assert found["nameless"]["adverts"] == 1


def test_addresses_are_shown_only_when_asked_for():
    census = Census(REGISTRY)
    census.hear(packet(1, companies={0x004C: APPLE}))
    assert address(1) not in json.dumps(census.as_dict(1.0))
    shown = census.as_dict(1.0, with_addresses=True)
    assert shown["addresses"][0]["address"] == address(1)
    assert address(1) in "\n".join(as_lines(shown))


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.binary(max_size=24)), max_size=120
    )
)
def test_tables_are_bounded_and_nothing_is_lost_from_the_sums(heard):
    census = Census(REGISTRY, senders_most=5, devices_most=7)
    for number, company, data in heard:
        census.hear(packet(number, companies={company: data}))
    found = census.as_dict(1.0)
    assert len(census.senders) <= 5
    assert len(census.devices) <= 7
    in_senders = sum(row["adverts"] for row in found["senders"])
    assert in_senders + found["adverts_of_further_senders"] == len(heard)
    in_devices = sum(device.adverts for device in census.devices.values())
    assert in_devices + found["adverts_of_further_devices"] == len(heard)
    for row in found["senders"]:
        assert sum(row["decoded"].values()) + sum(row["rejected"].values()) == row["adverts"]


class Shop:
    """A bluetoothd that hears a few senders, in a thread, while a block lasts."""

    def __init__(self, bus, *adverts, adapters=("hci0",), powered=True):
        self.adverts, self.powered = adverts, powered
        self.stand_in = BluezStandIn(bus.address, adapters=adapters)
        self._stop = threading.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()))

    async def _work(self):
        await self.stand_in.start_service()
        for name in self.stand_in.adapters:
            self.stand_in.power(name, on=self.powered)
        self._up.set()
        while not self._stop.is_set():
            for adapter in self.stand_in.adapters:
                for number, data, kind in self.adverts:
                    await self.stand_in.advertise(adapter, address(number), -60, data, kind=kind)
            await asyncio.sleep(0.02)
        await self.stand_in.stop_service()

    def __enter__(self):
        self._thread.start()
        assert self._up.wait(10)
        return self.stand_in

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def bus():
    with open_bus() as bus:
        yield bus


def run(capsys, *words):
    parser = argparse.ArgumentParser(prog="fanous edge")
    command.configure(parser)
    code = command.run(parser.parse_args(["discover", "--seconds", "1", *words]))
    return code, *capsys.readouterr()


@pytest.mark.system
def test_the_air_through_real_bleak(bus, monkeypatch, capsys):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    adverts = [
        (1, beacon(1), "public"),
        (2, beacon(2), "public"),
        (3, BUTTON, "public"),
        (4, UNKNOWN, "random"),
        (5, SEALED, "public"),
    ]
    with Shop(bus, *adverts) as stand_in:
        code, out, err = run(capsys, "--json")
        assert stand_in.calls["RemoveDevice"] == stand_in.calls["Set"] == 0
    assert (0, "") == (code, err)
    found = json.loads(out)
    senders = {row["sender"]: row for row in found["senders"]}
    assert found["devices"] == 5
    assert senders["company:004c"]["devices"] == 2
    assert set(senders["company:004c"]["decoded"]) == {"ibeacon"}
    assert senders["service:fcd2"]["decoded"]["bthome_v2"] > 5
    assert senders["service:fcd2"]["rejected"]["no-key"] > 5
    assert {"random_static": 1} == senders["company:2134"]["kinds"]
    assert address(1) not in out
    (source,) = tomllib.loads("\n".join(found["toml"]))["source"]
    assert source.pop("kind") == "ble"
    settings = read_ble_settings(source, subject="proposed", base=Path())
    assert (settings.receiver, settings.adapter) == ("rx-1", "hci0")


@pytest.mark.system
def test_the_table_is_for_people(bus, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    config = tmp_path / "edge.toml"
    config.write_text(
        'store = "demo"\nagent = "pi-1"\nstate_dir = "s"\n'
        '[[source]]\nkind = "ble"\nreceiver = "rx-1"\nadapter = "hci1"\n',
        "utf-8",
    )
    adverts = [(1, beacon(1), "public"), (4, UNKNOWN, "random")]
    with Shop(bus, *adverts, adapters=("hci0", "hci1")):
        code, out, _ = run(capsys, "-c", str(config))
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("2 devices, ")
    apple = next(line for line in lines if line.startswith("company:004c   Apple "))
    assert apple.endswith("by ibeacon")
    unknown = next(line for line in lines if line.startswith("company:2134"))
    assert "no profile (" in unknown
    assert "unknown-device" in unknown
    assert 'adapter = "hci1"' in lines


@pytest.mark.system
@pytest.mark.parametrize(
    ("shop", "words", "sentence"),
    [
        ({"powered": False}, (), "hci0 is off; bluetoothctl power on"),
        ({}, ("--adapter", "hci3"), "there is no hci3, but hci0; say adapter"),
        (None, (), "bluetoothd does not run; start it"),
    ],
)
def test_what_is_in_the_way_is_said_with_its_remedy(
    bus, monkeypatch, capsys, shop, words, sentence
):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    if shop is None:
        code, out, err = run(capsys, *words)
    else:
        with Shop(bus, **shop) as stand_in:
            code, out, err = run(capsys, *words)
            assert stand_in.calls["Set"] == 0
    assert (1, "") == (code, out)
    assert sentence in err


def test_progress_is_shown_on_a_terminal_only(capsys, monkeypatch):
    progress = discover.Progress(20, lambda: "3 adverts")
    progress.tell(4)
    progress.end()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = discover.Progress(20, lambda: "3 adverts")
    shown.tell(4)
    shown.end()
    assert capsys.readouterr().err == "\rlistening 4 of 20 s: 3 adverts \r\x1b[K"


def test_a_flood_of_new_addresses_is_counted_in_bounded_time_and_space():
    census = Census(REGISTRY)
    began_s = time.monotonic()
    for number in range(20_000):
        census.hear(packet(number, companies={number % 5000: b"\x01"}))
    assert time.monotonic() - began_s < 10
    assert (256, 8192) == (len(census.senders), len(census.devices))
    assert census.beyond_devices == 20_000 - 8192
