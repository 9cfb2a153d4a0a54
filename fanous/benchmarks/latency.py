"""How soon a small store's gateway tells what happened, and what it costs to run it.

Rules of the file: an unmodified ``fanous gateway run`` in a process of its own, behind a
real mosquitto, hears what the agents of the demo store hear of 200 people; each agent sends
a batch every `SPAN_S`, as the edge agent does. Both ends of every latency are taken from
the clock of this process. Radio: from the last reading of a person in the tick that decided
to the arrival of ``zone.entered`` or ``zone.left`` at a subscriber. Taps: from the publish
of the batch to the arrival of ``tag.tapped``. The gateway's CPU time is that of the whole
process, its page's server and the live messages included, before the taps begin.
"""

import bisect
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from fanous.benchmarks import process_facts
from fanous.benchmarks.crowd import (
    READINGS_PER_S,
    START_NS,
    Readings,
    demo_store,
    make_readings,
    pseudonyms,
)
from fanous.benchmarks.figure import Figure, Say
from fanous.benchmarks.pipeline import find_mosquitto, mosquitto
from ingest.batch import Batch, Columns, Kind, encode_batch
from ingest.config import ConfigError
from ingest.topics import agent_topic, batch_topic
from simulators.command import DEMO_STORE

TAGS = 200
SPAN_S = 0.25
WARM_S = 8.0
"""What happens earlier is not counted: everybody enters a zone for the first time."""
START_S, END_S = 30.0, 5.0
_CONFIG = """store = "{store}"
state_dir = "state"
pseudonym_key_file = "key"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[http]
port = {http}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One event: when it arrived [ns], its kind, its person and its own time [ns]."""

    came_ns: int
    kind: str
    tag: str
    t_ns: int


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure latencies and idle cost of a small store.

    Parameters
    ----------
    quick : for a shorter time
    say : told what is being measured

    Raises
    ------
    ConfigError
        There is no mosquitto here, the gateway did not start, or events did not come.
    """
    program = find_mosquitto()
    if program is None:
        raise ConfigError(
            "latency: expected mosquitto on the PATH or in /usr/sbin, found none; "
            "install it, for example with: apt-get install mosquitto"
        )
    seconds = 16 if quick else 90
    say(f"{TAGS} people at {READINGS_PER_S:g} readings/s each for {seconds} s, in real time")
    with (
        tempfile.TemporaryDirectory(prefix="fanous-bench-") as folder,
        mosquitto(program, Path(folder)) as port,
    ):
        return _figures(*_run(Path(folder), port, seconds))


def _figures(
    told: list[Heard],
    readings: Mapping[str, list[int]],
    tapped: Mapping[str, int],
    counted_from_ns: int,
    cpu_share: float,
) -> tuple[Figure, ...]:
    tick_ns = demo_store().rules.tick_ns
    zones, taps = [], []
    for event in told:
        if event.kind == "tag.tapped":
            taps.append((event.came_ns - tapped[event.tag]) / 1e6)
        elif event.tag in readings and event.t_ns >= counted_from_ns:
            last_ns = _last_within(readings[event.tag], event.t_ns - tick_ns, event.t_ns)
            if last_ns is not None:
                zones.append((event.came_ns - last_ns) / 1e9)
    if not zones or len(taps) < len(tapped):
        raise ConfigError(
            f"latency: expected zone events and {len(tapped)} taps, "
            f"got {len(zones)} and {len(taps)}"
        )
    return (
        *(_figure(f"zone_{name}", zones, share, "s") for name, share in _SHARES),
        *(_figure(f"tap_{name}", taps, share, "ms") for name, share in _SHARES),
        Figure(name="latency.zone_events", value=len(zones), unit="events", better="higher"),
        Figure(
            name="latency.gateway_cpu", value=100 * cpu_share, unit="% of a core", better="lower"
        ),
    )


_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def _figure(name: str, found: list[float], share: float, unit: str) -> Figure:
    value = float(np.quantile(found, share))
    return Figure(name=f"latency.{name}", value=value, unit=unit, better="lower")


def _last_within(times_ns: list[int], from_ns: int, to_ns: int) -> int | None:
    at = bisect.bisect_left(times_ns, to_ns) - 1
    return times_ns[at] if at >= 0 and times_ns[at] >= from_ns else None


def _run(
    folder: Path, port: int, seconds: int
) -> tuple[list[Heard], dict[str, list[int]], dict[str, int], int, float]:
    listener = _Listener(port)
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "fanous", "gateway", "run", "-c", str(_configure(folder, port))],
            stderr=log,
            stdout=log,
        )
    try:
        listener.wait_for_live(process)
        began_ns = time.time_ns() + 1_000_000_000
        crowd = make_readings(demo_store(), tags=TAGS, seconds=seconds, seed=5)
        t_ns, names = crowd.t_ns - START_NS + began_ns, pseudonyms(TAGS)
        tapped: dict[str, int] = {}
        warm_ns = began_ns + round(WARM_S * 1e9)
        taps_ns = began_ns + round((WARM_S + seconds) / 2 * 1e9)
        spent_s: dict[int, float] = {}  # the gateway's CPU time when these moments were reached
        for send_ns, messages, tap in _schedule(crowd, t_ns, names, began_ns, seconds):
            time.sleep(max(0.0, (send_ns - time.time_ns()) / 1e9))
            for moment_ns in (warm_ns, taps_ns):
                if send_ns >= moment_ns and moment_ns not in spent_s:
                    spent_s[moment_ns] = process_facts.cpu_s(process.pid)
            for topic, payload in messages:
                listener.client.publish(topic, payload, qos=1)
            if send_ns >= taps_ns:
                topic, payload, tag = tap
                tapped[tag] = time.time_ns()
                listener.client.publish(topic, payload, qos=1)
        share = (spent_s[taps_ns] - spent_s[warm_ns]) / ((taps_ns - warm_ns) / 1e9)
        time.sleep(END_S)
    finally:
        process.terminate()
        process.wait(20)
        listener.close()
    of_tag: dict[str, list[int]] = {name: [] for name in names}
    for at_ns, tag in zip(t_ns.tolist(), crowd.tag.tolist(), strict=True):
        of_tag[names[tag]].append(at_ns)
    return listener.told, of_tag, tapped, warm_ns, share


def _configure(folder: Path, port: int) -> Path:
    (folder / "key").write_bytes(b"the benchmarks' own")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        http = int(probe.getsockname()[1])
    path = folder / "gateway.toml"
    path.write_text(_CONFIG.format(store=DEMO_STORE, port=port, http=http), encoding="utf-8")
    return path


Message = tuple[str, bytes]


def _schedule(
    crowd: Readings, t_ns: NDArray[np.int64], names: list[str], began_ns: int, seconds: int
) -> Iterator[tuple[int, list[Message], tuple[str, bytes, str]]]:
    """Return when to send what: each agent's batch, and a tap of somebody new."""
    store = demo_store()
    receivers = np.array([receiver.id for receiver in store.receivers], dtype=object)
    owners = np.array([receiver.agent for receiver in store.receivers])
    agents = sorted(set(owners.tolist()))
    people, owner = np.array(names, dtype=object), owners[crowd.receiver]
    span_ns = round(SPAN_S * 1e9)
    spans = range(began_ns + span_ns, began_ns + round(seconds * 1e9) + 1, span_ns)
    for seq, end_ns in enumerate(spans, start=1):
        first, stop = np.searchsorted(t_ns, [end_ns - span_ns, end_ns])
        messages = []
        for agent in agents:
            at = first + np.flatnonzero(owner[first:stop] == agent)
            columns = Columns(
                t_ns=t_ns[at].tolist(),
                receiver=receivers[crowd.receiver[at]].tolist(),
                tag=people[crowd.tag[at]].tolist(),
                rssi_dbm=crowd.rssi_dbm[at].tolist(),
            )
            messages.append(_message(store.id, agent, "ble", seq, end_ns, columns))
        visitor = f"p_{seq:016x}".translate(str.maketrans("0189", "ghij"))
        tap = Columns(t_ns=[end_ns], tap_point=[store.tap_points[-1].id], tag=[visitor])
        topic, payload = _message(store.id, agents[0], "tap", seq, end_ns, tap)
        yield end_ns, messages, (topic, payload, visitor)


def _message(
    store: str, agent: str, kind: Kind, seq: int, end_ns: int, columns: Columns
) -> Message:
    batch = Batch(
        store=store, agent=agent, boot="b0", kind=kind, seq=seq, sent_ns=end_ns,
        columns=columns, complete_ns=end_ns if kind == "ble" else 0,
    )  # fmt: skip
    return batch_topic(store, agent, batch.kind), encode_batch(batch)


class _Listener:
    """A subscriber to events, and the client that publishes for the agents."""

    def __init__(self, port: int) -> None:
        self.told: list[Heard] = []
        self._is_live = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-latency")
        self.client.max_inflight_messages_set(1000)
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        store = demo_store().id
        base = agent_topic(store, "x", "status").rpartition("/agents/")[0]
        for name in ("events/zone.entered", "events/zone.left", "events/tag.tapped", "live"):
            self.client.subscribe(f"{base}/{name}", 1)
        own = self.client.socket()
        assert isinstance(own, socket.socket)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.loop_start()

    def wait_for_live(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait for the gateway's first live message."""
        until_s = time.monotonic() + START_S
        while not self._is_live.wait(0.1):
            if process.poll() is not None or time.monotonic() > until_s:
                raise ConfigError(f"latency: the gateway was not there within {START_S:g} s")

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()

    def _take(self, _client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        came_ns = time.time_ns()
        kind = message.topic.rpartition("/")[2]
        if kind == "live":
            self._is_live.set()
            return
        data = json.loads(message.payload)["data"]
        self.told.append(Heard(came_ns=came_ns, kind=kind, tag=data["tag"], t_ns=data["t_ns"]))
