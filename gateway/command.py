"""Run or check the gateway, the service in the store.

Rules of the file: `check` touches neither network nor hardware; `run` stops in order
and ends with 0 on SIGTERM and 130 on SIGINT. Logs go to stderr.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from gateway.settings import GatewaySettings, read_settings
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
    actions = parser.add_subparsers(dest="action", required=True, metavar="run|check")
    for name, text in (
        ("run", "run the gateway until it is stopped"),
        ("check", "read the configuration and everything it names, and say what is wrong"),
    ):
        action = actions.add_parser(
            name,
            help=text,
            description=text,
            epilog=f"example: fanous gateway {name} -c gateway.toml",
        )
        action.add_argument(
            "-c", "--config", type=Path, required=True, help="the gateway.toml", metavar="FILE"
        )
        if name == "check":
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
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    return asyncio.run(_run(settings))


def _check(settings: GatewaySettings, *, as_json: bool) -> int:
    from gateway.assembly import read_engine_maker
    from ingest.store_file import read_store

    store = read_store(Path(settings.store))
    read_engine_maker(store, Path(settings.store))
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
