"""An MQTT client that sends batches by hand, as agents would, and sees what comes back.

Rules of the file: paho, QoS 1; what is not acknowledged by the gateway is sent again.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from fanous.faults.processes import TooLateError
from fanous.faults.recording import KEY, NS, STORE, Recording, tail_rows
from ingest.batch import Batch, Columns, encode_batch
from ingest.identifiers import pseudonym
from ingest.topics import batch_topic

TAIL_BOOT = "tail"
_AGAIN_S = 2.0


class Hand:
    """A client of the broker.

    Parameters
    ----------
    port : of the broker
    host : of the broker
    name : its client id
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", name: str = "fault-hand") -> None:
        self.acks: dict[tuple[str, str, str], int] = {}
        self.seen: list[tuple[str, bytes]] = []
        self._some = threading.Condition()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name)
        self._client.max_inflight_messages_set(100)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.connect(host, port)
        self._client.loop_start()
        if not self._ready.wait(10):
            raise TooLateError("expected the broker to take a subscription within 10 s")

    def send(self, topic: str, payload: bytes) -> None:
        """Publish with QoS 1.

        Parameters
        ----------
        topic : where to
        payload : what
        """
        self._client.publish(topic, payload, qos=1)

    def send_batch(self, agent: str, kind: Any, payload: bytes) -> None:  # noqa: ANN401
        """Publish a batch.

        Parameters
        ----------
        agent : who sends it
        kind : of its rows
        payload : encoded
        """
        self.send(batch_topic(STORE, agent, kind), payload)

    def acked(self, agent: str, boot: str, kind: str) -> int:
        """Return up to which seq the gateway has acknowledged.

        Parameters
        ----------
        agent : of the batches
        boot : of the batches
        kind : of the batches
        """
        return self.acks.get((agent, boot, kind), 0)

    def wait_for_ack(self, agent: str, boot: str, kind: str, seq: int, limit_s: float) -> bool:
        """Wait for an acknowledgement; return whether it came.

        Parameters
        ----------
        agent : of the batches
        boot : of the batches
        kind : of the batches
        seq : the last one
        limit_s : [s] longest wait
        """
        with self._some:
            return self._some.wait_for(lambda: self.acked(agent, boot, kind) >= seq, limit_s)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe(f"fanous/v1/{STORE}/agents/#", 1)

    def _on_message(self, _client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        parts = message.topic.split("/")
        with self._some:
            if parts[-1] == "ack":
                body = json.loads(message.payload)
                key = (parts[4], body["boot"], body["kind"])
                self.acks[key] = max(body["seq"], self.acks.get(key, 0))
            elif len(self.seen) < 100_000:
                self.seen.append((message.topic, bytes(message.payload)))
            self._some.notify_all()


@contextlib.contextmanager
def hand(port: int, *, host: str = "127.0.0.1", name: str = "fault-hand") -> Iterator[Hand]:
    """Run a `Hand`.

    Parameters
    ----------
    port : of the broker
    host : of the broker
    name : its client id

    Yields
    ------
    sender : connected
    """
    made = Hand(port, host=host, name=name)
    try:
        yield made
    finally:
        made.close()


def send_tail(sender: Hand, recording: Recording, agents: Sequence[str], *, limit_s: float) -> None:
    """Send the tail that lets all visits end, until it is acknowledged.

    Parameters
    ----------
    sender : connected
    recording : of the day
    agents : all get to say that they are complete; the first has the readings
    limit_s : [s] longest wait

    Raises
    ------
    TooLateError
        It was not acknowledged.
    """
    rows = tail_rows(recording.last_ns)
    end_ns = rows[-1][0] + NS
    until_s = time.monotonic() + limit_s
    for at, agent in enumerate(agents):
        mine = rows if at == 0 else []
        batch = Batch(
            store=STORE, agent=agent, boot=TAIL_BOOT, kind="ble", seq=1, sent_ns=end_ns,
            columns=Columns(
                t_ns=[row[0] for row in mine],
                receiver=[row[1] for row in mine],
                tag=[pseudonym(row[2], KEY) for row in mine],
                rssi_dbm=[row[3] for row in mine],
            ),
            complete_ns=end_ns,
        )  # fmt: skip
        payload = encode_batch(batch)
        while True:
            sender.send_batch(agent, "ble", payload)
            if sender.wait_for_ack(agent, TAIL_BOOT, "ble", 1, _AGAIN_S):
                break
            if time.monotonic() > until_s:
                raise TooLateError(f"expected within {limit_s:g} s: the tail is acknowledged")
