import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from gateway.agent_clocks import STREAMS_MAX, AgentClocks
from ingest.columns import decode_batch
from tests.gateway.samples import ANNA, SECOND, T0, readings

HOUR = 3600 * SECOND
BATCH = decode_batch(readings(1, [(T0, "rx-1", ANNA, -60)]))


def batch(seq, sent_ns, *, agent="pi-1", boot="b", kind="ble"):
    return dataclasses.replace(BATCH, seq=seq, sent_ns=sent_ns, agent=agent, boot=boot, kind=kind)


def test_a_clock_that_runs_well_is_believed():
    clocks = AgentClocks({})
    for at in range(100):
        assert clocks.is_plausible(batch(at + 1, T0 + at * SECOND), T0 + at * SECOND + 40_000_000)
    assert clocks.offset_ms("pi-1") == -40.0
    assert clocks.jumped() == []


def test_a_jump_of_an_hour_back_is_set_aside_until_the_clock_is_right_again():
    clocks = AgentClocks({})
    clocks.is_plausible(batch(1, T0), T0)
    assert not clocks.is_plausible(batch(2, T0 + SECOND - HOUR), T0 + SECOND)
    assert clocks.jumped() == [("pi-1", -3599.0)]
    assert not clocks.is_plausible(batch(3, T0 + 2 * SECOND - HOUR), T0 + 2 * SECOND)
    assert clocks.is_plausible(batch(4, T0 + 3 * SECOND), T0 + 3 * SECOND)
    assert clocks.jumped() == []


def test_a_backlog_and_batches_sent_again_are_no_jump():
    clocks = AgentClocks({})
    clocks.is_plausible(batch(9, T0), T0)
    assert clocks.is_plausible(batch(3, T0 - HOUR), T0), "an older one of the same boot"
    assert clocks.is_plausible(batch(1, T0 - HOUR, boot="older"), T0), "another boot"
    assert clocks.is_plausible(batch(1, T0 - HOUR, kind="tap"), T0), "another kind"
    assert clocks.is_plausible(batch(10, T0 + SECOND), T0 + HOUR), "the network was away"


def test_a_day_ahead_teaches_nothing():
    clocks = AgentClocks({})
    clocks.is_plausible(batch(1, T0), T0)
    clocks.is_plausible(batch(2, T0 + 24 * HOUR), T0 + SECOND)
    assert clocks.is_plausible(batch(3, T0 + 2 * SECOND), T0 + 2 * SECOND)


def test_what_the_journal_kept_counts_after_a_restart():
    before = AgentClocks({})
    before.is_plausible(batch(7, T0), T0)
    stream = ("pi-1", "b", "ble")
    after = AgentClocks({stream: before.newest(stream)})
    assert not after.is_plausible(batch(8, T0 - HOUR), T0 + SECOND)


def test_drift_is_the_slope_of_the_shortest_delays():
    clocks = AgentClocks({})
    assert clocks.drift_ppm("pi-1") is None
    for at in range(600):
        now = T0 + at * SECOND
        ahead = at * 50_000  # 50 µs a second
        delay = 5_000_000 if at % 7 == 0 else 400_000_000
        clocks.is_plausible(batch(at + 1, now + ahead - delay), now)
    assert 45 < clocks.drift_ppm("pi-1") < 55


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-(2**40), 2**40)), max_size=60))
def test_no_order_of_batches_raises_and_memory_is_bounded(steps):
    clocks = AgentClocks({("a", str(at), "ble"): (1, 1) for at in range(STREAMS_MAX)})
    for seq, shift in steps:
        clocks.is_plausible(batch(seq, T0 + shift), T0)
    assert len(clocks._newest) <= STREAMS_MAX
