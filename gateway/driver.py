"""The live driver: decoded batches into the engine, outputs out of it.

Rules of the file: names become indices through dictionaries and tags become ids
through the tag table; what cannot be used is dropped and counted by a bounded reason,
never silently. A tick closes `lateness_s` after its end by the slowest healthy agent
(`ingest.order.Watermark`). Everything here runs in one thread; the clock is an
argument, and a replay passes the time at which a batch was received, so that it does
exactly what was done then.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from analytics.rows import Output
from analytics.store import Store
from gateway.result_store import Trail
from ingest.columns import Coded, DecodedBatch, possible_rssi
from ingest.order import Watermark
from ingest.tag_table import TagTable

AHEAD_MAX_NS = 60 * 1_000_000_000
BEHIND_MAX_NS = 72 * 3600 * 1_000_000_000
MINUTE_NS = 60_000_000_000
UNKNOWN_NAMES_MAX = 64


class EngineLike(Protocol):
    """What the driver needs of `analytics.engine.Engine`."""

    def add_readings(
        self,
        t_ns: NDArray[np.int64],
        receiver: NDArray[np.int16],
        tag: NDArray[np.int32],
        rssi_dbm: NDArray[np.float64],
    ) -> int:
        """Take readings; return how many came too late."""
        ...

    def add_taps(
        self, t_ns: NDArray[np.int64], tap_point: NDArray[np.int16], tag: NDArray[np.int32]
    ) -> int:
        """Take taps; return how many came too late."""
        ...

    def add_samples(
        self, t_ns: NDArray[np.int64], sensor: NDArray[np.int16], value: NDArray[np.float64]
    ) -> int:
        """Take samples; return how many came too late."""
        ...

    def advance(self, watermark_ns: int) -> Output:
        """Close every tick that ends at or before a moment."""
        ...

    def finish(self) -> Output:
        """Close everything."""
        ...

    def live(self) -> Any:  # noqa: ANN401
        """Return who is where now."""
        ...

    def active_tags(self) -> NDArray[np.int32]:
        """Return the ids that must stay known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """Taps of one batch as they will be told: [ns], tap point, tag."""

    t_ns: Sequence[int]
    tap_point: Sequence[str]
    tag: Sequence[str]


@dataclass(slots=True)
class Counts:
    """What the driver did with the rows since it started."""

    used: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


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
        self.counts = Counts()
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
            The taps in it that were used; None when there are none.
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
        event_ns = batch.complete_ns or (int(batch.t_ns[keep].max()) if keep.any() else 0)
        if self._clock == "wall":
            event_ns = min(event_ns, received_ns + AHEAD_MAX_NS)
        if event_ns:
            is_complete = batch.complete_ns > 0
            self.watermark.add(batch.agent, event_ns, received_ns, is_complete=is_complete)
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
        if batch.tap_point is None or batch.tag is None:
            return []
        points = [batch.tap_point.values[code] for code in batch.tap_point.codes.tolist()]
        tags = [batch.tag.values[code] for code in batch.tag.codes.tolist()]
        is_wall = self._clock == "wall"
        return [
            (t_ns, point, tag)
            for t_ns, point, tag in zip(batch.t_ns.tolist(), points, tags, strict=True)
            if point in self._tap_points
            and not (is_wall and t_ns > received_ns + AHEAD_MAX_NS)
            and not (is_wall and t_ns < received_ns - BEHIND_MAX_NS)
        ]

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

    def trail(self, output: Output) -> Trail | None:
        """Return the live positions of layer main in an output, for the heat map.

        Parameters
        ----------
        output : of `advance` or `finish`
        """
        parts = []
        for block in output.positions:
            keep = (block.stage == 0) & (block.layer == self._layer_main) & np.isfinite(block.x_m)
            if keep.any():
                parts.append((block, keep))
        if not parts:
            return None
        tag = np.concatenate([block.tag[keep] for block, keep in parts])
        distinct, at = np.unique(tag, return_inverse=True)
        names = self.tags.names(distinct)
        return Trail(
            t_ns=_joined(parts, "t_ns"),
            tag=[names[i] for i in at.tolist()],
            zone=_joined(parts, "zone"),
            floor=[self._floors[at] for at in _joined(parts, "floor")],
            x_m=_joined(parts, "x_m"),
            y_m=_joined(parts, "y_m"),
        )

    def _in_time(self, t_ns: NDArray[np.int64], received_ns: int) -> NDArray[np.bool_]:
        if self._clock == "data":
            return np.ones(len(t_ns), dtype=np.bool_)
        ahead = t_ns > received_ns + AHEAD_MAX_NS
        behind = t_ns < received_ns - BEHIND_MAX_NS
        self._drop("time_ahead", ahead)
        self._drop("time_behind", behind)
        return ~(ahead | behind)

    def _feed_readings(self, batch: DecodedBatch, keep: NDArray[np.bool_]) -> None:
        assert batch.receiver is not None
        assert batch.tag is not None
        assert batch.rssi_dbm is not None
        receiver, known = self._indices(batch.receiver, self._receivers, "receiver")
        possible = possible_rssi(batch.rssi_dbm)
        self._drop("rssi_impossible", keep & known & ~possible)
        tag, has_id = self._tag_ids(batch.tag, batch.t_ns[keep])
        self._drop("tag_table_full", keep & known & possible & ~has_id)
        keep = keep & known & possible & has_id
        if keep.any():
            # Contract section 3: RSSI is rounded to 0.1 dB on entry, in every driver.
            rssi = np.round(batch.rssi_dbm[keep].astype(np.float64) * 10.0) / 10.0
            late = self.engine.add_readings(batch.t_ns[keep], receiver[keep], tag[keep], rssi)
            self._count("ble", keep, late)

    def _feed_taps(self, batch: DecodedBatch, keep: NDArray[np.bool_]) -> Taps | None:
        assert batch.tap_point is not None
        assert batch.tag is not None
        tap_point, known = self._indices(batch.tap_point, self._tap_points, "tap_point")
        tag, has_id = self._tag_ids(batch.tag, batch.t_ns[keep])
        self._drop("tag_table_full", keep & known & ~has_id)
        keep = keep & known & has_id
        if not keep.any():
            return None
        late = self.engine.add_taps(batch.t_ns[keep], tap_point[keep], tag[keep])
        self._count("tap", keep, late)
        at_points, at_tags = batch.tap_point, batch.tag
        return Taps(
            t_ns=batch.t_ns[keep].tolist(),
            tap_point=[at_points.values[code] for code in at_points.codes[keep].tolist()],
            tag=[at_tags.values[code] for code in at_tags.codes[keep].tolist()],
        )

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
        self._drop("sample_impossible", keep & known & ~possible)
        keep = keep & known & possible
        if keep.any():
            late = self.engine.add_samples(batch.t_ns[keep], sensor[keep], value[keep])
            self._count("sample", keep, late)

    def _indices(
        self, column: Coded, index: dict[str, int], what: str
    ) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
        lookup = np.array([index.get(name, -1) for name in column.values], dtype=np.int16)
        found = lookup[column.codes] if len(lookup) else np.empty(0, dtype=np.int16)
        known = found >= 0
        if not known.all():
            self._drop(f"{what}_unknown", ~known)
            rows = np.bincount(column.codes[~known], minlength=len(lookup))
            for at in np.flatnonzero(rows).tolist():
                self._note_unknown(what, column.values[at], int(rows[at]))
        return found, known

    def _note_unknown(self, what: str, name: str, rows: int) -> None:
        key = f"{what} {name}"
        if key not in self.counts.unknown:
            if len(self.counts.unknown) >= UNKNOWN_NAMES_MAX:
                key = "others"
            else:
                self._report(
                    f"{what} '{name}' is not in the store file: {rows} rows dropped so far, "
                    "more are only counted; add it to the store file or remove it from the agent"
                )
        self.counts.unknown[key] += rows

    def _tag_ids(
        self, column: Coded, kept_t_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        if not len(kept_t_ns):  # nothing is used; a time that was set aside may keep no tag
            return np.full(len(column.codes), -1, np.int32), np.zeros(len(column.codes), np.bool_)
        self._staff_seen.update(self._staff.intersection(column.values))
        ids = self.tags.ids(column.values, int(kept_t_ns.max()))[column.codes]
        return ids, ids >= 0

    def _drop(self, reason: str, rows: NDArray[np.bool_]) -> None:
        count = int(np.count_nonzero(rows))
        if count:
            self.counts.dropped[reason] += count

    def _count(self, kind: str, keep: NDArray[np.bool_], late: int) -> None:
        self.counts.used[kind] += int(np.count_nonzero(keep))
        if late:
            self.counts.late[kind] += late


def _joined(parts: list[tuple[Any, NDArray[np.bool_]]], column: str) -> list[Any]:
    found = np.concatenate([getattr(block, column)[keep] for block, keep in parts])
    if found.dtype.kind == "f":
        found = np.round(found.astype(np.float64), 2)
    listed: list[Any] = found.tolist()
    return listed
