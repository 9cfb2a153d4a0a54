"""What a decoder gives back: a measurement, or a rejection with a bounded reason.

Rules of the file: records only. They are named tuples and not dataclasses because
one is made for every advert heard, and a frozen dataclass costs three times as much
to make (0.9 instead of 0.3 microseconds here, of about 3 for the whole advert).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Fields = dict[str, Any]
Options = Mapping[str, Any]
Fill = Callable[[bytes, Fields], int]
"""Read a body into fields and return the position after what was read."""

REASONS = frozenset(
    {
        "bad-checksum",
        "bad-frame",
        "bad-length",
        "bad-line",
        "bad-parity",
        "bad-value",
        "broken-profile",
        "empty",
        "malformed-advert",
        "no-crypto",
        "no-key",
        "no-match",
        "noise",
        "not-authentic",
        "out-of-range",
        "replayed",
        "too-long",
        "truncated",
        "unknown-device",
        "unknown-frame",
        "unknown-object",
    }
)
"""Every reason a rejection may carry; bounded, so that it can be a metric's label."""


class Emit(NamedTuple):
    """One thing a decoded message means: a reading, a tap or a sample.

    `proof` names the cryptographic scheme by which the message was found authentic, None
    when there is none. It does not say that the message is new: who emits a tap of it keeps
    the counters (`edge.tap_counters`).
    """

    kind: str
    tag: str | None = None
    mass_g: float | None = None
    range_mm: float | None = None
    proof: str | None = None


class Proof(str):
    """The name of a scheme, put into the field `_proof` by the code that verified it.

    A type of its own, since a profile can set any field to any text, but not to this.
    """

    __slots__ = ()


class Decoded(NamedTuple):
    """A message that was understood.

    `fields` has units in its names; None is the device's own "not available".
    `tag` is what the sender identifies itself by, None if it does not.
    """

    profile: str
    fields: Fields
    tag: str | None = None
    emits: tuple[Emit, ...] = ()


class Rejected(NamedTuple):
    """A message that was not understood, with one of `REASONS`."""

    reason: str


class Refused(Exception):  # noqa: N818 - it never leaves this room; callers get a Rejected
    """Raised inside a decoder when bytes cannot be what the profile describes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
