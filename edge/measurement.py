"""What a source hands over: readings, taps and samples, with raw tags.

Rules of the file: records only. They are named tuples because one is made for every
advert heard. Raw tags live from here to `edge.identity` and no further.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple


class Reading(NamedTuple):
    """A receiver heard a tag."""

    t_ns: int
    receiver: str
    tag: str
    rssi_dbm: float


class Tap(NamedTuple):
    """A tag was held to a reader.

    `proof` names the cryptographic scheme by which the tag proved that it is itself, and
    here and now; None = it only said who it is, which anybody can.
    """

    t_ns: int
    tap_point: str
    tag: str
    proof: str | None = None


class Sample(NamedTuple):
    """A shelf sensor measured; None = it does not measure that."""

    t_ns: int
    sensor: str
    mass_g: float | None = None
    range_mm: float | None = None


Measurement = Reading | Tap | Sample
Emit = Callable[[Sequence[Measurement]], Awaitable[None]]
"""Hands measurements on; returns when the agent can take more, so a source that awaits
it is slowed down and does not fill memory."""
