"""What the devices of a simulated shop say: its wristbands, its own beacon, its sensors.

Rules of the file: bytes come from the profiles, as a store's devices would send them. A
wristband of the simulation, ``name:band-0007``, is an iBeacon and a card of 125 kHz with
the same number; the enrolment table says so to the agents, as in a store.
"""

from collections.abc import Iterator
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from firmware_profiles.registry import Registry
from simulators.chunk import Chunk

BANDS_MOST = 40_000
"""Wristbands enrolled beforehand; enough for half a day at ten times real speed."""
TAP_PROFILE = "rdm6300"
SENSOR_PROFILES = {"mass": "mt_sics", "range": "gy53_vl53l0x"}
"""Which device a shelf sensor of a store file is, by its kind."""
_UUID = "2f234454-cf6d-4a0f-adf2-f4911ba9ffa6"
_CARDS = 0x0100000000
_SITE_MAJOR, _SITE_MINOR = 0xFFFF, 1
SITE_BEACON = f"ibeacon:{_UUID}-{_SITE_MAJOR}-{_SITE_MINOR}"
"""The shop's own beacon, always on: it tells a deaf radio from an empty shop."""
SITE_ADDRESS = "C4:FF:FF:FF:FF:FF"
Kind = Literal["readings", "taps", "samples"]


class Packet(NamedTuple):
    """One thing a device hears or says.

    `place` is an index into the store's receivers, tap points or sensors, `value` the
    strength [dBm] of an advert or what a sensor measures [g] or [mm].
    """

    t_ns: int
    kind: Kind
    place: int
    tag: str
    value: float


def packets_of(chunk: Chunk) -> list[Packet]:
    """Return what is heard and said in one second, in order of time.

    Parameters
    ----------
    chunk : of the simulation
    """
    heard, tapped, sampled, tags = chunk.readings, chunk.taps, chunk.samples, chunk.tags
    found = [
        *_tagged("readings", heard.t_ns, heard.receiver, heard.tag, heard.rssi_dbm, tags=tags),
        *_tagged("taps", tapped.t_ns, tapped.tap_point, tapped.tag, tapped.tag, tags=tags),
        *(
            Packet(t_ns, "samples", sensor, "", value)
            for t_ns, sensor, value in zip(
                sampled.t_ns.tolist(), sampled.sensor.tolist(), sampled.value.tolist(), strict=True
            )
        ),
    ]
    found.sort(key=attrgetter("t_ns"))
    return found


def band_number(tag: str) -> int:
    """Return the number of a simulated wristband from its name, ``name:band-0007``."""
    return int(tag.rsplit("-", maxsplit=1)[1])


def beacon_tag(number: int) -> str:
    """Return the raw tag of a wristband's beacon."""
    return f"ibeacon:{_UUID}-{number >> 16}-{number & 0xFFFF}"


def card_tag(number: int) -> str:
    """Return the raw tag of a wristband's card."""
    return f"em4100:{_CARDS + number:010x}"


def address_of(number: int) -> str:
    """Return the Bluetooth address of a wristband, a random static one."""
    octets = (0xC4, 0, *number.to_bytes(4, "big"))
    return ":".join(f"{octet:02X}" for octet in octets)


def adapter_of(receiver: int) -> str:
    """Return the name of a receiver's adapter.

    Parameters
    ----------
    receiver : index of the store's receiver
    """
    return f"hci{receiver}"


class Adverts:
    """The adverts of wristbands, made once for as long as a band is about.

    Parameters
    ----------
    registry : of the profiles
    cached_max : adverts kept
    """

    def __init__(self, registry: Registry, *, cached_max: int = 4096) -> None:
        self._registry = registry
        self.of_band = lru_cache(maxsize=cached_max)(self._of_band)
        self.of_site = self._encode(_SITE_MAJOR, _SITE_MINOR)

    def _of_band(self, tag: str) -> tuple[str, bytes]:
        """Return a band's address and its advert."""
        number = band_number(tag)
        return address_of(number), self._encode(number >> 16, number & 0xFFFF)

    def _encode(self, major: int, minor: int) -> bytes:
        fields = {"uuid": _UUID, "major": major, "minor": minor, "tx_power_1m_dbm": -59}
        return self._registry.encode("ibeacon", fields)


def write_enrolment(path: Path) -> None:
    """Write the table that says which beacon and which card are the same wristband.

    Parameters
    ----------
    path : of the table, as `aliases` of edge.toml
    """
    with path.open("w", encoding="utf-8") as file:
        file.write("tag,name\n")
        for number in range(1, BANDS_MOST + 1):
            name = f"name:band-{number:04d}"
            file.write(f"{beacon_tag(number)},{name}\n{card_tag(number)},{name}\n")


def _tagged(kind: Kind, *columns: NDArray[Any], tags: tuple[str, ...]) -> Iterator[Packet]:
    """Yield packets from the columns time, place, tag and value."""
    for t_ns, place, tag, value in zip(*(column.tolist() for column in columns), strict=True):
        yield Packet(t_ns, kind, place, tags[tag], value)
