"""Reading configuration: TOML into checked structs, with messages that help.

Rules of the file: unknown keys are refused with the nearest known one; a wrong
value names the key, what was expected and what was found; nothing here touches
hardware or the network.
"""

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

_SHOWN_MOST = 100
"""Longest piece of a file that a message repeats [characters]."""


class ConfigError(Exception):
    """What the user configured or typed cannot work; nothing was started (exit code 2)."""


def nearest(word: str, known: Collection[str]) -> str:
    """Return the hint " (did you mean 'x'?)" for a misspelt word, or nothing.

    Parameters
    ----------
    word : what was found
    known : what would have been right
    """
    close = difflib.get_close_matches(word[:_SHOWN_MOST], known, n=1, cutoff=0.5)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f"; known are {', '.join(sorted(known))}" if known else "; there are none"


def shown(value: object) -> str:
    """Return a value of a file as it may stand in a message: on one line and short.

    Parameters
    ----------
    value : what was found; None is "nothing"
    """
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _SHOWN_MOST else f"{text[: _SHOWN_MOST - 3]}..."


def wrong_value(subject: str, expected: str, got: object, hint: str = "") -> ConfigError:
    """Return the error that a value is wrong: subject, expected, got, perhaps the nearest right.

    Parameters
    ----------
    subject : file and key
    expected : in words
    got : the value; it is shown shortened
    hint : what `nearest` said
    """
    return ConfigError(f"{subject}: expected {expected}, got {shown(got)}{hint}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain tables.

    Parameters
    ----------
    path : the file

    Raises
    ------
    ConfigError
        The file cannot be read, is empty, or is not TOML (the message gives the line).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); expected a TOML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8 text, got another byte at {error.start}; save it as UTF-8"
        ) from error
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty; expected TOML")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Besides its own error the parser lets those of int() and of deep nesting through.
        last = len(text.splitlines())
        said = shown_error(error).replace("at end of document", f"at line {last}, the last one")
        raise ConfigError(f"{path}: not valid TOML: {said}") from error


def shown_error(error: BaseException) -> str:
    """Return what a parser complains of, on one line.

    Parameters
    ----------
    error : as caught
    """
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).split("\n", maxsplit=1)[0].split(";", maxsplit=1)[0]


def read_config(path: Path, kind: type[S]) -> S:
    """Read a TOML file into a struct, strictly.

    Parameters
    ----------
    path : the file
    kind : the msgspec struct that describes it

    Raises
    ------
    ConfigError
        As `read_toml`, or a key is unknown, missing or of the wrong type.
    """
    table = read_toml(path)
    return to_struct(table, kind, subject=str(path))


def to_struct(table: Mapping[str, Any], kind: type[S], *, subject: str) -> S:
    """Convert plain tables to a struct, refusing unknown keys with the nearest known one.

    Parameters
    ----------
    table : what the file holds
    kind : the struct
    subject : the file's name, for messages

    Raises
    ------
    ConfigError
        A key is unknown, missing, or its value has the wrong type.
    """
    _refuse_unknown(table, kind, subject, "")
    try:
        return msgspec.convert(table, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{subject}: {_sentence(str(error))}") from error


_WORDS = {
    "array": "a list",
    "object": "a table",
    "str": "text",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "null": "nothing",
}
"""What msgspec calls a type, in words of TOML."""


def _sentence(text: str) -> str:
    """Put a msgspec message ("Expected `int`, got `str` - at `$.a[0]`") in our order of words."""
    said, _, place = text.partition(" - at `")
    key = place.removeprefix("$").removeprefix(".").rstrip("`")
    missing = re.fullmatch(r"Object missing required field `(.+)`", said)
    if missing:
        where = f"{key}: " if key else ""
        return f"{where}expected the key '{missing[1]}', which is missing"
    wrong = re.fullmatch(r"Expected `(.+)`, got `(.+)`", said)
    if wrong:
        expected, got = (_in_words(part) for part in wrong.groups())
        said = f"expected {expected}, got {got}"
        if (wrong[1], wrong[2]) == ("array", "object"):
            said += f"; tables of a list are written [[{key}]]"
    said = said[0].lower() + said[1:]
    return f"{key}: {said}" if key else said


def _in_words(kinds: str) -> str:
    some = [kind for kind in kinds.split(" | ") if kind != "null"] or ["null"]
    return " or ".join(_WORDS.get(kind, kind) for kind in some)


def _refuse_unknown(value: object, kind: Any, subject: str, where: str) -> None:  # noqa: ANN401
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if not isinstance(value, Mapping):
            return
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(kind)}
        for key, inner in value.items():
            name = f"{where}.{key}" if where else key
            if key not in fields:
                hint = nearest(str(key), list(fields))
                raise ConfigError(f"{subject}: unknown key {shown(name)}{hint}")
            _refuse_unknown(inner, fields[key], subject, name)
        return
    for part in get_args(kind):
        if isinstance(value, list):
            for at, item in enumerate(value):
                _refuse_unknown(item, part, subject, f"{where}[{at}]")
        else:
            _refuse_unknown(value, part, subject, where)
