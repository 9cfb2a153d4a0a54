"""The simulated shop of the demo: what it emits, as bytes into the real edge agents.

Wristbands advertise as iBeacons and are tapped as 125 kHz cards, load cells speak
MT-SICS lines: every measurement goes through the profiles, the pseudonyms and the
outbox of an agent, as it would in a store.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from analytics.store import Store
from edge.agent import Agent
from edge.settings import EdgeSettings, MqttSettings
from edge.sources.virtual import PortSettings, VirtualSettings, VirtualSource
from firmware_profiles.registry import load_registry
from ingest.identifiers import store_key
from simulators.chunk import Chunk
from simulators.routing import find_routes

BANDS_MOST = 40_000
"""Wristbands enrolled beforehand; enough for half a day at ten times real speed."""
_CACHED_MOST = 4096
Clock = Callable[[], int]
Packet = tuple[str, VirtualSource, str, int, float, bytes]
"""Kind, where it goes, receiver or port, time [ns], strength [dBm], bytes."""
_UUID = "2f234454-cf6d-4a0f-adf2-f4911ba9ffa6"


def band_number(tag: str) -> int:
    """Return the number of a simulated wristband from its name, ``name:band-0007``."""
    return int(tag.rsplit("-", maxsplit=1)[1])


def write_enrolment(path: Path) -> None:
    """Write the table that says which beacon and which card are the same wristband."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("tag,name\n")
        for number in range(1, BANDS_MOST + 1):
            name = f"name:band-{number:04d}"
            file.write(f"ibeacon:{_UUID}-{number >> 16}-{number & 0xFFFF},{name}\n")
            file.write(f"em4100:{0x0100000000 + number:010x},{name}\n")


class Shop:
    """The agents of a store and what the simulation pushes into them.

    Parameters
    ----------
    store : the store
    broker_url : where the agents publish
    state_dir : a folder for their outboxes and the enrolment table
    now_ns : the clock

    Attributes
    ----------
    agents : by name
    emitted : rows by kind, as pushed
    """

    def __init__(self, store: Store, broker_url: str, state_dir: Path, now_ns: Clock) -> None:
        self._store = store
        self._registry = load_registry()
        self._adverts: dict[str, bytes] = {}
        self._cards: dict[str, bytes] = {}
        self._routes = find_routes(store)
        self.emitted: Counter[str] = Counter()
        enrolment = state_dir / "bands.csv"
        write_enrolment(enrolment)
        self.sources = {name: self._source(at) for at, name in enumerate(self._routes.agents)}
        self.agents = {
            name: Agent(
                EdgeSettings(
                    store=store.id,
                    agent=name,
                    state_dir=str(state_dir / name),
                    aliases=str(enrolment),
                    mqtt=MqttSettings(url=broker_url),
                ),
                now_ns=now_ns,
                sources=[source],
                key=store_key(store.id),
            )
            for name, source in self.sources.items()
        }

    async def play(self, chunk: Chunk) -> None:
        """Push one second of the simulation into the agents."""
        for source in self.sources.values():
            await source.room()
        order = np.argsort(
            np.concatenate([chunk.readings.t_ns, chunk.taps.t_ns, chunk.samples.t_ns]),
            kind="stable",
        )
        packets = [*self._readings(chunk), *self._taps(chunk), *self._samples(chunk)]
        for at in order.tolist():
            kind, source, place, t_ns, rssi_dbm, data = packets[at]
            if kind == "readings":
                source.push_advert(t_ns, place, rssi_dbm, data)
            else:
                source.push_serial(t_ns, place, data)
            self.emitted[kind] += 1
        if len(self._adverts) > _CACHED_MOST:
            self._adverts.clear()
            self._cards.clear()

    def dropped(self) -> int:
        """Return how many packets the sources turned away."""
        return sum(sum(source.dropped.values()) for source in self.sources.values())

    def _source(self, agent: int) -> VirtualSource:
        points = [p for p, at in zip(self._store.tap_points, self._routes.tap_point, strict=True)
                  if at == agent]  # fmt: skip
        sensors = [s for (_, s), at in zip(self._store.sensors, self._routes.sensor, strict=True)
                   if at == agent]  # fmt: skip
        ports = [
            *(PortSettings(name=p.id, profile="rdm6300", tap_point=p.id) for p in points),
            *(PortSettings(name=s.id, profile="mt_sics", sensor=s.id) for s in sensors),
        ]
        return VirtualSource(VirtualSettings(port=tuple(ports)))

    def _readings(self, chunk: Chunk) -> Iterator[Packet]:
        rows = chunk.readings
        names = [receiver.id for receiver in self._store.receivers]
        adverts = [self._advert(tag) for tag in chunk.tags]
        for t_ns, receiver, tag, rssi in zip(
            rows.t_ns.tolist(), rows.receiver.tolist(), rows.tag.tolist(), rows.rssi_dbm.tolist(),
            strict=True,
        ):  # fmt: skip
            source = self._of(int(self._routes.receiver[receiver]))
            yield "readings", source, names[receiver], t_ns, rssi, adverts[tag]

    def _taps(self, chunk: Chunk) -> Iterator[Packet]:
        rows = chunk.taps
        for t_ns, point, tag in zip(
            rows.t_ns.tolist(), rows.tap_point.tolist(), rows.tag.tolist(), strict=True
        ):
            source = self._of(int(self._routes.tap_point[point]))
            card = self._card(chunk.tags[tag])
            yield "taps", source, self._store.tap_points[point].id, t_ns, 0.0, card

    def _samples(self, chunk: Chunk) -> Iterator[Packet]:
        rows = chunk.samples
        sensors = [sensor.id for _, sensor in self._store.sensors]
        for t_ns, sensor, value in zip(
            rows.t_ns.tolist(), rows.sensor.tolist(), rows.value.tolist(), strict=True
        ):
            source = self._of(int(self._routes.sensor[sensor]))
            line = self._registry.encode("mt_sics", {"stable": True, "mass_g": value})
            yield "samples", source, sensors[sensor], t_ns, 0.0, line

    def _of(self, agent: int) -> VirtualSource:
        return self.sources[self._routes.agents[agent]]

    def _advert(self, tag: str) -> bytes:
        if tag not in self._adverts:
            number = band_number(tag)
            self._adverts[tag] = self._registry.encode(
                "ibeacon",
                {
                    "uuid": _UUID,
                    "major": number >> 16,
                    "minor": number & 0xFFFF,
                    "tx_power_1m_dbm": -59,
                },
            )
        return self._adverts[tag]

    def _card(self, tag: str) -> bytes:
        if tag not in self._cards:
            number = band_number(tag)
            fields: Mapping[str, object] = {
                "tag_hex": f"{0x0100000000 + number:010x}",
                "version": 1,
                "card_number": number,
                "wiegand_facility": number >> 16 & 0xFF,
                "wiegand_card": number & 0xFFFF,
            }
            self._cards[tag] = self._registry.encode("rdm6300", fields)
        return self._cards[tag]
