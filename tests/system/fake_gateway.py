"""A fake gateway: serves the page's files and plays a small store at it, and nothing else.

It speaks the four addresses that the page knows (`/`, `/page/<file>`, `/api/v1/store`,
`/api/v1/summary`, `/api/v1/live`) with the shapes of the contract, under the strictest
Content-Security-Policy the page must live with. It runs in a thread of its own, can be
stopped and started again on the same port, and its scenes cover the stores that are odd.
"""

import asyncio
import base64
import itertools
import json
import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

import gateway
from tests.system.fake_stores import demo_store

PAGE_FOLDER = Path(gateway.__file__).parent / "page"
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; require-trusted-types-for 'script'"
)
START_NS = 1_764_000_000_000_000_000
MIME = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def _inside(polygon: list[list[float]], x: float, y: float) -> bool:
    inside = False
    for (xa, ya), (xb, yb) in itertools.pairwise([*polygon, polygon[0]]):
        if (ya > y) != (yb > y) and x < (xb - xa) * (y - ya) / (yb - ya) + xa:
            inside = not inside
    return inside


@dataclass(slots=True, kw_only=True)
class _Walker:
    tag: str
    x: float
    y: float
    to: tuple[float, float]
    rest_s: float = 0.0
    zone: str | None = None
    zone_since: int = 0
    began: int = 0


@dataclass(slots=True, kw_only=True)
class Scene:
    """What the fake gateway plays: a store, people, and oddities added to each message."""

    store: dict[str, Any] = field(default_factory=demo_store)
    shoppers: int = 14
    interval_s: float = 0.25
    step_s: float = 1.0
    walk_m: float = 0.9
    alarms: list[Any] = field(default_factory=list)
    refuses: bool = False
    change: Callable[[dict[str, Any]], None] = lambda message: None


class _World:
    """Shoppers who wander between random places of the store, and what follows from it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._random = random.Random(7)
        self.t_ns = START_NS
        self._number = itertools.count(1)
        self.summary = {
            "readings": 48_210,
            "taps": 31,
            "samples": 90_417,
            "visits": 112,
            "dwells": 640,
            "shelf_events": 87,
            "people": scene.shoppers,
            "lost": 0,
            "agents": [{"agent": "pi-1", "state": "online"}, {"agent": "pi-2", "state": "online"}],
        }
        zones = scene.store["zones"]
        points = [p for z in zones for p in z["polygon_m"] if p[0] is not None]
        points += scene.store["outline_m"] or [[0.0, 0.0], [8.0, 6.0]]
        self._low = (min(p[0] for p in points), min(p[1] for p in points))
        self._high = (max(p[0] for p in points), max(p[1] for p in points))
        self._zones = [z for z in zones if all(p[0] is not None for p in z["polygon_m"])]
        self._queues = {z["id"] for z in zones if z["kind"] in {"queue", "checkout"}}
        self._spots = self._free_spots()
        self._walkers = [self._walker() for _ in range(scene.shoppers)]

    def _free_spots(self) -> list[tuple[float, float]]:
        shelves = [s["rect_m"] for s in self._scene.store["shelves"] if s["rect_m"]]
        spots = []
        while len(spots) < 400:
            x = self._random.uniform(self._low[0], self._high[0])
            y = self._random.uniform(self._low[1], self._high[1])
            if not any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in shelves):
                spots.append((x, y))
        return spots

    def _walker(self) -> _Walker:
        letters = base64.b32encode(self._random.randbytes(10)).decode().lower()
        x, y = self._random.choice(self._spots)
        return _Walker(
            tag=f"p_{letters}", x=x, y=y, to=self._random.choice(self._spots), began=self.t_ns
        )

    def _zone_at(self, x: float, y: float) -> str | None:
        for zone in self._zones:
            if zone["layer"] == "main" and _inside(zone["polygon_m"], x, y):
                return str(zone["id"])
        return None

    def _event(self, name: str, subject: str, **data: Any) -> dict[str, Any]:
        return {
            "specversion": "1.0",
            "id": f"{name}-{next(self._number)}",
            "source": "/stores/demo",
            "type": f"io.fanous.{name}.v1",
            "subject": subject,
            "data": {"t_ns": self.t_ns, "layer": "main"} | data,
        }

    def step(self) -> dict[str, Any]:
        """Move everybody on by one step and give the next live message."""
        self.t_ns += round(self._scene.step_s * 1e9)
        size = math.dist(self._low, self._high) / 25
        events: list[dict[str, Any]] = []
        for number, walker in enumerate(self._walkers):
            events += self._walk(walker, size)
            if self._random.random() < 0.004:
                events.append(self._end(walker))
                self._walkers[number] = fresh = self._walker()
                events.append(self._event("visit.started", fresh.tag, tag=fresh.tag))
        events += self._shelf_events()
        self.summary["readings"] += 6 * len(self._walkers)
        people = {str(zone["id"]): 0 for zone in self._scene.store["zones"]}
        for walker in self._walkers:
            for zone in self._zones:
                people[zone["id"]] += _inside(zone["polygon_m"], walker.x, walker.y)
        message = {
            "t_ns": self.t_ns,
            "zones": people,
            "queues": {zone: people[zone] for zone in people if zone in self._queues},
            "alarms": self._scene.alarms,
            "tags": [
                {
                    "tag": walker.tag,
                    "zone": walker.zone,
                    "zone_p": 0.9,
                    "x_m": round(walker.x, 2),
                    "y_m": round(walker.y, 2),
                    "sigma_m": round(size * (0.7 + 0.4 * math.sin(walker.x)), 2),
                }
                for walker in self._walkers
            ],
            "events": events[-50:],
        }
        self._scene.change(message)
        return message

    def _walk(self, walker: _Walker, size: float) -> list[dict[str, Any]]:
        if walker.rest_s > 0:
            walker.rest_s -= self._scene.step_s
        else:
            far = math.dist((walker.x, walker.y), walker.to)
            share = min(1.0, self._scene.walk_m * self._scene.step_s * size / max(far, 1e-9))
            walker.x += (walker.to[0] - walker.x) * share
            walker.y += (walker.to[1] - walker.y) * share
            if share == 1.0:
                walker.to = self._random.choice(self._spots)
                walker.rest_s = self._random.uniform(0, 6)
        zone = self._zone_at(walker.x, walker.y)
        if zone == walker.zone:
            return []
        events = []
        if walker.zone is not None:
            stayed_s = (self.t_ns - walker.zone_since) / 1e9
            events.append(self._event("zone.left", walker.zone, tag=walker.tag, zone=walker.zone))
            if stayed_s >= 5:
                self.summary["dwells"] += 1
                events.append(
                    self._event(
                        "dwell.recorded",
                        walker.zone,
                        tag=walker.tag,
                        zone=walker.zone,
                        dwell_s=stayed_s,
                    )
                )
        if zone is not None:
            events.append(self._event("zone.entered", zone, tag=walker.tag, zone=zone, zone_p=0.9))
            if zone == "entrance":
                self.summary["taps"] += 1
                events.append(
                    self._event("tag.tapped", walker.tag, tag=walker.tag, tap_point="gate-1")
                )
        walker.zone, walker.zone_since = zone, self.t_ns
        return events

    def _end(self, walker: _Walker) -> dict[str, Any]:
        self.summary["visits"] += 1
        visit_s = (self.t_ns - walker.began) / 1e9 + 300
        return self._event(
            "visit.ended", walker.tag, tag=walker.tag, visit_s=visit_s, zones=4, path="a>b"
        )

    def _shelf_events(self) -> list[dict[str, Any]]:
        shelves = [shelf for shelf in self._scene.store["shelves"] if shelf["products"]]
        if not shelves or self._random.random() > 0.2:
            return []
        self.summary["shelf_events"] += 1
        shelf = self._random.choice(shelves)
        name, kind = self._random.choice([("shelf.picked", "pick"), ("shelf.returned", "return")])
        number = next(self._number)
        known = {
            "event": f"e{number}",
            "shelf": shelf["id"],
            "gtin": shelf["products"][0]["gtin"],
            "kind": kind,
            "quantity": 1,
            "tag": self._random.choice([*(w.tag for w in self._walkers), None]),
        }
        first = self._event(name, shelf["id"], status="provisional", **known)
        second = self._event(name, shelf["id"], status="final", **known)
        return [first, second] if number % 2 else [first]

    def greeting(self) -> list[dict[str, Any]]:
        """Give one event of every other kind, so that each sentence is drawn."""
        tag = self._walkers[0].tag if self._walkers else "p_aaaabbbbccccdddd"
        return [
            self._event("shelf.looked", "shoes-1", shelf="shoes-1", gtin=None, tag=tag),
            self._event("shelf.low", "shoes-1", shelf="shoes-1", gtin="04012345670000"),
            self._event("shelf.empty", "promo-1", shelf="promo-1", gtin="04012345670007"),
            self._event("shelf.retracted", "shoes-1", shelf="shoes-1", event="e0"),
            self._event("tag.cloned", tag, tag=tag, zones=["shoes", "exit"]),
            self._event("queue.long", "queue", zone="queue", length=6),
            self._event("agent.silent", "pi-2", agent="pi-2", since_ns=START_NS),
            self._event("sensor.fault", "plate-1", sensor="plate-1", state="stuck", reason=""),
            self._event("visit.started", tag, tag=tag),
            self._event("something.new", "a thing"),
        ]


class FakeGateway:
    """The fake, as a context manager; `stop` and `start` keep the port and the world."""

    def __init__(self, scene: Scene | None = None) -> None:
        self._scene = scene or Scene()
        self.world = _World(self._scene)
        self.port = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, on the port of last time if there was one; returns when it listens."""
        self._ready.clear()
        self._thread = threading.Thread(target=self._run, name="fake-gateway", daemon=True)
        self._thread.start()
        assert self._ready.wait(10), "the fake gateway did not begin to listen within 10 s"

    def stop(self) -> None:
        """End all streams and the listening socket; does nothing when it is stopped."""
        if self._thread is None or not self._thread.is_alive():
            return
        assert self._loop is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the fake gateway did not end within 10 s"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        app = web.Application(middlewares=[_with_policy])
        app.router.add_get("/", self._file)
        app.router.add_get("/page/{name}", self._file)
        app.router.add_get("/api/v1/store", self._store)
        app.router.add_get("/api/v1/summary", self._summary)
        app.router.add_get("/api/v1/live", self._live)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _file(self, request: web.Request) -> web.Response:
        path = PAGE_FOLDER / request.match_info.get("name", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound
        return web.Response(body=path.read_bytes(), content_type=MIME[path.suffix], charset="utf-8")

    async def _store(self, request: web.Request) -> web.Response:
        if self._scene.refuses:
            raise web.HTTPUnauthorized
        return web.json_response(self._scene.store)

    async def _summary(self, request: web.Request) -> web.Response:
        return web.json_response(self.world.summary)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        assert self._stopping is not None
        response = web.StreamResponse(headers={"content-security-policy": POLICY})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        await response.write(b"retry: 500\n\n")
        greeting = self.world.greeting()
        while not self._stopping.is_set():
            message = self.world.step()
            message["events"] = [*greeting, *message["events"]]
            greeting = []
            await response.write(b"data: " + json.dumps(message).encode() + b"\n\n")
            try:
                await asyncio.wait_for(self._stopping.wait(), self._scene.interval_s)
            except TimeoutError:
                continue
        return response


@web.middleware
async def _with_policy(request: web.Request, handler: Any) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    if not response.prepared:
        response.headers["content-security-policy"] = POLICY
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["cache-control"] = "no-cache"
    return response
