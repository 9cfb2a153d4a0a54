"""Late rows: the stretch they touch is computed again, as if they had come in time.

A second engine goes on from a checkpoint older than the earliest late row, gets every
batch that the journal has since then, in the order of their rows' times, and closes
ticks as it goes. Its rows wait in a results file of their own. When it has caught up
with the live engine it takes that one's place, and its rows that of the stored ones
(`gateway.replacement`). So in the end the store holds what the whole input gives
(architecture, invariant 1).

Rules of the file: the live engine goes on meanwhile; what is held in memory is one
second engine. Rows from before the oldest checkpoint kept, while the journal no longer
begins at the beginning, are counted as lost to the analysis.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from analytics.rows import Output
from gateway.checkpoints import Checkpoints, Listed
from gateway.driver import Driver
from gateway.engine_room import CheckpointRefusedError
from gateway.events import EventFinder
from gateway.journal import Journal
from gateway.points import PointMaker, encode_points
from gateway.result_store import ResultStore, Step
from ingest.columns import DecodedBatch

_LOG = logging.getLogger(__name__)
STRETCH_NS = 5_000_000_000
"""Ticks are closed in stretches of about this length: fewer and larger ones are cheaper."""
CLOSE_NS = 5_000_000_000
ROUNDS_MAX = 50


@dataclass(frozen=True, slots=True)
class Parts:
    """A driver with its engine, and what looks at its outputs."""

    driver: Driver
    finder: EventFinder
    points: PointMaker | None


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the live engine is: the newest batch it has and [ns] where ticks are closed."""

    journal_id: int
    closed_ns: int


class Recomputation:
    """One stretch that is computed again.

    Parameters
    ----------
    make_parts : makes new ones, with an engine that knows nothing
    journal : with all batches since the checkpoint
    decode : bytes of a journaled batch to the batch
    checkpoints : where it may begin
    scratch : the results file it fills; replaced when it exists
    tick_ns : [ns] the length of a tick
    """

    def __init__(
        self,
        *,
        make_parts: Callable[[], Parts],
        journal: Journal,
        decode: Callable[[bytes], DecodedBatch],
        checkpoints: Checkpoints,
        scratch: Path,
        tick_ns: int,
    ) -> None:
        self._make_parts = make_parts
        self._journal = journal
        self._decode = decode
        self._checkpoints = checkpoints
        self._scratch = scratch
        self._tick_ns = tick_ns
        self._fed_id = 0
        self.after: Step | None = None
        self.too_late = False
        self._results: ResultStore | None = None
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """The driver, finder and point maker, once it has begun."""
        assert self._parts is not None
        return self._parts

    def begin(self, dirty_ns: int) -> None:
        """Choose where to begin, and make the engine that begins there.

        Parameters
        ----------
        dirty_ns : [ns] the time of the earliest late row
        """
        found = self._start_before(dirty_ns)
        self._parts, start = found
        self.after = None if start is None else start.step
        self._fed_id = 0 if start is None else start.step.journal_id
        for path in (self._scratch, *_companions(self._scratch)):
            path.unlink(missing_ok=True)
        self._results = ResultStore(self._scratch, lines_max=1 << 40)
        self._results.patience.give_up()  # a disk that refuses ends it; it begins again later

    def catch_up(self, reach: Callable[[], Reached], stopping: Callable[[], bool]) -> bool:
        """Compute until close behind the live engine; return False when told to stop.

        Parameters
        ----------
        reach : how far the live engine is now
        stopping : ends it early
        """
        for _ in range(ROUNDS_MAX):
            target = reach()
            if not self.go_to(target, stopping):
                return False
            if reach().closed_ns - target.closed_ns <= CLOSE_NS:
                break
        return True

    def go_to(self, target: Reached, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Take in all batches up to one, and close ticks up to a moment.

        Parameters
        ----------
        target : how far the live engine is or was
        stopping : ends it early

        Returns
        -------
        bool
            False when it was told to stop.
        """
        driver, points = self.parts.driver, self.parts.points
        for row_id, first_ns in self._journal.by_time(self._fed_id, target.journal_id):
            if stopping():
                return False
            tick_ns = min(first_ns // self._tick_ns * self._tick_ns, target.closed_ns)
            if driver.closed_ns is None or tick_ns >= driver.closed_ns + STRETCH_NS:
                self._advance(tick_ns)
            row = self._journal.read_one(row_id)
            if row is None:
                continue
            taps = driver.feed(self._decode(row[1]), row[0])
            if taps is not None and points is not None:
                points.count_taps(taps.t_ns, taps.tap_point)
        self._fed_id = max(self._fed_id, target.journal_id)
        if driver.closed_ns is None or target.closed_ns > driver.closed_ns:
            self._advance(target.closed_ns)
        return True

    def close(self) -> Path:
        """Close the results file and return where it is."""
        if self._results is not None:
            self._results.close()
            self._results = None
        return self._scratch

    def discard(self) -> None:
        """Close and delete the results file."""
        for path in (self.close(), *_companions(self._scratch)):
            path.unlink(missing_ok=True)

    def _start_before(self, dirty_ns: int) -> tuple[Parts, Listed | None]:
        """Return parts at the newest checkpoint that no late row touches."""
        tick_ns = dirty_ns // self._tick_ns * self._tick_ns
        listed = self._checkpoints.listed()
        whole = self._journal.first_id() <= 1
        usable = [each for each in listed if each.watermark_ns <= tick_ns]
        if not usable and listed and not whole:
            usable, self.too_late = [listed[-1]], True
        for each in usable:
            parts = self._make_parts()
            try:
                self._checkpoints.load(each, parts.driver, parts.finder, parts.points)
            except CheckpointRefusedError as error:
                _LOG.warning("checkpoint %s is passed over: %s", each.name, error)
                continue
            parts.driver.dirty_ns = None
            return parts, each
        self.too_late = self.too_late or not whole
        return self._make_parts(), None

    def _advance(self, to_ns: int) -> None:
        if to_ns <= 0:
            return
        assert self._results is not None
        driver, finder, points = self.parts.driver, self.parts.finder, self.parts.points
        passed_by = driver.pass_bys
        output = driver.advance(to_ns)
        finder.find(output)
        lines: list[bytes] = []
        if points is not None:
            lines = encode_points(
                [*points.of_output(_without_visits(output), {}), *points.of_taps(to_ns)]
            )
            points.of_hour(to_ns, lambda _from, _to: [])
        self._results.save(
            output,
            Step(journal_id=0, watermark_ns=None),
            closed_ns=to_ns,
            lines=lines,
            pass_bys=driver.pass_bys - passed_by,
        )


def _without_visits(output: Output) -> Output:
    """Return an output without its visits: their points need what the store knows of before."""
    kept = {name: getattr(output, name) for name in output.__dataclass_fields__}
    return Output(**{**kept, "visits": []})


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("-wal", "-shm")]
