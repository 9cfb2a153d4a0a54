"""One suite over every profile: its vectors, its way back, and what every profile owes."""

import json

import pytest

from firmware_profiles.decoded import REASONS, Decoded, Rejected
from firmware_profiles.proving import (
    decode_message,
    expected_of,
    options_of,
    prove,
    result_of,
)
from firmware_profiles.registry import load_registry
from ingest.identifiers import is_tag

REGISTRY = load_registry()
NAMES = sorted(REGISTRY.profiles)
DECODE_ONLY = {
    "apple_continuity",
    "ble_address",
    "estimote_telemetry",
    "iso14443a_anticollision",
    "mibeacon",
    "ntag424_sun",
    "pcsc_get_data_uid",
    "wiegand_bits",
}
ADDRESS = "A4:C1:38:8D:18:B2"


def vectors(name):
    return REGISTRY.profiles[name].table["test"]


def found_of(name, test, **more):
    profile = REGISTRY.profiles[name]
    options = {**options_of(test), **more}
    return decode_message(REGISTRY, profile, bytes.fromhex(test["hex"]), options, matched=True)


@pytest.mark.parametrize("name", NAMES)
def test_vectors_of_the_profile(name):
    outcomes = prove(REGISTRY, name)
    assert outcomes
    assert [outcome for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.parametrize("name", NAMES)
def test_fields_go_out_as_json(name):
    for test in vectors(name):
        for one in found_of(name, test):
            if isinstance(one, Decoded):
                assert json.loads(json.dumps(one.fields, allow_nan=False)) == one.fields
                assert not any(key.startswith("_") for key in one.fields)


@pytest.mark.parametrize("name", NAMES)
def test_tags_are_of_the_grammar(name):
    for test in vectors(name):
        for one in found_of(name, test, address=ADDRESS):
            for emit in one.emits if isinstance(one, Decoded) else ():
                assert emit.kind in ("reading", "tap", "sample")
                assert (emit.tag is None) == (emit.kind == "sample")
                assert emit.tag is None or is_tag(emit.tag)


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_of_a_vector_is_decoded_or_rejected(name):
    profile = REGISTRY.profiles[name]
    for test in vectors(name):
        data = bytes.fromhex(test["hex"])
        for size in range(len(data)):
            for one in decode_message(REGISTRY, profile, data[:size], options_of(test)):
                assert isinstance(one, Decoded) or one.reason in REASONS


@pytest.mark.parametrize("name", [name for name in NAMES if REGISTRY.profiles[name].is_stream])
def test_stream_finds_a_frame_behind_noise_and_half_a_frame(name):
    profile = REGISTRY.profiles[name]
    good = next(t for t in vectors(name) if "expect" in t)
    data = bytes.fromhex(good["hex"])
    decoder = profile.stream(options_of(good))
    junk = b"\x00\xff\x13" + data[: len(data) // 2] + (b"\r\n" if profile.line_length_max else b"")
    found = [*decoder.feed(junk + data + data), *decoder.finish()]
    fields = [one.fields for one in found if isinstance(one, Decoded)]
    assert fields[-2:] == [expected_of(good)] * 2
    assert any(isinstance(one, Rejected) for one in found)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_decoded_can_be_sent_again(name):
    profile = REGISTRY.profiles[name]
    sent = 0
    for test in vectors(name):
        expected = expected_of(test)
        if not isinstance(expected, dict) or {"partial", "encryption_counter"} & set(expected):
            continue
        try:
            data = REGISTRY.encode(name, expected)
        except ValueError:
            assert name in DECODE_ONLY
            continue
        found = decode_message(REGISTRY, profile, data, options_of(test), matched=True)
        assert result_of(found) == expected
        sent += 1
    assert (sent > 0) == (name not in DECODE_ONLY)


def test_profiles_hold_no_keys():
    for name in NAMES:
        crypto = REGISTRY.profiles[name].table.get("crypto", {})
        assert set(crypto) <= {"scheme", "when"}
