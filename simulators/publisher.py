"""Play steps through MQTT as the agents a store file names.

Rules of the file: one connection per agent, as in a real store; rows are gathered
for at most `FLUSH_S` of wall time or `ROWS_MAX` rows, taps go at once; event time
runs `speed` times as fast as the wall clock, and slower when the gateway cannot
keep up, because every link waits while its window is full.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ingest.batch import Kind
from ingest.broker import BrokerAddress
from ingest.identifiers import pseudonym, read_key_file, store_key
from simulators.link import RESEND_S, AgentLink
from simulators.routing import Step

FLUSH_S = 0.5
ROWS_MAX = 2000
PATIENCE_S = 30.0
_ORDER: tuple[Kind, ...] = ("tap", "sample", "ble")


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What was published: batches sent and acknowledged, rows per kind."""

    batches: int
    acked: int
    rows: dict[str, int]


def pseudonymiser(
    store_id: str, key_file: Path | None, say: Callable[[str], None]
) -> Callable[[str], str]:
    """Return the function that turns tags into pseudonyms.

    Parameters
    ----------
    store_id : its id is the key without a file
    key_file : the store's key
    say : told when the id serves as key

    Raises
    ------
    ConfigError
        The key file cannot be used.
    """
    if key_file is None:
        say(f"no --key-file: pseudonyms are made with the store's id '{store_id}' as key")
    key = store_key(store_id) if key_file is None else read_key_file(key_file)

    @lru_cache(maxsize=4096)
    def of(tag: str) -> str:
        return pseudonym(tag, key)

    return of


async def play(
    steps: Iterable[Step],
    broker: BrokerAddress,
    *,
    store_id: str,
    agents: Iterable[str],
    speed: float,
    say: Callable[[str], None],
    now_ns: Callable[[], int] = time.time_ns,
    patience_s: float = PATIENCE_S,
    resend_s: float = RESEND_S,
) -> Played:
    """Publish steps at a pace and wait until the gateway has everything.

    Parameters
    ----------
    steps : in order of time
    broker : where
    store_id, agents : the names in the topics
    speed : float, > 0, event seconds per wall second
    say : where to tell people what is going on
    now_ns : the wall clock
    patience_s : float [s], how long the last acks may stay away
    resend_s : float [s], as for `AgentLink`
    """
    boot = secrets.token_hex(8)
    links = {
        name: AgentLink(
            broker,
            store=store_id,
            agent=name,
            boot=boot,
            now_ns=now_ns,
            say=say,
            resend_s=resend_s,
        )
        for name in agents
    }
    async with asyncio.TaskGroup() as group:
        for link in links.values():
            group.create_task(link.run(), name=f"link-{link.agent}")
        rows = await _pump(steps, links, speed)
        drained = await asyncio.gather(*(link.drain(patience_s) for link in links.values()))
        if not all(drained):
            left = sum(link.unacked for link in links.values())
            say(f"{left} batches were not acknowledged within {patience_s:g} s")
        for link in links.values():
            await link.close()
    return Played(
        batches=sum(link.batches for link in links.values()),
        acked=sum(link.acked for link in links.values()),
        rows=rows,
    )


@dataclass(slots=True)
class _Waiting:
    """Rows that wait for their batch."""

    columns: dict[Kind, dict[str, list[Any]]] = field(default_factory=dict)
    complete_ns: int = 0
    sent_up_to_ns: int = 0

    def add(self, kind: Kind, columns: dict[str, list[Any]]) -> int:
        held = self.columns.setdefault(kind, {name: [] for name in columns})
        before = len(held["t_ns"])
        count = len(columns["t_ns"])
        for name in {*held, *columns}:
            kept = held.setdefault(name, [float("nan")] * before)
            kept.extend(columns.get(name, [float("nan")] * count))
        return before + count


async def _pump(steps: Iterable[Step], links: dict[str, AgentLink], speed: float) -> dict[str, int]:
    clock = asyncio.get_running_loop().time
    waiting = {name: _Waiting() for name in links}
    rows = dict.fromkeys(_ORDER, 0)
    first_ns: int | None = None
    began_s = flushed_s = clock()
    for step in steps:
        first_ns = step.end_ns if first_ns is None else first_ns
        urgent = False
        for part in step.rows:
            held = waiting[part.agent].add(part.kind, part.columns)
            rows[part.kind] += len(part.columns["t_ns"])
            urgent |= part.kind == "tap" or held >= ROWS_MAX
        for held_rows in waiting.values():
            held_rows.complete_ns = step.end_ns
        due_s = began_s + (step.end_ns - first_ns) / 1e9 / speed
        if urgent or clock() - flushed_s >= FLUSH_S or due_s - clock() >= FLUSH_S:
            await _flush(waiting, links)
            flushed_s = clock()
        await asyncio.sleep(max(0.0, due_s - clock()))
    await _flush(waiting, links)
    return {kind: count for kind, count in rows.items() if count}


async def _flush(waiting: dict[str, _Waiting], links: dict[str, AgentLink]) -> None:
    await asyncio.gather(*(_flush_one(held, links[name]) for name, held in waiting.items()))


async def _flush_one(held: _Waiting, link: AgentLink) -> None:
    """Send what waits; only the last batch says that the agent is complete to its end."""
    parts = [
        (kind, {name: values[at : at + ROWS_MAX] for name, values in held.columns[kind].items()})
        for kind in _ORDER
        if kind in held.columns
        for at in range(0, len(held.columns[kind]["t_ns"]), ROWS_MAX)
    ]
    held.columns.clear()
    oldest_ns = min((min(columns["t_ns"]) for _, columns in parts), default=held.complete_ns)
    before_ns = held.sent_up_to_ns or oldest_ns
    held.sent_up_to_ns = held.complete_ns
    for number, (kind, columns) in enumerate(parts, start=1):
        complete_ns = held.complete_ns if number == len(parts) else before_ns
        await link.send(kind, columns, complete_ns=complete_ns)
