"""The shelf core: samples of load cells become shelf events, stock and sensor health.

Rules of the file: the same rows give the same output whatever their order, their
duplicates and the stretches in which they come; a tick of 0.2 s is closed once
and for all; ticks in which nothing can happen are jumped over. Loops run over
ticks and over what happens, never over plates. Source: Shelf reference, section 2.
"""

import functools
import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.item_hypotheses import Planogram
from analytics.plateau import MOVING, SILENT_TICKS, WARM, Plates, PlateSteps
from analytics.rows import SensorHealth, ShelfEvent, ShelfStock
from analytics.sample_ticks import TICK_NS, Cells, OpenSamples
from analytics.sensor_health import CHECK_TICKS, OFFSET, SILENT, STUCK, Health
from analytics.shelf_events import ShelfWatch
from analytics.shelf_groups import PlateStep
from analytics.shelf_happenings import Happening, View
from analytics.shelf_looks import Look, Looks
from analytics.shelf_stock import Ledger
from analytics.store import Store

REZERO_SHARE = 0.58
REZERO_PLATES = 5  # fewer plates than this can all be pressed by one hand
TOUCH_G = 25.0
RANGE_LIMIT_MM = 100_000.0
RIPEN_TICKS = 250  # longer than anything stays pending
CLOSE_TICKS = 600  # at most two minutes of ticks are laid out at once
_FAR = 1 << 62

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True, kw_only=True)
class ShelfOutput:
    """What closed ticks produced, in order of decision."""

    events: list[ShelfEvent] = field(default_factory=list)
    stock: list[ShelfStock] = field(default_factory=list)
    health: list[SensorHealth] = field(default_factory=list)


class ShelfCore:
    """All shelves of a store.

    Parameters
    ----------
    store : shelves, their sensors (flat index of `Store.sensors`) and products

    Raises
    ------
    ValueError
        From `add`, when columns differ in length.
    """

    def __init__(self, store: Store) -> None:
        sensors = store.sensors
        self._store_id = store.id
        is_mass = np.array([s.kind == "mass" for _, s in sensors], bool)
        limit = np.array([s.capacity_g if s.kind == "mass" else RANGE_LIMIT_MM for _, s in sensors])
        self.samples = OpenSamples(limit)
        self._sensor_of = np.flatnonzero(is_mass)
        self._plate_of = np.full(len(sensors), -1, np.int64)
        self._plate_of[self._sensor_of] = np.arange(len(self._sensor_of))
        number = {shelf.id: at for at, shelf in enumerate(store.shelves)}
        self._range_sensor = np.flatnonzero(~is_mass)
        self._range_of = np.full(len(sensors), -1, np.int64)
        self._range_of[self._range_sensor] = np.arange(len(self._range_sensor))
        self._range_shelf = [number[sensors[s][0].id] for s in self._range_sensor]
        self.looks = Looks(len(self._range_sensor))
        self._shelf_of = np.array([number[sensors[s][0].id] for s in self._sensor_of], np.int64)
        self._shelves = tuple(shelf.id for shelf in store.shelves)
        self._names = tuple(s.id for _, s in sensors)
        plans = tuple(Planogram(shelf) for shelf in store.shelves)
        counts = np.array([plan.plates for plan in plans], np.int64)
        self._count = counts
        self._first = np.concatenate(([0], np.cumsum(counts)))
        self.plates = Plates(len(self._sensor_of))
        self.health = Health(self._names, is_mass)
        firsts = tuple(int(f) for f in self._first[:-1])
        self.ledger = Ledger(self._shelves, plans, firsts)
        self._watches = [
            ShelfWatch(plan, functools.partial(self.ledger.stranger, at))
            for at, plan in enumerate(plans)
        ]
        self._busy: set[int] = set()
        self._next: int | None = None  # next tick to close, None before the first sample
        self._rezeroed = np.full(len(plans), -_FAR, np.int64)
        self._last_rezero = -_FAR
        self._ordinals: dict[tuple[int, str, int], int] = {}
        self._ids: dict[tuple[int, int, int], str] = {}

    def add(
        self, t_ns: NDArray[np.int64], sensor: NDArray[np.int16], value: NDArray[np.float64]
    ) -> int:
        """Take samples in any order; return the rows that came too late.

        Parameters
        ----------
        t_ns : shape (n,), int64 [ns since 1970, UTC]
        sensor : shape (n,), int16, flat index into `Store.sensors`
        value : shape (n,), float64 [g] for mass, [mm] for range

        Returns
        -------
        late : rows whose tick was closed
        """
        return self.samples.add(t_ns, sensor, value)

    def advance(self, until_ns: int) -> ShelfOutput:
        """Close every tick that ends at or before a moment.

        Parameters
        ----------
        until_ns : int [ns since 1970, UTC]

        Returns
        -------
        output : what these ticks produced
        """
        return self._run(until_ns // TICK_NS)

    def finish(self) -> ShelfOutput:
        """Close everything, resolve what is pending and report every product's stock."""
        last = self.samples.last_tick()
        out = self._run(last + 1) if last is not None else ShelfOutput()
        if self._next is None:
            return out
        # Empty ticks let pending things ripen as they would have, had time gone on.
        none = self.samples.close(self._next)
        for tick in range(self._next, self._next + RIPEN_TICKS):
            if not self._busy and tick - self._next > SILENT_TICKS:
                break
            self._tick(tick, none, slice(0, 0), out, checks_health=False)
        tick = self._next + RIPEN_TICKS
        for shelf in sorted(self._busy):
            happened = self._watches[shelf].advance(tick, self._view(shelf, tick), at_end=True)
            self._report(shelf, happened, tick, out)
        self._busy.clear()
        last = int(self.health.heard.max())
        out.stock += self.ledger.all_rows(last, self.plates.level_g, self._fault())
        return out

    def _run(self, until: int) -> ShelfOutput:
        out = ShelfOutput()
        while True:
            first = self.samples.first_tick()
            if self._next is None:
                if first is None or first >= until:
                    self.samples.close(until)
                    return out
                self._next = first
            if self._next >= until:
                return out
            stop = min(until, self._next + CLOSE_TICKS)
            cells = self.samples.close(stop)
            edges = np.searchsorted(cells.tick, np.arange(self._next, stop + 1))
            for at, tick in enumerate(range(self._next, stop)):
                here = slice(int(edges[at]), int(edges[at + 1]))
                self._tick(tick, cells, here, out)
            self._next = stop
            if not self._busy and self._is_at_rest(stop):
                first = self.samples.first_tick()
                self._next = until if first is None else max(stop, min(until, first))

    def _is_at_rest(self, tick: int) -> bool:
        quiet = self.plates.is_at_rest(tick) and self.looks.is_at_rest(tick)
        return quiet and self.health.is_at_rest()

    def _tick(
        self, tick: int, cells: Cells, here: slice, out: ShelfOutput, *, checks_health: bool = True
    ) -> None:
        sensor = cells.sensor[here]
        plate = self._plate_of[sensor]
        on = plate >= 0
        median = cells.median[here]
        steps = self.plates.step(tick, plate[on], median[on], cells.step[here][on])
        if len(sensor):
            self.health.see(tick, sensor, median, cells.spread[here], cells.count[here])
        if checks_health and tick % CHECK_TICKS == 0:
            self._check_health(tick, out)
        is_many = len(steps.left) >= REZERO_PLATES * REZERO_SHARE
        if len(steps.left) and (is_many or tick - self._last_rezero <= 2):
            self._find_rezeros(tick, steps.left, out)
        if len(steps.settled):
            self._note_steps(steps, tick)
        if len(self._range_sensor):
            for look in self.looks.step(tick, self._range_of[sensor[~on]], median[~on]):
                self._report_look(look, out)
        if self._busy:
            for shelf in sorted(self._busy):
                watch = self._watches[shelf]
                self._report(shelf, watch.advance(tick, self._view(shelf, tick)), tick, out)
                if watch.is_idle():
                    self._busy.discard(shelf)
        if self.ledger.has_uncounted and tick % CHECK_TICKS == 0:
            out.stock += self.ledger.count_first(
                tick, self.plates.level_g, self.plates.state != WARM, self._fault()
            )

    def _check_health(self, tick: int, out: ShelfOutput) -> None:
        noise, level = np.zeros(len(self._names)), np.zeros(len(self._names))
        settled = np.zeros(len(self._names), bool)
        noise[self._sensor_of] = self.plates.noise_g
        level[self._sensor_of] = self.plates.level_g
        settled[self._sensor_of] = self.plates.state != WARM
        rows = self.health.check(tick, noise, level, settled)
        out.health += rows
        for row in rows:
            plate = int(self._plate_of[self._names.index(row.sensor)])
            if plate >= 0 and row.reason != "first seen":
                out.stock += self.ledger.rows_of_plate(
                    int(self._shelf_of[plate]), plate, tick, self.plates.level_g, self._fault()
                )

    def _fault(self) -> NDArray[np.bool_]:
        state = self.health.state[self._sensor_of]
        return np.asarray((state == STUCK) | (state == SILENT) | (state == OFFSET))

    def _find_rezeros(self, tick: int, left: Ints, out: ShelfOutput) -> None:
        """Most of a shelf's plates jump at once: the scales were set to zero, nobody picked."""
        plates = self.plates
        recent = (plates.state == MOVING) & (plates.onset >= tick - 1)
        alive = (plates.state != WARM) & (tick - plates.heard <= 1)
        counts = len(self._count)
        jumped = np.bincount(self._shelf_of[recent], minlength=counts)
        live = np.bincount(self._shelf_of[alive], minlength=counts)
        for shelf in np.unique(self._shelf_of[left]):
            again = tick - self._rezeroed[shelf] <= 2
            if not again and (
                live[shelf] < REZERO_PLATES or jumped[shelf] < REZERO_SHARE * live[shelf]
            ):
                continue
            mine = np.arange(self._first[shelf], self._first[shelf + 1])
            moving = mine[plates.state[mine] == MOVING]
            change = plates.now_g[moving] - plates.level_g[moving]
            plates.rebase(moving, tick)
            if again:
                continue
            self._rezeroed[shelf] = self._last_rezero = tick
            happened = Happening(
                kind="rezero", status="final", onset=tick, product=-1, units=0,
                delta_g=float(change.sum()), p=1.0,
                plate=int(moving[np.argmax(np.abs(change))] - self._first[shelf]),
            )  # fmt: skip
            self._report(int(shelf), [happened], tick, out)

    def _note_steps(self, steps: PlateSteps, tick: int) -> None:
        noise = self.plates.noise_g[steps.settled]
        touched = ~steps.is_step & (steps.peak_g > np.maximum(TOUCH_G, 10.0 * noise))
        for at in np.flatnonzero(steps.is_step | touched):
            plate = int(steps.settled[at])
            shelf = int(self._shelf_of[plate])
            place = plate - int(self._first[shelf])
            onset = int(steps.onset[at])
            watch = self._watches[shelf]
            if steps.is_step[at]:
                step = PlateStep(
                    plate=place,
                    delta_g=float(steps.delta_g[at]),
                    onset=onset,
                    settled=tick,
                    noise_g=float(noise[at]),
                )
                watch.add_step(step, tick, self._view(shelf, tick))
            else:
                watch.touch(onset, place, float(steps.peak_g[at]))
            self._busy.add(shelf)

    def _view(self, shelf: int, tick: int) -> View:
        here = slice(int(self._first[shelf]), int(self._first[shelf + 1]))
        plates = self.plates
        blind = self.health.blind()[self._sensor_of[here]] | (tick - plates.heard[here] > 15)
        return View(
            noise_g=plates.noise_g[here],
            moving_onset=np.where(plates.state[here] == MOVING, plates.onset[here], _FAR),
            blind=blind,
            take_rest=functools.partial(self._take_rest, int(self._first[shelf])),
        )

    def _take_rest(self, first: int, place: Ints) -> Floats:
        return self.plates.take_rest(place + first, 0.5)

    def _report(self, shelf: int, happened: list[Happening], tick: int, out: ShelfOutput) -> None:
        for one in happened:
            plan = self._watches[shelf].plan
            gtin: str | None = plan.gtins[one.product] if one.product >= 0 else None
            kind = one.kind
            if kind == "item":
                is_final = one.status == "final"
                name = self.ledger.book if is_final else self._kind_only
                kind = name(shelf, one.product, one.units, one.onset, one.p)
            elif kind == "foreign":
                gtin = self.ledger.stranger(shelf, one.delta_g, tick) or None
                self.ledger.note_strange(shelf, one.delta_g)
            out.events.append(
                ShelfEvent(
                    event=self._id(shelf, gtin or "", one),
                    t_ns=one.onset * TICK_NS,
                    shelf=self._shelves[shelf],
                    sensor=self._names[self._sensor_of[self._first[shelf] + one.plate]],
                    gtin=gtin,
                    kind=kind,
                    status=one.status,
                    quantity=abs(one.units),
                    delta_g=round(one.delta_g, 1),
                    confidence=round(one.p, 3),
                )
            )
            if one.kind == "item" and one.status == "final":
                out.stock += self.ledger.row_if_changed(
                    shelf, one.product, tick, self.plates.level_g, self._fault()
                )

    def _report_look(self, look: Look, out: ShelfOutput) -> None:
        """Report a look: no product, no grams; the longer, the surer."""
        shelf = self._range_shelf[look.sensor]
        one = Happening(
            kind="look", status="final", onset=look.start, product=-1, units=0, delta_g=0.0,
            p=min(0.99, 0.5 + 0.02 * (look.end - look.start)), plate=-1,
        )  # fmt: skip
        out.events.append(
            ShelfEvent(
                event=self._id(shelf, "", one),
                t_ns=one.onset * TICK_NS,
                shelf=self._shelves[shelf],
                sensor=self._names[self._range_sensor[look.sensor]],
                gtin=None,
                kind="look",
                status="final",
                quantity=0,
                delta_g=0.0,
                confidence=round(one.p, 3),
            )
        )

    def _kind_only(self, shelf: int, product: int, units: int, onset: int, p: float) -> str:
        del p
        return self.ledger.kind_of(shelf, product, units, onset)

    def _id(self, shelf: int, gtin: str, one: Happening) -> str:
        """Hash of store, kind of row, shelf, gtin, start tick and ordinal."""
        key = (shelf, one.product, one.onset)
        if key in self._ids and one.units > 0:  # it grew, or it ends
            return self._ids[key] if one.status == "provisional" else self._ids.pop(key)
        count = (shelf, gtin, one.onset)
        ordinal = self._ordinals.get(count, 0)
        self._ordinals[count] = ordinal + 1
        if len(self._ordinals) > 4096:  # onsets that old cannot come again
            self._ordinals = {k: n for k, n in self._ordinals.items() if k[2] > one.onset - 1500}
        text = "\x1f".join(
            [
                self._store_id,
                "shelf_event",
                self._shelves[shelf],
                gtin,
                str(one.onset),
                str(ordinal),
            ]
        )
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        if one.status == "provisional":
            self._ids[key] = name
        return name
