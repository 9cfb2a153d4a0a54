"""The dwell machine against its rule, written again in plain Python, lane by lane."""

import random
from typing import Any

import numpy as np
import pytest

from analytics.dwell import NOWHERE, DwellMachine, Stay
from analytics.store import Rules

RULES = Rules(tick_s=1.0, flicker_s=3.0, dwell_gap_s=6.0, dwell_min_s=4.0)

Tick = tuple[int, int, bool, int]
"""Tick, zone, evidence, readings."""


def plain(ticks: list[Tick], rules: Rules) -> list[tuple[int, int, int, int]]:
    """Return (zone, first, last, readings) of the stays of one lane.

    Only ticks with evidence begin, prolong or end anything. A stay is left when the tag
    was elsewhere for more than the flicker; then it is where it was last. Silence in the
    zone for more than the gap ends a stay at its last evidence.
    """
    gap, flicker = rules.dwell_gap_s / rules.tick_s, rules.flicker_s / rules.tick_s
    stays: list[tuple[int, int, int, int]] = []
    stay: dict[str, Any] | None = None
    away: dict[str, Any] | None = None

    def leave() -> None:
        nonlocal stay, away
        assert stay is not None
        length_s = (stay["last"] - stay["first"] + 1) * rules.tick_s
        if stay["zone"] != NOWHERE and length_s >= rules.dwell_min_s:
            stays.append((stay["zone"], stay["first"], stay["last"], stay["readings"]))
        stay = away
        if stay is not None and stay["zone"] == NOWHERE:
            stay = None
        away = None

    for tick, zone, evidence, readings in ticks:
        while stay is not None and tick - stay["last"] - 1 > gap:
            leave()
        if not evidence:
            continue
        if stay is not None and away is not None and tick - away["departure"] > flicker:
            leave()
        if stay is None:
            stay = {"zone": zone, "first": tick, "last": tick, "readings": readings}
            if zone == NOWHERE:
                stay = None
        elif zone == stay["zone"]:
            stay["last"] = tick
            stay["readings"] += readings + (away["total"] if away else 0)
            away = None
        else:
            departure = away["departure"] if away else tick
            total = (away["total"] if away else 0) + readings
            if away is None or away["zone"] != zone:
                away = {"zone": zone, "first": tick, "readings": 0}
            away |= {"last": tick, "departure": departure, "total": total}
            away["readings"] += readings
            if tick - departure + 1 > flicker:
                leave()
    while stay is not None:
        leave()
    return stays


def machine_stays(lanes: list[list[Tick]], rules: Rules, *, expire: bool) -> list[list[Any]]:
    """Feed all lanes together, each with its own ticks; return their stays."""
    machine = DwellMachine(rules)
    machine.grow(min(2, len(lanes)))
    machine.grow(len(lanes))
    found: list[Stay] = []
    by_tick: dict[int, list[tuple[int, Tick]]] = {}
    for lane, ticks in enumerate(lanes):
        for row in ticks:
            by_tick.setdefault(row[0], []).append((lane, row))
    everybody = np.arange(len(lanes))
    for tick in sorted(by_tick):
        rows = by_tick[tick]
        found += machine.feed(
            tick,
            np.array([lane for lane, _ in rows]),
            np.array([row[1] for _, row in rows], np.int16),
            np.full(len(rows), 0.9, np.float32),
            np.array([row[2] for _, row in rows]),
            np.array([row[3] for _, row in rows], np.int32),
        )
        if expire:
            found += machine.expire(tick + 1, everybody)
    found += machine.end(everybody)
    assert machine.end(everybody) == []
    return [
        [(s.zone, s.first, s.last, s.readings) for s in found if s.seat == lane]
        for lane in range(len(lanes))
    ]


def random_lane(rng: random.Random) -> list[Tick]:
    """Return a sequence with runs, flickers, excursions, held ticks and silences."""
    ticks: list[Tick] = []
    tick, zone = rng.randrange(5), rng.choice([0, 1, 2, NOWHERE])
    while tick < 150:
        kind = rng.random()
        if kind < 0.15:
            tick += rng.randrange(1, 12)
            zone = rng.choice([zone, 0, 1])
        elif kind < 0.45:
            zone = rng.choice([0, 1, 2, NOWHERE])
        evidence = rng.random() < 0.85 or not ticks
        if not evidence:
            zone = ticks[-1][1]
        ticks.append((tick, zone, evidence, rng.randrange(1, 9) if evidence else 0))
        tick += 1
    return ticks


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_the_plain_rule(seed: int) -> None:
    rng = random.Random(seed)
    rules = Rules(
        tick_s=rng.choice([1.0, 0.5, 2.0]),
        flicker_s=rng.choice([0.0, 1.0, 3.0, 8.0]),
        dwell_gap_s=rng.choice([2.0, 6.0, 30.0]),
        dwell_min_s=rng.choice([1.0, 4.0, 10.0]),
    )
    lanes = [random_lane(rng) for _ in range(7)]
    expected = [plain(ticks, rules) for ticks in lanes]
    assert expected == machine_stays(lanes, rules, expire=False)
    # When silence is noticed must not matter.
    assert expected == machine_stays(lanes, rules, expire=True)


def run(text: str, rules: Rules = RULES) -> list[tuple[int, int, int]]:
    """Return (zone, first, last) of one lane: a letter is a zone, `.` nowhere, space silence."""
    ticks = [
        (tick, NOWHERE if letter == "." else ord(letter) - ord("a"), True, 1)
        for tick, letter in enumerate(text)
        if letter != " "
    ]
    (found,) = machine_stays([ticks], rules, expire=True)
    return [stay[:3] for stay in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaaa", [(0, 0, 3)]),
        ("aaa", []),
        ("aaabbbaaa", [(0, 0, 8)]),
        ("aaaabbbbaaaa", [(0, 0, 3), (1, 4, 7), (0, 8, 11)]),
        ("aaaa...aaaa", [(0, 0, 10)]),
        ("aaaa....aaaa", [(0, 0, 3), (0, 8, 11)]),
        ("aaaa      a", [(0, 0, 10)]),
        ("aaaa       a", [(0, 0, 3)]),
        ("aaaab      aaaa", [(0, 0, 3), (0, 11, 14)]),
        ("aaaa      bbbb", [(0, 0, 3), (1, 10, 13)]),
        ("", []),
    ],
)
def test_named_cases(text: str, expected: list[tuple[int, int, int]]) -> None:
    assert expected == run(text)


def test_silence_never_prolongs_or_begins_a_stay() -> None:
    held = [(t, 0, t < 5, 1 if t < 5 else 0) for t in range(12)]
    (found,) = machine_stays([held], RULES, expire=False)
    assert [(0, 0, 4, 5)] == found
    excursion = [*((t, 0, True, 1) for t in range(5)), (5, 1, True, 1)]
    excursion += [(t, 1, False, 0) for t in range(6, 12)]
    (found,) = machine_stays([excursion], RULES, expire=False)
    assert [(0, 0, 4, 5)] == found


def test_confidence_and_spread_come_from_the_probabilities() -> None:
    machine = DwellMachine(Rules())
    machine.grow(1)
    lane, zone, one = np.array([0]), np.array([0], np.int16), np.array([1], np.int32)
    p = [0.9, 0.8, 0.7, 0.9, 0.6, 1.0]
    for tick, value in enumerate(p):
        machine.feed(tick, lane, zone, np.array([value], np.float32), np.array([True]), one)
    (stay,) = machine.end(lane)
    assert round(float(np.mean(p)), 3) == stay.confidence
    variance = 1 / 6 + 3 * sum(v * (1 - v) for v in p)
    assert round(variance**0.5, 2) == pytest.approx(stay.sigma_s)
    assert stay.readings == 6
