"""Shelf sensors over the air: which advert is which sensor, in grams or millimetres.

Rules of the file: a sensor is told by its address, so that nobody's advert becomes a weight
by chance, and what such a sender says is never a visitor. Counts become grams only by a
factor of the configuration. Tare and factor are applied here, once.
"""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Literal

import msgspec

from edge.measurement import Sample
from firmware_profiles.decoded import Decoded
from ingest.config import ConfigError, shown
from ingest.identifiers import is_name

_ADDRESS = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_DECIMALS = 6


class SensorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[source.sensor]]``: one value of one sender."""

    address: str
    sensor: str
    value: Literal["mass", "range", "count"] = "mass"
    grams_per_count: float | None = None
    tare_g: float = 0.0


class Sensors:
    """Finds what the sensors of a source measured.

    Parameters
    ----------
    settings : checked by `check_sensors`
    """

    def __init__(self, settings: Sequence[SensorSettings]) -> None:
        self._by_address: dict[str, tuple[SensorSettings, ...]] = {}
        for one in settings:
            known = self._by_address.get(one.address.lower(), ())
            self._by_address[one.address.lower()] = (*known, one)

    def has(self, address: str) -> bool:
        """Tell whether a sender is a sensor.

        Parameters
        ----------
        address : in lower case
        """
        return address in self._by_address

    def samples(self, t_ns: int, address: str, found: Decoded) -> list[Sample]:
        """Return what a sender's message says of its sensors.

        Parameters
        ----------
        t_ns : [ns] when it was heard
        address : of the sender, in lower case
        found : the message

        Returns
        -------
        samples : none when the message has no such value
        """
        samples = []
        for one in self._by_address[address]:
            value = _value(found, one)
            if value is None:
                continue
            if one.value == "range":
                samples.append(Sample(t_ns, one.sensor, None, value))
            else:
                samples.append(Sample(t_ns, one.sensor, round(value - one.tare_g, _DECIMALS)))
        return samples


def check_sensors(settings: Sequence[SensorSettings], *, subject: str) -> None:
    """Check the sensors of a source.

    Parameters
    ----------
    settings : its ``[[source.sensor]]`` tables
    subject : which source, for messages

    Raises
    ------
    ConfigError
        An address or a name is none, a factor is missing or of no use, or a sensor or a
        value stands there twice.
    """
    sensors, values = set(), set()
    for one in settings:
        where = f"{subject}: sensor {shown(one.sensor)}"
        if not is_name(one.sensor):
            raise ConfigError(f"{where}: expected a name like 'plate-1'")
        if not _ADDRESS.fullmatch(one.address.lower()):
            raise ConfigError(f"{where}: address: expected one like 'a4:c1:38:8d:18:b2'")
        if (one.value == "count") != (one.grams_per_count is not None):
            raise ConfigError(f"{where}: expected grams_per_count with value 'count', and only so")
        if one.grams_per_count is not None and not (
            isfinite(one.grams_per_count) and one.grams_per_count
        ):
            raise ConfigError(f"{where}: grams_per_count: expected a finite number other than 0")
        if not isfinite(one.tare_g) or (one.tare_g and one.value == "range"):
            raise ConfigError(f"{where}: tare_g: expected grams, and none for value 'range'")
        value = (one.address.lower(), one.value)
        if one.sensor in sensors or value in values:
            raise ConfigError(f"{where}: expected each sensor and each value of a sender once")
        sensors.add(one.sensor)
        values.add(value)


def _value(found: Decoded, one: SensorSettings) -> float | None:
    if one.value == "count":
        count = found.fields.get("count")
        if not isinstance(count, int | float) or one.grams_per_count is None:
            return None
        return float(count * one.grams_per_count)
    name = "mass_g" if one.value == "mass" else "range_mm"
    values = (getattr(emit, name) for emit in found.emits if emit.kind == "sample")
    return next((value for value in values if value is not None), None)
