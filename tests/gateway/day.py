"""A few minutes of the demo store as batches, for tests of the keeper with the real engine."""

from functools import cache

from ingest.batch import Batch, Columns, encode_batch
from ingest.columns import decode_batch
from ingest.identifiers import pseudonym
from simulators.routing import find_routes, steps_of
from simulators.scenario import find_scenario
from simulators.world import simulate

SECOND = 1_000_000_000


@cache
def agents_days(store, minutes, seed=5):
    """Return, second by second, (end_ns, {agent: [(kind, payload, rows)]})."""
    chunks = simulate(find_scenario("demo"), store, seed, minutes)
    steps = steps_of(
        chunks, store, find_routes(store), lambda tag: pseudonym(tag, store.id.encode() * 8)
    )
    seqs = {}
    days = []
    for step in steps:
        of_agent = {}
        for at, rows in enumerate(step.rows):
            is_last = all(later.agent != rows.agent for later in step.rows[at + 1 :])
            key = (rows.agent, rows.kind)
            seqs[key] = seqs.get(key, 0) + 1
            payload = encode_batch(
                Batch(
                    store=store.id,
                    agent=rows.agent,
                    boot="b",
                    kind=rows.kind,
                    seq=seqs[key],
                    sent_ns=step.end_ns,
                    columns=Columns(**rows.columns),
                    complete_ns=step.end_ns if is_last else 0,
                )
            )
            of_agent.setdefault(rows.agent, []).append(payload)
        days.append((step.end_ns, of_agent))
    return days


def decode(payload):
    return decode_batch(payload)
