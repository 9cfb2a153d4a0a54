"""A program outside fanous that knows only the contract: plain paho, urllib and JSON.

It starts `fanous gateway run` as a process beside a real mosquitto, publishes what a
foreign agent would, and reads what everybody may read. Nothing of fanous is imported.
"""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.system.servers import free_port, mosquitto, wait_until

SECOND = 10**9
T0 = 1_764_000_000 * SECOND
ANNA, BEN = "p_abcdefghijklmnop", "p_qrstuvwxyz234567"
STORE_TOML = """\
schema = "fanous.store/1"
id = "demo"
timezone = "Europe/Berlin"
[[receiver]]
id = "rx-1"
position_m = [1.0, 1.0, 2.4]
{first}
[[receiver]]
id = "rx-2"
position_m = [9.0, 5.0, 2.4]
{second}
[[zone]]
id = "shoes"
kind = "aisle"
polygon_m = [[0, 0], [5, 0], [5, 6], [0, 6]]
[[zone]]
id = "promo"
kind = "promo"
polygon_m = [[5, 0], [10, 0], [10, 6], [5, 6]]
[[shelf]]
id = "shoes-1"
zone = "shoes"
[[shelf.sensor]]
id = "plate-1"
kind = "mass"
[[shelf.product]]
gtin = "04012345678901"
unit_g = 640.0
sensors = ["plate-1"]
[[tap_point]]
id = "gate-1"
zone = "promo"
role = "entry"
"""


def batch(kind, seq, columns, *, boot="6f1c0e9a2b7d4c31", agent="pi-1", **more):
    """A batch as the contract writes it, without extensions."""
    return {
        "schema": "fanous.batch/1",
        "store": "demo",
        "agent": agent,
        "boot": boot,
        "kind": kind,
        "seq": seq,
        "sent_ns": time.time_ns(),
        "columns": columns,
        **more,
    }


def ble(begin_ns, seconds=1, *, tags=(ANNA,), near="rx-1"):
    """Columns of readings: each tag five times a second at both receivers, near one of them."""
    rows = [
        (begin_ns + tick * SECOND // 5, receiver, tag, -55 if receiver == near else -75)
        for tick in range(5 * seconds)
        for tag in tags
        for receiver in ("rx-1", "rx-2")
    ]
    return dict(
        zip(
            ("t_ns", "receiver", "tag", "rssi_dbm"), map(list, zip(*rows, strict=True)), strict=True
        )
    )


def tap(t_ns, tag=ANNA):
    """Columns of one tap."""
    return {"t_ns": [t_ns], "tap_point": ["gate-1"], "tag": [tag]}


def plate(begin_ns, seconds=1):
    """Columns of samples, ten a second."""
    t_ns = [begin_ns + tenth * SECOND // 10 for tenth in range(10 * seconds)]
    return {"t_ns": t_ns, "sensor": ["plate-1"] * len(t_ns), "mass_g": [6400.0] * len(t_ns)}


class Outside:
    """One gateway process, one broker, and a client that publishes and notes everything."""

    def __init__(self, directory: Path, broker_port: int, *, clock: str, agents, more: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.broker_port, self.port = broker_port, free_port()
        lines = [f'agent = "{name}"' if name else "" for name in agents]
        text = STORE_TOML.format(first=lines[0], second=lines[1])
        (directory / "store.toml").write_text(text)
        (directory / "key").write_bytes(b"0123456789abcdef")
        (directory / "gateway.toml").write_text(
            f'store = "store.toml"\nstate_dir = "state"\nclock = "{clock}"\n'
            f'pseudonym_key_file = "key"\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker_port}"\n'
            f"[http]\nport = {self.port}\n{more}"
        )
        self.messages: list[tuple[float, str, bytes, bool]] = []
        self.process: subprocess.Popen[str] | None = None
        self._clients: list[mqtt.Client] = []
        self.client = self.connect()

    def start(self) -> None:
        """Start the gateway and wait until it is ready."""
        log = (self.directory / "gateway.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fanous", "gateway", "run", "-c", "gateway.toml"],
                cwd=self.directory,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                text=True,
            )
        wait_until(self._is_ready, "the gateway is ready")

    def stop(self) -> int:
        """End the gateway with SIGTERM; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(10)

    def connect(self, protocol=mqtt.MQTTv311) -> mqtt.Client:
        """One more client that notes what it is sent."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        subscribed = threading.Event()
        client.on_connect = lambda c, *_: c.subscribe("fanous/v1/demo/#", qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = lambda _c, _u, m: self.messages.append(
            (time.monotonic(), m.topic, bytes(m.payload), m.retain)
        )
        client.connect("127.0.0.1", self.broker_port)
        client.loop_start()
        assert subscribed.wait(10)
        self._clients.append(client)
        return client

    def publish(self, leaf, body, *, agent="pi-1", client=None, qos=1) -> None:
        """Publish a batch (a dict goes as JSON) and wait until the broker has it."""
        payload = json.dumps(body) if isinstance(body, dict) else body
        info = (client or self.client).publish(
            f"fanous/v1/demo/agents/{agent}/{leaf}", payload, qos=qos
        )
        info.wait_for_publish(10)

    def acks(self, agent="pi-1") -> list[dict]:
        """Acknowledgements so far."""
        topic = f"fanous/v1/demo/agents/{agent}/ack"
        return [json.loads(body) for _, at, body, _ in list(self.messages) if at == topic]

    def acked(self, kind, *, boot="6f1c0e9a2b7d4c31", agent="pi-1") -> int:
        """The last acknowledged seq of a boot and kind, 0 before the first."""
        found = [a["seq"] for a in self.acks(agent) if (a["boot"], a["kind"]) == (boot, kind)]
        return found[-1] if found else 0

    def events(self, name=None) -> list[tuple[str, dict]]:
        """Events as (name in the topic, body)."""
        head = "fanous/v1/demo/events/"
        return [
            (topic.removeprefix(head), json.loads(body))
            for _, topic, body, _ in list(self.messages)
            if topic.startswith(head) and name in (None, topic.removeprefix(head))
        ]

    def live(self) -> list[tuple[float, dict]]:
        """Live pictures as (when they came, body)."""
        topic = "fanous/v1/demo/live"
        return [(at, json.loads(body)) for at, to, body, _ in list(self.messages) if to == topic]

    def get(self, path: str):
        """The JSON at a path of the API."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.loads(reply.read())

    def ask(self, path: str, method="GET", headers=None, body=None):
        """Any answer of the API, as (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def summary(self):
        """The summary of the API."""
        return self.get("/api/v1/summary")

    def log(self) -> str:
        """What the gateway said."""
        return (self.directory / "gateway.log").read_text()

    def close(self) -> None:
        """End what was started."""
        for client in self._clients:
            client.disconnect()
            client.loop_stop()
            left_open = client.socket()
            if left_open is not None:
                left_open.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False


@contextlib.contextmanager
def outside(
    directory: Path, *, clock: str = "data", agents=("", ""), more: str = ""
) -> Iterator[Outside]:
    """A broker, a gateway and a client."""
    with mosquitto(directory / "broker") as broker:
        made = Outside(directory, broker.port, clock=clock, agents=agents, more=more)
        try:
            made.start()
            yield made
        finally:
            made.close()
