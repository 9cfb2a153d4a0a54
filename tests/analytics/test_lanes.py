"""Who sits where: lowest free lane, growth in blocks, a limit, rest and release."""

import numpy as np

from analytics.blocks import Layers
from analytics.cells import build_cells
from analytics.lanes import FREE, Lanes
from analytics.radio_map import radio_map_from_geometry
from analytics.tracker import build_model
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


def test_lanes_are_taken_from_below_and_given_back() -> None:
    some = lanes()
    assert [0, 1, 2] == [some.take(tag, f"t{tag}", 7) for tag in (40, 9, 5000)]
    assert [1, 0, FREE, 2] == some.of(np.array([9, 40, 7, 5000], np.int32)).tolist()
    assert [7, 7, 7] == some.last[:3].tolist()
    assert [6, 6, 6] == some.settled[:3].tolist()
    some.release(1)
    assert some.of(np.array([9], np.int32)).tolist() == [FREE]
    assert some.names[1] == ""
    assert some.take(77, "t77", 8) == 1


def test_blocks_grow_up_to_the_limit_and_further_tags_are_refused() -> None:
    some = lanes(most=300)
    taken = [some.take(tag, str(tag), 0) for tag in range(600)]
    assert [32, 32, 192, 256] == [block.lanes for block in some.blocks]
    assert [0, 32, 64, 256] == [block.base for block in some.blocks]
    assert list(range(512)) == taken[:512]
    assert [None] * 88 == taken[512:]
    assert len(some) == 512
    assert [0, 0, 1, 1, 2, 2, 3, 3] == [
        some.blocks.index(some.block_of(lane)) for lane in (0, 31, 32, 63, 64, 255, 256, 511)
    ]
    some.release(70)
    assert some.take(900, "900", 1) == 70


def test_only_blocks_with_somebody_active_are_stepped() -> None:
    some = lanes()
    for tag in range(65):
        some.take(tag, str(tag), 0)
    assert some.blocks == list(some.busy_blocks())
    some.rest(64, 5)
    assert some.blocks[:2] == list(some.busy_blocks())
    some.resume(64, 9)
    assert some.blocks == list(some.busy_blocks())
    assert some.rested[64] == 5
