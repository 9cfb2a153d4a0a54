"""Compiling the fields of one layout.

Rules of the file: where all offsets are known, the fields become one `struct.Struct`
and a plan (name, index, function); fields that share bytes or mix byte orders take a
second struct. Where a field depends on a flag or a count, each field is a step that
returns the next position.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from firmware_profiles.decoded import Fields, Fill, Refused
from firmware_profiles.field_checks import PLACE_MOST, check_field
from firmware_profiles.field_types import FIELD_TYPES, Convert, converter
from firmware_profiles.form import FormError, KeyPath

Step = Callable[[bytes, int, Fields], int]
_ORDER = {"big": ">", "little": "<"}


@dataclass(slots=True)
class _Layer:
    """Fields that one struct can read: no overlaps, one byte order."""

    order: str | None = None
    codes: dict[int, tuple[str, int]] = field(default_factory=dict)
    plan: list[tuple[str, int, Convert | None]] = field(default_factory=list)

    def takes(self, at: int, code: str, size: int, order: str | None) -> bool:
        """Tell whether a field fits, and make it part of the layer if so."""
        if order and self.order and order != self.order:
            return False
        if self.codes.get(at) != (code, size):
            if any(a < at + size and at < a + s for a, (_, s) in self.codes.items()):
                return False
            self.codes[at] = (code, size)
        self.order = self.order or order
        return True

    def compiled(self) -> tuple[Callable[[bytes], tuple[Any, ...]], list[Any]]:
        """Return the unpack function and the plan with indices into its tuple."""
        parts, at, index = [_ORDER[self.order or "big"]], 0, {}
        for number, (begin, (code, size)) in enumerate(sorted(self.codes.items())):
            parts.append(f"{begin - at}x{code}" if begin > at else code)
            at, index[begin] = begin + size, number
        plan = [(name, index[begin], convert) for name, begin, convert in self.plan]
        return struct.Struct("".join(parts)).unpack_from, plan


def compile_fields(
    table: list[Mapping[str, Any]],
    path: KeyPath,
    endian: str,
    start: int,
    most: int = PLACE_MOST,
) -> Fill:
    """Compile fields into one function from bytes to values.

    Parameters
    ----------
    table : checked `[[field]]` tables
    path : where they stand in the profile, for messages
    endian : byte order of fields that do not say
    start : position of the first field without `at`
    most : bytes that the body may have at most

    Returns
    -------
    A function that fills in fields and returns the position behind them.

    Raises
    ------
    FormError
        A field needs a length, lies outside of the body, or a condition is not one.
    """
    for index, one in enumerate(table):
        check_field(one, (*path, index))
        if "at" in one and one["at"] >= most:
            raise FormError((*path, index, "at"), f"expected 0 to {most - 1}, got {one['at']}")
    moving = ("when", "count", "count_at")
    if any(key in one for one in table for key in moving) or any(
        one.get("length") == "rest" for one in table
    ):
        return _compile_steps(table, path, endian, start)
    layers: list[_Layer] = []
    at = end = start
    for index, one in enumerate(table):
        order = one.get("endian", endian)
        code, size = struct_of(one, (*path, index))
        at = one.get("at", at)
        if at + size > most:
            message = f"field ends behind byte {at + size}, but there are {most} at most"
            raise FormError((*path, index, "name"), message)
        needs = order if code in ("H", "h", "I", "i") else None
        layer = next((x for x in layers if x.takes(at, code, size, needs)), None)
        if layer is None:
            layer = _Layer()
            layer.takes(at, code, size, needs)
            layers.append(layer)
        layer.plan.append((one["name"], at, converter(one, order)))
        end = max(end, at + size)
        at += 0 if one.get("peek") else size
    if not layers:
        return lambda _body, _fields: start
    return _read_layers(layers, end)


def condition_of(table: Mapping[str, Any], path: KeyPath = ()) -> tuple[int, int, int]:
    """Return position, mask and wanted value of a `when`.

    Parameters
    ----------
    table : a checked `when`
    path : where it stands, for messages

    Returns
    -------
    Position, mask, wanted value.

    Raises
    ------
    FormError
        Neither `bit` nor `equals` is there, or both are.
    """
    if ("bit" in table) == ("equals" in table):
        raise FormError(path, "expected either 'bit' or 'equals'")
    if not 0 <= table["at"] <= PLACE_MOST:
        raise FormError(path, f"expected 'at' from 0 to {PLACE_MOST}, got {table['at']}")
    for key, highest in (("bit", 7), ("mask", 0xFF), ("equals", 0xFF)):
        if not 0 <= table.get(key, 0) <= highest:
            raise FormError(path, f"expected '{key}' from 0 to {highest}, got {table[key]}")
    if "bit" in table:
        mask = 1 << table["bit"]
        return table["at"], mask, mask if table.get("is", True) else 0
    return table["at"], table.get("mask", 0xFF), table["equals"]


def struct_of(one: Mapping[str, Any], path: KeyPath = ()) -> tuple[str, int]:
    """Return the `struct` code and the size of a field of known length.

    Parameters
    ----------
    one : a checked `[[field]]`
    path : where it stands, for messages

    Returns
    -------
    Code and size in bytes.

    Raises
    ------
    FormError
        The type needs a `length`.
    """
    kind = FIELD_TYPES[one["type"]]
    if kind.code is not None and kind.size is not None:
        return kind.code, kind.size
    length = one.get("length")
    if not isinstance(length, int) or not 1 <= length <= 1024:
        raise FormError(
            (*path, "length"), f"type '{one['type']}' needs a length of 1 to 1024 bytes"
        )
    return f"{length}s", length


def _read_layers(layers: list[_Layer], end: int) -> Fill:
    """Unpack each layer into one tuple, and take each field's value from its place there."""
    plan: list[tuple[str, int, Convert | None]] = []
    unpacks = []
    before = 0
    for layer in layers:
        unpack, parts = layer.compiled()
        unpacks.append(unpack)
        plan += [(name, before + index, convert) for name, index, convert in parts]
        before += len(layer.codes)
    first, *others = unpacks

    def fill(body: bytes, fields: Fields) -> int:
        if len(body) < end:
            raise Refused("truncated")
        values = first(body)
        for unpack in others:
            values += unpack(body)
        for name, index, convert in plan:
            fields[name] = values[index] if convert is None else convert(values[index])
        return end

    return fill


def _compile_steps(table: list[Mapping[str, Any]], path: KeyPath, endian: str, start: int) -> Fill:
    steps = [_step(one, (*path, index), endian) for index, one in enumerate(table)]
    flags = [condition_of(one["when"]) for one in table if "when" in one]
    if len(flags) == len(table) and all(
        where == flags[0][0] and mask == wanted for where, mask, wanted in flags
    ):
        flag_at, any_flag = flags[0][0], reduce(or_, (mask for _, mask, _ in flags))

        def fill_flagged(body: bytes, fields: Fields) -> int:
            if flag_at < len(body) and not body[flag_at] & any_flag:
                return start
            at = start
            for step in steps:
                at = step(body, at, fields)
            return at

        return fill_flagged

    def fill(body: bytes, fields: Fields) -> int:
        at = start
        for step in steps:
            at = step(body, at, fields)
        return at

    return fill


def _step(one: Mapping[str, Any], path: KeyPath, endian: str) -> Step:
    order = one.get("endian", endian)
    name, fixed = one["name"], one.get("at")
    convert = converter(one, order)
    if one.get("length") == "rest":
        read = _rest(name, convert)
    elif "count" in one or "count_at" in one:
        read = _array(one, convert, path, order)
    else:
        read = _single(name, convert, struct_of(one, path), order)
    peeks = one.get("peek", False)
    if "when" not in one and fixed is None and not peeks:
        return read
    where, mask, wanted = condition_of(one["when"], (*path, "when")) if "when" in one else (0, 0, 0)

    def step(body: bytes, at: int, fields: Fields) -> int:
        if mask:
            if where >= len(body):
                raise Refused("truncated")
            if body[where] & mask != wanted:
                return at
        after = read(body, at if fixed is None else fixed, fields)
        return at if peeks else after

    return step


def _single(name: str, convert: Convert | None, code: tuple[str, int], order: str) -> Step:
    unpack, size = struct.Struct(_ORDER[order] + code[0]).unpack_from, code[1]

    def read(body: bytes, at: int, fields: Fields) -> int:
        if at + size > len(body):
            raise Refused("truncated")
        (value,) = unpack(body, at)
        fields[name] = convert(value) if convert else value
        return at + size

    return read


def _rest(name: str, convert: Convert | None) -> Step:
    def read(body: bytes, at: int, fields: Fields) -> int:
        data = body[at:]
        fields[name] = convert(data) if convert else data
        return max(at, len(body))

    return read


def _array(one: Mapping[str, Any], convert: Convert | None, path: KeyPath, order: str) -> Step:
    name, add, count_at = one["name"], int(one.get("count_add", 0)), one.get("count_at")
    code, size = struct_of(one, path)
    known: int = one.get("count", 0)

    def read(body: bytes, at: int, fields: Fields) -> int:
        count = known
        if count_at is not None:
            if count_at >= len(body):
                raise Refused("truncated")
            count = int(body[count_at] + add)
        if count < 0 or at + count * size > len(body):
            raise Refused("truncated")
        values = struct.unpack_from(_ORDER[order] + code * count, body, at)
        fields[name] = [convert(value) for value in values] if convert else list(values)
        return at + count * size

    return read
