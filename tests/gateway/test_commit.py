import json
import math
import threading

import msgspec
import pytest
import zstandard

from gateway.agent_clocks import AgentClocks
from gateway.commit import Committer
from gateway.inbox import Arrived
from gateway.journal import Journal
from ingest.batch import Batch, Columns, encode_batch
from tests.gateway.samples import ANNA, T0, readings

TOPIC = "fanous/v1/demo/agents/pi-1/readings"


class FakeCourier:
    """Notes what was acknowledged and published, and whether the journal had it by then."""

    def __init__(self, journal):
        self.journal = journal
        self.acknowledged = []
        self.published = []

    def acknowledge(self, stored):
        self.acknowledged += [(arrived.mid, self.journal.last_id()) for arrived in stored]

    def publish(self, topic, payload, *, qos=1):
        self.published.append((topic, json.loads(payload), self.journal.last_id()))
        return 1


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal.sqlite", max_bytes=1 << 20)
    yield made
    made.close()


@pytest.fixture
def courier(journal):
    return FakeCourier(journal)


@pytest.fixture
def committer(journal, courier):
    return Committer(
        journal, courier, store="demo", identity="pseudonym", batch_bytes_max=256 * 1024
    )


def _arrived(payload, topic=TOPIC, mid=1):
    return Arrived(topic=topic, payload=payload, received_ns=T0, mid=mid, qos=1, connection=1)


def _commit(committer, *group):
    return committer.commit(group, threading.Event())


ROWS = [(T0, "rx-1", ANNA, -60)]


def test_a_batch_is_on_disk_before_anybody_hears_of_it(committer, courier):
    committed = _commit(committer, _arrived(readings(1, ROWS), mid=7))
    assert [(7, 1)] == courier.acknowledged
    ack = ("fanous/v1/demo/agents/pi-1/ack", {"boot": "b1", "kind": "ble", "seq": 1}, 1)
    assert [ack] == courier.published
    assert [1] == [accepted.journal_id for accepted in committed.batches]


def test_a_duplicate_is_acknowledged_again_and_goes_no_further(committer, courier):
    _commit(committer, _arrived(readings(1, ROWS)))
    committed = _commit(committer, _arrived(readings(1, ROWS), mid=2))
    assert () == committed.batches
    assert 2 == len(courier.acknowledged)
    assert courier.published[0] == courier.published[1]


@pytest.mark.parametrize(
    ("payload", "topic", "reason"),
    [
        (b"\xc1nonsense", TOPIC, "syntax"),
        (b"{not json", TOPIC, "syntax"),
        (readings(1, ROWS, as_json=True).replace(b"fanous.batch/1", b"other/9"), TOPIC, "schema"),
        (readings(1, ROWS, agent="pi-2"), TOPIC, "name"),
        (readings(1, ROWS), TOPIC.replace("readings", "taps"), "kind"),
        (readings(1, ROWS), "fanous/v1/demo/agents/../readings", "name"),
        (readings(1, [(T0, "rx-1", "ble:b0b0b0b0b0b0", -60)]), TOPIC, "identity"),
        (b"x" * 300_000, TOPIC, "oversize"),
    ],
)
def test_a_malformed_batch_costs_only_itself(committer, courier, journal, payload, topic, reason):
    good = readings(2, ROWS)
    committed = _commit(committer, _arrived(payload, topic=topic, mid=1), _arrived(good, mid=2))
    assert [2] == [accepted.batch.seq for accepted in committed.batches]
    assert [1, 2] == sorted(mid for mid, _ in courier.acknowledged)
    assert {reason: 1} == dict(committer.refused)
    assert [reason] == [kept for _, kept, _ in journal.dead_letters()]


def test_a_malformed_batch_does_not_hold_back_its_stream(committer, courier):
    bad = readings(1, ROWS, as_json=True).replace(b'"rssi_dbm":[-60]', b'"rssi_dbm":[-60,-61]')
    _commit(committer, _arrived(bad), _arrived(readings(2, ROWS)))
    assert 2 == courier.published[-1][1]["seq"]


RAW = [(T0, "rx-1", "ble:b0b0b0b0b0b0", -60)]


def _packed(body):
    data = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(body))
    return msgspec.msgpack.encode({"schema": "fanous.batch/1+zstd", "data": data})


@pytest.mark.parametrize(
    "payload",
    [
        readings(1, RAW),
        readings(1, RAW, as_json=True).replace(b"[-60]", b"[-60,-61]"),
        _packed({"schema": "fanous.batch/1", "columns": {"tag": ["NFC:04A1B2C3"]}}),
        b"{ble:b0b0b0b0b0b0",
    ],
)
def test_a_raw_identifier_is_not_kept(committer, journal, payload):
    _commit(committer, _arrived(payload))
    assert [b""] == [kept for _, _, kept in journal.dead_letters()]


def test_the_number_of_a_refused_batch_is_read_where_it_can_be(committer, courier):
    bad = json.loads(readings(1, ROWS, as_json=True))
    bad["columns"]["rssi_dbm"] = [math.nan]
    _commit(committer, _arrived(json.dumps(bad).encode()))
    bad["seq"], bad["columns"]["rssi_dbm"] = 2, [-60, -61]
    _commit(committer, _arrived(_packed(bad)))
    bad["seq"], bad["kind"] = 1, "sample"
    _commit(committer, _arrived(json.dumps(bad).encode()))
    bad["kind"] = "smell"
    _commit(committer, _arrived(json.dumps(bad).encode()))
    assert [("ble", 1), ("ble", 2), ("sample", 1)] == [
        (body["kind"], body["seq"]) for _, body, _ in courier.published
    ]
    assert 4 == sum(committer.refused.values())


def test_what_comes_too_early_is_left_to_its_agent_and_does_not_clog_the_broker(
    committer, courier, journal
):
    group = [_arrived(readings(seq, ROWS), mid=seq) for seq in range(3, 2100, 2)]
    committed = _commit(committer, *group)
    assert 1024 == len(committed.batches)
    assert len(group) == len(courier.acknowledged)
    assert [] == courier.published
    assert len(group) - 1024 == journal.totals()["ahead"]


def test_a_status_is_read_and_nonsense_is_not(committer, courier):
    topic = TOPIC.replace("readings", "status")
    committed = _commit(
        committer,
        _arrived(b'{"state": "online"}', topic=topic),
        _arrived(b"[1, 2", topic=topic),
        _arrived(b'"text"', topic=topic),
    )
    assert [{"state": "online"}] == [status.body for status in committed.statuses]
    assert 3 == len(courier.acknowledged)


def test_a_full_disk_acknowledges_nothing_and_goes_on_when_it_can(
    committer, courier, journal, monkeypatch
):
    import sqlite3

    append, calls = journal.append, []

    def failing(entries, refused=()):
        calls.append(len(courier.acknowledged))
        if len(calls) == 1:
            raise sqlite3.OperationalError("database or disk is full")
        return append(entries, refused)

    monkeypatch.setattr(journal, "append", failing)
    monkeypatch.setattr("gateway.commit._RETRY_S", 0.01)
    _commit(committer, _arrived(readings(1, ROWS)))
    assert [0, 0] == calls
    assert 1 == len(courier.acknowledged)


def _pay_batch(seq, proof):
    columns = Columns(
        t_ns=[T0, T0 + 1, T0 + 2],
        tap_point=["gate-1", "pay-1", "pay-1"],
        tag=[ANNA] * 3,
        proof=proof,
    )
    batch = Batch(store="demo", agent="pi-1", boot="b1", kind="tap", seq=seq, sent_ns=T0)
    return encode_batch(msgspec.structs.replace(batch, columns=columns))


def test_taps_that_need_a_proof_and_have_none_go_no_further(journal, courier, caplog):
    committer = Committer(
        journal,
        courier,
        store="demo",
        identity="pseudonym",
        batch_bytes_max=256 * 1024,
        payment_points=frozenset({"pay-1"}),
    )
    payloads = [_pay_batch(1, None), _pay_batch(2, ["", "ntag424-sun", ""])]
    topic = "fanous/v1/demo/agents/pi-1/taps"
    group = [_arrived(payload, topic, mid) for mid, payload in enumerate(payloads, 1)]
    committed = _commit(committer, *group)
    batches = [accepted.batch for accepted in committed.batches]
    assert [[T0], [T0, T0 + 1]] == [batch.t_ns.tolist() for batch in batches]
    assert {"unproven": 3} == dict(committer.dropped)
    assert 1 == sum("without a proof" in record.message for record in caplog.records)
    assert 2 == len(courier.acknowledged)
    # The journal has what came, and what is read from it again is what went on before.
    kept = [committer.decode_again(payload) for *_, payload in journal.read(0, 9, 9)]
    assert [[T0], [T0, T0 + 1]] == [batch.t_ns.tolist() for batch in kept]
    assert {"unproven": 3} == dict(committer.dropped)


def test_rows_of_a_clock_that_jumped_back_are_set_aside_counted_and_acknowledged(journal, courier):
    committer = Committer(
        journal,
        courier,
        store="demo",
        identity="pseudonym",
        batch_bytes_max=256 * 1024,
        clocks=AgentClocks({}),
    )
    hour_ns, second_ns = 3600 * 10**9, 10**9
    closed = {1: T0, 2: T0 - hour_ns, 3: T0 - hour_ns, 4: T0 + second_ns}
    for seq, sent_ns in closed.items():
        payload = readings(seq, [(sent_ns + at, "rx-1", ANNA, -60) for at in range(seq)])
        raw = msgspec.msgpack.decode(payload)
        payload = msgspec.msgpack.encode({**raw, "sent_ns": sent_ns})
        for _ in range(2):
            _commit(committer, _arrived(payload))
    totals = journal.totals()
    assert (1 + 4, 2 + 3) == (totals["rows.ble"], totals["set_aside.clock_jump"])
    assert {"boot": "b1", "kind": "ble", "seq": 4} == courier.published[-1][1]
