"""Guiding an engineer at the shelf through tare and span of one sensor.

Rules of the file: nothing is written before everything is measured, and then only with
``--write``. Values that wobble are refused and said so, and taken again a few times. What
is written is read again and measured with, as the agent will.
"""

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.calibrate import positive
from edge.calibrate_cells import Cell, choose_cell, read_cells
from edge.calibrate_file import refuse_unwritable, toml_lines, write_values
from edge.calibrate_numbers import (
    VALUES_LEAST,
    Calibration,
    Steady,
    Unfit,
    calibrate_counts,
    calibrate_range,
    refuse_saturated,
    refuse_unsteady,
    tare_counts,
    tare_grams,
)
from edge.calibrate_port import Answers, Listener
from ingest.config import ConfigError

_TRIES = 4
_VALUES_WANTED = 10
_CHANGED_NOISES = 20.0
_VERIFY_SHARE, _VERIFY_NOISES = 0.01, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it."""

    cell: Cell
    empty: Steady | None
    loaded: Steady | None
    calibration: Calibration
    backup: Path | None = None
    is_verified: bool | None = None
    verified: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {
            "sensor": self.cell.sensor,
            "port": self.cell.port.label,
            "profile": self.cell.profile.id,
            "unit": self.cell.unit,
            "empty": None if self.empty is None else asdict(self.empty),
            "loaded": None if self.loaded is None else asdict(self.loaded),
            **self.calibration.values,
            "noise": self.calibration.noise,
            "warnings": self.calibration.warnings,
            "toml": toml_lines(self.calibration.values),
            "backup": None if self.backup is None else str(self.backup),
            "verified": self.is_verified,
            "verified_value": self.verified,
        }

    def as_text(self) -> str:
        """Return the lines to put into the file, with what to know as comments."""
        unit = "mm" if self.cell.unit.startswith("mm") else "g"
        lines = [f"# sensor {self.cell.sensor}, port {self.cell.port.label}"]
        lines += toml_lines(self.calibration.values)
        lines.append(f"# noise {self.calibration.noise:.3g} {unit}")
        lines += [f"# note: {warning}" for warning in self.calibration.warnings]
        if self.backup is not None:
            said = "right" if self.is_verified else "WRONG"
            lines.append(
                f"# written; the old file is {self.backup}; measured again: "
                f"{self.verified:.6g} {unit}, {said}"
            )
        return "\n".join(lines)


class Guide:
    """One calibration from the question which sensor to the verified file.

    Parameters
    ----------
    args : parsed
    cells : of the configuration
    answers : what is typed
    lock : of the agent that may use the port
    tell : shows a line to the engineer
    """

    def __init__(
        self,
        args: argparse.Namespace,
        cells: list[Cell],
        *,
        answers: Answers,
        lock: Path,
        tell: Callable[[str], None],
    ) -> None:
        self._args, self._cells, self._answers = args, cells, answers
        self._lock, self._tell = lock, tell
        self._known = 0.0

    async def run(self) -> Result:
        """Do all of it.

        Raises
        ------
        ConfigError
            What was asked for does not fit the sensor.
        Fault
            The port is in the way.
        Unfit
            The values make no calibration.
        EndOfInput
            Nobody answers any more.
        """
        args = self._args
        cell = choose_cell(self._cells, sensor=args.sensor, port=args.port)
        if cell is None:
            cell = await self._choose()
        self._refuse(cell)
        self._tell(f"sensor {cell.sensor}, port {cell.port.label}, profile {cell.profile.id}")
        async with Listener(cell, cell.raw_port(), lock=self._lock) as listener:
            if cell.unit in {"mm", "mm_counts"}:
                result = await self._range(cell, listener)
            else:
                result = await self._mass(cell, listener)
        if not args.write or not result.calibration.values:
            return result
        return await self._write(cell, result)

    def _refuse(self, cell: Cell) -> None:
        args = self._args
        if args.write:
            refuse_unwritable(args.config)
            if cell.is_calibrated and not args.force:
                said = ", ".join(toml_lines(cell.keys))
                raise ConfigError(
                    f"--write: sensor {cell.sensor}: expected no calibration yet, the file says "
                    f"{said}; say --force to replace it (the old file is kept)"
                )
        is_range = cell.unit.startswith("mm")
        if is_range and (args.mass_g is not None or args.tare_only):
            raise ConfigError(
                f"sensor {cell.sensor} measures a range: expected --distance-mm, got a mass or tare"
            )
        if not is_range and args.distance_mm is not None:
            raise ConfigError(
                f"sensor {cell.sensor} measures a mass: expected --mass-g, got --distance-mm"
            )
        needed = "--distance-mm" if is_range else "--mass-g"
        given = args.distance_mm if is_range else args.mass_g
        if args.yes and given is None and not args.tare_only and cell.unit != "g":
            raise ConfigError(f"--yes: sensor {cell.sensor}: expected {needed} with it, got none")
        if args.tare_only and cell.unit == "counts" and "counts_per_g" not in cell.keys:
            raise ConfigError(
                f"--tare-only: sensor {cell.sensor}: expected counts_per_g in the file, got none; "
                "calibrate with a known mass first"
            )

    async def _choose(self) -> Cell:
        names = [
            f"{number}  {cell.sensor:<16} {cell.port.label} ({cell.profile.id})"
            for number, cell in enumerate(self._cells, 1)
        ]
        if self._args.yes:
            raise ConfigError(
                "--yes: expected --sensor, since there are several: "
                + ", ".join(cell.sensor for cell in self._cells)
            )
        self._tell("\n".join(names))
        while True:
            self._tell("which sensor (number or id)?")
            said = await self._answers.line()
            for number, cell in enumerate(self._cells, 1):
                if said in {str(number), cell.sensor}:
                    return cell
            self._tell(f"expected 1 to {len(names)} or an id, got {said[:40]!r}")

    async def _mass(self, cell: Cell, listener: Listener) -> Result:
        args = self._args
        await self._enter("empty the plate, then press Enter")
        empty, notes = await self._steady(cell, listener)
        if args.tare_only or (cell.unit == "g" and args.mass_g is None):
            is_counts = cell.unit == "counts"
            found = (
                tare_counts(empty, cell.keys["counts_per_g"])
                if is_counts
                else tare_grams(empty, None, None)
            )
            return _result(cell, empty, None, found, notes)
        mass_g = args.mass_g or await self._number("how many grams is the known mass?")
        self._known = mass_g
        if args.yes:
            self._tell(f"put {mass_g:g} g on the plate")
            loaded, more = await self._changed(cell, listener, empty)
        else:
            await self._enter(f"put {mass_g:g} g on the plate, then press Enter")
            loaded, more = await self._steady(cell, listener)
        found = (
            calibrate_counts(empty, loaded, mass_g)
            if cell.unit == "counts"
            else tare_grams(empty, loaded, mass_g)
        )
        return _result(cell, empty, loaded, found, [*notes, *more])

    async def _range(self, cell: Cell, listener: Listener) -> Result:
        distance_mm = self._args.distance_mm or await self._number(
            "how many millimetres away is the known surface?"
        )
        self._known = distance_mm
        await self._enter(f"put a flat surface {distance_mm:g} mm away, then press Enter")
        there, notes = await self._steady(cell, listener)
        found = calibrate_range(there, distance_mm, is_counts=cell.unit == "mm_counts")
        return _result(cell, None, there, found, notes)

    async def _steady(self, cell: Cell, listener: Listener) -> tuple[Steady, list[str]]:
        unit = {"mm_counts": "counts"}.get(cell.unit, cell.unit)
        for last in range(_TRIES):
            taken = await listener.take(self._args.seconds, least=_VALUES_WANTED)
            if taken.saturated:
                refuse_saturated(taken.saturated, _NOTHING, range_counts=None)
            try:
                found = refuse_unsteady(taken.values, unit)
            except Unfit as unfit:
                if last == _TRIES - 1:
                    raise
                self._tell(f"  {unfit}; again")
                continue
            warning = refuse_saturated(0, found, range_counts=cell.range_counts)
            self._tell(
                f"  {found.median:.6g} {unit}, noise {found.noise:.3g}, "
                f"drift {found.drift:+.3g}, {found.count} values"
            )
            return found, [] if warning is None else [warning]
        raise AssertionError(_TRIES)  # the loop returns or raises

    async def _changed(
        self, cell: Cell, listener: Listener, empty: Steady
    ) -> tuple[Steady, list[str]]:
        """Wait until the mass lies there, and still."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._args.wait_s
        least = max(_CHANGED_NOISES * empty.noise, 1.0 if cell.unit == "g" else 50.0)
        while loop.time() < until_s:
            taken = await listener.take(0.2, least=VALUES_LEAST)
            if taken.saturated or abs(taken.values[-1] - empty.median) >= least:
                return await self._steady(cell, listener)
        raise Unfit(
            f"nothing was put on the plate within {self._args.wait_s:g} s: the value never changed "
            f"by {least:.3g} or more; is the mass on this very plate, and heavy enough?"
        )

    async def _write(self, cell: Cell, result: Result) -> Result:
        backup = write_values(self._args.config, cell.place, result.calibration.values)
        _, cells = read_cells(self._args.config)
        written = next(one for one in cells if one.place == cell.place)
        expected = self._expected(cell, result)
        async with Listener(written, written.port, lock=self._lock) as listener:
            taken = await listener.take(self._args.seconds, least=_VALUES_WANTED)
        found = sorted(taken.values)[len(taken.values) // 2]
        most = max(_VERIFY_NOISES * result.calibration.noise, _VERIFY_SHARE * abs(expected), 0.01)
        return Result(
            cell=cell,
            empty=result.empty,
            loaded=result.loaded,
            calibration=result.calibration,
            backup=backup,
            is_verified=abs(found - expected) <= most,
            verified=found,
        )

    def _expected(self, cell: Cell, result: Result) -> float:
        """Return what lies on the plate, or how far the surface is."""
        if result.loaded is None:
            return 0.0
        if cell.unit == "g" and result.empty is not None:
            return result.loaded.median - result.empty.median
        return self._known

    async def _enter(self, sentence: str) -> None:
        self._tell(sentence)
        if not self._args.yes:
            await self._answers.line()

    async def _number(self, question: str) -> float:
        while True:
            self._tell(question)
            said = await self._answers.line()
            try:
                return positive(said.replace(",", "."))
            except argparse.ArgumentTypeError as error:
                self._tell(str(error))


_NOTHING = Steady(median=0.0, noise=0.0, drift=0.0, count=0)


def _result(
    cell: Cell, empty: Steady | None, loaded: Steady | None, found: Calibration, notes: list[str]
) -> Result:
    warned = Calibration(values=found.values, noise=found.noise, warnings=(*found.warnings, *notes))
    return Result(cell=cell, empty=empty, loaded=loaded, calibration=warned)
