import asyncio
import re
import sqlite3
from contextlib import asynccontextmanager

import pytest

from edge.batcher import ClosedBatch, Sender
from edge.outbox import _PENDING_BATCHES_MAX, Outbox
from ingest.columns import decode_batch
from ingest.config import ConfigError
from tests.edge.agents import until

SENDER = Sender(store="demo", agent="pi-1", boot="b1")


def make_outbox(folder, **options):
    fields = {"sender": SENDER, "max_bytes": 10**9, "commit_s": 0.01}
    return Outbox(folder, **{**fields, **options})


@asynccontextmanager
async def opened(folder, **options):
    outbox = make_outbox(folder, **options)
    await outbox.open()
    try:
        yield outbox
    finally:
        await outbox.close()


def batch(seq, kind="ble", boot="b1", size=100, rows=10):
    return ClosedBatch(boot, kind, seq, rows, bytes([seq % 256]) * size)


async def held(outbox):
    return [(b.boot, b.kind, b.seq) for b in await outbox.fetch(0, 1000)]


def test_batches_stay_until_they_are_acknowledged(tmp_path):
    async def main():
        async with opened(tmp_path) as outbox:
            await outbox.put([batch(1), batch(2), batch(1, "tap"), batch(3)])
            await outbox.flush()
            assert (outbox.counts.batches, outbox.counts.rows, outbox.counts.bytes) == (4, 40, 400)
            outbox.ack("b1", "ble", 2)
            await outbox.flush()
            assert await held(outbox) == [("b1", "tap", 1), ("b1", "ble", 3)]
            assert (outbox.counts.batches, outbox.counts.rows, outbox.counts.bytes) == (2, 20, 200)
            assert outbox.first_seq("b1", "ble") == 3
            assert outbox.first_seq("b1", "tap") == 1

    asyncio.run(main())


def test_ids_go_on_rising_after_the_outbox_was_empty(tmp_path):
    """The publisher asks for what came after the last id; a reused id would be passed over."""

    async def main():
        async with opened(tmp_path) as outbox:
            await outbox.put([batch(1), batch(2)])
            await outbox.flush()
            last = (await outbox.fetch(0, 10))[-1].id
            outbox.ack("b1", "ble", 2)
            await outbox.flush()
            assert [] == await outbox.fetch(0, 10)
            await outbox.put([batch(3)])
            await outbox.flush()
            assert [3] == [found.seq for found in await outbox.fetch(last, 10)]

    asyncio.run(main())


def test_what_is_committed_is_there_after_a_restart(tmp_path):
    async def main():
        async with opened(tmp_path) as outbox:
            await outbox.put([batch(1), batch(2)])
        async with opened(tmp_path) as outbox:
            assert (outbox.counts.batches, outbox.counts.rows, outbox.counts.bytes) == (2, 20, 200)
            await outbox.put([batch(1, boot="b2")])
            await outbox.flush()
            assert await held(outbox) == [("b1", "ble", 1), ("b1", "ble", 2), ("b2", "ble", 1)]
            first = (await outbox.fetch(0, 1))[0]
            assert first.payload == b"\1" * 100
            assert [b.seq for b in await outbox.fetch(first.id, 1)] == [2]

    asyncio.run(main())


def test_the_disk_is_asked_for_full_synchronisation(tmp_path):
    async def main():
        async with opened(tmp_path) as outbox:
            base = outbox._base._database

            async def read(text):
                return await outbox._run(lambda: base.execute(text).fetchone()[0])

            assert await read("PRAGMA synchronous") == 2
            assert await read("PRAGMA journal_mode") == "wal"

    asyncio.run(main())


def test_commits_are_made_in_groups_and_taps_at_once(tmp_path):
    async def main():
        async with opened(tmp_path, commit_s=30.0) as outbox:
            commits = []
            outbox.on_commit = lambda: commits.append(outbox.counts.batches)
            task = asyncio.create_task(outbox.run())
            await outbox.put([batch(1)])
            await outbox.put([batch(2)])
            await asyncio.sleep(0)
            assert (outbox.waiting, commits) == (2, [])
            await outbox.put([batch(1, "tap")], urgent=True)
            await until(lambda: commits == [3])
            assert outbox.waiting == 0
            task.cancel()

    asyncio.run(main())


def test_a_disk_that_is_behind_slows_the_caller_down(tmp_path):
    async def main():
        async with opened(tmp_path, commit_s=30.0) as outbox:
            full = [batch(n) for n in range(1, _PENDING_BATCHES_MAX + 1)]
            put = asyncio.create_task(outbox.put(full))
            await asyncio.sleep(0)
            assert not put.done()
            await outbox.flush()
            await asyncio.wait_for(put, 5)
            assert outbox.counts.batches == _PENDING_BATCHES_MAX

    asyncio.run(main())


def test_a_full_outbox_drops_the_oldest_readings_and_keeps_their_seqs(tmp_path):
    async def main():
        async with opened(tmp_path, max_bytes=40_000) as outbox:
            await outbox.put([batch(n, size=5000) for n in range(1, 8)])
            await outbox.put([batch(n, "sample", size=1000) for n in (1, 2)])
            await outbox.flush()
            assert outbox.lost.total() == 0
            await outbox.put([batch(1, "tap", size=5000)])
            await outbox.flush()
            found = await outbox.fetch(0, 100)
            assert [(b.kind, b.seq) for b in found if b.kind == "ble"] == [
                ("ble", n) for n in range(1, 8)
            ]
            dropped = [decode_batch(b.payload) for b in found if len(b.payload) < 500]
            assert [(b.boot, b.kind, b.seq, b.dropped, b.reason) for b in dropped] == [
                ("b1", "ble", 1, 10, "outbox_full"),
                ("b1", "ble", 2, 10, "outbox_full"),
            ]
            assert outbox.lost == {"ble": 20}
            assert outbox.counts.rows == 80
            assert outbox.counts.bytes == sum(len(b.payload) for b in found) <= 40_000
            assert outbox.has_room

    asyncio.run(main())


def test_samples_go_after_the_readings_and_taps_never(tmp_path):
    async def main():
        async with opened(tmp_path, max_bytes=10_000) as outbox:
            await outbox.put([batch(1, "tap", size=6000), batch(1, "sample", size=3000)])
            await outbox.put([batch(1, size=3000)])
            await outbox.flush()
            assert outbox.lost == {"ble": 10}
            await outbox.put([batch(2, "tap", size=6000)])
            await outbox.flush()
            assert outbox.lost == {"ble": 10, "sample": 10}
            assert not outbox.has_room
            taps = [b for b in await outbox.fetch(0, 10) if b.kind == "tap"]
            assert [len(b.payload) for b in taps] == [6000, 6000]
            outbox.ack("b1", "tap", 2)
            await outbox.flush()
            assert outbox.has_room

    asyncio.run(main())


def test_losses_are_in_the_ledger(tmp_path):
    async def main():
        async with opened(tmp_path, max_bytes=4000) as outbox:
            for seq in (1, 2, 3):
                await outbox.put([batch(seq, size=3000)])
                await outbox.flush()

    asyncio.run(main())
    database = sqlite3.connect(tmp_path / "outbox.sqlite")
    assert database.execute("SELECT * FROM loss").fetchall() == [("outbox_full", "ble", 20, 2)]
    database.close()


def test_a_failed_commit_loses_nothing_and_keeps_the_order(tmp_path):
    async def main():
        async with opened(tmp_path) as outbox:
            await outbox.put([batch(1)])
            work = outbox._base.commit

            def full_disk(*_arguments, **_options):
                raise sqlite3.OperationalError("database or disk is full")

            outbox._base.commit = full_disk
            outbox.ack("b0", "ble", 3)
            with pytest.raises(sqlite3.OperationalError):
                await outbox.flush()
            await outbox.put([batch(2)])
            assert outbox.waiting == 2
            outbox._base.commit = work
            await outbox.flush()
            assert await held(outbox) == [("b1", "ble", 1), ("b1", "ble", 2)]

    asyncio.run(main())


def test_a_real_full_disk_is_told_once_and_recovers(tmp_path, caplog):
    async def main():
        async with opened(tmp_path, commit_s=0.001) as outbox:
            pages = lambda n: outbox._run(  # noqa: E731
                lambda: outbox._base._database.execute(f"PRAGMA max_page_count = {n}").fetchone()
            )
            await pages(8)
            task = asyncio.create_task(outbox.run())
            await outbox.put([batch(1, size=200_000)])
            await until(lambda: "outbox commit failed" in caplog.text)
            assert outbox.waiting == 1
            await pages(100_000)
            await until(lambda: outbox.counts.batches == 1)
            await until(lambda: "outbox commit recovered" in caplog.text)
            task.cancel()

    asyncio.run(main())
    assert caplog.text.count("outbox commit failed") == 1


def test_a_second_agent_in_the_same_folder_is_refused(tmp_path):
    async def main():
        async with opened(tmp_path):
            second = make_outbox(tmp_path)
            with pytest.raises(ConfigError, match="another agent is using it"):
                await second.open()
            await second.close()

    asyncio.run(main())


def test_wrong_files_are_refused(tmp_path):
    async def refusal(folder, **options):
        outbox = make_outbox(folder, **options)
        with pytest.raises(ConfigError) as caught:
            await outbox.open()
        await outbox.close()
        return str(caught.value)

    async def main():
        newer = tmp_path / "newer"
        async with opened(newer) as outbox:
            await outbox._run(lambda: outbox._base._database.execute("PRAGMA user_version = 7"))
        assert re.search("expected schema 2, got 7 of a newer fanous", await refusal(newer))
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "outbox.sqlite").write_bytes(b"no database " * 1000)
        assert "cannot be used" in await refusal(broken)
        other = tmp_path / "other"
        async with opened(other) as outbox:
            await outbox.put([batch(1)])
        stranger = Sender(store="demo", agent="pi-2", boot="b9")
        assert "got 1 of 'pi-1'" in await refusal(other, sender=stranger)
        (tmp_path / "file").write_bytes(b"")
        assert "expected a folder" in await refusal(tmp_path / "file")

    asyncio.run(main())
