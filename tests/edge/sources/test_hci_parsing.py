"""What crosses HCI as bytes is what the profiles decode, by a virtual controller and host.

bluetoothd itself cannot run without a Bluetooth kernel: what it does to a report is in
`hci_rig`, from its sources. bumble's controller hears at -50 dBm always and repeats the
advert as scan response, so strengths and true scan responses come as events of our own,
which its host parses.
"""

from itertools import permutations
from pathlib import Path

import pytest
from bumble import hci

from edge.measurement import Reading
from edge.sources.ble import BleSource
from edge.sources.ble_adverts import advert_of, kind_of, packet_of
from firmware_profiles.advert import MANUFACTURER, SERVICE_DATA16, ad_structures
from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.proving import options_of
from firmware_profiles.registry import load_registry
from simulators.bluez_properties import device_properties
from tests.edge.agents import T0
from tests.edge.sources.hci_rig import (
    EXTENDED_MOST,
    LEGACY_MOST,
    bluez_properties,
    kernel_trim,
    legacy_event,
    on_the_air,
    parse_event,
    run,
    through_bleak,
)

REGISTRY = load_registry()
VECTORS = {
    f"{name}: {test['name']}": (bytes.fromhex(test["hex"]), options_of(test))
    for name, profile in REGISTRY.profiles.items()
    if profile.transport == "ble-adv"
    for test in profile.table["test"]
}
SHORT = {name: both for name, both in VECTORS.items() if len(both[0]) <= LEGACY_MOST}
EACH = [pytest.param(*both, id=name) for name, both in VECTORS.items()]
PUBLIC, STATIC, FLEETING = "A4:C1:38:8D:18:B2", "C4:00:00:00:00:01", "3A:11:22:33:44:55"
BEACON = bytes.fromhex("0201061aff4c000215b9407f30f5f8466eaff925556b57fe6d00010100b4")
BEACON_TAG = "ibeacon:b9407f30-f5f8-466e-aff9-25556b57fe6d-1-256"
BUTTON = bytes.fromhex("0201060a16d2fc40001d01643a01")
MALFORMED = {
    "runs past the end": BEACON[:-1],
    "length alone": b"\x02\x01\x06\x1a",
    "whole, then one that runs past the end": BEACON + b"\x05",
    "zeros at the end": BUTTON + bytes(LEGACY_MOST - len(BUTTON)),
    "a zero in the middle": b"\x02\x01\x06\x00" + BUTTON[3:],
    "type without payload": b"\x01\xff" + BUTTON,
    "company cut in two": b"\x02\xff\x4c" + BUTTON,
    "service cut in two": b"\x02\x16\xd2" + BUTTON,
    "all ones": b"\xff" * LEGACY_MOST,
    "nothing": b"",
}


def decode(data, options):
    return REGISTRY.decode_advert(data, address=options.get("address"), key=options.get("key"))


def join(structures):
    return b"".join(bytes((len(payload) + 1, kind)) + payload for kind, payload in structures)


def rebuilt(data, change=lambda properties: None):
    """What our source makes of an advert after the kernel, BlueZ and bleak had it."""
    properties = bluez_properties(data, PUBLIC, is_random=False, rssi=-60)
    change(properties)
    device, advert = through_bleak(properties)
    return advert_of(packet_of(device.address, advert, t_ns=0, heard_s=0.0))


def tag_or_none(data, address, *, is_random):
    lasting = kind_of(address, is_random=is_random) in {"public", "random_static"}
    found = REGISTRY.decode_advert(data, address=address if lasting else None)
    if isinstance(found, Rejected):
        return None
    return next((e.tag or found.tag for e in found.emits if e.kind == "reading"), None)


def source_of(reports):
    """Feed what a host was told to a source, through BlueZ's rules and bleak's code."""
    source = BleSource.from_table({"receiver": "rx-1"}, subject="t", base=Path(), now_ns=lambda: T0)
    for report in reports:
        is_random = report.address_type in {1, 3}
        address = str(report.address).removesuffix("/P")
        properties = bluez_properties(report.data, address, is_random=is_random, rssi=report.rssi)
        source._hear(*through_bleak(properties), is_fresh=True)
    found = source._measured(len(source._queue))
    return [(r.tag, r.rssi_dbm) for r in found if isinstance(r, Reading)], source.dropped


def reports_of(*events):
    """Let bumble's host side parse events, and hold our own parsing against it."""
    found = []
    for event in events:
        reports = hci.HCI_Packet.from_bytes(event).reports
        expected = parse_event(event)
        assert expected == [
            (r.address_type, str(r.address).removesuffix("/P"), r.data, r.rssi) for r in reports
        ]
        found += reports
    return found


def test_legacy_adverts_of_all_profiles_come_through_hci_byte_by_byte():
    async def work():
        async with on_the_air() as air:
            for at, (data, options) in enumerate(SHORT.values()):
                random = bool(at % 2)
                address = STATIC if random else PUBLIC
                report, packet = await air.hear(data, address, is_random=random)
                assert parse_event(packet)[0] == (int(random), address, data, -50)
                assert report.data == data
                assert decode(report.data, options) == decode(data, options)
        return at + 1

    assert run(work()) == len(SHORT) > 60


def test_extended_adverts_of_all_profiles_come_through_hci_byte_by_byte():
    async def work():
        async with on_the_air(extended=True) as air:
            for at, (data, options) in enumerate(VECTORS.values()):
                random = bool(at % 2)
                # As long as one event can be: what follows changes no measurement.
                for sent in (data, _filled(data)):
                    address = STATIC if random else PUBLIC
                    report, packet = await air.hear(sent, address, is_random=random)
                    assert parse_event(packet)[0] == (int(random), address, sent, -50)
                    assert decode(report.data, options) == decode(data, options)
        return at + 1

    assert run(work()) == len(VECTORS) > 65


def _filled(data):
    if not ad_structures(data):
        return data
    room = EXTENDED_MOST - len(data) - 2
    return data + bytes((room + 1, 0x24)) + b"u" * room  # a URI, which no profile reads


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_structures_come_through_and_mean_the_same(name):
    data = MALFORMED[name]

    async def work():
        async with on_the_air() as air:
            report, _ = await air.hear(data)
            return report

    report = run(work())
    assert report.data == data
    assert decode(report.data, {}) == decode(data, {})
    # The kernel hands on the whole structures: these, and no others, are what we see.
    assert decode(rebuilt(data), {}) == decode(kernel_trim(data), {})
    assert source_of([report])[0] == (
        [(tag, -50)] if (tag := tag_or_none(kernel_trim(data), PUBLIC, is_random=False)) else []
    )


def test_several_reports_in_one_event_are_told_apart():
    senders = [
        (0, 0, PUBLIC, BUTTON, -64),
        (3, 1, STATIC, BEACON, -100),
        (0, 1, FLEETING, BEACON, 20),
        (2, 1, FLEETING, BUTTON, -1),
        (0, 2, PUBLIC, BUTTON, -65),
        (0, 3, STATIC, BUTTON, -66),
    ]
    reports = reports_of(legacy_event(*senders))
    assert [data for *_, data, _ in senders] == [report.data for report in reports]
    assert [rssi for *_, rssi in senders] == [report.rssi for report in reports]
    expected = [
        ("ble:a4c1388d18b2", -64),
        (BEACON_TAG, -100),
        (BEACON_TAG, 20),
        ("ble:a4c1388d18b2", -65),
        ("ble:c40000000001", -66),
    ]
    found, dropped = source_of(reports)
    assert expected == found
    assert dropped == {"no_tag": 1}  # an address that changes is nobody's name


def test_a_strength_that_is_not_available_is_no_reading():
    reports = reports_of(
        legacy_event((0, 0, PUBLIC, BEACON, 127), (0, 0, PUBLIC, BEACON, -127)),
        legacy_event((0, 0, PUBLIC, BEACON, -61)),
    )
    assert source_of(reports) == ([(BEACON_TAG, -61)], {"no_rssi": 2})


def test_any_split_between_advert_and_scan_response_means_the_same():
    count = 0
    for data, options in SHORT.values():
        structures = ad_structures(data) or []
        for at in range(1, len(structures)):
            parts = join(structures[:at]), join(structures[at:])
            advert, response = reports_of(
                legacy_event((0, 0, PUBLIC, parts[0], -60)),
                legacy_event((4, 0, PUBLIC, parts[1], -60)),
            )
            # The kernel holds an advert that can be scanned until its response is there.
            assert decode(rebuilt(advert.data + response.data), options) == decode(data, options)
            count += 1
    assert count > 60


@pytest.mark.parametrize(("data", "options"), EACH)
def test_what_bluez_and_bleak_leave_decodes_as_what_was_sent(data, options):
    assert decode(rebuilt(data), options) == decode(kernel_trim(data), options)


@pytest.mark.parametrize(("data", "options"), EACH)
def test_order_flags_and_what_bluez_still_holds_of_earlier_packets_are_harmless(data, options):
    sent = decode(data, options)
    if not isinstance(sent, Decoded):
        assert not isinstance(decode(rebuilt(data), options), Decoded)
        return
    structures = ad_structures(data)
    for order in permutations(structures):
        assert sent == decode(join(order), options)
        assert sent == decode(rebuilt(join(order)), options)
    # Flags are told by a bluetoothd with --experimental alone.
    assert sent == decode(rebuilt(data, lambda p: p.pop("AdvertisingFlags", None)), options)

    def earlier(properties):
        properties.setdefault("Name", "of an earlier packet")
        properties.setdefault("TxPower", 4)
        properties["UUIDs"] = [*properties["UUIDs"], "0000180d-0000-1000-8000-00805f9b34fb"]

    assert sent == decode(rebuilt(data, earlier), options)


@pytest.mark.parametrize(("data", "options"), EACH)
def test_of_a_repeated_company_or_service_one_is_lost_and_the_two_are_never_mixed(data, options):
    structures = ad_structures(data) or []
    for at, (kind, payload) in enumerate(structures):
        if kind not in {MANUFACTURER, SERVICE_DATA16} or len(payload) < 2:
            continue
        for junk in (b"\x01", bytes(8), b"\xff" * 20, payload[:1:-1]):
            other = (kind, payload[:2] + junk)
            alone = join([*structures[:at], other, *structures[at + 1 :]])
            assert decode(rebuilt(join([*structures, other])), options) == decode(
                rebuilt(alone), options
            )
            assert decode(rebuilt(join([other, *structures])), options) == decode(
                rebuilt(data), options
            )


def test_of_two_identities_in_one_advert_always_the_same_is_taken_whatever_their_order():
    eddystone = bytes.fromhex("0303aafe1716aafe00e3123456789012346789010000000000010000")
    both = [decode(rebuilt(data), {}).tag for data in (BEACON + eddystone, eddystone + BEACON)]
    assert both == ["eddystone:12345678901234678901-000000000001"] * 2


def test_the_simulators_stand_in_of_bluez_gives_the_properties_of_the_rules_here():
    for data, _ in VECTORS.values():
        structures = ad_structures(data)
        if structures is None:
            continue
        told = {name: variant.value for name, variant in device_properties(structures, -60).items()}
        for name in ("ManufacturerData", "ServiceData"):
            if name in told:
                told[name] = {key: bytes(variant.value) for key, variant in told[name].items()}
        expected = bluez_properties(data, PUBLIC, is_random=False, rssi=-60)
        fixed = {"Address", "AddressType", "Alias"} | ({"UUIDs"} - told.keys())
        assert {k: v for k, v in expected.items() if k not in fixed} == {
            k: v for k, v in told.items() if k not in fixed
        }
