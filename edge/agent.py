"""The agent: from sources to pseudonyms, batches, outbox and broker, in one event loop.

Rules of the file: it only connects the parts, each of which has its own rules. Clock and
randomness are arguments. Nothing is lost between a source's `emit` and the outbox's
commit but what is counted in `health`; what is in the outbox stays there until the
gateway acknowledges it, over restarts of either.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edge.agent_status import encode_status
from edge.batcher import Batcher, Sender
from edge.clock import AgentClock
from edge.identity import Identity, read_aliases
from edge.measurement import Measurement, Reading, Tap
from edge.outbox import REASON_DISK, REASON_FULL, Outbox
from edge.outbox_wear import Wear
from edge.publisher import Publisher
from edge.pulse import Pulse
from edge.settings import EdgeSettings
from edge.sources.source import Source, SourceUnavailable, make_source
from ingest.batch import Kind
from ingest.config import ConfigError
from ingest.service_manager import ServiceManager

_STOP_S = 1.2  # with the farewell to the broker a stop takes less than 2 s
_CANCEL_AGAIN_S = 0.1
_RESTART_MIN_S, _RESTART_MAX_S = 1.0, 60.0
_LOOK_S = 1.0
_BEAT_S = 5.0
_LOSS_EVERY_NS = 1_000_000_000
log = logging.getLogger("fanous.edge.agent")


class Agent:
    """One agent beside the radios.

    Parameters
    ----------
    settings : checked, with absolute paths
    now_ns : [ns since 1970, UTC] the clock
    sources : where measurements come from; None = those of the settings
    base : the folder that paths in the sources' tables are relative to
    jitter : returns a number in [0, 1), for back-off
    key : the pseudonym key, where the composition root has it; None = that of the settings
    clock : what `now_ns` belongs to, where it follows the system's clock by a rule
    manager : who is told that the agent is ready, alive, stopping; None = nobody

    Raises
    ------
    ConfigError
        The key, the aliases or a source's table is wrong.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        now_ns: Callable[[], int],
        sources: Sequence[Source] | None = None,
        base: Path = Path(),
        jitter: Callable[[], float] = random.random,
        key: bytes | None = None,
        clock: AgentClock | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        self.settings = settings
        self.boot = secrets.token_hex(8)
        self._now_ns = now_ns
        self._jitter = jitter
        key = settings.key() if key is None else key
        aliases = {} if settings.aliases is None else read_aliases(Path(settings.aliases))
        self._sources = (
            make_sources(settings, base=base, now_ns=now_ns) if sources is None else list(sources)
        )
        self._states = {source.name: "waiting" for source in self._sources}
        self._refused: Counter[Kind] = Counter()
        self._refused_ns = 0
        self._clock, self._manager = clock, manager
        self._wear = Wear(clock_s=time.monotonic)
        self._pulse = Pulse(time.monotonic)
        sender = Sender(store=settings.store, agent=settings.agent, boot=self.boot)
        self._outbox = Outbox(
            Path(settings.state_dir),
            sender=sender,
            max_bytes=settings.outbox.max_mb * 1_000_000,
            commit_s=settings.outbox.commit_ms / 1000,
            reserve_bytes=settings.outbox.reserve_mb * 1_000_000,
        )
        self._batcher = Batcher(
            sender,
            outer=Identity(key, aliases).outer,
            first_seq=lambda kind: self._outbox.first_seq(self.boot, kind),
            max_rows=settings.batch.max_rows,
            bytes_max=settings.batch.max_bytes,
        )
        self._publisher = Publisher(
            settings, boot=self.boot, outbox=self._outbox, status=self._status, jitter=jitter
        )
        self._outbox.on_commit = self._committed
        self._publisher.on_too_large = lambda size: self._batcher.shorten(size // 2)
        if clock is not None:
            self._publisher.on_gateway_time = clock.hear
        self._some = asyncio.Event()
        self._progress = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then flush for a second and leave the rest on the disk.

        Parameters
        ----------
        stop : set it to end

        Raises
        ------
        ConfigError
            The outbox cannot be used; nothing was started.
        """
        await self._outbox.open()
        self._tell_start()
        self._outbox.on_beat = self._pulse.beating("outbox")
        self._publisher.on_beat = self._pulse.beating("publisher")
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._outbox.run(), name="outbox")
                publisher = group.create_task(self._publisher.run(), name="publisher")
                timers = [
                    group.create_task(self._close_on_time(), name="batcher"),
                    group.create_task(self._look_at_clock(), name="clock"),
                ]
                heart = group.create_task(self._tell_alive(), name="heartbeat")
                sources = [
                    group.create_task(self._supervise(source), name=f"source {source.name}")
                    for source in self._sources
                ]
                if self._manager is not None:
                    self._manager.ready()
                await stop.wait()
                if self._manager is not None:
                    self._manager.stopping()
                await _cancel(*timers, *sources)
                self._refused_ns = 0
                await self._close(urgent=True)
                await self._empty(asyncio.get_running_loop().time() + _STOP_S)
                await _cancel(publisher, writer, heart)
        finally:
            await self._outbox.close()
        log.info("agent stopped outbox_batches=%d", self._outbox.counts.batches)

    async def drained(self) -> None:
        """Wait until all sources have ended and the gateway has acknowledged everything."""
        while not self._is_drained():
            self._progress.clear()
            await self._progress.wait()

    def health(self) -> dict[str, Any]:
        """Return counters: rows by kind, dropped by reason, outbox, connection, sources."""
        outbox, publisher = self._outbox, self._publisher
        counts = outbox.counts
        losses: dict[str, dict[str, int]] = {}
        for (reason, kind), rows in sorted(counts.lost.items()):
            losses.setdefault(reason, {})[kind] = rows
        return {
            "boot": self.boot,
            "connected": publisher.connected,
            "rows": dict(self._batcher.rows),
            "dropped": dict(self._batcher.dropped),
            "outbox": {
                "rows": counts.rows,
                "batches": counts.batches + outbox.waiting,
                "bytes": counts.bytes,
                "lost": dict(outbox.lost),
                "losses": losses,
                "dead_letters": counts.dead_letters,
                "disk_full": outbox.is_squeezed,
            },
            "disk": self._wear.per_day(),
            "clock": {"now_ns": self._now_ns()} if self._clock is None else self._clock.state(),
            "publisher": dict(publisher.counts),
            "sources": [
                {"name": source.name, "state": self._states[source.name], **source.health()}
                for source in self._sources
            ],
        }

    async def _emit(self, measurements: Sequence[Measurement]) -> None:
        if not self._outbox.has_room:
            for measurement in measurements:
                if not isinstance(measurement, Tap):
                    self._refused["ble" if isinstance(measurement, Reading) else "sample"] += 1
            measurements = [m for m in measurements if isinstance(m, Tap)]
        if self._batcher.add(measurements):
            urgent = self._batcher.urgent
            await self._outbox.put(self._batcher.close_full(self._now_ns()), urgent=urgent)
        if self._batcher.pending or self._refused:
            self._some.set()

    async def _close_on_time(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(self.settings.batch.max_ms / 1000)
            self._some.clear()
            await self._close()

    async def _close(self, *, urgent: bool = False) -> None:
        now_ns = self._now_ns()
        batches = self._batcher.close(now_ns)
        # What was refused is numbered too, so that the gateway's count is the ledger's.
        if self._refused and abs(now_ns - self._refused_ns) >= _LOSS_EVERY_NS:
            self._refused_ns = now_ns
            reason = REASON_DISK if self._outbox.is_squeezed else REASON_FULL
            batches += [
                self._batcher.stand_in(kind, rows, reason, now_ns)
                for kind, rows in self._refused.items()
            ]
            self._refused.clear()
        await self._outbox.put(batches, urgent=urgent)
        if self._refused:
            self._some.set()

    async def _look_at_clock(self) -> None:
        while self._clock is not None:
            self._clock.look()
            if self._clock.wants_boot:
                # Time goes back: what was before is closed, and another boot begins.
                await self._close(urgent=True)
                self.boot = secrets.token_hex(8)
                self._batcher.begin_boot(self.boot)
                self._publisher.begin_boot(self.boot)
                self._clock.go_back()
            await asyncio.sleep(_LOOK_S)

    async def _tell_alive(self) -> None:
        manager = self._manager
        if manager is None or manager.alive_every_s is None:
            return
        was_hung: list[str] = []
        while True:
            hung = self._pulse.hung()
            if hung:
                if hung != was_hung:
                    log.error("agent hangs parts=%s; the heartbeat stops", ",".join(hung))
            else:
                manager.alive()
                batches = self._outbox.counts.batches
                state = "connected" if self._publisher.connected else "no broker"
                manager.status(f"{state}, {batches} batches wait")
            was_hung = hung
            await asyncio.sleep(min(manager.alive_every_s, _BEAT_S))

    async def _supervise(self, source: Source) -> None:
        attempt = 0

        async def emit(measurements: Sequence[Measurement]) -> None:
            nonlocal attempt
            if attempt:
                attempt = 0
                log.info("source recovered name=%s", source.name)
            await self._emit(measurements)

        while True:
            self._states[source.name] = "running"
            try:
                await source.run(emit)
            except SourceUnavailable as error:
                self._states[source.name] = "unavailable"
                if not attempt:
                    log.warning("source lost name=%s reason=%r", source.name, str(error))
                ceiling_s = min(_RESTART_MAX_S, _RESTART_MIN_S * 2**attempt)
                attempt = min(attempt + 1, 16)
                await asyncio.sleep(ceiling_s * (0.5 + 0.5 * self._jitter()))
            else:
                self._states[source.name] = "ended"
                log.info("source ended name=%s", source.name)
                self._progress.set()
                return

    async def _empty(self, deadline_s: float) -> None:
        # Publishing goes on while the gateway answers; without a broker nobody is waited for.
        loop = asyncio.get_running_loop()
        while self._outbox.waiting or (self._outbox.counts.batches and self._publisher.connected):
            self._progress.clear()
            try:
                await asyncio.wait_for(self._progress.wait(), min(0.1, deadline_s - loop.time()))
            except TimeoutError:
                if loop.time() >= deadline_s:
                    return

    def _committed(self) -> None:
        self._publisher.wake()
        self._progress.set()

    def _is_drained(self) -> bool:
        ended = all(state == "ended" for state in self._states.values())
        held = self._batcher.pending + self._outbox.waiting + self._outbox.counts.batches
        return ended and not held and not self._refused

    def _status(self, state: str) -> bytes:
        return encode_status(state, self.health())

    def _tell_start(self) -> None:
        settings = self.settings
        log.info(
            "agent started store=%s agent=%s sources=%d outbox_batches=%d",
            settings.store,
            settings.agent,
            len(self._sources),
            self._outbox.counts.batches,
        )
        if self._clock is not None:
            self._clock.begin(self._outbox.counts.newest_ns)
        if settings.identity == "raw":
            log.warning('identity = "raw": raw tags leave this agent; for the laboratory only')


def make_sources(settings: EdgeSettings, *, base: Path, now_ns: Callable[[], int]) -> list[Source]:
    """Make the sources of a configuration.

    Parameters
    ----------
    settings : checked
    base : the folder that paths in the tables are relative to
    now_ns : [ns] the clock

    Returns
    -------
    sources : not yet running

    Raises
    ------
    ConfigError
        A table or a file of the shop's profiles is wrong, or two sources have one name.
    """
    registry = None
    if settings.profiles and settings.source:
        from edge.profiles import read_profiles

        registry = read_profiles(settings.profiles)
    sources: list[Source] = []
    for number, table in enumerate(settings.source, 1):
        subject = f"[[source]] number {number}"
        source = make_source(table, subject=subject, base=base, now_ns=now_ns, registry=registry)
        if source.name in {other.name for other in sources}:
            raise ConfigError(f"{subject}: expected a name of its own, got {source.name!r} again")
        sources.append(source)
    return sources


async def _cancel(*tasks: "asyncio.Task[None]") -> None:
    # Again and again: `asyncio.wait_for` may swallow a cancellation that comes in the moment in
    # which it ends (Python 3.11, mended in 3.12), and the task would go on for ever.
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_S)
