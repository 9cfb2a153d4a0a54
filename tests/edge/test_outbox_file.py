"""The outbox's file: older versions, copies, full disks."""

import asyncio
import sqlite3
import subprocess
from contextlib import closing, contextmanager

import pytest

from edge.batcher import ClosedBatch, dropped_batch
from edge.outbox_backup import backup_outbox, restore_outbox
from edge.outbox_reserve import Reserve
from edge.outbox_wear import Wear
from ingest.batch import Batch, Columns, encode_batch
from ingest.columns import decode_batch
from ingest.config import ConfigError
from tests.edge.agents import T0, until
from tests.edge.test_outbox import SENDER, batch, held, make_outbox, opened

VERSION_1 = """
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    boot TEXT NOT NULL, kind TEXT NOT NULL, seq INTEGER NOT NULL,
    rows INTEGER NOT NULL, class INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE (boot, kind, seq)
);
CREATE INDEX droppable ON outbox (class DESC, id) WHERE class > 0;
CREATE TABLE loss (
    reason TEXT, kind TEXT, rows INTEGER, batches INTEGER, PRIMARY KEY (reason, kind)
);
CREATE TABLE sender (one INTEGER PRIMARY KEY CHECK (one = 1), store TEXT, agent TEXT);
INSERT INTO sender VALUES (1, 'demo', 'pi-1');
INSERT INTO loss VALUES ('outbox_full', 'ble', 42, 1);
PRAGMA user_version = 1;
"""


def encoded(seq, kind="tap"):
    columns = Columns(t_ns=[T0], tap_point=["gate-1"], tag=["p_abcdefghijklmnop"])
    return encode_batch(
        Batch(
            store="demo", agent="pi-1", boot="b0", kind=kind, seq=seq, sent_ns=T0, columns=columns
        )
    )


def test_version_1_is_brought_forward(tmp_path):
    lost = ClosedBatch("b0", "ble", 1, 0, b"", T0 + 5, 42, "outbox_full")
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as old:
        old.executescript(VERSION_1)
        add = "INSERT INTO outbox (boot, kind, seq, rows, class, payload) VALUES (?,?,?,?,?,?)"
        old.execute(add, ("b0", "ble", 1, 0, 0, dropped_batch(SENDER, lost)))
        old.execute(add, ("b0", "tap", 1, 1, 0, encoded(1)))
        old.execute(add, ("b0", "ble", 2, 7, 2, b"what no decoder knows"))
        old.commit()

    async def main():
        async with opened(tmp_path) as outbox:
            counts = outbox.counts
            assert await held(outbox) == [("b0", "ble", 1), ("b0", "tap", 1), ("b0", "ble", 2)]
            assert (counts.rows, counts.newest_ns, counts.last_id) == (8, T0 + 5, 3)
            assert counts.lost == {("outbox_full", "ble"): 42}
            assert counts.stand_in_bytes == len(dropped_batch(SENDER, lost))
            await outbox.put([batch(1)])
        async with opened(tmp_path) as outbox:
            assert [4, 3] == [outbox.counts.batches, (await outbox.fetch(2, 1))[0].id]

    asyncio.run(main())


def test_a_stand_in_was_closed_when_its_batch_was(tmp_path):
    """The gateway sets aside what was closed a minute before a lower seq: a clock's jump."""

    async def main():
        async with opened(tmp_path, max_bytes=3000) as outbox:
            for seq in range(1, 5):
                await outbox.put([batch(seq, size=1000)._replace(sent_ns=T0 + seq)])
                await outbox.flush()
            return [decode_batch(b.payload) for b in await outbox.fetch(0, 10) if b.seq < 3]

    dropped = asyncio.run(main())
    assert [(T0 + 1, 10), (T0 + 2, 10)] == [(each.sent_ns, each.dropped) for each in dropped]


def test_the_newest_time_is_known_after_the_outbox_was_emptied(tmp_path):
    async def main():
        async with opened(tmp_path) as outbox:
            await outbox.put([batch(1)._replace(sent_ns=T0)])
            await outbox.flush()
            outbox.ack("b1", "ble", 1)
        async with opened(tmp_path) as outbox:
            assert (0, T0) == (outbox.counts.batches, outbox.counts.newest_ns)

    asyncio.run(main())


def test_a_batch_that_no_broker_takes_lies_among_the_dead(tmp_path):
    async def main():
        async with opened(tmp_path) as outbox:
            await outbox.put([batch(1), batch(2), batch(1, "tap")])
            await outbox.flush()
            assert 10 == await outbox.bury(2, "too_large")
            assert 0 == await outbox.bury(2, "too_large")
            stand_in = decode_batch((await outbox.fetch(1, 1))[0].payload)
            assert (2, 10, "too_large") == (stand_in.seq, stand_in.dropped, stand_in.reason)
        async with opened(tmp_path) as outbox:
            assert (20, 1) == (outbox.counts.rows, outbox.counts.dead_letters)
            assert outbox.lost == {"ble": 10}

    asyncio.run(main())
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as database:
        found = database.execute("SELECT kind, seq, rows, reason, payload FROM dead_letter")
        assert found.fetchall() == [("ble", 2, 10, "too_large", b"\2" * 100)]


def test_a_copy_of_a_running_outbox_can_be_put_back(tmp_path):
    state, out = tmp_path / "state", tmp_path / "copy.sqlite"

    async def main():
        async with opened(state) as outbox:
            await outbox.put([batch(1), batch(1, "tap")])
            await outbox.flush()
            copied = backup_outbox(state, out, force=False)
            assert (2, 20, out) == (copied.batches, copied.rows, copied.path)
            with pytest.raises(ConfigError, match="stop it first"):
                restore_outbox(state, out, force=True)
            outbox.ack("b1", "ble", 1)
            await outbox.put([batch(2)])
        with pytest.raises(ConfigError, match="--force"):
            restore_outbox(state, out, force=False)
        # As after a kill: a log that belongs to the file that goes.
        (state / "outbox.sqlite-wal").write_bytes(b"of another file")
        assert 2 == restore_outbox(state, out, force=True).batches
        async with opened(state) as outbox:
            assert await held(outbox) == [("b1", "ble", 1), ("b1", "tap", 1)]

    asyncio.run(main())
    assert {path.name for path in tmp_path.iterdir()} == {"copy.sqlite", "state"}


def test_wrong_copies_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="found none"):
        backup_outbox(tmp_path, tmp_path / "copy", force=False)
    with pytest.raises(ConfigError, match="found no file"):
        restore_outbox(tmp_path, tmp_path / "copy", force=False)
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE a (b)")
    with pytest.raises(ConfigError, match="another database"):
        restore_outbox(tmp_path, tmp_path / "other", force=False)
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("PRAGMA user_version = 9")
    with pytest.raises(ConfigError, match="got 9 of a newer"):
        restore_outbox(tmp_path, tmp_path / "other", force=False)
    assert not (tmp_path / "outbox.sqlite").exists()


def test_stand_ins_become_one_when_they_weigh_too_much(tmp_path):
    """After days without a gateway they would be all that is left in the outbox."""

    async def main():
        async with opened(tmp_path, max_bytes=20_000) as outbox:
            for seq in range(1, 400):
                await outbox.put([batch(seq, size=1000), batch(seq, "tap", size=1, rows=1)])
                await outbox.flush()
            found = [b for b in await outbox.fetch(0, 1000) if b.kind == "ble"]
            whole = [b for b in found if len(b.payload) == 1000]
            stand_ins = [decode_batch(b.payload) for b in found if len(b.payload) != 1000]
            assert len(whole) >= 10  # it still holds the newest seconds
            assert stand_ins[0].first_seq == stand_ins[0].seq
            assert sum(each.dropped for each in stand_ins) == outbox.lost["ble"]
            assert 10 * len(whole) + outbox.lost["ble"] == 3990

    asyncio.run(main())


def test_a_reserve_is_real_room(tmp_path):
    reserve = Reserve(tmp_path / "reserve", 100_000)
    assert not reserve.give_back()
    assert reserve.take()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 100_000
    assert reserve.take()
    assert reserve.give_back()
    assert not (tmp_path / "reserve").exists()
    assert not Reserve(tmp_path / "nowhere" / "reserve", 1).take()
    assert not Reserve(tmp_path / "reserve", 1 << 60).take()


def test_wear_is_what_the_kernel_counts(tmp_path):
    now = [0.0]
    (tmp_path / "io").write_text("rchar: 1\nwrite_bytes: 1000\ncancelled_write_bytes: 0\n")
    wear = Wear(clock_s=lambda: now[0], process=tmp_path)
    (tmp_path / "io").write_text("write_bytes: 4600\n")
    assert wear.per_day() == {"written_bytes": 3600}
    now[0] = 3600.0
    assert wear.per_day() == {"written_bytes": 3600, "written_bytes_per_day": 86_400}
    assert Wear(clock_s=lambda: 0.0, process=tmp_path / "none").per_day() is None


@contextmanager
def small_disk(folder, size_mb):
    """A tmpfs; only root may mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("a small disk needs root and mount; run as root to run this test")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.system
def test_a_full_disk_takes_readings_of_old_and_no_tap(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("edge.outbox._RECOVER_S", 0.05)
    monkeypatch.setattr("edge.outbox_reserve._ROOMY_BYTES", 0)

    async def main(disk):
        outbox = make_outbox(disk / "state", reserve_bytes=6_000_000, commit_s=0.001)
        await outbox.open()
        writer = asyncio.create_task(outbox.run())
        taps = readings = 0

        async def feed():
            nonlocal taps, readings
            if outbox.has_room:
                readings += 1
                await outbox.put([batch(readings, size=50_000)])
            taps += 1
            await outbox.put([batch(taps, "tap", size=200, rows=1)], urgent=True)
            await outbox.put([], urgent=True)
            await asyncio.sleep(0.002)

        for _ in range(30):
            await feed()
        await until(lambda: not outbox.waiting)
        ballast = (disk / "ballast").open("wb", buffering=0)
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError:
            pass
        for _ in range(400):
            await feed()
        await until(lambda: not outbox.waiting)
        assert outbox.is_squeezed
        ballast.close()
        (disk / "ballast").unlink()
        await until(lambda: not outbox.is_squeezed)
        for _ in range(20):
            await feed()
        await until(lambda: not outbox.waiting)
        found = await outbox.fetch(0, 10_000)
        writer.cancel()
        await outbox.close()
        return found, taps, readings, outbox.lost

    with small_disk(tmp_path / "disk", 24) as disk:
        found, taps, readings, lost = asyncio.run(main(disk))
    assert taps == sum(b.kind == "tap" for b in found)
    assert set(lost) == {"ble"}
    whole = sum(len(b.payload) == 50_000 for b in found)
    assert 10 * readings == 10 * whole + lost["ble"]
    assert caplog.text.count("outbox disk full") == 1
    assert caplog.text.count("outbox disk recovered") == 1
