"""The batch codec for all inputs: round trips, and no bytes that break it."""

import math
from typing import get_args

import msgspec
import numpy as np
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingest.batch import Batch, BatchError, BatchReason, Columns, encode_batch
from ingest.columns import DecodedBatch, decode_batch
from ingest.order import Arrival, BatchLedger

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,20}", fullmatch=True)
PSEUDONYMS = st.from_regex(r"p_[a-z2-7]{16}", fullmatch=True)
TIMES = st.integers(0, 2**63 - 1)
TENTHS = st.integers(-1300, 1300).map(lambda n: n / 10)
ROWS = st.lists(st.tuples(TIMES, NAMES, PSEUDONYMS, TENTHS | st.none()), min_size=1, max_size=40)
JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def readings(rows):
    times, receivers, tags, rssi = map(list, zip(*rows, strict=True))
    return Columns(t_ns=times, receiver=receivers, tag=tags, rssi_dbm=rssi)


@given(rows=ROWS, as_json=st.booleans(), agent=NAMES, seq=st.integers(1, 2**63 - 1))
def test_what_is_encoded_is_decoded(rows, as_json, agent, seq):
    columns = readings(rows)
    batch = Batch(
        store="demo", agent=agent, boot="b0", kind="ble", seq=seq, sent_ns=1, columns=columns
    )
    found = decode_batch(encode_batch(batch, as_json=as_json))
    assert (agent, seq) == (found.agent, found.seq)
    assert columns.t_ns == found.t_ns.tolist()
    assert columns.receiver == [found.receiver.values[c] for c in found.receiver.codes]
    assert columns.tag == [found.tag.values[c] for c in found.tag.codes]
    expected = np.array([math.nan if v is None else v for v in columns.rssi_dbm], np.float64)
    np.testing.assert_array_equal(expected, found.rssi_dbm)


def decodes_or_refuses(payload):
    try:
        found = decode_batch(payload, identity="raw")
    except BatchError as error:
        found = error
    assert isinstance(found, DecodedBatch) or found.reason in get_args(BatchReason)


@given(payload=st.binary(max_size=300))
def test_any_bytes_are_a_batch_or_a_batch_error(payload):
    decodes_or_refuses(payload)
    decodes_or_refuses(b"{" + payload)


@given(rows=ROWS, as_json=st.booleans(), data=st.data())
def test_a_damaged_batch_is_a_batch_or_a_batch_error(rows, as_json, data):
    payload = bytearray(
        encode_batch(
            Batch(
                store="demo",
                agent="pi-1",
                boot="b0",
                kind="ble",
                seq=1,
                sent_ns=1,
                columns=readings(rows),
            ),
            as_json=as_json,
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_refuses(bytes(payload[: data.draw(st.integers(0, len(payload)))]))
    decodes_or_refuses(bytes(payload))
    wrapped = zstandard.ZstdCompressor().compress(bytes(payload))
    decodes_or_refuses(msgspec.msgpack.encode({"schema": "fanous.batch/1+zstd", "data": wrapped}))


@given(
    fields=st.dictionaries(
        st.sampled_from(["store", "agent", "boot", "kind", "seq", "sent_ns", "dropped", "reason"]),
        JSON_LIKE,
    ),
    columns=st.dictionaries(
        st.sampled_from(["t_ns", "receiver", "tag", "rssi_dbm", "sensor", "mass_g"]),
        JSON_LIKE
        | st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["<i8", "|u1", "<f4", ">i8", "V8", "O"]),
                "data": st.binary(max_size=24),
            }
        )
        | st.fixed_dictionaries(
            {
                "values": st.lists(st.text(max_size=5), max_size=3),
                "codes": st.lists(st.integers(-1, 4), max_size=3),
            }
        ),
    ),
)
def test_a_wrong_document_is_a_batch_or_a_batch_error(fields, columns):
    document = {
        "schema": "fanous.batch/1",
        "store": "demo",
        "agent": "pi-1",
        "boot": "b0",
        "kind": "ble",
        "seq": 1,
        "sent_ns": 1,
        "columns": columns,
        **fields,
    }
    try:
        payload = msgspec.msgpack.encode(document)
    except (OverflowError, ValueError):  # integers beyond 64 bits, lone surrogates
        return
    decodes_or_refuses(payload)


@given(
    arrivals=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=80),
    gaps_max=st.integers(1, 6),
)
def test_the_ledger_is_a_set_with_a_contiguous_prefix(arrivals, gaps_max):
    ledger, there = BatchLedger(gaps_max=gaps_max), set()
    for seq, first_seq in arrivals:
        said = ledger.add("pi-1", "b0", "ble", seq, first_seq)
        there.update(range(1, min(seq, first_seq)))
        assert (Arrival.DUPLICATE is said) == (seq in there)
        if said is Arrival.NEW:
            there.add(seq)
        contiguous = next(n for n in range(len(there) + 1) if n + 1 not in there)
        assert contiguous == ledger.ack_seq("pi-1", "b0", "ble")
        assert all(ledger.holds("pi-1", "b0", "ble", n) == (n in there) for n in range(1, 32))
        ranges = ledger.state()[0]["ranges"]
        assert sorted(there) == [n for a, b in ranges for n in range(a, b + 1)]
        gaps = sum(a - 1 > b for (_, b), (a, _) in zip([[0, 0], *ranges], ranges, strict=False))
        assert gaps <= gaps_max + 1
