"""Which of a profile's `[[emit]]` to ask for a message, so that most are not asked at all.

Rules of the file: what an emit makes is `emits`' business. Here they are put into runs
that hang on one field (four kinds of a button's press, say), and a run is asked only if
its field is there; the order of the profile is kept. Most messages of most devices have
none of those fields and only say "the tag of this address was heard", which is made here
directly: of 1.0 microseconds for a BTHome advert 0.4 are left.
"""

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from firmware_profiles.decoded import Emit, Fields
from firmware_profiles.emits import MakeEmits, compile_emits
from firmware_profiles.form import KeyPath

_HEARD = {"kind": "reading", "tag": "ble:{address}"}
_new = tuple.__new__


def compile_emit_runs(tables: list[Mapping[str, Any]], path: KeyPath) -> MakeEmits:
    """Compile `[[emit]]` tables into one function from fields and address to emits.

    Parameters
    ----------
    tables : checked tables
    path : where they stand in the profile, for messages

    Returns
    -------
    A function from fields and address to the same emits as that of `compile_emits`.

    Raises
    ------
    FormError
        A table is not right, as `compile_emits` says.
    """
    plain = compile_emits(tables, path)
    if not tables or tables[0] != _HEARD:
        return plain
    runs = [(field, _compile_run(list(run), path)) for field, run in groupby(tables[1:], _field_of)]
    named = [(field, make) for field, make in runs if field is not None]
    if len(named) < len(runs):
        return plain
    names = frozenset(field for field, _ in named)

    def make_emits(fields: Fields, address: str | None) -> tuple[Emit, ...]:
        emits: tuple[Emit, ...] = ()
        if address is not None:
            digits = address.replace(":", "").lower()
            if len(digits) == 12:
                emits = (_new(Emit, ("reading", "ble:" + digits, None, None, None)),)
        if names.isdisjoint(fields):
            return emits
        for field, make in named:
            if field in fields:
                emits += make(fields, address)
        return emits

    return make_emits


def _compile_run(tables: list[Mapping[str, Any]], path: KeyPath) -> MakeEmits:
    """Compile emits that hang on one field; those that each want a value of it, by value."""
    if any(len(table.get("only", {})) != 1 for table in tables):
        return compile_emits(tables, path)
    by_value: dict[str, list[Mapping[str, Any]]] = {}
    for table in tables:
        ((field, value),) = table["only"].items()
        if not isinstance(value, str):
            return compile_emits(tables, path)
        by_value.setdefault(value, []).append({k: v for k, v in table.items() if k != "only"})
    makers = {value: compile_emits(wanted, path) for value, wanted in by_value.items()}

    def make_emits(fields: Fields, address: str | None) -> tuple[Emit, ...]:
        value = fields[field]
        make = makers.get(value) if isinstance(value, str) else None
        return () if make is None else make(fields, address)

    return make_emits


def _field_of(table: Mapping[str, Any]) -> str | None:
    """Return the field without which an emit makes nothing; None if there is no such field."""
    field: str | None = next(iter(table.get("only", {})), None)
    value = table.get("mass_g", table.get("range_mm"))
    if field is not None or value is not None:
        return field or (value if isinstance(value, str) else None)
    place = re.search(r"\{(\w+)\}", table.get("tag", ""))
    return place[1] if place and place[1] != "address" else None
