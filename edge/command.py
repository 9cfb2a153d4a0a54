"""The agent beside the radios: run it, check it, find devices, calibrate, back up its outbox.

Rules of the file: what the user typed and reads; the work is in `edge.agent`, `edge.check`,
`edge.discover`, `edge.calibrate` and `edge.outbox_backup`. Results go to stdout, logs to
stderr as ``key=value``. SIGTERM ends a run with 0, an interrupt with 130, both after a
clean stop.
"""

import argparse
import asyncio
import logging
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import msgspec

from edge import calibrate, discover
from edge.agent import Agent
from edge.clock import AgentClock
from edge.findings import Check
from edge.outbox_backup import backup_outbox, restore_outbox
from edge.settings import read_settings
from ingest.config import ConfigError
from ingest.service_manager import ServiceManager

DONE, WRONG, INTERRUPTED = 0, 2, 130
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
        help="check the configuration, and the radios, ports and servers it needs",
        description="Exit code 2: the configuration is wrong; 1: something of the world is.",
        epilog="example: fanous edge check -c edge.toml --offline",
    )
    calibrate_parser = actions.add_parser(
        "calibrate",
        help="be guided through tare and span of a scale, or the distance of a range sensor",
    )
    backup_parser = actions.add_parser(
        "backup",
        help="copy the outbox into a file, also while the agent runs",
        epilog="example: fanous edge backup -c edge.toml --out outbox-copy.sqlite",
    )
    restore_parser = actions.add_parser(
        "restore",
        help="put such a copy in the outbox's place; the agent must be stopped",
        epilog="example: fanous edge restore -c edge.toml --from outbox-copy.sqlite --force",
    )
    for each in (run_parser, check_parser, calibrate_parser, backup_parser, restore_parser):
        each.add_argument(
            "-c", "--config", type=Path, default=Path("edge.toml"), help="default: edge.toml"
        )
    run_parser.add_argument("--json", action="store_true", help="print the counters at the end")
    check_parser.add_argument("--json", action="store_true", help="print one JSON document")
    check_parser.add_argument(
        "--offline", action="store_true", help="look at the configuration alone"
    )
    backup_parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="new file")
    restore_parser.add_argument(
        "--from", type=Path, required=True, metavar="FILE", dest="source", help="a backup"
    )
    for each in (backup_parser, restore_parser):
        each.add_argument("--force", action="store_true", help="replace what is there")
        each.add_argument("--json", action="store_true", help="print one JSON document")
    calibrate.configure(calibrate_parser)
    discover.configure(
        actions.add_parser(
            "discover", help="show what is on the air and on serial ports, and what would fit"
        )
    )


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
    if args.action == "check":
        return _check(args)
    if args.action == "calibrate":
        return calibrate.run(args)
    if args.action == "discover":
        return discover.run(args)
    settings = read_settings(args.config)
    if args.action in {"backup", "restore"}:
        return _copy(Path(settings.state_dir), args)
    _log_to_stderr()
    clock = AgentClock(time.time_ns, _boot_time_ns, is_kept=_is_kept)
    agent = Agent(
        settings,
        now_ns=clock.now_ns,
        base=args.config.resolve().parent,
        clock=clock,
        manager=ServiceManager(),
    )
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


def _boot_time_ns() -> int:
    # It counts while the machine sleeps, which the monotonic clock does not.
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _is_kept() -> bool:
    from edge.check_host import kernel_clock

    kernel = kernel_clock()
    return kernel is not None and kernel.is_kept


def _copy(state_dir: Path, args: argparse.Namespace) -> int:
    if args.action == "backup":
        copied = backup_outbox(state_dir, args.out, force=args.force)
    else:
        copied = restore_outbox(state_dir, args.source, force=args.force)
    facts = {**copied._asdict(), "path": str(copied.path)}
    if args.json:
        print(msgspec.json.encode(facts).decode())
    else:
        print(f"{copied.path}: {copied.batches} batches, {copied.rows} rows")
    return DONE


def _check(args: argparse.Namespace) -> int:
    from edge.check import check_agent

    try:
        report = check_agent(args.config, is_offline=args.offline)
    except ConfigError as error:
        if not args.json:
            raise
        check = Check(
            name="config",
            ok=False,
            found=str(error),
            expected="an edge.toml without mistakes",
            remedy="correct the key that the sentence names; edge/sample.toml shows all keys",
        )
        print(msgspec.json.encode({"ok": False, "checks": [asdict(check)]}).decode())
        return WRONG
    print(report.as_json().decode() if args.json else report.as_text())
    return report.code
