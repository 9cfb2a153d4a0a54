"""The peers' rules against hand-made packets, the scoring, and the benchmark's form."""

import dataclasses
import math

import numpy as np
import pytest

from fanous.benchmarks import peers
from fanous.benchmarks import peers_rules as rules
from simulators.peers_scenario import START_NS, Walks, peers_store, walk_and_hear

NAN = math.nan


def packets(*receivers):
    """Return one walk: for each receiver its RSSI second by second."""
    return np.array(receivers, dtype=float).T[None]


def step(before, after, *, at=60, seconds=180):
    """Return the levels of a receiver that changes once."""
    return [before] * at + [after] * (seconds - at)


MOVE = packets(step(-60.0, -80.0), step(-80.0, -60.0), [-85.0] * 180)


def first_of(zones, receiver):
    return int(np.flatnonzero(zones[0] == receiver)[0])


@pytest.mark.parametrize(
    ("rule", "latest_s"),
    [
        # The strongest window still holds one second of the past.
        (rules.strongest, 1),
        # 7 seconds of 15 are over the middle, and the next reports come within 5.
        (rules.tukey_nearest, 14),
        # Halves within 70 packets.
        (rules.kalman_strongest, 70),
        # 20 dB is more than the 16 dB that are wanted.
        (rules.switch_at, 0),
        # 3 s of memory, 4 dB and two seconds.
        (rules.ewma_hysteresis, 5),
        # The nearest distances are hugged.
        (rules.hugging_contest, 20),
    ],
)
def test_a_rule_follows_a_clear_move_after_its_own_time(rule, latest_s):
    zones = rule(MOVE)
    assert zones.shape == (1, 180)
    assert zones.dtype == np.int16
    assert set(zones[0, 30:60].tolist()) == {0}
    late = first_of(zones, 1) - 60
    assert 0 <= late <= latest_s
    assert set(zones[0, 60 + latest_s :].tolist()) == {1}


@pytest.mark.parametrize("rule", peers.PEERS.values(), ids=peers.PEERS)
def test_a_rule_names_nobody_before_something_was_heard_and_sees_no_future(rule):
    rng = np.random.default_rng(4)
    heard = rng.normal(-70.0, 8.0, (3, 80, 4))
    heard[rng.random(heard.shape) < 0.4] = NAN
    heard[:, :7] = NAN
    zones = rule(heard)
    assert np.all(zones[:, :7] == -1)
    assert np.all(zones[:, 30:] >= 0)
    later = heard.copy()
    later[:, 50:] = rng.normal(-60.0, 8.0, later[:, 50:].shape)
    np.testing.assert_array_equal(zones[:, :50], rule(later)[:, :50])
    for walk in range(3):  # and walks do not see each other
        np.testing.assert_array_equal(zones[walk], rule(heard[walk : walk + 1])[0])


def test_the_tukey_mean_leaves_outliers_out():
    # One packet of -20 in 15 would lift a plain mean above -65.
    odd = [-70.0] * 30
    odd[20] = -20.0
    assert set(rules.tukey_nearest(packets(odd, [-69.0] * 30))[0, 20:].tolist()) == {1}


def test_the_kalman_filter_is_that_of_a_constant():
    rng = np.random.default_rng(0)
    heard = rng.normal(-70, 5, (1, 60, 2))
    expected = []
    state = [None, None]
    for second in range(60):
        for receiver in range(2):
            z = heard[0, second, receiver]
            if state[receiver] is None:
                state[receiver] = (z, 4.0)
                continue
            x, p = state[receiver]
            p += 0.0008
            k = p / (p + 4.0)
            state[receiver] = (x + k * (z - x), p * (1 - k))
        expected.append(0 if state[0][0] >= state[1][0] else 1)
    assert expected == rules.kalman_strongest(heard)[0].tolist()


def test_sixteen_decibels_are_not_more_than_sixteen():
    assert set(rules.switch_at(packets([-70.0] * 5, [-54.0] * 5))[0].tolist()) == {0}
    assert rules.switch_at(packets([-70.0] * 5, [-53.0] * 5))[0].tolist() == [1] * 5


def test_a_silent_receiver_is_left_after_its_patience():
    zones = rules.switch_at(packets([-60.0] + [NAN] * 11, [NAN] + [-90.0] * 11))
    assert zones[0].tolist() == [0] * 7 + [1] * 5


def test_the_contest_is_won_outright_by_30_and_with_history_by_15_per_cent():
    def distance(metres):
        return -55.0 - 30.0 * math.log10(metres)

    def winner(metres, seconds=12):
        near = [NAN, *[distance(metres)] * (seconds - 1)]
        return rules.hugging_contest(packets([distance(3.0)] * seconds, near))[0].tolist()

    assert winner(2.7) == [0] * 12  # 11 per cent
    slow = winner(2.5)  # 18 per cent, and better for all of the last intervals
    assert slow[:2] == [0, 0]
    assert slow[-1] == 1
    assert winner(2.0)[1] == 1  # 40 per cent


def test_a_sudden_retreat_is_not_believed():
    far = rules._hugging(packets([-60.0] * 10 + [-95.0] + [-60.0] * 5), 20)
    near = rules._hugging(packets([-60.0] * 16), 20)
    np.testing.assert_allclose(near, far)


def walks_of(zone, standing):
    zone = np.array(zone, np.int16)
    none = np.empty(0)
    return Walks(
        t_ns=none.astype(np.int64),
        receiver=none.astype(np.int16),
        tag=none.astype(np.int32),
        rssi_dbm=none,
        seconds=(zone >= 0).sum(1),
        x_m=np.zeros(zone.shape),
        y_m=np.zeros(zone.shape),
        zone=zone,
        standing=np.array(standing, bool),
    )


def test_the_figures_by_hand():
    walks = walks_of(
        [[0, 0, 0, 0, 2, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0, -1, -1, -1, -1]],
        [[1, 1, 1, 1, 0, 0, 1, 1, 1, 0], [1, 1, 0, 1, 1, 1, 0, 0, 0, 0]],
    )
    answer = np.array([[0, 0, 0, 0, 0, 0, 1, 1, 0, 1], [-1, 1, 1, 1, 1, 1, 5, 5, 5, 5]], np.int16)
    found = peers.score(answer, walks)
    assert found.correct == pytest.approx(8 / 16)
    # Stays with a stop after the first: 1 in the first walk (late by one), 0 in the second.
    assert found.latency_median_s == found.latency_p95_s == 1.5
    assert found.missed == 0.5
    assert found.switches == pytest.approx(3 / 3)
    assert found.dwell_error == pytest.approx(np.mean([0, 2 / 5, 1 / 2, 1]))


def test_the_truth_scores_perfectly_and_silence_scores_nothing():
    walks = walk_and_hear(peers_store(5.0), range(2))
    best = peers.score(walks.zone, walks)
    assert dataclasses.astuple(best) == (1.0, 0.5, 0.5, 0.0, 1.0, 0.0)
    nothing = peers.score(np.full_like(walks.zone, -1), walks)
    assert nothing.correct == 0.0
    assert nothing.missed == nothing.dwell_error == 1.0
    assert nothing.latency_p95_s == math.inf


def test_a_constant_delay_is_all_that_back_dating_takes_out():
    walks = walk_and_hear(peers_store(10.0), range(2))
    late = np.full_like(walks.zone, -1)
    late[:, 7:] = walks.zone[:, :-7]
    assert peers.score(late, walks).correct < 0.9
    moved = peers.back_dated(late, walks)
    assert moved.correct == pytest.approx(1.0, abs=0.02)
    assert moved.dwell_error == pytest.approx(0.0, abs=0.02)


def test_packets_come_second_by_second():
    walks = walk_and_hear(peers_store(5.0), range(2))
    found = peers.by_second(walks, 6)
    assert int(np.isfinite(found).sum()) == len(walks.t_ns)
    at = 17
    second = int((walks.t_ns[at] - START_NS) // 10**9)
    assert walks.rssi_dbm[at] == found[walks.tag[at], second, walks.receiver[at]]


def test_our_engine_beats_every_live_rule_once_it_may_look_back():
    store = peers_store(5.0)
    walks = walk_and_hear(store, range(4))
    zones = peers.engine_zones(store, walks)
    assert list(zones) == ["live", "final"]
    heard = peers.by_second(walks, 6)
    theirs = [peers.score(rule(heard), walks) for rule in peers.PEERS.values()]
    final = peers.score(zones["final"], walks)
    assert final.correct > max(found.correct for found in theirs)
    assert final.dwell_error < min(found.dwell_error for found in theirs)
    assert final.correct > 0.9


def test_the_benchmark_gives_every_figure_with_its_peers_and_tells_a_table():
    told = []
    figures = {figure.name: figure for figure in peers.measure(quick=True, say=told.append)}
    for size in ("5m", "10m", "5m_mismatch", "10m_mismatch"):
        for what in ("latency_p95_live", "correct_live", "correct_final", "dwell_error_final"):
            figure = figures[f"peers.{what}_{size}"]
            moved = {f"{name}-back-dated" for name in peers.PEERS if "final" in what}
            assert set(figure.peer) == {*peers.PEERS, *moved}
            assert math.isfinite(figure.value)
        assert 0.8 < figures[f"peers.correct_final_{size}"].value < 1.0
    heads = [line for line in told if "correct" in line]
    assert len(heads) == 4
    assert all("p95 s" in line and "dwell error" in line for line in heads)
    assert sum(line.startswith("bermuda ") for line in told) == 4
