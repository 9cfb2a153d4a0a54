"""The keeper of the live engine: over restarts, and when rows come late.

Rules of the file: everything but `Recomputation.catch_up` runs in the engine's thread,
so nothing changes while it is saved or replaced. The journal keeps what the oldest
checkpoint needs; when it is full, the oldest checkpoint goes first, so late rows reach
back less far, and nothing else is lost.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from analytics.store import Store
from gateway.checkpoints import Checkpoints
from gateway.commit import Accepted
from gateway.driver import Driver
from gateway.engine_room import CheckpointRefusedError, EngineRoom
from gateway.events import EventFinder
from gateway.gate import Gate
from gateway.journal import Journal
from gateway.points import PointMaker
from gateway.recompute import Parts, Reached, Recomputation
from gateway.replacement import Replaced, replace_after
from gateway.result_store import ResultStore, Step
from gateway.settings import GatewaySettings
from gateway.stepper import Stepper, StepResult
from ingest.columns import DecodedBatch

_LOG = logging.getLogger(__name__)
HOUR_NS = 3_600_000_000_000
FULL_CHECKPOINT_S = 60.0
LATE_WAIT_MAX_S = 600.0


class Keeper:
    """Keeps one engine going.

    Parameters
    ----------
    store : the store
    settings : of the gateway
    room : makes, saves and loads engines
    journal, results, gate : the service's
    state_dir : the checkpoints are in it
    decode : bytes of a journaled batch to the batch
    monotonic_s : [s] a clock that only goes forward

    Attributes
    ----------
    driver : the live one; another one after a recomputation
    finder, points : the live ones
    stepper : steps the driver
    is_replaying : the journal is being read again
    is_finished : all visits were ended; nothing may be fed or saved any more
    """

    def __init__(
        self,
        store: Store,
        settings: GatewaySettings,
        room: EngineRoom,
        *,
        journal: Journal,
        results: ResultStore,
        gate: Gate,
        state_dir: Path,
        decode: Callable[[bytes], DecodedBatch],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._store, self._settings, self._room, self._gate = store, settings, room, gate
        self._journal, self._results, self._decode = journal, results, decode
        self._monotonic_s = monotonic_s
        self._scratch = state_dir / "recomputation.sqlite"
        self._checkpoints = Checkpoints(state_dir / "checkpoints", results, room)
        self._saved_s = monotonic_s()
        self._late_seen = (0, 0.0)
        self._late_since_s: float | None = None
        self._held_id: int | None = None
        self.is_finished = False
        self.is_replaying = True
        parts, step = self._newest()
        self.driver, self.finder, self.points = parts.driver, parts.finder, parts.points
        self.driver.dirty_ns = results.state("dirty_ns")
        self.stepper = Stepper(
            store_id=store.id,
            driver=self.driver,
            finder=self.finder,
            points=self.points,
            results=results,
        )
        if step is not None:
            self.stepper.go_on_from(step)

    def replay(
        self, *, up_to_id: int, now_ns: Callable[[], int], stopping: Callable[[], bool]
    ) -> int:
        """Bring the engine to the journal's end; return how many batches were read.

        Parameters
        ----------
        up_to_id : the newest batch when the service started
        now_ns : this machine's clock
        stopping : ends it early
        """
        read = self.stepper.replay(
            self._journal, self._decode, up_to_id=up_to_id, now_ns=now_ns, stopping=stopping
        )
        self.is_replaying = stopping()
        return read

    def finish(self) -> StepResult:
        """End all visits and store what came of it."""
        self.is_finished = True
        return self.stepper.finish()

    def step(self, batches: Sequence[Accepted], now_ns: int) -> StepResult:
        """Do one step; save a checkpoint when one is due.

        Parameters
        ----------
        batches : new ones, in the order of the journal
        now_ns : [ns] this machine's clock
        """
        result = self.stepper.step(batches, now_ns)
        waited_s = self._monotonic_s() - self._saved_s
        is_full = self._journal.is_over_full and waited_s >= FULL_CHECKPOINT_S
        if waited_s >= self._settings.journal.checkpoint_s or is_full:
            self.save()
        return result

    def save(self) -> None:
        """Save a checkpoint of the last step if nothing was fed since."""
        step = self.stepper.last_step
        if step is None or not self._checkpoints.is_possible:
            return
        self._saved_s = self._monotonic_s()
        try:
            self._checkpoints.write(step, self.driver, self.finder, self.points)
        except (OSError, sqlite3.OperationalError) as error:
            _LOG.warning(
                "checkpoint cannot be written (%s); a restart will read more of the journal", error
            )

    def is_late_work_due(self) -> bool:
        """Tell whether late rows are to be computed again now.

        They are when no more came for a while, or after a long while in any case.
        """
        if self.driver.dirty_ns is None or self.is_replaying or self.is_finished:
            return False
        now_s, late = self._monotonic_s(), sum(self.driver.counts.late.values())
        if self._late_since_s is None:
            self._late_since_s = now_s
        if late != self._late_seen[0] or not self._late_seen[1]:
            self._late_seen = (late, now_s)
        quiet_s = now_s - self._late_seen[1]
        return quiet_s >= self._settings.journal.late_quiet_s or (
            now_s - self._late_since_s >= LATE_WAIT_MAX_S
        )

    def begin_again(self) -> Recomputation:
        """Begin to compute again from before the earliest late row."""
        again = Recomputation(
            make_parts=self._new_parts,
            journal=self._journal,
            decode=self._decode,
            checkpoints=self._checkpoints,
            scratch=self._scratch,
            tick_ns=self._store.rules.tick_ns,
        )
        self._late_seen, self._late_since_s = (0, 0.0), None
        self._held_id = 0
        again.begin(self.driver.dirty_ns or 0)
        self._held_id = 0 if again.after is None else again.after.journal_id
        return again

    def reached(self) -> Reached:
        """Return how far the live engine is; any thread may ask between two steps."""
        closed_ns = self.driver.closed_ns or 0  # first: batches may be newer, ticks must not
        return Reached(self.stepper.journal_id, closed_ns)

    def swap(self, again: Recomputation) -> Replaced:
        """Let a recomputation take the live engine's place, and its rows the stored ones'.

        Parameters
        ----------
        again : caught up
        """
        target = self.reached()
        again.go_to(target)
        parts, live = again.parts, self.driver
        made = again.close()
        replaced = replace_after(
            self._results,
            made,
            again.after,
            Step(journal_id=target.journal_id, watermark_ns=target.closed_ns),
            finder=EventFinder(self._store, queue_long=self._settings.alarms.queue_long),
            points=self.points,
            dirty_ns=parts.driver.dirty_ns,
        )
        parts.driver.go_on_for(live)
        self.driver = self.stepper.driver = parts.driver
        self.finder.restore(parts.finder.state())
        if self.points is not None and parts.points is not None:
            self.points.restore(parts.points.state())
        step = Step(
            id=replaced.step_id, journal_id=target.journal_id, watermark_ns=target.closed_ns
        )
        self.stepper.go_on_from(step)
        self._checkpoints.tidy()
        self.save()
        self.give_up(again)
        return replaced

    def give_up(self, again: Recomputation | None) -> None:
        """Forget a recomputation that is done or was interrupted.

        Parameters
        ----------
        again : its file is deleted; None when it could not begin
        """
        if again is not None:
            again.discard()
        self._held_id = None

    def trim(self, now_ns: int, archived_id: int | None) -> None:
        """Delete what is no longer needed of journal and checkpoints; from any thread.

        Parameters
        ----------
        now_ns : [ns] this machine's clock
        archived_id : the newest batch that is in the archive, None without an archive
        """
        keep_ns = round(self._settings.journal.keep_h * HOUR_NS)
        listed = self._checkpoints.listed()
        while len(listed) > 1 and (
            self._journal.is_over_full or listed[0].watermark_ns - listed[-1].watermark_ns > keep_ns
        ):
            self._checkpoints.drop(listed.pop())
            if self._journal.is_over_full:
                break  # one at a time: what it held may be enough
        up_to_id = self._results.progress_id()
        if listed:
            up_to_id = min(up_to_id, listed[-1].step.journal_id)
        elif self._checkpoints.is_possible:
            return
        for held_id in (archived_id, self._held_id):
            if held_id is not None:
                up_to_id = min(up_to_id, held_id)
        if self._journal.trim(up_to_id, before_ns=now_ns - keep_ns):
            self._results.forget_steps(self._journal.first_id())

    def _newest(self) -> tuple[Parts, Step | None]:
        if self._checkpoints.is_possible:
            for listed in self._checkpoints.listed():
                parts = self._new_parts()
                try:
                    self._checkpoints.load(listed, parts.driver, parts.finder, parts.points)
                except CheckpointRefusedError as error:
                    _LOG.warning("checkpoint %s is passed over: %s", listed.name, error)
                    continue
                return parts, listed.step
        return self._new_parts(), None

    def _new_parts(self) -> Parts:
        settings = self._settings
        driver = Driver(
            self._store,
            self._room.make,
            clock=settings.clock,
            silent_s=settings.alarms.agent_silent_s,
            report=_LOG.warning,
        )
        finder = EventFinder(self._store, queue_long=settings.alarms.queue_long)
        influx = settings.influxdb
        points = PointMaker(self._store, self._gate, identity=influx.identity) if influx else None
        return Parts(driver, finder, points)
