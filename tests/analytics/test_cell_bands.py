"""The transition in bands: the same chances as the dense one, and nobody gets lost."""

import dataclasses

import numpy as np
import pytest

from analytics.cells import (
    TELEPORT,
    TransitionBands,
    build_cells,
    transition_bands,
    transition_matrix,
)
from analytics.store import Connection, ConnectionEnd, Floor, Obstacle
from tests.analytics.stores import box, shop

HALL = dataclasses.replace(
    shop(),
    outline_m=box(0, 0, 40, 12),
    zones=(),
    obstacles=tuple(
        Obstacle(polygon_m=polygon)
        for polygon in (
            box(4, 0, 5, 9),
            box(9, 3, 10.3, 12),
            box(20, 2.5, 20.8, 12),
            box(30, 4, 34, 8),
        )
    ),
)
HOUSE = dataclasses.replace(
    HALL,
    floors=(Floor(id="0"), Floor(id="1", level_m=4.5)),
    connections=(
        Connection(
            id="stairs",
            kind="stairs",
            ends=tuple(ConnectionEnd(floor=name, rect_m=(14, 2, 17, 4)) for name in "01"),
        ),
    ),
)


def dense(bands: TransitionBands) -> np.ndarray:
    """Return blocks and crossing as one matrix."""
    found = np.zeros(bands.shape)
    for row, row_end, column, column_end, values in (*bands.blocks, *bands.crossing):
        found[row:row_end, column:column_end] += values
    return found


@pytest.mark.parametrize("store", [HALL, HOUSE], ids=["hall", "house"])
@pytest.mark.parametrize("sigma_m", [0.9, 1.4, 2.6])
@pytest.mark.parametrize("transposed", [False, True])
def test_bands_are_the_transition_without_its_small_entries(store, sigma_m, transposed) -> None:
    grid = build_cells(store)
    expected = transition_matrix(grid, sigma_m)
    bands = transition_bands(grid, sigma_m, transposed=transposed)
    found = dense(bands).T if transposed else dense(bands)
    assert np.abs(found + bands.restart - expected).max() < 1e-5
    assert np.allclose(found.sum(1), 1 - TELEPORT, atol=1e-6)
    assert TELEPORT == pytest.approx(float(bands.restart.sum()), rel=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_every_row_is_in_one_block_and_blocks_are_narrow(transposed) -> None:
    grid = build_cells(HALL)
    bands = transition_bands(grid, 0.9, rows=64, transposed=transposed)
    edges = [block[:2] for block in bands.blocks]
    assert [0, *(end for _, end in edges[:-1])] == [start for start, _ in edges]
    assert len(grid) == edges[-1][1]
    assert all(64 >= end - start for start, end in edges)
    assert () == bands.crossing
    for row, row_end, column, column_end, values in bands.blocks:
        assert (row_end - row, column_end - column) == values.shape
        assert np.float32 == values.dtype
    # A tick reaches about 5 m to either side; the hall has 40.
    held = sum(block[4].size for block in bands.blocks)
    assert held < 0.5 * len(grid) ** 2


def test_blocks_of_floors_do_not_mix_and_stairs_cross() -> None:
    grid = build_cells(HOUSE)
    bands = transition_bands(grid, 1.4)
    for row, row_end, column, column_end, _ in bands.blocks:
        assert grid.floor[row] == grid.floor[row_end - 1] == grid.floor[column]
        assert grid.floor[column] == grid.floor[column_end - 1]
    assert bands.crossing
    for row, _, column, column_end, _ in bands.crossing:
        assert grid.floor[row] != grid.floor[column] == grid.floor[column_end - 1]


def test_a_belief_keeps_its_mass_for_an_hour() -> None:
    grid = build_cells(HOUSE)
    bands = transition_bands(grid, 1.4, tolerance=1e-5, transposed=True)
    belief = np.zeros(len(grid), np.float32)
    belief[0] = 1.0
    for _ in range(3600):
        moved = bands.restart * belief.sum()
        for row, row_end, column, column_end, values in (*bands.blocks, *bands.crossing):
            moved[row:row_end] += values @ belief[column:column_end]
        belief = moved
    assert 1.0 == pytest.approx(float(belief.sum()), abs=1e-3)
    assert 0.2 < belief[grid.floor == 1].sum() < 0.8


def test_many_cells_need_no_square_of_them() -> None:
    store = dataclasses.replace(HALL, outline_m=box(0, 0, 130, 60), obstacles=HALL.obstacles)
    grid = build_cells(store)
    assert len(grid) > 7000
    bands = transition_bands(grid, 0.9, tolerance=1e-5)
    held = sum(block[4].size for block in bands.blocks)
    assert held < 0.1 * len(grid) ** 2
