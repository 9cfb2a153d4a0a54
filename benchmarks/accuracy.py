"""Accuracy of the whole program over recordings and over the simulated shop, case by case.

Every figure comes from `fanous survey fit|learn`, `analyze` and `evaluate`, run in this
process; readings are changed beforehand as a case says. Only the calibration of the zone
probabilities, which `evaluate` does not give, is counted here, by its definitions.
`recordings.py` prints these figures, `freeze.py` writes them down, and the gate of the
tests (`tests/system/test_accuracy_gate.py`) fails when one of them worsened.
"""

import contextlib
import csv
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analytics.quality_figures import codes_of
from analytics.quality_truth import truth_ticks
from fanous.program import main as fanous
from ingest.files import read_columns
from ingest.store_file import read_store
from simulators.survey import take_survey

DATA = Path(os.environ.get("FANOUS_DATA", Path(__file__).parents[2] / "shared" / "data"))
STAGES = ("live", "final")
WALKS: dict[str, tuple[str, ...]] = {
    "tetam": ("walk_straight_01", "walk_straight_02", "walk_straight_04", "walk_straight_05"),
    "flat": ("walk_last_quarter",),
}
SURVEYS = {"tetam": "survey_set_1.csv.gz", "flat": "survey.csv.gz"}
SILENT = {"a": (0, 4, 8, 11), "b": (1, 3, 6, 10), "c": (2, 5, 7, 9)}
"""Receivers, by their place in the store file, that are taken away in the three patterns."""
SEEDS = 3
SURE_P = 0.8
BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0 + 1e-9)
SHOP_SEEDS, SHOP_MINUTES = (11, 12, 13), 4

Row = dict[str, str]
Rows = list[Row]
Change = Callable[[Rows, int], Rows]
"""Readings of one walk and a seed to what is analysed instead."""
Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table.

    Attributes
    ----------
    change : of the readings; None leaves the files as they are
    seeds : how often, with another seed each time
    radio_map : survey, none, learned (without a survey) or both
    """

    change: Change | None = None
    seeds: int = 1
    radio_map: str = "survey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a case gave: for each seed the figures pooled, and those of each walk alone."""

    pooled: list[Figures] = field(default_factory=list)
    walks: dict[str, list[Figures]] = field(default_factory=dict)
    bins: list[list[tuple[int, float, float]]] = field(default_factory=list)


def run(*words: str) -> str:
    """Run fanous in this process; return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = fanous(list(words))
    if code:
        raise SystemExit(f"fanous {' '.join(words)} ended with {code}: {err.getvalue().strip()}")
    return out.getvalue()


def _level(row: Row, rssi_dbm: float) -> Row:
    return {**row, "rssi_dbm": str(round(rssi_dbm, 1))}


def louder(by_db: float) -> Change:
    """Return a change of the tag's power."""
    return lambda rows, _: [_level(row, float(row["rssi_dbm"]) + by_db) for row in rows]


def step(by_db: float) -> Change:
    """Return a change of the tag's power at the middle row of each walk."""

    def change(rows: Rows, _: int) -> Rows:
        times = [int(row["t_ns"]) for row in rows]
        middle = sorted(times)[len(times) // 2]
        return [
            _level(row, float(row["rssi_dbm"]) + by_db) if at > middle else row
            for at, row in zip(times, rows, strict=True)
        ]

    return change


def thinned(share: float) -> Change:
    """Return a loss of rows by chance."""

    def change(rows: Rows, seed: int) -> Rows:
        chance = random.Random(seed)
        return [row for row in rows if chance.random() < share]

    return change


def outliers(share: float, low_dbm: float, high_dbm: float) -> Change:
    """Return a replacement of some levels by others, evenly between two."""

    def change(rows: Rows, seed: int) -> Rows:
        chance = random.Random(seed)
        return [
            _level(row, chance.uniform(low_dbm, high_dbm)) if chance.random() < share else row
            for row in rows
        ]

    return change


def without(receivers: Sequence[str]) -> Change:
    """Return a loss of all that some receivers hear."""
    return lambda rows, _: [row for row in rows if row["receiver"] not in receivers]


def cases(place: str, seeds: int = SEEDS) -> dict[str, Case]:
    """Return the cases of a place, in the order of the table."""
    found = {
        "plain": Case(),
        "-12 dB": Case(change=louder(-12)),
        "-6 dB": Case(change=louder(-6)),
        "+6 dB": Case(change=louder(6)),
        "6 dB step": Case(change=step(-6)),
        "half lost": Case(change=thinned(0.5), seeds=seeds),
        "glitches": Case(change=outliers(0.005, 20, 20), seeds=seeds),
        "outliers": Case(change=outliers(0.01, -60, -30), seeds=seeds),
        "no survey": Case(radio_map="none"),
    }
    if place == "tetam":
        names = [receiver.id for receiver in read_store(DATA / place / "store.toml").receivers]
        for pattern, silent in SILENT.items():
            found[f"4 silent, {pattern}"] = Case(change=without([names[at] for at in silent]))
        found["learned"] = Case(radio_map="learned")
        found["learned with survey"] = Case(radio_map="both")
    return found


class Place:
    """The recordings of one place, and the radio maps made for them.

    Parameters
    ----------
    name : tetam or flat
    folder : for radio maps and results
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._data, self._folder = DATA / name, folder
        self._walks = WALKS[name]
        self._store = str(self._data / "store.toml")
        self._survey = folder / f"{name}-survey.npz"
        run("survey", "fit", str(self._data / SURVEYS[name]), "--store", self._store,
            "--out", str(self._survey), "--force")  # fmt: skip

    def measure(self, case: Case) -> Found:
        """Measure a case: each walk on its own, and all of them in one run.

        With a learned map every walk has its own map, learned from the others, so the
        pooled figures are then those of the walks' tables put together.
        """
        found = Found(walks={walk: [] for walk in self._walks})
        for seed in range(case.seeds):
            with tempfile.TemporaryDirectory(dir=self._folder) as name:
                folder = Path(name)
                files = {walk: self._readings(walk, case, seed, folder) for walk in self._walks}
                outs = {}
                for walk, file in files.items():
                    outs[walk] = folder / f"out-{walk}"
                    self._analyze([file], self._map(walk, case, folder), outs[walk])
                    found.walks[walk].append(self._judge(outs[walk], [walk])[0])
                pooled = folder / "pooled"
                if case.radio_map in {"learned", "both"} and len(files) > 1:
                    join(list(outs.values()), pooled)
                else:
                    self._analyze(list(files.values()), self._map("", case, folder), pooled)
                figures, bins = self._judge(pooled, self._walks)
                found.pooled.append(figures)
                found.bins.append(bins)
        return found

    def _readings(self, walk: str, case: Case, seed: int, folder: Path) -> Path:
        path = self._data / f"{walk}.readings.csv"
        if case.change is None:
            return path
        with open(path, encoding="utf-8", newline="") as file:
            rows = case.change(list(csv.DictReader(file)), seed)
        changed = folder / path.name
        with open(changed, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        return changed

    def _map(self, walk: str, case: Case, folder: Path) -> Path | None:
        if case.radio_map in {"survey", "none"}:
            return self._survey if case.radio_map == "survey" else None
        others = [str(self._data / f"{w}.readings.csv") for w in self._walks if w != walk]
        learned = folder / f"{walk}.npz"
        options = ["--radio-map", str(self._survey)] if case.radio_map == "both" else []
        run("survey", "learn", *others, "--store", self._store, *options, "--out", str(learned))
        return learned

    def _analyze(self, files: Sequence[Path], radio_map: Path | None, out: Path) -> None:
        analyze(files, self._store, radio_map, out)

    def _judge(
        self, out: Path, walks: Sequence[str]
    ) -> tuple[Figures, list[tuple[int, float, float]]]:
        truths = [self._data / f"{walk}.truth.csv" for walk in walks]
        return judge(out, truths, Path(self._store))


def analyze(files: Sequence[Path], store: str, radio_map: Path | None, out: Path) -> None:
    """Analyse readings with a radio map, or with geometry alone."""
    options = ["--radio-map", str(radio_map)] if radio_map else []
    run("analyze", *map(str, files), "--store", store, *options, "--identity", "raw",
        "--format", "csv", "--out", str(out))  # fmt: skip


def judge(
    out: Path, truths: Sequence[Path], store: Path
) -> tuple[Figures, list[tuple[int, float, float]]]:
    """Evaluate a result; return its figures by name, and the reliability bins."""
    words = ["evaluate", str(out), "--truth", *map(str, truths), "--store", str(store), "--json"]
    scores = json.loads(run(*words))
    figures: Figures = {}
    for stage in STAGES:
        place, zones = scores["position"][stage], scores["zones"][stage]
        for name in ("mean_m", "p90_m", "unknown"):
            figures[f"{stage}.{name}"] = place[name]
        for name in ("accuracy", "macro_f1", "dwell_misplaced"):
            figures[f"{stage}.{name}"] = zones[name]
        figures[f"{stage}.switches"] = zones["switches"]
        figures["true_switches"] = zones["true_switches"]
    for name in ("error", "missed", "false"):
        figures[f"dwells.{name}"] = (scores["dwells"] or {}).get(name)
    figures["paths.edit_distance"] = (scores["paths"] or {}).get("edit_distance")
    bins: list[tuple[int, float, float]] = []
    for stage in STAGES:
        zone_p, right = reliability(out, truths, store, stage)
        sure = zone_p >= SURE_P
        figures[f"{stage}.sure"] = round(float(sure.mean()), 6) if len(sure) else None
        figures[f"{stage}.sure_right"] = round(float(right[sure].mean()), 6) if sure.any() else None
        at = np.digitize(zone_p, BINS) - 1
        for number in range(len(BINS) - 1):
            here = at == number
            count = int(here.sum())
            bins.append(
                (count, float(zone_p[here].mean()), float(right[here].mean()))
                if count
                else (0, 0.0, 0.0)
            )
    return figures, bins


def reliability(
    out: Path, truths: Sequence[Path], store: Path, stage: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the zone probability of each known tick with a truth, and whether it was right.

    The ticks are those of `fanous evaluate`: the truth interpolated to the row's time, never
    over more than two seconds; zones of layer main.
    """
    found = read_store(store)
    zones = [zone for zone in found.zones if zone.layer == "main"]
    codes = {"": -1} | {zone.id: at for at, zone in enumerate(zones)}
    tags: dict[str, int] = {}
    tables = [read_columns(path, required=("t_ns", "tag", "x_m", "y_m")) for path in truths]
    joined = {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}
    ticks = truth_ticks(
        t_ns=joined["t_ns"],
        tag=codes_of(joined["tag"], tags),
        x_m=joined["x_m"],
        y_m=joined["y_m"],
        zone=np.full(len(joined["t_ns"]), -2),
        zones=zones,
        tick_ns=found.rules.tick_ns,
    )
    true = dict(zip(zip(ticks.tag.tolist(), ticks.tick.tolist(), strict=True),
                    ticks.zone.tolist(), strict=True))  # fmt: skip
    columns = ("t_ns", "tag", "stage", "layer", "zone", "zone_state", "zone_p")
    rows = read_columns(out / "positions.csv", required=columns)
    use = (rows["stage"] == stage) & (rows["layer"] == "main") & (rows["zone_state"] != "unknown")
    zone_p, right = [], []
    for t_ns, tag, zone, p in zip(
        *(rows[name][use].tolist() for name in ("t_ns", "tag", "zone", "zone_p")), strict=True
    ):
        truth = true.get((tags.get(tag, -1), -(-t_ns // found.rules.tick_ns)))
        if truth is not None:
            zone_p.append(p)
            right.append(codes[zone] == truth)
    return np.array(zone_p, float), np.array(right, bool)


def join(outs: Sequence[Path], to: Path) -> None:
    """Put the tables of several results together, one below the other."""
    to.mkdir()
    shutil.copy(outs[0] / "summary.json", to)
    for first in outs[0].glob("*.csv"):
        with open(to / first.name, "w", encoding="utf-8") as file:
            for number, out in enumerate(outs):
                lines = (out / first.name).read_text(encoding="utf-8").splitlines(keepends=True)
                file.writelines(lines if number == 0 else lines[1:])


def shop(folder: Path, seeds: Sequence[int] = SHOP_SEEDS) -> dict[str, Found]:
    """Measure the simulated shop, seed by seed, with geometry alone and with a survey."""
    cases_found = {"no survey": Found(), "survey": Found()}
    radio_map = folder / "shop.npz"
    for seed in seeds:
        recording = folder / f"shop-{seed}"
        run("simulate", "demo", "--seed", str(seed), "--minutes", str(SHOP_MINUTES),
            "--out", str(recording))  # fmt: skip
        store_file = recording / "store.toml"
        if not radio_map.exists():
            survey = folder / "shop-survey.csv"
            write_survey(store_file, survey)
            run("survey", "fit", str(survey), "--store", str(store_file), "--out", str(radio_map))
        for name, chosen in (("no survey", None), ("survey", radio_map)):
            out = folder / f"shop-{seed}-{name.replace(' ', '-')}"
            analyze([recording / "readings.csv"], str(store_file), chosen, out)
            figures, bins = judge(out, [recording / "truth.csv"], store_file)
            cases_found[name].pooled.append(figures)
            cases_found[name].bins.append(bins)
    return cases_found


def write_survey(store_file: Path, survey: Path) -> None:
    """Write the survey of a simulated store."""
    store = read_store(store_file)
    taken = take_survey(store, 1)
    names = [store.receivers[at].id for at in taken.receiver]
    columns = (taken.x_m, taken.y_m, taken.z_m, names, taken.rssi_dbm, taken.count)
    with open(survey, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x_m", "y_m", "z_m", "receiver", "rssi_dbm", "count"])
        writer.writerows(zip(*columns, strict=True))


def flat_figures(prefix: str, found: Found) -> Figures:
    """Return a case's figures under names, as means over its seeds.

    Of single walks only the mean errors: one tick in 25 is no fact about the product.
    """
    out: Figures = {}
    alone = [f"{stage}.mean_m" for stage in STAGES]
    for name, runs in (("pooled", found.pooled), *found.walks.items()):
        for figure in (runs[0] if name == "pooled" else alone) if runs else ():
            values = [run[figure] for run in runs]
            known = [value for value in values if value is not None]
            out[f"{prefix} / {name} / {figure}"] = (
                round(sum(known) / len(known), 6) if len(known) == len(values) else None
            )
    return out


def measured_shop(folder: Path) -> Figures:
    """Return the figures of the simulated shop."""
    figures: Figures = {}
    for name, found in shop(folder).items():
        figures |= flat_figures(f"shop / {name}", found)
    return figures
