"""The form of a profile, `fanous.profile/1`, and its check.

Rules of the file: the form is a table of keys; a profile that does not keep to it is
refused with the line, the key, what was expected and the nearest key that exists.
Nothing in a profile is ever evaluated. What has to fit together (variants, names used
by `[[emit]]`, patterns) is checked where it is compiled, with the same error.
Ideas from Theengs Decoder (models as data), Kaitai Struct (switch and repeat) and the
advertisement matchers of Home Assistant; see README.md.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from firmware_profiles.crypto import PROOFS
from firmware_profiles.form_keys import SHAPES, Key

KeyPath = tuple[str | int, ...]


class FormError(ValueError):
    """A profile does not keep to the form; `path` is the key at fault."""

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path


def check_form(table: Mapping[str, Any]) -> list[FormError]:
    """Return every way in which a profile's tables do not keep to the form.

    Parameters
    ----------
    table : what the TOML file holds

    Returns
    -------
    The problems; empty for a good profile.

    Examples
    --------
    >>> [str(error) for error in check_form({"shema": "fanous.profile/1"})][0]
    "unknown key 'shema' (did you mean 'schema'?)"
    """
    found: list[FormError] = []
    _check_shape(table, "root", (), found)
    return found or _check_parts(table)


def line_of(text: str, path: KeyPath) -> int:
    """Return the number of the line, from 1, where a key of a TOML text stands, or 1.

    The parser of the standard library keeps no positions, so the text is searched:
    the n-th header of the key's array, then the key itself.

    Parameters
    ----------
    text : the TOML file
    path : names and, behind the name of an array, indices

    Returns
    -------
    The number of the line.
    """
    lines = text.splitlines()
    at = 0
    names: list[str] = []
    for number, part in enumerate(path):
        if isinstance(part, int):
            continue
        names.append(part)
        follows = path[number + 1] if number + 1 < len(path) else 0
        header = re.compile(r"\s*\[{1,2}\s*" + re.escape(".".join(names)) + r"\s*\]")
        heads = [i for i, line in enumerate(lines) if i >= at and header.match(line)]
        which = follows if isinstance(follows, int) else 0
        key = re.compile(r"\s*\"?" + re.escape(part) + r"\"?\s*[=.]")
        if len(heads) > which:
            at = heads[which]
        elif number == len(path) - 1:
            return next((i for i, line in enumerate(lines) if i >= at and key.match(line)), at) + 1
    return at + 1


def nearest(word: str, known: list[str]) -> str:
    """Return a hint at the nearest known word, or at all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else f"; known are {', '.join(sorted(known))}"


def _check_shape(value: object, shape: str, path: KeyPath, found: list[FormError]) -> None:
    if not isinstance(value, Mapping):
        found.append(FormError(path, f"expected a table, got {_said(value)}"))
        return
    keys = SHAPES[shape]
    for name, inner in value.items():
        if name not in keys:
            message = f"unknown key '{name}'{nearest(name, list(keys))}"
            found.append(FormError((*path, name), message))
        else:
            _check_value(inner, keys[name], (*path, name), found)
    found.extend(
        FormError((*path, name), f"missing key '{name}'")
        for name, key in keys.items()
        if key.required and name not in value
    )


def _check_parts(table: Mapping[str, Any]) -> list[FormError]:
    """Return what is wrong between sections that are right each for itself."""
    decoder, crypto = table["profile"].get("decoder"), table.get("crypto", {})
    scheme = crypto.get("scheme")
    found: list[FormError] = []
    if scheme in PROOFS:
        if decoder != PROOFS[scheme]:
            message = f"scheme {scheme} needs decoder = '{PROOFS[scheme]}' in [profile]"
            found.append(FormError(("crypto", "scheme"), message))
        if "when" in crypto:
            found.append(FormError(("crypto", "when"), f"scheme {scheme} has no 'when'"))
    elif crypto and "when" not in crypto:
        found.append(FormError(("crypto",), "missing key 'when'"))
    for index, emit in enumerate(table.get("emit", [])):
        path: KeyPath = ("emit", index, "proof")
        if "proof" in emit and (emit["proof"] != scheme or emit["kind"] != "tap"):
            found.append(FormError(path, "a proof is of a tap, and is the scheme of [crypto]"))
    if "line" in table and "form" not in table["line"] and decoder is None:
        found.append(FormError(("line",), "missing key 'form', or a decoder in [profile]"))
    return found


def _check_value(value: object, key: Key, path: KeyPath, found: list[FormError]) -> None:
    kind, _, shape = key.kind.partition(":")
    if kind == "shape":
        _check_shape(value, shape, path, found)
    elif kind == "shapes":
        if isinstance(value, list):
            for index, item in enumerate(value):
                _check_shape(item, shape, (*path, index), found)
        else:
            found.append(FormError(path, f"expected an array of tables, got {_said(value)}"))
    elif not any(_KINDS[part](value) for part in kind.split("|")):
        words = " or ".join(_WORDS[part] for part in kind.split("|"))
        found.append(FormError(path, f"expected {words}, got {_said(value)}"))
    elif key.choices and value not in key.choices:
        hint = nearest(str(value), list(key.choices))
        found.append(FormError(path, f"unknown {path[-1]} {_said(value)}{hint}"))
    elif key.pattern and not re.fullmatch(key.pattern, str(value)):
        found.append(FormError(path, f"expected text like {key.pattern}, got {_said(value)}"))


def _said(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"(?:[0-9a-f]{2})*", value) is not None


_KINDS: dict[str, Callable[[object], bool]] = {
    "int": _is_int,
    "number": _is_number,
    "str": lambda v: isinstance(v, str),
    "bool": lambda v: isinstance(v, bool),
    "hex": _is_hex,
    "table": lambda v: isinstance(v, Mapping),
    "any": lambda v: isinstance(v, list) and all(isinstance(x, Mapping) for x in v),
    "ints": lambda v: isinstance(v, list) and all(map(_is_int, v)),
    "numbers": lambda v: isinstance(v, list) and all(map(_is_number, v)),
    "strs": lambda v: isinstance(v, list) and all(isinstance(x, str) for x in v),
    "scalars": lambda v: _is_int(v) or isinstance(v, str) or (isinstance(v, list) and bool(v)),
    "rest": lambda v: v == "rest",
}
_WORDS = {
    "int": "a whole number",
    "number": "a number",
    "str": "text",
    "bool": "true or false",
    "hex": "lower-case hex digits in pairs",
    "table": "a table",
    "any": "an array of tables",
    "ints": "an array of whole numbers",
    "numbers": "an array of numbers",
    "strs": "an array of texts",
    "scalars": "a whole number, a text, or an array of them",
    "rest": 'the word "rest"',
}
