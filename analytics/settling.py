"""Settling: turning the answers kept in the rings into rows, stays and visits.

A tick of a lane settles when its corrected answer exists and evidence at or after
it is known; ticks after the last reading of a visit therefore never give rows.
Visits begin and end here, in event time, so that both drivers see the same ones.
"""

import math

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import FINAL, LIVE, Block, Layers
from analytics.dwell import DwellMachine, Stay
from analytics.lanes import Lanes
from analytics.minutes import Minutes
from analytics.rows import Output, Positions, ShelfEvent
from analytics.store import Store
from analytics.visits import OpenVisit, VisitRows, Walks

KNOWN, UNKNOWN, OUTSIDE = 0, 1, 2
_NEVER = np.iinfo(np.int64).max
I64 = NDArray[np.int64]
Said = tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.float32]]
"""Places, zones and their probabilities of one lane, as its block's rings hold them."""


class Settling:
    """Rows, stays and visits of all lanes.

    Parameters
    ----------
    store, layers, lanes, rows, minutes : the engine's parts
    hold : int, ticks without evidence after which a place is unknown
    """

    def __init__(
        self,
        store: Store,
        layers: Layers,
        lanes: Lanes,
        rows: VisitRows,
        minutes: Minutes,
        *,
        hold: int,
    ) -> None:
        self._store, self._layers, self._lanes = store, layers, lanes
        self.rows, self._minutes, self._hold = rows, minutes, hold
        self._tick_ns = store.rules.tick_ns
        self._least = math.ceil(store.rules.visit_min_s / store.rules.tick_s - 1e-9)
        self._machines = [DwellMachine(store.rules) for _ in layers.zones]
        self.visits: dict[int, OpenVisit] = {}
        self.cuts: dict[int, list[int]] = {}
        """Per lane the ticks after which its visit ends, in order."""
        self.taps: dict[int, list[int]] = {}
        """Per lane the ticks of its taps that no closed visit has counted yet."""
        self.closing: list[OpenVisit] = []
        """Visits that are over and wait for late shelf events."""
        self._held: dict[int, Said] = {}
        self._walks = Walks()
        self._is_open = np.empty(0, np.bool_)
        self._last = np.empty(0, np.int64)
        self._confirm_at = np.empty(0, np.int64)

    def grow(self) -> None:
        """Follow the lanes when blocks were added."""
        lanes = len(self._lanes)
        more = lanes - len(self._is_open)
        self._walks.grow(lanes)
        for machine in self._machines:
            machine.grow(lanes)
        self._is_open = np.concatenate([self._is_open, np.zeros(more, np.bool_)])
        self._last = np.concatenate([self._last, np.zeros(more, np.int64)])
        self._confirm_at = np.concatenate([self._confirm_at, np.full(more, _NEVER)])

    def settle(self, final_tick: int, out: Output) -> None:
        """Settle everything up to a tick whose corrected answers exist.

        Parameters
        ----------
        final_tick : int
        out : receives rows
        """
        lanes = self._lanes
        due = (lanes.tag >= 0) & lanes.active
        until = np.minimum(lanes.last, final_tick)
        due &= lanes.settled < until
        if not due.any():
            return
        first, last = int(lanes.settled[due].min()) + 1, int(until[due].max())
        for tick in range(first, last + 1):
            now = np.flatnonzero(due & (lanes.settled < tick) & (tick <= until))
            if len(now):
                self._settle_tick(tick, now, out)
                lanes.settled[now] = tick

    def park(self, lane: int) -> None:
        """Keep the answers said after a lane's last evidence: it is stepped no longer."""
        if not self._is_open[lane]:
            return
        block = self._lanes.block_of(lane)
        at = lane - block.base
        slots = (int(self._lanes.last[lane]) + 1 + np.arange(self._hold)) % block.ring
        self._held[lane] = (
            block.place[..., at][:, slots],
            block.zone[..., at][:, slots],
            block.zone_p[..., at][:, slots],
        )

    def resume(self, lane: int, tick: int, out: Output) -> None:
        """Give the rows of a long silence that turned out to lie inside a visit."""
        lanes = self._lanes
        silent = np.arange(int(lanes.settled[lane]) + 1, tick)
        held = self._held.pop(lane, None)
        if held is not None:
            tag = int(lanes.tag[lane])
            out.positions.append(self._said(silent[: self._hold], tag, held))
            if len(silent) > self._hold:
                out.positions.append(self._unknown(silent[self._hold :], tag))
        lanes.settled[lane] = tick - 1

    def expire(self, tick: int, out: Output) -> None:
        """End stays whose tag has been silent for longer than the dwell gap."""
        lanes = self._lanes
        quiet = np.flatnonzero((lanes.tag >= 0) & (lanes.settled >= lanes.last))
        for machine in self._machines:
            for stay in machine.expire(tick, quiet):
                self._book(stay, out)

    def close(self, lane: int, out: Output) -> None:
        """End a lane's visit; everything up to its last evidence is settled."""
        for machine in self._machines:
            for stay in machine.end(np.array([lane])):
                self._book(stay, out)
        self._held.pop(lane, None)
        self._is_open[lane] = False
        self._confirm_at[lane] = _NEVER
        visit = self.visits.pop(lane, None)
        if visit is not None:
            visit.last = int(self._last[lane])
            self._walks.end(lane, visit)
            taps = self.taps.pop(lane, [])
            visit.taps = sum(visit.first <= tick <= visit.last for tick in taps)
            later = [tick for tick in taps if tick > visit.last]
            if later:
                self.taps[lane] = later
            if visit.confirmed:
                self.closing.append(visit)

    def book(self, lane: int, tag: str, tick: int, event: ShelfEvent) -> None:
        """Count a shelf event in the visit of its person."""
        visit = self.visits.get(lane)
        if visit is not None and visit.tag == tag and tick >= visit.first:
            visit.book(event)
            return
        for closed in self.closing:
            if closed.tag == tag and closed.first <= tick:
                closed.book(event)
                return

    def running(self, visit: str) -> list[tuple[str, int]]:
        """Return the zones in which an open visit stays, and since when [ns]."""
        lane = next((at for at, open_ in self.visits.items() if open_.visit == visit), None)
        if lane is None:
            return []
        stays = [machine.running(lane) for machine in self._machines]
        zones = self._store.zones
        return [(zones[zone].id, first * self._tick_ns) for zone, first in stays if zone >= 0]

    def _settle_tick(self, tick: int, now: I64, out: Output) -> None:
        self._turn_visits(tick, now, out)
        inside = now[self._is_open[now]]
        if not len(inside):
            return
        out.positions.append(self._positions(tick, inside))
        for block, at in self._by_block(inside):
            slot = tick % block.ring
            local = at - block.base
            age = block.age[slot, local]
            evidence = age == 0
            known = age <= self._hold
            for layer, machine in enumerate(self._machines):
                decided = block.zone[FINAL, slot, layer, local]
                zone = self._layers.to_store_zone(layer, decided)
                stays = machine.feed(
                    tick,
                    at[known],
                    zone[known],
                    block.zone_p[FINAL, slot, layer, local][known],
                    evidence[known],
                    block.readings[slot, local][known],
                )
                for stay in stays:
                    self._book(stay, out)
                self._minutes.count(tick, zone[known])
            heard, here = at[evidence], local[evidence]
            self._last[heard] = tick
            x, y, _ = block.place[FINAL, slot]
            self._walks.move(heard, x[here], y[here])
            for lane in heard[tick >= self._confirm_at[heard]].tolist():
                self._confirm(lane, out)

    def _turn_visits(self, tick: int, now: I64, out: Output) -> None:
        over = [lane for lane, cuts in self.cuts.items() if cuts[0] < tick]
        for lane in sorted(set(over).intersection(now.tolist())):
            later = [cut for cut in self.cuts[lane] if cut >= tick]
            if later:
                self.cuts[lane] = later
            else:
                del self.cuts[lane]
            self.close(lane, out)
        for block, at in self._by_block(now[~self._is_open[now]]):
            begin = at[block.age[tick % block.ring, at - block.base] == 0]
            self._walks.begin(begin)
            self._is_open[begin] = True
            self._confirm_at[begin] = tick + self._least - 1
            for lane in begin.tolist():
                self.visits[lane] = self.rows.open(self._lanes.names[lane], tick)

    def _confirm(self, lane: int, out: Output) -> None:
        """From now on a visit is more than a pass-by."""
        visit = self.visits[lane]
        visit.confirmed = True
        self._confirm_at[lane] = _NEVER
        out.visits_started.append((visit.visit, visit.tag, visit.first * self._tick_ns))
        out.dwells += visit.waiting
        visit.waiting.clear()

    def _book(self, stay: Stay, out: Output) -> None:
        visit = self.visits.get(stay.lane)
        if visit is None:
            return
        dwell = self.rows.dwell(visit, stay)
        visit.dwells.append(dwell)
        self._minutes.dwell(dwell)
        (out.dwells if visit.confirmed else visit.waiting).append(dwell)

    def _by_block(self, lanes: I64) -> list[tuple[Block, I64]]:
        found = []
        for block in self._lanes.blocks:
            at = lanes[(lanes >= block.base) & (lanes < block.base + block.lanes)]
            if len(at):
                found.append((block, at))
        return found

    def _positions(self, tick: int, lanes: I64) -> Positions:
        """Rows of both stages and all layers for some lanes in one tick."""
        parts: list[tuple[NDArray[np.generic], ...]] = []
        for block, at in self._by_block(lanes):
            slot, local = tick % block.ring, at - block.base
            known = block.age[slot, local] <= self._hold
            tag = self._lanes.tag[at]
            for stage in (LIVE, FINAL):
                place = np.where(known, block.place[stage, slot][:, local], np.nan)
                for layer in range(len(self._machines)):
                    decided = block.zone[stage, slot, layer, local]
                    zone = np.where(known, self._layers.to_store_zone(layer, decided), -1)
                    state = np.where(known, np.where(zone >= 0, KNOWN, OUTSIDE), UNKNOWN)
                    zone_p = np.where(known, block.zone_p[stage, slot, layer, local], np.nan)
                    which = (np.full(len(at), stage), np.full(len(at), layer))
                    parts.append((tag, *which, zone, state, zone_p, *place))
        return self._table(np.full(sum(len(p[0]) for p in parts), tick), parts)

    def _said(self, ticks: I64, tag: int, said: Said) -> Positions:
        """Rows of one lane in ticks whose answers were kept."""
        n = len(ticks)
        places, decided, zone_p = said
        parts: list[tuple[NDArray[np.generic], ...]] = []
        for stage in (LIVE, FINAL):
            place = places[stage, :n].T
            for layer in range(len(self._machines)):
                zone = self._layers.to_store_zone(layer, decided[stage, :n, layer])
                which = (np.full(n, tag), np.full(n, stage), np.full(n, layer))
                state = np.where(zone >= 0, KNOWN, OUTSIDE)
                parts.append((*which, zone, state, zone_p[stage, :n, layer], *place))
        return self._table(np.tile(ticks, len(parts)), parts)

    def _unknown(self, ticks: I64, tag: int) -> Positions:
        n = len(ticks)
        nan = np.full(n, np.nan)
        parts: list[tuple[NDArray[np.generic], ...]] = [
            (np.full(n, tag), np.full(n, stage), np.full(n, layer), np.full(n, -1),
             np.full(n, UNKNOWN), nan, nan, nan, nan)
            for stage in (LIVE, FINAL)
            for layer in range(len(self._machines))
        ]  # fmt: skip
        return self._table(np.tile(ticks, len(parts)), parts)

    def _table(self, ticks: I64, parts: list[tuple[NDArray[np.generic], ...]]) -> Positions:
        tag, stage, layer, zone, state, zone_p, x, y, sigma = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return Positions(
            t_ns=(ticks + 1) * self._tick_ns,
            tag=tag.astype(np.int32),
            stage=stage.astype(np.uint8),
            layer=layer.astype(np.uint8),
            zone=zone.astype(np.int16),
            zone_state=state.astype(np.uint8),
            zone_p=np.round(zone_p.astype(np.float64), 3).astype(np.float32),
            x_m=np.round(x.astype(np.float64), 2).astype(np.float32),
            y_m=np.round(y.astype(np.float64), 2).astype(np.float32),
            sigma_m=np.round(sigma.astype(np.float64), 2).astype(np.float32),
        )
