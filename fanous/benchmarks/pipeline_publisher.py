"""The publishing process of the pipeline benchmark: agents of the demo store, by paho.

Rules of the file: all batches are made first; the number of readings is printed, and a
line on stdin starts the publishing. Batches of the agents follow each other in order of
event time, half a second each, as the agents of a busy store send them; QoS 1.
"""

import sys
from collections.abc import Iterator

import numpy as np
import paho.mqtt.client as mqtt
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from fanous.benchmarks.crowd import START_NS, Readings, demo_store, make_readings, pseudonyms
from ingest.batch import Batch, Columns, encode_batch
from ingest.topics import batch_topic

SPAN_NS = 500_000_000
BOOT = "0123456789abcdef"
WINDOW = 64
LIMIT_S = 60.0

Message = tuple[str, bytes]


def main() -> int:
    """Publish; arguments: port, tags, seconds of event time."""
    port, tags, seconds = map(int, sys.argv[1:4])
    readings = make_readings(demo_store(), tags=tags, seconds=seconds, seed=11)
    messages = list(_messages(readings, tags, seconds))
    print(len(readings), flush=True)
    if not sys.stdin.readline():
        return 1
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "fanous-bench-agents")
    client.max_inflight_messages_set(WINDOW)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = [client.publish(topic, payload, qos=1) for topic, payload in messages]
    sent[-1].wait_for_publish(LIMIT_S)
    client.disconnect()
    client.loop_stop()
    return 0


def _messages(readings: Readings, tags: int, seconds: int) -> Iterator[Message]:
    store = demo_store()
    names = np.array(pseudonyms(tags), dtype=object)
    receivers = np.array([receiver.id for receiver in store.receivers], dtype=object)
    owners = np.array([receiver.agent for receiver in store.receivers])
    agents = sorted(set(owners.tolist()))
    # An agent that was never heard holds nothing back; so each says first that it is there.
    for agent in agents:
        empty: list[str] = []
        nothing = Columns(t_ns=[], receiver=empty, tag=empty, rssi_dbm=[])
        yield _message(store.id, agent, 1, nothing, START_NS)
    seq = 2
    for end_ns in range(START_NS + SPAN_NS, START_NS + seconds * 10**9 + 1, SPAN_NS):
        first, stop = np.searchsorted(readings.t_ns, [end_ns - SPAN_NS, end_ns])
        owner = owners[readings.receiver[first:stop]]
        for agent in agents:
            at = first + np.flatnonzero(owner == agent)
            yield _message(store.id, agent, seq, _columns(readings, at, names, receivers), end_ns)
        seq += 1


def _columns(
    readings: Readings,
    at: NDArray[np.int64],
    names: NDArray[np.object_],
    receivers: NDArray[np.object_],
) -> Columns:
    return Columns(
        t_ns=readings.t_ns[at].tolist(),
        receiver=receivers[readings.receiver[at]].tolist(),
        tag=names[readings.tag[at]].tolist(),
        rssi_dbm=readings.rssi_dbm[at].tolist(),
    )


def _message(store: str, agent: str, seq: int, columns: Columns, complete_ns: int) -> Message:
    batch = Batch(
        store=store, agent=agent, boot=BOOT, kind="ble", seq=seq, sent_ns=0,
        columns=columns, complete_ns=complete_ns,
    )  # fmt: skip
    return batch_topic(store, agent, "ble"), encode_batch(batch)


if __name__ == "__main__":
    sys.exit(main())
