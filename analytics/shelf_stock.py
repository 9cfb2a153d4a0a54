"""The ledger: how many units of each product stand on each shelf, and how sure that is.

Rules of the file: quantities come from events alone, after one first estimate from
the absolute mass; the mass is a second witness and never corrects a count (Shelf
reference, section 0, decision 5: reconciling by mass made counts worse).
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analytics.item_hypotheses import CATALOGUE_SD, Planogram
from analytics.rows import ShelfStock
from analytics.sample_ticks import TICK_NS

OUTSTANDING_TICKS = 3000  # a pick can come back within ten minutes
RESTOCK_TICKS = 300  # three units within a minute are a restock
UNKNOWN_SIGMA = 99.0
LOW_SHARE = 0.2

Floats = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class _Line:
    """One product on one shelf."""

    plates: NDArray[np.int64]
    is_alone: bool
    quantity: int = 0
    variance: float = UNKNOWN_SIGMA**2
    is_counted: bool = False
    most: int = 0
    reported: tuple[int, str] | None = None
    picks: deque[int] = field(default_factory=lambda: deque(maxlen=64))
    adds: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=64))


class Ledger:
    """Every product's line.

    Parameters
    ----------
    shelves : shelf ids
    plans : a planogram per shelf
    first_plate : index of each shelf's first plate
    """

    def __init__(
        self, shelves: tuple[str, ...], plans: tuple[Planogram, ...], first_plate: tuple[int, ...]
    ) -> None:
        self._shelves = shelves
        self._plans = plans
        self._lines: list[list[_Line]] = []
        for plan, first in zip(plans, first_plate, strict=True):
            used = plan.facing.sum(axis=0)
            self._lines.append(
                [
                    _Line(
                        plates=np.flatnonzero(row) + first,
                        is_alone=bool((used[row] == 1).all()),
                    )
                    for row in plan.facing
                ]
            )
        self._uncounted = [(s, i) for s, lines in enumerate(self._lines) for i in range(len(lines))]
        self._taken: deque[tuple[int, int, int]] = deque(maxlen=512)
        self._strange: list[deque[float]] = [deque(maxlen=16) for _ in shelves]

    @property
    def has_uncounted(self) -> bool:
        """Whether a product still waits for its first estimate."""
        return bool(self._uncounted)

    def count_first(
        self, tick: int, level_g: Floats, is_settled: NDArray[np.bool_], fault: NDArray[np.bool_]
    ) -> list[ShelfStock]:
        """Estimate the products whose plates have settled for the first time.

        Parameters
        ----------
        tick : the present tick
        level_g : shape (plates,), levels [g]
        is_settled : shape (plates,), bool
        fault : shape (plates,), bool, plates that cannot be believed

        Returns
        -------
        rows : one for each product that was estimated now
        """
        rows, left = [], []
        for s, i in self._uncounted:
            line = self._lines[s][i]
            if not is_settled[line.plates].all():
                left.append((s, i))
                continue
            mass = float(level_g[line.plates].sum())
            unit = float(self._plans[s].unit_g[i])
            believed = line.is_alone and not fault[line.plates].any()
            if believed and (level_g[line.plates] > -0.5 * unit).all():
                line.quantity += max(0, round(mass / unit))
                line.variance = 0.3**2 + (CATALOGUE_SD * mass / unit) ** 2
                line.is_counted = True
                line.most = max(line.most, line.quantity)
            rows.append(self._row(s, i, tick, level_g, fault))
        self._uncounted = left
        return rows

    def book(self, shelf: int, product: int, units: int, onset: int, p: float) -> str:
        """Book a final event and return its kind: pick, return or restock.

        Parameters
        ----------
        shelf : index of the shelf
        product : index of the product on that shelf
        units : signed number of units
        onset : tick of the event
        p : its probability

        Returns
        -------
        kind : pick, return or restock
        """
        line = self._lines[shelf][product]
        line.quantity += units
        line.variance += p * (1.0 - p) * units**2
        line.most = max(line.most, line.quantity)
        kind = self.kind_of(shelf, product, units, onset)
        if units < 0:
            line.picks.extend([onset] * min(-units, 64))
            self._taken.append((onset, shelf, product))
            return kind
        line.adds.append((onset, units))
        if kind == "return":
            for _ in range(min(units, len(line.picks))):
                line.picks.pop()
        return kind

    def kind_of(self, shelf: int, product: int, units: int, onset: int) -> str:
        """Return what an event of that many units would be called.

        Parameters
        ----------
        shelf : index of the shelf
        product : index of the product on that shelf
        units : signed number of units
        onset : tick of the event

        Returns
        -------
        kind : pick, return or restock
        """
        if units < 0:
            return "pick"
        line = self._lines[shelf][product]
        recent = units + sum(n for t, n in line.adds if 0 <= onset - t <= RESTOCK_TICKS)
        is_out = any(onset - t <= OUTSTANDING_TICKS for t in line.picks)
        return "return" if is_out and units <= 2 and recent < 3 else "restock"

    def note_strange(self, shelf: int, delta_g: float) -> None:
        """Remember a foreign object that was laid down, so that its leaving has a name.

        Parameters
        ----------
        shelf : index
        delta_g : its mass [g]
        """
        if delta_g > 0:
            self._strange[shelf].append(delta_g)

    def stranger(self, shelf: int, delta_g: float, tick: int) -> str | None:
        """Return the gtin ("" if none) that explains a foreign mass, or None.

        Parameters
        ----------
        shelf : index of the shelf where it was laid down or taken away
        delta_g : signed change [g]
        tick : the present tick

        Returns
        -------
        gtin : "" when the mass is known and the product is not, None when it is not known
        """
        if delta_g < 0:
            known = any(abs(delta_g + mass) < 0.03 * mass + 4.0 for mass in self._strange[shelf])
            return "" if known else None
        for onset, s, i in reversed(self._taken):
            plan = self._plans[s]
            spread = 2.0 * float(plan.unit_sd_g[i]) + 0.012 * delta_g + 4.0
            if tick - onset <= OUTSTANDING_TICKS and abs(delta_g - plan.unit_g[i]) < spread:
                return plan.gtins[i]
        return None

    def row_if_changed(
        self, shelf: int, product: int, tick: int, level_g: Floats, fault: NDArray[np.bool_]
    ) -> list[ShelfStock]:
        """Return a product's row if its quantity or state is not what was last reported.

        Parameters
        ----------
        shelf : index of the shelf
        product : index of the product on that shelf
        tick : the present tick
        level_g : shape (plates,), levels [g]
        fault : shape (plates,), bool

        Returns
        -------
        rows : stock rows
        """
        before = self._lines[shelf][product].reported
        row = self._row(shelf, product, tick, level_g, fault)
        return [row] if before != (row.quantity, row.state) else []

    def rows_of_plate(
        self, shelf: int, plate: int, tick: int, level_g: Floats, fault: NDArray[np.bool_]
    ) -> list[ShelfStock]:
        """Return changed rows of the products that stand on a plate.

        Parameters
        ----------
        shelf : index
        plate : flat plate index
        tick : the present tick
        level_g : shape (plates,), levels [g]
        fault : shape (plates,), bool

        Returns
        -------
        rows : stock rows
        """
        waits = set(self._uncounted)
        return [
            row
            for i, line in enumerate(self._lines[shelf])
            if plate in line.plates and (shelf, i) not in waits
            for row in self.row_if_changed(shelf, i, tick, level_g, fault)
        ]

    def all_rows(self, tick: int, level_g: Floats, fault: NDArray[np.bool_]) -> list[ShelfStock]:
        """Return every product's row.

        Parameters
        ----------
        tick : the present tick
        level_g : shape (plates,), levels [g]
        fault : shape (plates,), bool

        Returns
        -------
        rows : stock rows
        """
        return [
            self._row(s, i, tick, level_g, fault)
            for s, lines in enumerate(self._lines)
            for i in range(len(lines))
        ]

    def _row(
        self, s: int, i: int, tick: int, level_g: Floats, fault: NDArray[np.bool_]
    ) -> ShelfStock:
        line, plan = self._lines[s][i], self._plans[s]
        mass = float(level_g[line.plates].sum()) if line.is_alone else None
        quantity = max(0, line.quantity)
        state = self._state(line, mass, float(plan.unit_g[i]), bool(fault[line.plates].any()))
        line.reported = (quantity, state)
        return ShelfStock(
            t_ns=(tick + 1) * TICK_NS,
            shelf=self._shelves[s],
            gtin=plan.gtins[i],
            quantity=quantity,
            sigma=round(float(np.sqrt(line.variance)), 3),
            mass_g=None if mass is None else round(mass, 1),
            state=state,
        )

    @staticmethod
    def _state(line: _Line, mass: float | None, unit: float, has_fault: bool) -> str:
        """Two witnesses for `empty` (ledger and mass); one alone asks for a look."""
        if has_fault:
            return "fault"
        if not line.is_counted:
            return "check"
        none_left = line.quantity <= 0
        light = mass is not None and mass < 0.5 * unit
        if none_left or light:
            return "empty" if none_left and light else "check"
        return "low" if line.quantity <= max(1, LOW_SHARE * line.most) else "ok"
