"""The whole product on this machine: a simulated shop, edge agents, broker, gateway, live page."""

import argparse
import asyncio
import contextlib
import json
import logging
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
from fanous.demo_shop import Arrivals, Shop, open_shop
from fanous.embedded_broker import running_broker
from gateway.service import Service
from gateway.settings import GatewaySettings, HttpSettings, MqttSettings
from ingest.config import ConfigError
from ingest.radio_map_file import write_radio_map
from ingest.store_file import read_store
from simulators.command import DEMO_STORE
from simulators.hardware_config import KEY
from simulators.hardware_play import StoreClock, play
from simulators.private_bus import PrivateBus, open_bus
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
        bus = open_bus(
            _say, instead="the agents hear adverts directly, not through BlueZ and bleak"
        )
        try:
            async with running_broker(self._folder) as (url, broker):
                summary = await self._run(store, store_file, url, broker, bus)
        finally:
            if bus is not None:
                bus.end()
        return summary, self._interrupted.is_set()

    async def _run(
        self, store: Store, store_file: Path, url: str, broker: str, bus: PrivateBus | None
    ) -> dict[str, Any]:
        clock, arrivals = StoreClock(_whole_minute(time.time_ns())), Arrivals()
        async with open_shop(store, url, self._folder, clock, arrivals, bus) as shop:
            service = Service(self._gateway_settings(store_file, url))
            scoring = Scoring(store, (self._folder / KEY).read_bytes())
            service.on_output(lambda out: scoring.take_output(out, service.driver.tags.names))
            await service.start()
            try:
                self._announce(store, broker, service, shop, bus)
                await self._play(shop, store, service, scoring, clock, arrivals)
                await service.drain_and_finish(timeout_s=self._drain_s)
                return self._summary(shop, service, scoring)
            finally:
                await service.stop()

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
        return GatewaySettings(
            store=str(store_file),
            pseudonym_key_file=str(self._folder / KEY),
            state_dir=str(self._folder / "gateway"),
            clock="data",
            mqtt=MqttSettings(url=url),
            http=HttpSettings(port=self._args.port),
        )

    def _announce(
        self, store: Store, broker: str, service: Service, shop: Shop, bus: PrivateBus | None
    ) -> None:
        _say(f"{store.name}: {len(store.receivers)} receivers, broker {broker}")
        radios = "" if bus is None else ", adverts over bleak and BlueZ's D-Bus (a stand-in)"
        _say(f"{shop.devices.lines} readers and scales on pseudo-terminals{radios}")
        if not self._args.headless:
            _say(f"the shop is at work at http://127.0.0.1:{service.http_port}/ (Ctrl-C ends it)")

    async def _play(
        self,
        shop: Shop,
        store: Store,
        service: Service,
        scoring: Scoring,
        clock: StoreClock,
        arrivals: Arrivals,
    ) -> None:
        stop, halt = asyncio.Event(), asyncio.Event()
        async with _running(shop, stop):
            missing = await shop.ready()
            if missing:
                _say(f"{missing} devices are not read by anybody: see the warnings above")
            feed = asyncio.create_task(
                play(
                    simulate(
                        find_scenario("demo"), store, self._args.seed, start_ns=clock.now_ns()
                    ),
                    shop.devices,
                    clock,
                    speed=self._args.speed,
                    on_chunk=scoring.take_truth,
                    arrived=lambda: arrivals.reach(shop.devices.heard.total()),
                    stop=halt,
                ),
                name="simulation",
            )
            over = asyncio.create_task(self._over(), name="time")
            ended = asyncio.create_task(service.wait(), name="gateway watch")
            progress = asyncio.create_task(self._progress(service), name="progress")
            try:
                await asyncio.wait({feed, over, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    await ended
            finally:
                halt.set()
                for task in (over, ended, progress):
                    task.cancel()
                await asyncio.gather(over, ended, progress, return_exceptions=True)
                await feed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(shop.drained(), self._drain_s)
            stop.set()

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
            "lost": sum(max(0, shop.devices.heard[kind] - stored[kind]) for kind in kinds),
            "duplicates": sum(max(0, stored[kind] - shop.devices.heard[kind]) for kind in kinds),
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
