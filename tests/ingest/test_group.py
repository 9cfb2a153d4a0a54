import dataclasses
import random

import msgspec
import numpy as np
import pytest
import zstandard

from ingest.batch import Batch, BatchError, CodedColumn, Columns, TypedColumn, encode_batch
from ingest.columns import Coded, decode_batch
from ingest.group import TOGETHER_MAX, GroupDecoder
from ingest.packed_tags import PackedTags

T0 = 1_764_000_000_000_000_000
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
TAGS = ["p_" + "".join(random.Random(at).choices(ALPHABET, k=16)) for at in range(400)]


def columns(rows, seed=1, *, tenths=False):
    rng = random.Random(seed)
    return Columns(
        t_ns=[T0 + rng.randrange(10**9) for _ in range(rows)],
        receiver=[f"rx-{rng.randrange(12)}" for _ in range(rows)],
        tag=[rng.choice(TAGS) for _ in range(rows)],
        rssi_dbm=[rng.randrange(-99, -40) - (0.3 if tenths else 0.0) for _ in range(rows)],
    )


def payload(given=None, *, as_json=False, **changes):
    fields = {"store": "demo", "agent": "pi-1", "boot": "b0", "kind": "ble", "seq": 7}
    batch = Batch(**{**fields, "sent_ns": 5, "columns": given or columns(50), **changes})
    return encode_batch(batch, as_json=as_json)


def changed(**parts):
    """A batch of which some columns are as they are given."""
    packed = msgspec.msgpack.decode(payload())
    packed["columns"].update(parts)
    return msgspec.msgpack.encode(packed)


def tag_column(values, codes=(0,) * 50):
    return {"values": values, "codes": {"dtype": "|u1", "data": bytes(codes)}}


def alone(data, **options):
    try:
        return decode_batch(data, **options)
    except BatchError as error:
        return error


def plain(found):
    """A batch in a form that compares."""
    if isinstance(found, BatchError):
        return str(found)
    fields = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    for name, value in fields.items():
        if isinstance(value, Coded):
            fields[name] = (list(value.values), value.codes.dtype.str, value.codes.tolist())
        elif isinstance(value, np.ndarray):
            fields[name] = (value.dtype.str, value.tobytes())
    return fields


def check(payloads, **options):
    decoder = GroupDecoder(**options)
    for _ in range(2):  # the second time names come from its memory
        found = decoder.decode(payloads)
        assert [plain(alone(data, **options)) for data in payloads] == [*map(plain, found)]
    return found


def is_fast(found):
    return isinstance(found.tag.values, PackedTags)


def test_batches_as_agents_write_them_are_decoded_together():
    sizes = [1, 2, 255, 256, 257, 1000, 3]
    given = [payload(columns(rows, rows), seq=rows, complete_ns=T0) for rows in sizes]
    given += [payload(columns(rows, rows, tenths=True), first_seq=3) for rows in sizes]
    assert all(map(is_fast, check(given)))


def test_more_than_fit_together():
    given = [payload(columns(5, seed), seq=seed + 1) for seed in range(2 * TOGETHER_MAX + 3)]
    assert all(map(is_fast, check(given)))


RIGHT = {
    "json": payload(as_json=True),
    "zstd": msgspec.msgpack.encode(
        {
            "schema": "fanous.batch/1+zstd",
            "data": zstandard.ZstdCompressor().compress(payload()),
        }
    ),
    "empty": payload(Columns(t_ns=[], receiver=[], tag=[], rssi_dbm=[])),
    "dropped": payload(Columns(), dropped=4, reason="full"),
    "a tap": payload(Columns(t_ns=[1], tap_point=["gate-1"], tag=TAGS[:1]), kind="tap"),
    "a field more": msgspec.msgpack.encode({**msgspec.msgpack.decode(payload()), "x": 1}),
    "float64 levels": changed(rssi_dbm={"dtype": "<f8", "data": np.full(50, -61.26).tobytes()}),
    "a level that is none": changed(
        rssi_dbm={"dtype": "<f4", "data": np.full(50, np.nan, "<f4").tobytes()}
    ),
    "tags as a list": changed(tag=TAGS[:50]),
    "tags nobody has": changed(tag=tag_column(TAGS[:3])),
}
WRONG = {
    "a tag twice": changed(tag=tag_column([*TAGS[:3], TAGS[1]])),
    "a tag of the wrong length": changed(tag=tag_column([TAGS[0][:-1], TAGS[1] + "a"])),
    "a tag in capitals": changed(tag=tag_column([TAGS[0].upper()])),
    "a raw tag": changed(tag=tag_column(["ble:b0b0b0b0b0b0"])),
    "a raw tag of 18 characters": changed(tag=tag_column(["wiegand:0123456789"])),
    "bytes for tags": changed(tag=tag_column([tag.encode() for tag in TAGS[:2]])),
    "no tags": changed(tag=tag_column([])),
    "a code without a tag": changed(tag=tag_column(TAGS[:2], [0] * 49 + [2])),
    "a receiver twice": changed(receiver=tag_column(["rx-1", "rx-1"])),
    "a receiver with a bad name": changed(receiver=tag_column(["RX 1"])),
    "no receivers": changed(receiver=tag_column([])),
    "a number for a receiver": changed(receiver=tag_column([7])),
    "a code without a receiver": changed(receiver=tag_column(["rx-1"], [1] * 50)),
    "a time before 1970": changed(t_ns={"dtype": "<i8", "data": np.full(50, -1).tobytes()}),
    "times cut off": changed(t_ns={"dtype": "<i8", "data": bytes(399)}),
    "fewer times": changed(t_ns={"dtype": "<i8", "data": bytes(392)}),
    "fewer levels": changed(rssi_dbm={"dtype": "|i1", "data": bytes(49)}),
    "more codes": changed(tag=tag_column(TAGS[:2], [0] * 51)),
    "an unknown dtype": changed(rssi_dbm={"dtype": ">f4", "data": bytes(200)}),
    "a column of another kind": changed(mass_g={"dtype": "<f8", "data": bytes(400)}),
    "a bad agent": payload(agent="../etc"),
    "rows and dropped ones": payload(dropped=3),
    "number 0": msgspec.msgpack.encode({**msgspec.msgpack.decode(payload()), "seq": 0}),
    "nothing": b"",
    "cut off": payload()[:-9],
    "too long": payload(columns(2000)) + bytes(300_000),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_looks_different_is_decoded_all_the_same(name):
    found = check([payload(), RIGHT[name], payload(seq=9)])
    assert not any(isinstance(batch, BatchError) for batch in found)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_alone_and_for_the_same_reason(name):
    before, wrong, after = check([payload(), WRONG[name], payload(seq=9)])
    assert isinstance(wrong, BatchError)
    assert is_fast(before)
    assert is_fast(after)


def test_a_laboratory_takes_raw_tags():
    found = check(
        [payload(), WRONG["a raw tag"], WRONG["a raw tag of 18 characters"]], identity="raw"
    )
    assert [True, False, False] == [*map(is_fast, found)]


def test_a_limit_of_ones_own():
    assert isinstance(check([payload()], payload_bytes_max=100)[0], BatchError)


def test_the_memory_of_names_is_bounded(monkeypatch):
    monkeypatch.setattr("ingest.group._CACHE_MAX", 3)
    check([payload(columns(9, seed), agent=f"pi-{seed}") for seed in range(20)])


def test_tags_made_to_collide_are_looked_at_one_by_one(monkeypatch):
    monkeypatch.setattr("ingest.group._RACES_MAX", 0)
    assert not is_fast(check([payload()])[0])


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_were_changed_somewhere(seed):
    rng = random.Random(seed)
    given = []
    for _ in range(20):
        data = bytearray(payload(columns(20, seed)))
        for _ in range(rng.randrange(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        given.append(bytes(data))
    check(given)


def test_columns_may_be_typed_by_the_caller():
    typed = Columns(
        t_ns=TypedColumn("<i8", np.full(3, T0).tobytes()),
        receiver=CodedColumn(["rx-1"], TypedColumn("<u2", bytes(6))),
        tag=CodedColumn(TAGS[:20], TypedColumn("<u2", np.array([19, 0, 7], "<u2").tobytes())),
        rssi_dbm=TypedColumn("|i1", b"\xc3\xc4\xc5"),
    )
    (found,) = check([payload(typed)])
    assert [TAGS[19], TAGS[0], TAGS[7]] == [found.tag.values[code] for code in found.tag.codes]
