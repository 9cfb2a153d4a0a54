"""Measure the figures of the README on this machine.

Rules of the file: names and the functions behind them are a table of texts; a benchmark
is loaded only when it is run, gets its sizes and returns figures. Results go to stdout,
progress to stderr. What needs a program that is missing is left out with a sentence,
and is an error only when it was asked for by name.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from fanous.benchmarks.figure import Figure, Say
from ingest.config import ConfigError, nearest

BENCHMARKS: dict[str, str] = {
    "core": "fanous.benchmarks.core:measure",
    "dwell": "fanous.benchmarks.dwell:measure",
    "shelf": "fanous.benchmarks.shelf:measure",
    "profiles": "fanous.benchmarks.profiles:measure",
    "wire": "fanous.benchmarks.wire:measure",
    "outbox": "fanous.benchmarks.outbox:measure",
    "line-protocol": "fanous.benchmarks.line_protocol:measure",
    "peers": "fanous.benchmarks.peers:measure",
    "pipeline": "fanous.benchmarks.pipeline:measure",
    "latency": "fanous.benchmarks.latency:measure",
    "taps": "fanous.benchmarks.taps:measure",
    "bluetooth": "fanous.benchmarks.bluetooth:measure",
    "edge": "fanous.benchmarks.edge_footprint:measure",
}
"""Name to the function that measures: ``measure(*, quick, say) -> tuple[Figure, ...]``."""

FAULTS = "faults"
ON_REQUEST: dict[str, str] = {FAULTS: "fanous.benchmarks.faults:measure"}
"""Run only when named: `FAULTS` takes ``only`` and ``seed`` too, a violation ends with 1."""

PEERS_SHOWN = 5
"""Of more peers than these a line of the table names the best; ``--json`` has them all."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous bench``.

    Parameters
    ----------
    parser : of the verb
    """
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"default: all of {', '.join(BENCHMARKS)}; on request: {FAULTS}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: seconds, not minutes")
    parser.add_argument(
        "--only", metavar="FAULT,…", help="of faults: these; default: all", type=_listed, default=()
    )
    parser.add_argument("--seed", type=int, default=1, help="of faults: when and whom (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON list instead of a table")
    parser.epilog = "example: fanous bench core --quick"


def run(args: argparse.Namespace) -> int:
    """Run ``fanous bench``.

    Parameters
    ----------
    args : parsed

    Returns
    -------
    code : exit code

    Raises
    ------
    ConfigError
        There is no such benchmark, or one that was named cannot run here.
    """
    names = list(dict.fromkeys(args.names))
    for name in names:
        if name not in BENCHMARKS | ON_REQUEST:
            known = [*BENCHMARKS, *ON_REQUEST]
            raise ConfigError(f"unknown benchmark '{name}'{nearest(name, known)}")
    figures: list[Figure] = []
    for name in names or BENCHMARKS:
        more = {"only": args.only, "seed": args.seed} if name == FAULTS else {}
        try:
            figures += _load(name)(quick=args.quick, say=_teller(name), **more)
        except ConfigError as error:
            if names:
                raise
            _teller(name)(f"left out: {error}")
    print(_as_json(figures) if args.json else _as_table(figures))
    return int(any(f.name.endswith(".violations") and f.value for f in figures))


class _Measure(Protocol):
    def __call__(
        self,
        *,
        quick: bool,
        say: Say,
        **more: Any,  # noqa: ANN401 (of faults only)
    ) -> tuple[Figure, ...]: ...


def _load(name: str) -> _Measure:
    module, function = (BENCHMARKS | ON_REQUEST)[name].split(":")
    return cast("_Measure", getattr(importlib.import_module(module), function))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _teller(name: str) -> Callable[[str], None]:
    def say(text: str) -> None:
        print(f"fanous bench: {name}: {text}", file=sys.stderr, flush=True)

    return say


def _as_json(figures: Sequence[Figure]) -> str:
    rows = [
        {
            "name": figure.name,
            "value": _rounded(figure.value),
            "unit": figure.unit,
            "better": figure.better,
            "peer": {name: _rounded(value) for name, value in figure.peer.items()},
        }
        for figure in figures
    ]
    return json.dumps(rows, indent=1)


def _as_table(figures: Sequence[Figure]) -> str:
    rows = [("name", "value", "unit", "better", "peer")]
    rows += [
        (figure.name, _text(figure.value), figure.unit, figure.better, _peers(figure))
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {unit:<{widths[2]}}  "
        f"{better:<{widths[3]}}  {peer}".rstrip()
        for name, value, unit, better, peer in rows
    )


def _peers(figure: Figure) -> str:
    """Return a figure's peers; of many only the best."""
    most = max if figure.better == "higher" else min
    many = len(figure.peer) > PEERS_SHOWN
    shown = [most(figure.peer, key=lambda name: figure.peer[name])] if many else figure.peer
    texts = [
        f"{name} {_text(figure.peer[name])} ({figure.value / figure.peer[name]:.2g} x)"
        for name in shown
    ]
    return (f"best of {len(figure.peer)}: " if many else "") + ", ".join(texts)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
