import pytest

from gateway.commit import Accepted
from gateway.driver import Driver
from gateway.events import EventFinder
from gateway.gate import Gate
from gateway.journal import Entry, Journal
from gateway.points import PointMaker
from gateway.result_store import ResultStore
from gateway.stepper import Stepper
from ingest.columns import decode_batch
from tests.gateway.fake_engine import FakeEngine
from tests.gateway.samples import ANNA, BEN, SECOND, STORE, T0, readings, taps


class Rig:
    """A journal and a result store in a directory, with a stepper that can be made anew."""

    def __init__(self, directory):
        self.directory = directory
        self.open()

    def open(self):
        self.journal = Journal(self.directory / "journal.sqlite", max_bytes=1 << 20)
        self.results = ResultStore(self.directory / "results.sqlite")
        self.driver = Driver(
            STORE,
            lambda name_of: FakeEngine(STORE, name_of),
            clock="data",
            silent_s=1e6,
            report=print,
        )
        self.stepper = Stepper(
            store_id="demo",
            driver=self.driver,
            finder=EventFinder(STORE, queue_long=5),
            points=PointMaker(STORE, Gate(), identity="none"),
            results=self.results,
        )

    def close(self):
        self.journal.close()
        self.results.close()

    def journaled(self, *payloads):
        batches = []
        for payload in payloads:
            batch = decode_batch(payload)
            entry = Entry(
                agent=batch.agent,
                boot=batch.boot,
                kind=batch.kind,
                seq=batch.seq,
                received_ns=T0,
                row_count=batch.rows,
                payload=payload,
            )
            (journal_id,) = self.journal.append([entry]).ids
            batches.append(Accepted(journal_id=journal_id, received_ns=T0, batch=batch))
        return batches

    def replay(self):
        return self.stepper.replay(
            self.journal,
            decode_batch,
            up_to_id=self.journal.last_id(),
            now_ns=lambda: T0,
            stopping=lambda: False,
        )

    def waiting(self):
        return [topic.rpartition("/")[2] for _, topic, _ in self.results.next_events(0, 1000)]


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.close()


def _second(at, tag=ANNA, **more):
    t_ns = T0 + at * SECOND
    return readings(at + 1, [(t_ns, "rx-1", tag, -60)], complete_ns=t_ns, **more)


def test_a_step_stores_rows_events_and_lines(rig):
    rig.stepper.step(rig.journaled(*(_second(at) for at in range(5))), T0)
    assert [T0 + 3 * SECOND] == rig.driver.engine.advanced
    assert ["visit.started", "zone.entered"] == sorted(rig.waiting())
    assert 1 == len(rig.results.query("SELECT * FROM trail"))
    result = rig.stepper.finish()
    assert 1 == rig.results.counts()["visits"]
    assert ["dwell.recorded", "visit.ended"] == sorted(e.name for e in result.events)
    assert 2 == rig.results.next_lines(100)[2]


def test_pass_bys_are_counted_once_also_across_a_restart(rig):
    for at in range(5):
        rig.stepper.step(rig.journaled(_second(at)), T0)
    told = rig.results.counts()["pass_bys"]
    assert len(rig.driver.engine.advanced) == told == 5
    rig.close()
    rig.open()
    rig.replay()
    assert 5 == rig.results.counts()["pass_bys"] == rig.driver.pass_bys
    rig.stepper.step(rig.journaled(_second(5)), T0)
    assert 6 == rig.results.counts()["pass_bys"]


def test_a_tap_is_told_before_the_engine_has_it(rig):
    rows = [(T0, "gate-1", ANNA), (T0, "gate-9", ANNA)]
    batches = rig.journaled(taps(1, rows))
    assert ["tag.tapped"] == [event.name for event in rig.stepper.tell_taps(batches)]
    assert ["tag.tapped"] == rig.waiting()
    assert [] == rig.driver.engine.taps
    assert () == rig.stepper.step(batches, T0).events
    assert 1 == len(rig.driver.engine.taps)
    assert ["tag.tapped"] == rig.waiting()


def test_a_tap_that_was_journaled_and_not_told_is_told_by_the_replay(rig):
    rig.journaled(taps(1, [(T0, "gate-1", ANNA)]))
    rig.close()
    rig.open()
    rig.replay()
    assert ["tag.tapped"] == rig.waiting()


def test_a_restart_is_where_it_was_and_tells_nothing_twice(rig):
    for at in range(10):
        tag = BEN if at > 5 else ANNA
        rig.stepper.step(rig.journaled(_second(at, tag)), T0)
        if at == 4:
            batches = rig.journaled(taps(1, [(T0, "gate-1", ANNA)]))
            rig.stepper.tell_taps(batches)
            rig.stepper.step(batches, T0)
    before, engine = rig.waiting(), rig.driver.engine
    rig.close()
    rig.open()
    assert 11 == rig.replay()
    assert engine.rows == rig.driver.engine.rows
    assert engine.advanced == rig.driver.engine.advanced
    assert before == rig.waiting()
    assert 11 == rig.stepper.journal_id
    rig.stepper.step(rig.journaled(_second(30)), T0)
    assert [*engine.advanced, T0 + 29 * SECOND] == rig.driver.engine.advanced


def test_batches_that_no_step_had_seen_are_done_in_full(rig):
    rig.stepper.step(rig.journaled(_second(0), _second(5)), T0)
    rig.journaled(_second(8, BEN), _second(20))
    rig.close()
    rig.open()
    rig.replay()
    assert 4 == len(rig.driver.engine.rows)
    assert 4 == len(rig.waiting())
    assert T0 + 19 * SECOND == rig.driver.closed_ns


def test_rows_that_were_late_are_late_again(rig):
    rig.stepper.step(rig.journaled(_second(10)), T0)
    rig.stepper.step(rig.journaled(_second(2, BEN)), T0)
    assert {"ble": 1} == dict(rig.driver.counts.late)
    rig.close()
    rig.open()
    rig.replay()
    assert {"ble": 1} == dict(rig.driver.counts.late)


def test_a_lost_result_store_is_made_again_from_the_journal(rig):
    rig.stepper.step(rig.journaled(*(_second(at) for at in range(5))), T0)
    rig.close()
    for path in rig.directory.glob("results.sqlite*"):
        path.unlink()
    rig.open()
    rig.replay()
    assert ["visit.started", "zone.entered"] == sorted(rig.waiting())
    assert T0 + 3 * SECOND == rig.driver.closed_ns


def test_a_trimmed_journal_replays_what_is_left(rig):
    for at in range(10):
        rig.stepper.step(rig.journaled(_second(at)), T0)
    rig.journal._max_bytes = rig.journal._bytes // 2
    assert rig.journal.trim(rig.results.progress_id()) > 0
    before = rig.waiting()
    rig.close()
    rig.open()
    assert 0 < rig.replay() < 10
    assert before == rig.waiting()
    assert rig.results.progress()[1][0].journal_id >= rig.journal.first_id()
