"""The parts of the demo's shop that need no shop."""

import asyncio
import os

import pytest

from edge.measurement import Sample
from edge.sources.source import SourceUnavailable
from fanous import demo_shop
from fanous.demo_shop import Arrivals, CountedSource, DirectRadios
from firmware_profiles.registry import load_registry
from ingest.store_file import read_store
from simulators.command import DEMO_STORE
from simulators.hardware_bytes import Adverts, beacon_tag
from simulators.hardware_play import StoreClock

T0 = 1_764_000_000_000_000_000


class FakeSource:
    """Hands over chunks, then waits, or fails."""

    name = "fake"

    def __init__(self, *chunks, error=None):
        self.chunks, self.error = chunks, error

    async def run(self, emit):
        for chunk in self.chunks:
            await emit(chunk)
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()

    def health(self):
        return {"queue": 0}


def samples(count):
    return [Sample(T0, "plate-1", 1.0)] * count


def test_a_source_is_counted_handed_on_and_ended():
    async def run():
        arrivals, taken = Arrivals(), []
        source = CountedSource(FakeSource(samples(3), samples(2)), arrivals)

        async def emit(measurements):
            taken.extend(measurements)

        task = asyncio.create_task(source.run(emit))
        await asyncio.wait_for(arrivals.reach(5), 5)
        assert source.health() == {"queue": 0}
        assert not task.done()
        source.end()
        await asyncio.wait_for(task, 5)
        return taken

    assert samples(5) == asyncio.run(run())


def test_a_source_that_fails_fails_as_it_is():
    source = CountedSource(FakeSource(error=SourceUnavailable("gone")), Arrivals())

    async def emit(_measurements):
        raise AssertionError

    with pytest.raises(SourceUnavailable, match="gone"):
        asyncio.run(source.run(emit))


def test_what_does_not_come_is_given_up_once(monkeypatch):
    monkeypatch.setattr(demo_shop, "ARRIVE_S", 0.05)

    async def run():
        loop, arrivals = asyncio.get_running_loop(), Arrivals()
        arrivals.add(3)
        began_s = loop.time()
        await arrivals.reach(5)
        missed_s = loop.time() - began_s
        arrivals.add(1)
        await arrivals.reach(6)
        return missed_s, loop.time() - began_s - missed_s

    missed_s, again_s = asyncio.run(run())
    assert missed_s >= 0.05
    assert again_s < 0.05


def test_receivers_without_radios_hand_bytes_to_their_agent_at_the_shop_s_time():
    store = read_store(DEMO_STORE)

    async def run():
        radios = DirectRadios(store, Adverts(load_registry()), StoreClock(T0))
        at = [receiver.id for receiver in store.receivers].index("rx-7")
        assert await radios.hear(at, "name:band-0012", -70)
        source, taken = radios.sources["pi-3"], []

        async def emit(measurements):
            taken.extend(measurements)

        source.end()
        await source.run(emit)
        return taken

    assert [(T0, "rx-7", beacon_tag(12), -70)] == [tuple(r)[:4] for r in asyncio.run(run())]


@pytest.mark.parametrize("before", [None, "unix:path=/the/machine's/own"])
def test_the_machine_s_own_bus_is_named_again_afterwards(monkeypatch, before):
    name = "DBUS_SYSTEM_BUS_ADDRESS"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)

    class Bus:
        address = "unix:path=/private"

    with demo_shop._system_bus(Bus()):
        assert os.environ[name] == "unix:path=/private"
    assert before == os.environ.get(name)
    with demo_shop._system_bus(None):
        assert before == os.environ.get(name)
