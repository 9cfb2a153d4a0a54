"""How fast dwell sessions are found in rows that have their zone, beside other means.

Rules of the file: everybody gets the same seeded rows and the same definition (a run of
one zone, no silence of more than 30 s, at least 5 s; flickers are not bridged, which
no peer does). Making a peer's own table from the columns is not counted. CPU time of
the process, best of three; memory beyond the input as `tracemalloc` sees it.
"""

import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from analytics.dwell import DwellMachine
from analytics.sessions import Sessions, sessions
from analytics.store import Rules
from fanous.benchmarks.dwell_peers import PEERS, Labelled, Peer, make_labelled
from fanous.benchmarks.figure import Figure, Say, best_cpu_s

ALIKE = replace(Rules(), flicker_s=0.0)
"""What everybody can do."""
_LONG_S = 1.0
"""What takes longer than this is measured once."""


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure sessions a second, ours and the peers'.

    Parameters
    ----------
    quick : fewer rows
    say : told what was found
    """
    rows = make_labelled(tags=200 if quick else 1_000, seconds=286.0, seed=2)
    by_time = rows.by_time()
    say(f"{len(rows):,} labelled rows of 40 zones")
    found = len(_ours(rows, ALIKE))
    if len(_ours(by_time, ALIKE)) != found:
        say("rows in order of time gave other sessions than rows in order of tag: a fault")
    say(f"fanous: {found} sessions")
    peers: dict[str, float] = {}
    for name, peer in PEERS.items():
        missing = peer.missing()
        if missing:
            say(f"{name} left out: {' and '.join(missing)} not installed; try make bench-peers")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what other packages warn of is not our result
            peers[name] = _peer(name, peer, by_time if peer.rows_most > len(rows) else rows, say)
    flickering = make_labelled(tags=len(rows) // 2_002, seconds=286.0, seed=4, flicker=0.02)
    flickering = flickering.by_time()
    say(
        f"with 2 % of the rows in the next zone: {len(_ours(flickering, ALIKE))} sessions, "
        f"{len(_ours(flickering, Rules()))} with flickers bridged"
    )
    figures = [
        _rate("dwell.rows", by_time, ALIKE, peers),
        _rate("dwell.rows_by_tag", rows, ALIKE, {}),
        _rate("dwell.rows_bridged", flickering, Rules(), {}),
        Figure(
            name="dwell.rows_tick_by_tick", value=_machine(quick=quick), unit="rows/s",
            better="higher",
        ),
        Figure(
            name="dwell.memory_beyond_input",
            value=_peak_mb(lambda: _ours(by_time, ALIKE)),
            unit="MB",
            better="lower",
            peer={
                name: _peak_mb(partial(_run, PEERS[name], by_time))
                for name in ("pandas",)
                if name in peers
            },
        ),
    ]  # fmt: skip
    if not quick:
        many = make_labelled(tags=10_000, seconds=286.0, seed=3).by_time()
        say(f"{len(many):,} labelled rows of 10,000 tags")
        figures.append(_rate("dwell.rows_10000_tags", many, ALIKE, {}))
    return tuple(figures)


def _ours(rows: Labelled, rules: Rules) -> Sessions:
    return sessions(rows.t_ns, rows.tag, rows.zone, rules=rules)


def _rate(name: str, rows: Labelled, rules: Rules, peers: dict[str, float]) -> Figure:
    seconds = best_cpu_s(lambda: _ours(rows, rules))
    return Figure(name=name, value=len(rows) / seconds, unit="rows/s", better="higher", peer=peers)


def _run(peer: Peer, rows: Labelled) -> int:
    return peer.count(peer.prepare(rows), ALIKE)


def _peer(name: str, peer: Peer, rows: Labelled, say: Say) -> float:
    """Return the rows a second of a peer, and tell what it found."""
    # Whole tags only, so that a smaller part is the same task.
    if peer.rows_most < len(rows):
        rows = rows.taken(rows.tag < max(1, peer.rows_most * (int(rows.tag[-1]) + 1) // len(rows)))
    table = peer.prepare(rows)
    found = []
    spent = best_cpu_s(lambda: found.append(peer.count(table, ALIKE)), repeats=1)
    if spent < _LONG_S:
        spent = min(spent, best_cpu_s(lambda: peer.count(table, ALIKE)))
    ours = len(_ours(rows, ALIKE))
    number = found[0]
    if number == ours:
        told = f"{number} sessions, as we do"
    else:
        why = peer.differs or "which should not be"
        told = f"{number} sessions, we {ours}: {why}"
    say(f"{name}: {len(rows):,} rows, {told}")
    return len(rows) / spent


def _machine(*, quick: bool) -> float:
    """Return the rows a second of the machine that the engine feeds tick by tick."""
    lanes, ticks, zones = (2_000, 100, 40) if quick else (10_000, 300, 40)
    rng = np.random.default_rng(2)
    moves = rng.random((ticks, lanes)) < 1 / 45.0
    zone = (rng.integers(0, zones, lanes) + 7 * np.cumsum(moves, axis=0)) % zones
    zone = zone.astype(np.int16)
    zone_p = rng.uniform(0.6, 1.0, lanes).astype(np.float32)
    evidence = np.ones(lanes, np.bool_)
    readings = np.full(lanes, 7, np.int32)
    lane = np.arange(lanes)

    def work() -> None:
        machine = DwellMachine(Rules())
        machine.grow(lanes)
        for tick in range(ticks):
            machine.feed(tick, lane, zone[tick], zone_p, evidence, readings)
        machine.end(lane)

    return lanes * ticks / best_cpu_s(work)


def _peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
