"""The contract's rules about rows, written in plain Python, to hold against any output."""

import itertools
import math
from collections import Counter, defaultdict
from typing import Any

from analytics.engine import HOLD_S
from analytics.store import Store
from analytics.tap_turns import ENTRY_SPLIT_S
from tests.analytics.stores import Rows, records

_MINUTE_NS = 60 * 10**9
Stretch = tuple[str, int, int]
"""Tag, first and last tick with evidence of a visit or pass-by."""


def evidence_ticks(rows: Rows, store: Store) -> dict[str, dict[int, list[str]]]:
    """Return per tag and tick with evidence the roles of its taps, in order."""
    tick_ns = store.rules.tick_ns
    found: dict[str, dict[int, list[str]]] = {}
    for t_ns, _, tag, _ in rows.readings:
        found.setdefault(tag, {}).setdefault(t_ns // tick_ns, [])
    for t_ns, point, tag in sorted(set(rows.taps)):
        roles = found.setdefault(tag, {}).setdefault(t_ns // tick_ns, [])
        roles.append(store.tap_points[point].role)
    return {tag: ticks for tag, ticks in found.items() if tag not in store.staff_tags}


def stretches(rows: Rows, store: Store) -> list[Stretch]:
    """Return every visit and pass-by.

    One ends before a silence longer than the gap, at an exit tap, and before an entry tap
    when it has lasted for more than a minute.
    """
    gap = int(store.rules.visit_gap_s / store.rules.tick_s + 1e-9)
    found: list[Stretch] = []
    for tag, ticks in evidence_ticks(rows, store).items():
        first = last = -1
        is_over = True
        for tick in sorted(ticks):
            roles = ticks[tick]
            before_exit = roles[: roles.index("exit")] if "exit" in roles else roles
            is_old = (tick - first) * store.rules.tick_s > ENTRY_SPLIT_S
            if not is_over:
                is_over = tick - last - 1 > gap or ("entry" in before_exit and is_old)
                if is_over:
                    found.append((tag, first, last))
            if is_over:
                first = tick
            last = tick
            is_over = "exit" in roles
            if is_over:
                found.append((tag, first, last))
        if not is_over:
            found.append((tag, first, last))
    return sorted(found)


def assert_rows_keep_the_rules(
    found: dict[str, list[tuple[Any, ...]]], rows: Rows, store: Store
) -> None:
    """Check positions, visits and dwells of an output against the rows it came from."""
    assert_tables_are_sound(found, store)
    tick_ns = store.rules.tick_ns
    evidence = evidence_ticks(rows, store)
    expected = stretches(rows, store)
    _check_positions(found["positions"], expected, evidence, store)

    visits = records(found, "visits")
    least = store.rules.visit_min_s
    long_enough = [
        (tag, first, last)
        for tag, first, last in expected
        if (last - first + 1) * store.rules.tick_s >= least
    ]
    assert long_enough == sorted(
        (v.tag, v.start_ns // tick_ns, v.end_ns // tick_ns - 1) for v in visits
    )
    assert len({v.visit for v in visits}) == len(visits)
    assert sorted((v.visit, v.tag, v.start_ns) for v in visits) == found["visits_started"]

    dwells = records(found, "dwells")
    assert len({d.dwell for d in dwells}) == len(dwells)
    by_id = {v.visit: v for v in visits}
    ends: dict[tuple[str, str], int] = {}
    for dwell in sorted(dwells, key=lambda d: d.start_ns):
        visit = by_id[dwell.visit]
        assert visit.tag == dwell.tag
        assert visit.start_ns <= dwell.start_ns < dwell.end_ns <= visit.end_ns
        assert dwell.dwell_s >= store.rules.dwell_min_s
        assert 0 <= dwell.confidence <= 1
        assert dwell.start_ns // tick_ns in evidence[dwell.tag]
        assert dwell.end_ns // tick_ns - 1 in evidence[dwell.tag]
        assert dwell.start_ns >= ends.get((dwell.visit, dwell.layer), visit.start_ns), (
            "stays overlap"
        )
        ends[dwell.visit, dwell.layer] = dwell.end_ns
    main = {zone.id for zone in store.zones if zone.layer == store.layers[0]}
    for visit in visits:
        assert visit.directness is None or 0 <= visit.directness <= 1
        path = visit.path.split(">") if visit.path else []
        mine = {d.zone for d in dwells if d.visit == visit.visit and d.zone in main}
        assert mine == set(path)
        assert len(mine) == visit.zones
        assert all(a != b for a, b in itertools.pairwise(path))
        taps = [
            len(roles)
            for tick, roles in evidence[visit.tag].items()
            if visit.start_ns <= tick * tick_ns < visit.end_ns
        ]
        assert sum(taps) == visit.taps


def assert_tables_are_sound(found: dict[str, list[tuple[Any, ...]]], store: Store) -> None:
    """Check what must hold of any output whatever rows it came from, however bad they were."""
    for name, rows in found.items():
        numbers = [value for row in rows for value in row if isinstance(value, float)]
        assert all(math.isfinite(number) for number in numbers), f"{name}: NaN or infinite"
    _check_places(found["positions"], store)
    _check_stays(found, store)
    zones = {(zone.layer, zone.id) for zone in store.zones}
    people = records(found, "occupancy")
    assert zones >= {(row.layer, row.zone) for row in people}
    assert len({(row.t_ns, row.layer, row.zone) for row in people}) == len(people)
    assert all(row.people >= 0 and row.t_ns % _MINUTE_NS == 0 for row in people)
    queues = records(found, "queues")
    assert len({(row.t_ns, row.zone) for row in queues}) == len(queues)
    for row in queues:
        assert row.length >= 0
        assert row.abandoned >= 0
        assert (row.wait_p50_s is None) == (row.wait_p90_s is None)
        assert row.wait_p50_s is None or 0 <= row.wait_p50_s <= row.wait_p90_s
    for row in records(found, "transitions"):
        assert {(row.layer, row.from_zone), (row.layer, row.to_zone)} <= zones
        assert row.count > 0
        assert 0 <= row.median_s <= row.p90_s
    events = records(found, "shelf_events")
    assert len({(row.event, row.status) for row in events}) == len(events)
    for row in events:
        assert 0 <= row.confidence <= 1
        assert (row.tag is None) == (row.tag_p is None)
        assert row.tag_p is None or 0 <= row.tag_p <= 1
    for row in records(found, "heat"):
        assert row.person_s > 0
    for row in records(found, "occupancy_estimates"):
        assert min(row.tagged, row.tagged_sigma, row.people, row.people_sigma) >= 0
        assert row.people >= row.tagged


def _check_places(positions: list[tuple[Any, ...]], store: Store) -> None:
    zones = {zone.id: zone for zone in store.zones}
    xs, ys = zip(*store.outline_m, strict=True)
    count: Counter[tuple[str, int]] = Counter()
    for t_ns, tag, stage, layer, zone, state, zone_p, x_m, y_m, sigma_m in positions:
        assert t_ns % store.rules.tick_ns == 0
        assert stage in {"live", "final"}
        assert layer in store.layers
        count[tag, t_ns] += 1
        if state == "unknown":
            assert [None] * 5 == [zone, zone_p, x_m, y_m, sigma_m]
            continue
        assert None not in {zone_p, x_m, y_m, sigma_m}, "NaN in a known row"
        assert ("outside" if zone is None else "known") == state
        assert zone is None or zones[zone].layer == layer
        assert 0 <= zone_p <= 1
        assert sigma_m >= 0
        assert min(xs) - 0.01 <= x_m <= max(xs) + 0.01
        assert min(ys) - 0.01 <= y_m <= max(ys) + 0.01
    # Two stages in every layer for each tag and tick, never more or fewer.
    assert {2 * len(store.layers)} >= set(count.values())


def _check_stays(found: dict[str, list[tuple[Any, ...]]], store: Store) -> None:
    visits, dwells = records(found, "visits"), records(found, "dwells")
    assert len({visit.visit for visit in visits}) == len(visits)
    assert len({dwell.dwell for dwell in dwells}) == len(dwells)
    by_id = {visit.visit: visit for visit in visits}
    spans: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for visit in visits:
        spans[visit.tag, "visits"].append((visit.start_ns, visit.end_ns))
        assert visit.visit_s == (visit.end_ns - visit.start_ns) / 1e9
        assert visit.visit_s >= store.rules.visit_min_s
        assert min(visit.zones, visit.hesitations, visit.taps, visit.picks, visit.returns) >= 0
        assert min(visit.path_length_m, visit.shelf_s) >= 0
        assert visit.directness is None or 0 <= visit.directness <= 1
        assert visit.purpose_p is None or 0 <= visit.purpose_p <= 1
        assert visit.tag not in store.staff_tags
    for dwell in dwells:
        visit = by_id[dwell.visit]
        assert visit.tag == dwell.tag
        assert visit.start_ns <= dwell.start_ns < dwell.end_ns <= visit.end_ns
        assert dwell.dwell_s == (dwell.end_ns - dwell.start_ns) / 1e9
        assert dwell.dwell_s >= store.rules.dwell_min_s
        assert dwell.sigma_s >= 0
        assert 0 <= dwell.confidence <= 1
        assert dwell.readings >= 0
        spans[dwell.tag, dwell.layer].append((dwell.start_ns, dwell.end_ns))
    for key, mine in spans.items():
        for before, after in itertools.pairwise(sorted(mine)):
            assert before[1] <= after[0], f"{key} overlap"


def _check_positions(
    positions: list[tuple[Any, ...]],
    expected: list[Stretch],
    evidence: dict[str, dict[int, list[str]]],
    store: Store,
) -> None:
    tick_ns = store.rules.tick_ns
    hold = max(1, int(HOLD_S / store.rules.tick_s + 1e-9))
    keys = Counter((row[1], row[0] // tick_ns - 1, row[2], row[3]) for row in positions)
    wanted = Counter(
        (tag, tick, stage, layer)
        for tag, first, last in expected
        for tick in range(first, last + 1)
        for stage in ("live", "final")
        for layer in store.layers
    )
    assert wanted == keys
    heard: dict[tuple[str, int], int] = {}
    for tag, first, last in expected:
        newest = first
        for tick in range(first, last + 1):
            newest = tick if tick in evidence[tag] else newest
            heard[tag, tick] = newest
    zones = {zone.id: zone for zone in store.zones}
    for t_ns, tag, _, layer, zone, state, zone_p, *place in positions:
        tick = t_ns // tick_ns - 1
        assert t_ns % tick_ns == 0
        if tick - heard[tag, tick] > hold:
            assert (None, "unknown", None, [None] * 3) == (zone, state, zone_p, place)
            continue
        assert None not in place
        assert 0 <= zone_p <= 1
        assert ("outside" if zone is None else "known") == state
        assert zone is None or zones[zone].layer == layer
