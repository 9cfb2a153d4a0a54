from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sources.adverts import Adverts, Ear, Heard
from edge.sources.ble import BleSource
from edge.sources.ble_adverts import (
    AllowList,
    AllowSettings,
    advert_of,
    kind_of,
    packet_of,
    passive_patterns,
)
from edge.sources.ble_irks import read_irks
from edge.sources.ble_settings import BleSettings
from firmware_profiles.advert import ad_structures
from firmware_profiles.decoded import Decoded
from firmware_profiles.proving import options_of
from firmware_profiles.registry import load_registry
from ingest.config import ConfigError
from simulators.bluez_properties import device_properties, monitor_hears

REGISTRY = load_registry()
# Bluetooth Core Specification, Vol 3 Part H, appendix D.7: sample data of ah.
IRK = bytes.fromhex("ec0234a357c8ad05341010a60a397d9b")
RESOLVED, STATIC, FLEETING = "70:81:94:0D:FB:AA", "C4:00:00:00:00:01", "3A:11:22:33:44:55"
BEACON = bytes.fromhex("0201061aff4c000215b9407f30f5f8466eaff925556b57fe6d00010100b4")
BUTTON = bytes.fromhex("0201060a16d2fc40001d01643a01")
VECTORS = [
    pytest.param(bytes.fromhex(test["hex"]), options_of(test), id=f"{name}: {test['name']}")
    for name, profile in REGISTRY.profiles.items()
    if profile.transport == "ble-adv"
    for test in profile.table["test"]
]


def through_bluez(data, address="A4:C1:38:8D:18:B2", kind="public"):
    """Return what is left of an advert after BlueZ and bleak had it."""
    values = {
        name: variant.value
        for name, variant in device_properties(ad_structures(data) or [], -60).items()
    }
    advert = SimpleNamespace(
        rssi=-60,
        manufacturer_data={k: v.value for k, v in values.get("ManufacturerData", {}).items()},
        service_data={k: v.value for k, v in values.get("ServiceData", {}).items()},
        service_uuids=values.get("UUIDs", []),
        local_name=values.get("Name"),
        tx_power=values.get("TxPower"),
        platform_data=("/", {"AddressType": kind, **values}),
    )
    return packet_of(address, advert, t_ns=0, heard_s=0.0)


def tag_of(data, address, kind, irk_file=None):
    """Return the tag that the source makes of an advert, None if none."""
    irk_file = None if irk_file is None else str(irk_file)
    settings = BleSettings(receiver="rx-1", irk_file=irk_file)
    source = BleSource(settings, now_ns=lambda: 0, registry=REGISTRY)
    source._queue.append(through_bluez(data, address, kind))
    found = source._measured(1)
    assert source.dropped["no_tag"] == (not found)
    return found[0].tag if found else None


def test_the_profiles_have_vectors_to_test_with():
    assert len(VECTORS) > 70


@pytest.mark.parametrize(("data", "options"), VECTORS)
def test_what_is_rebuilt_decodes_as_what_was_sent(data, options):
    address, key = options.get("address"), options.get("key")
    sent = REGISTRY.decode_advert(data, address=address, key=key)
    rebuilt = REGISTRY.decode_advert(advert_of(through_bluez(data)), address=address, key=key)
    if isinstance(sent, Decoded):
        assert sent == rebuilt
    else:
        assert not isinstance(rebuilt, Decoded)


def test_an_advert_in_our_order_comes_back_byte_by_byte():
    for profile in ("ibeacon", "eddystone", "disney_magicband_pairing"):
        for test in REGISTRY.profiles[profile].table["test"]:
            data = bytes.fromhex(test["hex"])
            kinds = [kind for kind, _ in ad_structures(data) or []]
            if "reject" not in test and kinds[0] == 1 and 0x0A not in kinds:
                assert advert_of(through_bluez(data)) == data


@given(st.binary(max_size=80), st.sampled_from(["public", "random"]))
def test_any_bytes_are_rebuilt_to_structures_that_can_be_walked(data, kind):
    rebuilt = advert_of(through_bluez(data, STATIC, kind))
    assert ad_structures(rebuilt) is not None
    adverts = Adverts(REGISTRY, cached_max=4)
    found = adverts.measured(Heard(0, 0, -60.0, rebuilt), Ear("rx-1"))
    assert len(found) + adverts.dropped.total() == 1


def test_an_address_becomes_a_tag_only_if_it_lasts():
    assert tag_of(BUTTON, "A4:C1:38:8D:18:B2", "public") == "ble:a4c1388d18b2"
    assert tag_of(BUTTON, STATIC, "random") == "ble:c40000000001"
    for fleeting in (RESOLVED, FLEETING, "80:00:00:00:00:01"):
        assert tag_of(BUTTON, fleeting, "random") is None
    assert tag_of(BUTTON, "nonsense", "public") is None


def test_an_identity_in_the_advert_counts_whatever_the_address():
    tag = "ibeacon:b9407f30-f5f8-466e-aff9-25556b57fe6d-1-256"
    for address, kind in ((STATIC, "random"), (RESOLVED, "random"), (FLEETING, "random")):
        assert tag_of(BEACON, address, kind) == tag


def test_the_key_of_an_enrolled_phone_resolves_its_address_to_its_name(tmp_path):
    nearby = bytes.fromhex("02011a07ff4c001002440c")
    keys = tmp_path / "irks.csv"
    keys.write_text(f"name,irk\nother,{bytes(16).hex()}\nphone-7,{IRK.hex()}\n")
    assert tag_of(nearby, RESOLVED, "random", keys) == "name:phone-7"
    assert tag_of(BEACON, RESOLVED, "random", keys) == "name:phone-7"
    assert tag_of(nearby, "70:81:94:0D:FB:AB", "random", keys) is None
    # The same bits as a public address are somebody's fixed address, not a phone's.
    assert tag_of(nearby, RESOLVED, "public", keys) is None


def test_kinds_of_addresses():
    assert kind_of(STATIC, is_random=True) == "random_static"
    assert kind_of(RESOLVED, is_random=True) == "resolvable_private"
    assert kind_of(FLEETING, is_random=True) == "non_resolvable_private"
    assert kind_of(STATIC, is_random=False) == "public"
    assert kind_of("C4:00", is_random=False) == "reserved"


@pytest.mark.parametrize(
    ("allow", "beacon", "button"),
    [
        ({}, True, True),
        ({"companies": ("004c",)}, True, False),
        ({"services": ("fcd2",)}, False, True),
        ({"services": ("0000fcd2-0000-1000-8000-00805f9b34fb",)}, False, True),
        ({"companies": ("004c",), "services": ("fcd2",)}, True, True),
        ({"address_kinds": ("random_static",)}, False, True),
        ({"address_kinds": ("random_static",), "companies": ("004c",)}, False, False),
    ],
)
def test_the_allow_list(allow, beacon, button):
    listed = AllowList(AllowSettings(**allow))
    assert beacon is listed.admits(through_bluez(BEACON))
    assert button is listed.admits(through_bluez(BUTTON, STATIC, "random"))


def test_a_passive_scan_asks_for_all_that_the_profiles_decode():
    patterns = passive_patterns(REGISTRY, with_phones=False)
    for param in VECTORS:
        data, options = param.values
        found = REGISTRY.decode_advert(data, address=options.get("address"), key=options.get("key"))
        if isinstance(found, Decoded):
            assert monitor_hears(patterns, ad_structures(data))
    assert not monitor_hears(patterns, ad_structures(b"\x02\x01\x06\x05\xff\xfe\xff\x01\x02"))
    with_phones = passive_patterns(REGISTRY, with_phones=True)
    assert monitor_hears(with_phones, ad_structures(b"\x02\x01\x06"))


def test_a_file_of_keys(tmp_path):
    path = tmp_path / "irks.csv"
    path.write_text(f"name,irk\nphone-7,{IRK.hex()}\nphone-8,{bytes(16).hex()}\n")
    assert read_irks(path) == {"name:phone-7": IRK, "name:phone-8": bytes(16)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nphone-7\n", "column 'irk' is missing"),
        ("name,irk\nPhone 7,00\n", "line 2: expected a name"),
        ("name,irk\nphone-7,c0ffee\n", "line 2: expected a key of 32 hex digits"),
        ("name,irk\nphone-7\n", "line 2: expected a key of 32 hex digits"),
        (f"name,irk\na,{IRK.hex()}\na,{IRK.hex()}\n", "line 3: this name is there already"),
        ("name,irk\na,\xff\n", "expected CSV in UTF-8"),
    ],
)
def test_a_wrong_file_of_keys_is_refused_without_repeating_a_key(tmp_path, text, message):
    path = tmp_path / "irks.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=message) as caught:
        read_irks(path)
    assert "c0ffee" not in str(caught.value)
    assert IRK.hex() not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_irks(tmp_path / "none.csv")
