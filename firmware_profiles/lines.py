"""ASCII lines of scales and readers: cutting them, and reading and writing their fields.

Rules of the file: a line ends with CR, LF or both and holds printable ASCII only.
Patterns come from profiles, which may be a stranger's: a group may not be repeated and
a pattern may not have too many ways to read one line of `max_length`, since a line that
does not fit is tried in all of them.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from firmware_profiles.decoded import Decoded, Fields, Refused, Rejected
from firmware_profiles.form import FormError, KeyPath

LINE_LENGTH_MAX, LINE_LENGTH_DEFAULT = 120, 64
PATTERN_LENGTH_MAX = 400
WAYS_MOST = 100_000
"""Ways to read a line; the slowest patterns so far took 1 ms for one that fits in none."""
_WRITE = re.compile(r"\{([a-z_]+)(?::([<>]?[+0]*\d{0,2}(?:\.\d)?[df]?))?\}")
ReadLine = Callable[[bytes], Fields]


class LineStream:
    """Cuts a stream into lines and decodes each.

    Parameters
    ----------
    read : turns a line without its end into a measurement
    max_length : longer lines are rejected as a whole [bytes]
    """

    def __init__(self, read: Callable[[bytes], Decoded | Rejected], max_length: int) -> None:
        self._read = read
        self._max_length = max_length
        self._line = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[Decoded | Rejected]:
        """Take bytes as they come and return what they complete."""
        out: list[Decoded | Rejected] = []
        first, *others = data.replace(b"\r", b"\n").split(b"\n")
        self._append(first)
        for part in others:
            if self._too_long:
                out.append(Rejected("too-long"))
            elif self._line:
                out.append(self._read(bytes(self._line)))
            self._line.clear()
            self._too_long = False
            self._append(part)
        return out

    def _append(self, part: bytes) -> None:
        room = self._max_length - len(self._line)
        self._line += part[:room]
        self._too_long = self._too_long or len(part) > room

    def finish(self) -> list[Decoded | Rejected]:
        """Take the end of the stream: a line without its end is rejected as truncated."""
        begun = bool(self._line)
        self._line.clear()
        self._too_long = False
        return [Rejected("truncated")] if begun else []


def compile_lines(table: Mapping[str, Any], path: KeyPath) -> ReadLine:
    """Compile a `[line]` into a function from a line to fields.

    Parameters
    ----------
    table : the checked `[line]`
    path : where it stands in the profile, for messages

    Returns
    -------
    A function from a line, without its end, to fields.

    Raises
    ------
    FormError
        A pattern is not one, could blow up, or has no such group.
    """
    length = table.get("max_length", LINE_LENGTH_DEFAULT)
    forms = [
        _compile_form(form, length, (*path, "form", index))
        for index, form in enumerate(table["form"])
    ]

    def read(line: bytes) -> Fields:
        if not line.isascii():
            raise Refused("bad-line")
        text = line.decode("ascii")
        if not text.isprintable():
            raise Refused("bad-line")
        for match, constants, fields in forms:
            found = match(text)
            if found:
                out = dict(constants)
                for field in fields:
                    field(found, out)
                return out
        raise Refused("bad-line")

    return read


def write_line(table: Mapping[str, Any], fields: Mapping[str, Any]) -> bytes:
    """Write the line that a `[line]` would read as these fields, with CR LF.

    Parameters
    ----------
    table : the checked `[line]`
    fields : as decoded

    Returns
    -------
    The line.

    Raises
    ------
    ValueError
        No form with `write` can express the fields.
    """
    for form in table["form"]:
        words = _words_of(form, fields) if "write" in form else None
        if words is not None:
            return _filled(form["write"], words).encode("ascii") + b"\r\n"
    raise ValueError(f"no line can say {', '.join(sorted(fields))}")


def _filled(text: str, words: Mapping[str, Any]) -> str:
    return _WRITE.sub(lambda part: format(words[part[1]], part[2] or ""), text)


def _words_of(form: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any] | None:
    left = dict(fields)
    if any(left.pop(name, None) != value for name, value in form.get("set", {}).items()):
        return None
    words: dict[str, Any] = {}
    for field in form.get("field", []):
        if "units" in field:
            unit = next((u for u, name in field["units"].items() if name in left), None)
            if unit is None:
                return None
            words[field["unit_group"]] = unit
            words[field["group"]] = left.pop(field["units"][unit])
            continue
        if field["name"] not in left:
            return None
        value = left.pop(field["name"])
        if "enum" in field:
            value = next((w for w, meaning in field["enum"].items() if meaning == value), None)
            if value is None:
                return None
        words[field["group"]] = value
    return None if left else words


def _ways(pattern: str, length: int) -> int:
    """Return in how many ways at most a pattern can be laid over a line of this length.

    The unbounded parts share the line among them; every other choice is free.
    """
    bare = re.sub(r"\\.|\[[^\]]*\]", "x", pattern)
    spans = re.findall(r"\{(\d*),(\d*)\}", bare)
    unbounded = len(re.findall(r"[*+]", bare)) + sum(not most for _, most in spans)
    ways = math.comb(length + unbounded, unbounded) if unbounded < length else WAYS_MOST + 1
    ways <<= min(len(re.findall(r"[?|]", bare.replace("(?", "("))), 20)
    for least, most in spans:
        ways *= max(1, int(most or 0) - int(least or 0) + 1)
    return ways


def _compile_form(form: Mapping[str, Any], length: int, path: KeyPath) -> Any:  # noqa: ANN401 - a triple
    pattern = form["pattern"]
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise FormError((*path, "pattern"), f"longer than {PATTERN_LENGTH_MAX} letters")
    if re.search(r"\)[*+{]", re.sub(r"\\.|\[[^\]]*\]", "x", pattern)):
        raise FormError((*path, "pattern"), "a group is repeated, which can take for ever")
    if _ways(pattern, length) > WAYS_MOST:
        message = f"there are more than {WAYS_MOST} ways to read a line of {length} bytes"
        raise FormError((*path, "pattern"), message)
    if re.search(r"\(\?(?!P<|:)|\(\?P=|\\\d", pattern):
        raise FormError((*path, "pattern"), "only groups (?P<name>...) and (?:...) are allowed")
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error as error:
        raise FormError((*path, "pattern"), f"not a pattern: {error}") from error
    fields = []
    for index, field in enumerate(form.get("field", [])):
        here = (*path, "field", index)
        for key in ("group", "unit_group"):
            if key in field and field[key] not in compiled.groupindex:
                raise FormError((*here, key), f"the pattern has no group '{field[key]}'")
        if ("units" in field) == ("name" in field) or ("units" in field) != ("unit_group" in field):
            raise FormError(here, "expected 'name', or 'unit_group' with 'units'")
        fields.append(_compile_field(field))
    words = set(compiled.groupindex)
    if set(re.findall(r"\{(\w*)", form.get("write", ""))) - words:
        raise FormError((*path, "write"), f"expected names of groups: {', '.join(sorted(words))}")
    if "{" in _WRITE.sub("", form.get("write", "")):
        raise FormError((*path, "write"), "expected {group} or {group:width}, e.g. {value:>10.2f}")
    return compiled.fullmatch, form.get("set", {}), fields


def _compile_field(field: Mapping[str, Any]) -> Callable[[re.Match[str], Fields], None]:
    group, name = field["group"], field.get("name", "")
    unit_group, units = field.get("unit_group"), field.get("units", {})
    enum, turn = field.get("enum"), _TYPES[field["type"]]

    def read(found: re.Match[str], out: Fields) -> None:
        text = found[group]
        if text is None:
            return
        if enum is not None:
            if text not in enum:
                raise Refused("bad-value")
            out[name] = enum[text]
            return
        target = units.get(found[unit_group]) if unit_group else name
        if target is None:
            raise Refused("bad-value")
        try:
            out[target] = turn(text)
        except ValueError:
            raise Refused("bad-value") from None

    return read


_TYPES: dict[str, Callable[[str], Any]] = {
    "number": lambda text: float(text.replace(" ", "")),
    "int": lambda text: int(text.replace(" ", "")),
    "text": str,
    "lower": str.lower,
}
