"""Every key that a profile may have: the form `fanous.profile/1` as a table.

Rules of the file: a table of shapes and nothing else; `form` checks against it. A new
key is added here and where it is compiled, and described in README.md.
"""

from dataclasses import dataclass

from firmware_profiles.checksums import CHECKSUMS
from firmware_profiles.field_types import FIELD_TYPES

SCHEMA = "fanous.profile/1"
TRANSPORTS = (
    "ble-adv",
    "ble-gatt",
    "ble-address",
    "serial-binary",
    "serial-line",
    "bits",
    "record",
)


@dataclass(frozen=True, slots=True)
class Key:
    """What one key may hold: a kind, perhaps one of some choices, or a table of a shape."""

    kind: str
    required: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""


_NAME = r"_?[a-z][a-z0-9_]*"
_LAYOUT = {
    "length": Key("int"),
    "min_length": Key("int"),
    "max_length": Key("int"),
    "exact": Key("bool"),
    "endian": Key("str", choices=("big", "little")),
    "start": Key("int"),
    "set": Key("table"),
    "null_unless": Key("table"),
}
_PARTS = {
    "field": Key("shapes:field"),
    "switch": Key("shape:switch"),
    "variant": Key("shapes:variant"),
    "repeat": Key("shape:repeat"),
}
_VALUE = {
    "type": Key("str", choices=tuple(sorted(FIELD_TYPES)), required=True),
    "endian": Key("str", choices=("big", "little")),
    "length": Key("int|rest"),
    "bits": Key("ints"),
    "bit": Key("int"),
    "scale": Key("number"),
    "add": Key("number"),
    "decimals": Key("int"),
    "sentinel": Key("scalars"),
    "range": Key("numbers"),
    "enum": Key("table"),
    "equals": Key("ints"),
    "between": Key("ints"),
    "invert": Key("bool"),
}
_FIELD_NAME = Key("str", required=True, pattern=_NAME)

SHAPES: dict[str, dict[str, Key]] = {
    "root": {
        "schema": Key("str", choices=(SCHEMA,), required=True),
        "profile": Key("shape:profile", required=True),
        "match": Key("shape:match"),
        "layout": Key("shape:layout"),
        **_PARTS,
        "frame": Key("shapes:frame"),
        "line": Key("shape:line"),
        "bits": Key("shapes:bits"),
        "crypto": Key("shape:crypto"),
        "dedupe": Key("shape:dedupe"),
        "calibration": Key("shape:calibration"),
        "emit": Key("shapes:emit"),
        "test": Key("shapes:test", required=True),
    },
    "profile": {
        "id": Key("str", required=True, pattern=r"[a-z0-9][a-z0-9_]{0,47}"),
        "title": Key("str", required=True),
        "vendor": Key("str", required=True),
        "version": Key("int", required=True),
        "transport": Key("str", choices=TRANSPORTS, required=True),
        "privacy": Key("str", choices=("tag", "sensor", "person"), required=True),
        "source": Key("str", required=True),
        "licence": Key("str"),
        "family": Key("str", pattern=r"[a-z0-9][a-z0-9_]{0,47}"),
        "uses": Key("str"),
        "decoder": Key("str"),
        "baud": Key("ints"),
    },
    "match": {
        "company_id": Key("int"),
        "any_company": Key("bool"),
        "service_uuid": Key("int"),
        "prefix": Key("hex"),
        "mask": Key("hex"),
        "length": Key("int"),
        "min_length": Key("int"),
        "max_length": Key("int"),
        "name": Key("str"),
        "service_list": Key("int"),
        "priority": Key("int"),
        "company_field": Key("str", pattern=_NAME),
        "name_field": Key("str", pattern=_NAME),
    },
    "layout": _LAYOUT,
    "field": {
        "name": _FIELD_NAME,
        **_VALUE,
        "at": Key("int"),
        "count": Key("int"),
        "count_at": Key("int"),
        "count_add": Key("int"),
        "when": Key("shape:when"),
        "peek": Key("bool"),
    },
    "when": {
        "at": Key("int", required=True),
        "bit": Key("int"),
        "is": Key("bool"),
        "mask": Key("int"),
        "equals": Key("int"),
    },
    "switch": {"at": Key("int", required=True), "size": Key("int")},
    "variant": {"value": Key("ints|int", required=True), **_LAYOUT, **_PARTS},
    "repeat": {
        "form": Key("str", choices=("id-table", "length-id", "id-length"), required=True),
        "list": Key("str", pattern=_NAME),
        "ids": Key("str", pattern=_NAME),
        "item": Key("shapes:item"),
    },
    "item": {
        "id": Key("int", required=True),
        "name": Key("str", pattern=_NAME),
        **_VALUE,
        "type": Key("str", choices=tuple(sorted(FIELD_TYPES))),
        "length_prefix": Key("bool"),
        "length_mask": Key("int"),
        "fields": Key("shapes:itemfield"),
    },
    "itemfield": {"name": _FIELD_NAME, **_VALUE},
    "frame": {
        "start": Key("hex"),
        "end": Key("hex"),
        "length": Key("int"),
        "length_at": Key("int"),
        "length_size": Key("int"),
        "length_endian": Key("str", choices=("big", "little")),
        "length_add": Key("int"),
        "max_length": Key("int"),
        "encoding": Key("str", choices=("raw", "ascii-hex")),
        "checksum": Key("shapes:checksum"),
        "require": Key("shapes:require"),
        "special": Key("shapes:special"),
        "gap_ms": Key("int"),
    },
    "checksum": {
        "kind": Key("str", choices=tuple(CHECKSUMS), required=True),
        "over": Key("ints", required=True),
        "at": Key("int", required=True),
    },
    "require": {"at": Key("int", required=True), "values": Key("ints", required=True)},
    "special": {"bytes": Key("hex", required=True), "set": Key("table", required=True)},
    "line": {
        "max_length": Key("int"),
        "form": Key("shapes:lineform"),
    },
    "lineform": {
        "pattern": Key("str", required=True),
        "set": Key("table"),
        "field": Key("shapes:linefield"),
        "write": Key("str"),
    },
    "linefield": {
        "group": Key("str", required=True),
        "name": Key("str", pattern=_NAME),
        "type": Key("str", choices=("number", "int", "text", "lower"), required=True),
        "enum": Key("table"),
        "unit_group": Key("str"),
        "units": Key("table"),
    },
    "bits": {
        "length": Key("int", required=True),
        "data": Key("ints", required=True),
        "even": Key("ints"),
        "odd": Key("ints"),
        "set": Key("table"),
        "field": Key("shapes:field"),
    },
    "crypto": {
        "scheme": Key("str", choices=("bthome-v2-ccm", "ntag424-sun"), required=True),
        "when": Key("shape:when"),
    },
    "dedupe": {
        "fields": Key("strs"),
        "counter": Key("str"),
        "hold_off_s": Key("number"),
    },
    "calibration": {
        "from": Key("str", required=True),
        "to": Key("str", required=True),
        "tare": Key("str", required=True),
        "per_unit": Key("str", required=True),
        "decimals": Key("int"),
        "unless": Key("str"),
    },
    "emit": {
        "kind": Key("str", choices=("reading", "tap", "sample"), required=True),
        "tag": Key("str"),
        "proof": Key("str", choices=("ntag424-sun",)),
        "mass_g": Key("str"),
        "range_mm": Key("str|strs"),
        "scale": Key("number"),
        "only": Key("table"),
        "never": Key("table"),
    },
    "test": {
        "name": Key("str", required=True),
        "hex": Key("hex", required=True),
        "expect": Key("table"),
        "null": Key("strs"),
        "frames": Key("any"),
        "reject": Key("bool"),
        "address": Key("str"),
        "key_hex": Key("hex"),
        "options": Key("table"),
    },
}
