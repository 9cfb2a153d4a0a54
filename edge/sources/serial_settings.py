"""What is said about serial lines: the tables of ``kind = "serial"``, and their check.

Rules of the file: touches no hardware. Rates, and whether a device gives taps or samples,
come from its profile; a table that contradicts it is refused in one sentence, because a
wrong rate shows itself only as noise. Raw counts without a calibration are refused too:
nothing could be made of them. A port where people pay takes only devices whose messages
prove themselves: a number that a card says can be said by anything.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from firmware_profiles.compile import Profile
from firmware_profiles.crypto import proof_of
from ingest.config import ConfigError, nearest, to_struct
from ingest.identifiers import is_name

PositiveInt = Annotated[int, msgspec.Meta(gt=0)]
Role = Literal[
    "entry", "exit", "shelf", "info", "fitting", "checkout", "payment", "consent", "optout"
]
_CHANNEL = "channel"
"""The field by which a bridge says which of its load cells a value is of."""


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One load cell of a bridge that carries several."""

    channel: Annotated[int, msgspec.Meta(ge=0, le=255)]
    sensor: str
    counts_per_g: float | None = None
    tare_g: float = 0.0


class PollSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Registers of one Modbus device that hold one value."""

    sensor: str
    unit: Annotated[int, msgspec.Meta(ge=1, le=247)] = 1
    function: Literal[3, 4] = 3
    address: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    count: Literal[1, 2] = 2
    word_order: Literal["big", "little"] = "big"
    counts_per_g: float | None = None
    counts_per_mm: float | None = None
    tare_g: float = 0.0


class SerialPortSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One serial line: where it is, what speaks on it, and where that stands in the shop."""

    path: str
    profile: str
    name: str | None = None
    baud: PositiveInt | None = None
    data_bits: Literal[7, 8] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    tap_point: str | None = None
    role: Role | None = None
    keys_file: str | None = None
    sensor: str | None = None
    counts_per_g: float | None = None
    tare_g: float = 0.0
    ask: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    ask_every_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    poll_ms: PositiveInt | None = None
    timeout_ms: PositiveInt = 250
    channel: tuple[ChannelSettings, ...] = ()
    poll: tuple[PollSettings, ...] = ()

    @property
    def label(self) -> str:
        """The port's name in logs and health: its own, else the last part of its path."""
        return self.name or Path(self.path).name

    def interval_s(self, usual_ms: int) -> float:
        """Return how often the device is asked [s].

        Parameters
        ----------
        usual_ms : [ms] where the table does not say it
        """
        return (usual_ms if self.poll_ms is None else self.poll_ms) / 1000


class SerialSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[source]]`` with ``kind = "serial"``."""

    name: str = "serial"
    queue_max: Annotated[int, msgspec.Meta(ge=10)] = 10_000
    garbage_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    counters_file: str | None = None
    port: tuple[SerialPortSettings, ...] = ()


def read_serial(
    table: Mapping[str, Any], *, subject: str, base: Path, profiles: Mapping[str, Profile]
) -> SerialSettings:
    """Return the checked settings of a source, with absolute paths and a rate for each port.

    Parameters
    ----------
    table : as `SerialSettings`
    subject : which table, for messages
    base : the folder that relative paths are relative to
    profiles : of the registry, by name

    Raises
    ------
    ConfigError
        A key is wrong, or a port does not go with its profile.
    """
    settings = to_struct(table, SerialSettings, subject=subject)
    if not settings.port:
        raise ConfigError(f"{subject}: expected one [[source.port]] or more, got none")
    ports = []
    for port in settings.port:
        where = f"{subject}: port {port.label!r}"
        profile = profiles.get(port.profile)
        if profile is None:
            hint = nearest(port.profile, [*profiles])
            raise ConfigError(f"{where}: unknown profile {port.profile!r}{hint}")
        if not profile.is_stream:
            raise ConfigError(
                f"{where}: expected the profile of a serial device, got {port.profile!r}"
            )
        _check_place(port, profile, where)
        _check_proof(port, profile, where)
        baud = _rate(port, profile, where)
        keys_file = None if port.keys_file is None else str(base / port.keys_file)
        ports.append(
            msgspec.structs.replace(
                port, path=str(base / port.path), baud=baud, keys_file=keys_file
            )
        )
    for what, values in (
        ("path", [port.path for port in ports]),
        ("name", [port.label for port in ports]),
    ):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ConfigError(f"{subject}: expected a {what} of its own for each port, got {twice}")
    counters_file = settings.counters_file
    if counters_file is not None:
        counters_file = str(base / counters_file)
    elif any(port.keys_file is not None for port in ports):
        raise ConfigError(
            f"{subject}: expected counters_file, a file in state_dir for the counters of cards "
            "that prove themselves, got none"
        )
    return msgspec.structs.replace(settings, port=tuple(ports), counters_file=counters_file)


def kinds_of(profile: Profile) -> set[str]:
    """Return what a device gives: tap, sample.

    Parameters
    ----------
    profile : of the device
    """
    return {emit["kind"] for emit in profile.table.get("emit", ())} & {"tap", "sample"}


def decoder_of(profile: Profile) -> str | None:
    """Return the name of the profile's decoder in Python: modbus, pn532; None = data alone.

    Parameters
    ----------
    profile : of the device
    """
    name: str | None = profile.table["profile"].get("decoder")
    return name


def has_channels(profile: Profile) -> bool:
    """Tell whether one line carries several load cells.

    Parameters
    ----------
    profile : of the device
    """
    return any(field["name"] == _CHANNEL for field in profile.table.get("field", ()))


def _rate(port: SerialPortSettings, profile: Profile, where: str) -> int:
    rates: list[int] = profile.table["profile"].get("baud", [])
    if port.baud is None:
        if not rates:
            raise ConfigError(f"{where}: expected baud, since profile {profile.id} names none")
        return rates[0]
    if rates and port.baud not in rates:
        wanted = " or ".join(map(str, rates))
        raise ConfigError(
            f"{where}: expected baud {wanted}, as profile {profile.id} says, got {port.baud}; "
            "leave baud out, or choose the profile of this device"
        )
    return port.baud


def _check_place(port: SerialPortSettings, profile: Profile, where: str) -> None:
    kinds, is_polled = kinds_of(profile), decoder_of(profile) == "modbus"
    if not kinds:
        raise ConfigError(f"{where}: profile {profile.id} gives neither taps nor samples")
    given = [key for key in ("tap_point", "sensor", "channel", "poll") if getattr(port, key)]
    allowed = ["tap_point"] if kinds == {"tap"} else ["poll"] if is_polled else ["sensor"]
    if has_channels(profile):
        allowed.append("channel")
    if len(given) != 1 or given[0] not in allowed:
        got = " and ".join(given) or "none"
        raise ConfigError(
            f"{where}: profile {profile.id} gives {' and '.join(sorted(kinds))}s: "
            f"expected {' or '.join(allowed)}, got {got}"
        )
    for name in _names(port):
        if not is_name(name):
            raise ConfigError(f"{where}: expected a name like 'plate-1', got {name!r}")
    numbers = [item.channel for item in port.channel]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"{where}: expected each channel once, got {numbers}")
    _check_calibration(port, profile, where)
    if port.ask is not None and (is_polled or decoder_of(profile) or not port.ask.isascii()):
        raise ConfigError(
            f"{where}: ask: expected ASCII text for a device of lines, got {port.ask!r}"
        )


def _check_proof(port: SerialPortSettings, profile: Profile, where: str) -> None:
    proof = proof_of(profile.table)
    if port.role is not None and port.tap_point is None:
        raise ConfigError(f"{where}: role: expected a port with a tap_point; leave role out here")
    if port.role == "payment" and proof is None:
        raise ConfigError(
            f"{where}: role payment: profile {profile.id} proves nothing, a card's number can be "
            "copied; use a reader and cards of profile ntag424_sun, or another role"
        )
    if proof is None and port.keys_file is not None:
        raise ConfigError(
            f"{where}: keys_file: profile {profile.id} verifies nothing; leave it out here"
        )
    if proof is not None and port.keys_file is None:
        raise ConfigError(
            f"{where}: profile {profile.id} verifies its messages: expected keys_file, a CSV "
            "file with columns id,key and the ids meta and file, got none"
        )


def _check_calibration(port: SerialPortSettings, profile: Profile, where: str) -> None:
    for item in port.poll:
        if (item.counts_per_g is None) == (item.counts_per_mm is None):
            raise ConfigError(
                f"{where}: poll of {item.sensor!r}: expected counts_per_g or counts_per_mm, "
                "one of them"
            )
    in_counts = "calibration" in profile.table
    cells: tuple[ChannelSettings | SerialPortSettings, ...] = port.channel or (port,)
    for cell in cells:
        if in_counts and cell.counts_per_g is None:
            raise ConfigError(
                f"{where}: profile {profile.id} gives counts: expected counts_per_g, the "
                "difference in counts that one gram makes (negative if it falls)"
            )
    if port.counts_per_g is not None and (not in_counts or port.channel):
        raise ConfigError(
            f"{where}: counts_per_g: this port gives no raw counts of its own; leave it out here"
        )
    places: list[ChannelSettings | PollSettings | SerialPortSettings] = [
        port,
        *port.channel,
        *port.poll,
    ]
    for place in places:
        per_mm = place.counts_per_mm if isinstance(place, PollSettings) else None
        if not isfinite(place.tare_g):
            raise ConfigError(f"{where}: tare_g: expected grams, got {place.tare_g}")
        if any(
            per is not None and not (isfinite(per) and per) for per in (place.counts_per_g, per_mm)
        ):
            raise ConfigError(
                f"{where}: counts_per_g, counts_per_mm: expected a finite number other than 0"
            )


def _names(port: SerialPortSettings) -> Iterator[str]:
    yield from (name for name in (port.tap_point, port.sensor) if name is not None)
    yield from (cell.sensor for cell in port.channel)
    yield from (poll.sensor for poll in port.poll)
