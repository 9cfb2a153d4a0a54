"""InfluxDB line protocol: points to bytes.

Rules of the file: types come from one registry, because the first type written
wins for ever on every server version; NaN, infinity and None are left out; text
is escaped, never trusted; a point without a field is no line. Grammar: InfluxDB
line protocol reference (the same for 1.x, 2.x and 3). f-strings with cached
escaping are the fastest way that needs no dependency (reference storage.md, 5).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

FieldValue = float | int | bool | str | None

FIELD_TYPES: dict[str, dict[str, type]] = {
    "occupancy": {"people": int, "max": int, "state": str},
    "dwell": {
        "dwell_s": float,
        "sigma_s": float,
        "readings": int,
        "confidence": float,
        "visit": str,
        "visitor": str,
    },
    "visit": {
        "visit_s": float,
        "zones": int,
        "path_length_m": float,
        "directness": float,
        "hesitations": int,
        "taps": int,
        "shelf_s": float,
        "picks": int,
        "returns": int,
        "earlier_visits": int,
        "days_since_last": float,
        "path": str,
        "visit": str,
        "visitor": str,
    },
    "transition": {"count": int, "median_s": float, "p90_s": float},
    "shelf_event": {"quantity": int, "delta_g": float, "confidence": float, "visit": str},
    "shelf_stock": {"quantity": int, "sigma": float, "mass_g": float, "state": str},
    "queue": {"length": int, "wait_p50_s": float, "wait_p90_s": float, "abandoned": int},
    "tap": {"count": int},
    "agent": {
        "up": bool,
        "outbox": int,
        "readings_per_s": float,
        "dropped": int,
        "clock_offset_ms": float,
        "temperature_c": float,
    },
}
_LINE_BREAKS = str.maketrans({"\n": " ", "\r": " "})
# Parsers disagree about a backslash before an escaped character, so keys have none.
_FLAT = str.maketrans({"\n": " ", "\r": " ", "\\": "/"})
_STRING_LENGTH_MAX = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row for InfluxDB: `tags` are bounded names, never a person."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, FieldValue]
    t_ns: int


def stamp_ns(t_ns: int, row_id: str | None) -> int:
    """Return the time of a row in the database: its millisecond plus a hash of its id.

    Parameters
    ----------
    t_ns : when it happened [ns]
    row_id : the row's id; None for rows that have none

    Notes
    -----
    Contract section 6: ``t_ms * 10**6 + hash(id) mod 10**6``, hash = BLAKE2b with an
    8-byte digest, big-endian. Two people in the same millisecond stay apart, and
    writing a row again replaces it.

    Examples
    --------
    >>> stamp_ns(1_764_000_000_123_456_789, None)
    1764000000123000000
    """
    t_ms_ns = t_ns // 1_000_000 * 1_000_000
    if row_id is None:
        return t_ms_ns
    digest = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
    return t_ms_ns + int.from_bytes(digest, "big") % 1_000_000


def encode_point(point: Point) -> bytes | None:
    """Return a point as one line without its line break, or None when it has no field.

    Parameters
    ----------
    point : fields must be in `FIELD_TYPES` and are converted to the type given there

    Raises
    ------
    KeyError
        The measurement or a field is not in the registry (a programming error).
    """
    types = FIELD_TYPES[point.measurement]
    fields = []
    for name, value in point.fields.items():
        text = _field_text(value, types[name])
        if text is not None:
            fields.append(f"{name}={text}")
    if not fields:
        return None
    tags = "".join(
        f",{escape_key(name)}={escape_key(value)}"
        for name, value in sorted(point.tags.items())
        if value
    )
    line = f"{escape_measurement(point.measurement)}{tags} {','.join(fields)} {point.t_ns}"
    return line.encode()


@lru_cache(maxsize=4096)
def escape_key(text: str) -> str:
    """Escape a tag's key or value: comma, equals sign, space.

    Line breaks become spaces and backslashes slashes.
    """
    flat = text.translate(_FLAT)
    return flat.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


@lru_cache(maxsize=256)
def escape_measurement(text: str) -> str:
    """Escape a measurement's name: comma and space."""
    flat = text.translate(_FLAT)
    return flat.replace(",", "\\,").replace(" ", "\\ ")


def _field_text(value: FieldValue, kind: type) -> str | None:
    if value is None:
        return None
    if kind is str:
        text = str(value).translate(_LINE_BREAKS)[:_STRING_LENGTH_MAX]
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if kind is bool:
        return "true" if value else "false"
    number = float(value) if kind is float else value
    if isinstance(number, float) and not math.isfinite(number):
        return None
    if kind is int:
        return f"{int(number)}i"
    return repr(number)
