import math

import msgspec
import pytest

from ingest.batch import (
    KINDS,
    SCHEMA,
    Batch,
    CodedColumn,
    Columns,
    TypedColumn,
    encode_batch,
    round_rssi,
    row_count,
)

EXAMPLE = {
    "schema": "fanous.batch/1",
    "store": "demo",
    "agent": "pi-1",
    "boot": "6f1c0e9a2b7d4c31",
    "kind": "ble",
    "seq": 42,
    "sent_ns": 1764000000500000000,
    "columns": {
        "t_ns": [1764000000000000000, 1764000000100000000],
        "receiver": ["rx-1", "rx-1"],
        "tag": ["p_abcdefghijklmnop", "p_qrstuvwxyz234567"],
        "rssi_dbm": [-61, -75],
    },
}


def ble_batch(**changes):
    fields = {key: value for key, value in EXAMPLE.items() if key not in {"schema", "columns"}}
    columns = Columns(**EXAMPLE["columns"])
    return Batch(**{**fields, "columns": columns, **changes})


def test_json_is_the_contracts_example_to_the_letter():
    assert msgspec.json.decode(encode_batch(ble_batch(), as_json=True)) == EXAMPLE


def test_messagepack_holds_typed_little_endian_bytes():
    wire = msgspec.msgpack.decode(encode_batch(ble_batch()))
    assert wire["schema"] == SCHEMA
    assert {"dtype": "|i1", "data": bytes([256 - 61, 256 - 75])} == wire["columns"]["rssi_dbm"]
    assert wire["columns"]["receiver"] == {
        "values": ["rx-1"],
        "codes": {"dtype": "|u1", "data": b"\0\0"},
    }
    t_ns = wire["columns"]["t_ns"]
    assert t_ns["dtype"] == "<i8"
    assert int.from_bytes(t_ns["data"][:8], "little") == 1764000000000000000


def test_rssi_with_tenths_travels_as_float32():
    wire = msgspec.msgpack.decode(
        encode_batch(ble_batch(columns=Columns(t_ns=[1], rssi_dbm=[-61.3])))
    )
    assert wire["columns"]["rssi_dbm"]["dtype"] == "<f4"


@pytest.mark.parametrize(
    ("distinct", "dtype"), [(256, "|u1"), (257, "<u2"), (65536, "<u2"), (65537, "<u4")]
)
def test_codes_take_the_narrowest_dtype(distinct, dtype):
    columns = Columns(receiver=[f"r{i}" for i in range(distinct)])
    wire = msgspec.msgpack.decode(encode_batch(ble_batch(columns=columns)))
    assert dtype == wire["columns"]["receiver"]["codes"]["dtype"]


def test_columns_that_are_typed_already_pass_unchanged():
    column, names = TypedColumn("<i8", b"\1" * 8), CodedColumn(["a"], [0])
    batch = ble_batch(columns=Columns(t_ns=column, receiver=names))
    wire = msgspec.msgpack.decode(encode_batch(batch), type=Batch)
    assert column == wire.columns.t_ns
    assert names == wire.columns.receiver


def test_a_dropped_batch_has_empty_columns():
    batch = ble_batch(columns=Columns(), dropped=3, reason="outbox_full")
    wire = msgspec.json.decode(encode_batch(batch, as_json=True))
    assert wire.get("columns", {}) == {}
    assert (wire["dropped"], wire["reason"]) == (3, "outbox_full")


def test_row_count_counts_plain_rows():
    assert row_count(ble_batch().columns) == 2
    assert row_count(Columns()) == 0
    assert {"ble", "tap", "sample"} == set(KINDS)


@pytest.mark.parametrize("rssi", [-61.25, -61.35, 0.15, -0.05, 20.0])
def test_round_rssi_agrees_with_numpy(rssi):
    np = pytest.importorskip("numpy")
    assert float(np.rint(np.float64(rssi) * 10) / 10) == round_rssi(rssi)


def test_round_rssi_passes_what_is_no_number():
    assert math.isnan(round_rssi(math.nan))
    assert math.inf == round_rssi(math.inf)
