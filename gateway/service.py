"""The gateway: everything of it, started and stopped in order.

Rules of the file: whatever can be wrong (port, directory, key, store file) is found
before anything starts; tasks have names and live in one task group; every queue is
bounded and a full one holds back what feeds it, down to the agents' outboxes; the
engine has its own thread, so the loop stays responsive. Stopping takes at most a few
seconds and loses nothing that was acknowledged.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from analytics.rows import Output
from gateway.agent_clocks import AgentClocks
from gateway.agent_watch import AgentWatch
from gateway.agents import Agents
from gateway.assembly import (
    archive_turn,
    lock_state_dir,
    make_archive,
    make_committer,
    make_subscriber,
)
from gateway.commit import Accepted
from gateway.driver import Driver
from gateway.engine_room import EngineMaker, EngineRoom, read_engine_room
from gateway.events import Event, EventFinder
from gateway.gate import Gate
from gateway.http import HttpServer, bind_socket
from gateway.influx import InfluxSink
from gateway.intake import Intake
from gateway.journal import Journal
from gateway.keeper import Keeper
from gateway.late_work import LateWork
from gateway.live import EVENTS_MAX, LiveHub, LivePicture
from gateway.publisher import EventPublisher
from gateway.result_store import ResultStore
from gateway.settings import GatewaySettings, check_settings, prepare_state_dir
from gateway.showing import Showing
from gateway.stepper import StepResult
from gateway.store_tags import with_pseudonymous_staff
from gateway.webhooks import Webhooks
from ingest.service_manager import ServiceManager
from ingest.store_file import read_store
from ingest.topics import live_topic

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
IDLE_STEP_S, STOP_S = 0.25, 5.0


class Service:
    """One gateway for one store.

    Parameters
    ----------
    settings : with absolute paths, as `gateway.settings.read_settings` gives them
    now_ns : this machine's clock
    make_engine : gets the tag table's `names`; default: the engine of `analytics`, which
        alone can be saved

    Raises
    ------
    ConfigError
        Settings, key or store file are wrong.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        make_engine: EngineMaker | None = None,
    ) -> None:
        check_settings(settings)
        self.settings = settings
        self.store = with_pseudonymous_staff(read_store(Path(settings.store)), settings.key())
        self.now_ns = now_ns
        self.http_port = self._step_count = 0
        self._manager = ServiceManager()
        self._room = (
            read_engine_room(self.store, Path(settings.store))
            if make_engine is None
            else EngineRoom(make=make_engine)
        )
        self._listeners: list[Callable[[Output], None]] = []
        self._stopping = asyncio.Event()
        self._stop_thread = threading.Event()
        self._new_events: deque[dict[str, Any]] = deque(maxlen=4 * EVENTS_MAX)
        self._engine_pool = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._sink_pool = ThreadPoolExecutor(1, thread_name_prefix="influxdb")
        self._archive_pool = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._runner: asyncio.Task[None] | None = None
        self._lock_file: IO[bytes] | None = None

    async def start(self) -> None:
        """Start; returns when the page answers and the journal's replay has begun.

        Raises
        ------
        ConfigError
            The port is in use or the state directory cannot be used; nothing was started.
        """
        state_dir = prepare_state_dir(self.settings)
        bound = bind_socket(self.settings.http)
        try:
            self._lock_file = lock_state_dir(state_dir)
            self._open(state_dir)
        except BaseException:
            bound.close()
            if self._lock_file is not None:
                self._lock_file.close()
            raise
        self.http_port = bound.getsockname()[1]
        await self._http.start(bound)
        self.subscriber.start()
        if self.settings.identity == "raw":
            _LOG.warning("identity = raw: raw tags are accepted and stored; for laboratories only")
        _LOG.info("gateway of store %s started, page on port %d", self.store.id, self.http_port)
        self._runner = asyncio.create_task(self._run(), name="gateway")
        self._manager.ready()

    @property
    def driver(self) -> Driver:
        """The live driver; another one after late rows were computed again."""
        return self._keeper.driver

    @property
    def is_replaying(self) -> bool:
        """Whether the journal is being read again."""
        return self._keeper.is_replaying

    @property
    def finder(self) -> EventFinder:
        """What finds the events."""
        return self._keeper.finder

    def on_output(self, callback: Callable[[Output], None]) -> None:
        """Have every output of the engine shown to a callback, in the engine's thread.

        Parameters
        ----------
        callback : must not keep the thread for long
        """
        self._listeners.append(callback)

    def counters(self) -> dict[str, Any]:
        """Return what was received, found and sent; counts of rows are unique durable rows."""
        return self._showing.counters()

    async def wait(self) -> None:
        """Return when the service ends; raises what ended it."""
        if self._runner is not None:
            await asyncio.shield(self._runner)

    async def drain_and_finish(self, *, timeout_s: float = 60.0) -> None:
        """Let the engine see everything received, end all visits and flush the sinks.

        Parameters
        ----------
        timeout_s : [s] how long the sinks may take; what is left stays on disk

        Notes
        -----
        Afterwards batches are still journaled, but the engine sees no more of them.
        """
        until = time.monotonic() + timeout_s
        while not self._is_drained() and not self._has_ended() and time.monotonic() < until:
            await self._sleep(0.02)
        while self.driver.dirty_ns is not None and time.monotonic() < until:
            await self._late.compute()
        result = await self._in(self._engine_pool, self._finish)
        self._tell(result.events)
        while not self._has_ended() and time.monotonic() < until:
            counts = await asyncio.to_thread(self.results.counts)
            events = counts["events_queued"] if self.subscriber.is_connected else 0
            if not events + counts["lines_queued"]:
                break
            self._publisher.wake()
            await self._sleep(0.05)

    async def stop(self) -> None:
        """End streams, tasks and threads, and close the files; safe to call twice."""
        if self._lock_file is None:
            return
        self._manager.stopping()
        self._stopping.set()
        self._stop_thread.set()
        self.results.patience.give_up()
        self._intake.stop()
        self._publisher.wake()
        await self._http.stop()
        if self._runner is not None:
            done, _ = await asyncio.wait({self._runner}, timeout=STOP_S)
            if not done:
                self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await asyncio.to_thread(self.subscriber.stop)
        await asyncio.to_thread(self._intake.close)
        if not self._keeper.is_finished and not self.is_replaying:
            await self._in(self._engine_pool, self._keeper.save)
        for pool in (self._engine_pool, self._sink_pool, self._archive_pool):
            await asyncio.to_thread(pool.shutdown)
        if self.influx is not None:
            self.influx.close()
        self.results.close()
        self.journal.close()
        self._lock_file.close()
        self._lock_file = None
        _LOG.info("gateway stopped")

    def _open(self, state_dir: Path) -> None:
        settings = self.settings
        self.journal = Journal(
            state_dir / "journal.sqlite",
            max_bytes=settings.journal.max_mb * 1024 * 1024,
            dead_letters_max=settings.journal.dead_letters_max,
        )
        influx = settings.influxdb
        self.results = ResultStore(
            state_dir / "results.sqlite",
            lines_max=influx.queue_max_lines if influx else 1,
        )
        self.gate = Gate()
        self.webhooks = Webhooks(settings.webhook, self.results, self.gate, now_ns=self.now_ns)
        self.agents = Agents(silent_s=settings.alarms.agent_silent_s)
        self.subscriber = make_subscriber(settings, self.store.id, self.now_ns)
        self._publisher = EventPublisher(self.subscriber, self.results)
        is_wall = settings.clock == "wall"
        self.clocks = AgentClocks(self.journal.newest()) if is_wall else None
        self.committer = make_committer(
            settings, self.store, self.journal, self.subscriber, self.clocks, self.now_ns
        )
        self._keeper = Keeper(
            self.store,
            settings,
            self._room,
            journal=self.journal,
            results=self.results,
            gate=self.gate,
            state_dir=state_dir,
            decode=self.committer.decode_again,
            monotonic_s=time.monotonic,
        )
        self._agent_watch = AgentWatch(
            self.agents,
            self._keeper.finder,
            self._keeper.points,
            self.results,
            store_id=self.store.id,
            clock=settings.clock,
        )
        self._late = LateWork(
            self._keeper,
            in_engine=lambda work, *words: self._in(self._engine_pool, work, *words),
            is_stopping=self._stop_thread.is_set,
            done=self._publisher.wake,
        )
        decode = self.committer.decode_again
        self._archive = make_archive(settings, self.store.id, self.journal, decode)
        self._intake = Intake(
            self.subscriber,
            self.committer,
            self.agents,
            tell_taps=self._keeper.stepper.tell_taps,
            trim=lambda: self._keeper.trim(self.now_ns(), self._archive.archived_id),
            group_s=settings.journal.commit_ms / 1000.0,
            compares_clocks=is_wall,
        )
        self._archive_turn = archive_turn(self._archive, self._intake, self.journal, self.now_ns)
        self.influx = InfluxSink(influx, self.results) if influx else None
        self.picture = LivePicture(self.store)
        self.hub = LiveHub()
        self._showing = Showing(self)
        self._http = HttpServer(settings.http, self._showing, self.results, self.hub)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._intake.run(self._tell), name="intake")
            group.create_task(self._engine_loop(), name="engine")
            group.create_task(self._live_loop(), name="live")
            group.create_task(self._late.run(self._sleep), name="late rows")
            group.create_task(self._publisher.run(self._stopping), name="events")
            group.create_task(self.webhooks.run(self._stopping), name="webhooks")
            archive = self._repeat(self._archive_pool, self._archive_turn)
            group.create_task(archive, name="archive")
            alive = self._manager.keep_alive(self._sleep, self._progress)
            group.create_task(alive, name="watchdog")
            if self.influx is not None:
                flush = self._repeat(self._sink_pool, self.influx.flush_once)
                group.create_task(flush, name="influxdb")

    async def _engine_loop(self) -> None:
        self._manager.status("reading the journal")
        read = await self._in(self._engine_pool, self._replay)
        _LOG.info("journal replayed: %d batches", read)
        self._manager.status("at work")
        while not self._stopping.is_set():
            batches, told = await self._intake.next_batches(IDLE_STEP_S)
            if not self._keeper.is_finished:
                result = await self._in(self._engine_pool, self._step, batches, told)
                self._tell(result.events)
            self._step_count += 1

    def _progress(self) -> object:
        """Return what differs from call to call while the engine goes on."""
        return time.monotonic() if self.is_replaying else self._step_count

    def _replay(self) -> int:
        return self._keeper.replay(
            up_to_id=self.journal.last_id(),
            now_ns=self.now_ns,
            stopping=self._stop_thread.is_set,
        )

    def _step(self, batches: list[Accepted], told: list[tuple[str, bool]]) -> StepResult:
        fresh = [b for b in batches if b.journal_id > self._keeper.stepper.journal_id]
        now_ns = self.now_ns()
        if not self.subscriber.is_connected:
            self.driver.watermark.excuse(now_ns)
        elif self._intake.is_behind:
            # What has arrived and waits here is not late because this machine is behind.
            now_ns = fresh[-1].received_ns if fresh else 0
        result = self._keeper.step(fresh, now_ns)
        # An agent that says goodbye must not let time pass its own last batches.
        for agent, is_online in told:
            self.driver.watermark.set_online(agent, is_online)
        return self._show(result)

    def _finish(self) -> StepResult:
        return self._show(self._keeper.finish())

    def _show(self, result: StepResult) -> StepResult:
        """Update the picture and show the output to listeners; in the engine's thread."""
        if result.has_output:
            self.picture.update(self.driver.engine.live(), self.driver.tags)
            for listener in self._listeners:
                listener(result.output)
        return result

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            shown = events[-4 * EVENTS_MAX :]
            self._new_events.extend(event.as_cloud_event(self.store.id) for event in shown)
            self._publisher.wake()

    async def _live_loop(self) -> None:
        topic = live_topic(self.store.id)
        while not await self._sleep(1.0):
            silent = await asyncio.to_thread(
                self._agent_watch.look, self.now_ns(), self.driver.closed_ns
            )
            self._tell(silent)
            events = list(self._new_events)[-EVENTS_MAX:]
            self._new_events.clear()
            message = self.picture.message(self._showing.alarms(), events)
            self.hub.send(message)
            self.subscriber.publish(topic, self._showing.live_for_mqtt(message), qos=0)

    async def _repeat(self, pool: ThreadPoolExecutor, work: Callable[[], float]) -> None:
        """Do work in a thread again and again, as many seconds apart as it says."""
        wait_s = 0.0
        while not await self._sleep(wait_s):
            wait_s = await self._in(pool, work)

    def _is_drained(self) -> bool:
        return (
            not self.is_replaying
            and self._intake.has_all
            and self._keeper.stepper.journal_id >= self.journal.last_id()
        )

    def _has_ended(self) -> bool:
        return self._runner is None or self._runner.done()

    async def _sleep(self, seconds: float) -> bool:
        """Wait; return whether the service is stopping."""
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return self._stopping.is_set()
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _in(
        self, pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: object
    ) -> Coroutine[Any, Any, T]:
        async def run() -> T:
            return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)

        return run()
