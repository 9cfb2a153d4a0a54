"""The engine: readings, taps and samples in, rows out, by event time alone.

The live gateway and the file analysis drive this very class. What it says depends
on the rows of each tick and never on their order, their portions or repetitions,
so both drivers give the same rows. Invariants 1 to 4 of the architecture live here.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import FINAL, LIVE, Block, Layers
from analytics.cells import CellGrid, build_cells, walking_distances
from analytics.lanes import Lanes
from analytics.levels import rssi_tenths
from analytics.live_view import Live, live_view
from analytics.minutes import Minutes
from analytics.presence import Presence, reach_of_shelves, zone_index
from analytics.radio_map import RadioMap
from analytics.rows import Output
from analytics.settling import Settling
from analytics.shelf import ShelfCore
from analytics.store import Store
from analytics.tap_turns import cut_by_entry, in_order
from analytics.tick_buffer import Columns, TickBuffer, ticks_in
from analytics.tracker import TAP_NATS, build_model
from analytics.visits import VisitRows
from analytics.zone_changes import ZoneChanges

HOLD_S = 10.0
"""Without evidence for this long, a place is unknown."""
LANES_MOST = 16_384
"""Tags followed at one time; further ones are refused and counted."""
CLOSING_S = 20.0
"""A visit's row waits this long for shelf events of its last seconds."""
_WALK_CELLS_MOST = 800
_ALWAYS = 1 << 60


class Engine:
    """Computes everything about one store.

    Parameters
    ----------
    store : the store
    radio_map : expected levels in the store's cells
    name_of : returns the pseudonyms of tag ids
    grid : the store's cells, if they were built already

    Attributes
    ----------
    refused_tags : int, tags that found no free lane, counted in every tick they were heard
    """

    def __init__(
        self,
        store: Store,
        radio_map: RadioMap,
        *,
        name_of: Callable[[NDArray[np.int32]], list[str]],
        grid: CellGrid | None = None,
    ) -> None:
        rules = store.rules
        grid = build_cells(store) if grid is None else grid
        model = build_model(
            grid, radio_map, tick_s=rules.tick_s, reach=reach_of_shelves(store, grid)
        )
        self._store, self._name_of, self._tick_ns = store, name_of, rules.tick_ns
        self._staff = frozenset(store.staff_tags)
        lag = ticks_in(rules.lag_s, rules.tick_s)
        self._emit_every = max(1, lag // 2)
        self._look_back = lag + 1
        self._hold = max(1, ticks_in(HOLD_S, rules.tick_s))
        self._gap = ticks_in(rules.visit_gap_s, rules.tick_s)
        self._closing = math.ceil(CLOSING_S / rules.tick_s)
        layers = Layers(
            zones=tuple(
                np.array([i for i, zone in enumerate(store.zones) if zone.layer == layer], np.int16)
                for layer in store.layers
            ),
            cell_m=grid.cell_m,
        )
        self._layers = layers
        ring = self._look_back + 2 * self._hold + self._emit_every + 8
        self._lanes = Lanes(model, layers, depth=self._look_back, ring=ring, most=LANES_MOST)
        cells = np.stack([grid.x_m, grid.y_m], axis=1)
        walk = (
            walking_distances(grid)
            if len(grid) <= _WALK_CELLS_MOST
            else np.hypot(*(np.subtract.outer(cells[:, i], cells[:, i]) for i in (0, 1)))
        )
        self._minutes = Minutes(store)
        self._settling = Settling(
            store, layers, self._lanes, VisitRows(store, walk, cells), self._minutes,
            hold=self._hold,
        )  # fmt: skip
        self._tap_nats = [
            np.log(np.exp(-TAP_NATS) + grid.zone_share[zone_index(store, point.zone)]).astype(
                np.float32
            )
            for point in store.tap_points
        ]
        self._roles = [point.role for point in store.tap_points]
        self._readings = TickBuffer(self._tick_ns)
        self._taps = TickBuffer(self._tick_ns)
        self._shelves = ShelfCore(store) if store.shelves else None
        self._presence = Presence(store, self._lanes, self._settling)
        self._changes = ZoneChanges(store, layers)
        self._tick: int | None = None
        self._final_tick = self._last_closed = -1
        self.refused_tags = 0

    def add_readings(
        self,
        t_ns: NDArray[np.int64],
        receiver: NDArray[np.int16],
        tag: NDArray[np.int32],
        rssi_dbm: NDArray[np.floating],
    ) -> int:
        """Add readings, in any order and portions.

        Parameters
        ----------
        t_ns : shape (n,), int64 [ns]
        receiver : shape (n,), int16, index into `Store.receivers`
        tag : shape (n,), int32, id that `name_of` knows
        rssi_dbm : shape (n,), float [dBm], possible values; rounded to 0.1 dB here

        Returns
        -------
        late : rows that came after their tick had closed, and were not added
        """
        return self._readings.add((t_ns, receiver, tag, rssi_tenths(rssi_dbm)))

    def add_taps(
        self, t_ns: NDArray[np.int64], tap_point: NDArray[np.int16], tag: NDArray[np.int32]
    ) -> int:
        """Add taps; as `add_readings`, with an index into `Store.tap_points`."""
        return self._taps.add((t_ns, tap_point, tag))

    def add_samples(
        self, t_ns: NDArray[np.int64], sensor: NDArray[np.int16], value: NDArray[np.float64]
    ) -> int:
        """Add shelf samples [g or mm]; `sensor` is an index into `Store.sensors`."""
        return self._shelves.add(t_ns, sensor, value) if self._shelves else 0

    def active_tags(self) -> NDArray[np.int32]:
        """Return the ids of tags that have a lane and must keep their id."""
        return self._lanes.tag[self._lanes.tag >= 0]

    def advance(self, watermark_ns: int) -> Output:
        """Close every tick that ends at or before a time.

        Parameters
        ----------
        watermark_ns : int [ns]; nothing earlier is expected to come

        Returns
        -------
        output : what the closed ticks produced
        """
        out = Output()
        end = watermark_ns // self._tick_ns
        tick = self._next_tick()
        while tick is not None and tick < end:
            if self._tick is not None and tick > self._tick:
                self._advance_shelves(tick * self._tick_ns, out)
            self._close_tick(tick, out)
            self._tick = tick + 1
            self._advance_shelves(self._tick * self._tick_ns, out)
            tick = self._next_tick()
        self._tick = end if self._tick is None else max(self._tick, end)
        self._readings.next_tick = self._taps.next_tick = self._tick
        # Shelves stop at the tick's end, too: who was there must not depend on the portions.
        self._advance_shelves(self._tick * self._tick_ns, out)
        return out

    def finish(self) -> Output:
        """Close everything and end all visits, as if nothing more will come."""
        last = max(
            (t for b in (self._readings, self._taps) if (t := b.last_tick()) is not None),
            default=None,
        )
        if last is None:
            last = (self._tick or 0) - 1
        out = self.advance((last + 1) * self._tick_ns)
        if self._shelves:
            result = self._shelves.finish()
            out.shelf_stock += result.stock
            out.sensor_health += result.health
            self._presence.wait(result.events, out)
        # Silence settles everybody, exactly as if time had gone on.
        while self._tick is not None and self._lanes.active.any():
            self._close_tick(self._tick, out)
            self._tick += 1
            self._presence.release(self._final_tick, out)
        self._presence.release(_ALWAYS, out)
        for lane in np.flatnonzero(self._lanes.tag >= 0).tolist():
            self._settling.cuts.setdefault(lane, []).append(int(self._lanes.last[lane]))
        self._free_ended(out)
        self._emit_visits(1 << 62, out)
        people, queues = self._minutes.advance(1 << 62)
        out.occupancy += people
        out.queues += queues
        return out

    def live(self) -> Live:
        """Return who is where at the end of the last closed tick."""
        tick = (self._tick or 0) - 1
        return live_view(self._store, self._layers, self._lanes, tick=tick, hold=self._hold)

    def _next_tick(self) -> int | None:
        """Return the next tick to close; stretches in which nothing can happen are jumped.

        Which ticks are closed depends on event time alone, not on how far one can see.
        """
        lanes = self._lanes
        if self._tick is not None and lanes.active.any():
            return self._tick
        found = [t for b in (self._readings, self._taps) if (t := b.first_tick()) is not None]
        used = lanes.tag >= 0
        if used.any():
            found.append(int(lanes.last[used].min()) + self._gap + 2)
        found += [visit.last + self._closing for visit in self._settling.closing]
        if not found:
            return None
        return min(found) if self._tick is None else max(self._tick, min(found))

    def _close_tick(self, tick: int, out: Output) -> None:
        if tick > self._last_closed + 1:
            self._settling.expire(tick, out)
        self._last_closed = tick
        self._expire(tick, out)
        readings, taps = self._readings.pop(tick), self._taps.pop(tick)
        lane, tap_lane = self._admit(tick, readings, taps, out)
        if readings is not None or taps is not None:
            self._minutes.seen(tick)
        tapped = self._take_taps(tick, taps, tap_lane)
        for block in self._lanes.busy_blocks():
            self._step(block, tick, readings, lane, tapped, out)
        if (tick + 1) % self._emit_every == 0:
            self._smooth(tick, tick + 1 - (self._look_back - self._emit_every) - 1, out)
            self._presence.release(self._final_tick, out)  # before anybody's lane is emptied
        self._park(tick)
        self._free_ended(out)
        settled = tick - self._look_back - 2 * self._hold - self._emit_every
        self._emit_visits(tick, out)
        people, queues = self._minutes.advance(settled * self._tick_ns, self._settling.running)
        out.occupancy += people
        out.queues += queues

    def _admit(
        self, tick: int, readings: Columns | None, taps: Columns | None, out: Output
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find or give lanes for the tags of a tick; returns them per reading and per tap."""
        lanes = self._lanes
        tags = [rows[2] for rows in (readings, taps) if rows is not None]
        none = np.empty(0, np.int64)
        if not tags:
            return none, none
        if taps is not None:
            tick_s = self._store.rules.tick_s
            cut_by_entry(tick, taps, self._roles, lanes, self._settling.cuts, tick_s)
            self._free_ended(out)
        found = np.unique(np.concatenate(tags))
        known = lanes.of(found)
        new = found[known < 0]
        if len(new):
            for name, tag in sorted(zip(self._name_of(new), new.tolist(), strict=True)):
                if name in self._staff:
                    continue
                before = len(lanes)
                if lanes.take(tag, name, tick) is None:
                    self.refused_tags += 1
                if len(lanes) != before:
                    self._settling.grow()
        at = known[known >= 0]
        for lane in at[~lanes.active[at]].tolist():
            self._settling.resume(lane, tick, out)
            lanes.resume(lane, tick)
        at = lanes.of(found)
        at = at[at >= 0]
        begins = [
            lane for lane, cuts in self._settling.cuts.items() if cuts[-1] >= lanes.last[lane]
        ]
        if begins:
            lanes.first[np.intersect1d(at, begins)] = tick
        lanes.last[at] = tick
        of_reading = none if readings is None else lanes.of(readings[2])
        of_tap = none if taps is None else lanes.of(taps[2])
        return of_reading, of_tap

    def _take_taps(
        self, tick: int, taps: Columns | None, lanes_of: NDArray[np.int64]
    ) -> dict[int, NDArray[np.float32]]:
        nats: dict[int, NDArray[np.float32]] = {}
        if taps is None:
            return nats
        settling = self._settling
        for at in in_order(taps):
            lane, point = int(lanes_of[at]), int(taps[1][at])
            if lane < 0:
                continue
            nats[lane] = nats.get(lane, np.float32(0)) + self._tap_nats[point]
            settling.taps.setdefault(lane, []).append(tick)
            if self._roles[point] == "exit":
                settling.cuts.setdefault(lane, []).append(tick)
        return nats

    def _step(
        self,
        block: Block,
        tick: int,
        readings: Columns | None,
        lane: NDArray[np.int64],
        tapped: dict[int, NDArray[np.float32]],
        out: Output,
    ) -> None:
        base, end = block.base, block.base + block.lanes
        mine = (lane >= base) & (lane < end)
        none = np.empty(0, np.int16)
        rows = (none, none) if readings is None else (readings[1][mine], readings[3][mine])
        level, heard, count = block.levels.reduce(rows[0], lane[mine] - base, rows[1])
        nats = {at - base: value for at, value in tapped.items() if base <= at < end}
        slot = tick % block.ring
        block.age[slot] = np.minimum(tick - self._lanes.last[base:end], 1 << 30)
        block.readings[slot] = count
        evidence = block.age[slot] == 0
        before = block.decided[LIVE].copy()
        block.record(LIVE, tick, block.tracker.step(tick, level, heard, nats), evidence)
        out.zone_changes += self._changes.of(block, tick, before, evidence, self._lanes.names)

    def _smooth(self, last: int, emit_to: int, out: Output) -> None:
        """Compute the corrected answers up to a tick, and settle them."""
        for block in self._lanes.busy_blocks():
            first = max(self._final_tick + 1, last - self._look_back + 1)
            if first > emit_to:
                continue
            settled = self._lanes.settled[block.base : block.base + block.lanes]
            for tick, readout in enumerate(block.tracker.smooth(last, first, emit_to), first):
                if not block.was_stepped(tick):
                    continue
                age = block.age[tick % block.ring]
                present = (age <= self._hold) & (settled < tick)
                block.record(FINAL, tick, readout, age == 0, present)
        self._final_tick = max(self._final_tick, emit_to)
        self._settling.settle(self._final_tick, out)
        self._settling.expire(last, out)

    def _park(self, tick: int) -> None:
        lanes = self._lanes
        silent = lanes.active & (tick - lanes.last > self._hold)
        silent &= lanes.last + self._hold <= self._final_tick
        for lane in np.flatnonzero(silent).tolist():
            self._settling.park(lane)
            lanes.rest(lane, tick)

    def _expire(self, tick: int, out: Output) -> None:
        lanes = self._lanes
        over = np.flatnonzero((lanes.tag >= 0) & (tick - lanes.last - 1 > self._gap))
        for lane in over.tolist():
            cuts = self._settling.cuts.setdefault(lane, [])
            if not cuts or cuts[-1] < lanes.last[lane]:
                cuts.append(int(lanes.last[lane]))
        if len(over):
            self._free_ended(out)

    def _free_ended(self, out: Output) -> None:
        """Close visits whose end is settled, and empty the lanes of those who left."""
        lanes = self._lanes
        for lane, cuts in list(self._settling.cuts.items()):
            if cuts[-1] >= lanes.last[lane] and lanes.settled[lane] >= lanes.last[lane]:
                del self._settling.cuts[lane]
                self._settling.close(lane, out)
                out.zone_changes += self._changes.gone(lanes, lane)
                lanes.release(lane)

    def _advance_shelves(self, until_ns: int, out: Output) -> None:
        if self._shelves is None:
            return
        if not self._lanes.active.any():
            self._final_tick = max(self._final_tick, until_ns // self._tick_ns - 1)
        result = self._shelves.advance(until_ns)
        out.shelf_stock += result.stock
        out.sensor_health += result.health
        self._presence.wait(result.events, out)
        self._presence.release(self._final_tick, out)

    def _emit_visits(self, tick: int, out: Output) -> None:
        keep = []
        for visit in self._settling.closing:
            if tick - visit.last >= self._closing:
                out.visits.append(self._settling.rows.close(visit))
            else:
                keep.append(visit)
        self._settling.closing = keep
