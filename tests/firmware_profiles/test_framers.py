"""Frames in streams: noise, half frames, false starts, lengths that lie."""

import pytest

from firmware_profiles.decoded import Decoded, Rejected
from firmware_profiles.form import FormError
from firmware_profiles.framers import FrameForm, FrameStream
from firmware_profiles.registry import load_registry

SUM = [{"kind": "sum8", "over": [0, -1], "at": -1}]
LENGTHY = {"start": "aa", "length_at": 1, "length_add": 3, "max_length": 16, "checksum": SUM}


def stream(*tables):
    forms = [FrameForm(table, ("frame", 0)) for table in tables]
    return FrameStream(forms, lambda content: Decoded("x", {"hex": bytes(content).hex()}))


def frame(payload):
    head = b"\xaa" + bytes([len(payload)]) + payload
    return head + bytes([sum(head) & 0xFF])


def fields(found):
    return [one.fields["hex"] if isinstance(one, Decoded) else one.reason for one in found]


def test_frames_come_out_in_order():
    one, two = frame(b"ab"), frame(b"")
    assert fields(stream(LENGTHY).feed(one + two)) == [one.hex(), two.hex()]


def test_noise_is_one_rejection():
    good = frame(b"ab")
    assert fields(stream(LENGTHY).feed(b"\x01\x02\x03" + good)) == ["noise", good.hex()]


def test_half_a_frame_does_not_swallow_the_next():
    good = frame(b"abcdef")
    found = fields(stream(LENGTHY).feed(good[:4] + good + good))
    assert found[-2:] == [good.hex(), good.hex()]
    assert "bad-checksum" in found


def test_length_that_lies_is_refused_at_once():
    assert fields(stream(LENGTHY).feed(b"\xaa\xff")) == ["bad-length"]


def test_end_of_stream_says_truncated():
    decoder = stream(LENGTHY)
    assert decoder.feed(frame(b"ab")[:-1]) == []
    assert decoder.finish() == [Rejected("truncated")]
    assert decoder.finish() == []


def test_noise_at_the_end_is_told():
    decoder = stream(LENGTHY)
    assert decoder.feed(b"\x01\x02") == []
    assert decoder.finish() == [Rejected("noise")]


def test_buffer_stays_small():
    decoder = stream(LENGTHY)
    for _ in range(100):
        decoder.feed(b"\xaa\x0d" * 50)
    assert len(decoder._buffer) < 32


def test_end_bytes_are_checked():
    table = {"start": "02", "end": "03", "length": 4}
    assert fields(stream(table).feed(b"\x02ab\x03")) == ["02616203"]
    assert fields(stream(table).feed(b"\x02ab\x04")) == ["bad-frame"]


@pytest.mark.parametrize("text", [b"zz", b" 1", b"1 "])
def test_hex_frames_take_hex_only(text):
    table = {"start": "02", "end": "03", "length": 4, "encoding": "ascii-hex"}
    assert fields(stream(table).feed(b"\x02" + text + b"\x03")) == ["bad-frame"]


@pytest.mark.parametrize(
    "table",
    [
        {"start": "aa"},
        {"start": "aa", "length": 3, "length_at": 1},
        {"start": "aa", "length_at": 1, "max_length": 5000},
        {"start": "aa", "length": 4, "checksum": [{"kind": "sum8", "over": [0], "at": 3}]},
    ],
)
def test_impossible_frames_are_refused(table):
    with pytest.raises(FormError):
        FrameForm(table, ("frame", 0))


def test_pn532_acknowledgement_and_answer():
    decoder = load_registry().stream("pn532_hsu")
    found = decoder.feed(bytes.fromhex("0000ff00ff000000ff0cf4d54b010100040804fb0ee20bd800"))
    assert [one.fields["type"] for one in found] == ["ack", "response"]
    assert found[1].tag == "nfc:fb0ee20b"
    assert [emit.kind for emit in found[1].emits] == ["tap"]


def test_random_uid_is_no_identity():
    registry = load_registry()
    data = registry.encode("pn532_hsu", {"uid_hex": "08a1b2c3"})
    (found,) = registry.stream("pn532_hsu").feed(data)
    assert found.fields["uid_hex"] == "08a1b2c3"
    assert (found.tag, found.emits) == (None, ())


def test_modbus_needs_no_start_byte():
    decoder = load_registry().stream("modbus_rtu_load_cell", {"scale_g_per_count": 0.5})
    found = decoder.feed(bytes.fromhex("ffff01030200017984" + "0183020000"[:6] + "c0f1"))
    assert [one.fields for one in found if isinstance(one, Decoded)] == [
        {"unit": 1, "function": 3, "registers": [1], "value_raw": 1, "mass_g": 0.5},
        {"unit": 1, "function": 0x83, "exception": 2},
    ]
    assert found[1].emits[0].mass_g == 0.5
