"""The outbox against a model: what was stored is there, acknowledged, or in the ledger."""

import shutil
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge.batcher import ClosedBatch, Sender, dropped_batch
from edge.outbox_database import Database
from ingest.batch import KINDS
from ingest.columns import decode_batch
from tests.edge.agents import T0

SENDER = Sender(store="demo", agent="pi-1", boot="b1")
CAP_BYTES = 6000


class OutboxModel(RuleBasedStateMachine):
    """Any life of an outbox's file, with crashes in the middle of commits.

    `emitted` counts rows that a commit has taken, by kind; `acked` rows that a commit took
    out because the gateway has them; the gateway is told of losses by stand-ins.
    """

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fanous-outbox-"))
        self.path = self.folder / "outbox.sqlite"
        self.boot = 0
        self.cap_bytes = CAP_BYTES
        self.emitted, self.acked, self.told = Counter(), Counter(), Counter()
        self.base = None
        self.start()

    def start(self):
        self.boot += 1
        self.next_seq = dict.fromkeys(KINDS, 1)
        self.base = Database(self.path, sender=SENDER)
        self.base.open()

    def teardown(self):
        self.base.close()
        shutil.rmtree(self.folder)

    def held(self):
        return [decode_or_rows(b) for b in self.base.fetch(0, 10_000)]

    def make(self, kind, rows, size):
        seq = self.next_seq[kind]
        self.next_seq[kind] += 1
        payload = bytes([rows]) + bytes(size)  # stands for an encoded batch
        return ClosedBatch(f"b{self.boot}", kind, seq, rows, payload, T0 + seq)

    def refuse(self, kind, rows):
        seq = self.next_seq[kind]
        self.next_seq[kind] += 1
        lost = ClosedBatch(f"b{self.boot}", kind, seq, 0, b"", T0 + seq, rows, "disk_full")
        return lost._replace(payload=dropped_batch(SENDER, lost))

    batches = st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(1, 50), st.integers(100, 1500)), max_size=5
    )

    @rule(made=batches, refused=st.integers(0, 9))
    def store(self, made, refused):
        batches = [self.make(*each) for each in made]
        if refused:
            batches.append(self.refuse("ble", refused))
        self.base.commit(batches, {}, max_bytes=self.cap_bytes)
        for batch in batches:
            self.emitted[batch.kind] += batch.rows + batch.dropped

    @rule(made=batches.filter(bool))
    def crash_in_a_commit(self, made):
        """What a commit that did not end had taken was never stored, and nothing else changes."""
        before = self.held()
        with pytest.raises(sqlite3.OperationalError):
            self.break_off(made)
        self.base.close()
        self.start()
        assert before == self.held()

    def break_off(self, made):
        with self.base._change() as change:
            change.make_room(0, "outbox_full")
            for each in made:
                change.insert(self.make(*each))
            raise sqlite3.OperationalError

    @rule(data=st.data())
    @precondition(lambda self: self.base.counts.batches)
    def acknowledge(self, data):
        batch = data.draw(st.sampled_from(self.base.fetch(0, 10_000)))
        for other in self.base.fetch(0, 10_000):
            same = (other.boot, other.kind) == (batch.boot, batch.kind)
            if same and other.seq <= batch.seq:
                rows, dropped = decode_or_rows(other)[3:]
                self.acked[other.kind] += rows
                self.told[other.kind] += dropped
        acks = {(batch.boot, batch.kind): batch.seq}
        self.base.commit([], acks, max_bytes=self.cap_bytes)

    @rule(data=st.data())
    @precondition(lambda self: self.base.counts.batches)
    def bury(self, data):
        batch = data.draw(st.sampled_from(self.base.fetch(0, 10_000)))
        rows = decode_or_rows(batch)[3]
        assert rows == self.base.bury(batch.id, "too_large")

    @rule(share=st.floats(0.1, 1.0))
    def squeeze(self, share):
        self.cap_bytes = int(CAP_BYTES * share)

    @rule()
    def restart(self):
        self.base.close()
        self.start()

    @invariant()
    def the_ledger_is_the_truth(self):
        waiting, told = Counter(), self.told.copy()
        for _, kind, _, rows, dropped in self.held():
            waiting[kind] += rows
            told[kind] += dropped
        lost = Counter()
        for (_, kind), rows in self.base.counts.lost.items():
            lost[kind] += rows
        assert self.emitted == self.acked + waiting + lost
        assert +told == lost  # what the gateway was or will be told
        assert sum(waiting.values()) == self.base.counts.rows

    @invariant()
    def taps_give_way_to_nothing(self):
        full = sum(n for (why, kind), n in self.base.counts.lost.items() if kind == "tap")
        large = self.base.counts.lost["too_large", "tap"]
        assert full == large

    @invariant()
    def what_is_counted_is_what_is_there(self):
        payloads = [batch.payload for batch in self.base.fetch(0, 10_000)]
        counts = self.base.counts
        assert (counts.batches, counts.bytes) == (len(payloads), sum(map(len, payloads)))
        stand_ins = [p for p in payloads if p[:1] not in {bytes([n]) for n in range(1, 51)}]
        assert counts.stand_in_bytes == sum(map(len, stand_ins))

    @invariant()
    def seqs_have_no_gap_that_a_stand_in_does_not_explain(self):
        last, first_seqs = {}, {}
        for batch in self.base.fetch(0, 10_000):
            stream = (batch.boot, batch.kind)
            first_seqs[stream] = first_seq_of(batch)
            if stream in last:
                assert batch.seq == last[stream] + 1 or first_seqs[stream] == batch.seq
            last[stream] = batch.seq


def decode_or_rows(batch):
    """Return boot, kind, seq, rows and dropped rows of a batch of the model or a stand-in."""
    if 1 <= batch.payload[0] <= 50:
        return batch.boot, batch.kind, batch.seq, batch.payload[0], 0
    found = decode_batch(batch.payload)
    assert (found.boot, found.kind, found.seq) == (batch.boot, batch.kind, batch.seq)
    return batch.boot, batch.kind, batch.seq, 0, found.dropped


def first_seq_of(batch):
    return 1 if 1 <= batch.payload[0] <= 50 else decode_batch(batch.payload).first_seq


TestOutbox = OutboxModel.TestCase
TestOutbox.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
