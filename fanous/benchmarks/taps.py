"""From the reader's last byte to the broker's subscriber: how long one tap takes.

Rules of the file: an unmodified ``fanous edge run`` in a process of its own reads card
readers and a scale from pseudo-terminals, with its outbox on the disk; mosquitto stands
between it and this subscriber, which acknowledges as a gateway does. The time is wall time
from before the bytes are written until the batch is here, so it holds more than the way to
the agent's ``publish``. Every tap has a tag of its own, none may be missing.
"""

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from fanous.benchmarks.figure import Figure, Say
from fanous.benchmarks.pipeline import find_mosquitto, mosquitto
from ingest.columns import decode_batch
from ingest.config import ConfigError
from ingest.topics import agent_topic, parse_topic
from simulators.serial_ports import SerialPorts

START_S, TAP_S = 20.0, 5.0
PAUSES_S = (0.02, 0.08)
CONFIG = """
store = "bench"
agent = "pi-1"
state_dir = "state"
identity = "raw"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[[source]]
kind = "serial"
[[source.port]]
path = "gate"
profile = "rdm6300"
tap_point = "gate-1"
[[source.port]]
path = "scale"
profile = "mt_sics"
sensor = "plate-1"
"""


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure the milliseconds from a card at a reader to MQTT.

    Parameters
    ----------
    quick : fewer taps
    say : told what is being measured

    Raises
    ------
    ConfigError
        There is no mosquitto here, or a tap did not come.
    """
    program = find_mosquitto()
    if program is None:
        raise ConfigError(
            "taps: expected mosquitto on the PATH or in /usr/sbin, found none; "
            "install it, for example with: apt-get install mosquitto"
        )
    count = 50 if quick else 400
    say(f"{count} taps through a pseudo-terminal, fanous edge run and mosquitto")
    with (
        tempfile.TemporaryDirectory(prefix="fanous-bench-") as folder,
        mosquitto(program, Path(folder)) as port,
        SerialPorts(Path(folder)) as ports,
    ):
        spent_ms = sorted(_tap(Path(folder), port, ports, count))
    return tuple(
        Figure(name=f"taps.{name}", value=_quantile(spent_ms, share), unit="ms", better="lower")
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    )


class _Subscriber:
    """Takes batches, acknowledges them, and keeps when each tag came."""

    def __init__(self, port: int) -> None:
        self.came_s: dict[str, float] = {}
        self.samples = 0
        self.some = threading.Condition()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-gateway")
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        for topic in (
            agent_topic("bench", "pi-1", "taps"),
            agent_topic("bench", "pi-1", "samples"),
        ):
            self.client.subscribe(topic, 1)
        self.client.loop_start()

    def _take(self, client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        now_s = time.perf_counter()
        batch = decode_batch(bytes(message.payload), identity="raw")
        with self.some:
            if batch.kind == "tap" and batch.tag is not None:
                for tag in batch.tag.values:
                    self.came_s.setdefault(tag, now_s)
            else:
                self.samples += len(batch.t_ns)
            self.some.notify_all()
        topic = parse_topic(message.topic)
        assert topic is not None
        ack = {"boot": batch.boot, "kind": batch.kind, "seq": batch.seq}
        client.publish(agent_topic("bench", "pi-1", "ack"), json.dumps(ack), qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def _tap(folder: Path, port: int, ports: SerialPorts, count: int) -> list[float]:
    for name in ("gate", "scale"):
        ports.open(name)
    (folder / "edge.toml").write_text(CONFIG.format(port=port), encoding="utf-8")
    subscriber = _Subscriber(port)
    with (folder / "edge.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "fanous", "edge", "run", "-c", str(folder / "edge.toml")],
            stderr=log,
        )
    try:
        _wait_for_samples(subscriber, ports)
        return [_one(subscriber, ports, number) for number in range(count)]
    finally:
        process.terminate()
        process.wait(10)
        subscriber.close()


def _wait_for_samples(subscriber: _Subscriber, ports: SerialPorts) -> None:
    until_s = time.monotonic() + START_S
    with subscriber.some:
        while not subscriber.samples:
            ports.weigh("scale", "mt_sics", 640.0)
            subscriber.some.wait(0.1)
            if time.monotonic() > until_s:
                raise ConfigError(f"taps: expected a sample within {START_S:g} s, got none")


def _one(subscriber: _Subscriber, ports: SerialPorts, number: int) -> float:
    pause_s = random.Random(number).uniform(*PAUSES_S)  # noqa: S311 - any will do
    time.sleep(pause_s)
    ports.weigh("scale", "mt_sics", 640.0)
    tag = f"em4100:{number:010x}"
    began_s = time.perf_counter()
    ports.tap("gate", "rdm6300", tag)
    with subscriber.some:
        if not subscriber.some.wait_for(lambda: tag in subscriber.came_s, TAP_S):
            raise ConfigError(f"taps: expected tap {number} within {TAP_S:g} s, it did not come")
    return (subscriber.came_s[tag] - began_s) * 1e3


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
