"""Which lanes are lent: lowest free one, growth in blocks, a limit, and giving back."""

import numpy as np
import pytest

from analytics.blocks import Layers
from analytics.cells import build_cells
from analytics.engine import Engine
from analytics.filter_model import build_model
from analytics.lanes import BELIEF_BYTES, FREE, MEMORY_BYTES, Lanes, lane_bytes, lanes_in_memory
from analytics.radio_map import radio_map_from_geometry
from tests.analytics.stores import shop

STORE = shop(cell_m=3.0)
GRID = build_cells(STORE)
MODEL = build_model(GRID, radio_map_from_geometry(STORE, GRID), tick_s=1.0)


def lanes(most: int = 16_384) -> Lanes:
    """Return lanes of a coarse store."""
    return Lanes(
        MODEL,
        Layers(zones=(np.arange(5, dtype=np.int16),), cell_m=3.0),
        depth=2,
        ring=4,
        most=most,
    )


def test_lanes_are_lent_from_below_and_given_back() -> None:
    some = lanes()
    assert [0, 1, 2] == [some.take(seat) for seat in (40, 9, 5000)]
    assert [40, 9, 5000] == some.seat[:3].tolist()
    assert some.used == 3
    some.release(1)
    assert FREE == some.seat[1]
    assert some.used == 2
    assert some.take(77) == 1


def test_blocks_grow_up_to_the_limit_and_further_seats_are_refused() -> None:
    some = lanes(most=300)
    taken = [some.take(seat) for seat in range(600)]
    assert [32, 96, 128, 256] == [block.lanes for block in some.blocks]
    assert [0, 32, 128, 256] == [block.base for block in some.blocks]
    assert list(range(512)) == taken[:512]
    assert [None] * 88 == taken[512:]
    assert len(some) == 512
    assert [0, 0, 1, 1, 2, 2, 3, 3] == [
        some.blocks.index(some.block_of(lane)) for lane in (0, 31, 32, 127, 128, 255, 256, 511)
    ]
    some.release(70)
    assert some.take(900) == 70


def test_only_blocks_with_a_lane_in_use_are_stepped() -> None:
    some = lanes()
    for seat in range(129):
        some.take(seat)
    assert some.blocks == list(some.busy_blocks())
    some.release(128)
    assert some.blocks[:2] == list(some.busy_blocks())
    some.take(3)
    assert some.blocks == list(some.busy_blocks())


@pytest.mark.parametrize(("cell_m", "lag"), [(3.0, 10), (1.0, 10), (1.0, 60)])
def test_a_lane_takes_what_its_beliefs_take_and_little_more(cell_m: float, lag: int) -> None:
    store = shop(cell_m=cell_m)
    grid = build_cells(store)
    model = build_model(grid, radio_map_from_geometry(store, grid), tick_s=1.0)
    layers = Layers(zones=(np.arange(5, dtype=np.int16),), cell_m=cell_m)
    beliefs = (lag + 1) * len(grid) * BELIEF_BYTES
    without = lane_bytes(model, layers, depth=1, ring=8) - len(grid) * BELIEF_BYTES
    assert beliefs + without == lane_bytes(model, layers, depth=lag + 1, ring=8)
    assert without < 3000


def test_lanes_are_as_many_as_memory_has_room_for() -> None:
    found = [lanes_in_memory(each) for each in (1, 1 << 16, 100_000, 1 << 22, 1 << 40)]
    assert [MEMORY_BYTES, 16_384, 10_496, 256, 256] == found
    assert [0] * 5 == [lanes % 256 for lanes in found]


def test_an_engine_of_many_cells_follows_fewer(monkeypatch) -> None:
    monkeypatch.setattr("analytics.lanes.MEMORY_BYTES", 600 * 10_000)
    store = shop()
    grid = build_cells(store)
    radio_map = radio_map_from_geometry(store, grid)
    engine = Engine(store, radio_map, name_of=lambda ids: [""] * len(ids))
    assert 512 == engine._lanes.most
    monkeypatch.setattr("analytics.engine.LANES_MOST", 100)
    fewer = Engine(store, radio_map, name_of=lambda ids: [""] * len(ids))
    assert 100 == fewer._lanes.most
