"""The command ``fanous edge calibrate``: what is typed and read.

Rules of the file: what is asked goes to stderr, the result to stdout. The work is in
`edge.calibrate_guide`, loaded when it is asked for. End of input and an interrupt end with
130 and change nothing.
"""

import argparse
import asyncio
import sys
from math import isfinite
from pathlib import Path

import msgspec

from edge.findings import Fault

DONE, FAILED, INTERRUPTED = 0, 1, 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous edge calibrate``.

    Parameters
    ----------
    parser : of the action
    """
    parser.epilog = "example: fanous edge calibrate -c edge.toml --sensor plate-1 --mass-g 500"
    parser.add_argument("--sensor", metavar="ID", help="the sensor, as in the configuration")
    parser.add_argument("--port", metavar="NAME", help="the port's name or path")
    parser.add_argument("--mass-g", type=positive, metavar="G", help="[g] the known mass")
    parser.add_argument(
        "--distance-mm", type=positive, metavar="MM", help="[mm] the known distance"
    )
    parser.add_argument("--tare-only", action="store_true", help="only the empty plate")
    parser.add_argument(
        "--seconds", type=positive, default=3.0, help="[s] how long values are taken, default 3"
    )
    parser.add_argument(
        "--wait-s", type=positive, default=60.0, help="[s] how long --yes waits for the mass"
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="ask nothing: the plate is empty now, and the mass is noticed when it is put on",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--write", action="store_true", help="put the result into the file")
    parser.add_argument(
        "--force", action="store_true", help="with --write: replace an earlier calibration"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``fanous edge calibrate``.

    Parameters
    ----------
    args : parsed

    Returns
    -------
    code : 0 done, 1 the world is in the way, 130 interrupted

    Raises
    ------
    ConfigError
        The configuration or what was asked for is wrong; nothing was started.
    """
    from edge.calibrate_cells import read_cells
    from edge.calibrate_guide import Guide
    from edge.calibrate_numbers import Unfit
    from edge.calibrate_port import Answers, EndOfInput

    settings, cells = read_cells(args.config)
    answers = Answers(0 if sys.stdin is None or not _has_handle() else sys.stdin.fileno())
    guide = Guide(args, cells, answers=answers, lock=Path(settings.state_dir) / "lock", tell=_tell)
    try:
        result = asyncio.run(guide.run())
    except EndOfInput:
        _tell("fanous edge calibrate: the input ended; nothing was written")
        return INTERRUPTED
    except Fault as fault:
        _tell(f"fanous edge calibrate: {fault.found}; {fault.remedy}")
        return FAILED
    except Unfit as unfit:
        _tell(f"fanous edge calibrate: {unfit}")
        return FAILED
    print(msgspec.json.encode(result.as_dict()).decode() if args.json else result.as_text())
    return DONE if result.is_verified is not False else FAILED


def positive(text: str) -> float:
    """Return a number above 0.

    Parameters
    ----------
    text : as typed

    Raises
    ------
    argparse.ArgumentTypeError
        It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text[:40]!r}")
    return value


def _has_handle() -> bool:
    try:
        sys.stdin.fileno()
    except (OSError, ValueError):
        return False
    return True


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
