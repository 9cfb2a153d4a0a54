"""The publishing process of the pipeline benchmark: agents of the demo store.

Rules of the file: all batches are made first; the number of readings and of messages is
printed, and a line on stdin starts the publishing; QoS 1, `WINDOW` messages in flight. Each
agent closes a batch when it has `ROWS` readings, and all batches go in the order in which
they were closed. It shares the cores with what is measured, so it sends packets of MQTT
3.1.1 that were made before and only counts the answers. The last line it prints is how long
it computed [s].
"""

import socket
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fanous.benchmarks.crowd import START_NS, Readings, demo_store, make_readings, pseudonyms
from ingest.batch import Batch, Columns, encode_batch
from ingest.topics import batch_topic

ROWS = 256
BOOT = "0123456789abcdef"
WINDOW = 1000
LIMIT_S = 60.0
_PUBACK = b"\x40\x02"
_CONNECT = b"\x10\x1f\x00\x04MQTT\x04\x02\x00\x00\x00\x13fanous-bench-agents"

Message = tuple[str, bytes]


def main() -> int:
    """Publish; arguments: port, tags, seconds of event time."""
    port, tags, seconds = map(int, sys.argv[1:4])
    readings = make_readings(demo_store(), tags=tags, seconds=seconds, seed=11)
    made = messages(readings, tags, seconds)
    packets = [_packet(*message, at % 65535 + 1) for at, message in enumerate(made)]
    print(len(readings), len(packets), flush=True)
    if not sys.stdin.readline():
        return 1
    began_s = time.process_time()
    _publish(port, packets)
    print(time.process_time() - began_s, flush=True)
    return 0


def messages(readings: Readings, tags: int, seconds: float) -> Iterator[Message]:
    """Return the batches of all agents in the order in which they were closed.

    Parameters
    ----------
    readings : in order of time
    tags : how many people there are
    seconds : [s] of event time
    """
    store = demo_store()
    names = np.array(pseudonyms(tags), dtype=object)
    receivers = np.array([receiver.id for receiver in store.receivers], dtype=object)
    owners = np.array([receiver.agent for receiver in store.receivers])
    agents = sorted(set(owners.tolist()))
    end_ns = START_NS + round(seconds * 1e9)
    # An agent that was never heard holds nothing back; so each says first that it is there.
    for agent in agents:
        nothing = Columns(t_ns=[], receiver=[], tag=[], rssi_dbm=[])
        yield _message(store.id, agent, 1, nothing, START_NS)
    owner = owners[readings.receiver]
    closed: list[tuple[int, str, int, NDArray[np.int64]]] = []
    for agent in agents:
        rows = np.flatnonzero(owner == agent)
        for seq, first in enumerate(range(0, len(rows), ROWS), start=2):
            at = rows[first : first + ROWS]
            is_last = first + ROWS >= len(rows)
            closed.append((end_ns if is_last else int(readings.t_ns[at[-1]]), agent, seq, at))
    for complete_ns, agent, seq, at in sorted(closed, key=lambda batch: batch[:3]):
        columns = _columns(readings, at, names, receivers)
        yield _message(store.id, agent, seq, columns, complete_ns)


def _publish(port: int, packets: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as broker:
        broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        broker.sendall(_CONNECT)
        sent, answers = 0, -len(_PUBACK) - 2
        while answers < 0 or answers < 4 * len(packets):
            room = WINDOW - (sent - max(answers, 0) // 4)
            if answers >= 0 and room > WINDOW // 2:
                broker.sendall(b"".join(packets[sent : sent + room]))
                sent = min(sent + room, len(packets))
            answer = broker.recv(65536)
            if not answer:
                raise ConnectionError("the broker has closed the connection")
            answers += len(answer)


def _packet(topic: str, payload: bytes, mid: int) -> bytes:
    """Return a PUBLISH packet with QoS 1."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + mid.to_bytes(2, "big") + payload
    length, left = bytearray(), len(body)
    while True:
        left, part = divmod(left, 128)[0], left % 128
        length.append(part | (0x80 if left else 0))
        if not left:
            return b"\x32" + bytes(length) + body


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
