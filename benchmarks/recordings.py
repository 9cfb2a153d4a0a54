"""Accuracy on the real recordings, plain and stressed, as a table.

Every figure comes from `fanous survey fit`, `analyze` and `evaluate`; the readings are
changed beforehand (weaker tag, lost packets). `FANOUS_DATA` names the recordings.

Usage: .venv/bin/python benchmarks/recordings.py [--seeds N]
"""

import argparse
import contextlib
import csv
import io
import json
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from fanous.program import main as fanous

DATA = Path(os.environ.get("FANOUS_DATA", Path(__file__).parents[2] / "shared" / "data"))
WALKS = ("walk_straight_01", "walk_straight_02", "walk_straight_04", "walk_straight_05")
Row = dict[str, str]
Change = Callable[[list[Row]], list[Row]]


def weaker(rows: list[Row], loss_db: float) -> list[Row]:
    """Subtract from every reading."""
    return [{**row, "rssi_dbm": str(float(row["rssi_dbm"]) - loss_db)} for row in rows]


def thinned(rows: list[Row], share: float, seed: int) -> list[Row]:
    """Keep a share of the rows."""
    chance = random.Random(seed)
    return [row for row in rows if chance.random() < share]


def run(*words: str) -> str:
    """Run fanous in this process; return what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = fanous(list(words))
    if code:
        raise SystemExit(f"fanous {' '.join(words)} ended with {code}")
    return out.getvalue()


def figures(place: str, walks: tuple[str, ...], radio_map: Path, change: Change) -> dict:
    """Analyse some walks of a place together and evaluate them."""
    store = str(DATA / place / "store.toml")
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for walk in walks:
            with open(DATA / place / f"{walk}.readings.csv", encoding="utf-8", newline="") as file:
                rows = change(list(csv.DictReader(file)))
            files.append(str(Path(folder) / f"{walk}.csv"))
            with open(files[-1], "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
        out = str(Path(folder) / "out")
        run("analyze", *files, "--store", store, "--radio-map", str(radio_map), "--out", out)
        truths = [str(DATA / place / f"{walk}.truth.csv") for walk in walks]
        return json.loads(run("evaluate", out, "--truth", *truths, "--store", store, "--json"))


def line(name: str, found: dict) -> None:
    """Print one line of the table."""
    parts = []
    for stage in ("live", "final"):
        place, zones = found["position"][stage], found["zones"][stage]
        parts.append(
            f"{place['mean_m']:.2f} · {place['p90_m']:.2f} | {zones['macro_f1']:.2f} | "
            f"{zones['dwell_misplaced']:.2f} | {zones['switches']:.0f}/{zones['true_switches']:.0f}"
        )
    print(f"| {name} | {' | '.join(parts)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Accuracy on the real recordings.")
    parser.add_argument("--seeds", type=int, default=3, help="for lost packets")
    seeds = range(parser.parse_args().seeds)
    print(
        "| case | live m · p90 | F1 | misplaced | switches"
        " | final m · p90 | F1 | misplaced | switches |"
    )
    print("| --- " * 9 + "|")
    with tempfile.TemporaryDirectory() as folder:
        maps = {}
        for place, survey in (("tetam", "survey_set_1.csv.gz"), ("flat", "survey.csv.gz")):
            maps[place] = Path(folder) / f"{place}.npz"
            store = str(DATA / place / "store.toml")
            run("survey", "fit", str(DATA / place / survey), "--store", store,
                "--out", str(maps[place]))  # fmt: skip
        tetam = maps["tetam"]
        line("tetam, four walks", figures("tetam", WALKS, tetam, list))
        for walk in WALKS:
            line(walk, figures("tetam", (walk,), tetam, list))
        for loss_db in (12, 6, -6):
            found = figures("tetam", WALKS, tetam, lambda rows, d=loss_db: weaker(rows, d))
            line(f"tetam, {-loss_db:+d} dB", found)
        for seed in seeds:
            found = figures("tetam", WALKS, tetam, lambda rows, s=seed: thinned(rows, 0.5, s))
            line(f"tetam, half of the rows, seed {seed}", found)
        line("flat, last quarter", figures("flat", ("walk_last_quarter",), maps["flat"], list))


if __name__ == "__main__":
    main()
