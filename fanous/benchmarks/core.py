"""How fast the numeric core is: the position filter, the whole engine, dwell.

Rules of the file: the demo store (12 receivers, cells of a metre), seeded people of
`fanous.benchmarks.crowd`, 7 readings a second for each; CPU time of one thread.
"""

import time

import numpy as np
from numpy.typing import NDArray

from analytics.cells import build_cells
from analytics.dwell import DwellMachine
from analytics.engine import Engine
from analytics.presence import reach_of_shelves
from analytics.radio_map import radio_map_from_geometry
from analytics.store import Rules, Store
from analytics.tracker import Model, Tracker, build_model
from fanous.benchmarks.crowd import (
    COARSE_CELL_M,
    Readings,
    demo_store,
    make_readings,
    pseudonyms,
)
from fanous.benchmarks.figure import Figure, Say, best_cpu_s

WIDTHS = (64, 256, 1024)
CROWDS = (60, 300, 1000)
PORTION_NS = 10 * 10**9
"""The engine is advanced in steps of ten seconds, as a busy gateway does."""
_FLOAT = NDArray[np.float32]


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure the position filter alone and the whole analysis from columns.

    Parameters
    ----------
    quick : smaller sizes
    say : told what is being measured
    """
    store = demo_store()
    grid = build_cells(store)
    model = build_model(
        grid,
        radio_map_from_geometry(store, grid),
        tick_s=store.rules.tick_s,
        reach=reach_of_shelves(store, grid),
    )
    figures: list[Figure] = []
    for lanes in WIDTHS:
        say(f"position filter, {len(grid)} cells, blocks of {lanes} tags")
        figures += _filter(model, lanes, ticks=20 if quick else 120)
    seconds = 20.0 if quick else 180.0
    for tags in CROWDS:
        say(f"whole analysis, {tags} active tags, {seconds:g} s of event time")
        figures.append(_analysis(store, tags, seconds, name=f"core.analysis_{tags}_tags"))
    say(f"whole analysis, {CROWDS[-1]} active tags, cells of {COARSE_CELL_M:g} m")
    coarse = demo_store(cell_m=COARSE_CELL_M)
    name = f"core.analysis_{CROWDS[-1]}_tags_coarse"
    figures.append(_analysis(coarse, CROWDS[-1], seconds, name=name))
    say("growth of cost over event time")
    figures.append(_growth(store, seconds=60.0 if quick else 600.0))
    return tuple(figures)


def measure_dwell(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure dwell sessions from rows that have their zone already.

    Parameters
    ----------
    quick : smaller sizes
    say : told what is being measured
    """
    lanes, ticks, zones = (2_000, 100, 40) if quick else (10_000, 300, 40)
    say(f"dwell sessions, {lanes} tags, {ticks} ticks, {zones} zones")
    rng = np.random.default_rng(2)
    moves = rng.random((ticks, lanes)) < 1 / 45.0
    zone = (rng.integers(0, zones, lanes) + 7 * np.cumsum(moves, axis=0)) % zones
    zone = zone.astype(np.int16)
    zone_p = rng.uniform(0.6, 1.0, lanes).astype(np.float32)
    evidence = np.ones(lanes, np.bool_)
    readings = np.full(lanes, 7, np.int32)
    lane = np.arange(lanes)

    def work() -> None:
        machine = DwellMachine(Rules())
        machine.grow(lanes)
        for tick in range(ticks):
            machine.feed(tick, lane, zone[tick], zone_p, evidence, readings)
        machine.end(lane)

    rate = lanes * ticks / best_cpu_s(work)
    return (Figure(name="dwell.rows", value=rate, unit="rows/s", better="higher"),)


def _filter(model: Model, lanes: int, *, ticks: int) -> list[Figure]:
    rng = np.random.default_rng(lanes)
    heard = (rng.random((16, model.receivers, lanes)) < 0.6).astype(np.float32)
    level = (rng.normal(0, 8, heard.shape) * heard).astype(np.float32)
    # The engine's rhythm with the default lag of ten ticks: every fifth tick, five rows.
    lag, every = 10, 5
    tracker = Tracker(model, lanes=lanes, depth=lag + 1)

    def live(first: int = lag, count: int = ticks) -> None:
        for tick in range(first, first + count):
            tracker.step(tick, level[tick % 16], heard[tick % 16])

    def with_lag() -> None:
        for tick in range(lag, lag + ticks):
            tracker.step(tick, level[tick % 16], heard[tick % 16])
            if (tick + 1) % every == 0:
                tracker.smooth(tick, tick - lag, tick - lag + every - 1)

    live(0, lag)  # fills the ring
    micros = 1e6 / (ticks * lanes)
    return [
        Figure(
            name=f"core.filter_{kind}_{lanes}",
            value=best_cpu_s(work) * micros,
            unit="us per tag and tick",
            better="lower",
        )
        for kind, work in (("live", live), ("lag", with_lag))
    ]


def _engine(store: Store, tags: int) -> Engine:
    grid = build_cells(store)
    names = np.array(pseudonyms(tags), dtype=object)
    return Engine(
        store,
        radio_map_from_geometry(store, grid),
        name_of=lambda ids: list(names[ids]),
        grid=grid,
    )


def _analysis(store: Store, tags: int, seconds: float, *, name: str) -> Figure:
    readings = make_readings(store, tags=tags, seconds=seconds, seed=tags)
    engine = _engine(store, tags)
    spent_s = sum(_portions(engine, readings))
    began_s = time.process_time()
    engine.finish()
    spent_s += time.process_time() - began_s
    return Figure(name=name, value=len(readings) / spent_s, unit="readings/s", better="higher")


def _growth(store: Store, *, seconds: float) -> Figure:
    """Measure whether the last third of a stretch costs more than the middle one."""
    readings = make_readings(store, tags=CROWDS[1], seconds=seconds, seed=3)
    spent = np.array(_portions(_engine(store, CROWDS[1]), readings))
    third = len(spent) // 3
    value = float(np.median(spent[-third:]) / np.median(spent[third : 2 * third]))
    return Figure(
        name="core.cost_growth", value=value, unit="last third / middle third", better="lower"
    )


def _portions(engine: Engine, readings: Readings) -> list[float]:
    """Feed readings portion by portion; return the CPU seconds of each."""
    first, last = int(readings.t_ns[0]), int(readings.t_ns[-1])
    ends = np.arange(first + PORTION_NS, last + PORTION_NS, PORTION_NS)
    spent, begin = [], 0
    for end, stop in zip(ends.tolist(), np.searchsorted(readings.t_ns, ends), strict=True):
        part = slice(begin, int(stop))
        began_s = time.process_time()
        engine.add_readings(
            readings.t_ns[part],
            readings.receiver[part],
            readings.tag[part],
            readings.rssi_dbm[part],
        )
        engine.advance(end)
        spent.append(time.process_time() - began_s)
        begin = int(stop)
    return spent
