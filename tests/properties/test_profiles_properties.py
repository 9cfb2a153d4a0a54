"""Any bytes, any pieces, any fields: what decoders and encoders promise."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_targets import targets_of
from firmware_profiles.decoded import REASONS, Decoded
from firmware_profiles.proving import decode_message
from firmware_profiles.registry import load_registry

REGISTRY = load_registry()
NAMES = sorted(REGISTRY.profiles)
STREAMS = [name for name in NAMES if REGISTRY.profiles[name].is_stream]
ADVERTS = [
    bytes.fromhex(test["hex"])
    for name in NAMES
    for test in REGISTRY.profiles[name].table["test"]
    if REGISTRY.profiles[name].transport == "ble-adv"
]
ONLY_DECODED = {
    "apple_continuity",
    "ble_address",
    "estimote_telemetry",
    "iso14443a_anticollision",
    "mibeacon",
    "ntag424_sun",
    "pcsc_get_data_uid",
    "wiegand_bits",
}
KEYS = st.none() | st.binary(min_size=16, max_size=16)
u8, u16, u32 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32))
s8 = st.integers(-128, 127)


def is_answer(one):
    return isinstance(one, Decoded) or one.reason in REASONS - {"broken-profile"}


def hexes(size):
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


def uuids():
    return st.uuids().map(str)


@st.composite
def mutated(draw):
    data = bytearray(draw(st.sampled_from(ADVERTS)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(u8)
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@st.composite
def structured(draw):
    kind = draw(st.sampled_from([0x16, 0xFF]))
    numbers = [number & 0xFFFF for number in REGISTRY.by_id if number >> 16 == kind]
    number = draw(st.sampled_from(sorted(numbers)))
    body = number.to_bytes(2, "little") + draw(st.binary(max_size=28))
    return bytes([len(body) + 1, kind]) + body


@given(st.binary(max_size=64) | mutated() | structured(), KEYS)
@settings(max_examples=600, deadline=None)
def test_any_advert_is_decoded_or_rejected(data, key):
    assert is_answer(REGISTRY.decode_advert(data, address="A4:C1:38:8D:18:B2", key=key))


@given(st.sampled_from(NAMES), st.binary(max_size=80), st.integers(0, 40))
@settings(max_examples=500, deadline=None)
def test_any_message_is_decoded_or_rejected(name, data, bit_length):
    profile = REGISTRY.profiles[name]
    options = {
        "bit_length": bit_length,
        "tx_add": "random",
        "scale_g_per_count": 0.1,
        "counts_per_gram": 3.0,
    }
    assert is_answer(profile.read(data, options))
    assert all(map(is_answer, decode_message(REGISTRY, profile, data, options)))


@st.composite
def streams(draw):
    name = draw(st.sampled_from(STREAMS))
    frames = [bytes.fromhex(test["hex"]) for test in REGISTRY.profiles[name].table["test"]]
    piece = st.binary(max_size=6) | st.sampled_from(frames)
    cut = st.sampled_from(frames).flatmap(
        lambda frame: st.integers(0, len(frame)).map(lambda size: frame[:size])
    )
    return name, b"".join(draw(st.lists(piece | cut, max_size=6)))


@given(streams(), st.data())
@settings(max_examples=400, deadline=None)
def test_pieces_do_not_matter(given_stream, data):
    name, stream = given_stream
    whole, bytewise, pieces = (REGISTRY.stream(name) for _ in range(3))
    expected = [*whole.feed(stream), *whole.finish()]
    assert all(map(is_answer, expected))
    one_by_one = [one for byte in stream for one in bytewise.feed(bytes([byte]))]
    assert expected == one_by_one + bytewise.finish()
    at, found = 0, []
    while at < len(stream):
        size = data.draw(st.integers(1, 9))
        found += pieces.feed(stream[at : at + size])
        at += size
    assert expected == found + pieces.finish()


TARGETS = targets_of(REGISTRY)
ENCODERS = {name for name in NAMES if name not in ONLY_DECODED}


@st.composite
def near_vectors(draw, seeds):
    """A vector with bytes changed, cut out, doubled, or another one behind it."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        other = draw(st.binary(max_size=3) | st.sampled_from(seeds))
        data[at : at + draw(st.integers(0, 3))] = other
    return bytes(data[:160])


@pytest.mark.parametrize("name", sorted(TARGETS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_decoder_answers_to_anything(name, data):
    """What `make fuzz` does a million times; a stream must not depend on its pieces."""
    target = TARGETS[name]
    one = data.draw(st.binary(max_size=target.most_bytes) | near_vectors(target.seeds))
    answers = target.run(one)
    assert all(map(is_answer, answers))
    emits = [emit for found in answers for emit in getattr(found, "emits", ())]
    assert {emit.proof for emit in emits} <= {"ntag424-sun" if "ntag424" in name else None}


def options_of_reading(name):
    return {"bit_length": 26} if name == "wiegand" else {}


@pytest.mark.parametrize("name", sorted(ENCODERS))
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_is_sent_reads_as_what_would_be_sent_again(name, data):
    """Encoding fields that were read gives bytes that read as fields with the same bytes."""
    profile, options = REGISTRY.profiles[name], options_of_reading(name)
    seeds = [bytes.fromhex(test["hex"]) for test in profile.table["test"]]
    for found in decode_message(REGISTRY, profile, data.draw(near_vectors(seeds)), options):
        if not isinstance(found, Decoded):
            continue
        try:
            sent = REGISTRY.encode(name, found.fields)
        except ValueError:
            continue
        (again,) = decode_message(REGISTRY, profile, sent, options)
        assert sent == REGISTRY.encode(name, again.fields)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_come_back_from_their_fields(name):
    """Exactly the profiles that say so only decode; the others send what they read."""
    profile, options = REGISTRY.profiles[name], options_of_reading(name)
    came_back = False
    for test in profile.table["test"]:
        for found in decode_message(REGISTRY, profile, bytes.fromhex(test["hex"]), options):
            fields = getattr(found, "fields", {"partial": ""})
            if "partial" in fields or test.get("reject"):
                continue
            if name in ONLY_DECODED:
                with pytest.raises(ValueError):
                    REGISTRY.encode(name, fields)
                continue
            sent = REGISTRY.encode(name, fields)
            (again,) = decode_message(REGISTRY, profile, sent, options)
            assert fields == again.fields
            came_back = True
    assert came_back == (name not in ONLY_DECODED)


FIELDS = {
    "ibeacon": {"uuid": uuids(), "major": u16, "minor": u16, "tx_power_1m_dbm": s8},
    "ruuvi_df5": {
        "format": st.just(5),
        "temperature_c": st.none() | st.integers(-32767, 32767).map(lambda raw: raw / 200),
        "humidity_pct": st.none() | st.integers(0, 65534).map(lambda raw: raw / 400),
        "pressure_pa": st.none() | st.integers(50000, 115534),
        "acceleration_x_mg": st.none() | st.integers(-32767, 32767),
        "acceleration_y_mg": st.integers(-32767, 32767),
        "acceleration_z_mg": st.integers(-32767, 32767),
        "battery_mv": st.none() | st.integers(1600, 3646),
        "tx_power_dbm": st.none() | st.integers(0, 30).map(lambda raw: raw * 2 - 40),
        "movement_count": st.none() | st.integers(0, 254),
        "measurement_sequence": st.none() | st.integers(0, 65534),
        "mac": st.none()
        | hexes(6)
        .filter(lambda t: t != "f" * 12)
        .map(lambda text: bytes.fromhex(text).hex(":").upper()),
    },
    "hx711_bridge": {"channel": u8, "raw_counts": st.integers(-(1 << 23) + 1, (1 << 23) - 2)},
    "gy53_vl53l0x": {"distance_mm": u16, "mode": u8},
    "mt_sics": {
        "stable": st.booleans(),
        "mass_g": st.integers(-999999, 9999999).map(lambda raw: raw / 100),
    },
    "aandd": {
        "stable": st.booleans(),
        "mass_kg": st.integers(-99999, 999999).map(lambda raw: raw / 100),
    },
    "st_gs_ascii": {
        "stable": st.booleans(),
        "net": st.booleans(),
        "mass_kg": st.integers(-999999, 9999999).map(lambda raw: raw / 1000),
    },
}
DERIVED = {"hx711_bridge": {"saturated": False}}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_fields_come_back_as_they_were_sent(data):
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    fields = data.draw(st.fixed_dictionaries(FIELDS[name]))
    profile = REGISTRY.profiles[name]
    sent = REGISTRY.encode(name, fields)
    (found,) = decode_message(REGISTRY, profile, sent, {})
    assert {**fields, **DERIVED.get(name, {})} == found.fields


@given(hexes(5))
def test_cards_come_back(tag_hex):
    card = bytes.fromhex(tag_hex)
    fields = {
        "tag_hex": tag_hex,
        "version": card[0],
        "card_number": int.from_bytes(card[1:]),
        "wiegand_facility": card[2],
        "wiegand_card": int.from_bytes(card[3:]),
    }
    (found,) = REGISTRY.stream("rdm6300").feed(REGISTRY.encode("rdm6300", fields))
    assert (found.fields, found.tag) == (fields, f"em4100:{tag_hex}")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "packet_id": u8,
            "battery_pct": u8,
            "temperature_c": st.integers(-32768, 32767).map(lambda raw: raw / 100),
            "mass_kg": u16.map(lambda raw: raw / 100),
            "count": u32 | st.integers(-(1 << 31), -1),
            "distance_mm": u16,
            "motion": st.booleans(),
            "button_event": st.sampled_from(["none", "press", "hold_release"]),
            "raw_hex": st.binary(max_size=4).map(bytes.hex),
        },
    ).filter(bool)
)
@settings(max_examples=200, deadline=None)
def test_bthome_objects_come_back(fields):
    found = REGISTRY.decode_advert(REGISTRY.encode("bthome_v2", fields))
    assert fields == found.fields
