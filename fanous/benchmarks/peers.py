"""How well zones are named: our engine against the rules of open peers, on the same rows.

Rules of the file: seeded walks of `simulators.peers_scenario`; nobody has a survey. Every
answer is taken at the end of each second and compared with where the tag then is. How
the figures are defined follows reference/positioning.md part 3 and stands in
``docs/peers.md``; what is fair about it and what is not, too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.cells import build_cells
from analytics.engine import Engine
from analytics.radio_map import radio_map_from_geometry
from analytics.rows import STAGES
from analytics.store import Store
from fanous.benchmarks import peers_rules as rules
from fanous.benchmarks.crowd import pseudonyms
from fanous.benchmarks.figure import Figure, Say
from simulators.peers_scenario import (
    MISMATCH,
    NOMINAL,
    START_NS,
    Radio,
    Walks,
    peers_store,
    walk_and_hear,
)

Zones = NDArray[np.int16]

SEEDS_QUICK, SEEDS_FULL = 3, 20
SIZES_M = (5.0, 10.0)
CELLS_PER_ZONE = 5
"""Cells of a metre for zones of five metres, of two for ten."""
CONDITIONS: dict[str, Radio] = {"": NOMINAL, "_mismatch": MISMATCH}
PEERS: dict[str, Callable[[NDArray[np.float64]], Zones]] = {
    "reelyactive": rules.strongest,
    "espresense": rules.tukey_nearest,
    "room-assistant": rules.kalman_strongest,
    "bermuda": rules.hugging_contest,
    "habluetooth-old": rules.switch_at,
    "ewma-hysteresis": rules.ewma_hysteresis,
}
TICK_NS = 10**9
BACK_DATED_MOST_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well a rule names zones.

    Attributes
    ----------
    correct : share of the time in which the zone is the true one
    latency_median_s, latency_p95_s : [s] from a change of zone to the first right answer,
        over the stays with a stop after the first of each walk that were answered
    missed : share of these stays in which there was no right answer
    switches : changes of the answer per true change
    dwell_error : mean over the stays with a stop of the share of the stay not booked to it
    """

    correct: float
    latency_median_s: float
    latency_p95_s: float
    missed: float
    switches: float
    dwell_error: float


def measure(*, quick: bool, say: Say) -> tuple[Figure, ...]:
    """Measure our engine and the peers' rules on the same walks.

    Parameters
    ----------
    quick : 3 walks instead of 20
    say : told the table, line by line
    """
    seeds = range(SEEDS_QUICK if quick else SEEDS_FULL)
    figures: list[Figure] = []
    for condition, radio in CONDITIONS.items():
        for zone_m in SIZES_M:
            size = f"{zone_m:g}m{condition}"
            walks = walk_and_hear(peers_store(zone_m), seeds, radio)
            packets = by_second(walks, len(peers_store(zone_m).receivers))
            answers = {name: rule(packets) for name, rule in PEERS.items()}
            scores = {name: score(answer, walks) for name, answer in answers.items()}
            moved = {f"{name}-back-dated": back_dated(answers[name], walks) for name in PEERS}
            ours = _ours(walks, zone_m, CELLS_PER_ZONE)
            by_zone = _ours(walks, zone_m, 1)
            say(f"{size}, ours against theirs, {len(seeds)} walks, {int(walks.seconds.sum())} s")
            for line in _table({**scores, **moved}, ours, by_zone):
                say(line)
            figures += _figures(size, ours, {"live": scores, "final": {**scores, **moved}})
            figures += _figures(f"{size}_zone_cells", by_zone, {"live": {}, "final": {}})
    return tuple(figures)


def by_second(walks: Walks, receivers: int) -> NDArray[np.float64]:
    """Return the packets as the peers' rules take them.

    Parameters
    ----------
    walks : one packet a second at most for each walk and receiver
    receivers : int

    Returns
    -------
    rssi_dbm : shape (walks, seconds, receivers), float64 [dBm], NaN = not heard
    """
    found = np.full((*walks.zone.shape, receivers), np.nan)
    second = (walks.t_ns - START_NS) // TICK_NS
    found[walks.tag, second, walks.receiver] = walks.rssi_dbm
    return found


def engine_zones(store: Store, walks: Walks) -> dict[str, Zones]:
    """Return what our engine says without a survey, live and final.

    Parameters
    ----------
    store : of the walks
    walks : what was heard

    Returns
    -------
    zones : one for each of `STAGES`, shape (walks, seconds), -1 where unknown or outside
    """
    grid = build_cells(store)
    names = np.array(pseudonyms(len(walks.seconds)), dtype=object)
    engine = Engine(
        store,
        radio_map_from_geometry(store, grid),
        name_of=lambda ids: list(names[ids]),
        grid=grid,
    )
    engine.add_readings(walks.t_ns, walks.receiver, walks.tag, walks.rssi_dbm)
    found = {stage: np.full(walks.zone.shape, -1, np.int16) for stage in STAGES}
    for rows in engine.finish().positions:
        second = rows.t_ns // TICK_NS - START_NS // TICK_NS - 1
        for at, stage in enumerate(STAGES):
            mine = rows.stage == at
            found[stage][rows.tag[mine], second[mine]] = rows.zone[mine]
    return found


def score(answer: Zones, walks: Walks) -> Score:
    """Score the answers of all walks together.

    Parameters
    ----------
    answer : shape (walks, seconds), int16, the zone named at the end of each second, -1 = none
    walks : with the truth
    """
    inside = walks.zone >= 0
    walk = np.repeat(np.arange(len(inside)), walks.seconds)
    said, true, standing = answer[inside], walks.zone[inside], walks.standing[inside]
    right = said == true
    begins = np.flatnonzero(
        np.concatenate([[True], (true[1:] != true[:-1]) | (walk[1:] != walk[:-1])])
    )
    length = np.diff(np.append(begins, len(true)))
    booked = np.add.reduceat(right.astype(np.int64), begins)
    with_stop = np.add.reduceat(standing.astype(np.int64), begins) > 0
    first_of_walk = np.concatenate([[True], walk[begins[1:]] != walk[begins[1:] - 1]])
    # A change lies within the second before; the middle of it is our best guess.
    since = np.arange(len(true)) - np.repeat(begins, length)
    waited = np.minimum.reduceat(np.where(right, since, len(true)), begins) + 0.5
    scored = with_stop & ~first_of_walk
    answered = scored & (booked > 0)
    median, p95 = np.percentile(waited[answered], [50, 95]) if answered.any() else [np.inf] * 2
    known = said >= 0
    said_known, walk_known = said[known], walk[known]
    changes = (said_known[1:] != said_known[:-1]) & (walk_known[1:] == walk_known[:-1])
    return Score(
        correct=float(right.mean()),
        latency_median_s=float(median),
        latency_p95_s=float(p95),
        missed=float(1 - answered.sum() / max(scored.sum(), 1)),
        switches=float(changes.sum() / max(len(begins) - len(inside), 1)),
        dwell_error=float((1 - booked / length)[with_stop].mean()),
    )


def back_dated(answer: Zones, walks: Walks) -> Score:
    """Score a rule whose answers are moved back in time by what suits it best.

    Parameters
    ----------
    answer : shape (walks, seconds), as for `score`
    walks : with the truth, on which the shift is chosen, too: a little more than fair

    Notes
    -----
    The control for every corrected answer: how much of it is no more than knowing one's
    own delay. No open peer does this.
    """
    scores = []
    for shift in range(BACK_DATED_MOST_S + 1):
        moved = np.full_like(answer, -1)
        for row, seconds in enumerate(walks.seconds.tolist()):
            late = np.minimum(np.arange(seconds) + shift, seconds - 1)
            moved[row, :seconds] = answer[row, late]
        scores.append(score(moved, walks))
    return max(scores, key=lambda found: found.correct)


def _ours(walks: Walks, zone_m: float, cells_per_zone: int) -> dict[str, Score]:
    zones = engine_zones(peers_store(zone_m, cell_m=zone_m / cells_per_zone), walks)
    return {stage: score(zone, walks) for stage, zone in zones.items()}


def _table(peers: dict[str, Score], ours: dict[str, Score], by_zone: dict[str, Score]) -> list[str]:
    rows = {
        **{f"fanous, {stage}": found for stage, found in ours.items()},
        **{f"fanous, one cell a zone, {stage}": found for stage, found in by_zone.items()},
        **peers,
    }
    width = max(map(len, rows))
    head = f"{'rule':<{width}}  correct  median s  p95 s  missed  switches  dwell error"
    return [
        head,
        *(
            f"{name:<{width}}  {s.correct:7.3f}  {s.latency_median_s:8.1f}  {s.latency_p95_s:5.1f}"
            f"  {s.missed:6.3f}  {s.switches:8.2f}  {s.dwell_error:11.3f}"
            for name, s in rows.items()
        ),
    ]


def _figures(size: str, ours: dict[str, Score], peers: dict[str, dict[str, Score]]) -> list[Figure]:
    def figure(what: str, field: str, stage: str, unit: str) -> Figure:
        return Figure(
            name=f"peers.{what}_{stage}_{size}",
            value=getattr(ours[stage], field),
            unit=unit,
            better="higher" if field == "correct" else "lower",
            peer={name: getattr(found, field) for name, found in peers[stage].items()},
        )

    return [
        figure("latency_median", "latency_median_s", "live", "s"),
        figure("latency_p95", "latency_p95_s", "live", "s"),
        *(
            figure(what, what, stage, unit)
            for stage in STAGES
            for what, unit in (
                ("correct", "of the time"),
                ("switches", "per true switch"),
                ("dwell_error", "of a stay"),
            )
        ),
    ]
