"""The real recordings of FANOUS_DATA: found, or skipped with a sentence.

They lie beside the repository by default (`../shared/data`) and are not part of it.
"""

import csv
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def recordings() -> Path:
    """Return the folder of the recordings; skip the running test where there is none."""
    where = os.environ.get("FANOUS_DATA")
    folder = Path(where) if where else ROOT.parent / "shared" / "data"
    if not (folder / "tetam").is_dir():
        pytest.skip(
            f"the recordings are not at {folder}: set FANOUS_DATA to the folder with tetam and flat"
        )
    return folder


def tetam_walks() -> tuple[list[Path], list[Path]]:
    """Return the readings and the truths of the four walks, in the same order."""
    folder = recordings() / "tetam"
    readings = sorted(folder.glob("walk_*.readings.csv"))
    return readings, [Path(str(p).replace(".readings.", ".truth.")) for p in readings]


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def write_rows(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
