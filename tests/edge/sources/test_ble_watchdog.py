from itertools import pairwise

import pytest

from edge.sources.ble_watchdog import CHECKS, Watchdog

PERIOD_S = 15 / CHECKS


def after(watchdog, begin_s, seconds):
    """Look at the watchdog as the source does; return when which step was due."""
    steps = []
    for check in range(1, int(seconds / PERIOD_S) + 1):
        step = watchdog.due(begin_s + check * PERIOD_S)
        if step is not None:
            steps.append((check * PERIOD_S, step))
    return steps


def heard(senders, *, seconds=20, has_beacon=False):
    """A watchdog that has heard senders once a second from 0 on."""
    watchdog = Watchdog(15.0, has_beacon=has_beacon)
    watchdog.start(0.0)
    for second in range(seconds + 1):
        for sender in range(senders):
            watchdog.hear(second + sender / 100, f"s{sender}")
        if has_beacon:
            watchdog.hear_beacon(second)
    return watchdog


def test_a_deaf_radio_is_noticed_within_15_s_and_goes_up_the_steps():
    steps = after(heard(5), 20.05, 60)
    assert [step for _, step in steps[:3]] == [
        "scan_restart",
        "power_cycle",
        "service_restart_wanted",
    ]
    assert steps[0][0] <= 15
    # With senders of one second, five of them must be heard before the next step.
    assert steps[2][0] <= 15 + 2 * 6


def test_after_the_last_step_the_waits_double():
    steps = [at for at, step in after(heard(5), 20, 400) if step == "service_restart_wanted"]
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert len(gaps) >= 3
    assert gaps == sorted(gaps)
    assert gaps[-1] > 2 * gaps[0]


def test_one_sender_that_leaves_never_asks_for_a_new_bluetoothd():
    steps = {step for _, step in after(heard(1), 20, 600)}
    assert steps == {"scan_restart", "power_cycle"}


def test_people_who_leave_one_after_the_other_are_no_fault():
    watchdog = heard(5)
    for second in range(21, 61):  # all but the first have left
        watchdog.hear(second, "s0")
        assert watchdog.due(second) is None
    assert "service_restart_wanted" not in {step for _, step in after(watchdog, 60, 300)}


def test_a_shop_where_nothing_was_ever_heard_is_scanned_anew_now_and_then():
    watchdog = Watchdog(15.0, has_beacon=False)
    watchdog.start(0.0)
    steps = after(watchdog, 0, 600)
    assert steps[0][0] == pytest.approx(135, abs=2)
    assert {step for _, step in steps} == {"scan_restart"}
    assert len(steps) <= 6


def test_the_beacon_tells_deafness_where_nobody_else_is():
    steps = after(heard(0, has_beacon=True), 20, 60)
    assert [step for _, step in steps[:3]] == [
        "scan_restart",
        "power_cycle",
        "service_restart_wanted",
    ]
    assert steps[0][0] <= 15


def test_a_beacon_missed_while_others_are_heard_only_restarts_the_scan():
    watchdog = heard(3, has_beacon=True)
    steps = set()
    for second in range(21, 200):
        watchdog.hear(second, "s0")
        steps.add(watchdog.due(second))
    assert steps == {None, "scan_restart"}
    assert watchdog.misses_beacon_only


def test_a_packet_ends_the_silence_and_says_how_long_it_was():
    watchdog = heard(5)
    assert after(watchdog, 20, 16)
    assert watchdog.is_silent
    assert watchdog.hear(40.04, "s0")
    assert not watchdog.is_silent
    assert watchdog.lasted_s == pytest.approx(20.0)
    assert not watchdog.hear(41, "s0")


def test_new_addresses_neither_fill_memory_nor_push_out_regular_senders():
    watchdog = heard(3)
    for number in range(5000):
        watchdog.hear(20.05 + number / 1000, f"n{number}")
    assert len(watchdog._candidates) <= 256
    assert set(watchdog._regulars) == {"s0", "s1", "s2"}


def test_the_number_of_regular_senders_is_bounded():
    assert len(heard(100)._regulars) == 64
