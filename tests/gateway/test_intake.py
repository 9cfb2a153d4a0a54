import asyncio
import sqlite3
import threading

import pytest

from gateway.agents import Agents
from gateway.commit import Committer
from gateway.inbox import Arrived, Inbox
from gateway.intake import STEP_BATCHES_MAX, Intake
from gateway.journal import Journal
from gateway.result_store import ResultStore
from tests.gateway.polling import until
from tests.gateway.samples import ANNA, T0, readings, taps

ROWS = [(T0, "rx-1", ANNA, -60)]


class FakeSubscriber:
    def __init__(self):
        self.inbox = Inbox(1 << 20)
        self.arrived_count = 0

    def arrive(self, payload, leaf="readings", *, is_retained=False):
        topic = f"fanous/v1/demo/agents/pi-1/{leaf}"
        self.arrived_count += 1
        arrived = Arrived(
            topic=topic,
            payload=payload,
            received_ns=T0,
            mid=self.arrived_count,
            qos=1,
            connection=1,
            is_retained=is_retained,
        )
        self.inbox.put([arrived], is_stopping=lambda: False)

    def acknowledge(self, stored):
        pass

    def publish(self, topic, payload, *, qos=1):
        return 1


class Rig:
    def __init__(self, directory):
        self.subscriber = FakeSubscriber()
        self.journal = Journal(directory / "journal.sqlite", max_bytes=1 << 20)
        self.results = ResultStore(directory / "results.sqlite")
        self.agents = Agents(silent_s=30.0)
        self.told = []
        committer = Committer(
            self.journal,
            self.subscriber,
            store="demo",
            identity="pseudonym",
            batch_bytes_max=1 << 18,
        )
        self.intake = Intake(
            self.subscriber,
            committer,
            self.agents,
            tell_taps=self._tell_taps,
            trim=lambda: None,
            group_s=0.01,
            compares_clocks=True,
        )

    def _tell_taps(self, batches):
        return [(b.batch.seq, threading.current_thread().name) for b in batches]

    def run(self, work):
        """Run the intake beside some work."""

        async def both():
            task = asyncio.create_task(self.intake.run(self.told.extend))
            try:
                return await asyncio.wait_for(work(), 20)
            finally:
                self.intake.stop()
                await task

        return asyncio.run(both())

    def close(self):
        self.intake.close()
        self.journal.close()
        self.results.close()


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.close()


def test_what_arrives_is_handed_on_in_order_and_taps_are_told_by_the_commit_thread(rig):
    for seq in (1, 2, 2, 3):
        rig.subscriber.arrive(readings(seq, ROWS))
    rig.subscriber.arrive(b"nonsense")
    rig.subscriber.arrive(taps(1, [(T0, "gate-1", ANNA)]), "taps")
    assert rig.intake.is_behind

    async def work():
        found = []
        while len(found) < 4:
            batches, _ = await rig.intake.next_batches(0.05)
            found += [(accepted.batch.kind, accepted.batch.seq) for accepted in batches]
        await until(lambda: not rig.intake.is_behind)
        return found

    assert [("ble", 1), ("ble", 2), ("ble", 3), ("tap", 1)] == rig.run(work)
    assert rig.intake.has_all
    assert {"commit_0"} == {thread for _, thread in rig.told}


def test_a_full_queue_holds_the_inbox_back_and_a_step_is_bounded(rig):
    count = 1500
    for seq in range(1, count + 1):
        rig.subscriber.arrive(readings(seq, ROWS))

    async def work():
        await until(lambda: rig.journal.last_id() >= 64 * 16)
        left = len(rig.subscriber.inbox)
        sizes = []
        while sum(sizes) < count:
            batches, _ = await rig.intake.next_batches(0.5)
            sizes.append(len(batches))
        return left, sizes

    left, sizes = rig.run(work)
    assert left > 0
    assert max(sizes) < STEP_BATCHES_MAX + 16


def test_a_status_says_whether_its_agent_is_there_and_how_its_clock_runs(rig):
    ahead = b'{"state":"online","clock":{"now_ns":%d}}' % (T0 + 250_000_000)
    rig.subscriber.arrive(ahead, "status", is_retained=True)
    rig.subscriber.arrive(ahead, "status")
    rig.subscriber.arrive(b'{"state":"offline"}', "status")
    offsets = []

    async def work():
        found = []
        while len(found) < 3:
            _, told = await rig.intake.next_batches(0.05)
            found += told
        return found

    told = rig.agents.told

    def noted(*arguments, **more):
        is_online = told(*arguments, **more)
        offsets.append(rig.agents._agents["pi-1"].clock_offset_ms)
        return is_online

    rig.agents.told = noted
    assert [("pi-1", True), ("pi-1", True), ("pi-1", False)] == rig.run(work)
    assert [None, 250.0, None] == offsets


def test_a_disk_on_which_nothing_can_be_deleted_ends_nothing(rig, monkeypatch, caplog):
    def fails():
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("gateway.intake.TRIM_EVERY_S", -1.0)
    monkeypatch.setattr(rig.intake, "_trim", fails)

    async def work():
        rig.subscriber.arrive(readings(1, [(T0, "rx-1", ANNA, -60)]))
        batches, _ = await rig.intake.next_batches(5)
        await until(lambda: "nothing old could be deleted" in caplog.text)
        return [accepted.batch.seq for accepted in batches]

    assert [1] == rig.run(work)
