"""The peer of the pipeline: a plain paho subscriber with QoS 1 that only counts.

Rules of the file: nothing is decoded, stored or computed; paho's own loop in a thread of
its own calls a function for each message and acknowledges it. What a gateway built on it
could reach at most, on the same broker and from the same publisher.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from ingest.topics import agents_filter

START_S = 10.0


class Counter:
    """Counts messages; `all_came` is set when there are `expected`."""

    def __init__(self) -> None:
        self.expected = 0
        self.count = 0
        self.all_came = threading.Event()
        self.subscribed = threading.Event()

    def take(self, _client: paho.Client, _user: object, _message: paho.MQTTMessage) -> None:
        """Count one message."""
        self.count += 1
        if self.count == self.expected:
            self.all_came.set()


@contextlib.contextmanager
def counting(port: int, store: str) -> Iterator[Counter]:
    """Count the readings' batches that come, for as long as the block lasts.

    Parameters
    ----------
    port : of the broker
    store : the store's id

    Yields
    ------
    counter : it has subscribed
    """
    counter = Counter()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="fanous-bench-peer")
    client.on_message = counter.take
    client.on_subscribe = lambda *_: counter.subscribed.set()
    client.connect("127.0.0.1", port)
    client.subscribe(agents_filter(store, "readings"), 1)
    client.loop_start()
    try:
        counter.subscribed.wait(START_S)
        yield counter
    finally:
        client.disconnect()
        client.loop_stop()


def seconds_until_all(counter: Counter, limit_s: float) -> float:
    """Wait until all messages have come; return how long that took [s].

    Parameters
    ----------
    counter : with `expected` set
    limit_s : [s] longest wait
    """
    began_s = time.perf_counter()
    counter.all_came.wait(limit_s)
    return time.perf_counter() - began_s
