"""Modbus RTU load cells and range sensors: registers, and what they add up to.

Rules of the file: frames and CRC are the profile's; word order and scale differ between
transmitters and come from the caller: `word_order` (big, little) with
`scale_g_per_count` or `scale_mm_per_count`. Source: Modbus application protocol V1.1b3,
sections 6.3, 6.4 and 7.
"""

from collections.abc import Mapping
from struct import error, pack, unpack
from typing import Any

from firmware_profiles.decoded import Fields, Options, Refused

_REQUEST_BYTES = 8
_SHORTEST_BYTES = 5
_FAULT = 0x80


def decode(body: bytes, options: Options) -> Fields:
    """Decode a request or response to read registers, with its CRC."""
    if len(body) < _SHORTEST_BYTES:
        raise Refused("truncated")
    fields: Fields = {"unit": body[0], "function": body[1]}
    if body[1] & _FAULT:
        return fields | {"exception": body[2]}
    if len(body) == _REQUEST_BYTES:
        address, count = unpack(">2H", body[2:6])
        return fields | {"address": address, "count": count, "kind": "request"}
    if len(body) != body[2] + 5 or body[2] % 2:
        raise Refused("bad-length")
    registers = list(unpack(f">{body[2] // 2}H", body[3:-2]))
    fields["registers"] = registers
    for option, name in (("scale_g_per_count", "mass_g"), ("scale_mm_per_count", "range_mm")):
        scale = options.get(option)
        if isinstance(scale, int | float) and 1 <= len(registers) <= 2:
            raw = _signed(registers, str(options.get("word_order", "big")))
            fields |= {"value_raw": raw, name: round(raw * scale, 6)}
    return fields


def encode(fields: Mapping[str, Any]) -> bytes:
    """Return a response, or a request if there is `address`, without its CRC.

    Parameters
    ----------
    fields : `unit`, `function` and `registers`, or `address` and `count`

    Returns
    -------
    The body.

    Raises
    ------
    ValueError
        A field is missing or too large.
    """
    try:
        head = bytes((fields["unit"], fields["function"]))
        if "address" in fields:
            return head + pack(">2H", fields["address"], fields["count"])
        registers: list[int] = fields["registers"]
        return head + bytes((2 * len(registers),)) + pack(f">{len(registers)}H", *registers)
    except (KeyError, ValueError, error) as wrong:
        raise ValueError(f"registers cannot be written: {wrong}") from wrong


def _signed(registers: list[int], word_order: str) -> int:
    words = registers[::-1] if word_order == "little" else registers
    data = b"".join(word.to_bytes(2) for word in words)
    return int.from_bytes(data, signed=True)
