"""Run or check the gateway, the service in the store; back up its state and put it back.

Rules of the file: `check` touches neither network nor hardware; `run` stops in order
and ends with 0 on SIGTERM and 130 on SIGINT; `backup` may run beside it, `restore` may
not. Logs go to stderr.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from pathlib import Path

from gateway.settings import GatewaySettings, prepare_state_dir, read_settings
from ingest.broker import broker_address

EXIT_INTERRUPTED = 130
EXAMPLE = "example: fanous gateway run -c gateway.toml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous gateway``.

    Parameters
    ----------
    parser : of the verb
    """
    parser.epilog = EXAMPLE
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="run|check|backup|restore"
    )
    for name, text, more in (
        ("run", "run the gateway until it is stopped", ""),
        ("check", "read the configuration and everything it names, and say what is wrong", ""),
        (
            "backup",
            "copy the state into a new directory, also while the gateway runs",
            " --out DIR",
        ),
        (
            "restore",
            "put a backup in the place of the state; the gateway must not run",
            " --from DIR",
        ),
    ):
        action = actions.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example: fanous gateway {name} -c gateway.toml{more}",
        )
        action.add_argument(
            "-c", "--config", type=Path, required=True, help="the gateway.toml", metavar="FILE"
        )
        if name == "backup":
            action.add_argument(
                "--out", type=Path, required=True, help="the new directory", metavar="DIR"
            )
            action.add_argument("--force", action="store_true", help="replace what is there")
        if name == "restore":
            action.add_argument(
                "--from", type=Path, required=True, help="a backup", metavar="DIR", dest="source"
            )
            action.add_argument("--force", action="store_true", help="replace the state")
        if name in ("check", "backup"):
            action.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    """Run ``fanous gateway``; returns the exit code.

    Parameters
    ----------
    args : parsed

    Raises
    ------
    ConfigError
        The configuration or something it names is wrong.
    """
    settings = read_settings(args.config)
    if args.action == "check":
        return _check(settings, as_json=args.json)
    if args.action == "backup":
        return _backup(settings, args.out, force=args.force, as_json=args.json)
    if args.action == "restore":
        return _restore(settings, args.source, force=args.force)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    return asyncio.run(_run(settings))


def _check(settings: GatewaySettings, *, as_json: bool) -> int:
    from gateway.engine_room import read_engine_room
    from gateway.state_files import refuse_newer
    from ingest.store_file import read_store

    store = read_store(Path(settings.store))
    read_engine_room(store, Path(settings.store))
    refuse_newer(Path(settings.state_dir))
    broker = broker_address(settings.mqtt.url)
    facts = {
        "ok": True,
        "store": store.id,
        "zones": len(store.zones),
        "receivers": len(store.receivers),
        "shelves": len(store.shelves),
        "tap_points": len(store.tap_points),
        "broker": f"{broker.host}:{broker.port}",
        "http": f"{settings.http.bind}:{settings.http.port}",
        "influxdb": settings.influxdb is not None,
        "identity": settings.identity,
        "clock": settings.clock,
    }
    if as_json:
        print(json.dumps(facts))
        return 0
    print(
        f"store {store.id}: {facts['zones']} zones, {facts['receivers']} receivers, "
        f"{facts['shelves']} shelves, {facts['tap_points']} tap points; "
        f"broker {facts['broker']}, page {facts['http']}, "
        f"InfluxDB {'configured' if facts['influxdb'] else 'none'}: all in order"
    )
    return 0


def _backup(settings: GatewaySettings, out: Path, *, force: bool, as_json: bool) -> int:
    from gateway.backup import progress_line, write_backup
    from ingest.store_file import read_store

    manifest = write_backup(
        Path(settings.state_dir),
        read_store(Path(settings.store)).id,
        out,
        force=force,
        now_ns=time.time_ns(),
        tell=progress_line,
    )
    progress_line("")
    if as_json:
        facts = {"out": str(out), "bytes": manifest.total_bytes, "files": len(manifest.files)}
        print(json.dumps(facts | {"journal_id": manifest.journal_id}))
    else:
        print(f"{out}: {len(manifest.files)} files, {manifest.total_bytes / 1e6:.1f} MB")
    return 0


def _restore(settings: GatewaySettings, source: Path, *, force: bool) -> int:
    from gateway.backup import progress_line
    from gateway.backup_restore import restore_backup
    from ingest.store_file import read_store

    store_id = read_store(Path(settings.store)).id
    state_dir = prepare_state_dir(settings)
    manifest = restore_backup(state_dir, store_id, source, force=force, tell=progress_line)
    progress_line("")
    print(f"{state_dir}: {len(manifest.files)} files, {manifest.total_bytes / 1e6:.1f} MB restored")
    return 0


async def _run(settings: GatewaySettings) -> int:
    from gateway.service import Service

    service = Service(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    exit_codes: list[int] = []

    def ask(code: int) -> None:
        exit_codes.append(code)
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, ask, 0)
    loop.add_signal_handler(signal.SIGINT, ask, EXIT_INTERRUPTED)
    await service.start()
    host = f"[{settings.http.bind}]" if ":" in settings.http.bind else settings.http.bind
    print(f"http://{host}:{service.http_port}/", flush=True)
    ended = asyncio.create_task(service.wait(), name="ended")
    asked = asyncio.create_task(stopping.wait(), name="asked")
    try:
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        await service.stop()
    await ended  # a programming error in a task is raised here, loudly
    return exit_codes[0] if exit_codes else 0
