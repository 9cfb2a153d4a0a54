"""Whether the keys of one field fit its type and each other, with the key at fault.

Rules of the file: `form` has seen that each key holds the right kind of value; here is
what only shows when a field is looked at whole. What is refused here would otherwise give
a wrong value, or none, when bytes arrive.
"""

import math
from collections.abc import Mapping
from datetime import date, time
from typing import Any

from firmware_profiles.field_types import FIELD_TYPES
from firmware_profiles.form import FormError, KeyPath

PLACE_MOST = 4095
"""The last byte that a field may begin at; no advert, frame or record is longer."""
COUNT_MOST = 1024
_OF_NUMBERS = ("bits", "scale", "add", "decimals", "range", "equals", "between")
_FREE = ("set", "enum", "units", "only", "never", "options", "expect")
"""Tables whose keys are names of the profile's own; they stand in one line as a rule."""
_NUMBERS = frozenset({"u8", "s8", "u16", "s16", "u24", "s24", "u32", "s32", "sign_magnitude"})


def check_field(one: Mapping[str, Any], path: KeyPath) -> None:
    """Refuse a field whose keys do not fit together.

    Parameters
    ----------
    one : a `[[field]]` or an object of a repeat, checked by `form.check_form`
    path : where it stands in the profile

    Raises
    ------
    FormError
        With the key at fault and what was expected.
    """
    kind = one["type"]
    for key in one:
        fits = kind in _NUMBERS if key in _OF_NUMBERS else kind == "bool"
        if key in (*_OF_NUMBERS, "bit", "invert") and not fits:
            raise FormError((*path, key), f"type '{kind}' has no '{key}'")
    if "enum" in one:
        _check_enum(one, (*path, "enum"))
    if "bits" in one:
        _check_bits(one["bits"], 8 * (FIELD_TYPES[kind].size or 0), (*path, "bits"))
    for key in ("range", "between"):
        pair = one.get(key, (0, 0))
        if len(pair) != 2 or not pair[0] <= pair[1]:
            raise FormError((*path, key), f"expected [least, most], got {pair}")
    _check_whole(one, "bit", 7, path)
    _check_whole(one, "decimals", 12, path)
    _check_whole(one, "at", PLACE_MOST, path)
    _check_whole(one, "count_at", PLACE_MOST, path)
    _check_whole(one, "count", COUNT_MOST, path)
    if one.get("scale") == 0:
        raise FormError((*path, "scale"), "expected a number other than 0")
    sentinels = one.get("sentinel", [])
    for value in sentinels if isinstance(sentinels, list) else [sentinels]:
        if isinstance(value, str) == (kind in _NUMBERS or kind == "bool"):
            wanted = "a whole number" if isinstance(value, str) else "the text as decoded"
            raise FormError((*path, "sentinel"), f"type '{kind}' needs {wanted}, got {value!r}")


def check_values(value: object, path: KeyPath = ()) -> None:
    """Refuse numbers that are none, dates and times, wherever in a profile they stand.

    Parameters
    ----------
    value : all tables of the profile, or a part
    path : where the part stands

    Raises
    ------
    FormError
        With the key at fault.
    """
    parts: list[tuple[str | int, object]] = []
    if isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    for key, inner in parts:
        wrong = isinstance(inner, date | time) or (
            isinstance(inner, float) and not math.isfinite(inner)
        )
        if wrong and path and path[-1] in _FREE:
            raise FormError(path, f"expected a number or a text for '{key}', got {inner}")
        if wrong:
            raise FormError((*path, key), f"expected a number or a text, got {inner}")
        check_values(inner, (*path, key))


def _check_enum(one: Mapping[str, Any], path: KeyPath) -> None:
    if one["type"] not in _NUMBERS:
        raise FormError(path, f"type '{one['type']}' has no 'enum'")
    for text in one["enum"]:
        try:
            int(text, 0)
        except ValueError:
            message = f'expected whole numbers like "1" or "0x1f" as keys, got \'{text}\''
            raise FormError(path, message) from None


def _check_bits(bits: list[int], size: int, path: KeyPath) -> None:
    if len(bits) != 2 or not 0 <= bits[0] <= bits[1] < size:
        raise FormError(path, f"expected [lowest, highest] of bits 0 to {size - 1}, got {bits}")


def _check_whole(one: Mapping[str, Any], key: str, most: int, path: KeyPath) -> None:
    if not 0 <= one.get(key, 0) <= most:
        raise FormError((*path, key), f"expected 0 to {most}, got {one[key]}")
