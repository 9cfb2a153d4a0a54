"""How fast the numeric core is, how much it holds, and how both grow.

Rules of the file: seeded people of `fanous.benchmarks.crowd`, 7 readings a second for
each, no survey; CPU time of one thread, best of three where that is short. Memory is
what `tracemalloc` sees (numpy's arrays and Python's objects alike), in passes of
their own, because watching it costs time.
"""

import time
import tracemalloc

import numpy as np
from numpy.typing import NDArray

from analytics.cells import build_cells
from analytics.engine import EMIT_SHARE, Engine
from analytics.filter_model import Model, build_model
from analytics.presence import reach_of_shelves
from analytics.radio_map import radio_map_from_geometry
from analytics.store import Store
from analytics.tick_buffer import ticks_in
from analytics.tracker import Scratch, Tracker
from fanous.benchmarks.crowd import (
    READINGS_PER_S,
    START_NS,
    Readings,
    day_store,
    demo_store,
    make_day,
    make_readings,
    plan_store,
    pseudonyms,
    zone_states,
)
from fanous.benchmarks.figure import Figure, Say, best_cpu_s

WIDTHS = (64, 256, 1024)
CROWDS = (60, 300, 1000)
KNOWN = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
GROWTH_ACTIVE, GROWTH_S = 1_000, 500.0
"""At a time, and how long: shorter than the gap after which a tag is forgotten."""
DAY_TAGS, DAY_READINGS, DAY_S = 10_000, 25_000_000, 36_000.0
"""A day of ten hours: about 100 people at a time, six minutes each."""
DAY_PARTS, DAY_PARTS_QUICK = 10, 100
LIVE_TAGS, LIVE_TAGS_QUICK = 10_000, 1_000
PORTION_S, LIVE_PORTION_S = 10.0, 1.0
"""The engine is advanced in steps of ten seconds, as a busy gateway does."""


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure the position filter alone and the whole analysis from columns.

    Parameters
    ----------
    quick : smaller sizes
    say : told what is being measured
    """
    ticks, seconds = (20, 20.0) if quick else (120, 180.0)
    store = demo_store()
    figures: list[Figure] = []
    for suffix, measured in (("", store), ("_250_cells", plan_store())):
        figures += _filters(measured, suffix, ticks=ticks, say=say)
    for tags in CROWDS:
        say(f"whole analysis, {tags} active tags, {seconds:g} s of event time")
        figures.append(_analysis(store, tags, seconds, name=f"core.analysis_{tags}_tags"))
    say(f"whole analysis, {CROWDS[-1]} active tags, zone states")
    name = f"core.analysis_{CROWDS[-1]}_tags_zone_states"
    figures.append(_analysis(zone_states(store), CROWDS[-1], seconds, name=name))
    figures += _day(parts=DAY_PARTS_QUICK if quick else DAY_PARTS, say=say)
    for form, measured in _forms():
        tags = LIVE_TAGS_QUICK if quick else LIVE_TAGS
        say(f"live engine, {tags:,} active tags, {form}")
        figures.append(_live(measured, form, tags, seconds=3.0 if quick else 20.0))
    figures += _growth_with_tags(say, quick=quick)
    say("growth of cost over event time")
    figures.append(_growth(store, seconds=60.0 if quick else 600.0))
    figures += _state(say, quick=quick)
    return tuple(figures)


def _forms() -> tuple[tuple[str, Store], ...]:
    """Return the store of a day in both forms."""
    return (("zone_states", zone_states(day_store())), ("1m_cells", day_store()))


def _filters(store: Store, suffix: str, *, ticks: int, say: Say) -> list[Figure]:
    grid = build_cells(store)
    model = build_model(
        grid,
        radio_map_from_geometry(store, grid),
        tick_s=store.rules.tick_s,
        reach=reach_of_shelves(store, grid),
    )
    lag = ticks_in(store.rules.lag_s, store.rules.tick_s)
    figures = []
    for lanes in WIDTHS:
        say(f"position filter, {len(grid)} cells, blocks of {lanes} tags")
        live_s, lag_s = _filter_s(model, lanes, ticks=ticks, lag=lag)
        for kind, spent_s in (("live", live_s), ("lag", lag_s)):
            figures.append(
                Figure(
                    name=f"core.filter_{kind}_{lanes}{suffix}",
                    value=spent_s * 1e6 / (ticks * lanes),
                    unit="us per tag and tick",
                    better="lower",
                )
            )
    return figures


def _filter_s(model: Model, lanes: int, *, ticks: int, lag: int) -> tuple[float, float]:
    """Return the CPU seconds of some ticks, live and in the engine's rhythm with its lag."""
    rng = np.random.default_rng(lanes)
    heard = (rng.random((16, model.receivers, lanes)) < 0.6).astype(np.float32)
    level = (rng.normal(0, 8, heard.shape) * heard).astype(np.float32)
    every = max(1, int(EMIT_SHARE * lag))
    tracker = Tracker(model, Scratch(model, lanes), lanes=lanes, depth=lag + 1)
    weight = np.ones(lanes, np.float32)

    def live(first: int = lag, count: int = ticks) -> None:
        for tick in range(first, first + count):
            tracker.step(tick, level[tick % 16], heard[tick % 16])

    def with_lag() -> None:
        for tick in range(lag, lag + ticks):
            tracker.step(tick, level[tick % 16], heard[tick % 16])
            if (tick + 1) % every == 0:
                tracker.smooth(tick, tick - lag, tick - lag + every - 1, lambda _: weight)

    live(0, lag)  # fills the ring
    return best_cpu_s(live), best_cpu_s(with_lag)


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
    rate = len(readings) / _whole_s(_engine(store, tags), readings)
    return Figure(name=name, value=rate, unit="readings/s", better="higher")


def _day(*, parts: int, say: Say) -> list[Figure]:
    """Measure a part of a day: so many times fewer readings, tags and seconds."""
    tags, seconds = DAY_TAGS // parts, DAY_S / parts
    active = DAY_READINGS / (DAY_S * READINGS_PER_S)
    figures = []
    for form, store in _forms():
        readings = make_day(store, tags=tags, active=active, seconds=seconds, seed=8)
        say(
            f"1/{parts} of a day of 25 M readings, 10,000 tags, 40 zones, 12 receivers, {form} "
            f"({len(build_cells(store))}): {len(readings):,} readings, {tags:,} tags"
        )
        rate = len(readings) / _whole_s(_engine(store, tags), readings)
        figures += [
            Figure(name=f"core.day_{form}", value=rate, unit="readings/s", better="higher"),
            Figure(
                name=f"core.day_{form}_memory_beyond_input",
                value=_peak_mb(store, tags, readings),
                unit="MB",
                better="lower",
            ),
        ]
    return figures


def _live(store: Store, form: str, tags: int, *, seconds: float) -> Figure:
    """Measure the share of a core for many tags, second by second, once all are known."""
    warm_s = 2
    readings = make_readings(store, tags=tags, seconds=seconds + warm_s, seed=6)
    spent = _portions(_engine(store, tags), readings, LIVE_PORTION_S)[warm_s:]
    return Figure(
        name=f"core.live_{tags}_tags_{form}",
        value=float(np.mean(spent)) / LIVE_PORTION_S,
        unit="of a core",
        better="lower",
    )


def _growth_with_tags(say: Say, *, quick: bool) -> list[Figure]:
    """Measure the cost of a reading by how many tags come and go and stay known."""
    store = zone_states(day_store())
    figures = []
    for name, tags in KNOWN.items():
        if quick and tags > 10_000:
            continue
        seconds, active = (GROWTH_S / 10, GROWTH_ACTIVE / 4) if quick else (GROWTH_S, GROWTH_ACTIVE)
        readings = make_day(store, tags=tags, active=active, seconds=seconds, seed=9)
        say(f"{tags:,} tags known, {active:g} at a time, {len(readings):,} readings")
        engine = _engine(store, tags)
        value = _whole_s(engine, readings) * 1e6 / len(readings)
        if engine.refused_tags:
            say(f"{engine.refused_tags} times a tag found no place: this figure is too good")
        figures.append(
            Figure(
                name=f"core.growth_{name}_tags", value=value, unit="us per reading", better="lower"
            )
        )
    return figures


def _growth(store: Store, *, seconds: float) -> Figure:
    """Measure whether the last third of a stretch costs more than the middle one."""
    readings = make_readings(store, tags=CROWDS[1], seconds=seconds, seed=3)
    spent = np.array(_portions(_engine(store, CROWDS[1]), readings))
    third = len(spent) // 3
    value = float(np.median(spent[-third:]) / np.median(spent[third : 2 * third]))
    return Figure(
        name="core.cost_growth", value=value, unit="last third / middle third", better="lower"
    )


def _state(say: Say, *, quick: bool) -> list[Figure]:
    """Measure the bytes that one more followed, and one more resting tag, takes."""
    store = day_store()
    say(f"state of a tag, {len(build_cells(store))} cells")
    size, every_s = (50, 3) if quick else (200, 3)
    followed = [_held_bytes(store, _wave(0, tags, 3)) for tags in (512, 1024)]
    # Waves of tags that are heard for two seconds and rest from then on; as many are
    # followed after 12 waves as after 40, so the difference is what rests.
    resting = []
    for waves in (12, 40):
        parts = [_wave(w * every_s, size, 2, first_tag=w * size) for w in range(waves)]
        resting.append(_held_bytes(store, _joined(parts)))
    return [
        Figure(
            name="core.state_followed", value=(followed[1] - followed[0]) / 512, unit="B per tag",
            better="lower",
        ),
        Figure(
            name="core.state_resting", value=max((resting[1] - resting[0]) / (28 * size), 1.0),
            unit="B per tag", better="lower",
        ),
    ]  # fmt: skip


def _wave(begin_s: int, tags: int, seconds: int, *, first_tag: int = 0) -> Readings:
    """Return two readings a second of some tags."""
    second, tag, receiver = (
        column.ravel() for column in np.meshgrid(np.arange(seconds), np.arange(tags), [0, 5])
    )
    return Readings(
        t_ns=START_NS + (begin_s + second) * 10**9 + 10**8,
        receiver=receiver.astype(np.int16),
        tag=(first_tag + tag).astype(np.int32),
        rssi_dbm=(-60.0 - tag % 9).astype(np.float32),
    )


def _joined(parts: list[Readings]) -> Readings:
    t_ns = np.concatenate([part.t_ns for part in parts])
    order = np.argsort(t_ns, kind="stable")
    return Readings(
        t_ns=t_ns[order],
        receiver=np.concatenate([part.receiver for part in parts])[order],
        tag=np.concatenate([part.tag for part in parts])[order],
        rssi_dbm=np.concatenate([part.rssi_dbm for part in parts])[order],
    )


def _held_bytes(store: Store, readings: Readings) -> int:
    """Return what an engine holds after some readings, its output thrown away."""
    engine = _engine(store, int(readings.tag.max()) + 1)
    tracemalloc.start()
    try:
        _portions(engine, readings, LIVE_PORTION_S)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def _peak_mb(store: Store, tags: int, readings: Readings) -> float:
    """Return the most that an analysis holds beyond its input."""
    tracemalloc.start()
    try:
        engine = _engine(store, tags)
        _portions(engine, readings)
        engine.finish()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def _whole_s(engine: Engine, readings: Readings) -> float:
    """Return the CPU seconds from the first reading to the last row."""
    spent_s = sum(_portions(engine, readings))
    began_s = time.process_time()
    engine.finish()
    return spent_s + time.process_time() - began_s


def _portions(
    engine: Engine, readings: Readings, portion_s: float = PORTION_S
) -> NDArray[np.float64]:
    """Feed readings portion by portion; return the CPU seconds of each."""
    portion_ns = round(portion_s * 1e9)
    first, last = int(readings.t_ns[0]), int(readings.t_ns[-1])
    ends = np.arange(first + portion_ns, last + portion_ns, portion_ns)
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
    return np.array(spent)
