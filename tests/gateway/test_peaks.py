import dataclasses

import numpy as np
import pytest

from analytics.rows import Output, Positions
from gateway.gate import Gate
from gateway.peaks import MINUTES_MAX, Peaks
from gateway.points import PointMaker
from tests.gateway.samples import SECOND, STORE, T0

MINUTE = 60 * SECOND
MINUTE0 = T0 // MINUTE * MINUTE


def _block(rows):
    """Rows are (seconds from the minute's begin to the tick's end, tag, stage, zone)."""
    t_ns, tag, stage, zone = (np.array(column) for column in zip(*rows, strict=True))
    nothing = np.zeros(len(rows), np.float32)
    return Positions(
        t_ns=MINUTE0 + np.round(t_ns * SECOND).astype(np.int64),
        tag=tag.astype(np.int32),
        stage=stage.astype(np.uint8),
        layer=np.zeros(len(rows), np.uint8),
        zone=zone.astype(np.int16),
        zone_state=np.zeros(len(rows), np.uint8),
        floor=np.zeros(len(rows), np.uint8),
        zone_p=nothing,
        x_m=nothing,
        y_m=nothing,
        sigma_m=nothing,
    )


def test_the_most_at_one_tick_counts_and_only_what_is_final():
    peaks = Peaks(STORE)
    peaks.count(_block([(1, 0, 1, 0), (1, 1, 1, 0), (2, 0, 1, 0), (2, 1, 1, 1)]))
    peaks.count(_block([(1, 2, 1, 0), (3, 3, 0, 0), (3, 4, 1, -1), (60, 0, 1, 1), (61, 0, 1, 1)]))
    assert 3 == peaks.most(MINUTE0 + MINUTE, "shoes")
    assert 1 == peaks.most(MINUTE0 + MINUTE, "promo")
    assert 1 == peaks.most(MINUTE0 + 2 * MINUTE, "promo")
    assert 0 == peaks.most(MINUTE0 + 2 * MINUTE, "shoes")
    assert 0 == peaks.most(MINUTE0 + 9 * MINUTE, "shoes")


def test_a_minute_that_was_told_is_forgotten_and_never_begun_again():
    peaks = Peaks(STORE)
    peaks.count(_block([(1, 0, 1, 0)]))
    peaks.forget(MINUTE0 + MINUTE)
    peaks.count(_block([(2, 0, 1, 0)]))
    assert 0 == peaks.most(MINUTE0 + MINUTE, "shoes")


def test_minutes_are_bounded():
    peaks = Peaks(STORE)
    peaks.count(_block([(60 * minute + 1, 0, 1, 0) for minute in range(MINUTES_MAX + 5)]))
    assert 0 == peaks.most(MINUTE0 + 5 * MINUTE, "shoes")
    assert 1 == peaks.most(MINUTE0 + 6 * MINUTE, "shoes")


@pytest.mark.parametrize("tick_s", [0.2, 1.0, 7.0])
def test_ticks_of_any_length_fit_into_their_minute(tick_s):
    rules = dataclasses.replace(STORE.rules, tick_s=tick_s)
    peaks = Peaks(dataclasses.replace(STORE, rules=rules))
    first = -(-MINUTE0 // rules.tick_ns)
    ticks = range(first, (MINUTE0 + MINUTE - 1) // rules.tick_ns + 1)
    ends = [((tick + 1) * rules.tick_ns - MINUTE0) / SECOND for tick in ticks]
    peaks.count(_block([(end, 0, 1, 0) for end in ends]))
    assert 1 == peaks.most(MINUTE0 + MINUTE, "shoes")


def test_outputs_told_before_count_for_the_minute_that_is_still_open():
    maker = PointMaker(STORE, Gate(), identity="none")
    maker.note_told(Output(positions=[_block([(1, 0, 1, 0), (1, 1, 1, 0)])]))
    assert 2 == maker._peaks.most(MINUTE0 + MINUTE, "shoes")
