"""Cards: random UIDs never become a tag, and a Wiegand card has one tag at every reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_profiles.checksums import xor8
from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.decoders.nfc import is_random_tag
from firmware_profiles.emits import compile_emits
from firmware_profiles.registry import load_registry

REGISTRY = load_registry()
RANDOM, SINGLE, DOUBLE = "08a1b2c3", "04a1b2c3", "0804b2c3d4e5f6"


def anticollision(uid):
    parts = [uid] if len(uid) == 4 else [b"\x88" + uid[:3], uid[3:]]
    return b"".join(part + xor8(part) for part in parts)


def pn532(uid):
    return REGISTRY.encode("pn532_hsu", {"uid_hex": uid.hex()})


def line(uid):
    return uid.hex().upper().encode() + b"\r\n"


READERS = {
    "pn532_hsu": pn532,
    "iso14443a_anticollision": anticollision,
    "pcsc_get_data_uid": lambda uid: uid + b"\x90\x00",
    "keyboard_wedge": line,
}


def heard(name, data):
    profile = REGISTRY.profiles[name]
    found = profile.stream({}).feed(data) if profile.is_stream else [profile.read(data, {})]
    (one,) = found
    return one


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize(("uid_hex", "is_card"), [(RANDOM, False), (SINGLE, True), (DOUBLE, True)])
def test_a_random_uid_is_read_and_is_nobody(name, uid_hex, is_card):
    one = heard(name, READERS[name](bytes.fromhex(uid_hex)))
    assert uid_hex in one.fields.values()
    assert [emit.tag for emit in one.emits] == ([f"nfc:{uid_hex}"] if is_card else [])
    assert one.tag == (f"nfc:{uid_hex}" if is_card else None)


def test_every_profile_that_reads_a_uid_is_in_the_table():
    reading = {
        name
        for name, profile in REGISTRY.profiles.items()
        for emit in profile.table.get("emit", ())
        if emit.get("tag", "").startswith("nfc:")
    }
    # A message that was verified has the true UID, of 7 bytes.
    assert reading == {*READERS, "ntag424_sun"}


def test_a_profile_of_a_stranger_makes_no_tag_of_a_random_uid_either():
    make = compile_emits([{"kind": "tap", "tag": "nfc:{uid_hex}"}], ("emit",))
    assert make({"uid_hex": RANDOM}, None) == ()
    assert [emit.tag for emit in make({"uid_hex": SINGLE}, None)] == [f"nfc:{SINGLE}"]


@given(st.binary(min_size=4, max_size=10))
def test_only_single_size_uids_are_random(uid):
    assert is_random_tag(f"nfc:{uid.hex()}") == (len(uid) == 4 and uid[0] == 8)
    assert not is_random_tag(f"em4100:{uid.hex()}")


@given(st.sampled_from([26, 34]), st.integers(0, (1 << 32) - 1))
def test_a_wiegand_card_has_one_tag_at_every_reader(bits, number):
    size = (bits - 2) // 8
    data = (number & (1 << 8 * size) - 1).to_bytes(size)
    facility, card = int.from_bytes(data[:-2]), int.from_bytes(data[-2:])
    fields = {
        "bits": bits,
        "data_hex": data.hex(),
        "facility_code": facility,
        "card_number": card,
    }
    pulses = REGISTRY.encode("wiegand", fields)
    text = f"{int.from_bytes(pulses):0{8 * len(pulses)}b}"[:bits]
    expected = REGISTRY.decode("wiegand", pulses, {"bit_length": bits})
    in_hex = heard("wiegand_hex", REGISTRY.encode("wiegand_hex", fields))
    in_bits = heard("wiegand_bits", text.encode() + b"\r")
    assert expected.fields == in_hex.fields == in_bits.fields == fields
    assert expected.tag == in_hex.tag == in_bits.tag == f"wiegand:{int.from_bytes(data)}"
    typed = heard("keyboard_wedge", f"{int.from_bytes(data):010d}\r".encode())
    assert typed.tag == expected.tag


def test_a_bit_that_flips_on_the_way_is_no_card():
    good = "11101010000011011100000010"
    assert isinstance(heard("wiegand_bits", good.encode() + b"\r"), Decoded)
    for at, bit in enumerate(good):
        flipped = good[:at] + ("1" if bit == "0" else "0") + good[at + 1 :]
        assert heard("wiegand_bits", flipped.encode() + b"\r") == Rejected("bad-parity")


@pytest.mark.parametrize(
    ("profile", "text", "reason"),
    [
        ("wiegand_hex", "D41B8", "bad-length"),
        ("wiegand_hex", "D41B811", "bad-length"),
        ("wiegand_hex", "D4_B81", "bad-line"),
        ("wiegand_hex", "D41B8G", "bad-line"),
        ("wiegand_bits", "1110101000001101110000001", "bad-length"),
        ("wiegand_bits", "1" * 27, "bad-length"),
        ("wiegand_bits", "11101010000011011100000012", "bad-line"),
    ],
)
def test_other_lines_are_no_card(profile, text, reason):
    assert heard(profile, text.encode() + b"\r") == Rejected(reason)
