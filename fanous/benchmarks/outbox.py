"""How fast the agent's durable outbox takes readings and lets them go.

Rules of the file: the real outbox on the disk of the temporary directory, synchronous
FULL, so the figure depends on that disk and is wall time; batches of 512 readings. The
figure `readings_in` is the whole way of an agent with the settings' defaults: raw tags to
pseudonyms, batches, the writer that commits each 250 ms, as fast as it takes them.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from edge.batcher import Batcher, ClosedBatch, Sender
from edge.identity import Identity
from edge.measurement import Reading
from edge.outbox import Outbox
from edge.settings import BatchSettings, OutboxSettings
from fanous.benchmarks.figure import Figure, Say
from fanous.benchmarks.wire import ROWS, make_batches
from ingest.batch import encode_batch

GROUP = 32
"""Batches handed over at a time; the outbox commits what has gathered."""
_BOOT = "0123456789abcdef"


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure rows a second onto the disk, and through to the acknowledgement.

    Parameters
    ----------
    quick : fewer batches
    say : told what is being measured
    """
    payloads = [encode_batch(batch) for batch in make_batches(20)]
    count, commits = (64, 10) if quick else (2_000, 100)
    batches = [
        ClosedBatch(_BOOT, "ble", seq, ROWS, payloads[seq % len(payloads)])
        for seq in range(1, count + commits + 1)
    ]
    with tempfile.TemporaryDirectory(prefix="fanous-bench-") as folder:
        say(f"outbox, {count} batches of {ROWS} readings, on the disk of {Path(folder).parent}")
        figures = asyncio.run(_measure(Path(folder), batches, commits))
    with tempfile.TemporaryDirectory(prefix="fanous-bench-") as folder:
        seconds = 1.0 if quick else 5.0
        say(f"outbox, readings of 200 tags for {seconds:.0f} s, committed each 250 ms")
        return (*figures, *asyncio.run(_take_in(Path(folder), seconds)))


async def _measure(folder: Path, batches: list[ClosedBatch], commits: int) -> tuple[Figure, ...]:
    sender = Sender(store="demo", agent="pi-1", boot=_BOOT)
    outbox = Outbox(folder, sender=sender, max_bytes=1 << 30)
    await outbox.open()
    try:
        one_by_one, many = batches[:commits], batches[commits:]
        single = [await _seconds(_store(outbox, [batch])) for batch in one_by_one]
        put_s = await _seconds(_store_all(outbox, many))
        go_s = await _seconds(_take_all(outbox, many[-1].seq))
        assert outbox.counts.batches == 0
    finally:
        await outbox.close()
    rows = len(many) * ROWS
    return (
        Figure(name="outbox.rows_in", value=rows / put_s, unit="rows/s", better="higher"),
        Figure(
            name="outbox.rows_through", value=rows / (put_s + go_s), unit="rows/s", better="higher"
        ),
        Figure(
            name="outbox.commit",
            value=statistics.median(single) * 1000,
            unit="ms",
            better="lower",
        ),
    )


async def _take_in(folder: Path, seconds: float) -> tuple[Figure, ...]:
    settings, chunk = OutboxSettings(), 1000
    sender = Sender(store="demo", agent="pi-1", boot=_BOOT)
    outbox = Outbox(folder, sender=sender, max_bytes=1 << 30, commit_s=settings.commit_ms / 1000)
    closer = Batcher(
        sender,
        outer=Identity(bytes(range(32)), {}).outer,
        first_seq=lambda kind: outbox.first_seq(_BOOT, kind),
        max_rows=BatchSettings().max_rows,
    )
    tags = [f"name:band-{n}" for n in range(200)]
    await outbox.open()
    writer = asyncio.create_task(outbox.run(), name="outbox")
    began_s, t_ns = time.perf_counter(), time.time_ns()
    while time.perf_counter() - began_s < seconds:
        readings = [Reading(t_ns + n, "rx-1", tags[n % 200], -60.0 - n % 30) for n in range(chunk)]
        if closer.add(readings):
            await outbox.put(closer.close_full(t_ns))
    await outbox.put(closer.close(t_ns), urgent=True)
    await outbox.flush()
    took_s, rows = time.perf_counter() - began_s, outbox.counts.rows
    writer.cancel()
    await asyncio.wait([writer])
    await outbox.close()
    return (
        Figure(name="outbox.readings_in", value=rows / took_s, unit="readings/s", better="higher"),
    )


async def _seconds(work: Coroutine[Any, Any, None]) -> float:
    began_s = time.perf_counter()
    await work
    return time.perf_counter() - began_s


async def _store(outbox: Outbox, batches: list[ClosedBatch]) -> None:
    await outbox.put(batches)
    await outbox.flush()


async def _store_all(outbox: Outbox, batches: list[ClosedBatch]) -> None:
    for at in range(0, len(batches), GROUP):
        await _store(outbox, batches[at : at + GROUP])


async def _take_all(outbox: Outbox, last_seq: int) -> None:
    """Read everything as the publisher does, then acknowledge it group by group."""
    after_id, seq = 0, 0
    while seq < last_seq:
        found = await outbox.fetch(after_id, GROUP)
        after_id, seq = found[-1].id, found[-1].seq
        outbox.ack(_BOOT, "ble", seq)
        await outbox.flush()
