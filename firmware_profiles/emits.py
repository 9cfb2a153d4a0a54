"""Compiling `[[emit]]`: what a decoded message means to the store.

Rules of the file: a tag is text built from fields by the schemes of the contract; an
emit whose field is absent or None emits nothing. `{address}` is the sender's address as
12 hex digits, if the caller gives one: it should do so only for public and random
static addresses, since the others change and must never become visitors. For the same
reason no profile makes a tag of a random NFC UID, whatever it says. An emit with `proof`
emits nothing unless the decoder verified the message.
"""

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

from firmware_profiles.decoded import Emit, Fields, Proof
from firmware_profiles.decoders.nfc import is_random_tag
from firmware_profiles.form import FormError, KeyPath

Make = Callable[[Fields, str | None], Emit | None]
MakeEmits = Callable[[Fields, str | None], tuple[Emit, ...]]
_PLACE = re.compile(r"\{(_?[a-z][a-z0-9_]*)\}")
_TAG = re.compile(r"(?:ble|ibeacon|eddystone|altbeacon|nfc|em4100|wiegand|name):[-0-9a-z{}_]*")


def compile_emits(tables: list[Mapping[str, Any]], path: KeyPath) -> MakeEmits:
    """Compile `[[emit]]` tables into one function from fields and address to emits.

    Parameters
    ----------
    tables : checked tables
    path : where they stand in the profile, for messages

    Returns
    -------
    A function from fields and address to emits.

    Raises
    ------
    FormError
        A tag is not of the grammar, or kind and value do not go together.
    """
    makers = [_maker(table, (*path, index)) for index, table in enumerate(tables)]
    if not makers:
        return lambda _fields, _address: ()
    if len(makers) == 1:
        only = makers[0][1]

        def make_one(fields: Fields, address: str | None) -> tuple[Emit, ...]:
            emit = only(fields, address)
            return () if emit is None else (emit,)

        return make_one

    def make(fields: Fields, address: str | None) -> tuple[Emit, ...]:
        emits: tuple[Emit, ...] = ()
        for trigger, maker in makers:
            if trigger is None or trigger in fields:
                emit = maker(fields, address)
                if emit is not None:
                    emits += (emit,)
        return emits

    return make


def _maker(table: Mapping[str, Any], path: KeyPath) -> tuple[str | None, Make]:
    """Return a maker and the field without which it makes nothing (None: it always may)."""
    kind = table["kind"]
    values = [key for key in ("tag", "mass_g", "range_mm") if key in table]
    if kind == "sample" and values not in (["mass_g"], ["range_mm"]):
        raise FormError(path, "a sample needs 'mass_g' or 'range_mm', the name of a field")
    if kind != "sample" and values != ["tag"]:
        raise FormError(path, f"a {kind} needs a 'tag'")
    trigger: str | None
    if kind == "sample":
        make = _sample(table, values[0])
        trigger = table[values[0]] if isinstance(table[values[0]], str) else None
    else:
        trigger, make = _tagged(table, path)
        if table["tag"].startswith("nfc:"):
            make = _lasting(make)
        if "proof" in table:
            make = _proven(make, table["proof"])
    only, never = table.get("only"), table.get("never")
    if only:
        trigger = next(iter(only))
    if only is None and never is None:
        return trigger, make

    def guarded(fields: Fields, address: str | None) -> Emit | None:
        if only and any(fields.get(name) != value for name, value in only.items()):
            return None
        if never and any(fields.get(name) == value for name, value in never.items()):
            return None
        return make(fields, address)

    return trigger, guarded


def _sample(table: Mapping[str, Any], key: str) -> Make:
    names = [table[key]] if isinstance(table[key], str) else table[key]
    scale, is_mass = table.get("scale", 1), key == "mass_g"

    def make(fields: Fields, _address: str | None) -> Emit | None:
        found = [value for name in names if (value := fields.get(name)) is not None]
        if not found:
            return None
        value = round(min(found) * scale, 6)
        if is_mass:
            return Emit("sample", None, value, None)
        return Emit("sample", None, None, value)

    return make


def _lasting(make: Make) -> Make:
    """Return a maker that makes nothing of a card whose UID is another one each time."""

    def make_lasting(fields: Fields, address: str | None) -> Emit | None:
        emit = make(fields, address)
        return None if emit is None or is_random_tag(emit.tag or "") else emit

    return make_lasting


def _proven(make: Make, scheme: str) -> Make:
    """Return a maker that makes nothing of a message that was not verified by the scheme."""

    def make_proven(fields: Fields, address: str | None) -> Emit | None:
        proof = fields.get("_proof")
        if type(proof) is not Proof or proof != scheme:
            return None
        emit = make(fields, address)
        return None if emit is None else emit._replace(proof=scheme)

    return make_proven


def _tagged(table: Mapping[str, Any], path: KeyPath) -> tuple[str | None, Make]:
    kind, text = table["kind"], table["tag"]
    names = _PLACE.findall(text)
    if not _TAG.fullmatch(text) or not names or "{" in _PLACE.sub("", text):
        raise FormError((*path, "tag"), f"expected a tag like 'nfc:{{uid_hex}}', got '{text}'")
    pattern = _PLACE.sub("%s", text)
    if names == ["address"]:

        def from_address(_fields: Fields, address: str | None) -> Emit | None:
            if address is None:
                return None
            digits = address.replace(":", "").lower()
            return Emit(kind, pattern % digits, None, None) if len(digits) == 12 else None

        return None, from_address
    first, get = names[0], itemgetter(*names)
    is_single = len(names) == 1

    def make(fields: Fields, _address: str | None) -> Emit | None:
        try:
            found = get(fields)
        except KeyError:
            return None
        if found is None or (not is_single and None in found):
            return None
        return Emit(kind, pattern % found, None, None)

    return first, make
