"""List, show, test and use the device profiles.

Rules of the file: results to stdout, sentences about what is wrong to stderr; exit
codes as in the contract. It is the only part of this room that reads files.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from firmware_profiles.compile import Profile
from firmware_profiles.decoded import Decoded
from firmware_profiles.form import nearest
from firmware_profiles.proving import decode_message, prove, result_of
from firmware_profiles.registry import Registry, load_registry, packaged_profiles

DONE, FAILED, WRONG = 0, 1, 2
LINE_BYTES_MAX = 1 << 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fanous profiles`.

    Parameters
    ----------
    parser : the verb's own parser
    """
    parser.epilog = "example: fanous profiles decode --profile mt_sics lines.jsonl"
    parser.add_argument(
        "--extra", type=Path, metavar="DIR", help="a folder with further profiles (*.toml)"
    )
    parser.add_argument(
        "--file",
        dest="files",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a further profile; may be given several times",
    )
    verbs = parser.add_subparsers(
        dest="profiles_verb", metavar="list|show|test|decode", required=True
    )
    listed = verbs.add_parser("list", help="names of all profiles")
    listed.add_argument("--json", action="store_true", help="JSON lines")
    shown = verbs.add_parser("show", help="one profile as its file")
    shown.add_argument("name", metavar="NAME")
    tested = verbs.add_parser("test", help="run the vectors that profiles carry")
    tested.add_argument("name", metavar="NAME", nargs="?")
    tested.add_argument("--json", action="store_true", help="JSON lines, one for each vector")
    decoded = verbs.add_parser("decode", help="decode lines of JSON")
    decoded.add_argument("--profile", metavar="NAME", help="use this profile, whatever a line says")
    decoded.add_argument("file", metavar="FILE", nargs="?", help="lines of JSON (default: stdin)")


def run(args: argparse.Namespace) -> int:
    """Do what `fanous profiles` was asked to.

    Parameters
    ----------
    args : as parsed by `configure`

    Returns
    -------
    The exit code.
    """
    try:
        texts = _texts(args.extra, args.files)
    except OSError as error:
        return _wrong(f"{error.filename or args.extra}: cannot be read ({error.strerror})")
    registry = load_registry(texts)
    for message in registry.errors:
        print(f"refused profile: {message}", file=sys.stderr)
    name = getattr(args, "profile", None) or getattr(args, "name", None)
    if name is not None and name not in registry.profiles:
        return _wrong(f"profile '{name}': there is none{nearest(name, list(registry.profiles))}")
    if args.profiles_verb == "list":
        return _list(registry, as_json=args.json)
    if args.profiles_verb == "show":
        return _show(registry.profiles[args.name], texts)
    if args.profiles_verb == "test":
        return _test(registry, args.name, as_json=args.json)
    return _decode(registry, args.profile, args.file)


def decode_line(
    registry: Registry, line: dict[str, Any], profile: str | None = None
) -> dict[str, Any]:
    """Decode one input line of the contract's section 7 into its output line.

    Parameters
    ----------
    registry : all profiles
    line : `name`, `device`, `transport`, `input_hex` and what the device needs
    profile : use this one whatever the line says

    Returns
    -------
    The output line.

    Examples
    --------
    >>> decode_line(
    ...     load_registry(),
    ...     {"name": "a", "device": "hx711", "transport": "raw24", "input_hex": "0147ae"},
    ... )["fields"]["raw_counts"]
    83886
    """
    name = line.get("name")
    try:
        data = bytes.fromhex(line["input_hex"])
        options = _options(line)
    except (KeyError, TypeError, ValueError):
        return {"name": name, "reject": "bad-line"}
    chosen = profile or line.get("device")
    if profile is None and line.get("transport") == "ble-adv":
        found = [
            registry.decode_advert(data, address=options.get("address"), key=options.get("key"))
        ]
    elif isinstance(chosen, str) and chosen in registry.profiles:
        found = decode_message(registry, registry.profiles[chosen], data, options)
    else:
        return {"name": name, "reject": "unknown-device"}
    result = result_of(found)
    if isinstance(result, str):
        return {"name": name, "reject": result}
    device = next(one.profile for one in found if isinstance(one, Decoded))
    return {
        "name": name,
        "device": device,
        "fields" if isinstance(result, dict) else "frames": result,
    }


def _options(line: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for part in ("calibration", "profile"):
        if isinstance(line.get(part), dict):
            options |= line[part]
    options |= {key: line[key] for key in ("bit_length", "tx_add") if key in line}
    if isinstance(line.get("bits"), str):
        options.setdefault("bit_length", len(line["bits"]))
    if line.get("address") is not None:
        options["address"] = str(line["address"])
    if line.get("key_hex") is not None:
        options["key"] = bytes.fromhex(line["key_hex"])
    return options


def _list(registry: Registry, *, as_json: bool) -> int:
    for profile in registry.profiles.values():
        if as_json:
            keys = ("id", "title", "vendor", "version", "transport", "privacy")
            print(json.dumps({key: getattr(profile, key) for key in keys}))
        else:
            print(f"{profile.id:32} {profile.transport:14} {profile.title}")
    return FAILED if registry.errors else DONE


def _show(profile: Profile, extra: dict[str, str]) -> int:
    head = f'id = "{profile.id}"'
    # Of several with one id the last was loaded.
    for text in reversed({**packaged_profiles(), **extra}.values()):
        if head in text.splitlines():
            print(text, end="")
            return DONE
    print(json.dumps(profile.table, indent=2))
    return DONE


def _test(registry: Registry, name: str | None, *, as_json: bool) -> int:
    outcomes = prove(registry, name)
    states = [outcome.state for outcome in outcomes]
    for outcome in outcomes:
        if as_json:
            keys = ("profile", "name", "state", "expected", "found")
            print(json.dumps({key: getattr(outcome, key) for key in keys}))
        elif outcome.state == "failed":
            print(f"{outcome.profile}: {outcome.name}: expected {outcome.expected}", end="")
            print(f", got {outcome.found}")
        elif outcome.state == "skipped":
            print(f"{outcome.profile}: {outcome.name}: skipped, needs the package 'cryptography'")
    if not as_json:
        profiles = len({outcome.profile for outcome in outcomes})
        print(
            f"{states.count('passed')} passed, {states.count('failed')} failed, "
            f"{states.count('skipped')} skipped, in {profiles} profiles"
        )
    return FAILED if "failed" in states or registry.errors else DONE


def _decode(registry: Registry, profile: str | None, file: str | None) -> int:
    try:
        lines = _lines(file)
        first = next(lines, None)
    except OSError as error:
        return _wrong(f"{file}: cannot be read ({error.strerror}); expected lines of JSON")
    if first is None:
        return _wrong(f"{file or 'stdin'}: there is nothing in it; expected lines of JSON")
    wrong = 0
    for number, text in enumerate(_chain(first, lines), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict):
            print(json.dumps(decode_line(registry, line, profile), ensure_ascii=False))
            continue
        wrong += 1
        print(json.dumps({"name": None, "reject": "bad-line"}))
        what = f"{file or 'stdin'}:{number}"
        print(f"{what}: expected a JSON object with 'input_hex', got other text", file=sys.stderr)
    return FAILED if wrong else DONE


def _lines(file: str | None) -> Iterator[bytes]:
    if file is None or file == "-":
        yield from iter(lambda: sys.stdin.buffer.readline(LINE_BYTES_MAX), b"")
        return
    with open(file, "rb") as stream:
        yield from iter(lambda: stream.readline(LINE_BYTES_MAX), b"")


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _texts(folder: Path | None, files: Iterable[Path]) -> dict[str, str]:
    texts: dict[str, str] = {}
    if folder is not None:
        if not folder.is_dir():
            raise NotADirectoryError(20, "expected a folder with *.toml files", str(folder))
        texts = {file.name: _text(file) for file in sorted(folder.glob("*.toml"))}
    return texts | {str(file): _text(file) for file in files}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _wrong(sentence: str) -> int:
    print(f"fanous profiles: {sentence}", file=sys.stderr)
    return WRONG
