"""The simulated shop of the demo: virtual devices, and the real edge agents that read them.

Rules of the file: the agents take the very files that `fanous simulate --serial` writes
for `fanous edge run`. Only their clock is another one, the shop's, which runs at the
demo's speed; and their sources are counted, so that the shop waits for what it sent.
Readers and scales are pseudo-terminals, always. Wristbands are heard through bleak and a
stand-in of BlueZ on a private D-Bus where one can be had, else by the agents directly.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from analytics.store import Store
from edge.agent import Agent, make_sources
from edge.measurement import Emit, Measurement
from edge.settings import read_settings
from edge.sources.source import Source
from edge.sources.virtual import VirtualSource
from firmware_profiles.registry import load_registry
from simulators.hardware import Devices, opened
from simulators.hardware_bytes import Adverts
from simulators.hardware_config import write_configs
from simulators.hardware_play import StoreClock
from simulators.private_bus import PrivateBus
from simulators.routing import find_routes

ARRIVE_S = 1.0
"""[s] What was sent and has not come after so long is not waited for any more."""
_READY_S, _POLL_S = 10.0, 0.02


class Arrivals:
    """Counts the measurements that have come to the agents."""

    def __init__(self) -> None:
        self._count = self._given_up = 0
        self._more = asyncio.Event()

    def add(self, count: int) -> None:
        """Count some more."""
        self._count += count
        self._more.set()

    async def reach(self, count: int) -> None:
        """Wait until so many have come; after `ARRIVE_S` without any, give up the missing.

        Parameters
        ----------
        count : all that were sent so far
        """
        while self._count + self._given_up < count:
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), ARRIVE_S)
            except TimeoutError:
                self._given_up = count - self._count


class CountedSource:
    """A source whose measurements are counted, and that ends when told to.

    Parameters
    ----------
    source : the real one
    arrivals : what counts
    """

    def __init__(self, source: Source, arrivals: Arrivals) -> None:
        self.name = source.name
        self._source, self._arrivals = source, arrivals
        self._end = asyncio.Event()

    def end(self) -> None:
        """Say that nothing more will come."""
        self._end.set()

    async def run(self, emit: Emit) -> None:
        """Hand over measurements until `end`.

        Parameters
        ----------
        emit : of the agent
        """

        async def counted(measurements: Sequence[Measurement]) -> None:
            await emit(measurements)
            self._arrivals.add(len(measurements))

        tasks = [
            asyncio.create_task(self._source.run(counted), name=f"counted {self.name}"),
            asyncio.create_task(self._end.wait(), name=f"end of {self.name}"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def health(self) -> dict[str, Any]:
        """Return that of the source."""
        return self._source.health()


class DirectRadios:
    """Receivers without radios: an advert goes to the agent as bytes.

    Parameters
    ----------
    store : the store
    adverts : of the wristbands
    clock : of the shop
    """

    def __init__(self, store: Store, adverts: Adverts, clock: StoreClock) -> None:
        routes = find_routes(store)
        self.sources = {name: VirtualSource() for name in routes.agents}
        self._of = [self.sources[routes.agents[at]] for at in routes.receiver.tolist()]
        self._names = [receiver.id for receiver in store.receivers]
        self._adverts, self._clock = adverts, clock
        self.missing = 0

    async def hear(self, receiver: int, tag: str, rssi_dbm: int) -> bool:
        """Let a receiver hear a wristband.

        Parameters
        ----------
        receiver : index of the store's receiver
        tag : of the simulation
        rssi_dbm : [dBm] how strong

        Returns
        -------
        heard : always
        """
        _, data = self._adverts.of_band(tag)
        now_ns = self._clock.now_ns()
        self._of[receiver].push_advert(now_ns, self._names[receiver], rssi_dbm, data)
        return True

    async def pass_second(self) -> None:
        """There is nothing to do."""


class Shop:
    """The agents of a store, their devices, and what came from these.

    Attributes
    ----------
    agents : by name
    devices : what speaks to them
    """

    def __init__(
        self, agents: dict[str, Agent], sources: list[CountedSource], devices: Devices
    ) -> None:
        self.agents, self.devices = agents, devices
        self._sources = sources

    async def ready(self) -> int:
        """Wait until everything is listened to; return how many devices are not after all."""
        until_s = asyncio.get_running_loop().time() + _READY_S
        # A port does not tell that it was opened: one must look.
        while self.devices.missing and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        return self.devices.missing

    async def drained(self) -> None:
        """End the sources and wait until the gateway has everything."""
        for source in self._sources:
            source.end()
        await asyncio.gather(*(agent.drained() for agent in self.agents.values()))


@contextlib.asynccontextmanager
async def open_shop(
    store: Store,
    broker_url: str,
    folder: Path,
    clock: StoreClock,
    arrivals: Arrivals,
    bus: PrivateBus | None,
) -> AsyncIterator[Shop]:
    """Open the devices of a shop and make its agents, for the length of the context.

    Parameters
    ----------
    store : the store
    broker_url : where the agents publish
    folder : for ports, configurations and outboxes
    clock : of the shop
    arrivals : counts what comes
    bus : for the radios; None = adverts go to the agents directly

    Yields
    ------
    shop : its agents do not run yet
    """
    configs = write_configs(store, folder, broker_url=broker_url, with_radios=bus is not None)
    registry = load_registry()
    with _system_bus(bus):
        async with opened(store, folder, registry, bus) as devices:
            direct = DirectRadios(store, Adverts(registry), clock) if bus is None else None
            if direct is not None:
                devices.radios = direct
            agents, counted = {}, []
            for name, path in configs.items():
                settings = read_settings(path)
                sources = make_sources(settings, base=folder, now_ns=clock.now_ns)
                if direct is not None:
                    sources.append(direct.sources[name])
                mine = [CountedSource(source, arrivals) for source in sources]
                agents[name] = Agent(settings, now_ns=clock.now_ns, sources=mine, base=folder)
                counted += mine
            yield Shop(agents, counted, devices)


@contextlib.contextmanager
def _system_bus(bus: PrivateBus | None) -> Iterator[None]:
    """Let this process take a private bus for the system's; bleak knows no other way."""
    name = "DBUS_SYSTEM_BUS_ADDRESS"
    before = os.environ.get(name)
    if bus is not None:
        os.environ[name] = bus.address
    try:
        yield
    finally:
        if bus is not None:
            os.environ.pop(name, None)
            if before is not None:
                os.environ[name] = before
