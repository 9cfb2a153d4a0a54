"""Compiling a repeat: objects one behind the other, each with an id.

Rules of the file: three forms. `id-table`: the id alone decides type and length
(BTHome), so an unknown id ends the walk and what came before is kept, marked
`partial`; a name that occurs again becomes `name_1`, `name_2`. `length-id` (the
length counts the id; Kontakt) and `id-length` (Apple) walk without knowing the ids.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from firmware_profiles.decoded import Fields, Fill, Refused
from firmware_profiles.field_checks import check_field
from firmware_profiles.field_types import Convert, converter
from firmware_profiles.fields import compile_fields, struct_of
from firmware_profiles.form import FormError, KeyPath

Walk = Callable[[bytes, int, Fields], int]
Object = tuple[str, int, Callable[..., Any] | None, Fill | None, Convert | None]
"""Name, size (negative: the mask of a length in front), how to read one value, or several."""


def compile_repeat(table: Mapping[str, Any], path: KeyPath, endian: str) -> Walk:
    """Compile a `[repeat]` into a function that walks to the end of the body.

    Parameters
    ----------
    table : the checked `[repeat]`
    path : where it stands in the profile, for messages
    endian : byte order of items that do not say

    Returns
    -------
    A function of body, position and fields; it returns the position behind the objects.

    Raises
    ------
    FormError
        Two items have one id, an item has no type, or nothing says where to put objects.
    """
    if table["form"] != "id-table":
        if "list" not in table and "ids" not in table:
            raise FormError(path, "expected 'list' or 'ids', the name of the field for the objects")
        return _walk_lengths(table)
    return _walk_table(_objects(table, path, endian))


def _objects(table: Mapping[str, Any], path: KeyPath, endian: str) -> dict[int, Any]:
    objects: dict[int, Any] = {}
    for index, item in enumerate(table.get("item", [])):
        here = (*path, "item", index)
        if not 0 <= item["id"] <= 255:
            raise FormError((*here, "id"), f"expected 0 to 255, got {item['id']}")
        if item["id"] in objects:
            raise FormError((*here, "id"), f"id {item['id']} is taken by an earlier item")
        objects[item["id"]] = _object(item, here, endian)
    return objects


def _object(item: Mapping[str, Any], path: KeyPath, endian: str) -> Object:
    if "fields" in item:
        fill = compile_fields(item["fields"], (*path, "fields"), endian, 0)
        size = sum(struct_of(one, path)[1] for one in item["fields"])
        return "", size, None, fill, None
    if "name" not in item or "type" not in item:
        raise FormError(path, "an item needs 'name' and 'type', or 'fields'")
    check_field(item, path)
    order = item.get("endian", endian)
    convert = converter(item, order)
    if item.get("length_prefix"):
        return item["name"], -item.get("length_mask", 0xFF), None, None, convert
    code, size = struct_of(item, path)
    unpack = struct.Struct(("<" if order == "little" else ">") + code).unpack_from
    return item["name"], size, unpack, None, convert


def _walk_table(objects: Mapping[int, Object]) -> Walk:
    known = [objects.get(number) for number in range(256)]

    def walk(body: bytes, at: int, fields: Fields) -> int:
        end = len(body)
        begin, partial = at, ""
        seen: dict[str, int] | None = None
        while at < end:
            found = known[body[at]]
            if found is None:
                partial = "unknown-object"
                break
            name, size, unpack, fill, convert = found
            start = at + 1
            if size < 0:
                size = body[start] & -size if start < end else end
                start += 1
            after = start + size
            if after > end:
                partial = "truncated"
                break
            at = after
            if unpack is not None:
                (value,) = unpack(body, start)
            elif fill is not None:
                fill(body[start:at], fields)
                continue
            else:
                value = body[start:at]
            if convert is not None:
                value = convert(value)
            if name in fields or (seen and name in seen):
                seen = {} if seen is None else seen
                _number(name, value, fields, seen)
            else:
                fields[name] = value
        if partial:
            if at == begin:
                raise Refused(partial)
            fields["partial"] = partial
        elif at == begin:
            raise Refused("empty")
        return end

    return walk


def _number(name: str, value: object, fields: Fields, seen: dict[str, int]) -> None:
    if name not in seen:
        seen[name] = 1
        fields[f"{name}_1"] = fields.pop(name)
    seen[name] += 1
    fields[f"{name}_{seen[name]}"] = value


def _walk_lengths(table: Mapping[str, Any]) -> Walk:
    length_first = table["form"] == "length-id"
    list_name, ids_name = table.get("list"), table.get("ids")

    def walk(body: bytes, at: int, fields: Fields) -> int:
        end = len(body)
        ids: list[int] = []
        objects: list[dict[str, Any]] = []
        while at < end:
            if at + 2 > end:
                raise Refused("truncated")
            first, second = body[at], body[at + 1]
            if length_first and first == 0:
                raise Refused("bad-length")
            code, size = (second, first - 1) if length_first else (first, second)
            at += 2
            if at + size > end:
                raise Refused("truncated")
            ids.append(code)
            objects.append({"id": code, "payload_hex": body[at : at + size].hex()})
            at += size
        if not ids:
            raise Refused("empty")
        if list_name:
            fields[list_name] = objects
        if ids_name:
            fields[ids_name] = ids
        return end

    return walk
