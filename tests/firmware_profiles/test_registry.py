"""Adverts to profiles: matching, order, tags, emits; and the promises of the registry."""

import pytest

from firmware_profiles.advert import ad_structures, build_advert, local_name
from firmware_profiles.decoded import Decoded, Emit, Rejected
from firmware_profiles.registry import load_registry

IBEACON = "02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000640000c5"
SHELF = "0201060d16d2fc4000c8015806890059fd"


@pytest.fixture(scope="module")
def registry():
    return load_registry()


def test_all_packaged_profiles_load(registry):
    assert registry.errors == ()
    assert len(registry.profiles) >= 34


def test_ibeacon_is_a_reading(registry):
    tag = "ibeacon:e2c56db5-dffb-48d2-b060-d0f5a71096e0-100-0"
    found = registry.decode_advert(bytes.fromhex(IBEACON))
    assert (found.profile, found.tag) == ("ibeacon", tag)
    assert found.emits == (Emit("reading", tag),)


@pytest.mark.parametrize(
    ("advert", "tag"),
    [
        (
            "0201060303aafe1716aafe00e3123456789012346789010000000000010000",
            "eddystone:12345678901234678901-000000000001",
        ),
        (
            "1bffffffbeacd3162f5af3ee494799db09756062d0fc005a0005c400",
            "altbeacon:d3162f5af3ee494799db09756062d0fc005a0005",
        ),
        ("0201060303aafe1116aafe20000b1813000000146700002ac4", None),
    ],
)
def test_tags_of_beacons(registry, advert, tag):
    assert registry.decode_advert(bytes.fromhex(advert)).tag == tag


def test_address_is_a_tag_only_if_given(registry):
    advert = bytes.fromhex(SHELF)
    assert registry.decode_advert(advert).tag is None
    found = registry.decode_advert(advert, address="A4:C1:38:8D:18:B2")
    assert found.emits == (
        Emit("reading", "ble:a4c1388d18b2"),
        Emit("sample", None, 1370.0, None),
    )


def test_button_of_a_wristband_is_a_tap(registry):
    advert = registry.encode("bthome_v2", {"packet_id": 1, "button_event": "press"})
    found = registry.decode_advert(advert, address="A4:C1:38:8D:18:B2")
    assert [emit.kind for emit in found.emits] == ["reading", "tap"]


@pytest.mark.parametrize("name", ["mi_scale_v1", "mi_scale_v2", "apple_continuity"])
def test_what_is_a_persons_own_is_not_emitted(registry, name):
    profile = registry.profiles[name]
    data = next(t["hex"] for t in profile.table["test"] if not t.get("reject"))
    found = registry.decode_advert(bytes.fromhex(data), address="A4:C1:38:8D:18:B2")
    assert profile.privacy == "person"
    assert (found.tag, found.emits) == (None, ())


def test_name_decides_between_profiles_of_one_service(registry):
    press = (0x16, bytes.fromhex("d2fc403a01"))
    named = build_advert(press, (0x09, b"SBBT-002C"))
    assert registry.decode_advert(named).profile == "shelly_blu"
    assert registry.decode_advert(build_advert(press)).profile == "bthome_v2"


def test_second_structure_is_tried_if_the_first_says_nothing(registry):
    advert = build_advert((0xFF, bytes.fromhex("4c000f0100")), (0x16, bytes.fromhex("d2fc402d01")))
    assert registry.decode_advert(advert).fields == {"window": True}


@pytest.mark.parametrize(
    ("advert", "reason"),
    [
        ("", "unknown-device"),
        ("00", "unknown-device"),
        ("020106", "unknown-device"),
        ("05ff34120102", "unknown-device"),
        ("0201061aff4c0002", "malformed-advert"),
        ("05", "malformed-advert"),
        ("0316d2fc", "no-match"),
        ("0416d2fc40", "no-match"),
        ("0516d2fc4000", "truncated"),
    ],
)
def test_rejections(registry, advert, reason):
    assert registry.decode_advert(bytes.fromhex(advert)) == Rejected(reason)


def test_only_one_profile_may_be_asked(registry):
    advert = bytes.fromhex(IBEACON)
    assert registry.decode_advert(advert, only="apple_continuity") == Rejected("no-match")


def test_repeated_names_are_numbered(registry):
    advert = build_advert((0x16, bytes.fromhex("d2fc403a013a003a04")))
    assert registry.decode_advert(advert).fields == {
        "button_event_1": "press",
        "button_event_2": "none",
        "button_event_3": "long_press",
    }


def test_unknown_object_keeps_what_came_before(registry):
    advert = build_advert((0x16, bytes.fromhex("d2fc4009 05 ee01".replace(" ", ""))))
    assert registry.decode_advert(advert).fields == {"count": 5, "partial": "unknown-object"}


def test_objects_of_several_fields_and_of_own_length(registry):
    advert = build_advert((0x16, bytes.fromhex("d2fc403c0203530568656c6c6f58f6")))
    assert registry.decode_advert(advert).fields == {
        "dimmer_event": "rotate_right",
        "dimmer_steps": 3,
        "text": "hello",
        "temperature_c": -3.5,
    }


def test_text_from_the_air_is_printable(registry):
    advert = build_advert((0x16, bytes.fromhex("d2fc405303" + "1b5b41")))
    assert registry.decode_advert(advert).fields == {"text": "\ufffd[A"}
    assert local_name(build_advert((0x09, b"a\x00b"))) == "a\ufffdb"


def test_a_replaced_profile_wins(registry):
    text = registry_text("hx711").replace("HX711, the 24 bits themselves", "Mine")
    assert load_registry({"hx711.toml": text}).profiles["hx711"].title == "Mine"


def registry_text(name):
    from firmware_profiles.registry import packaged_profiles

    return packaged_profiles()[f"{name}.toml"]


def test_minew_people_counter(registry):
    advert = bytes.fromhex("1bff3906ca18000705000300" + "00" * 16)
    assert registry.decode_advert(advert).fields == {
        "frame": "people_counter",
        "count_cycle": 7,
        "in_count": 5,
        "out_count": 3,
    }


def test_calibration_needs_its_numbers(registry):
    assert registry.decode("hx711", bytes.fromhex("0247ae")).emits == ()
    found = registry.decode(
        "hx711", bytes.fromhex("0147ad"), {"tare_counts": 83886, "counts_per_gram": 1}
    )
    assert found.emits == (Emit("sample", None, -1.0, None),)
    zero = registry.decode("hx711", bytes.fromhex("0147ad"), {"counts_per_gram": 0})
    assert "mass_g" not in zero.fields


def test_saturated_cell_is_no_sample(registry):
    options = {"tare_counts": 0, "counts_per_gram": 420.5}
    assert registry.decode("hx711", bytes.fromhex("800000"), options).emits == ()


def test_stream_of_what_is_no_stream(registry):
    with pytest.raises(ValueError, match="is no stream"):
        registry.stream("ibeacon")


def test_unknown_names_are_key_errors(registry):
    for call in (registry.stream, lambda name: registry.decode(name, b"")):
        with pytest.raises(KeyError):
            call("nothing")


def test_structures_of_length_zero_end_the_advert():
    assert ad_structures(bytes.fromhex("0201060000ff")) == [(1, b"\x06")]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ibeacon", {"uuid": "x"}),
        ("ibeacon", {}),
        ("ibeacon", {"uuid": 1, "major": 2, "minor": 3, "tx_power_1m_dbm": 4}),
        ("bthome_v2", {"nonsense": 1}),
        ("bthome_v2", {"button_event": "smash"}),
        ("bthome_v2", {"count": 1 << 40}),
        ("eddystone", {"frame": "none"}),
        ("rdm6300", {"tag_hex": "00"}),
        ("modbus_rtu_load_cell", {"unit": 1}),
        ("wiegand", {"bits": 27}),
        ("estimote_telemetry", {}),
    ],
)
def test_what_cannot_be_sent_is_a_value_error(registry, name, fields):
    with pytest.raises(ValueError):
        registry.encode(name, fields)


def test_decoded_is_a_value(registry):
    first, second = (registry.decode_advert(bytes.fromhex(IBEACON)) for _ in range(2))
    assert first == second == Decoded(*first)
    assert first.fields is not second.fields
