"""The engine: readings, taps and samples in, rows out, by event time alone.

The live gateway and the file analysis drive this very class. What it says depends
on the rows of each tick and never on their order, their portions or repetitions,
so both drivers give the same rows. Invariants 1 to 4 of the architecture live here.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analytics.admission import Admission, Admitted
from analytics.blocks import AHEAD, LIVE, NEVER_TICKS, Layers
from analytics.cells import CellGrid, build_cells
from analytics.departures import Departures
from analytics.filter_model import TAP_NATS, build_model
from analytics.lanes import Lanes, lane_bytes, lanes_in_memory
from analytics.levels import TickLevels, rssi_tenths
from analytics.live_view import Live, live_view
from analytics.position_rows import floors_of_zones
from analytics.presence import (
    PRESENCE_S,
    Presence,
    entrance_share,
    reach_of_shelves,
    zone_index,
)
from analytics.radio_map import RadioMap
from analytics.rows import Output
from analytics.seats import NEVER, Seats
from analytics.settling import Settling
from analytics.shelf import ShelfCore
from analytics.state_size import StateSizes
from analytics.store import Store
from analytics.tallies import Tallies
from analytics.tap_turns import in_order
from analytics.tick_buffer import Columns, TickBuffer, ticks_in
from analytics.visits import VisitRows
from analytics.watches import Watches
from analytics.zone_changes import ZoneChanges

HOLD_S = 10.0
"""Without evidence for this long, a place is unknown."""
LANES_MOST = 16_384
"""Tags followed at one time, or fewer, as memory allows (`analytics.lanes`)."""
CLOSING_S = 20.0
"""A visit's row waits this long for shelf events of its last seconds."""
EMIT_SHARE = 0.6
"""Corrected answers come in batches of this share of the lag: the oldest waits for all of it."""
P_MOST_GEOMETRY = 0.75
"""Nothing found by geometry alone is surer than this: there the posterior misleads."""
_ALWAYS = 1 << 60


class Engine:
    """Computes everything about one store.

    Parameters
    ----------
    store : the store
    radio_map : expected levels in the store's cells
    name_of : returns the pseudonyms of tag ids
    grid : the store's cells, if they were built already
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
            grid,
            radio_map,
            tick_s=rules.tick_s,
            reach=reach_of_shelves(store, grid),
            entrance=entrance_share(store, grid),
            floors=len(store.floors),
        )
        self._store, self._tick_ns = store, rules.tick_ns
        lag = ticks_in(rules.lag_s, rules.tick_s)
        self._emit_every = max(1, int(EMIT_SHARE * lag))
        self._look_back = lag + 1
        self._hold = max(1, ticks_in(HOLD_S, rules.tick_s))
        self._gap = ticks_in(rules.visit_gap_s, rules.tick_s)
        self._closing = math.ceil(CLOSING_S / rules.tick_s)
        # A lane is kept for shelf events that come late, and then given back.
        late_s = CLOSING_S + PRESENCE_S if store.shelves else 0.0
        self._park_after = max(self._hold, math.ceil(late_s / rules.tick_s))
        self._layers = Layers(
            zones=tuple(
                np.array([i for i, zone in enumerate(store.zones) if zone.layer == layer], np.int16)
                for layer in store.layers
            ),
            cell_m=grid.cell_m,
            p_most=P_MOST_GEOMETRY if radio_map.source == "geometry" else 1.0,
            floor_of=floors_of_zones(store),
        )
        ring = self._look_back + self._park_after + self._hold + self._emit_every + 8
        each = lane_bytes(model, self._layers, depth=self._look_back, ring=ring)
        most = min(LANES_MOST, lanes_in_memory(each))
        self._lanes = Lanes(model, self._layers, depth=self._look_back, ring=ring, most=most)
        self._seats = Seats(len(self._layers.zones))
        self._tallies = Tallies(store, grid)
        self._settling = Settling(
            store, self._layers, self._lanes, self._seats, VisitRows(store, grid),
            self._tallies.minutes,
            hold=self._hold,
        )  # fmt: skip
        self._roles = [point.role for point in store.tap_points]
        self._watches = Watches(store, radio_map, self._seats, self._lanes)
        self._admission = Admission(
            self._seats, self._lanes, self._settling, self._watches, name_of=name_of,
            staff=frozenset(store.staff_tags), roles=self._roles, hold=self._hold,
            tick_s=rules.tick_s,
        )  # fmt: skip
        self._tap_nats = [
            np.log(np.exp(-TAP_NATS) + grid.zone_share[zone_index(store, point.zone)]).astype(
                np.float32
            )
            for point in store.tap_points
        ]
        self._levels = TickLevels(len(store.receivers))
        self._sizes = StateSizes(
            store, lane_bytes=each, by_lane=(self._watches, self._levels), hold=self._hold
        )
        self._readings = TickBuffer(self._tick_ns)
        self._taps = TickBuffer(self._tick_ns)
        self._shelves = ShelfCore(store) if store.shelves else None
        self._presence = Presence(store, self._lanes, self._seats, self._settling)
        self._changes = ZoneChanges(store, self._layers)
        self._departures = Departures(
            self._seats, self._lanes, self._settling, self._changes,
            hold=self._hold, park_after=self._park_after, gap=self._gap,
        )  # fmt: skip
        self._tick: int | None = None
        self._final_tick = self._last_closed = NEVER

    @property
    def refused_tags(self) -> int:
        """Tags that found no place, counted in every tick they were heard."""
        return self._admission.refused_tags

    @property
    def pass_bys(self) -> int:
        """Visits so far that were too short to count."""
        return self._settling.pass_bys

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
        """Return the ids of tags whose visit is open, which must keep their id."""
        return self._seats.tag[self._seats.tag >= 0]

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
        while self._tick is not None and self._lanes.used:
            self._close_tick(self._tick, out)
            self._tick += 1
            self._presence.release(self._final_tick, out)
        self._presence.release(_ALWAYS, out)
        self._departures.end_all(out)
        self._emit_visits(1 << 62, out)
        self._tallies.advance(1 << 62, out)
        return out

    def state_bytes(self) -> dict[str, int]:
        """Return the bytes of a `followed_tag`, a `resting_tag`, and what is `fixed`."""
        return self._sizes.of(self, lanes=len(self._lanes), seats=len(self._seats))

    def live(self) -> Live:
        """Return who is where at the end of the last closed tick."""
        tick = (self._tick or 0) - 1
        return live_view(
            self._store, self._layers, self._lanes, self._seats, tick=tick, hold=self._hold
        )

    def _next_tick(self) -> int | None:
        """Return the next tick to close; stretches in which nothing can happen are jumped.

        Which ticks are closed depends on event time alone, not on how far one can see.
        """
        if self._tick is not None and self._lanes.used:
            return self._tick
        found = [t for b in (self._readings, self._taps) if (t := b.first_tick()) is not None]
        if self._seats.taken:
            last = self._seats.last[self._seats.tag >= 0]
            found.append(int(last.min()) + self._gap + 2)
        found += [visit.last + self._closing for visit in self._settling.closing]
        if not found:
            return None
        return min(found) if self._tick is None else max(self._tick, min(found))

    def _close_tick(self, tick: int, out: Output) -> None:
        if tick > self._last_closed + 1:
            self._settling.expire(tick, out)
        self._last_closed = tick
        self._departures.expire(tick, out)
        readings, taps = self._readings.pop(tick), self._taps.pop(tick)
        if taps is not None:
            self._admission.cut(tick, taps)
            self._departures.free_ended(out)
        admitted = self._admission.admit(tick, readings, taps, out)
        if readings is not None or taps is not None:
            self._tallies.seen(tick)
        self._follow(tick, readings, taps, admitted, out)
        if (tick + 1) % self._emit_every == 0:
            self._smooth(tick, tick + 1 - (self._look_back - self._emit_every) - 1, out)
            self._presence.release(self._final_tick, out)  # before anybody's lane is emptied
        self._departures.park(tick, self._final_tick)
        self._departures.free_ended(out)
        settled = tick - self._look_back - self._park_after - self._hold - self._emit_every
        self._emit_visits(tick, out)
        self._tallies.advance(settled * self._tick_ns, out, self._settling.running)

    def _follow(
        self,
        tick: int,
        readings: Columns | None,
        taps: Columns | None,
        admitted: Admitted,
        out: Output,
    ) -> None:
        """Step all followed tags by one tick."""
        lane_of = self._seats.lane
        none = np.empty(0, np.int16)
        receiver, tenths = (none, none) if readings is None else (readings[1], readings[3])
        seat = admitted.of_reading
        followed = seat >= 0
        if not followed.all():
            receiver, tenths, seat = receiver[followed], tenths[followed], seat[followed]
        self._levels.reduce(receiver, lane_of[seat], tenths, len(self._lanes))
        stands_for = np.zeros(len(self._lanes), np.float32)
        stands_for[lane_of[admitted.seat]] = admitted.stands_for
        levels = self._levels.levels()
        heard = levels.heard * self._watches.use
        of_lane = self._lanes.seat
        age = np.where(of_lane >= 0, tick - self._seats.last[of_lane], NEVER_TICKS)
        readings = levels.count.sum(0)
        nats = self._take_taps(tick, taps, admitted.of_tap)
        for block in self._lanes.busy_blocks():
            mine, slot = slice(block.base, block.end), tick % block.ring
            block.age[slot], block.readings[slot] = age[mine], readings[mine]
            block.stands_for[slot] = stands_for[mine]
            evidence = age[mine] == 0
            before = block.decided[LIVE].copy()
            tapped = {at - block.base: v for at, v in nats.items() if block.base <= at < block.end}
            readout = block.tracker.step(tick, levels.level_db[:, mine], heard[:, mine], tapped)
            block.record_live(tick, readout, evidence)
            names = self._seats.names
            out.zone_changes += self._changes.of(
                block, tick, before, evidence, of_lane[mine], names
            )
        if self._lanes.blocks:
            self._watches.note(tick, levels)
            self._watches.decide(tick, out)

    def _take_taps(
        self, tick: int, taps: Columns | None, seat_of: NDArray[np.int64]
    ) -> dict[int, NDArray[np.float32]]:
        """Note the taps of a tick; returns the evidence for the place by lane."""
        nats: dict[int, NDArray[np.float32]] = {}
        if taps is None:
            return nats
        settling = self._settling
        for at in in_order(taps):
            seat, point = int(seat_of[at]), int(taps[1][at])
            if seat < 0:
                continue
            lane = int(self._seats.lane[seat])
            nats[lane] = nats.get(lane, np.float32(0)) + self._tap_nats[point]
            settling.taps.setdefault(seat, []).append(tick)
            self._tallies.minutes.tapped(self._seats.names[seat], tick, self._roles[point])
            if self._roles[point] == "exit":
                settling.cuts.setdefault(seat, []).append(tick)
        return nats

    def _smooth(self, last: int, emit_to: int, out: Output) -> None:
        """Compute the corrected answers up to a tick, and settle them."""
        for block in self._lanes.busy_blocks():
            first = max(self._final_tick + 1, last - self._look_back + 1)
            if first > emit_to:
                continue
            seats = self._lanes.seat[block.base : block.end]
            settled = np.where(seats >= 0, self._seats.settled[seats], _ALWAYS)
            until = np.where(seats >= 0, self._seats.last[seats], -1)
            ahead = min(last, emit_to + AHEAD)
            corrected = block.tracker.smooth(last, first, ahead, block.weights)
            decisive = [block.masses(readout) for readout, _ in corrected]
            for at, tick in enumerate(range(first, emit_to + 1)):
                if not block.was_stepped(tick):
                    continue
                readout, cell_ticks = corrected[at]
                masses = block.zone_masses(readout)
                self._tallies.note(tick, block.weights(tick), masses, cell_ticks)
                age = block.age[tick % block.ring]
                present = (age <= self._hold) & (settled < tick)
                near = decisive[at : at + AHEAD + 1]
                block.record_final(tick, readout, near, age == 0, present, until)
        self._final_tick = max(self._final_tick, emit_to)
        self._settling.settle(self._final_tick, out)
        self._settling.expire(last, out)

    def _advance_shelves(self, until_ns: int, out: Output) -> None:
        if self._shelves is None:
            return
        if not self._lanes.used:
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
