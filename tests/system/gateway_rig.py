"""A gateway in a thread of its own, and an agent on the same broker, for system tests."""

import asyncio
import contextlib
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from gateway.service import Service
from tests.gateway.samples import ANNA, BEN, SECOND, T0, readings
from tests.system.servers import wait_until


class Agent:
    """Publishes batches and notes acknowledgements and events."""

    def __init__(self, port: int, name: str = "pi-1") -> None:
        self.name = name
        self.acks = []
        self.messages = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, f"test-{name}")
        self.client.on_connect = self._on_connect
        self.client.on_socket_open = lambda _client, _userdata, sock: sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        self.client.on_message = self._on_message
        self._subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._subscribed.wait(10)

    def send(self, payload: bytes, leaf: str = "readings") -> None:
        topic = f"fanous/v1/demo/agents/{self.name}/{leaf}"
        self.client.publish(topic, payload, qos=1).wait_for_publish(10)

    def events(self, name: str) -> list[dict]:
        return [body for topic, body in list(self.messages) if topic.endswith(f"/events/{name}")]

    def acked(self, kind: str = "ble") -> int:
        return max((ack["seq"] for ack in list(self.acks) if ack["kind"] == kind), default=0)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        left_open = self.client.socket()
        if left_open is not None:
            left_open.close()

    def _on_connect(self, client, *_):
        client.subscribe(
            [
                (f"fanous/v1/demo/agents/{self.name}/ack", 1),
                ("fanous/v1/demo/events/#", 1),
                ("fanous/v1/demo/live", 0),
            ]
        )

    def _on_message(self, _client, _userdata, message):
        body = json.loads(message.payload)
        if message.topic.endswith("/ack"):
            self.acks.append(body)
        else:
            self.messages.append((message.topic, body))


@contextlib.contextmanager
def agent(port: int, name: str = "pi-1") -> Iterator[Agent]:
    made = Agent(port, name)
    try:
        yield made
    finally:
        made.close()


class Gateway:
    """A service run by a loop in another thread."""

    def __init__(self, settings, **more) -> None:
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.failure: BaseException | None = None
        self.service: Service | None = None
        self._thread = threading.Thread(target=self._main, args=(settings, more))
        self._thread.start()
        assert self._ready.wait(30)
        if self.failure is not None:
            self._thread.join()
            raise self.failure

    def _main(self, settings, more):
        async def run():
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            self.service = Service(settings, **more)
            await self.service.start()
            self._ready.set()
            await self._stop.wait()
            await self.service.stop()

        try:
            asyncio.run(run())
        except BaseException as error:
            self.failure = error
            self._ready.set()

    def call(self, work, timeout_s: float = 60.0):
        """Run a coroutine of the service in its loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def get(self, path: str):
        url = f"http://127.0.0.1:{self.service.http_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.loads(reply.read())

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure


@contextlib.contextmanager
def gateway(settings, **more) -> Iterator[Gateway]:
    made = Gateway(settings, **more)
    try:
        wait_until(lambda: made.service.subscriber.is_connected, "the gateway is at the broker")
        yield made
    finally:
        made.stop()


def walk(seconds: int, *, first: int = 0, tags=(ANNA, BEN), boot: str = "b1") -> list[bytes]:
    """One batch a second: tags near rx-1 for half the time, then near rx-2."""
    random = np.random.default_rng(7)
    batches = []
    for second in range(first, first + seconds):
        rows = []
        for at, tag in enumerate(tags):
            for tenth in range(0, 10, 2):
                t_ns = T0 + second * SECOND + (tenth * 100 + at) * 1_000_000
                near = "rx-1" if second < 60 else "rx-2"
                for receiver in ("rx-1", "rx-2"):
                    level = -55.0 if receiver == near else -75.0
                    rssi = round(level + random.normal(0, 2), 1)
                    rows.append((t_ns, receiver, tag, rssi))
        batches.append(
            readings(second + 1, rows, boot=boot, complete_ns=T0 + (second + 1) * SECOND)
        )
    return batches
