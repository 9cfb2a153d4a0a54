import itertools
import logging
from dataclasses import dataclass, field

import pytest

from edge.clock import STEP_NS, AgentClock
from tests.edge.agents import T0

SECOND = 10**9


@dataclass
class Machine:
    """A machine whose clocks the test sets: monotonic, and the system's by its offset."""

    monotonic_ns: int = 5 * SECOND
    offset_ns: int = T0
    kept: bool = False
    clock: AgentClock = field(init=False)

    def __post_init__(self):
        self.clock = AgentClock(
            lambda: self.monotonic_ns + self.offset_ns,
            lambda: self.monotonic_ns,
            is_kept=lambda: self.kept,
        )

    def run(self, seconds):
        """Let time pass, looking each second; return the agent's times."""
        times = []
        for _ in range(seconds):
            self.monotonic_ns += SECOND
            self.clock.look()
            times.append(self.clock.now_ns())
        return times

    def word(self):
        return self.clock.state()["state"]


def test_it_runs_with_the_monotonic_clock():
    machine = Machine()
    first = machine.clock.now_ns()
    assert first == T0 + 5 * SECOND
    machine.run(10)
    assert machine.clock.now_ns() == first + 10 * SECOND
    assert machine.clock.state() == {
        "now_ns": first + 10 * SECOND,
        "offset_ms": None,
        "wall_offset_ms": 0.0,
        "state": "steady",
    }


@pytest.mark.parametrize("jump_s", [-3600, 86_400, 0.6, -0.6])
def test_a_jump_that_nobody_confirms_moves_nothing(jump_s, caplog):
    machine = Machine()
    machine.offset_ns += round(jump_s * SECOND)
    times = machine.run(120)
    assert times[-1] == T0 + 125 * SECOND
    assert machine.word() == "apart"
    assert machine.clock.state()["wall_offset_ms"] == jump_s * 1000
    assert not machine.clock.wants_boot
    assert caplog.text.count("clock apart") == 1
    machine.offset_ns -= round(jump_s * SECOND)
    machine.run(1)
    assert machine.word() == "steady"
    assert "clock together again" in caplog.text


def test_a_step_forward_is_followed_when_the_kernel_keeps_its_clock():
    machine = Machine(offset_ns=0)  # 1970: a Raspberry Pi without a battery
    machine.clock.begin(0)
    machine.run(3)
    assert machine.word() == "unset"
    machine.offset_ns = T0
    machine.run(3)
    assert machine.word() == "unset"
    machine.kept = True
    machine.run(1)
    assert machine.clock.now_ns() == machine.monotonic_ns + T0
    assert machine.word() == "steady"


def test_one_odd_look_is_not_followed():
    machine = Machine(kept=True)
    machine.offset_ns += 3600 * SECOND
    machine.run(1)
    machine.offset_ns -= 3600 * SECOND
    machine.run(1)
    assert machine.clock.now_ns() == T0 + 7 * SECOND


def test_a_step_back_waits_for_another_boot():
    machine = Machine(kept=True)
    machine.offset_ns -= 3600 * SECOND
    machine.run(5)
    assert machine.clock.wants_boot
    assert machine.clock.now_ns() == T0 + 10 * SECOND
    machine.clock.go_back()
    assert not machine.clock.wants_boot
    assert machine.clock.now_ns() == T0 + (10 - 3600) * SECOND
    machine.clock.go_back()
    assert machine.clock.now_ns() == T0 + (10 - 3600) * SECOND


@pytest.mark.parametrize(("error_s", "follows"), [(0.0, True), (0.2, True), (5.0, False)])
def test_a_step_is_followed_when_the_gateway_agrees(error_s, follows):
    machine = Machine()
    machine.offset_ns += 3600 * SECOND
    machine.run(2)
    said_ns = machine.monotonic_ns + machine.offset_ns + round(error_s * SECOND)
    machine.clock.hear(said_ns - SECOND // 50, SECOND // 25)
    machine.run(1)
    assert (machine.word() == "steady") is follows
    expected_ms = -1000 * error_s if follows else -1000 * (3600 + error_s)
    assert machine.clock.state()["offset_ms"] == pytest.approx(expected_ms, abs=0.1)


def test_only_short_round_trips_measure_and_the_shortest_counts():
    machine = Machine()
    now_ns = machine.clock.now_ns()
    machine.clock.hear(now_ns + 3600 * SECOND, 2 * SECOND)
    machine.clock.hear(now_ns, -1)
    assert machine.clock.state()["offset_ms"] is None
    machine.clock.hear(now_ns - SECOND // 10, SECOND // 5)  # said at once, long on its way
    machine.clock.hear(now_ns - SECOND // 1000, SECOND // 500)
    machine.clock.hear(now_ns - SECOND // 2, SECOND)
    assert machine.clock.state()["offset_ms"] == 0.0
    machine.monotonic_ns += 601 * SECOND
    assert machine.clock.state()["offset_ms"] is None


@pytest.mark.parametrize("offset_ms", [400, -400])
def test_a_small_offset_is_slewed_at_500_ppm(offset_ms):
    machine = Machine()
    machine.offset_ns += offset_ms * 1_000_000
    times = machine.run(100)
    steps = {b - a for a, b in itertools.pairwise(times)}
    sign = 1 if offset_ms > 0 else -1
    assert steps == {SECOND + sign * 500_000}
    assert machine.word() == "slewing"
    machine.run(800)
    assert machine.clock.now_ns() == machine.monotonic_ns + machine.offset_ns
    assert machine.word() == "steady"


@pytest.mark.parametrize(
    ("offset_ns", "newest_ns", "sentence"),
    [
        (0, 0, "clock unset"),
        (T0, T0 + 7200 * SECOND, "clock behind by_s=7195"),
        (T0, T0, ""),
    ],
)
def test_a_wrong_clock_is_told_at_the_start(offset_ns, newest_ns, sentence, caplog):
    caplog.set_level(logging.WARNING)
    machine = Machine(offset_ns=offset_ns)
    machine.clock.begin(newest_ns)
    assert sentence in caplog.text
    assert bool(caplog.text) is bool(sentence)
    assert machine.word() == (sentence.split()[1] if sentence else "steady")


def test_half_a_second_is_a_step():
    machine = Machine()
    machine.offset_ns += STEP_NS
    machine.run(1)
    assert machine.word() == "apart"
    machine.offset_ns -= 1
    machine.run(1)
    assert machine.word() == "slewing"
