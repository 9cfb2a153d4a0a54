"""From plate steps to what happened on one shelf: items, touches, moves, strangers.

Rules of the file: one `ShelfWatch` per shelf, driven once per tick while it has
anything pending and not at all otherwise; nothing that fits no item is ever
booked as a pick: it waits in the residual account, where a resting hand cancels
itself (Shelf reference 2.8 to 2.11). An add is provisional for four seconds,
because a hand that lies down and leaves looks like one; everything else is final
when it is resolved.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analytics.item_hypotheses import NULL_LOG, Evidence, Explanation, Planogram, explain
from analytics.shelf_groups import Part, PlateStep, clusters_of, is_ripe, parts_of
from analytics.shelf_happenings import Happening, Held, View

HOLD_TICKS = 40  # 8 s in the residual account
TAKE_BACK_TICKS = 24  # 4.8 s: an add can still turn out to be a hand
TICKS_PER_UNIT = 2.0  # nobody puts down more than 2.5 grips a second
BURST_TICKS = 60  # 12 s
TOUCH_WAIT_TICKS = 25
TOUCH_MERGE_TICKS = 15
UNKNOWN_G = 30.0
JOIN_TICKS = 15  # adds of one product within 3 s are one
_NEVER = -(1 << 62)

Floats = NDArray[np.float64]


class ShelfWatch:
    """What one shelf has pending, and what it decided.

    Parameters
    ----------
    plan : the shelf's planogram
    stranger : says which product of the store, taken recently, weighs that much
    """

    def __init__(self, plan: Planogram, stranger: Callable[[float, int], str | None]) -> None:
        self.plan = plan
        self.residual_g = np.zeros(plan.plates)
        self._stranger = stranger
        self._pending: list[PlateStep] = []
        self._residual_tick = _NEVER
        self._residual_onset = _NEVER
        self._residual_mass_g = 0.0
        self._residual_ticks = 0
        self._added = np.full(len(plan.gtins), _NEVER, np.int64)
        self._held: list[Held] = []
        self._touches: list[tuple[int, int, float]] = []
        self._last_touch = _NEVER
        self._items: list[int] = []
        self._out: list[Happening] = []

    def is_idle(self) -> bool:
        """Whether nothing is pending: ticks may be skipped."""
        return not (self._pending or self._held or self._touches or self._residual_tick != _NEVER)

    def touch(self, onset: int, plate: int, peak_g: float) -> None:
        """Note a plate that was pressed and came back to its level.

        Parameters
        ----------
        onset : tick in which it left its level
        plate : position on the shelf
        peak_g : largest deviation [g]
        """
        self._touches.append((onset, plate, peak_g))

    def add_step(self, step: PlateStep, tick: int, view: View) -> None:
        """Note a plate's step; a second one of the other sign resolves the first at once.

        Parameters
        ----------
        step : the step
        tick : the present tick
        view : the shelf's plates
        """
        opposite = any(
            s.plate == step.plate and s.delta_g * step.delta_g < 0 for s in self._pending
        )
        if opposite:
            for cluster in clusters_of(self._pending):
                if any(s.plate == step.plate for s in cluster):
                    self._resolve(cluster, tick, view)
        self._pending.append(step)

    def advance(self, tick: int, view: View, *, at_end: bool = False) -> list[Happening]:
        """Resolve what is ripe and return what is decided.

        Parameters
        ----------
        tick : the present tick
        view : the shelf's plates
        at_end : resolve everything, nothing more will come

        Returns
        -------
        happened : decisions of this tick, in order
        """
        for cluster in clusters_of(self._pending) if self._pending else []:
            if at_end or is_ripe(cluster, tick, view.moving_onset):
                self._resolve(cluster, tick, view)
        if self._residual_tick != _NEVER and (at_end or tick - self._residual_tick >= HOLD_TICKS):
            self._give_up(tick, view)
        for held in self._held:
            if at_end or tick >= held.release:
                self._out.append(replace(held.happened, status="final"))
        self._held = [h for h in self._held if not at_end and tick < h.release]
        if self._touches:
            self._release_touches(tick, at_end=at_end)
        out, self._out = self._out, []
        return out

    def _resolve(self, cluster: list[PlateStep], tick: int, view: View) -> None:
        self._pending = [s for s in self._pending if s not in cluster]
        rest = np.zeros(self.plan.plates)
        stepped = {s.plate for s in cluster}
        beside = {p + d for p in stepped for d in (-1, 1)} - stepped
        beside -= {s.plate for s in self._pending}
        near = np.array(sorted(p for p in beside if 0 <= p < self.plan.plates), np.int64)
        if len(near):
            rest[near] = view.take_rest(near)
        self._learn_talk(cluster, rest)
        for part in parts_of(cluster, rest, view.noise_g, self.plan.talk):
            self._decide(part, tick, view)

    def _learn_talk(self, cluster: list[PlateStep], rest: Floats) -> None:
        if len({s.plate for s in cluster}) > 1:
            return
        step = sum(s.delta_g for s in cluster)
        plate = cluster[0].plate
        beside = [p for p in (plate - 1, plate + 1) if 0 <= p < len(rest)]
        if abs(step) > 300.0 and all(abs(rest[p]) < 0.1 * abs(step) for p in beside):
            ratio = float(np.mean([rest[p] for p in beside])) / step if beside else 0.0
            self.plan.talk += 0.05 * (min(max(ratio, 0.0), 0.08) - self.plan.talk)

    def _decide(self, part: Part, tick: int, view: View) -> None:
        v = part.step_g
        size = float(np.abs(v).sum())
        if size < 1.0 or self._takes_back(part, size):
            return
        if self._residual_tick != _NEVER:
            both = v + self.residual_g
            slack = 2.0 + 3.0 * part.error_g
            if np.abs(both).sum() < 0.05 * (size + np.abs(self.residual_g).sum()) + slack:
                self._clear(part.onset)
                return
        burst = self._burst(part.onset)
        wide = int((np.abs(v) > 0.08 * size).sum()) >= 5 and not burst.any()
        moved = None if wide else self._move_of(part, size)
        if moved is not None:
            self._say(moved)
            return
        if not wide:
            found, used = self._best(part, view, burst)
            if found.items and self._is_sure(found):
                self._emit(found, used, tick)
                return
        self._keep(part, size, tick)

    def _best(self, part: Part, view: View, burst: NDArray[np.bool_]) -> tuple[Explanation, Part]:
        """Explain the step alone and together with the residual; take the better."""
        alone = explain(self.plan, self._evidence(part, view, burst))
        if self._residual_tick == _NEVER:
            return alone, part
        both = part.step_g + self.residual_g
        joined = replace(part, step_g=both, late_g=0.0)
        together = explain(self.plan, self._evidence(joined, view, burst))
        if together.items and together.log_p > alone.log_p + 0.5:
            self._forget_residual()
            return together, joined
        return alone, part

    def _evidence(self, part: Part, view: View, burst: NDArray[np.bool_]) -> Evidence:
        return Evidence(
            step_g=part.step_g,
            error_g=part.error_g,
            late_g=part.late_g,
            most_units=3.0 + part.ticks / TICKS_PER_UNIT,
            blind=view.blind,
            burst=burst,
        )

    @staticmethod
    def _is_sure(found: Explanation) -> bool:
        signs = {item.units > 0 for item in found.items}
        return found.log_p > NULL_LOG and (len(signs) == 1 or found.p >= 0.6)

    def _burst(self, tick: int) -> NDArray[np.bool_]:
        return np.asarray(tick - self._added < BURST_TICKS)

    def _emit(self, found: Explanation, part: Part, tick: int) -> None:
        v = part.step_g
        burst = self._burst(part.onset)
        for item in found.items:
            i, units = item.product, item.units
            near = np.where(self.plan.near[i], np.abs(v), 0.0)
            plate = int(np.argmax(near))
            booked = v if len(found.items) == 1 else np.where(self.plan.near[i], v, 0.0)
            delta = found.total_g if len(found.items) == 1 else units * self.plan.unit_g[i]
            onset = part.onset if len(found.items) == 1 else part.onsets.get(plate, part.onset)
            if abs(units) > 2:  # the first unit of many may have come to a plate of its own
                heavy = near > 0.3 * self.plan.unit_g[i]
                onset = min([onset, *(t for q, t in part.onsets.items() if heavy[q])])
            happened = Happening(
                kind="item",
                status="final" if units < 0 else "provisional",
                onset=onset,
                product=i,
                units=units,
                delta_g=float(delta),
                p=found.p,
                plate=plate,
            )
            if units > 0:
                happened = self._hold(happened, booked, part, tick)
                self._added[i] = part.onset
            self._say(happened)
        only = found.items[0]
        blind = found.z == 0.0 and abs(found.total_g) < 0.9 * self.plan.unit_g[only.product]
        sure = len(found.items) == 1 and found.p > 0.95 and abs(found.z) < 2.5 and not blind
        if sure and abs(only.units) <= 2 and not burst[only.product]:
            self.plan.learn_unit(only.product, only.units, found.total_g, part.error_g)

    def _hold(self, new: Happening, booked: Floats, part: Part, tick: int) -> Happening:
        """Keep an add for a while; one that goes on where another ended joins it."""
        for at, held in enumerate(self._held):
            old = held.happened
            if old.product == new.product and part.onset - held.end <= JOIN_TICKS:
                joined = replace(
                    old,
                    units=old.units + new.units,
                    delta_g=old.delta_g + new.delta_g,
                    p=min(old.p, new.p),
                )
                self._held[at] = Held(
                    happened=joined,
                    step_g=held.step_g + booked,
                    last_g=booked,
                    last=new,
                    end=part.onset + part.ticks,
                    release=tick + TAKE_BACK_TICKS,
                )
                return joined
        self._held.append(
            Held(
                happened=new,
                step_g=booked,
                last_g=booked,
                last=new,
                end=part.onset + part.ticks,
                release=tick + TAKE_BACK_TICKS,
            )
        )
        return new

    def _takes_back(self, part: Part, size: float) -> bool:
        """Retract an add, or all of them, that the exact opposite follows: it was a hand."""
        v = part.step_g
        young = [h for h in self._held if part.onset - h.last.onset <= TAKE_BACK_TICKS]
        choices = [([held], held.last_g) for held in reversed(young)]
        choices += [([held], held.step_g) for held in young if held.last is not held.happened]
        if len(young) > 1:
            choices.append((young, np.sum([h.step_g for h in young], axis=0)))
        for rest in (np.zeros_like(v), self.residual_g):
            for choice, added in choices:
                slack = 0.06 * 0.5 * (size + float(np.abs(added + rest).sum())) + 1.0
                slack += 3.0 * part.error_g
                if np.abs(v + added + rest).sum() > slack:
                    continue
                for held in choice:
                    self._retract(held, is_whole=added is not held.last_g)
                if rest.any():
                    self._forget_residual()
                return True
        return False

    def _retract(self, held: Held, *, is_whole: bool) -> None:
        old, last = held.happened, held.last
        self._touches.append((last.onset, last.plate, abs(last.delta_g)))
        self._items = [t for t in self._items if t != last.onset]
        self._held = [h for h in self._held if h is not held]
        if is_whole or last is old:
            self._out.append(replace(old, status="retracted"))
            return
        less = replace(old, units=old.units - last.units, delta_g=old.delta_g - last.delta_g)
        self._out.append(less)
        kept = held.step_g - held.last_g
        self._held.append(replace(held, happened=less, step_g=kept, last_g=kept, last=less))

    def _move_of(self, part: Part, size: float) -> Happening | None:
        """One product's unit that went from one plate to another."""
        v = part.step_g
        if abs(float(v.sum())) >= 0.12 * size or not len(self.plan.gtins):
            return None
        inside = self.plan.near @ np.abs(v)
        i = int(np.argmax(inside - 0.01 * np.abs(size / 2 - self.plan.unit_g)))
        count = round(size / 2 / self.plan.unit_g[i])
        slack = 0.15 * self.plan.unit_g[i] + 3.0 * part.error_g
        if inside[i] < 0.9 * size or count > 1:
            return None
        if count == 1 and size / 2 > self.plan.unit_g[i] + slack:
            return None
        return Happening(
            kind="move", status="final", onset=part.onset, product=i, units=0,
            delta_g=float(v.sum()), p=0.8, plate=int(np.argmax(np.abs(v))),
        )  # fmt: skip

    def _keep(self, part: Part, size: float, tick: int) -> None:
        onset = part.onset
        self.residual_g = self.residual_g + part.step_g
        self._residual_ticks = max(self._residual_ticks, part.ticks)
        self._residual_mass_g += size
        self._residual_tick = tick
        self._residual_onset = onset
        if np.abs(self.residual_g).sum() < 0.05 * self._residual_mass_g + 5.0:
            self._clear(onset)

    def _clear(self, onset: int) -> None:
        """Call an account that cancelled itself a touch: a hand was there."""
        plate = int(np.argmax(np.abs(self.residual_g)))
        self._touches.append((min(onset, self._residual_onset), plate, self._residual_mass_g))
        self._forget_residual()

    def _forget_residual(self) -> None:
        self.residual_g = np.zeros(self.plan.plates)
        self._residual_mass_g = 0.0
        self._residual_ticks = 0
        self._residual_tick = _NEVER

    def _give_up(self, tick: int, view: View) -> None:
        """After eight seconds: burst, catalogue weight, stranger, unknown, or nothing."""
        v, onset, ticks = self.residual_g, self._residual_onset, self._residual_ticks
        self._forget_residual()
        total = float(v.sum())
        error = float(np.sqrt((view.noise_g[v != 0] ** 2).sum() / 2.0 + 1.0))
        part = Part(step_g=v, onset=onset, error_g=error, late_g=0.0, ticks=ticks, onsets={})
        burst = self._burst(onset)
        found = explain(self.plan, self._evidence(part, view, burst))
        if not (found.items and self._is_sure(found)) and len(self.plan.gtins):
            found = self._by_catalogue(part, view, burst)
        if found.items and self._is_sure(found):
            self._emit(found, part, tick)
            return
        if burst.any() or abs(total) < max(UNKNOWN_G, 4.0 * error):
            return
        gtin = self._stranger(total, tick)
        self._say(
            Happening(
                kind="unknown" if gtin is None else "foreign", status="final", onset=onset,
                product=-1, units=0, delta_g=total, p=0.5, plate=int(np.argmax(np.abs(v))),
            )
        )  # fmt: skip

    def _by_catalogue(self, part: Part, view: View, burst: NDArray[np.bool_]) -> Explanation:
        """Try again with the catalogue's weights: a learned one may have gone wrong."""
        learned, sd = self.plan.unit_g.copy(), self.plan.unit_sd_g.copy()
        for product in range(len(self.plan.gtins)):
            self.plan.forget_unit(product)
        found = explain(self.plan, self._evidence(part, view, burst))
        used = {item.product for item in found.items}
        for product in range(len(self.plan.gtins)):
            if product not in used:
                self.plan.unit_g[product] = learned[product]
                self.plan.unit_sd_g[product] = sd[product]
        return found

    def _say(self, happened: Happening) -> None:
        self._items = [*self._items[-15:], happened.onset]
        self._out.append(happened)

    def _release_touches(self, tick: int, *, at_end: bool) -> None:
        ripe = [t for t in self._touches if at_end or tick - t[0] >= TOUCH_WAIT_TICKS + 15]
        self._touches = [t for t in self._touches if t not in ripe]
        for onset, plate, peak in sorted(ripe):
            near_item = any(abs(onset - item) <= 8 for item in self._items)
            if near_item or onset - self._last_touch < TOUCH_MERGE_TICKS:
                continue
            self._last_touch = onset
            self._out.append(
                Happening(
                    kind="touch", status="final", onset=onset, product=-1, units=0,
                    delta_g=0.0, p=min(0.99, 0.5 + peak / 400.0), plate=plate,
                )
            )  # fmt: skip
