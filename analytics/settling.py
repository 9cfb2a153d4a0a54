"""Settling: turning the answers kept in the rings into rows, stays and visits.

A tick of a lane settles when its corrected answer exists and evidence at or after
it is known; ticks after the last reading of a visit therefore never give rows.
Visits begin and end here, in event time, so that both drivers see the same ones.
"""

import math
import operator

import numpy as np
from numpy.typing import NDArray

from analytics.blocks import FINAL, Block, Layers
from analytics.dwell import DwellMachine, Stay
from analytics.lanes import Lanes
from analytics.minutes import Minutes
from analytics.position_rows import PositionRows, Said, first_of, joined, said_in, said_of
from analytics.rows import Output, ShelfEvent
from analytics.seats import Seats
from analytics.store import Store
from analytics.visits import OpenVisit, VisitRows, Walks

_NEVER = np.iinfo(np.int64).max
I64 = NDArray[np.int64]


class Settling:
    """Rows, stays and visits of all seats.

    Parameters
    ----------
    store, layers, lanes, seats, rows, minutes : the engine's parts
    hold : int, ticks without evidence after which a place is unknown

    Attributes
    ----------
    pass_bys : int, visits that ended before they were long enough to count
    """

    def __init__(
        self,
        store: Store,
        layers: Layers,
        lanes: Lanes,
        seats: Seats,
        rows: VisitRows,
        minutes: Minutes,
        *,
        hold: int,
    ) -> None:
        self._store, self._layers, self._lanes, self._seats = store, layers, lanes, seats
        self.rows, self._minutes, self._hold = rows, minutes, hold
        self._tick_ns = store.rules.tick_ns
        self._least = math.ceil(store.rules.visit_min_s / store.rules.tick_s - 1e-9)
        self._machines = [DwellMachine(store.rules) for _ in layers.zones]
        self._positions = PositionRows(layers, self._tick_ns)
        self.visits: dict[int, OpenVisit] = {}
        self.cuts: dict[int, list[int]] = {}
        """Per seat the ticks after which its visit ends, in order."""
        self.taps: dict[int, list[int]] = {}
        """Per seat the ticks of its taps that no closed visit has counted yet."""
        self.closing: list[OpenVisit] = []
        """Visits that are over and wait for late shelf events."""
        self.pass_bys = 0
        self._held: dict[int, Said] = {}
        self._walks = Walks()
        self._is_open = np.empty(0, np.bool_)
        self._last = np.empty(0, np.int64)
        self._confirm_at = np.empty(0, np.int64)
        self.grow()

    def grow(self) -> None:
        """Follow the seats when there are more."""
        seats = len(self._seats)
        more = seats - len(self._is_open)
        if not more:
            return
        self._walks.grow(seats)
        for machine in self._machines:
            machine.grow(seats)
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
        seats = self._seats
        due = np.flatnonzero(seats.lane >= 0)
        until = np.minimum(seats.last[due], final_tick)
        some = seats.settled[due] < until
        due, until = due[some], until[some]
        if not len(due):
            return
        for tick in range(int(seats.settled[due].min()) + 1, int(until.max()) + 1):
            now = due[(seats.settled[due] < tick) & (tick <= until)]
            if len(now):
                self._settle_tick(tick, now, out)
                seats.settled[now] = tick
        out.positions += self._positions.take()

    def park(self, seat: int) -> None:
        """Keep the answers said after a seat's last evidence: it is followed no longer."""
        if not self._is_open[seat]:
            return
        lane = int(self._seats.lane[seat])
        block = self._lanes.block_of(lane)
        ticks = int(self._seats.last[seat]) + 1 + np.arange(self._hold)
        self._held[seat] = said_of(block, lane - block.base, ticks)

    def resume(self, seat: int, tick: int, out: Output) -> None:
        """Give the rows of a long silence that turned out to lie inside a visit."""
        seats = self._seats
        silent = np.arange(int(seats.settled[seat]) + 1, tick)
        held = self._held.pop(seat, None)
        if held is not None:
            tag = int(seats.tag[seat])
            said, unsaid = silent[: self._hold], silent[self._hold :]
            first = first_of(held, len(said))
            tags, known = np.full(len(said), tag, np.int32), np.ones(len(said), np.bool_)
            self._positions.add(said, tags, first, known)
            for layer in range(len(self._machines)):
                zone = self._layers.to_store_zone(layer, first.zone[FINAL, layer])
                for at, here in zip(said.tolist(), zone, strict=True):
                    self._minutes.count(at, np.array([here]))
            if len(unsaid):
                self._positions.add_unknown(unsaid, tag)
            out.positions += self._positions.take()
        seats.settled[seat] = tick - 1

    def expire(self, tick: int, out: Output) -> None:
        """End stays whose tag has been silent for longer than the dwell gap."""
        seats = self._seats
        quiet = np.flatnonzero((seats.tag >= 0) & (seats.settled >= seats.last))
        for machine in self._machines:
            for stay in machine.expire(tick, quiet):
                self._book(stay, out)

    def close(self, seats: list[int], out: Output) -> None:
        """End the visits of some seats; everything up to their last evidence is settled."""
        if not seats:
            return
        for machine in self._machines:
            for stay in machine.end(np.array(seats)):
                self._book(stay, out)
        self._is_open[seats] = False
        self._confirm_at[seats] = _NEVER
        for seat in seats:
            self._held.pop(seat, None)
            visit = self.visits.pop(seat, None)
            if visit is not None:
                self._close_visit(seat, visit)

    def book(self, seat: int, tag: str, tick: int, event: ShelfEvent) -> None:
        """Count a shelf event in the visit of its person."""
        visit = self.visits.get(seat)
        if visit is not None and visit.tag == tag and tick >= visit.first:
            visit.book(event)
            return
        for closed in self.closing:
            if closed.tag == tag and closed.first <= tick:
                closed.book(event)
                return

    def running(self, visit: str) -> list[tuple[str, int]]:
        """Return the zones in which an open visit stays, and since when [ns]."""
        seat = next((at for at, open_ in self.visits.items() if open_.visit == visit), None)
        if seat is None:
            return []
        stays = [machine.running(seat) for machine in self._machines]
        zones = self._store.zones
        return [(zones[zone].id, first * self._tick_ns) for zone, first in stays if zone >= 0]

    def _settle_tick(self, tick: int, now: I64, out: Output) -> None:
        self._turn_visits(tick, now, out)
        parts = self._by_block(now[self._is_open[now]])
        if not parts:
            return
        at = np.concatenate([seats for _, seats, _ in parts])
        said = joined([said_in(block, tick, local) for block, _, local in parts])
        age, readings = (
            np.concatenate([ring(block)[tick % block.ring, local] for block, _, local in parts])
            for ring in (operator.attrgetter("age"), operator.attrgetter("readings"))
        )
        evidence, known = age == 0, age <= self._hold
        self._positions.add(np.full(len(at), tick), self._seats.tag[at], said, known)
        for layer, machine in enumerate(self._machines):
            zone = self._layers.to_store_zone(layer, said.zone[FINAL, layer])
            stays = machine.feed(
                tick,
                at[known],
                zone[known],
                said.zone_p[FINAL, layer][known],
                evidence[known],
                readings[known],
            )
            for stay in stays:
                self._book(stay, out)
            self._minutes.count(tick, zone[known])
        heard = at[evidence]
        self._last[heard] = tick
        x, y, _ = said.place[FINAL]
        self._walks.move(heard, x[evidence], y[evidence], said.floor[FINAL, evidence])
        for seat in heard[tick >= self._confirm_at[heard]].tolist():
            self._confirm(seat, out)

    def _turn_visits(self, tick: int, now: I64, out: Output) -> None:
        over = [seat for seat, cuts in self.cuts.items() if cuts[0] < tick]
        for seat in sorted(set(over).intersection(now.tolist())):
            later = [cut for cut in self.cuts[seat] if cut >= tick]
            if later:
                self.cuts[seat] = later
            else:
                del self.cuts[seat]
            self.close([seat], out)
        for block, at, local in self._by_block(now[~self._is_open[now]]):
            begin = at[block.age[tick % block.ring, local] == 0]
            self._walks.begin(begin)
            self._is_open[begin] = True
            self._confirm_at[begin] = tick + self._least - 1
            for seat in begin.tolist():
                self.visits[seat] = self.rows.open(self._seats.names[seat], tick)

    def _close_visit(self, seat: int, visit: OpenVisit) -> None:
        visit.last = int(self._last[seat])
        taps = self.taps.pop(seat, [])
        visit.taps = sum(visit.first <= tick <= visit.last for tick in taps)
        later = [tick for tick in taps if tick > visit.last]
        if later:
            self.taps[seat] = later
        if visit.confirmed:
            self._walks.end(seat, visit)
            self.closing.append(visit)
        else:
            self.pass_bys += 1

    def _confirm(self, seat: int, out: Output) -> None:
        """From now on a visit is more than a pass-by."""
        visit = self.visits[seat]
        visit.confirmed = True
        self._confirm_at[seat] = _NEVER
        out.visits_started.append((visit.visit, visit.tag, visit.first * self._tick_ns))
        out.dwells += visit.waiting
        visit.waiting.clear()

    def _book(self, stay: Stay, out: Output) -> None:
        visit = self.visits.get(stay.seat)
        if visit is None:
            return
        dwell = self.rows.dwell(visit, stay)
        visit.dwells.append(dwell)
        self._minutes.dwell(dwell)
        (out.dwells if visit.confirmed else visit.waiting).append(dwell)

    def _by_block(self, seats: I64) -> list[tuple[Block, I64, I64]]:
        """Return blocks with their seats and the lanes of these within the block."""
        lane = self._seats.lane[seats]
        found = []
        for block in self._lanes.blocks:
            mine = (lane >= block.base) & (lane < block.end)
            if mine.any():
                found.append((block, seats[mine], lane[mine] - block.base))
        return found
