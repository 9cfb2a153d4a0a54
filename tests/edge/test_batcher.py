import math
from collections import Counter

import pytest

from edge.batcher import Batcher, ClosedBatch, Sender, dropped_batch
from edge.identity import Identity
from edge.measurement import Reading, Sample, Tap
from ingest.batch import PAYLOAD_BYTES_MAX
from ingest.columns import decode_batch
from ingest.identifiers import pseudonym
from tests.edge.agents import BAND, KEY, T0

SENDER = Sender(store="demo", agent="pi-1", boot="6f1c0e9a2b7d4c31")


def batcher(**options):
    return Batcher(
        SENDER, **{"outer": Identity(KEY).outer, "first_seq": lambda _kind: 1, **options}
    )


def reading(n=0, **changes):
    return Reading(T0 + n, "rx-1", f"name:band-{n}", -60.0)._replace(**changes)


def decoded(batches):
    return [decode_batch(batch.payload) for batch in batches]


def test_a_batch_closes_when_it_is_full():
    closer = batcher(max_rows=3)
    assert not closer.add([reading(0), reading(1)])
    assert closer.close_full(T0) == []
    assert closer.add([reading(2)])
    (batch,) = closer.close_full(T0 + 5)
    assert (batch.kind, batch.seq, batch.rows, batch.boot) == ("ble", 1, 3, SENDER.boot)
    assert closer.pending == 0
    (found,) = decoded([batch])
    assert found.t_ns.tolist() == [T0, T0 + 1, T0 + 2]
    assert found.sent_ns == T0 + 5
    assert found.tag.values[0] == pseudonym("name:band-0", KEY)
    assert (found.store, found.agent) == ("demo", "pi-1")


def test_a_tap_closes_everything_at_once():
    closer = batcher()
    assert not closer.add([reading(0), Sample(T0 + 1, "plate-1", 640.0)])
    assert closer.add([Tap(T0 + 2, "gate-1", BAND)])
    batches = closer.close_full(T0)
    assert Counter(batch.kind for batch in batches) == Counter(["ble", "sample", "tap"])
    assert not closer.urgent
    assert closer.pending == 0


def test_a_proof_travels_with_its_tap_and_costs_others_nothing():
    closer = batcher()
    closer.add([Tap(T0, "gate-1", BAND), Tap(T0 + 1, "pay-1", "nfc:04de5f1eacc040", "ntag424-sun")])
    (found,) = decoded(closer.close(T0))
    assert [found.proof.values[code] for code in found.proof.codes] == ["", "ntag424-sun"]
    closer.add([Tap(T0, "gate-1", BAND)])
    (batch,) = closer.close(T0)
    assert b"proof" not in batch.payload
    assert decode_batch(batch.payload).proof is None


def test_seqs_count_from_one_without_gaps_within_a_kind():
    closer, seqs = batcher(max_rows=2), {"ble": [], "sample": []}
    for n in range(7):
        closer.add([reading(n), Sample(T0 + n, "plate-1", 1.0)])
        for batch in closer.close_full(T0):
            seqs[batch.kind].append(batch.seq)
    for batch in closer.close(T0):
        seqs[batch.kind].append(batch.seq)
    assert seqs == {"ble": [1, 2, 3, 4], "sample": [1, 2, 3, 4]}
    assert closer.close(T0) == []


def test_one_long_list_becomes_batches_of_max_rows():
    closer = batcher(max_rows=10)
    closer.add([reading(n) for n in range(25)])
    batches = closer.close_full(T0)
    assert [batch.rows for batch in batches] == [10, 10, 5]
    assert [t for found in decoded(batches) for t in found.t_ns.tolist()] == [
        T0 + n for n in range(25)
    ]


def test_what_is_too_long_is_split_below_the_limit():
    closer = batcher(max_rows=10_000)
    closer.add([reading(n, receiver=f"{n:064d}") for n in range(6000)])
    batches = closer.close(T0)
    assert len(batches) > 1
    assert all(len(batch.payload) <= PAYLOAD_BYTES_MAX for batch in batches)
    assert [batch.seq for batch in batches] == list(range(1, len(batches) + 1))
    assert sum(batch.rows for batch in batches) == 6000
    assert sum(found.rows for found in decoded(batches)) == 6000


def test_no_batch_calls_complete_what_a_later_one_holds():
    closer = batcher(max_rows=4)
    closer.add([reading(n) for n in range(10)] + [Sample(T0 + 3, "plate-1", 1.0)])
    closer.add([reading(8), Tap(T0 + 9, "gate-1", BAND)])
    found = decoded(closer.close_full(T0))
    for at, batch in enumerate(found):
        later = [t for other in found[at + 1 :] for t in other.t_ns.tolist()]
        assert batch.complete_ns == min([T0 + 9, *later])


def test_a_full_kind_does_not_call_complete_what_waits_in_another():
    closer = batcher(max_rows=2)
    closer.add([Sample(T0, "plate-1", 1.0), reading(5), reading(6)])
    assert [found.complete_ns for found in decoded(closer.close_full(T0))] == [T0]


def test_batches_say_what_the_outbox_still_holds():
    closer = batcher(first_seq=lambda kind: {"ble": 1}.get(kind, 9))
    closer.add([reading()])
    assert decoded(closer.close(T0))[0].first_seq == 1


@pytest.mark.parametrize(
    ("reason", "measurement"),
    [
        ("tag", reading(tag="anna")),
        ("tag", Tap(T0, "gate-1", "em4100:xyz")),
        ("name", reading(receiver="RX 1")),
        ("name", Tap(T0, "gate/1", BAND)),
        ("random_uid", Tap(T0, "gate-1", "nfc:08a1b2c3")),
        ("random_uid", Reading(T0, "rx-1", "nfc:08a1b2c3", -60.0)),
        ("proof", Tap(T0, "gate-1", BAND, "a proof")),
        ("name", Sample(T0, "", 1.0)),
        ("rssi", reading(rssi_dbm=-120.1)),
        ("rssi", reading(rssi_dbm=21.0)),
        ("rssi", reading(rssi_dbm=math.nan)),
        ("rssi", reading(rssi_dbm=-math.inf)),
        ("time", reading(t_ns=-1)),
        ("time", reading(t_ns=2**63)),
        ("value", Sample(T0, "plate-1")),
        ("value", Sample(T0, "plate-1", math.nan, math.inf)),
    ],
)
def test_what_cannot_be_right_is_dropped_and_counted(reason, measurement):
    closer = batcher()
    closer.add([measurement, reading()])
    assert closer.dropped == Counter([reason])
    assert closer.pending == 1


def test_rssi_leaves_in_tenths():
    closer = batcher()
    closer.add([reading(rssi_dbm=-61.349), reading(1, rssi_dbm=-61.25)])
    (found,) = decoded(closer.close(T0))
    assert [round(float(rssi), 4) for rssi in found.rssi_dbm] == [-61.3, -61.2]


def test_a_sample_leaves_with_what_it_has():
    closer = batcher()
    closer.add([Sample(T0, "plate-1", 640.5, math.nan), Sample(T0, "plate-2", 1.0)])
    (mass,) = decoded(closer.close(T0))
    assert mass.mass_g.tolist() == [640.5, 1.0]
    assert mass.range_mm is None
    closer.add([Sample(T0, "tof-1", None, 300.0), Sample(T0, "plate-1", 640.5)])
    (both,) = decoded(closer.close(T0))
    assert both.range_mm[0] == 300.0
    assert math.isnan(both.mass_g[0])


def test_the_stand_in_of_a_dropped_batch():
    lost = ClosedBatch("b0", "ble", 7, 0, b"", T0, 42, "outbox_full")
    found = decode_batch(dropped_batch(SENDER, lost))
    assert found.sent_ns == T0
    assert (found.boot, found.kind, found.seq, found.dropped, found.reason, found.rows) == (
        "b0",
        "ble",
        7,
        42,
        "outbox_full",
        0,
    )
