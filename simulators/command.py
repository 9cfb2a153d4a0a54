"""Play a virtual store with ground truth: into files, over MQTT, or on virtual devices.

Rules of the file: everything wrong is said before anything starts; results go to
stdout, progress and remarks to stderr.
"""

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ingest.broker import broker_address
from ingest.config import ConfigError
from ingest.store_file import read_store
from simulators.chunk import Chunk
from simulators.publisher import Played, play, pseudonymiser
from simulators.recording import Written, copy_store, prepare, write_recording
from simulators.routing import find_routes, steps_of
from simulators.scenario import SCENARIOS, Scenario, find_scenario
from simulators.survey import take_survey
from simulators.world import simulate

DEMO_STORE = Path(__file__).parent / "stores" / "demo.toml"
FOLDER = Path("fanous-hardware")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fanous simulate`.

    Parameters
    ----------
    parser : of this verb
    """
    parser.add_argument("scenario", nargs="?", help="what kind of day; --list names them")
    parser.add_argument("--list", action="store_true", help="name the scenarios and end")
    parser.add_argument("--store", type=Path, help="store file; default: the demo store")
    parser.add_argument("--seed", type=count_of, default=1, help="same seed, same rows (default 1)")
    parser.add_argument("--minutes", type=positive, help="length; default: the scenario's")
    parser.add_argument("--shoppers", type=count_of, help="how many come in that time")
    parser.add_argument(
        "--speed",
        type=positive,
        help="event seconds per wall second with --mqtt or --serial (default 1); files are "
        "written at once",
    )
    parser.add_argument("--out", type=Path, help="write a recording into this directory")
    parser.add_argument("--mqtt", metavar="URL", help="publish to mqtt://host:port")
    parser.add_argument(
        "--serial",
        action="store_true",
        help="virtual devices for real agents: pseudo-terminals, and BlueZ on a private D-Bus; "
        "--mqtt then is the agents' broker, --out gets the truth",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=FOLDER,
        help=f"of the ports and the agents' files with --serial (default: {FOLDER})",
    )
    parser.add_argument("--key-file", type=Path, help="the store's pseudonym key, not with files")
    parser.add_argument("--format", choices=["csv", "parquet"], default="csv", help="of the files")
    parser.add_argument("--force", action="store_true", help="overwrite an old recording")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.epilog = "example: fanous simulate demo --minutes 5 --seed 7 --out recording"


def run(args: argparse.Namespace) -> int:
    """Run `fanous simulate` and return its exit code.

    Parameters
    ----------
    args : as `configure` describes them

    Raises
    ------
    ConfigError
        The arguments, the store or the output cannot work.
    """
    if args.list:
        lines = {name: scenario.line for name, scenario in SCENARIOS.items()}
        print(json.dumps(lines) if args.json else _listed(lines))
        return 0
    if args.scenario is None:
        raise ConfigError("expected a scenario; fanous simulate --list names them")
    scenario = find_scenario(args.scenario)
    if args.serial:
        return _to_devices(args, scenario)
    if (args.out is None) == (args.mqtt is None):
        raise ConfigError("expected either --out DIR or --mqtt URL, and not both, or --serial")
    return _to_files(args, scenario) if args.mqtt is None else _to_mqtt(args, scenario)


def positive(text: str) -> float:
    """Read a number above 0.

    Parameters
    ----------
    text : what the user wrote

    Raises
    ------
    argparse.ArgumentTypeError
        It is not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got '{text}'")
    return value


def count_of(text: str) -> int:
    """Read a whole number of 0 or more.

    Parameters
    ----------
    text : what the user wrote

    Raises
    ------
    argparse.ArgumentTypeError
        It is not one.
    """
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got '{text}'")
    return value


def say(text: str) -> None:
    """Tell people something on stderr.

    Parameters
    ----------
    text : one sentence
    """
    print(text, file=sys.stderr, flush=True)


def report(played: Played, *, as_json: bool) -> int:
    """Print what was published; return the exit code.

    Parameters
    ----------
    played : the outcome
    as_json : print one JSON document
    """
    if as_json:
        print(json.dumps(asdict(played)))
    else:
        rows = ", ".join(f"{count} {kind}" for kind, count in played.rows.items()) or "no"
        print(f"{played.batches} batches sent, {played.acked} acknowledged; {rows} rows")
    return 0 if played.acked == played.batches else 1


def _to_files(args: argparse.Namespace, scenario: Scenario) -> int:
    source = args.store or DEMO_STORE
    store = read_store(source)
    minutes = args.minutes or scenario.minutes
    chunks = simulate(scenario, store, args.seed, minutes, args.shoppers)
    survey = take_survey(store, args.seed, air=scenario.air) if scenario.survey_walk else None
    prepare(args.out, force=args.force)
    copy_store(source, args.out)
    written = write_recording(
        chunks,
        store,
        args.out,
        file_format=args.format,
        survey=survey,
        progress=_Progress(round(minutes * 60)),
    )
    _report_files(written, args.out, as_json=args.json)
    return 0


def _to_mqtt(args: argparse.Namespace, scenario: Scenario) -> int:
    broker = broker_address(args.mqtt, key="--mqtt")
    store = read_store(args.store or DEMO_STORE)
    pseudonym_of = pseudonymiser(store.id, args.key_file, say)
    routes = find_routes(store)
    chunks = simulate(
        scenario,
        store,
        args.seed,
        args.minutes or scenario.minutes,
        args.shoppers,
        start_ns=time.time_ns() // 1_000_000_000 * 1_000_000_000,
    )
    steps = steps_of(chunks, store, routes, pseudonym_of)
    playing = play(
        steps, broker, store_id=store.id, agents=routes.agents, speed=args.speed or 1.0, say=say
    )
    return report(asyncio.run(playing), as_json=args.json)


def _to_devices(args: argparse.Namespace, scenario: Scenario) -> int:
    # Who writes files needs no devices.
    from simulators.hardware_command import check_serial, play_serial

    check_serial(args)
    source = args.store or DEMO_STORE
    store = read_store(source)
    minutes = args.minutes or scenario.minutes
    if args.out is not None:
        prepare(args.out, force=args.force)
        copy_store(source, args.out)

    def simulated(start_ns: int) -> Iterator[Chunk]:
        return simulate(scenario, store, args.seed, minutes, args.shoppers, start_ns=start_ns)

    code, played = play_serial(args, store, simulated, say)
    if args.out is not None:
        write_recording(played, store, args.out, file_format=args.format)
        say(f"{args.out}: the recording with its truth")
    return code


class _Progress:
    """One line on stderr that grows, on a terminal only."""

    def __init__(self, seconds: int) -> None:
        self._seconds, self._done = seconds, 0
        self._shown = sys.stderr.isatty()

    def __call__(self, _chunk: Chunk) -> None:
        self._done += 1
        if self._shown and (self._done % 10 == 0 or self._done >= self._seconds):
            end = "\n" if self._done >= self._seconds else ""
            text = f"\rsimulated {self._done} of {self._seconds} s"
            print(text, end=end, file=sys.stderr, flush=True)


def _report_files(written: Written, out: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"out": str(out), "tags": written.tags, "rows": written.rows}))
        return
    print(f"{out}: {written.tags} tags")
    for name, count in written.rows.items():
        print(f"  {name:<12} {count:>9} rows")


def _listed(lines: dict[str, str]) -> str:
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {line}" for name, line in sorted(lines.items()))
