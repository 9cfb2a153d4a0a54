"""The live driver: decoded batches into the engine, outputs out of it.

Rules of the file: names become indices through dictionaries and tags become ids
through the tag table; what cannot be used is dropped and counted by a bounded reason,
never silently. A tick closes `lateness_s` after its end by the slowest healthy agent
(`ingest.order.Watermark`). Everything here runs in one thread; the clock is an
argument, and a replay passes the time at which a batch was received, so that it does
exactly what was done then.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analytics.rows import Output
from analytics.store import Store
from gateway.engine_room import EngineLike, Trail
from gateway.reading_runs import ROWS_MAX, Run, is_plain, join_readings
from gateway.row_counts import RowCounts
from gateway.taps import Taps, kept_taps, taps_between
from gateway.trails import trail_of
from ingest.batch import INT64_MAX
from ingest.columns import Coded, DecodedBatch, possible_rssi
from ingest.order import Watermark
from ingest.tag_table import TagTable

AHEAD_MAX_NS = 60 * 1_000_000_000
BEHIND_MAX_NS = 72 * 3600 * 1_000_000_000
MINUTE_NS = 60_000_000_000


class Driver:
    """Feeds one engine from batches.

    Parameters
    ----------
    store : the store
    make_engine : gets the tag table's `names`, returns the engine
    clock : "wall" sets aside rows more than 60 s ahead of or 72 h behind `received_ns`;
        "data" takes every time as it comes
    silent_s : [s] when an agent no longer holds back the others
    report : told a sentence once for each unknown name
    tags : the tag table; default: a new one of the usual size

    Attributes
    ----------
    dirty_ns : [ns] the earliest row that came when its tick was closed; None when all is well
    """

    def __init__(
        self,
        store: Store,
        make_engine: Callable[[Callable[[NDArray[np.int32]], list[str]]], EngineLike],
        *,
        clock: Literal["wall", "data"],
        silent_s: float,
        report: Callable[[str], None],
        tags: TagTable | None = None,
    ) -> None:
        self.tags = TagTable() if tags is None else tags
        self.engine = make_engine(self.tags.names)
        self.watermark = Watermark(
            clock=clock,
            silent_s=silent_s,
            lateness_s=store.rules.lateness_s,
            expected=(r.agent for r in store.receivers if r.agent is not None),
        )
        self.counts = RowCounts()
        self._clock = clock
        self._report = report
        self._tick_ns = store.rules.tick_ns
        self._visit_gap_ns = round(store.rules.visit_gap_s * 1e9)
        self._floors = [floor.id for floor in store.floors]
        self._layer_main = store.layers.index("main") if "main" in store.layers else 0
        self._staff = frozenset(store.staff_tags)
        self._staff_seen: set[str] = set()
        self._receivers = {receiver.id: at for at, receiver in enumerate(store.receivers)}
        self._tap_points = {point.id: at for at, point in enumerate(store.tap_points)}
        self._sensors = {sensor.id: at for at, (_, sensor) in enumerate(store.sensors)}
        self._is_mass = np.array([s.kind == "mass" for _, s in store.sensors], dtype=np.bool_)
        self.dirty_ns: int | None = None
        self._closed_ns: int | None = None
        self._expired_ns = 0

    @property
    def closed_ns(self) -> int | None:
        """Up to where ticks are closed [ns], None before the first."""
        return self._closed_ns

    @property
    def staff_tags_seen(self) -> int:
        """How many tags of the store's staff were heard since the oldest batch kept."""
        return len(self._staff_seen)

    @property
    def pass_bys(self) -> int:
        """How many tags the engine has found to have only passed by."""
        return int(getattr(self.engine, "pass_bys", 0))

    @property
    def refused_tags(self) -> int:
        """How often the engine had no place for a tag, counted once a tick."""
        return int(getattr(self.engine, "refused_tags", 0))

    def feed(self, batch: DecodedBatch, received_ns: int) -> Taps | None:
        """Give one batch to the engine.

        Parameters
        ----------
        batch : a new one (duplicates do not come here)
        received_ns : [ns] this machine's clock when it arrived

        Returns
        -------
        Taps
            Those in it that were used; None when there are none.
        """
        keep = self._in_time(batch.t_ns, received_ns)
        taps: Taps | None = None
        if not batch.rows:
            pass  # it stands for rows that its outbox had to drop; it may have no columns
        elif batch.kind == "ble":
            self._feed_readings(batch, keep)
        elif batch.kind == "tap":
            taps = self._feed_taps(batch, keep)
        else:
            self._feed_samples(batch, keep)
        newest_ns = int(batch.t_ns[keep].max()) if keep.any() and not batch.complete_ns else 0
        self._note_time(batch, received_ns, newest_ns)
        return taps

    def feed_all(self, batches: Iterable[tuple[DecodedBatch, int]]) -> list[Taps]:
        """Give batches to the engine, as `feed` would one after the other, in less time.

        Parameters
        ----------
        batches : new ones, and [ns] when each arrived

        Returns
        -------
        list
            The taps in them that were used.
        """
        taps: list[Taps] = []
        waiting: list[tuple[DecodedBatch, int]] = []
        rows = 0
        for batch, received_ns in batches:
            if is_plain(batch, self._receivers):
                waiting.append((batch, received_ns))
                rows += batch.rows
                if rows < ROWS_MAX:
                    continue
            self._feed_waiting(waiting)
            waiting, rows = [], 0
            if not is_plain(batch, self._receivers):
                found = self.feed(batch, received_ns)
                if found is not None:
                    taps.append(found)
        self._feed_waiting(waiting)
        return taps

    def taps_of(self, batch: DecodedBatch, received_ns: int) -> list[tuple[int, str, str]]:
        """Return the taps of a batch that count, as (t_ns, tap point, tag); changes nothing.

        Parameters
        ----------
        batch : of kind tap
        received_ns : [ns] this machine's clock when it arrived

        Returns
        -------
        list
            In the order of the batch. Any thread may ask.
        """
        first_ns, last_ns = 0, INT64_MAX
        if self._clock == "wall":
            first_ns, last_ns = received_ns - BEHIND_MAX_NS, received_ns + AHEAD_MAX_NS
        return taps_between(batch, self._tap_points, first_ns, last_ns)

    def due_ns(self, now_ns: int) -> int | None:
        """Return up to where ticks may be closed now, None when no tick is due.

        Parameters
        ----------
        now_ns : [ns] this machine's clock
        """
        reached_ns = self.watermark.watermark_ns(now_ns)
        if reached_ns is None:
            return None
        tick_end_ns = reached_ns // self._tick_ns * self._tick_ns
        if self._closed_ns is not None and tick_end_ns <= self._closed_ns:
            return None
        return tick_end_ns

    def advance(self, to_ns: int) -> Output:
        """Close ticks and forget tags that nobody has heard for long.

        Parameters
        ----------
        to_ns : as `due_ns` returned it, now or when it was recorded
        """
        if self._closed_ns is not None and self._closed_ns - self._expired_ns >= MINUTE_NS:
            # Not after this advance: its output has ids that must stay known until the next.
            self._expired_ns = self._closed_ns
            before_ns = self._closed_ns - 2 * self._visit_gap_ns
            self.tags.expire(before_ns, self.engine.active_tags())
        output = self.engine.advance(to_ns)
        self._closed_ns = to_ns
        return output

    def finish(self) -> Output:
        """Close everything and end all visits."""
        return self.engine.finish()

    def put_engine(self, engine: EngineLike, tags: TagTable) -> None:
        """Go on with another engine and its tag table.

        Parameters
        ----------
        engine : restored from a checkpoint
        tags : as it was when the engine was saved
        """
        self.engine, self.tags = engine, tags

    def go_on_for(self, other: "Driver") -> None:
        """Take over from a driver what it knows of agents, and its counts.

        Parameters
        ----------
        other : it saw the same batches, some of them late, and is not used any more
        """
        self.watermark, self.counts = other.watermark, other.counts
        self._staff_seen |= other._staff_seen  # noqa: SLF001 (another of the same class)

    def state(self) -> dict[str, Any]:
        """Return everything but the engine and the tag table, as plain data."""
        reached_ns, agents = self.watermark.state()
        return {
            "watermark": [reached_ns, agents],
            "closed_ns": self._closed_ns,
            "expired_ns": self._expired_ns,
            "staff_seen": sorted(self._staff_seen),
            "counts": self.counts.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned; engine and tag table must be those of then.

        Parameters
        ----------
        state : plain data
        """
        self.watermark.restore(*state["watermark"])
        self._closed_ns, self._expired_ns = state["closed_ns"], state["expired_ns"]
        self._staff_seen = set(state["staff_seen"])
        self.counts.restore(state["counts"])

    def trail(self, output: Output) -> Trail | None:
        """Return live positions of layer main in an output, for the heat map.

        Parameters
        ----------
        output : of `advance` or `finish`
        """
        return trail_of(
            output, layer_main=self._layer_main, floors=self._floors, names=self.tags.names
        )

    def _in_time(self, t_ns: NDArray[np.int64], received_ns: int) -> NDArray[np.bool_]:
        if self._clock == "data":
            return np.ones(len(t_ns), dtype=np.bool_)
        ahead = t_ns > received_ns + AHEAD_MAX_NS
        behind = t_ns < received_ns - BEHIND_MAX_NS
        self.counts.drop("time_ahead", ahead)
        self.counts.drop("time_behind", behind)
        return ~(ahead | behind)

    def _note_time(self, batch: DecodedBatch, received_ns: int, newest_ns: int) -> None:
        """Move the agent's event time; `newest_ns` [ns] is that of the rows in time, 0 = none."""
        event_ns = batch.complete_ns or newest_ns
        if self._clock == "wall":
            event_ns = min(event_ns, received_ns + AHEAD_MAX_NS)
        if event_ns:
            is_complete = batch.complete_ns > 0
            self.watermark.add(batch.agent, event_ns, received_ns, is_complete=is_complete)

    def _feed_waiting(self, waiting: list[tuple[DecodedBatch, int]]) -> None:
        run = join_readings(waiting, self._receivers) if len(waiting) > 1 else None
        if run is None or not self._feed_run(run):
            for batch, received_ns in waiting:
                self.feed(batch, received_ns)
            return
        for (batch, received_ns), newest_ns in zip(waiting, run.newest_ns.tolist(), strict=True):
            self._note_time(batch, received_ns, newest_ns)

    def _feed_run(self, run: Run) -> bool:
        """Feed the rows of many batches at once; False = nothing was done, it is not simple."""
        is_in_time = self._clock == "data" or run.is_within(BEHIND_MAX_NS, AHEAD_MAX_NS)
        if not is_in_time or len(run.tags) > self.tags.room:
            return False
        ids = self.tags.packed_ids(run.tags, run.tag_seen_ns)
        if self._staff:
            names = [*self._staff]
            seen = np.isin(self.tags.known(names), ids)
            self._staff_seen.update(
                name for name, is_seen in zip(names, seen, strict=True) if is_seen
            )
        t_ns, receiver, tag, rssi_dbm = run.t_ns, run.receiver, ids[run.tag_code], run.rssi_dbm
        possible = possible_rssi(rssi_dbm)
        if not possible.all():
            self.counts.drop("rssi_impossible", ~possible)
            t_ns, receiver, tag = t_ns[possible], receiver[possible], tag[possible]
            rssi_dbm = rssi_dbm[possible]
        if len(t_ns):
            late = self.engine.add_readings(t_ns, receiver, tag, rssi_dbm)
            self._count("ble", t_ns, late)
        return True

    def _feed_readings(self, batch: DecodedBatch, keep: NDArray[np.bool_]) -> None:
        assert batch.receiver is not None
        assert batch.tag is not None
        assert batch.rssi_dbm is not None
        receiver, known = self._indices(batch.receiver, self._receivers, "receiver")
        possible = possible_rssi(batch.rssi_dbm)
        self.counts.drop("rssi_impossible", keep & known & ~possible)
        tag, has_id = self._tag_ids(batch.tag, batch.t_ns[keep])
        self.counts.drop("tag_table_full", keep & known & possible & ~has_id)
        keep = keep & known & possible & has_id
        if keep.any():
            # Contract section 3: RSSI is rounded to 0.1 dB on entry, in every driver.
            rssi = np.round(batch.rssi_dbm[keep].astype(np.float64) * 10.0) / 10.0
            late = self.engine.add_readings(batch.t_ns[keep], receiver[keep], tag[keep], rssi)
            self._count("ble", batch.t_ns[keep], late)

    def _feed_taps(self, batch: DecodedBatch, keep: NDArray[np.bool_]) -> Taps | None:
        assert batch.tap_point is not None
        assert batch.tag is not None
        tap_point, known = self._indices(batch.tap_point, self._tap_points, "tap_point")
        tag, has_id = self._tag_ids(batch.tag, batch.t_ns[keep])
        self.counts.drop("tag_table_full", keep & known & ~has_id)
        keep = keep & known & has_id
        if not keep.any():
            return None
        late = self.engine.add_taps(batch.t_ns[keep], tap_point[keep], tag[keep])
        self._count("tap", batch.t_ns[keep], late)
        return kept_taps(batch, keep)

    def _feed_samples(self, batch: DecodedBatch, keep: NDArray[np.bool_]) -> None:
        assert batch.sensor is not None
        sensor, known = self._indices(batch.sensor, self._sensors, "sensor")
        empty = np.full(len(batch.t_ns), np.nan)
        mass_g = batch.mass_g if batch.mass_g is not None else empty
        range_mm = batch.range_mm if batch.range_mm is not None else empty
        if len(self._is_mass):
            value = np.where(self._is_mass[np.maximum(sensor, 0)], mass_g, range_mm)
        else:
            value = empty
        possible = np.isfinite(value)
        self.counts.drop("sample_impossible", keep & known & ~possible)
        keep = keep & known & possible
        if keep.any():
            late = self.engine.add_samples(batch.t_ns[keep], sensor[keep], value[keep])
            self._count("sample", batch.t_ns[keep], late)

    def _indices(
        self, column: Coded, index: dict[str, int], what: str
    ) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        lookup = np.array([index.get(name, -1) for name in column.values], dtype=np.int16)
        found = lookup[column.codes] if len(lookup) else np.empty(0, dtype=np.int16)
        known = found >= 0
        if not known.all():
            self.counts.drop(f"{what}_unknown", ~known)
            rows = np.bincount(column.codes[~known], minlength=len(lookup))
            for at in np.flatnonzero(rows).tolist():
                name, count = column.values[at], int(rows[at])
                self.counts.note_unknown(what, name, count, self._report)
        return found, known

    def _tag_ids(
        self, column: Coded, kept_t_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        if not len(kept_t_ns):  # nothing is used; a time that was set aside may keep no tag
            return np.full(len(column.codes), -1, np.int32), np.zeros(len(column.codes), np.bool_)
        self._staff_seen.update(self._staff.intersection(column.values))
        ids = self.tags.ids(column.values, int(kept_t_ns.max()))[column.codes]
        return ids, ids >= 0

    def _count(self, kind: str, t_ns: NDArray[np.int64], late: int) -> None:
        self.counts.used[kind] += len(t_ns)
        if not late:
            return
        self.counts.late[kind] += late
        earliest_ns = int(t_ns.min())
        self.dirty_ns = min(earliest_ns, earliest_ns if self.dirty_ns is None else self.dirty_ns)
