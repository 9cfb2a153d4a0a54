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
from gateway.agent_watch import AgentWatch
from gateway.agents import Agents
from gateway.assembly import EngineMaker, lock_state_dir, make_subscriber, read_engine_maker
from gateway.commit import Accepted, Committer
from gateway.driver import Driver
from gateway.events import Event, EventFinder
from gateway.gate import Gate
from gateway.http import HttpServer, bind_socket
from gateway.influx import InfluxSink
from gateway.intake import Intake
from gateway.journal import Journal
from gateway.live import EVENTS_MAX, LiveHub, LivePicture
from gateway.points import PointMaker
from gateway.publisher import EventPublisher
from gateway.result_store import ResultStore
from gateway.settings import GatewaySettings, check_settings, prepare_state_dir
from gateway.showing import Showing
from gateway.stepper import Stepper, StepResult
from gateway.store_tags import with_pseudonymous_staff
from ingest.store_file import read_store
from ingest.topics import live_topic

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
IDLE_STEP_S = 0.25
STOP_S = 5.0


class Service:
    """One gateway for one store.

    Parameters
    ----------
    settings : with absolute paths, as `gateway.settings.read_settings` gives them
    now_ns : this machine's clock
    make_engine : gets the tag table's `names`; default: the engine of `analytics`

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
        self.http_port = 0
        self.is_replaying = True
        self._make_engine = make_engine or read_engine_maker(self.store, Path(settings.store))
        self._listeners: list[Callable[[Output], None]] = []
        self._stopping = asyncio.Event()
        self._stop_thread = threading.Event()
        self._is_finished = False
        self._new_events: deque[dict[str, Any]] = deque(maxlen=4 * EVENTS_MAX)
        self._engine_pool = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._sink_pool = ThreadPoolExecutor(1, thread_name_prefix="influxdb")
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
        assert self._runner is not None
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
        result = await self._in(self._engine_pool, self._finish)
        self._tell(result.events)
        while not self._has_ended() and time.monotonic() < until:
            counts = await asyncio.to_thread(self.results.counts)
            waits_for_events = counts["events_queued"] and self.subscriber.is_connected
            if not waits_for_events and not counts["lines_queued"]:
                break
            self._publisher.wake()
            await self._sleep(0.05)

    async def stop(self) -> None:
        """End streams, tasks and threads, and close the files; safe to call twice."""
        if self._lock_file is None:
            return
        self._stopping.set()
        self._stop_thread.set()
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
        for pool in (self._engine_pool, self._sink_pool):
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
        self.agents = Agents(silent_s=settings.alarms.agent_silent_s)
        self.driver = Driver(
            self.store,
            self._make_engine,
            clock=settings.clock,
            silent_s=settings.alarms.agent_silent_s,
            report=_LOG.warning,
        )
        self.finder = EventFinder(self.store, queue_long=settings.alarms.queue_long)
        self._points = (
            PointMaker(self.store, self.gate, identity=influx.identity) if influx else None
        )
        self._agent_watch = AgentWatch(
            self.agents,
            self.finder,
            self._points,
            self.results,
            store_id=self.store.id,
            clock=settings.clock,
        )
        self._stepper = Stepper(
            store_id=self.store.id,
            driver=self.driver,
            finder=self.finder,
            points=self._points,
            results=self.results,
        )
        self.subscriber = make_subscriber(settings, self.store.id, self.now_ns)
        self._publisher = EventPublisher(self.subscriber, self.results)
        self.committer = Committer(
            self.journal,
            self.subscriber,
            store=self.store.id,
            identity=settings.identity,
            batch_bytes_max=settings.journal.batch_max_kb * 1024,
        )
        self._intake = Intake(
            self.subscriber,
            self.committer,
            self.journal,
            self.results,
            self.agents,
            tell_taps=self._stepper.tell_taps,
            group_s=settings.journal.commit_ms / 1000.0,
            compares_clocks=settings.clock == "wall",
        )
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
            group.create_task(self._publisher.run(self._stopping), name="events")
            if self.influx is not None:
                group.create_task(self._influx_loop(self.influx), name="influxdb")

    async def _engine_loop(self) -> None:
        read = await self._in(self._engine_pool, self._replay)
        if read:
            _LOG.info("journal replayed: %d batches", read)
        self.is_replaying = False
        while not self._stopping.is_set():
            batches, told = await self._intake.next_batches(IDLE_STEP_S)
            if not self._is_finished:
                result = await self._in(self._engine_pool, self._step, batches, told)
                self._tell(result.events)

    def _replay(self) -> int:
        return self._stepper.replay(
            self.journal,
            self.committer.decode_again,
            up_to_id=self.journal.last_id(),
            now_ns=self.now_ns,
            stopping=self._stop_thread.is_set,
        )

    def _step(self, batches: list[Accepted], told: list[tuple[str, bool]]) -> StepResult:
        fresh = [b for b in batches if b.journal_id > self._stepper.journal_id]
        now_ns = self.now_ns()
        if not self.subscriber.is_connected:
            self.driver.watermark.excuse(now_ns)
        elif self._intake.is_behind:
            # What has arrived and waits here is not late because this machine is behind.
            now_ns = fresh[-1].received_ns if fresh else 0
        result = self._stepper.step(fresh, now_ns)
        # An agent that says goodbye must not let time pass its own last batches.
        for agent, is_online in told:
            self.driver.watermark.set_online(agent, is_online)
        return self._show(result)

    def _finish(self) -> StepResult:
        self._is_finished = True
        return self._show(self._stepper.finish())

    def _show(self, result: StepResult) -> StepResult:
        """Update the picture and show the output to listeners; in the engine's thread."""
        if result.has_output:
            self.picture.update(self.driver.engine.live(), self.driver.tags)
            for listener in self._listeners:
                listener(result.output)
        return result

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            self._new_events.extend(event.as_cloud_event(self.store.id) for event in events)
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

    async def _influx_loop(self, sink: InfluxSink) -> None:
        wait_s = 0.0
        while not await self._sleep(wait_s):
            wait_s = await self._in(self._sink_pool, sink.flush_once)

    def _is_drained(self) -> bool:
        return (
            not self.is_replaying
            and self._intake.has_all
            and self._stepper.journal_id >= self.journal.last_id()
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
