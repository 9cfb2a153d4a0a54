"""Adverts a second beside other decoders: who is measured on what, and who is left out."""

import sys
from types import SimpleNamespace

import pytest

from fanous.benchmarks import profiles
from fanous.benchmarks.profiles_peers import PEERS, Peer, understood
from firmware_profiles.registry import load_registry


def measured(peers):
    said = []
    figures = profiles.measure(quick=True, say=said.append, peers=peers)
    return {figure.name: figure for figure in figures}, said


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(profiles, "ADVERTS", 200)
    monkeypatch.setattr(profiles, "ADVERTS_PEER", 200)


def test_without_peers_the_figure_stands_alone():
    absent = Peer(needs=("no_such_package",), prepare=lambda *_: [])
    figures, said = measured({"absent": absent})
    assert set(figures) == {"profiles.adverts", "profiles.load"}
    assert figures["profiles.adverts"].value > 0
    assert "absent left out: no_such_package not installed; try make bench-decoders" in said


def test_a_peer_is_measured_on_what_it_decodes():
    def prepare(adverts, address):
        assert address == profiles.ADDRESS
        return [lambda advert=advert: 0x16 in advert[:5] for advert in adverts]

    figures, said = measured({"some": Peer(needs=(), prepare=prepare)})
    kinds = figures["profiles.kinds"]
    assert 0 < kinds.peer["some"] < kinds.value
    assert figures["profiles.kinds_of_some"].peer["some"] > 0
    assert any(f"some decodes {kinds.peer['some']} of the {kinds.value} kinds" in t for t in said)


def test_a_peer_that_decodes_nothing_has_no_rate():
    figures, _ = measured({"none": Peer(needs=(), prepare=lambda adverts, _: [lambda: False] * 55)})
    assert figures["profiles.kinds"].peer == {"none": 0}
    assert "profiles.kinds_of_none" not in figures


def test_an_exception_of_a_peer_is_nothing_decoded():
    def fails():
        raise KeyError("x")

    assert understood([fails, lambda: True, lambda: False]) == [1]


def test_bleparser_gets_a_whole_event(monkeypatch):
    events = []

    class BleParser:
        def parse_raw_data(self, event):
            events.append(event)
            return {"packet": 1, "rssi": -60, **({"window": 1} if len(events) == 1 else {})}, None

    monkeypatch.setitem(sys.modules, "bleparser", SimpleNamespace(BleParser=BleParser))
    advert = bytes.fromhex("0616d2fc402d01")
    first, second = PEERS["bleparser"].prepare([advert, advert], "A4:C1:38:8D:18:B2")
    assert (first(), second()) == (True, False)
    event = events[0]
    assert (event[:2], event[2]) == (b"\x04\x3e", len(event) - 3)
    assert event[7:13] == bytes.fromhex("b2188d38c1a4")
    assert event[13:] == bytes((len(advert),)) + advert + b"\xc4"


def test_bthome_ble_gets_its_data_cut_out_and_forgets_the_packet(monkeypatch):
    seen = []

    class Parser:
        packet_id = 7

        def supported(self, info):
            return "0000fcd2-0000-1000-8000-00805f9b34fb" in info.service_data

        def update(self, info):
            seen.append((info.service_data, self.packet_id))
            self.packet_id = 7
            return SimpleNamespace(
                events={}, binary_entity_values={}, entity_values={"a": 1, "b": 2}
            )

    for name, module in {
        "bthome_ble": SimpleNamespace(BTHomeBluetoothDeviceData=Parser),
        "habluetooth": SimpleNamespace(BluetoothServiceInfoBleak=SimpleNamespace),
        "bleak": SimpleNamespace(),
        "bleak.backends": SimpleNamespace(),
        "bleak.backends.device": SimpleNamespace(BLEDevice=lambda *_: None),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    adverts = [bytes.fromhex("0616d2fc402d01"), bytes.fromhex("05ff34120102")]
    ours, other = PEERS["bthome-ble"].prepare(adverts, "A4:C1:38:8D:18:B2")
    assert (ours(), ours(), other()) == (True, True, False)
    assert seen == [({"0000fcd2-0000-1000-8000-00805f9b34fb": b"\x40\x2d\x01"}, None)] * 2


def test_every_advert_of_the_mix_is_decoded():
    registry = load_registry()
    mix = profiles._mix(registry)
    assert len(mix) >= 55
    found = [registry.decode_advert(data, address=profiles.ADDRESS) for data in mix]
    assert all(hasattr(one, "fields") for one in found)
