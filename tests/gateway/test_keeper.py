"""The live engine over restarts and late rows: what is stored is what an undisturbed run stores."""

import json
from pathlib import Path

import msgspec
import pytest

from gateway.commit import Accepted
from gateway.engine_room import read_engine_room
from gateway.gate import Gate
from gateway.journal import Entry, Journal
from gateway.keeper import Keeper
from gateway.result_store import ResultStore
from gateway.result_tables import COLUMNS, KEYS
from gateway.settings import GatewaySettings, InfluxSettings, JournalSettings
from ingest.store_file import read_store
from simulators.command import DEMO_STORE
from tests.gateway.day import SECOND, agents_days, decode

STORE = read_store(DEMO_STORE)
ROOM = read_engine_room(STORE, DEMO_STORE)
MINUTES = 5
CUT_AGENT = "pi-2"


class Rig:
    """A keeper over files that can be killed and opened again."""

    def __init__(self, directory, **journal):
        self.directory = Path(directory)
        self.directory.mkdir(exist_ok=True)
        self.now_s = 0.0
        more = {"checkpoint_s": 60.0, "late_quiet_s": 5.0, **journal}
        self.settings = GatewaySettings(
            store=str(DEMO_STORE),
            state_dir=str(directory),
            clock="data",
            influxdb=InfluxSettings(database="fanous"),
            journal=JournalSettings(**more),
        )
        self.replayed = None
        self.open()

    def open(self):
        self.journal = Journal(
            self.directory / "journal.sqlite", max_bytes=self.settings.journal.max_mb * 1024 * 1024
        )
        self.results = ResultStore(self.directory / "results.sqlite")
        self.keeper = Keeper(
            STORE,
            self.settings,
            ROOM,
            journal=self.journal,
            results=self.results,
            gate=Gate(),
            state_dir=self.directory,
            decode=decode,
            monotonic_s=lambda: self.now_s,
        )
        self.replayed = self.keeper.replay(
            up_to_id=self.journal.last_id(), now_ns=lambda: 0, stopping=lambda: False
        )

    def crash(self):
        """Open again what is on the disk, with nothing said before."""
        self.journal.close()
        self.results.close()
        self.open()

    def feed(self, payloads, now_ns, *, step=True):
        batches = []
        for payload in payloads:
            batch = decode(payload)
            entry = Entry(
                agent=batch.agent,
                boot=batch.boot,
                kind=batch.kind,
                seq=batch.seq,
                received_ns=now_ns,
                row_count=batch.rows,
                payload=payload,
                first_ns=int(batch.t_ns.min()) if batch.rows else 0,
            )
            (new,) = self.journal.append([entry]).ids
            if new:
                batches.append(Accepted(journal_id=new, received_ns=now_ns, batch=batch))
        if step:
            self.keeper.step(batches, now_ns)

    def compute_again(self):
        again = self.keeper.begin_again()
        assert again.catch_up(self.keeper.reached, lambda: False)
        return again, self.keeper.swap(again)

    def tables(self):
        """Return what is stored, and what a receiver that drops known ids has been told."""
        self.keeper.stepper.finish()
        return {
            name: set(self.results.query(f"SELECT {', '.join(COLUMNS[name])} FROM {name}"))
            for name in KEYS
        }

    def close(self):
        self.journal.close()
        self.results.close()


def play(rig, *, held=(0, 0), crash_at=(), give_back_at=None, compute=True):
    """Play the day; the cut agent's batches of some seconds come when it is back."""
    kept = []
    for second, (end_ns, of_agent) in enumerate(agents_days(STORE, MINUTES)):
        rig.now_s += 1.0
        for agent, payloads in of_agent.items():
            if agent == CUT_AGENT and held[0] <= second < held[1]:
                kept.extend(payloads)
            else:
                rig.feed(payloads, end_ns, step=False)
        if second == give_back_at:
            rig.feed(kept, end_ns, step=False)
        fresh = rig.journal.read(rig.keeper.stepper.journal_id, 1 << 60, 10_000)
        rig.keeper.step(
            [Accepted(journal_id=i, received_ns=r, batch=decode(p)) for i, r, _, p in fresh],
            end_ns,
        )
        if compute and rig.keeper.is_late_work_due():
            rig.compute_again()
        if second in crash_at:
            rig.crash()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    rig = Rig(tmp_path_factory.mktemp("undisturbed"))
    play(rig)
    tables, points = rig.tables(), lines(rig)
    assert rig.keeper.driver.counts.late == {}
    rig.close()
    assert tables["visits"]
    assert tables["shelf_events"]
    return tables, points


def lines(rig):
    """Return the lines as a database holds them: the last of each series and time."""
    held = {}
    queued = rig.results.query("SELECT is_erasure, body FROM outgoing_lines ORDER BY id")
    for is_erasure, body in queued:
        for line in body.decode().split("\n"):
            found = json.loads(line)["void"] if is_erasure else line
            key = (found.split(" ")[0], found.rpartition(" ")[2])
            if is_erasure:
                held.pop(key, None)
            else:
                held[key] = line
    return held


def test_a_crash_at_any_second_changes_nothing(tmp_path, undisturbed):
    rig = Rig(tmp_path)
    play(rig, crash_at=(30, 75, 150, 151, 260))
    batches = len(rig.journal.by_time(0, 1 << 60))
    assert 0 < rig.replayed < batches / 2, "the restart read little more than since the checkpoint"
    assert undisturbed[0] == rig.tables()
    rig.close()


def test_rows_that_come_late_are_computed_again_and_nothing_differs(tmp_path, undisturbed):
    rig = Rig(tmp_path)
    play(rig, held=(70, 190), give_back_at=220)
    assert sum(rig.keeper.driver.counts.late.values()) > 1000
    assert rig.results.state("recomputations") == 1
    assert rig.results.state("dirty_ns") is None
    assert undisturbed[0] == rig.tables()
    assert undisturbed[1] == lines(rig)
    rig.close()


def test_a_crash_between_late_rows_and_their_recomputation_loses_nothing(tmp_path, undisturbed):
    rig = Rig(tmp_path)
    play(rig, held=(100, 160), give_back_at=200, crash_at=(202, 207, 240))
    assert rig.results.state("recomputations") == 1
    assert undisturbed[0] == rig.tables()
    rig.close()


def test_without_the_recomputation_the_rows_would_differ(tmp_path, undisturbed):
    rig = Rig(tmp_path)
    play(rig, held=(70, 190), give_back_at=220, compute=False)
    assert undisturbed[0] != rig.tables()
    rig.close()


def test_a_damaged_checkpoint_is_passed_over(tmp_path, undisturbed, caplog):
    rig = Rig(tmp_path)
    play(rig, crash_at=(200,))
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    rig.crash()
    assert "is passed over" in caplog.text
    assert rig.replayed == len(rig.journal.by_time(0, 1 << 60))
    assert undisturbed[0] == rig.tables()
    rig.close()


def test_checkpoints_and_journal_are_thinned_and_late_rows_reach_back_as_far(tmp_path):
    rig = Rig(tmp_path, keep_h=2 / 60, checkpoint_s=10.0)
    play(rig)
    listed = rig.keeper._checkpoints.listed()
    assert 3 < len(listed) < 12
    rig.keeper.trim(now_ns=1 << 62, archived_id=None)
    left = rig.keeper._checkpoints.listed()
    assert left[0].watermark_ns - left[-1].watermark_ns <= 120 * SECOND
    assert rig.journal.first_id() == left[-1].step.journal_id + 1
    days = agents_days(STORE, MINUTES)
    rig.feed([_renumbered(days[3][1][CUT_AGENT][-1])], days[-1][0])
    again, _ = rig.compute_again()
    assert again.too_late
    assert again.after == left[-1].step
    rig.close()


def _renumbered(payload):
    """The same rows in a batch that was not there yet."""
    raw = msgspec.msgpack.decode(payload)
    return msgspec.msgpack.encode({**raw, "boot": "another", "seq": 1})
