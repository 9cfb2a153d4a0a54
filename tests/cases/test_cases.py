"""Scenarios in, expected tables out: a folder per case; a bug becomes a folder.

A case has ``store.toml``, ``readings.csv`` (or taps.csv, samples.csv too) and
``expected.json``: why it is here, and what `fanous analyze` must find. Whatever it
expects, known rows have all their cells and unknown ones have none.
"""

import argparse
import csv
import json
from pathlib import Path

import pytest

from gateway import analyze

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/expected.json"))
KEYS = {"why", "known_fault", "dropped", "visits", "minutes_ns", "least_sigma_m"}


def case(folder):
    fault = json.loads((folder / "expected.json").read_text(encoding="utf-8")).get("known_fault")
    marks = [pytest.mark.xfail(strict=True, reason=fault)] if fault else []
    return pytest.param(folder, marks=marks, id=folder.name)


def table(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("folder", [case(folder) for folder in CASES])
def test_case(folder, tmp_path):
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    assert KEYS >= set(expected), "a key that no case has"
    parser = argparse.ArgumentParser()
    analyze.configure(parser)
    words = [folder / "readings.csv", "--store", folder / "store.toml", "--out", tmp_path / "out"]
    for option, name in (("--taps", "taps.csv"), ("--shelf", "samples.csv")):
        words += [option, folder / name] if (folder / name).exists() else []
    words += ["--format", "csv", "--identity", "raw"]
    assert 0 == analyze.run(parser.parse_args([str(word) for word in words]))

    found = table(tmp_path / "out", "positions")
    assert found
    for row in found:
        cells = [row[name] for name in ("zone_p", "x_m", "y_m", "sigma_m")]
        if row["zone_state"] == "unknown":
            assert ["", *[""] * 4] == [row["zone"], *cells]
        else:
            assert all(0 <= float(cell) < 1000 for cell in cells), row
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert expected.get("dropped", summary["dropped"]) == summary["dropped"]
    if "visits" in expected:
        visits = sorted(table(tmp_path / "out", "visits"), key=lambda row: int(row["start_ns"]))
        told = [
            {name: row[name] for name in ("tag", "start_ns", "end_ns", "path")} for row in visits
        ]
        for row, wanted in zip(told, expected["visits"], strict=True):
            assert {n: str(v) for n, v in wanted.items() if v is not None}.items() <= row.items()
    if "minutes_ns" in expected:
        minutes = {int(row["t_ns"]) for row in table(tmp_path / "out", "occupancy")}
        assert expected["minutes_ns"] == sorted(minutes)
    if "least_sigma_m" in expected:
        least = min(float(row["sigma_m"]) for row in found if row["sigma_m"])
        assert expected["least_sigma_m"] <= least
