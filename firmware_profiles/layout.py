"""Compiling a layout: fields at offsets, variants by discriminator, flag-driven fields.

Rules of the file: a profile's tables go in once, closures come out. Closures raise
`Refused` with a bounded reason and nothing else, whatever the bytes. `switch` and
`repeat` are the ideas of Kaitai Struct.
"""

from collections.abc import Mapping
from typing import Any

from firmware_profiles.decoded import Fields, Fill, Refused
from firmware_profiles.field_checks import PLACE_MOST
from firmware_profiles.fields import compile_fields
from firmware_profiles.form import FormError, KeyPath
from firmware_profiles.repeat import Walk, compile_repeat


def compile_layout(
    table: Mapping[str, Any],
    path: KeyPath = (),
    *,
    endian: str = "big",
    start: int = 0,
    most: int = PLACE_MOST,
) -> Fill:
    """Compile a layout into a function from bytes to fields.

    Parameters
    ----------
    table : checked tables: the keys of `[layout]` with `field`, `switch`, `variant`, `repeat`
    path : where the table stands in the profile, for messages
    endian : byte order unless the layout says otherwise
    start : position of the first field without `at`
    most : bytes that the body may have at most

    Returns
    -------
    A function that fills in fields and returns the position behind them.

    Raises
    ------
    FormError
        The parts do not fit together.
    """
    endian = table.get("endian", endian)
    start = table.get("start", start)
    low = table.get("length", table.get("min_length", 0))
    high = table.get("length", table.get("max_length", 1 << 16))
    constants = dict(table.get("set", {}))
    most = min(most, high)
    if not 0 <= low <= high:
        key = next(key for key in ("length", "max_length", "min_length") if key in table)
        raise FormError(
            (*(path or ("layout",)), key), "expected 0 or more, and not less than 'min_length'"
        )
    exact = table.get("exact", False)
    null_unless = tuple(table.get("null_unless", {}).items())
    head = compile_fields(table.get("field", []), (*path, "field"), endian, start, most)
    switch = _compile_switch(table, path, endian, most) if "switch" in table else None
    if "variant" in table and switch is None:
        raise FormError((*path, "variant"), "variants need a [switch] that says which byte decides")
    repeat = (
        compile_repeat(table["repeat"], (*path, "repeat"), endian) if "repeat" in table else None
    )
    if not (low or high < 1 << 16 or constants or exact or null_unless):
        if switch and not repeat and not table.get("field"):
            return switch
        return _in_turn(head, switch, repeat) if switch or repeat else head
    if not (exact or null_unless or switch or repeat):

        def fill_fields(body: bytes, fields: Fields) -> int:
            if not low <= len(body) <= high:
                raise Refused("truncated" if len(body) < low else "too-long")
            fields.update(constants)
            return head(body, fields)

        return fill_fields

    def fill(body: bytes, fields: Fields) -> int:
        size = len(body)
        if not low <= size <= high:
            raise Refused("truncated" if size < low else "too-long")
        if constants:
            fields.update(constants)
        at = head(body, fields)
        if switch:
            at = switch(body, fields)
        if repeat:
            at = repeat(body, at, fields)
        for name, claim in null_unless:
            if not fields.get(claim):
                fields[name] = None
        if exact and at != size:
            raise Refused("bad-length")
        return at

    return fill


def _in_turn(head: Fill, switch: Fill | None, repeat: Walk | None) -> Fill:
    """Return fields, then a switch, then a repeat, for a layout that has nothing else."""

    def fill_parts(body: bytes, fields: Fields) -> int:
        at = head(body, fields)
        if switch is not None:
            at = switch(body, fields)
        return at if repeat is None else repeat(body, at, fields)

    return fill_parts


def _compile_switch(table: Mapping[str, Any], path: KeyPath, endian: str, most: int) -> Fill:
    at, size = table["switch"]["at"], table["switch"].get("size", 1)
    if at < 0 or not 1 <= size <= 4 or at + size > most:
        raise FormError((*path, "switch", "at"), f"expected 1 to 4 of at most {most} bytes")
    chosen: dict[int, Fill] = {}
    for index, variant in enumerate(table.get("variant", [])):
        here = (*path, "variant", index)
        fill = compile_layout(variant, here, endian=endian, start=at + size, most=most)
        values = variant["value"]
        for value in values if isinstance(values, list) else [values]:
            if value in chosen:
                raise FormError((*here, "value"), f"value {value} is taken by an earlier variant")
            chosen[value] = fill

    if size == 1:

        def switch_byte(body: bytes, fields: Fields) -> int:
            if at >= len(body):
                raise Refused("truncated")
            fill = chosen.get(body[at])
            if fill is None:
                raise Refused("unknown-frame")
            return fill(body, fields)

        return switch_byte

    def switch(body: bytes, fields: Fields) -> int:
        key = body[at : at + size]
        if len(key) < size:
            raise Refused("truncated")
        fill = chosen.get(int.from_bytes(key, "big"))
        if fill is None:
            raise Refused("unknown-frame")
        return fill(body, fields)

    return switch
