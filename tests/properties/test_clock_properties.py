"""The agent's clock under any life of the system's clock."""

from hypothesis import given
from hypothesis import strategies as st

from edge.clock import STEP_NS
from tests.edge.agents import T0
from tests.edge.test_clock import SECOND, Machine

LIVES = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=120),  # seconds that pass
        st.one_of(
            st.integers(min_value=-400_000_000, max_value=400_000_000),
            st.integers(min_value=-(10**14), max_value=10**14),
        ),  # then the system's clock is set by so much
        st.booleans(),  # whether the kernel says that it is kept
    ),
    max_size=12,
)


@given(LIVES)
def test_it_never_goes_back_within_a_boot_and_runs_within_500_ppm(lives):
    machine = Machine()
    last_ns, at_ns = machine.clock.now_ns(), machine.monotonic_ns
    for seconds, jump_ns, kept in lives:
        for _ in range(seconds):
            (now_ns,) = machine.run(1)
            passed_ns = machine.monotonic_ns - at_ns
            assert now_ns - last_ns >= passed_ns - passed_ns // 2000 - 1
            if not machine.kept:
                assert now_ns - last_ns <= passed_ns + passed_ns // 2000 + 1
            last_ns, at_ns = now_ns, machine.monotonic_ns
            if machine.clock.wants_boot:
                machine.clock.go_back()
                last_ns = machine.clock.now_ns()
        machine.offset_ns += jump_ns
        machine.kept = kept


@given(LIVES)
def test_what_nobody_confirms_is_not_followed(lives):
    machine = Machine()
    for seconds, jump_ns, _ in lives:
        machine.run(seconds)
        machine.offset_ns += jump_ns
    assert not machine.clock.wants_boot
    ran_ns = machine.monotonic_ns - 5 * SECOND
    assert abs(machine.clock.now_ns() - T0 - machine.monotonic_ns) <= ran_ns // 2000 + 1


@given(LIVES)
def test_in_the_end_it_is_the_kept_clock(lives):
    machine = Machine()
    for seconds, jump_ns, kept in lives:
        machine.kept = kept
        machine.run(seconds)
        machine.offset_ns += jump_ns
    machine.kept = True
    machine.run(3)
    if machine.clock.wants_boot:
        machine.clock.go_back()
    machine.run(1 + STEP_NS // 500_000)
    assert machine.clock.now_ns() == machine.monotonic_ns + machine.offset_ns
