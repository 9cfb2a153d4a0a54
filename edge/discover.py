"""Showing what is on the air and on the serial ports, and which profile would fit.

Rules of the file: works without a configuration; listens only, switches nothing on, sends
nothing. Addresses are not shown unless asked for, names of devices never: both are
somebody's. Results to stdout, progress to stderr, and only on a terminal.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge.findings import Fault
from edge.settings import EdgeSettings, absolute
from edge.sources.source import SourceUnavailable
from ingest.config import read_config

if TYPE_CHECKING:
    from firmware_profiles.registry import Registry

DONE, FAILED = 0, 1
_ADAPTER = "hci0"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous edge discover``.

    Parameters
    ----------
    parser : of the action
    """
    parser.epilog = "example: fanous edge discover --seconds 30 --ports"
    parser.add_argument(
        "-c", "--config", type=Path, help="an edge.toml: its adapters and its own profiles"
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=20.0, help="[s] how long to listen, default 20"
    )
    parser.add_argument(
        "--adapter", action="append", metavar="HCI", help="hci0, …; may be given again"
    )
    parser.add_argument("--ports", action="store_true", help="serial ports, not the air")
    parser.add_argument(
        "--port", action="append", type=Path, metavar="PATH", help="this serial port"
    )
    parser.add_argument("--addresses", action="store_true", help="show addresses, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Run ``fanous edge discover``.

    Parameters
    ----------
    args : parsed

    Returns
    -------
    code : 0 done, 1 an adapter cannot be used

    Raises
    ------
    ConfigError
        The configuration is wrong.
    """
    from edge.profiles import read_profiles

    settings = None
    if args.config is not None:
        base = args.config.resolve().parent
        settings = absolute(read_config(args.config, EdgeSettings), base)
    registry = read_profiles(() if settings is None else settings.profiles)
    if args.ports or args.port:
        return _ports(args, registry)
    adapters = args.adapter or _adapters(settings) or [_ADAPTER]
    return _air(args, registry, adapters)


def _adapters(settings: EdgeSettings | None) -> list[str]:
    tables = () if settings is None else settings.source
    return [str(t.get("adapter", _ADAPTER)) for t in tables if t.get("kind") == "ble"]


def _air(args: argparse.Namespace, registry: "Registry", adapters: Sequence[str]) -> int:
    from edge import discover_air

    census = discover_air.Census(registry)
    progress = Progress(args.seconds, lambda: f"{census.adverts} adverts")
    try:
        asyncio.run(discover_air.listen(census, adapters, seconds=args.seconds, tell=progress.tell))
    except (Fault, SourceUnavailable) as error:
        progress.end()
        remedy = f"; {error.remedy}" if isinstance(error, Fault) else ""
        print(f"fanous edge discover: {error}{remedy}", file=sys.stderr)
        return FAILED
    progress.end()
    found = census.as_dict(args.seconds, with_addresses=args.addresses)
    found["adapters"] = list(adapters)
    tables = []
    for number, adapter in enumerate(dict.fromkeys(adapters), 1):
        tables += ["[[source]]", 'kind = "ble"', f'name = "ble-{number}"']
        tables += [f'receiver = "rx-{number}"', f'adapter = "{adapter}"']
    _show(args, found, discover_air.as_lines(found), tables if census.adverts else [])
    return DONE


def _ports(args: argparse.Namespace, registry: "Registry") -> int:
    from edge import discover_ports

    paths = list(args.port or discover_ports.find_ports())
    progress = Progress(args.seconds, lambda: f"{len(paths)} ports")
    heard = discover_ports.listen_ports(
        paths, registry.profiles, seconds=args.seconds, tell=progress.tell
    )
    progress.end()
    tables = discover_ports.source_tables(heard, registry.profiles)
    lines = [discover_ports.as_line(port) for port in heard]
    if not paths:
        lines = ["no serial port; plug one in, and see: ls -l /dev/serial/by-id"]
    _show(args, {"ports": [discover_ports.as_dict(port) for port in heard]}, lines, tables)
    return FAILED if heard and all(port.trouble for port in heard) else DONE


def _show(
    args: argparse.Namespace, found: dict[str, Any], lines: list[str], tables: list[str]
) -> None:
    if args.json:
        document = {"seconds": args.seconds, **found, "toml": tables}
        print(msgspec.json.encode(document).decode())
        return
    print("\n".join(lines))
    if tables:
        print("\n# for edge.toml; choose the names that stand in store.toml:")
        print("\n".join(tables))


class Progress:
    """A line on the terminal that says how far it is; nothing anywhere else.

    Parameters
    ----------
    seconds : [s] of the whole
    said : returns what else to show
    """

    def __init__(self, seconds: float, said: Callable[[], str]) -> None:
        self._seconds, self._said = seconds, said
        self._is_shown = sys.stderr is not None and sys.stderr.isatty()

    def tell(self, passed_s: float) -> None:
        """Show how far it is.

        Parameters
        ----------
        passed_s : [s]
        """
        if self._is_shown:
            text = f"\rlistening {passed_s:.0f} of {self._seconds:g} s: {self._said()} "
            print(text, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the line away."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"expected 0.1 to 3600 seconds, got {text[:40]!r}")
    return value
