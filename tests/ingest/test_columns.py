import base64
import json

import msgspec
import numpy as np
import pytest
import zstandard

from ingest.batch import Batch, BatchError, Columns, TypedColumn, encode_batch
from ingest.columns import INFLATED_BYTES_MAX, decode_batch, possible_rssi
from tests.ingest.test_batch import EXAMPLE, ble_batch


def example(**changes):
    return {**EXAMPLE, **changes}


def with_columns(**changes):
    columns = {**EXAMPLE["columns"], **changes}
    return example(columns={name: value for name, value in columns.items() if value is not None})


def packed(document):
    return msgspec.msgpack.encode(document)


def reason_of(payload, **options):
    with pytest.raises(BatchError) as caught:
        decode_batch(payload, **options)
    return caught.value.reason


@pytest.mark.parametrize("as_json", [True, False])
def test_the_contracts_example_decodes(as_json):
    batch = decode_batch(encode_batch(ble_batch(), as_json=as_json))
    assert (
        batch.store,
        batch.agent,
        batch.boot,
        batch.kind,
        batch.seq,
    ) == ("demo", "pi-1", "6f1c0e9a2b7d4c31", "ble", 42)
    assert EXAMPLE["columns"]["t_ns"] == batch.t_ns.tolist()
    assert batch.receiver.values == ("rx-1",)
    assert batch.receiver.codes.tolist() == [0, 0]
    assert np.int32 == batch.tag.codes.dtype
    assert np.float64 == batch.rssi_dbm.dtype
    assert batch.rssi_dbm.tolist() == [-61.0, -75.0]
    assert (batch.rows, batch.dropped, batch.reason) == (2, 0, "")
    assert batch.tap_point is None
    assert batch.sensor is None


def test_tenths_of_a_decibel_survive():
    sent = [-61.3, -75.1, -0.1, 19.9, -119.9]
    columns = Columns(
        t_ns=[1] * 5, receiver=["a"] * 5, tag=["p_abcdefghijklmnop"] * 5, rssi_dbm=sent
    )
    batch = decode_batch(encode_batch(ble_batch(columns=columns)))
    assert [round(10 * x) for x in sent] == np.rint(batch.rssi_dbm.astype(np.float64) * 10).tolist()


def test_a_sample_may_hold_mass_and_range():
    columns = Columns(
        t_ns=[1, 2], sensor=["plate-1", "tof-1"], mass_g=[640.5, None], range_mm=[None, 300.0]
    )
    batch = decode_batch(encode_batch(ble_batch(kind="sample", columns=columns)))
    assert batch.mass_g[0] == 640.5
    assert np.isnan(batch.mass_g[1])
    assert batch.range_mm[1] == 300.0


def test_plain_lists_are_welcome_in_messagepack_too():
    assert decode_batch(packed(EXAMPLE)).rssi_dbm.tolist() == [-61.0, -75.0]


def test_fields_that_we_do_not_know_are_passed_over():
    assert decode_batch(packed(example(temperature_c=41.5))).seq == 42


def test_zstd_wrapper():
    data = zstandard.ZstdCompressor().compress(packed(EXAMPLE))
    assert decode_batch(packed({"schema": "fanous.batch/1+zstd", "data": data})).seq == 42
    as_json = {"schema": "fanous.batch/1+zstd", "data": base64.b64encode(data).decode()}
    assert decode_batch(json.dumps(as_json).encode()).seq == 42


def test_a_zstd_bomb_is_refused_without_inflating_it():
    for write_content_size in (True, False):
        compressor = zstandard.ZstdCompressor(write_content_size=write_content_size)
        bomb = compressor.compress(b"\0" * (64 * INFLATED_BYTES_MAX))
        assert reason_of(packed({"schema": "fanous.batch/1+zstd", "data": bomb})) == "oversize"


def test_dropped_batch():
    batch = decode_batch(packed(example(columns={}, dropped=7, reason="outbox_full")))
    assert (batch.dropped, batch.reason, batch.rows) == (7, "outbox_full", 0)
    assert batch.event_ns is None
    empty = {name: [] for name in EXAMPLE["columns"]}
    assert decode_batch(packed(example(columns=empty, dropped=7, reason="x"))).dropped == 7


def test_event_time_is_the_newest_row_unless_the_agent_says_better():
    assert decode_batch(packed(EXAMPLE)).event_ns == 1764000000100000000
    assert decode_batch(packed(example(complete_ns=1764))).event_ns == 1764


def test_raw_tags_only_where_they_are_allowed():
    raw = packed(with_columns(tag=["ble:b0b0b0b0b0b0", "p_abcdefghijklmnop"]))
    assert reason_of(raw) == "identity"
    assert decode_batch(raw, identity="raw").tag.values == (
        "ble:b0b0b0b0b0b0",
        "p_abcdefghijklmnop",
    )


@pytest.mark.parametrize(
    ("reason", "document"),
    [
        ("schema", example(schema="fanous.batch/9")),
        ("schema", {k: v for k, v in EXAMPLE.items() if k != "schema"}),
        ("kind", example(kind="nfc")),
        ("seq", example(seq=0)),
        ("seq", example(seq="42")),
        ("seq", example(sent_ns=-1)),
        ("shape", {k: v for k, v in EXAMPLE.items() if k != "boot"}),
        ("shape", with_columns(rssi_dbm=["-61", "x"])),
        ("name", example(agent="../pi")),
        ("name", example(store="Demo")),
        ("name", example(boot="")),
        ("name", with_columns(receiver=["rx 1", "rx-1"])),
        ("tag", with_columns(tag=["BLE:B0B0B0B0B0B0", "p_abcdefghijklmnop"])),
        ("tag", with_columns(tag=["wiegand:٣", "p_abcdefghijklmnop"])),
        ("columns", with_columns(rssi_dbm=None)),
        ("columns", example(columns={})),
        ("columns", with_columns(sensor=["a", "b"])),
        ("columns", example(kind="sample", columns={"t_ns": [1], "sensor": ["a"]})),
        ("length", with_columns(rssi_dbm=[-61])),
        ("length", with_columns(tag=["p_abcdefghijklmnop"])),
        ("length", with_columns(t_ns={"dtype": "<i8", "data": b"\0" * 15})),
        ("dtype", with_columns(t_ns={"dtype": "<f8", "data": b"\0" * 16})),
        ("dtype", with_columns(t_ns={"dtype": ">i8", "data": b"\0" * 16})),
        ("dtype", with_columns(rssi_dbm={"dtype": "O", "data": b"\0" * 16})),
        ("codes", with_columns(receiver={"values": ["rx-1"], "codes": [0, 1]})),
        ("codes", with_columns(receiver={"values": ["rx-1"], "codes": [0, -1]})),
        ("codes", with_columns(receiver={"values": ["rx-1", "rx-1"], "codes": [0, 1]})),
        ("codes", with_columns(receiver={"values": [], "codes": [0, 0]})),
        (
            "codes",
            with_columns(
                receiver={"values": ["rx-1"], "codes": {"dtype": "<u8", "data": b"\xff" * 16}}
            ),
        ),
        ("time", with_columns(t_ns=[-1, 1])),
        ("time", with_columns(t_ns=[2**63, 1])),
        ("time", with_columns(t_ns={"dtype": "<u8", "data": b"\xff" * 16})),
        ("dropped", example(dropped=1, reason="x")),
        ("zstd", {"schema": "fanous.batch/1+zstd", "data": b"no zstd"}),
        (
            "schema",
            {
                "schema": "fanous.batch/1+zstd",
                "data": zstandard.ZstdCompressor().compress(
                    packed({"schema": "fanous.batch/1+zstd", "data": b""})
                ),
            },
        ),
    ],
)
def test_malformed_batches_are_refused_with_a_reason(reason, document):
    assert reason == reason_of(packed(document))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"{}x",
        b"\xc1",
        b"\x91" * 100_000,
        b'{"schema":"fanous.batch/1","x":' + b"[" * 100_000,
        b'{"schema":"fanous.batch/1","store":"\xff"}',
    ],
)
def test_what_is_no_document_is_refused(payload):
    assert reason_of(payload) in {"syntax", "shape", "schema"}


def test_a_number_too_long_for_any_column():
    payload = json.dumps(with_columns(t_ns=[10**30, 1])).encode()
    assert reason_of(payload) == "time"
    assert (
        reason_of(
            json.dumps(with_columns(receiver={"values": ["a"], "codes": [10**30, 0]})).encode()
        )
        == "codes"
    )


def test_payloads_are_bounded_by_a_setting():
    payload = encode_batch(ble_batch())
    assert reason_of(payload, payload_bytes_max=len(payload) - 1) == "oversize"
    assert decode_batch(payload, payload_bytes_max=len(payload)).seq == 42


def test_no_error_repeats_what_came_in():
    with pytest.raises(BatchError) as caught:
        decode_batch(packed(with_columns(tag=["secret", "secret"])))
    assert "secret" not in str(caught.value)


def test_an_infinite_mass_is_a_number_for_the_caller_to_judge():
    columns = Columns(
        t_ns=[1], sensor=["a"], mass_g=TypedColumn("<f8", np.array([np.inf]).tobytes())
    )
    batch = Batch(store="s", agent="a", boot="b", kind="sample", seq=1, sent_ns=1, columns=columns)
    assert np.isinf(decode_batch(encode_batch(batch)).mass_g[0])


def test_possible_rssi_is_the_contracts_range():
    rssi = np.array([-120.0, 20.0, -120.1, 20.1, np.nan, np.inf, -np.inf], np.float32)
    assert possible_rssi(rssi).tolist() == [True, True] + [False] * 5


def test_a_float64_beyond_float32_is_an_impossible_reading_and_no_warning():
    batch = decode_batch(packed(with_columns(rssi_dbm=[1e300, -61.0])))
    assert possible_rssi(batch.rssi_dbm).tolist() == [False, True]
