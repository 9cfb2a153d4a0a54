"""Faults of the machine: clock, disk, state folder, outbox."""

import asyncio
import os
import sqlite3
import time

import pytest

from edge.batcher import ClosedBatch, Sender
from edge.check_host import (
    KernelClock,
    check_agent_state,
    check_clock,
    check_outbox,
    check_state_dir,
    is_virtual_machine,
    kernel_clock,
)
from edge.outbox import Outbox

NOW_NS = time.time_ns()
KEPT, ADRIFT = KernelClock(is_kept=True, error_s=0.1), KernelClock(is_kept=False, error_s=16.0)


def test_a_clock_that_is_right(tmp_path):
    files = [tmp_path, tmp_path / "none"]  # the test may run long after this module was read
    found = check_clock(time.time_ns(), files=files, kernel=KEPT)
    assert (True, "") == (found.ok, found.remedy)


@pytest.mark.parametrize(
    ("now_ns", "sentence"),
    [(0, "it was never set"), (1_600_000_000 * 10**9, "never set"), (-5, "never set")],
)
def test_a_clock_that_was_never_set(now_ns, sentence):
    found = check_clock(now_ns)
    assert not found.ok
    assert sentence in found.found
    assert "timedatectl set-ntp true" in found.remedy


def test_a_clock_behind_its_own_files(tmp_path):
    file = tmp_path / "outbox.sqlite"
    file.touch()
    os.utime(file, (NOW_NS / 1e9 + 7200,) * 2)
    found = check_clock(NOW_NS, files=[file])
    assert not found.ok
    assert "it is at least 7200 s behind files written here" in found.found


def test_a_clock_that_nobody_keeps():
    found = check_clock(NOW_NS, kernel=ADRIFT)
    assert not found.ok
    assert "not synchronised by NTP" in found.found
    assert "pass NTP" in found.remedy
    host = check_clock(NOW_NS, kernel=ADRIFT, is_virtual=True)
    assert host.ok
    assert "the host may keep it" in host.found


def test_what_this_kernel_says_is_taken():
    found = kernel_clock()
    assert found is None or 0 <= found.error_s < 1e6


@pytest.mark.parametrize(
    ("text", "expected"),
    [("flags\t: fpu vme hypervisor lm\n", True), ("flags : fpu\nmodel : hypervisor\n", False)],
)
def test_virtual_machines(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text, "utf-8")
    assert is_virtual_machine(tmp_path / "cpuinfo") is expected
    assert not is_virtual_machine(tmp_path / "none")


def filled(folder, size, count=10):
    """Write batches with the agent's own code, and return the outbox, still in use."""
    outbox = Outbox(
        folder,
        sender=Sender(store="demo", agent="pi-1", boot="b" * 16),
        max_bytes=10_000_000,
    )

    async def work():
        await outbox.open()
        await outbox.put(
            [
                ClosedBatch("b" * 16, "ble", seq, 7, bytes(size // count))
                for seq in range(1, count + 1)
            ]
        )
        await outbox.flush()

    asyncio.run(work())
    return outbox


def test_a_nearly_full_outbox_is_found_while_the_agent_writes(tmp_path):
    outbox = filled(tmp_path, 900_000)
    file = tmp_path / "outbox.sqlite"
    try:
        # As when the agent is in the middle of a commit.
        writer = sqlite3.connect(file, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        full = check_outbox(file, max_mb=1)
        roomy = check_outbox(file, max_mb=2)
        writer.execute("UPDATE outbox SET rows = rows")
        writer.execute("COMMIT")
        writer.close()
    finally:
        asyncio.run(outbox.close())
    assert not full.ok
    assert full.found == "90% full: 0.9 MB of 1 MB in 10 batches (70 rows) wait"
    assert "broker and gateway run" in full.remedy
    assert roomy.ok


def test_losses_are_told(tmp_path):
    asyncio.run(filled(tmp_path, 1000).close())
    with sqlite3.connect(tmp_path / "outbox.sqlite") as database:
        database.execute("INSERT INTO loss VALUES ('outbox_full', 'ble', 123, 4)")
    database.close()
    assert "123 rows had to give way" in check_outbox(tmp_path / "outbox.sqlite", max_mb=1).found


def test_an_outbox_that_is_none(tmp_path):
    (tmp_path / "outbox.sqlite").write_bytes(b"not a database" * 100)
    found = check_outbox(tmp_path / "outbox.sqlite", max_mb=1)
    assert not found.ok
    assert "file is not a database" in found.found
    assert "move it away" in found.remedy


def test_a_state_dir_that_cannot_be_used(tmp_path, monkeypatch):
    assert check_state_dir(tmp_path).ok
    assert check_state_dir(tmp_path / "a" / "b").found.endswith("will be made")
    (tmp_path / "file").touch()
    assert check_state_dir(tmp_path / "file" / "x").found == f"{tmp_path / 'file'} is a file"
    monkeypatch.setattr("edge.check_host.os.access", lambda *_: False)
    denied = check_state_dir(tmp_path)
    assert (False, f"{tmp_path} cannot be written") == (denied.ok, denied.found)
    assert f"chown -R $(id -un) {tmp_path}" in denied.remedy


def test_a_disk_too_small_for_what_the_outbox_may_still_take(tmp_path):
    (tmp_path / "outbox.sqlite").write_bytes(bytes(3_000_000))
    disks = [
        {c.name: c for c in check_agent_state(tmp_path, max_mb=10, free_mb=free_mb)}["disk"]
        for free_mb in (lambda _: 70, lambda _: 71)
    ]
    assert [False, True] == [disk.ok for disk in disks]
    assert disks[0].expected == "71 MB free"
    assert "make room" in disks[0].remedy
