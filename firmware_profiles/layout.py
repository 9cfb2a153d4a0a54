"""Compiling a layout: fields at offsets, variants by discriminator, flag-driven fields.

Rules of the file: a profile's tables go in once, closures come out. Closures raise
`Refused` with a bounded reason and nothing else, whatever the bytes. `switch` and
`repeat` are the ideas of Kaitai Struct.
"""

from collections.abc import Mapping
from typing import Any

from firmware_profiles.decoded import Fields, Fill, Refused
from firmware_profiles.fields import compile_fields
from firmware_profiles.form import FormError, KeyPath
from firmware_profiles.repeat import compile_repeat


def compile_layout(
    table: Mapping[str, Any], path: KeyPath = (), *, endian: str = "big", start: int = 0
) -> Fill:
    """Compile a layout into a function from bytes to fields.

    Parameters
    ----------
    table : checked tables: the keys of `[layout]` with `field`, `switch`, `variant`, `repeat`
    path : where the table stands in the profile, for messages
    endian : byte order unless the layout says otherwise
    start : position of the first field without `at`

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
    exact = table.get("exact", False)
    null_unless = tuple(table.get("null_unless", {}).items())
    head = compile_fields(table.get("field", []), (*path, "field"), endian, start)
    switch = _compile_switch(table, path, endian) if "switch" in table else None
    if "variant" in table and switch is None:
        raise FormError((*path, "variant"), "variants need a [switch] that says which byte decides")
    repeat = (
        compile_repeat(table["repeat"], (*path, "repeat"), endian) if "repeat" in table else None
    )
    if not (low or high < 1 << 16 or constants or exact or null_unless or switch or repeat):
        return head

    if repeat and not (low or constants or exact or null_unless or switch):

        def fill_repeat(body: bytes, fields: Fields) -> int:
            return repeat(body, head(body, fields), fields)

        return fill_repeat

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


def _compile_switch(table: Mapping[str, Any], path: KeyPath, endian: str) -> Fill:
    at, size = table["switch"]["at"], table["switch"].get("size", 1)
    chosen: dict[int, Fill] = {}
    for index, variant in enumerate(table.get("variant", [])):
        here = (*path, "variant", index)
        fill = compile_layout(variant, here, endian=endian, start=at + size)
        values = variant["value"]
        for value in values if isinstance(values, list) else [values]:
            if value in chosen:
                raise FormError((*here, "value"), f"value {value} is taken by an earlier variant")
            chosen[value] = fill

    def switch(body: bytes, fields: Fields) -> int:
        key = body[at : at + size]
        if len(key) < size:
            raise Refused("truncated")
        fill = chosen.get(int.from_bytes(key, "big"))
        if fill is None:
            raise Refused("unknown-frame")
        return fill(body, fields)

    return switch
