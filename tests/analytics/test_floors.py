"""Floors through the engine: a walk up the stairs is one visit that changes floor once.

The shop, the levels and the truth are those of `tests.analytics.two_floors`.
"""

import itertools

import numpy as np
import pytest

from analytics.flow import transitions
from analytics.rows import Visit
from tests.analytics.stores import SECOND, START_NS, Bench, Rows
from tests.analytics.two_floors import heard, two_floors, walk_up, without_floors

AWAY_S = 3
"""So long before and after the stairs the floor must be right."""
PATH = ["entrance", "shoes", "below", "above", "shirts", "toys"]


def walked(*, seed=0, back=False, noise_db=4.0):
    """Return the engine after a walk, and the walk."""
    store, walk = two_floors(), walk_up(back=back)
    bench = Bench(store, ["a"])
    bench.add(heard(store, "a", walk, seed=seed, noise_db=noise_db).arrivals())
    bench.finish()
    return bench, walk


def columns(bench, stage):
    """Return the columns of the position rows of a stage, by time, with the second of each."""
    parts = bench.out.positions
    found = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("t_ns", "stage", "zone", "zone_state", "floor", "x_m", "y_m")
    }
    order = np.argsort(found["t_ns"], kind="stable")
    order = order[found["stage"][order] == stage]
    found = {name: column[order] for name, column in found.items()}
    found["second"] = (found["t_ns"] - START_NS) // SECOND
    return found


@pytest.mark.parametrize("seed", [0, 1, 5])
@pytest.mark.parametrize("stage", [0, 1])
def test_the_floor_is_right_away_from_the_stairs_and_does_not_flap(seed, stage):
    bench, walk = walked(seed=seed, back=True)
    rows = columns(bench, stage)
    at = np.minimum(rows["second"], len(walk) - 1)
    near = np.array([(walk.floor[max(0, s - AWAY_S) : s + AWAY_S + 1] < 0).any() for s in at])
    assert (rows["floor"] == walk.floor[at])[~near].mean() >= 0.95
    assert 2 == np.count_nonzero(np.diff(rows["floor"].astype(int)))


@pytest.mark.parametrize("seed", range(4))
def test_the_floor_of_a_row_is_that_of_its_zone_and_near_the_truth(seed):
    bench, walk = walked(seed=seed, noise_db=6.0)
    floor_of = np.array([bench.store.floor_index(zone.floor) for zone in bench.store.zones])
    for stage in (0, 1):
        rows = columns(bench, stage)
        known = rows["zone_state"] == 0
        assert known.any()
        assert floor_of[rows["zone"][known]].tolist() == rows["floor"][known].tolist()
        at = np.minimum(rows["second"], len(walk) - 1)
        far = np.hypot(rows["x_m"] - walk.x_m[at], rows["y_m"] - walk.y_m[at])
        assert np.median(far) < 1.5


def test_the_walk_is_one_visit_over_the_stairs():
    bench, _ = walked()
    assert 1 == len(bench.out.visits)
    visit: Visit = bench.out.visits[0]
    assert PATH == visit.path.split(">")
    assert visit.directness is not None
    assert 0.5 < visit.directness <= 1
    counted = {(row.from_zone, row.to_zone): row.count for row in transitions(bench.out.dwells)}
    assert dict.fromkeys(itertools.pairwise(PATH), 1) == counted


def test_the_live_picture_knows_the_floor():
    store, walk = two_floors(), walk_up()
    bench = Bench(store, ["a", "b"])
    standing = heard(store, "b", walk).readings
    up = heard(store, "a", walk).readings
    end_ns = max(row[0] for row in up)
    bench.add(
        Rows(readings=[*up, *(r for r in standing if r[0] < START_NS + 5 * SECOND)]).arrivals()
    )
    bench.advance(START_NS + 5 * SECOND)
    assert [0, 0] == bench.engine.live().floor.tolist()
    bench.advance(end_ns)
    live = bench.engine.live()
    assert ([1], [0]) == (live.floor.tolist(), live.tag.tolist())


def test_one_floor_alone_has_no_other():
    store = without_floors(two_floors())
    bench = Bench(store, ["a"])
    bench.add(heard(store, "a", walk_up()).arrivals())
    bench.finish()
    assert {0} == set(columns(bench, 1)["floor"].tolist())


def test_a_silence_on_the_way_up_ends_on_the_right_floor():
    store, walk = two_floors(), walk_up()
    stairs = np.flatnonzero(walk.floor < 0)
    quiet = (START_NS + (stairs[0] - 5) * SECOND, START_NS + (stairs[-1] + 25) * SECOND)
    rows = [row for row in heard(store, "a", walk).readings if not quiet[0] < row[0] < quiet[1]]
    bench = Bench(store, ["a"])
    bench.add(Rows(readings=rows).arrivals())
    bench.finish()
    assert 1 == len(bench.out.visits)
    for stage in (0, 1):
        found = columns(bench, stage)
        late = found["t_ns"] > quiet[1] + AWAY_S * SECOND
        assert {1} == set(found["floor"][late].tolist())
        places = np.stack([found["x_m"], found["y_m"]])[:, found["zone_state"] != 1]
        assert np.isfinite(places).all()
