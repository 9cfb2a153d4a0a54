"""One engine, two drivers: portions, order, repetitions, ids and checkpoints change no row.

Scenes are a minute or two of a few tags with gaps, taps, staff and a shelf, under
unusual rules. Every way to give their rows to the engine must give equal tables, and
these must keep the contract's rules about rows.
"""

import dataclasses
import itertools
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analytics.cells import build_cells
from analytics.checkpoint import restore, save
from analytics.radio_map import radio_map_from_geometry
from analytics.store import Store
from tests.analytics.row_rules import assert_rows_keep_the_rules
from tests.analytics.stores import (
    PLACES,
    SECOND,
    START_NS,
    Bench,
    Rows,
    odd_store,
    portions,
    shop,
    stay,
    tap,
    whole,
)

RULES = st.fixed_dictionaries(
    {},
    optional={
        "visit_gap_s": st.sampled_from([3.0, 8.0, 15.0, 40.0]),
        "lag_s": st.sampled_from([0.0, 1.0, 4.0, 60.0]),
        "tick_s": st.sampled_from([0.5, 2.0]),
        "dwell_gap_s": st.sampled_from([3.0, 10.0, 120.0]),
        "visit_min_s": st.sampled_from([0.0, 5.0]),
        "lateness_s": st.sampled_from([0.0, 3.0]),
    },
)
SEGMENTS = st.lists(
    st.tuples(
        st.sampled_from(sorted(PLACES)),
        st.integers(1, 30),
        st.sampled_from([0, 0, 1, 5, 11, 15, 25, 70]),
    ),
    min_size=1,
    max_size=4,
)
TAPS = st.lists(
    st.tuples(
        st.sampled_from(["entry", "exit", "info", "checkout", "shelf"]), st.integers(0, 1200)
    ),
    max_size=5,
)
TAGS = st.lists(st.tuples(SEGMENTS, TAPS, st.integers(0, 15)), min_size=1, max_size=4)


class Scene:
    """A store and its rows; a failure shows the rules and the seed alone, the rows are long."""

    def __init__(self, store: Store, rows: Rows, seed: int) -> None:
        self.store, self.rows, self.seed = store, rows, seed

    def __repr__(self) -> str:
        return f"<{len(self.store.receivers)} receivers, seed {self.seed}, {self.store.rules}>"


@st.composite
def scenes(draw: Any) -> Scene:
    """Draw a scene."""
    kind = draw(st.sampled_from(["shop"] * 4 + ["no zones", "one receiver", "in a line"]))
    has_shelf = kind == "shop" and draw(st.booleans())
    store = shop(shelves=has_shelf, **draw(RULES))
    if kind != "shop":
        store = dataclasses.replace(odd_store(kind), rules=store.rules)
    seed = draw(st.integers(0, 2**16))
    rng = random.Random(seed)
    rows, end_s = Rows(), 0.0
    for number, (segments, taps, begin_s) in enumerate(draw(TAGS)):
        tag = "p_staff" if number == 3 else f"p_{number}"
        at_s = begin_s + rng.random()
        for place, length_s, silent_s in segments:
            rows += stay(
                store, tag, place, at_s, at_s + length_s,
                every_s=rng.choice([0.6, 1.3]), noise_db=4, seed=rng.randrange(2**16),
            )  # fmt: skip
            at_s += length_s + silent_s
        end_s = max(end_s, at_s)
        for role, tenths in taps if store.tap_points else []:
            rows += tap(store, tag, role, tenths / 10)
    heard = [row for row in rows.readings if rng.random() < 0.4] or rows.readings[:1]
    samples = _samples(rng, end_s) if has_shelf else []
    rows = Rows(readings=heard, taps=rows.taps, samples=samples)
    return Scene(store, rows, seed)


def _samples(rng: random.Random, end_s: float) -> list[tuple[int, int, float]]:
    found, mass = [], 5000.0
    for i in range(round(end_s * 5)):
        mass -= 250.0 * (rng.random() < 0.02)
        found.append((START_NS + i * SECOND // 5, 0, round(mass + rng.gauss(0, 0.5), 1)))
    return found


SLOW = settings(
    max_examples=16,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)


def assert_equal(expected: dict[str, Any], actual: dict[str, Any], how: str) -> None:
    """Compare all tables."""
    for name, rows in expected.items():
        assert rows == actual[name], f"{name} differ: {how}"


@given(scenes())
@SLOW
def test_portions_order_and_repetitions_change_nothing(scene: Scene) -> None:
    store, rows = scene.store, scene.rows
    expected = whole(store, rows)
    assert_rows_keep_the_rules(expected, rows, store)
    assert_equal(expected, portions(store, rows, SECOND), "1 s portions")
    rng = random.Random(scene.seed)
    lateness_ns = round(store.rules.lateness_s * SECOND)
    delays = [rng.randint(0, lateness_ns) for _ in rows.arrivals()]
    mixed = portions(
        store, rows, SECOND // 4, delay_of=delays.__getitem__, lateness_ns=lateness_ns, times=2
    )
    assert_equal(expected, mixed, "250 ms portions, late by up to the lateness, every row twice")


@given(scenes())
@SLOW
def test_ids_repetitions_and_time_going_on_change_nothing(scene: Scene) -> None:
    store, rows = scene.store, scene.rows
    expected = whole(store, rows)
    names = rows.tags()
    random.Random(scene.seed).shuffle(names)
    backwards = Rows(readings=rows.readings[::-1], taps=rows.taps[::-1], samples=rows.samples[::-1])
    other = whole(store, backwards, names=["p_nobody", *names], times=2)
    assert_equal(expected, other, "other ids, backwards, every row twice")
    beyond_ns = random.Random(scene.seed).choice([5, 40, 700]) * SECOND
    later = portions(store, rows, SECOND, beyond_ns=beyond_ns)
    for name in ("shelf_stock", "sensor_health"):  # a plate that says nothing more is silent
        later[name] = expected[name]
    assert_equal(expected, later, "the engine ran on after the last row")


@given(scenes(), st.lists(st.integers(0, 60), min_size=1, max_size=8))
@settings(SLOW, max_examples=8)
def test_checkpoints_change_nothing(scene: Scene, waits: list[int]) -> None:
    """Save and restore every few steps, with rows shuffled within the lateness and twice."""
    store, rows = scene.store, scene.rows
    expected = whole(store, rows)
    rng = random.Random(scene.seed)
    lateness_ns = round(store.rules.lateness_s * SECOND)
    step_ns = rng.choice([SECOND // 4, SECOND])
    coming = [
        (row[0] + rng.randint(0, lateness_ns), kind, row) for kind, row in rows.arrivals() * 2
    ]
    rng.shuffle(coming)
    bench = Restored(store, rows.tags())
    coming.sort(key=lambda arrival: arrival[0] // step_ns)
    pause = itertools.cycle(waits)
    left = next(pause)
    for step, mine in itertools.groupby(coming, lambda arrival: arrival[0] // step_ns):
        bench.add([(kind, row) for _, kind, row in mine])
        bench.advance((step + 1) * step_ns - lateness_ns)
        left -= 1
        if left < 0:
            bench.go_on_elsewhere()
            left = next(pause)
    bench.go_on_elsewhere()
    assert_equal(expected, bench.finish(), f"restored every {waits} steps of {step_ns} ns")
    assert bench.late == 0


class Restored(Bench):
    """An engine that is now and then replaced by what its checkpoint gives."""

    def go_on_elsewhere(self) -> None:
        """Save the engine, forget it, and restore it with the tags' names as they were."""
        grid = build_cells(self.store)
        names = list(self.names)
        self.engine = restore(
            save(self.engine), self.store, radio_map_from_geometry(self.store, grid),
            name_of=lambda ids: [names[i] for i in ids.tolist()], grid=grid,
        )  # fmt: skip


@pytest.mark.parametrize("step_ns", [SECOND // 4, 7 * SECOND])
def test_hours_between_two_visitors(step_ns: int) -> None:
    store = shop(shelves=True)
    rows = stay(store, "p_a", "queue", 0, 40) + stay(store, "p_b", "queue", 3600, 3650)
    rows += tap(store, "p_b", "exit", 3649.5) + stay(store, "p_a", "promo", 3660, 3700)
    assert_equal(whole(store, rows), portions(store, rows, step_ns), str(step_ns))
