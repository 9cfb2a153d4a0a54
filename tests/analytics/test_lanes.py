"""Which lanes are lent: lowest free one, growth in blocks, a limit, and giving back."""

import numpy as np

from analytics.blocks import Layers
from analytics.cells import build_cells
from analytics.filter_model import build_model
from analytics.lanes import FREE, Lanes
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
