"""Visit and dwell rows: path, length, directness, hesitations, shelf time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.cells import build_cells, walking_distances
from analytics.dwell import Stay
from analytics.rows import ShelfEvent
from analytics.visits import STRIDE_M, OpenVisit, VisitRows, Walks
from tests.analytics.stores import SECOND, START_NS, shop

STORE = shop(shelves=True)
GRID = build_cells(STORE)
CELLS = np.stack([GRID.x_m, GRID.y_m], axis=1)
ROWS = VisitRows(STORE, GRID)
T0 = START_NS // SECOND
ZONES = {zone.id: i for i, zone in enumerate(STORE.zones)}


def visit(*stays: tuple[str, int, int], last: int = 600) -> OpenVisit:
    """Return a visit with these stays (zone, first, last), in seconds of the visit."""
    one = ROWS.open("p_one", T0)
    one.last = T0 + last
    for zone, first, end in stays:
        stay = Stay(
            seat=0,
            zone=ZONES[zone],
            first=T0 + first,
            last=T0 + end,
            confidence=0.9,
            sigma_s=1.0,
            readings=5,
        )
        one.dwells.append(ROWS.dwell(one, stay))
    return one


def event(kind: str, quantity: int) -> ShelfEvent:
    """Return a shelf event."""
    return ShelfEvent(
        event="e", t_ns=0, shelf="shelf-1", sensor="plate-1", gtin=None, kind=kind,
        status="final", quantity=quantity, delta_g=0.0, confidence=1.0,
    )  # fmt: skip


def test_times_are_those_of_the_ticks_first_to_last() -> None:
    row = ROWS.close(visit(last=59))
    assert (T0 * SECOND, (T0 + 60) * SECOND, 60.0) == (row.start_ns, row.end_ns, row.visit_s)
    (dwell,) = visit(("aisle", 10, 19)).dwells
    assert ((T0 + 10) * SECOND, (T0 + 20) * SECOND) == (dwell.start_ns, dwell.end_ns)
    assert dwell.dwell_s == 10.0
    assert (dwell.layer, dwell.zone, dwell.visit) == ("main", "aisle", row.visit)


def test_path_joins_zones_of_layer_main_without_repeats_in_a_row() -> None:
    row = ROWS.close(
        visit(
            ("entrance", 0, 9),
            ("left", 0, 99),
            ("aisle", 10, 19),
            ("aisle", 50, 59),
            ("promo", 60, 69),
            ("aisle", 70, 79),
        )
    )
    assert row.path == "entrance>aisle>promo>aisle"
    assert row.zones == 3


def test_coming_back_soon_is_hesitation_only_where_one_shops() -> None:
    back = [("aisle", 10, 19), ("promo", 30, 39), ("aisle", 50, 59)]
    assert ROWS.close(visit(*back)).hesitations == 1
    assert ROWS.close(visit(*back[:2], ("aisle", 330, 339))).hesitations == 0
    gates = [("entrance", 10, 19), ("checkout", 30, 39), ("entrance", 50, 59)]
    assert ROWS.close(visit(*gates)).hesitations == 0
    assert ROWS.close(visit(("aisle", 10, 19), ("aisle", 50, 59))).hesitations == 0


def test_returned_items_are_hesitations_and_picks_are_counted() -> None:
    one = visit()
    for kind, quantity in (("pick", 2), ("return", 1), ("touch", 5), ("pick", 1)):
        one.book(event(kind, quantity))
    row = ROWS.close(one)
    assert (3, 1, 1) == (row.picks, row.returns, row.hesitations)


def test_shelf_time_counts_engaged_stays_in_zones_with_shelves() -> None:
    row = ROWS.close(visit(("promo", 0, 6), ("promo", 50, 57), ("aisle", 60, 99)))
    assert row.shelf_s == 8.0


def test_identifiers_are_stable_and_differ() -> None:
    one, two = ROWS.open("p_one", T0), ROWS.open("p_two", T0)
    assert one.visit == ROWS.open("p_one", T0).visit
    assert len({one.visit, two.visit, ROWS.open("p_one", T0 + 1).visit}) == 3
    names = [d.dwell for d in visit(("aisle", 0, 9), ("left", 0, 9), ("aisle", 20, 29)).dwells]
    assert len(set(names)) == 3


def places_of(x: list[float], y: list[float]) -> tuple[np.ndarray, ...]:
    """Return places on the first floor as columns."""
    return np.array(x, np.float32), np.array(y, np.float32), np.zeros(len(x), np.uint8)


def walked(places: list[tuple[float, float]]) -> OpenVisit:
    """Return a visit that walked over these places."""
    walks, one = Walks(), visit(("aisle", 0, 9))
    walks.grow(3)
    walks.begin(np.array([1]))
    for x, y in places:
        walks.move(np.array([1]), *places_of([x], [y]))
    walks.end(1, one)
    return one


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 6)), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_length_agrees_with_the_rule_and_directness_is_a_share(places) -> None:
    places = [(float(np.float32(x)), float(np.float32(y))) for x, y in places]
    length, anchor = 0.0, places[0]
    for here in places[1:]:
        step = float(np.hypot(here[0] - anchor[0], here[1] - anchor[1]))
        if step >= STRIDE_M:
            length, anchor = length + step, here
    one = walked(places)
    assert length == pytest.approx(one.walked_m, abs=1e-6)
    assert (*places[0], 0) == pytest.approx(tuple(one.start_place))
    assert (*places[-1], 0) == pytest.approx(tuple(one.place))
    row = ROWS.close(one)
    assert (row.directness is None) == (length == 0)
    assert row.directness is None or 0 <= row.directness <= 1


def test_straight_walk_is_direct_and_a_detour_is_not() -> None:
    straight = [(x, 1.5) for x in np.arange(0.5, 9.6, 0.5)]
    detour = [*straight, *((9.5, y) for y in np.arange(2, 5.6, 0.5)), *straight[::-1]]
    assert ROWS.close(walked(straight)).directness == pytest.approx(1.0, abs=0.02)
    assert ROWS.close(walked(detour)).directness < 0.5


def test_jitter_walks_nowhere() -> None:
    rng = np.random.default_rng(0)
    row = ROWS.close(walked([tuple(p) for p in rng.uniform(3, 3.6, (200, 2))]))
    assert row.path_length_m == 0
    assert row.directness is None


def test_lanes_do_not_mix_their_walks() -> None:
    walks = Walks()
    walks.grow(1)
    walks.grow(2)
    both = np.array([0, 1])
    walks.begin(both)
    for x in range(5):
        walks.move(both, *places_of([x, 0], [0, 2 * x]))
    found = []
    for lane in (0, 1):
        one = visit()
        walks.end(lane, one)
        found.append(one.walked_m)
    assert [4.0, 8.0] == found
    walks.begin(np.array([0]))
    walks.move(np.array([0]), *places_of([3], [3]))
    walks.end(0, one := visit())
    assert (0.0, [3.0, 3.0, 0.0]) == (one.walked_m, one.start_place.tolist())


def test_visit_without_a_stay_is_unknown_and_has_no_path() -> None:
    row = ROWS.close(visit())
    assert ("", 0, None, "unknown", None) == (
        row.path, row.zones, row.directness, row.purpose, row.purpose_p,
    )  # fmt: skip


def test_directness_uses_walks_round_obstacles() -> None:
    table = walking_distances(GRID)
    pairs = list(itertools.combinations(range(0, len(GRID), 7), 2))
    for a, b in pairs:
        assert table[a, b] >= np.hypot(*(CELLS[a] - CELLS[b])) - 1e-9
