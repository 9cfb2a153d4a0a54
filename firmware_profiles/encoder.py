"""The way back: fields to bytes, from the same profile (for simulators and tests).

Rules of the file: works on the checked tables, not for speed. Flags follow from which
fields are given; variants from the constants they set; None writes the sentinel;
hidden fields (`_name`) default to zero.
"""

import struct
from collections.abc import Mapping
from typing import Any

from firmware_profiles.field_types import FIELD_TYPES, converter, raw_of, write_wide
from firmware_profiles.fields import condition_of, struct_of


def write_layout(
    table: Mapping[str, Any],
    fields: Mapping[str, Any],
    body: bytearray | None = None,
    *,
    endian: str = "big",
    start: int = 0,
) -> bytearray:
    """Write fields into the bytes that the layout would read as them.

    Parameters
    ----------
    table : checked tables of a layout
    fields : values as decoded
    body : what is there already (a prefix); bits are added to it
    endian : byte order unless the layout says otherwise
    start : position of the first field without `at`

    Returns
    -------
    `body`, longer.

    Raises
    ------
    ValueError
        A field is missing, or its value cannot stand there.
    """
    body = bytearray() if body is None else body
    endian = table.get("endian", endian)
    at = table.get("start", start)
    absent = {name: 0 for name in table.get("null_unless", {}) if fields.get(name, 0) is None}
    for field in table.get("field", []):
        at = _write_field(field, {**fields, **absent}, body, at, endian)
    if "switch" in table:
        at = _write_variant(table, fields, body, endian)
    if "repeat" in table:
        _reach(body, at)
        heads = {field["name"] for field in table.get("field", [])} | set(table.get("set", {}))
        own = {name: value for name, value in fields.items() if name not in heads}
        _write_repeat(table["repeat"], own, body, endian)
    _reach(body, table.get("length", table.get("min_length", 0)))
    return body


def _write_field(
    field: Mapping[str, Any], fields: Mapping[str, Any], body: bytearray, at: int, endian: str
) -> int:
    name = field["name"]
    begin = field.get("at", at)
    if "when" in field:
        where, _, wanted = condition_of(field["when"])
        if name not in fields and not name.startswith("_"):
            return at
        _reach(body, where + 1)
        body[where] |= wanted
    if name not in fields and not name.startswith("_"):
        if "equals" in field or "between" in field or field["type"] == "bool":
            _reach(body, begin + 1)
            return at if field.get("peek") else begin + struct_of(field)[1]
        raise ValueError(f"field '{name}' is missing")
    if "equals" in field or "between" in field:
        return at if field.get("peek") else begin + struct_of(field)[1]
    value = fields.get(name, 0)
    many = "count" in field or "count_at" in field
    if many and "count_at" in field:
        _reach(body, field["count_at"] + 1)
        body[field["count_at"]] = len(value) - field.get("count_add", 0)
    data = b"".join(raw_bytes(field, one, endian) for one in (value if many else [value]))
    _reach(body, begin + len(data))
    for index, byte in enumerate(data):
        body[begin + index] |= byte
    return at if field.get("peek") else begin + len(data)


def raw_bytes(field: Mapping[str, Any], value: object, endian: str) -> bytes:
    """Return the bytes of one value.

    Parameters
    ----------
    field : a checked `[[field]]`
    value : as decoded
    endian : byte order unless the field says otherwise

    Returns
    -------
    As many bytes as the field has.

    Raises
    ------
    ValueError
        The value cannot stand in this field.
    """
    order = field.get("endian", endian)
    kind = FIELD_TYPES[field["type"]]
    raw = raw_of(field, value)
    if "bits" in field:
        raw = raw << field["bits"][0]
    try:
        if kind.wide is not None:
            return write_wide(raw, order, signed=kind.wide)
        if kind.write:
            data = kind.write(raw)
            length = field.get("length")
            return data.ljust(length, b"\0") if isinstance(length, int) else data
        code = struct_of(field)[0]
        return struct.pack((">" if order == "big" else "<") + code, raw)
    except (struct.error, OverflowError, TypeError) as error:
        raise ValueError(f"field '{field['name']}' cannot be {value!r}") from error


def _write_variant(
    table: Mapping[str, Any], fields: Mapping[str, Any], body: bytearray, endian: str
) -> int:
    at, size = table["switch"]["at"], table["switch"].get("size", 1)
    variant = next((v for v in table["variant"] if _fits(v, fields)), None)
    if variant is None:
        raise ValueError("no variant has these fields")
    value = variant["value"]
    values = value if isinstance(value, list) else [value]
    _reach(body, at + size)
    if int.from_bytes(body[at : at + size]) not in values:
        body[at : at + size] = values[0].to_bytes(size)
    write_layout(variant, fields, body, endian=endian, start=at + size)
    return len(body)


def _fits(variant: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    if any(fields.get(name, ...) != value for name, value in variant.get("set", {}).items()):
        return False
    if not all(
        f["name"] in fields
        for f in variant.get("field", [])
        if "when" not in f and f["name"][0] != "_"
    ):
        return False
    return "variant" not in variant or any(_fits(v, fields) for v in variant["variant"])


def _write_repeat(
    table: Mapping[str, Any], fields: Mapping[str, Any], body: bytearray, endian: str
) -> None:
    if table["form"] != "id-table":
        if "list" not in table:
            raise ValueError("a walk over ids alone cannot be written")
        for one in fields[table["list"]]:
            data = bytes.fromhex(one["payload_hex"])
            length_first = table["form"] == "length-id"
            head = (len(data) + 1, one["id"]) if length_first else (one["id"], len(data))
            body += bytes(head) + data
        return
    if not fields:
        raise ValueError("there is nothing to send")
    for name, value in fields.items():
        body += _write_object(table, fields, name, value, endian)


def _write_object(
    table: Mapping[str, Any], fields: Mapping[str, Any], name: str, value: object, endian: str
) -> bytes:
    stem, _, number = name.rpartition("_")
    if any(name == one["name"] for item in table["item"] for one in item.get("fields", [])[1:]):
        return b""
    for item in table["item"]:
        if "fields" in item and item["fields"][0]["name"] == name:
            parts = (raw_bytes(one, fields[one["name"]], endian) for one in item["fields"])
            return bytes((item["id"],)) + b"".join(parts)
        if item.get("name") != name and not (number.isdigit() and item.get("name") == stem):
            continue
        try:
            data = raw_bytes(item, value, endian)
        except ValueError:
            continue
        if item.get("length_prefix"):
            return bytes((item["id"], len(data))) + data
        if _reads_as(item, data, value, endian):
            return bytes((item["id"],)) + data
    raise ValueError(f"no object can be '{name}' with value {value!r}")


def _reads_as(item: Mapping[str, Any], data: bytes, value: object, endian: str) -> bool:
    order = item.get("endian", endian)
    (raw,) = struct.unpack((">" if order == "big" else "<") + struct_of(item)[0], data)
    convert = converter(item, order)
    return bool((convert(raw) if convert else raw) == value)


def _reach(body: bytearray, size: int) -> None:
    if len(body) < size:
        body.extend(bytes(size - len(body)))
