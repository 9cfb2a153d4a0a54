"""One step of the gateway: batches in, rows, points and events out, all stored at once.

Rules of the file: everything runs in one thread. A step is recorded with the newest
batch it had seen and the watermark it closed up to; a restart replays the journal
step by step and throws away what was stored before, so the engine is where it was and
nothing is made twice. Without recorded steps (a new or lost result store) the replay
stores everything again, by id.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from analytics.rows import Output
from gateway.commit import Accepted
from gateway.driver import Driver
from gateway.events import Event, EventFinder, Message, encode_events
from gateway.flow import transitions_between
from gateway.journal import Journal
from gateway.points import HOUR_NS, PointMaker, encode_points
from gateway.result_store import ResultStore, Step
from gateway.taps import Taps
from gateway.visit_history import histories
from ingest.columns import DecodedBatch

REPLAY_CHUNK = 256
_ALWAYS_NS = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step made."""

    output: Output
    events: tuple[Event, ...]
    has_output: bool = False
    """Whether ticks were closed or the engine was finished."""


class Stepper:
    """Runs steps.

    Parameters
    ----------
    store_id : the store's id, for topics and sources of events
    driver : with its engine
    finder : finds events in outputs
    points : makes lines; None when there is no InfluxDB
    results : where everything is stored
    """

    def __init__(
        self,
        *,
        store_id: str,
        driver: Driver,
        finder: EventFinder,
        points: PointMaker | None,
        results: ResultStore,
    ) -> None:
        self.driver = driver
        self._store_id = store_id
        self._finder = finder
        self._points = points
        self._results = results
        self._last = Step(journal_id=0, watermark_ns=None)
        self._journal_id = 0

    @property
    def journal_id(self) -> int:
        """The newest batch that the engine has seen."""
        return self._journal_id

    @property
    def last_step(self) -> Step | None:
        """The last recorded step if nothing was fed since: a checkpoint may be made of it."""
        last = self._last
        return last if last.id and last.journal_id == self._journal_id else None

    def go_on_from(self, step: Step) -> None:
        """Go on where a recorded step ended; the driver is there already.

        Parameters
        ----------
        step : recorded
        """
        self._last, self._journal_id = step, step.journal_id

    def step(self, batches: Sequence[Accepted], now_ns: int) -> StepResult:
        """Feed batches, close the ticks that are due, store what came of it.

        Parameters
        ----------
        batches : new ones, in the order of the journal; may be empty. Their taps were told
            by `tell_taps`
        now_ns : [ns] this machine's clock

        Returns
        -------
        StepResult
            It is stored.
        """
        taps = self.driver.feed_all((a.batch, a.received_ns) for a in batches)
        if batches:
            self._journal_id = batches[-1].journal_id
        due_ns = self.driver.due_ns(now_ns)
        passed_by = self.driver.pass_bys
        output = Output() if due_ns is None else self.driver.advance(due_ns)
        return self._store(output, taps, due_ns, pass_bys=self.driver.pass_bys - passed_by)

    def tell_taps(self, batches: Sequence[Accepted]) -> list[Event]:
        """Queue the events of taps at once; changes nothing of the engine.

        Parameters
        ----------
        batches : of any kind, just journaled. After a crash in between the replay tells
            their taps (again), with the same ids

        Returns
        -------
        list
            The events, stored.
        """
        events = [
            self._finder.tapped(*tap)
            for accepted in batches
            if accepted.batch.kind == "tap"
            for tap in self.driver.taps_of(accepted.batch, accepted.received_ns)
        ]
        if events:
            self._results.queue(events=encode_events(events, self._store_id))
        return events

    def finish(self) -> StepResult:
        """End all visits and store what came of it, also of the minute and hour that are open."""
        passed_by = self.driver.pass_bys
        output = self.driver.finish()
        passed_by = self.driver.pass_bys - passed_by
        result = self._store(output, [], None, complete_ns=_ALWAYS_NS, pass_bys=passed_by)
        if self._points is not None and self.driver.closed_ns is not None:
            last_ns = max([self.driver.closed_ns, *(dwell.end_ns for dwell in output.dwells)])
            self._queue_hours(-(-last_ns // HOUR_NS) * HOUR_NS)
        return StepResult(output=result.output, events=result.events, has_output=True)

    def replay(
        self,
        journal: Journal,
        decode: Callable[[bytes], DecodedBatch],
        *,
        up_to_id: int,
        now_ns: Callable[[], int],
        stopping: Callable[[], bool],
    ) -> int:
        """Bring the engine to the journal's end; return how many batches were read.

        It begins after the step it was told to go on from, else at the journal's beginning.

        Parameters
        ----------
        journal : with everything that was accepted and kept
        decode : bytes of a journaled batch to the batch
        up_to_id : the newest batch when the service started
        now_ns : this machine's clock, for batches that no step had seen
        stopping : ends the replay early
        """
        stored_id, steps = self._results.progress(after_step=self._last.id)
        self._results.forget_steps(journal.first_id())
        read = 0
        for step in steps:
            if stopping():
                return read
            read += self._feed_again(journal, decode, min(step.journal_id, up_to_id))
            if step.watermark_ns is not None and step.journal_id <= up_to_id:
                self._forget(self.driver.advance(step.watermark_ns))
                self._last = step
        read += self._feed_again(journal, decode, min(stored_id, up_to_id))
        while not stopping():
            rows = journal.read(self._journal_id, up_to_id, REPLAY_CHUNK)
            if not rows:
                break
            for row_id, received_ns, _, payload in rows:
                accepted = Accepted(
                    journal_id=row_id, received_ns=received_ns, batch=decode(payload)
                )
                self.tell_taps([accepted])
                self.step([accepted], received_ns)
            read += len(rows)
        # No agent could be heard while the gateway was away: silence begins to count now.
        self.driver.watermark.excuse(now_ns())
        if read and not stopping():
            self.step([], now_ns())
        return read

    def _feed_again(
        self, journal: Journal, decode: Callable[[bytes], DecodedBatch], up_to_id: int
    ) -> int:
        read = 0
        while self._journal_id < up_to_id:
            rows = journal.read(self._journal_id, up_to_id, REPLAY_CHUNK)
            if not rows:
                break
            for row_id, received_ns, _, payload in rows:
                taps = self.driver.feed(decode(payload), received_ns)
                if taps is not None and self._points is not None:
                    self._points.count_taps(taps.t_ns, taps.tap_point)
                self._journal_id = row_id
            read += len(rows)
        return read

    def _forget(self, output: Output) -> None:
        """Let the finder and the point maker see an output that is stored already."""
        self._finder.find(output)
        if self._points is not None and self.driver.closed_ns is not None:
            self._points.note_told(output)
            self._points.of_taps(self.driver.closed_ns)
            self._points.of_hour(self.driver.closed_ns, lambda _from, _to: [])

    def _store(
        self,
        output: Output,
        taps: Sequence[Taps],
        due_ns: int | None,
        *,
        complete_ns: int | None = None,
        pass_bys: int = 0,
    ) -> StepResult:
        """Store an output; `complete_ns` [ns] says where event time is if not where ticks are."""
        events = self._finder.find(output)
        messages = encode_events(events, self._store_id)
        lines = self._lines(
            output, taps, self.driver.closed_ns if complete_ns is None else complete_ns
        )
        is_empty = not any(getattr(output, name) for name in output.__dataclass_fields__)
        if due_ns is not None or events or lines or pass_bys or not is_empty:
            self._save(output, due_ns, lines, messages, pass_bys)
        return StepResult(output=output, events=tuple(events), has_output=due_ns is not None)

    def _save(
        self,
        output: Output,
        due_ns: int | None,
        lines: list[bytes],
        messages: list[Message],
        pass_bys: int,
    ) -> None:
        step = Step(journal_id=self._journal_id, watermark_ns=due_ns)
        step_id = self._results.save(
            output,
            step,
            closed_ns=self.driver.closed_ns or 0,
            trail=self.driver.trail(output),
            lines=lines,
            events=messages,
            pass_bys=pass_bys,
            dirty_ns=self.driver.dirty_ns,
        )
        if due_ns is not None:
            self._last = replace(step, id=step_id)
            self._queue_hours(due_ns)

    def _queue_hours(self, complete_ns: int) -> None:
        """Queue the transitions of the hours that are over."""
        if self._points is None:
            return
        hourly = self._points.of_hour(
            complete_ns,
            lambda from_ns, to_ns: transitions_between(self._results, from_ns, to_ns, layer="main"),
        )
        if hourly:
            self._results.queue(lines=encode_points(hourly))

    def _lines(self, output: Output, taps: Sequence[Taps], complete_ns: int | None) -> list[bytes]:
        if self._points is None:
            return []
        for found in taps:
            self._points.count_taps(found.t_ns, found.tap_point)
        before = histories(self._results, output.visits)
        points = self._points.of_output(output, before)
        if complete_ns is not None:
            points += self._points.of_taps(complete_ns)
        return encode_points(points)
