import pytest

from gateway.agent_watch import AgentWatch
from gateway.agents import AGENTS_MAX, MINUTE_NS, Agents
from gateway.events import EventFinder
from gateway.gate import Gate
from gateway.points import PointMaker
from gateway.result_store import ResultStore
from tests.gateway.samples import SECOND, STORE, T0

MINUTE0 = T0 // MINUTE_NS * MINUTE_NS


@pytest.fixture
def agents():
    return Agents(silent_s=30.0)


def _heard(agents, name, t_ns, readings=10, dropped=0):
    agents.heard(name, t_ns, readings=readings, dropped=dropped)


def test_silence_is_told_when_it_begins_and_ends_with_the_next_batch(agents):
    _heard(agents, "pi-1", T0)
    assert [] == agents.newly_silent(T0 + 30 * SECOND)
    assert [("pi-1", T0)] == agents.newly_silent(T0 + 31 * SECOND)
    assert [] == agents.newly_silent(T0 + 32 * SECOND)
    assert [("pi-1", T0)] == agents.silent()
    _heard(agents, "pi-1", T0 + 33 * SECOND)
    assert [] == agents.newly_silent(T0 + 34 * SECOND)
    assert [] == agents.silent()


def test_a_last_will_is_silence_at_once(agents):
    _heard(agents, "pi-1", T0)
    assert agents.told("pi-1", {"state": "online"}, T0)
    assert not agents.told("pi-1", {"state": "offline"}, T0)
    assert [("pi-1", T0)] == agents.newly_silent(T0)


@pytest.mark.parametrize(
    ("outbox", "expected"),
    [(7, 7), ({"rows": 9, "bytes": 1}, 9), ("7", None), (True, None), (None, None), (1e300, None)],
)
def test_numbers_are_taken_where_they_are_numbers(agents, outbox, expected):
    agents.told("pi-1", {"outbox": outbox, "clock": {"offset_ms": 1.5}}, T0)
    assert expected == agents.summary()["pi-1"]["outbox"]


def test_a_minute_counts_its_own_rows(agents):
    assert [] == agents.minute_over(MINUTE0)
    _heard(agents, "pi-1", MINUTE0, readings=120, dropped=3)
    assert [] == agents.minute_over(MINUTE0 + 59 * SECOND)
    ((name, fields),) = agents.minute_over(MINUTE0 + 60 * SECOND)
    assert ("pi-1", 2.0, 3, True) == (
        name,
        fields["readings_per_s"],
        fields["dropped"],
        fields["up"],
    )
    ((_, fields),) = agents.minute_over(MINUTE0 + 120 * SECOND)
    assert 0.0 == fields["readings_per_s"]


def test_agents_are_bounded(agents):
    for at in range(AGENTS_MAX + 5):
        _heard(agents, f"pi-{at}", T0 + at)
    assert AGENTS_MAX == len(agents)
    assert "pi-0" not in agents.summary()


def test_the_watch_queues_events_and_points(agents, tmp_path):
    results = ResultStore(tmp_path / "results.sqlite")
    watch = AgentWatch(
        agents,
        EventFinder(STORE, queue_long=5),
        PointMaker(STORE, Gate(), identity="none"),
        results,
        store_id="demo",
        clock="data",
    )
    _heard(agents, "pi-1", MINUTE0)
    assert [] == watch.look(MINUTE0, None)
    (silent,) = watch.look(MINUTE0 + 60 * SECOND, 5 * MINUTE_NS + 1)
    assert "agent.silent" == silent.name
    assert 1 == len(results.next_events(0, 10))
    line = results.next_lines(10)[1].decode()
    assert line.startswith("agent,agent=pi-1,store=demo up=false,readings_per_s=0.1666")
    assert line.endswith(f" {5 * MINUTE_NS}")
    results.close()
