"""The agent beside the radios: run it, or check its configuration.

Rules of the file: what the user typed and reads; the work is in `edge.agent`. Results go
to stdout, logs to stderr as ``key=value``. SIGTERM ends with 0, an interrupt with 130,
both after a clean stop.
"""

import argparse
import asyncio
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from edge.agent import Agent, make_sources
from edge.identity import read_aliases
from edge.publisher import default_client_id
from edge.settings import EdgeSettings, read_settings

DONE, INTERRUPTED = 0, 130
_LOG_FORMAT = "time=%(asctime)s.%(msecs)03dZ level=%(levelname)s logger=%(name)s event=%(message)s"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous edge``.

    Parameters
    ----------
    parser : of the verb
    """
    parser.epilog = "example: fanous edge run -c edge.toml"
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run_parser = actions.add_parser(
        "run",
        help="run the agent until it is stopped",
        epilog="example: fanous edge run -c edge.toml",
    )
    check_parser = actions.add_parser(
        "check",
        help="check the configuration and say what the agent would do",
        epilog="example: fanous edge check -c edge.toml --json",
    )
    for each in (run_parser, check_parser):
        each.add_argument(
            "-c", "--config", type=Path, default=Path("edge.toml"), help="default: edge.toml"
        )
    run_parser.add_argument("--json", action="store_true", help="print the counters at the end")
    check_parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Do what ``fanous edge`` was told.

    Parameters
    ----------
    args : parsed

    Returns
    -------
    code : exit code

    Raises
    ------
    ConfigError
        The configuration is wrong; nothing was started.
    """
    settings = read_settings(args.config)
    base = args.config.resolve().parent
    if args.action == "check":
        return _check(settings, base, as_json=args.json)
    _log_to_stderr()
    agent = Agent(settings, now_ns=time.time_ns, base=base)
    code = asyncio.run(_run(agent))
    if args.json:
        print(msgspec.json.encode(agent.health()).decode())
    return code


def _log_to_stderr() -> None:
    formatter = logging.Formatter(_LOG_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


async def _run(agent: Agent) -> int:
    stop = asyncio.Event()
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    try:
        await agent.run(stop)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return INTERRUPTED if signal.SIGINT in received else DONE


def _check(settings: EdgeSettings, base: Path, *, as_json: bool) -> int:
    aliases = {} if settings.aliases is None else read_aliases(Path(settings.aliases))
    plan: dict[str, Any] = {
        "ok": True,
        "store": settings.store,
        "agent": settings.agent,
        "state_dir": settings.state_dir,
        "identity": settings.identity,
        "aliases": len(aliases),
        "broker": settings.mqtt.url,
        "client_id": settings.mqtt.client_id or default_client_id(settings),
        "batch_max_rows": settings.batch.max_rows,
        "batch_max_ms": settings.batch.max_ms,
        "outbox_max_mb": settings.outbox.max_mb,
        "outbox_commit_ms": settings.outbox.commit_ms,
        "sources": [
            {"name": source.name, "kind": table["kind"]}
            for source, table in zip(
                make_sources(settings, base=base, now_ns=time.time_ns), settings.source, strict=True
            )
        ],
    }
    if as_json:
        print(msgspec.json.encode(plan).decode())
        return DONE
    print(f"agent {plan['agent']} of store {plan['store']}: the configuration is right")
    sources = ", ".join(f"{s['name']} ({s['kind']})" for s in plan["sources"])
    print(f"  sources    {sources or 'none: there is nothing to do'}")
    print(f"  identity   {plan['identity']}, {plan['aliases']} aliases")
    print(f"  batches    {plan['batch_max_rows']} rows or {plan['batch_max_ms']} ms, taps at once")
    print(
        f"  outbox     {plan['state_dir']}, at most {plan['outbox_max_mb']} MB, "
        f"on the disk within {plan['outbox_commit_ms']} ms"
    )
    print(f"  broker     {plan['broker']} as {plan['client_id']}")
    return DONE
