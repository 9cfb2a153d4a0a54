"""The `fanous` program: a table of verbs, each loaded only when it is asked for.

Exit codes: 0 done, 1 failed while working, 2 wrong usage or configuration, 130
interrupted. Bad input never gives a traceback.
"""

import argparse
import contextlib
import importlib
import os
import select
import sys
from collections.abc import Sequence
from types import ModuleType

from fanous.version import version
from ingest.config import ConfigError, nearest

VERBS: dict[str, tuple[str, str]] = {
    "demo": ("fanous.demo", "the whole product on this machine, nothing else installed"),
    "edge": ("edge.command", "the agent beside the radios"),
    "gateway": ("gateway.command", "the service in the store"),
    "simulate": ("simulators.command", "a virtual store with ground truth"),
    "analyze": ("gateway.analyze", "the same analysis over files"),
    "evaluate": ("gateway.evaluate", "figures of an analysis against a truth"),
    "survey": ("gateway.survey", "learn the radio map of a store"),
    "store": ("gateway.store_check", "draw and check a store file"),
    "replay": ("simulators.replay", "play recorded files back through MQTT"),
    "profiles": ("firmware_profiles.command", "device profiles: list, show, test, decode"),
    "doctor": ("fanous.doctor", "check this machine and a configuration, with remedies"),
    "bench": ("fanous.bench", "the figures of the README on this machine"),
}
"""Verb to the module that implements it and one line of help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Parameters
    ----------
    arguments : without the program's name; default: those of this process

    Returns
    -------
    code : the exit code
    """
    # Results must not depend on the number of cores; set before numpy is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _print_whatever_the_encoding()
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = f"fanous {words[0]}" if words and words[0] in VERBS else "fanous"
    try:
        code = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ConfigError as error:
        _say(f"{name}: {error}")
        return 2
    except KeyboardInterrupt:
        _say(f"{name}: interrupted")
        return 130
    except OSError as error:
        left = _reader_left()
        _silence_stdout()
        if not (left and isinstance(error, BrokenPipeError)):
            place = f"{error.filename}: " if error.filename else ""
            _say(f"{name}: {place}{error.strerror or type(error).__name__}")
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in {"fanous", *_ROOMS}:
            raise
        _say(
            f"{name}: needs the package '{error.name}', which is not installed; "
            "install fanous with its extra: edge, gateway or demo"
        )
        return 2
    return code


_ROOMS = ("edge", "gateway", "firmware_profiles", "ingest", "analytics", "simulators")


def _run(words: Sequence[str]) -> int:
    try:
        if not words:
            parser = _overview()
            parser.print_help(sys.stderr)
            parser.error("expected a VERB, got nothing")
        if words[0] not in VERBS:
            if not words[0].startswith("-"):
                _overview().error(f"unknown verb '{words[0]}'{nearest(words[0], list(VERBS))}")
            _overview().parse_args(words)
            return 2
        module = importlib.import_module(VERBS[words[0]][0])
        args = _verb_parser(words[0], module).parse_args(words[1:])
    except SystemExit as stop:
        # argparse has printed its help (0) or what was wrong (2).
        return stop.code if isinstance(stop.code, int) else 2
    code: int = module.run(args)
    return code


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fanous",
        description="Turns a shop into something that understands its visitors, honestly.",
        epilog="example: fanous demo --for 40",
    )
    parser.add_argument("--version", action="version", version=f"fanous {version()}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb, (_, line) in VERBS.items():
        verbs.add_parser(verb, help=line, add_help=False)
    return parser


def _verb_parser(verb: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"fanous {verb}", description=(module.__doc__ or "").split("\n", maxsplit=1)[0]
    )
    module.configure(parser)
    return parser


def _say(sentence: str) -> None:
    if sys.stderr is not None:
        print(sentence, file=sys.stderr)


def _print_whatever_the_encoding() -> None:
    """Let signs like ² and file names that are no UTF-8 pass terminals that cannot show them."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _reader_left() -> bool:
    """Tell whether whoever read our output has left, as `head` does after a few lines."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _silence_stdout() -> None:
    """If stdout is broken, send its rest nowhere; the interpreter would complain at its exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
