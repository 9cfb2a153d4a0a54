"""The whole product on this machine: a simulated shop, edge agents, broker, gateway, live page."""

import argparse
import asyncio
import contextlib
import json
import logging
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from analytics.radio_map import reduce_survey
from analytics.store import Store
from fanous.demo_score import Scoring
from fanous.demo_shop import Shop
from fanous.embedded_broker import running_broker
from gateway.service import Service
from gateway.settings import GatewaySettings, HttpSettings, MqttSettings
from ingest.config import ConfigError
from ingest.radio_map_file import write_radio_map
from ingest.store_file import read_store
from simulators.command import DEMO_STORE
from simulators.scenario import find_scenario
from simulators.survey import take_survey
from simulators.world import simulate

DEFAULT_PORT = 8480
DRAIN_S, HURRY_S = 60.0, 10.0
"""Longest wait for the last acks and sinks: at the end, and after an interruption."""
_PROGRESS_S = 5.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous demo``."""
    parser.add_argument("--for", dest="for_s", type=float, metavar="SECONDS", help="end by itself")
    parser.add_argument("--speed", type=float, default=10.0, metavar="X", help="default: 10")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="N", help="of the page")
    parser.add_argument("--headless", action="store_true", help="no page address is announced")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--json", action="store_true", help="the summary as JSON to stdout")
    parser.epilog = "example: fanous demo --for 40 --headless --json"


def run(args: argparse.Namespace) -> int:
    """Run ``fanous demo``."""
    for name, value in (("--for", args.for_s), ("--speed", args.speed)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name}: expected a number above 0, got {value}")
    if not 0 <= args.port <= 65535:
        raise ConfigError(f"--port: expected 0 to 65535, got {args.port}")
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    with tempfile.TemporaryDirectory(prefix="fanous-demo-") as folder:
        summary, interrupted = asyncio.run(_Demo(args, Path(folder)).run())
    if args.json:
        print(json.dumps(summary))
    else:
        for name, value in summary.items():
            print(f"{name:<20} {value if value is not None else '-'}")
    return 130 if interrupted and args.for_s is not None else 0


class _Demo:
    """One demo: everything it starts, it ends."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args = args
        self._folder = folder
        self._started_s = time.monotonic()
        self._interrupted = asyncio.Event()

    async def run(self) -> tuple[dict[str, Any], bool]:
        """Play until the time is over or the user interrupts; return the summary."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted.set)
        store_file = self._survey()
        store = read_store(store_file)
        async with running_broker(self._folder) as (url, broker):
            service = Service(self._gateway_settings(store_file, url))
            scoring = Scoring(store)
            service.on_output(lambda out: scoring.take_output(out, service.driver.tags.names))
            await service.start()
            try:
                self._announce(store, broker, service)
                shop = Shop(store, url, self._folder, time.time_ns)
                await self._play(shop, store, service, scoring)
                await service.drain_and_finish(timeout_s=self._drain_s)
                summary = self._summary(shop, service, scoring)
            finally:
                await service.stop()
        return summary, self._interrupted.is_set()

    @property
    def _drain_s(self) -> float:
        return HURRY_S if self._interrupted.is_set() else DRAIN_S

    def _survey(self) -> Path:
        """Survey the virtual store, as an installer would, and return its store file."""
        store = read_store(DEMO_STORE)
        survey = take_survey(store, self._args.seed)
        points = reduce_survey(
            x_m=survey.x_m,
            y_m=survey.y_m,
            z_m=survey.z_m,
            receiver=survey.receiver,
            rssi_dbm=survey.rssi_dbm,
            count=survey.count.astype(np.float64),
        )
        write_radio_map(self._folder / "radio-map.npz", points, store)
        text = DEMO_STORE.read_text(encoding="utf-8")
        store_file = self._folder / "store.toml"
        store_file.write_text(
            text.replace("[radio]\n", '[radio]\nmap = "radio-map.npz"\n'), encoding="utf-8"
        )
        return store_file

    def _gateway_settings(self, store_file: Path, url: str) -> GatewaySettings:
        # The gateway only ever sees pseudonyms here; its key is asked for and not used.
        key_file = self._folder / "gateway.key"
        key_file.write_bytes(secrets.token_bytes(32))
        return GatewaySettings(
            store=str(store_file),
            pseudonym_key_file=str(key_file),
            state_dir=str(self._folder / "gateway"),
            clock="data",
            mqtt=MqttSettings(url=url),
            http=HttpSettings(port=self._args.port),
        )

    def _announce(self, store: Store, broker: str, service: Service) -> None:
        _say(f"pseudonyms use the store's id '{store.id}' as key: for a demo only")
        _say(f"{store.name}: {len(store.receivers)} receivers, broker {broker}")
        if not self._args.headless:
            _say(f"the shop is at work at http://127.0.0.1:{service.http_port}/ (Ctrl-C ends it)")

    async def _play(self, shop: Shop, store: Store, service: Service, scoring: Scoring) -> None:
        stop = asyncio.Event()
        async with _running(shop, stop):
            feed = asyncio.create_task(self._feed(shop, store, scoring), name="simulation")
            over = asyncio.create_task(self._over(), name="time")
            ended = asyncio.create_task(service.wait(), name="gateway watch")
            progress = asyncio.create_task(self._progress(service), name="progress")
            try:
                await asyncio.wait({feed, over, ended}, return_when=asyncio.FIRST_COMPLETED)
                for task in (feed, ended):
                    if task.done():
                        await task
            finally:
                for task in (feed, over, ended, progress):
                    task.cancel()
                await asyncio.gather(feed, over, ended, progress, return_exceptions=True)
            for source in shop.sources.values():
                source.end()
            drained = [agent.drained() for agent in shop.agents.values()]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*drained), self._drain_s)
            stop.set()

    async def _feed(self, shop: Shop, store: Store, scoring: Scoring) -> None:
        began_s = time.monotonic()
        chunks = simulate(
            find_scenario("demo"), store, self._args.seed, start_ns=_whole_minute(time.time_ns())
        )
        for number, chunk in enumerate(chunks):
            due_s = began_s + number / self._args.speed
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            scoring.take_truth(chunk)
            await shop.play(chunk)

    async def _over(self) -> None:
        with contextlib.suppress(TimeoutError):
            left = self._args.for_s
            if left is not None:
                left = max(0.0, left - (time.monotonic() - self._started_s))
            await asyncio.wait_for(self._interrupted.wait(), left)

    async def _progress(self, service: Service) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_S)
            if sys.stderr.isatty():
                counts = await asyncio.to_thread(service.counters)
                shown = {k: counts[k] for k in ("readings", "visits", "dwells", "shelf_events")}
                print(f"\r{shown}", end="\r", file=sys.stderr, flush=True)

    def _summary(self, shop: Shop, service: Service, scoring: Scoring) -> dict[str, Any]:
        counts = service.counters()
        page = None if self._args.headless else f"http://127.0.0.1:{service.http_port}/"
        kinds = ("readings", "taps", "samples")
        stored = {kind: counts[kind] for kind in kinds}
        return {
            "seconds": round(time.monotonic() - self._started_s, 1),
            "page": page,
            **stored,
            "visits": counts["visits"],
            "dwells": counts["dwells"],
            "shelf_events": counts["shelf_events"],
            "points_written": counts["points_written"],
            "lost": sum(max(0, shop.emitted[kind] - stored[kind]) for kind in kinds),
            "duplicates": sum(max(0, stored[kind] - shop.emitted[kind]) for kind in kinds),
            **{
                name: None if value is None else round(value, 4)
                for name, value in scoring.figures().items()
            },
        }


@contextlib.asynccontextmanager
async def _running(shop: Shop, stop: asyncio.Event) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        for name, agent in shop.agents.items():
            group.create_task(agent.run(stop), name=f"agent {name}")
        try:
            yield
        finally:
            stop.set()


def _whole_minute(now_ns: int) -> int:
    minute_ns = 60 * 10**9
    return now_ns // minute_ns * minute_ns


def _say(text: str) -> None:
    print(f"fanous demo: {text}", file=sys.stderr)
