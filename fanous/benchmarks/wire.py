"""How fast batches are written by an agent and read by the gateway.

Rules of the file: batches of 512 readings, the agent's default; the peer is the standard
library's json on the same rows, which checks nothing. CPU time of one thread.
"""

import json

from fanous.benchmarks.crowd import demo_store, make_readings, pseudonyms
from fanous.benchmarks.figure import Figure, Say, best_cpu_s
from ingest.batch import Batch, Columns, encode_batch
from ingest.columns import decode_batch

ROWS = 512
TAGS = 200
_PEER = "json of the standard library"


def make_columns(count: int) -> list[Columns]:
    """Return the plain columns of some batches.

    Parameters
    ----------
    count : int, batches of `ROWS` rows
    """
    store = demo_store()
    readings = make_readings(store, tags=TAGS, seconds=count * ROWS / TAGS / 7.0 + 1, seed=7)
    names, receivers = pseudonyms(TAGS), [receiver.id for receiver in store.receivers]
    parts = [slice(at * ROWS, (at + 1) * ROWS) for at in range(count)]
    return [
        Columns(
            t_ns=readings.t_ns[part].tolist(),
            receiver=[receivers[at] for at in readings.receiver[part].tolist()],
            tag=[names[at] for at in readings.tag[part].tolist()],
            rssi_dbm=readings.rssi_dbm[part].tolist(),
        )
        for part in parts
    ]


def make_batches(count: int) -> list[Batch]:
    """Return some batches of one agent.

    Parameters
    ----------
    count : int, batches of `ROWS` rows
    """
    return [
        Batch(
            store="demo", agent="pi-1", boot="0123456789abcdef", kind="ble", seq=seq,
            sent_ns=0, columns=columns,
        )
        for seq, columns in enumerate(make_columns(count), 1)
    ]  # fmt: skip


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure readings encoded and decoded a second, and bytes per reading.

    Parameters
    ----------
    quick : fewer batches
    say : told what is being measured
    """
    batches = make_batches(20 if quick else 400)
    rows = len(batches) * ROWS
    say(f"encoding and decoding {len(batches)} batches of {ROWS} readings")
    payloads = [encode_batch(batch) for batch in batches]
    plain = [
        {name: getattr(batch.columns, name) for name in ("t_ns", "receiver", "tag", "rssi_dbm")}
        for batch in batches
    ]
    texts = [json.dumps(columns) for columns in plain]

    def rate(work: object, inputs: list[object]) -> float:
        assert callable(work)
        return rows / best_cpu_s(lambda: [work(each) for each in inputs])

    return (
        Figure(
            name="wire.encode",
            value=rate(encode_batch, [*batches]),
            unit="readings/s",
            better="higher",
            peer={_PEER: rate(json.dumps, [*plain])},
        ),
        Figure(
            name="wire.decode",
            value=rate(decode_batch, [*payloads]),
            unit="readings/s",
            better="higher",
            peer={_PEER: rate(json.loads, [*texts])},
        ),
        Figure(
            name="wire.size",
            value=sum(map(len, payloads)) / rows,
            unit="bytes/reading",
            better="lower",
            peer={_PEER: sum(map(len, texts)) / rows},
        ),
    )
