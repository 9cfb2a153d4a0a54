"""The types a field may have: how bytes become a value, and a value becomes bytes.

Rules of the file: every type is a code of the `struct` module and two small
functions; nothing else in the room knows a type by name. A scale whose inverse is
whole is applied as a division, so that 2506 at 0.01 is exactly 25.06 and not
25.060000000000002 (a correctly rounded quotient is the nearest double of the decimal).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from firmware_profiles.decoded import Refused
from firmware_profiles.eddystone_url import read_url, write_url

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class FieldType:
    """Code for `struct` (None: bytes of `length`), fixed size, reader and writer of bytes.

    `wide` marks the 24-bit numbers, which `struct` does not know: True if signed.
    """

    code: str | None
    size: int | None
    read: Callable[[bytes], Any] | None = None
    write: Callable[[Any], bytes] | None = None
    wide: bool | None = None


def _read_uuid(data: bytes) -> str:
    return f"{data[:4].hex()}-{data[4:10].hex('-', 2)}-{data[10:].hex()}"


def _read_mac(data: bytes) -> str:
    return data.hex(":").upper()


def _read_text(data: bytes) -> str:
    text = data.decode("utf-8", "replace").rstrip("\0")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _read_magnitude(data: bytes) -> int:
    hundredths = (data[0] & 0x7F) * 100 + data[1]
    return -hundredths if data[0] & 0x80 else hundredths


def _write_magnitude(value: int) -> bytes:
    whole = min(abs(value) // 100, 0x7F)
    return bytes((whole | (0x80 if value < 0 else 0), abs(value) - 100 * whole))


def _read_date_time(data: bytes) -> str | None:
    try:
        moment = datetime(data[0] | data[1] << 8, *data[2:7])  # noqa: DTZ001 - the device has no zone
    except ValueError:
        return None
    return moment.isoformat()


def _write_date_time(value: str) -> bytes:
    moment = datetime.fromisoformat(value)
    day = bytes((moment.month, moment.day, moment.hour, moment.minute, moment.second))
    return moment.year.to_bytes(2, "little") + day


def _unhex(value: str) -> bytes:
    return bytes.fromhex(value.replace("-", "").replace(":", ""))


FIELD_TYPES: dict[str, FieldType] = {
    "u8": FieldType("B", 1),
    "s8": FieldType("b", 1),
    "u16": FieldType("H", 2),
    "s16": FieldType("h", 2),
    "u24": FieldType("3s", 3, wide=False),
    "s24": FieldType("3s", 3, wide=True),
    "u32": FieldType("I", 4),
    "s32": FieldType("i", 4),
    "bool": FieldType("B", 1),
    "hex": FieldType(None, None, bytes.hex, _unhex),
    "text": FieldType(None, None, _read_text, lambda value: str(value).encode()),
    "uuid": FieldType("16s", 16, _read_uuid, _unhex),
    "mac": FieldType("6s", 6, _read_mac, _unhex),
    "mac_reversed": FieldType(
        "6s",
        6,
        lambda data: data[::-1].hex(":").upper(),
        lambda value: _unhex(value)[::-1],
    ),
    "sign_magnitude": FieldType("2s", 2, _read_magnitude, _write_magnitude),
    "date_time": FieldType("7s", 7, _read_date_time, _write_date_time),
    "eddystone_url": FieldType(None, None, read_url, write_url),
    "version": FieldType(
        None,
        None,
        lambda data: ".".join(map(str, data[::-1])),
        lambda value: bytes(map(int, value.split(".")))[::-1],
    ),
}


def converter(field: Mapping[str, Any], endian: str) -> Convert | None:
    """Build the function from what `struct` gives to the field's value; None = as it is.

    Parameters
    ----------
    field : a checked `[[field]]`
    endian : byte order of types that `struct` does not know

    Returns
    -------
    A function of one raw value, or None.
    """
    kind = FIELD_TYPES[field["type"]]
    steps: list[Convert] = [kind.read] if kind.read else []
    if kind.wide is not None:
        steps = [_read_wide(kind.wide, endian)]
    if "bits" in field:
        low, high = field["bits"]
        mask = (1 << (high - low + 1)) - 1
        steps.append(lambda raw: raw >> low & mask)
    value = _value_of(field)
    sentinels = sentinels_of(field)
    if len(sentinels) == 1:
        value = _unless_one(sentinels[0], value, _plain_inverse(field))
    elif sentinels:
        value = _unless_any(frozenset(sentinels), value)
    if value:
        steps.append(value)
    return _chain(steps) if steps else None


def write_wide(value: int, endian: str, *, signed: bool) -> bytes:
    """Return the three bytes of a 24-bit number."""
    return value.to_bytes(3, "big" if endian == "big" else "little", signed=signed)


def sentinels_of(field: Mapping[str, Any]) -> list[Any]:
    """Return the raw values that mean "not available"."""
    found = field.get("sentinel", [])
    return found if isinstance(found, list) else [found]


def raw_of(field: Mapping[str, Any], value: object) -> Any:  # noqa: ANN401 - what struct takes
    """Return the raw value of a field's value: the way back of `converter`, before bytes.

    Parameters
    ----------
    field : a checked `[[field]]`
    value : the value as decoded; None asks for the sentinel

    Returns
    -------
    What `struct` or the type's writer takes.

    Raises
    ------
    ValueError
        The value cannot stand in this field.
    """
    if value is None:
        sentinels = sentinels_of(field)
        if not sentinels:
            raise ValueError(f"field '{field['name']}' has no 'not available'")
        return sentinels[0]
    if "enum" in field:
        for text, meaning in field["enum"].items():
            if meaning == value:
                return int(text, 0)
        raise ValueError(f"field '{field['name']}': {value!r} is not in its enum")
    if field["type"] == "bool":
        on = bool(value) != field.get("invert", False)
        return int(on) << field.get("bit", 0)
    if "equals" in field or "between" in field:
        raise ValueError(f"field '{field['name']}' follows from another field")
    if isinstance(value, int | float) and ("scale" in field or "add" in field):
        scale = field.get("scale", 1)
        inverse = whole_inverse(scale)
        less = value - field.get("add", 0)
        return round(less * inverse if inverse else less / scale)
    return value


def whole_inverse(scale: float) -> int | None:
    """Return 1/scale where that is a whole number greater than one, else None."""
    if not isinstance(scale, float) or not 0 < scale < 1:
        return None
    inverse = round(1 / scale)
    return inverse if 1 / inverse == scale else None


def _value_of(field: Mapping[str, Any]) -> Convert | None:
    if "equals" in field:
        return frozenset(field["equals"]).__contains__
    if "between" in field:
        least, most = field["between"]
        return lambda raw: least <= raw <= most
    if "enum" in field:
        return {int(text, 0): value for text, value in field["enum"].items()}.get
    if field["type"] == "bool":
        return _bool_of(field.get("bit"), field.get("invert", False))
    scaled = _scaled(field)
    if "range" not in field:
        return scaled
    low, high = field["range"]

    def within(raw: Any) -> Any:  # noqa: ANN401
        value = scaled(raw) if scaled else raw
        if not low <= value <= high:
            raise Refused("out-of-range")
        return value

    return within


def _bool_of(bit: int | None, inverted: bool) -> Convert:
    mask = 0xFF if bit is None else 1 << bit
    if inverted:
        return lambda raw: raw & mask == 0
    return bool if bit is None else lambda raw: raw & mask != 0


def _scaled(field: Mapping[str, Any]) -> Convert | None:
    scale, add = field.get("scale", 1), field.get("add", 0)
    decimals = field.get("decimals")
    if scale == 1 and add == 0:
        return None
    if isinstance(scale, int) and isinstance(add, int):
        return lambda raw: raw * scale + add
    inverse = whole_inverse(scale)
    if inverse is not None and decimals is None and (add * inverse) == int(add * inverse):
        shift = int(add * inverse)
        if shift == 0:
            return lambda raw: raw / inverse
        return lambda raw: (raw + shift) / inverse
    digits = decimals if decimals is not None else _digits(scale, add)
    return lambda raw: round(raw * scale + add, digits)


def _digits(*numbers: float) -> int:
    return max(len(format(number, ".12f").rstrip("0").partition(".")[2]) for number in numbers)


def _read_wide(signed: bool, endian: str) -> Convert:
    from_bytes = int.from_bytes
    if endian == "big":
        return lambda data: from_bytes(data, "big", signed=signed)
    return lambda data: from_bytes(data, "little", signed=signed)


def _plain_inverse(field: Mapping[str, Any]) -> int | None:
    """Return the divisor of a field that is only divided, for one call instead of two."""
    if set(field) & {"add", "decimals", "range", "enum", "equals", "between"}:
        return None
    return whole_inverse(field.get("scale", 1))


def _unless_one(sentinel: object, value: Convert | None, inverse: int | None) -> Convert:
    if value is None:
        return lambda raw: None if raw == sentinel else raw
    if inverse is not None:
        return lambda raw: None if raw == sentinel else raw / inverse
    return lambda raw: None if raw == sentinel else value(raw)


def _unless_any(sentinels: frozenset[object], value: Convert | None) -> Convert:
    if value is None:
        return lambda raw: None if raw in sentinels else raw
    return lambda raw: None if raw in sentinels else value(raw)


def _chain(steps: list[Convert]) -> Convert:
    if len(steps) == 1:
        return steps[0]
    first, second, *more = steps
    if not more:
        return lambda raw: second(first(raw))
    third = more[0]
    return lambda raw: third(second(first(raw)))
