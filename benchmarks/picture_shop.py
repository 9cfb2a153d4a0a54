"""What `pictures.py` draws: a simulated shop, analysed by the product, beside its truth.

Rules of the file: the recording is that of `fanous simulate demo`, rows come from `survey fit`
and `analyze`; what the tables
do not hold, the whole belief, comes from the product's own filter (`analytics.tracker`), driven
here as the engine drives it for one tag.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from accuracy import Rows as CsvRows
from accuracy import analyze, run, write_survey

from analytics.cells import build_cells
from analytics.engine import EMIT_SHARE
from analytics.filter_model import build_model
from analytics.levels import TickLevels, rssi_tenths
from analytics.presence import entrance_share
from analytics.quality_figures import codes_of
from analytics.quality_truth import truth_ticks
from analytics.tick_buffer import ticks_in
from analytics.tracker import Scratch, Tracker
from ingest.files import read_columns
from ingest.radio_map_file import read_radio_map
from ingest.store_file import read_store
from simulators.command import DEMO_STORE
from simulators.recording import copy_store, prepare, write_recording
from simulators.scenario import SCENARIOS
from simulators.world import simulate

STAGES = ("live", "final")
_COLUMNS = ("t_ns", "tag", "stage", "layer", "zone", "zone_state", "zone_p",
            "x_m", "y_m", "sigma_m")  # fmt: skip
_SHIFT = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one stage and layer main, with the truth of their time (NaN, "?" where unknown)."""

    tag: np.ndarray
    end: np.ndarray
    """Number of the tick's end: t_ns / tick."""
    x_m: np.ndarray
    y_m: np.ndarray
    sigma_m: np.ndarray
    zone: np.ndarray
    zone_p: np.ndarray
    true_x_m: np.ndarray
    true_y_m: np.ndarray
    true_zone: np.ndarray

    @property
    def error_m(self) -> np.ndarray:
        """Return how far each place is from the true one."""
        return np.hypot(self.x_m - self.true_x_m, self.y_m - self.true_y_m)

    def take(self, chosen: np.ndarray) -> "Rows":
        """Return some rows."""
        return Rows(**{name: getattr(self, name)[chosen] for name in self.__slots__})


class Shop:
    """A recording of the demo shop, its survey, and analyses of it.

    Parameters
    ----------
    folder : for files
    seed, minutes : of the simulation
    body_db : lost behind a body; None leaves it to the scenario
    """

    def __init__(
        self, folder: Path, seed: int, minutes: float, body_db: float | None = None
    ) -> None:
        self.seed = seed
        self.recording = folder / f"recording-{seed}-{minutes:g}"
        if not self.recording.exists():
            scenario = SCENARIOS["demo"]
            if body_db is not None:
                scenario = replace(scenario, air=replace(scenario.air, body_db=body_db))
            prepare(self.recording, force=False)
            copy_store(DEMO_STORE, self.recording)
            store = read_store(DEMO_STORE)
            chunks = simulate(scenario, store, seed, minutes)
            write_recording(chunks, store, self.recording, file_format="csv")
        self.store_file = self.recording / "store.toml"
        self.store = read_store(self.store_file)
        self.tick_ns = self.store.rules.tick_ns
        self.radio_map = folder / "survey.npz"
        if not self.radio_map.exists():
            survey = folder / "survey.csv"
            write_survey(self.store_file, survey)
            run("survey", "fit", str(survey), "--store", str(self.store_file),
                "--out", str(self.radio_map))  # fmt: skip

    def result(self, name: str = "plain", change: Callable[[CsvRows], CsvRows] | None = None):
        """Return the folder with the tables of an analysis, after a change of the readings."""
        out = self.recording / f"out-{name}"
        if out.exists():
            return out
        readings = self.recording / "readings.csv"
        if change:
            with open(readings, encoding="utf-8", newline="") as file:
                rows = change(list(csv.DictReader(file)))
            readings = self.recording / f"readings-{name}.csv"
            with open(readings, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
        analyze([readings], str(self.store_file), self.radio_map, out)
        return out

    @cached_property
    def truth(self):
        """Where everybody was at the end of each tick, and the codes of the tags."""
        table = read_columns(self.recording / "truth.csv", required=("t_ns", "tag", "x_m", "y_m"))
        tags: dict[str, int] = {}
        ticks = truth_ticks(
            t_ns=table["t_ns"],
            tag=codes_of(table["tag"], tags),
            x_m=table["x_m"],
            y_m=table["y_m"],
            zone=np.full(len(table["t_ns"]), -2),
            zones=self.main_zones,
            tick_ns=self.tick_ns,
        )
        return ticks, tags

    @property
    def main_zones(self):
        """Return the zones of layer main."""
        return [zone for zone in self.store.zones if zone.layer == "main"]

    def rows(self, stage: str, result: Path | None = None) -> Rows:
        """Return the rows of one stage."""
        table = read_columns((result or self.result()) / "positions.csv", required=_COLUMNS)
        use = (table["stage"] == stage) & (table["layer"] == "main")
        use &= table["zone_state"] != "unknown"
        ticks, tags = self.truth
        end = table["t_ns"][use] // self.tick_ns
        key = np.array([tags.get(tag, -1) for tag in table["tag"][use]]) * _SHIFT + end
        known = ticks.tag * _SHIFT + ticks.tick
        at = np.minimum(np.searchsorted(known, key), len(known) - 1)
        found = known[at] == key
        names = np.array([*(zone.id for zone in self.main_zones), ""], object)
        return Rows(
            tag=table["tag"][use],
            end=end,
            **{name: table[name][use] for name in ("x_m", "y_m", "sigma_m", "zone", "zone_p")},
            true_x_m=np.where(found, ticks.x_m[at], np.nan),
            true_y_m=np.where(found, ticks.y_m[at], np.nan),
            true_zone=np.where(found, names[ticks.zone[at]], "?"),
        )

    def typical_tag(self) -> str:
        """Return the tag whose mean live error is the median among visits that saw a lot."""
        live = self.rows("live")
        found = []
        for tag in np.unique(live.tag.astype(str)).tolist():
            rows = live.take(live.tag == tag)
            zones = {zone for zone in rows.true_zone.tolist() if zone not in ("", "?")}
            found.append((len(rows.end), len(zones), float(np.nanmean(rows.error_m)), tag))
        # Whole visits of four minutes to eight, or the longest there is.
        whole = [f for f in found if 240 <= f[0] <= 480 and f[1] >= 6] or [max(found)]
        whole.sort(key=lambda f: (f[2], f[3]))
        return whole[(len(whole) - 1) // 2][3]

    def beliefs(self, tag: str) -> "Beliefs":
        """Return what the filter believed of one tag in each tick."""
        return Beliefs(self, tag)


class Beliefs:
    """The probability of every cell, live and corrected, tick by tick.

    Attributes
    ----------
    first : int, number of the end of the first tick
    live, final : shape (ticks, cells), float32
    """

    def __init__(self, shop: Shop, tag: str) -> None:
        store = shop.store
        self.grid = build_cells(store)
        model = build_model(
            self.grid,
            read_radio_map(shop.radio_map, store, self.grid),
            tick_s=store.rules.tick_s,
            entrance=entrance_share(store, self.grid),
        )
        # With the identity as readout the filter hands out the whole belief.
        model = replace(model, readout=np.eye(model.cells, dtype=np.float32))
        lag = ticks_in(store.rules.lag_s, store.rules.tick_s)
        every, back = max(1, int(EMIT_SHARE * lag)), lag + 1
        tracker = Tracker(model, Scratch(model, 1), lanes=1, depth=back)
        tracker.start(0)

        table = read_columns(
            shop.recording / "readings.csv", required=("t_ns", "receiver", "tag", "rssi_dbm")
        )
        mine = table["tag"] == tag
        number = {receiver.id: at for at, receiver in enumerate(store.receivers)}
        receiver = np.array([number[name] for name in table["receiver"][mine]], np.int16)
        tenths = rssi_tenths(table["rssi_dbm"][mine])
        tick_of = table["t_ns"][mine] // shop.tick_ns
        first, last = int(tick_of.min()), int(tick_of.max())
        levels = TickLevels(len(store.receivers))
        live, final = [], {}
        done = first - 1
        for tick in range(first, last + back + every + 1):
            here = tick_of == tick
            levels.reduce(receiver[here], np.zeros(here.sum(), np.int64), tenths[here], 1)
            now = levels.levels()
            live.append(tracker.step(tick, now.level_db, now.heard)[:, 0].copy())
            emit_to = tick - (back - every)
            if (tick + 1) % every == 0 and emit_to > done:
                start = max(done + 1, tick - back + 1)
                found = tracker.smooth(tick, start, emit_to, lambda _: np.zeros(1, np.float32))
                final |= {start + at: belief[:, 0] for at, (belief, _) in enumerate(found)}
                done = emit_to
        self.first = first + 1
        self.live = np.array(live[: last - first + 1])
        self.final = np.array([final[tick] for tick in range(first, last + 1)])
