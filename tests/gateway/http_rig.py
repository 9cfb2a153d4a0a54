"""A server over a result store for the tests of HTTP, asked through real sockets."""

import asyncio
import json

import aiohttp

from analytics.rows import Occupancy, Output, QueueMinute
from gateway.http import HttpServer, bind_socket
from gateway.live import LiveHub
from gateway.metrics import by_label, counter, gauge
from gateway.result_store import ResultStore, Step, Trail
from gateway.settings import HttpSettings
from gateway.showing import store_object
from tests.gateway.rows import dwell, visit
from tests.gateway.samples import ANNA, SECOND, STORE, T0


class FakeSource:
    missing = ()

    def store_json(self):
        return store_object(STORE)

    def summary(self):
        return {"readings": 5}

    def metrics(self):
        return [
            counter("a_total", "A.", 3),
            gauge("b", "B.", 0.5),
            by_label("c_total", "C.", "reason", {'x"y\n': 1, "a": 2}),
        ]

    def not_ready(self):
        return list(self.missing)


class Rig:
    """A server over a result store, asked through real sockets."""

    def __init__(self, directory, **more):
        self.results = ResultStore(directory / "results.sqlite")
        self.source = FakeSource()
        self.settings = HttpSettings(port=0, **more)
        self.hub = None

    def run(self, ask):
        return asyncio.run(self._run(ask))

    async def _run(self, ask):
        self.hub = LiveHub()
        server = HttpServer(self.settings, self.source, self.results, self.hub)
        bound = bind_socket(self.settings)
        self.port = bound.getsockname()[1]
        await server.start(bound)
        try:
            url = f"http://127.0.0.1:{self.port}"
            async with aiohttp.ClientSession(url) as client:
                return await ask(client)
        finally:
            await server.stop()

    def get(self, path, **more):
        async def ask(client):
            async with client.get(path, **more) as reply:
                return reply.status, reply.headers, await reply.text()

        return self.run(ask)

    def get_json(self, path):
        status, _, text = self.get(path)
        assert 200 == status, text
        return json.loads(text)


def fill(results, n=25):
    output = Output(
        dwells=[dwell(f"d{at:02}", T0 + at // 2 * SECOND) for at in range(n)],
        visits=[visit("v1", T0)],
        queues=[
            QueueMinute(
                t_ns=T0, zone="promo", length=2, wait_p50_s=None, wait_p90_s=4.5, abandoned=0
            )
        ],
        occupancy=[Occupancy(t_ns=T0, layer="main", zone="shoes", people=2)],
    )
    trail = Trail(
        t_ns=[T0, T0],
        tag=[ANNA, "b"],
        zone=[0, 0],
        floor=["0", "0"],
        x_m=[0.2, 0.3],
        y_m=[0.2, 0.4],
    )
    results.save(output, Step(journal_id=1, watermark_ns=T0), trail=trail)
