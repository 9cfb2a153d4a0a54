"""Heat: person-seconds per cell, nothing lost, quarters of an hour since the epoch."""

import dataclasses

import numpy as np
import pytest

from analytics.cell_grid import build_cells
from analytics.heat import QUARTER_NS, HeatMap
from analytics.store import Floor
from tests.analytics.stores import SECOND, START_NS, box, shop

T0 = START_NS // QUARTER_NS * QUARTER_NS // SECOND
STORE = shop()
GRID = build_cells(STORE)


def test_time_that_people_were_there_is_kept() -> None:
    rng = np.random.default_rng(3)
    heat, total_ticks = HeatMap(STORE, GRID), 0
    for tick in range(0, 1800, 7):
        weight = rng.integers(1, 8, 30).astype(np.float32)
        belief = rng.dirichlet(np.full(len(GRID), 0.3), 30).T.astype(np.float32)
        heat.note(T0 + tick, belief @ weight)
        total_ticks += int(weight.sum())
    rows = heat.advance(1 << 62)
    assert {1, 2} == {(row.t_ns - T0 * SECOND) // QUARTER_NS for row in rows}
    # Every row is off by 0.05 s at most; cells left out hold less than that.
    found = sum(row.person_s for row in rows)
    assert found == pytest.approx(total_ticks * STORE.rules.tick_s, abs=0.05 * 2 * len(GRID))
    assert found == pytest.approx(total_ticks * STORE.rules.tick_s, rel=1e-3)


@pytest.mark.parametrize("tick_s", [0.5, 2.0])
def test_ticks_become_seconds(tick_s: float) -> None:
    heat = HeatMap(shop(tick_s=tick_s), GRID)
    cell_ticks = np.zeros(len(GRID))
    cell_ticks[5] = 3
    heat.note(round(T0 / tick_s), cell_ticks)
    assert [3 * tick_s] == [row.person_s for row in heat.advance(1 << 62)]


def test_cells_with_less_than_a_twentieth_of_a_second_are_left_out() -> None:
    heat = HeatMap(STORE, GRID)
    cell_ticks = np.zeros(len(GRID))
    cell_ticks[:3] = [0.049, 0.051, 0.26]
    heat.note(T0, cell_ticks)
    assert [0.1, 0.3] == [row.person_s for row in heat.advance(1 << 62)]


def test_rows_come_once_when_their_quarter_is_settled() -> None:
    heat = HeatMap(STORE, GRID)
    one = np.ones(len(GRID), np.float32)
    heat.note(T0 + 899, one)
    heat.note(T0 + 900, one)
    assert [] == heat.advance(T0 * SECOND + QUARTER_NS - 1)
    rows = heat.advance(T0 * SECOND + QUARTER_NS)
    assert {T0 * SECOND + QUARTER_NS} == {row.t_ns for row in rows}
    assert len(GRID) == len(rows)
    heat.note(T0 + 10, one)
    assert {T0 * SECOND + 2 * QUARTER_NS} == {row.t_ns for row in heat.advance(1 << 62)}
    assert {} == heat._sums


def test_sums_do_not_depend_on_the_order_of_blocks() -> None:
    rng = np.random.default_rng(5)
    parts = rng.exponential(1.0, (50, len(GRID))).astype(np.float32)
    one, other = HeatMap(STORE, GRID), HeatMap(STORE, GRID)
    for part in parts:
        one.note(T0, part)
    for at in rng.permutation(50).tolist():
        other.note(T0 + at % 9, parts[at])
    assert one.advance(1 << 62) == other.advance(1 << 62)


def test_rows_name_the_floor_and_the_middle_of_the_square() -> None:
    store = dataclasses.replace(
        STORE,
        outline_m=box(0.25, 0, 10.25, 6),
        floors=(Floor(id="0"), Floor(id="up", level_m=4.0, outline_m=box(1.1, -3, 3.1, -1))),
        obstacles=(dataclasses.replace(STORE.obstacles[0], polygon_m=box(0.25, 0, 0.95, 0.4)),),
    )
    grid = build_cells(store)
    heat = HeatMap(store, grid)
    heat.note(T0, np.ones(len(grid)))
    rows = heat.advance(1 << 62)
    assert 64 == len({(row.floor, row.x_m, row.y_m) for row in rows})
    assert {(x, y) for x in (1.6, 2.6) for y in (-2.5, -1.5)} == {
        (row.x_m, row.y_m) for row in rows if row.floor == "up"
    }
    assert (0.75, 0.5) in {(row.x_m, row.y_m) for row in rows if row.floor == "0"}
