"""Which sensors on serial lines a configuration has, and where they stand in its file.

Rules of the file: touches no hardware. A load cell that has no ``counts_per_g`` yet is
given one, because finding it is what it is calibrated for. Only what measures is listed:
a port of taps has nothing to calibrate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge.profiles import read_profiles
from edge.settings import EdgeSettings, absolute
from edge.sources.serial_settings import (
    PollSettings,
    SerialPortSettings,
    decoder_of,
    kinds_of,
    read_serial,
)
from firmware_profiles.compile import Profile
from ingest.config import ConfigError, nearest, read_config

Unit = Literal["counts", "g", "mm", "mm_counts"]
Place = tuple[int, int, str, int]
"""Number of the source, of its port, and of the table in it; ("", 0) = the port itself."""
_RANGE_S24 = float(1 << 23)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One sensor: its port as configured, its profile, and where its keys stand."""

    sensor: str
    port: SerialPortSettings
    profile: Profile
    place: Place
    unit: Unit
    keys: Mapping[str, float]
    """What the file says now, of the keys that a calibration sets."""

    @property
    def channel(self) -> int | None:
        """The load cell's number on its bridge, None where there is only one."""
        _, _, table, number = self.place
        return self.port.channel[number].channel if table == "channel" else None

    @property
    def is_calibrated(self) -> bool:
        """Whether other values than the placeholders 1 and 0 stand in the file."""
        usual = {"counts_per_g": 1.0, "counts_per_mm": 1.0, "tare_g": 0.0}
        return any(value != usual[key] for key, value in self.keys.items())

    @property
    def range_counts(self) -> float | None:
        """The largest count that the device can say."""
        _, _, table, number = self.place
        if table == "poll":
            return float(1 << (16 * self.port.poll[number].count - 1))
        return _RANGE_S24 if self.unit == "counts" else None

    def raw_port(self) -> SerialPortSettings:
        """Return the port's settings with nothing taken off and nothing divided."""
        plain = {"counts_per_g": 1.0, "tare_g": 0.0}
        port = self.port
        return msgspec.structs.replace(
            port,
            tare_g=0.0,
            counts_per_g=None if port.counts_per_g is None else 1.0,
            channel=tuple(msgspec.structs.replace(item, **plain) for item in port.channel),
            poll=tuple(_plain_poll(item) for item in port.poll),
        )


def read_cells(path: Path) -> tuple[EdgeSettings, list[Cell]]:
    """Return the settings of an agent and its sensors on serial lines.

    Parameters
    ----------
    path : ``edge.toml``

    Raises
    ------
    ConfigError
        The file or a table of serial lines is wrong.
    """
    base = path.resolve().parent
    settings = absolute(read_config(path, EdgeSettings), base)
    profiles = read_profiles(settings.profiles).profiles
    cells: list[Cell] = []
    for number, table in enumerate(settings.source):
        if table.get("kind") != "serial":
            continue
        rest = {key: value for key, value in table.items() if key != "kind"}
        filled = _filled(rest, profiles)
        subject = f"{path}: [[source]] number {number + 1}"
        source = read_serial(filled, subject=subject, base=base, profiles=profiles)
        for at, port in enumerate(source.port):
            cells += _cells(port, profiles[port.profile], (number, at), rest["port"][at])
    return settings, cells


def choose_cell(cells: list[Cell], *, sensor: str | None, port: str | None) -> Cell | None:
    """Return the sensor that was asked for; None = there are several to choose from.

    Parameters
    ----------
    cells : of the configuration
    sensor : its id
    port : name or path of its port

    Raises
    ------
    ConfigError
        There is none.
    """
    if not cells:
        raise ConfigError(
            "sensors: expected a [[source]] of kind serial with a scale or a range sensor, got "
            "none; find out what is plugged in with: fanous edge discover --ports"
        )
    found = cells
    if sensor is not None:
        found = [cell for cell in found if cell.sensor == sensor]
        if not found:
            hint = nearest(sensor, [cell.sensor for cell in cells])
            raise ConfigError(f"--sensor: there is no {sensor!r} on a serial line{hint}")
    if port is not None:
        found = [cell for cell in found if port in {cell.port.label, cell.port.path}]
        if not found:
            hint = nearest(port, [cell.port.label for cell in cells])
            raise ConfigError(f"--port: there is no {port!r} with this sensor{hint}")
    return found[0] if len(found) == 1 else None


def _cells(
    port: SerialPortSettings, profile: Profile, at: tuple[int, int], table: Mapping[str, Any]
) -> Iterator[Cell]:
    if "sample" not in kinds_of(profile) or port.tap_point is not None:
        return
    places: list[tuple[str, int, str, Unit, Mapping[str, Any]]] = []
    for number, channel in enumerate(port.channel):
        said = table["channel"][number]
        places.append(("channel", number, channel.sensor, _unit(profile), said))
    for number, poll in enumerate(port.poll):
        unit: Unit = "mm_counts" if poll.counts_per_mm is not None else "counts"
        places.append(("poll", number, poll.sensor, unit, table["poll"][number]))
    if port.sensor is not None:
        places.append(("", 0, port.sensor, _unit(profile), table))
    for inner, number, sensor, unit, said in places:
        keys = {
            key: float(said[key])
            for key in ("counts_per_g", "counts_per_mm", "tare_g")
            if key in said
        }
        yield Cell(
            sensor=sensor,
            port=port,
            profile=profile,
            place=(*at, inner, number),
            unit=unit,
            keys=keys,
        )


def _unit(profile: Profile) -> Unit:
    if "calibration" in profile.table:
        return "counts"
    emits = [emit for emit in profile.table.get("emit", ()) if emit["kind"] == "sample"]
    return "g" if any("mass_g" in emit for emit in emits) else "mm"


def _filled(table: Mapping[str, Any], profiles: Mapping[str, Profile]) -> dict[str, Any]:
    """Return the source's table with a factor of 1 where one is missing."""
    ports = table.get("port")
    if not isinstance(ports, list):
        return dict(table)
    return {**table, "port": [_filled_port(port, profiles) for port in ports]}


def _filled_port(port: Any, profiles: Mapping[str, Profile]) -> Any:  # noqa: ANN401 - as read
    profile = profiles.get(str(port.get("profile"))) if isinstance(port, dict) else None
    if profile is None:
        return port
    filled = dict(port)
    for inner in ("channel", "poll"):
        if isinstance(port.get(inner), list):
            filled[inner] = [_with_factor(item) for item in port[inner]]
    has_own = not port.get("channel") and decoder_of(profile) != "modbus"
    return _with_factor(filled) if has_own and "calibration" in profile.table else filled


def _with_factor(table: Any) -> Any:  # noqa: ANN401 - as read
    if not isinstance(table, dict) or {"counts_per_g", "counts_per_mm"} & table.keys():
        return table
    return {**table, "counts_per_g": 1.0}


def _plain_poll(poll: PollSettings) -> PollSettings:
    per_g = None if poll.counts_per_g is None else 1.0
    per_mm = None if poll.counts_per_mm is None else 1.0
    return msgspec.structs.replace(poll, counts_per_g=per_g, counts_per_mm=per_mm, tare_g=0.0)
