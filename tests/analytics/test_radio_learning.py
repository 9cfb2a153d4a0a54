"""Learning from traffic: simulated walks with a known radio give that radio back."""

import dataclasses

import numpy as np
import pytest

from analytics.cells import build_cells
from analytics.filter_model import TAP_NATS
from analytics.radio_learning import (
    EXPONENT_START,
    SURVEY_SD_DB,
    Learned,
    _for_the_unheard,
    apply_learned,
    held_out_nats,
    learn_alone,
    learn_around,
    moved_db,
    radio_map_of_law,
)
from analytics.radio_map import P0_DBM, RadioMap, radio_map_from_geometry
from analytics.traffic import Traffic, reduce_traffic, split_by_time
from analytics.traffic_pass import (
    PREDICTION_DB,
    Heard,
    Walk,
    level_offsets,
    listen,
    predicted,
    receiver_shifts,
    tap_evidence,
)
from tests.analytics.stores import shop
from tests.analytics.two_floors import heard, two_floors, walk_up

SECOND = 10**9
STORE = dataclasses.replace(shop(), obstacles=())
GRID = build_cells(STORE)
OFFSETS = np.array([6.0, -5.0, 0.0, 4.0, -6.0, 1.0])


def world(offset_db=OFFSETS, exponent=2.2) -> RadioMap:
    """Return the true radio map, without an error."""
    truth = radio_map_of_law(STORE, GRID, P0_DBM + offset_db, np.full(6, exponent))
    return dataclasses.replace(truth, source="survey")


def walked(truth: RadioMap, *, tags: int = 8, seconds: int = 90, seed: int = 0):
    """Return traffic of tags of different power that walk from point to point, and their ways."""
    rng = np.random.default_rng(seed)
    columns: list[list[np.ndarray]] = [[], [], [], []]
    ways = np.empty((tags, seconds, 2))
    for tag in range(tags):
        at, goal, power = rng.uniform(0.5, 5.5, 2), rng.uniform((0, 0), (10, 6)), rng.normal(-4, 4)
        for second in range(seconds):
            step = goal - at
            far = np.hypot(*step)
            at = at + step * min(1.0, 0.9 / max(far, 1e-9))
            if far < 1:
                goal = rng.uniform((0.3, 0.3), (9.7, 5.7))
            ways[tag, second] = at
            cell = int(np.argmin(np.hypot(GRID.x_m - at[0], GRID.y_m - at[1])))
            rssi = truth.mean_dbm[cell] + power + rng.normal(0, 3, 6)
            for column, values in zip(
                columns,
                (np.full(6, (tag * 1000 + second) * SECOND), np.arange(6), np.full(6, tag), rssi),
                strict=True,
            ):
                column.append(values)
    t, receiver, tag_ids, rssi = (np.concatenate(column) for column in columns)
    traffic = reduce_traffic(
        t.astype(np.int64), receiver.astype(np.int16), tag_ids.astype(np.int32),
        rssi.astype(np.float32), receivers=6, tick_ns=SECOND,
    )  # fmt: skip
    return traffic, ways


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Return traffic in the true world."""
    return walked(world())[0]


def spread(values) -> float:
    """Return the root mean square without the common mean, which is the tags' affair."""
    return float(np.std(np.asarray(values)))


def test_without_a_survey_the_receivers_offsets_are_found(traffic: Traffic) -> None:
    known = learn_alone(STORE, GRID, traffic)
    learned = apply_learned(None, STORE, GRID, known)
    before = radio_map_from_geometry(STORE, GRID)
    error = [
        spread((radio.mean_dbm - world().mean_dbm).mean(axis=0)) for radio in (before, learned)
    ]
    assert error[0] > 4
    assert error[1] < 1.2
    assert learned.source == "learned"
    early, late = split_by_time(traffic, 0.8)
    candidate = apply_learned(None, STORE, GRID, learn_alone(STORE, GRID, early))
    assert held_out_nats(candidate, STORE, GRID, late) > held_out_nats(before, STORE, GRID, late)
    assert np.median(moved_db(before, learned, GRID, known)) == pytest.approx(0, abs=1e-9)
    assert np.corrcoef(OFFSETS, moved_db(before, learned, GRID, known))[0, 1] > 0.95


@pytest.mark.parametrize("shift_db", [-8.0, 6.0])
def test_the_map_follows_a_receiver_that_was_moved_since_the_survey(shift_db: float) -> None:
    drift = np.array([0.0, 0.0, shift_db, 0.0, 0.0, 0.0])
    today, _ = walked(world(OFFSETS + drift - 3))
    anchor = world()
    known = learn_around(anchor, STORE, GRID, today)
    learned = apply_learned(anchor, STORE, GRID, known)
    moved = moved_db(anchor, learned, GRID, known)
    assert moved[2] == pytest.approx(shift_db, abs=1.5)
    assert np.abs(np.delete(moved, 2)).max() < 1.5
    assert np.median(moved) == pytest.approx(0, abs=1e-9)
    # Cells where nobody walked follow as well: it is the receiver that moved.
    change = (learned.mean_dbm - anchor.mean_dbm).T
    change -= np.median(change)
    assert np.abs(change[2] - shift_db).max() < 4
    assert np.abs(np.delete(change, 2, axis=0)).mean() < 1


def test_shifts_are_found_with_their_error() -> None:
    drift = np.array([0.0, 0.0, 0.0, 7.0, 0.0, 0.0])
    errors, claimed = [], []
    for seed in range(4):
        today, _ = walked(world(OFFSETS + drift), seed=seed)
        found = receiver_shifts(today, world(), Walk(GRID, tick_s=1.0))
        assert np.median(found.shift_db) == pytest.approx(0, abs=1e-9)
        errors.append(found.shift_db - drift)
        claimed.append(found.sd_db)
    assert np.abs(errors).max() < 1.5
    assert np.sqrt(np.mean(np.square(errors))) < 3 * np.mean(claimed)
    assert np.max(claimed) < 1.5


def test_a_receiver_without_levels_has_no_shift(traffic: Traffic) -> None:
    deaf = traffic.level_db.copy()
    deaf[:, 4] = np.nan
    found = receiver_shifts(
        dataclasses.replace(traffic, level_db=deaf), world(), Walk(GRID, tick_s=1.0)
    )
    assert [4] == np.flatnonzero(np.isnan(found.shift_db)).tolist()
    assert np.isnan(found.sd_db[4])
    assert not found.moved(0.0)[4]
    everybody = np.ones(6, np.bool_)
    assert np.array_equal(found.applied(world(), everybody).mean_dbm[:, 4], world().mean_dbm[:, 4])


def test_receivers_may_have_laws_of_their_own() -> None:
    slopes = np.array([1.4, 2.6, 2.0, 2.6, 1.4, 2.0])
    truth = world(np.array([0, 8, 0, 8, 0, 0.0]), slopes)
    heard, _ = walked(truth, tags=12)
    known = learn_alone(STORE, GRID, heard)
    assert np.corrcoef(slopes, known.exponent)[0, 1] > 0.8
    law = radio_map_of_law(STORE, GRID, known.p0_dbm, known.exponent)
    assert spread((law.mean_dbm - truth.mean_dbm).mean(axis=0)) < 1.0


def test_receivers_that_heard_nothing_get_the_shift_of_the_others() -> None:
    weight = np.ones((2, 3))
    weight[:, 2] = 0
    heard = Heard(weight=weight, level_db=weight, offset_db=np.zeros(1), levels=np.zeros(1))
    start = np.array([-59.0, -60.0, -61.0])
    found = _for_the_unheard(np.array([-63.0, -66.0, -61.0]), start, heard)
    assert [-63, -66, -66] == found.tolist()


def test_tracks_of_different_length_do_not_disturb_each_other(traffic: Traffic) -> None:
    long, short = (walked(world(), tags=1, seconds=n, seed=n)[0] for n in (60, 17))
    both = Traffic(
        level_db=np.concatenate([short.level_db, long.level_db]),
        tick=np.concatenate([short.tick, long.tick]), start=np.array([0, 17, 77]),
        tag=np.array([0, 1], np.int32), readings=short.readings + long.readings,
    )  # fmt: skip
    truth, walk = world(), Walk(GRID, tick_s=1.0)
    found = [listen(t, truth, walk, level_offsets(t, truth, walk)) for t in (short, long, both)]
    assert np.allclose(found[0].weight + found[1].weight, found[2].weight, atol=1e-3)
    assert np.allclose(found[0].level_db + found[1].level_db, found[2].level_db, atol=0.05)
    expected = [*found[0].offset_db, *found[1].offset_db]
    assert np.allclose(expected, found[2].offset_db, atol=1e-3)


def test_prediction_is_the_density_of_what_comes_next() -> None:
    truth, walk = world(), Walk(GRID, tick_s=1.0)
    level = truth.mean_dbm[[30, 31]] + 75 + np.array([[3.0], [-2.0]])
    level[1, 2:] = np.nan
    two = Traffic(
        level_db=level.astype(np.float32), tick=np.array([7, 8]), start=np.array([0, 2]),
        tag=np.zeros(1, np.int32), readings=np.full(6, 2),
    )  # fmt: skip
    belief, expected = walk.prior[:, 0].astype(float), 0.0
    for row in level:
        belief = walk.forward.astype(float) @ belief
        z2 = ((row - 1.5 - truth.mean_dbm - 75) / PREDICTION_DB) ** 2
        joint = belief * np.exp(np.nansum(-2.5 * np.log1p(z2 / 4), axis=1))
        expected += np.log(joint.sum()) / 8
        belief = joint / joint.sum()
    assert expected == pytest.approx(predicted(two, truth, walk, np.array([1.5])), abs=1e-4)


def test_a_right_survey_is_hardly_moved(traffic: Traffic) -> None:
    anchor = world()
    learned = apply_learned(anchor, STORE, GRID, learn_around(anchor, STORE, GRID, traffic))
    change = learned.mean_dbm - anchor.mean_dbm
    change -= change.mean()
    assert np.sqrt((change**2).mean()) < 0.8
    assert np.abs(change).max() < 2 * SURVEY_SD_DB
    assert (learned.sd_db <= anchor.sd_db).all()


def test_a_weaker_tag_teaches_the_same(traffic: Traffic) -> None:
    weaker = dataclasses.replace(traffic, level_db=traffic.level_db - np.float32(12))
    maps = [
        apply_learned(None, STORE, GRID, learn_alone(STORE, GRID, each))
        for each in (traffic, weaker)
    ]
    assert np.allclose(maps[0].mean_dbm, maps[1].mean_dbm, atol=0.05)


def test_the_same_traffic_gives_the_same_map_to_the_bit(traffic: Traffic) -> None:
    first, second = (learn_alone(STORE, GRID, traffic) for _ in range(2))
    for field in dataclasses.fields(Learned):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


def test_a_receiver_that_hears_nothing_moves_with_the_others(traffic: Traffic) -> None:
    deaf = traffic.level_db.copy()
    deaf[:, 4] = np.nan
    known = learn_alone(STORE, GRID, dataclasses.replace(traffic, level_db=deaf))
    assert known.p0_dbm is not None
    assert known.exponent is not None
    assert not (known.receiver == 4).any()
    assert np.delete(known.p0_dbm, 4).mean() == pytest.approx(known.p0_dbm[4], abs=3)
    assert known.exponent[4] == pytest.approx(EXPONENT_START)
    learned = apply_learned(None, STORE, GRID, known)
    assert np.isfinite(learned.mean_dbm).all()
    assert np.isnan(moved_db(learned, learned, GRID, known)[4])


def test_a_tag_that_never_moves_teaches_only_its_place() -> None:
    rows = np.arange(200)
    level = np.repeat(world().mean_dbm[[25]].astype(np.float32) + 75, 200, axis=0)
    still = Traffic(
        level_db=level, tick=rows.astype(np.int64), start=np.array([0, 200]),
        tag=np.zeros(1, np.int32), readings=np.full(6, 200),
    )  # fmt: skip
    anchor = world()
    learned = apply_learned(anchor, STORE, GRID, learn_around(anchor, STORE, GRID, still))
    assert np.isfinite(learned.mean_dbm).all()
    assert np.abs(learned.mean_dbm - anchor.mean_dbm).max() < 2
    alone = apply_learned(None, STORE, GRID, learn_alone(STORE, GRID, still))
    assert np.isfinite(alone.mean_dbm).all()


def test_taps_place_those_who_tap(traffic: Traffic) -> None:
    truth, walk = world(), Walk(GRID, tick_s=1.0)
    offsets = level_offsets(traffic, truth, walk)
    corner = np.log(np.exp(-TAP_NATS) + (GRID.x_m > 9) * (GRID.y_m > 5)).astype(np.float32)
    when = traffic.tick[traffic.start[0]]
    taps = tap_evidence(
        traffic, np.array([when + 3, when + 3, when - 50]), np.zeros(3, np.int32),
        np.stack([corner] * 3),
    )  # fmt: skip
    assert {0: {3}} == {piece: set(ticks) for piece, ticks in taps.items()}
    assert np.allclose(2 * corner, taps[0][3])
    plain, tapped = listen(traffic, truth, walk, offsets), listen(
        traffic, truth, walk, offsets, taps=taps
    )  # fmt: skip
    there = (GRID.x_m > 9) & (GRID.y_m > 5)
    assert tapped.weight[there].sum() > plain.weight[there].sum()


def test_places_follow_the_truth_under_the_right_map() -> None:
    one, ways = walked(world(), tags=1)
    walk = Walk(GRID, tick_s=1.0)
    heard = listen(one, world(), walk, level_offsets(one, world(), walk))
    heard = listen(one, world(), walk, heard.offset_db)
    share = heard.weight.sum(axis=1) / heard.weight.sum()
    assert ways[0, :, 0].mean() == pytest.approx(share @ GRID.x_m, abs=0.4)
    assert ways[0, :, 1].mean() == pytest.approx(share @ GRID.y_m, abs=0.4)


def test_what_has_no_anchor_is_refused() -> None:
    nothing = np.empty(0)
    known = Learned(
        p0_dbm=None, exponent=None, x_m=nothing, y_m=nothing, receiver=np.empty(0, np.int16),
        residual_db=nothing, weight=nothing,
    )  # fmt: skip
    with pytest.raises(ValueError, match="neither a survey nor a law"):
        apply_learned(None, STORE, GRID, known)


FLOORS = two_floors()
CELLS = build_cells(FLOORS)


def taught(receiver: int, floor: int | None, residual_db: float) -> Learned:
    """Return one certain residual near the middle of the plan."""
    return Learned(
        p0_dbm=np.full(12, P0_DBM), exponent=np.full(12, 2.0), x_m=np.array([8.0]),
        y_m=np.array([4.0]), receiver=np.array([receiver], np.int16),
        residual_db=np.array([residual_db]), weight=np.array([1000.0]),
        floor=None if floor is None else np.array([floor], np.int16),
    )  # fmt: skip


@pytest.mark.parametrize("floor", [0, 1, None])
def test_a_residual_stays_on_its_floor(floor: int | None) -> None:
    law = radio_map_of_law(FLOORS, CELLS, np.full(12, P0_DBM), np.full(12, 2.0))
    found = apply_learned(None, FLOORS, CELLS, taught(3, floor, 6.0))
    change = found.mean_dbm - law.mean_dbm
    here = CELLS.floor == (floor or 0)
    assert change[here, 3].max() > 2
    assert not change[~here].any()
    assert not np.delete(change, 3, axis=1).any()
    assert np.array_equal(law.sd_db[~here], found.sd_db[~here])


def test_a_law_has_the_loss_of_the_ceiling() -> None:
    law = radio_map_of_law(FLOORS, CELLS, np.full(12, P0_DBM), np.full(12, 2.0))
    assert np.allclose(radio_map_from_geometry(FLOORS, CELLS).mean_dbm, law.mean_dbm)
    # The same place on both floors, for the receivers above each other.
    half = len(CELLS) // 2
    assert (law.mean_dbm[:half, 0] - law.mean_dbm[:half, 6] > 14).all()


def test_a_receiver_moved_by_what_changed_on_the_floor_where_people_were() -> None:
    before = radio_map_from_geometry(FLOORS, CELLS)
    change = np.where(CELLS.floor == 1, 5.0, -20.0)
    mean = before.mean_dbm + np.outer(change, np.arange(12) == 3)
    after = dataclasses.replace(before, mean_dbm=mean)
    parts = [taught(at, 1, 0.0) for at in range(12)]
    known = dataclasses.replace(
        parts[0],
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("x_m", "y_m", "receiver", "residual_db", "weight", "floor")
        },
    )
    expected = [5.0 if at == 3 else 0.0 for at in range(12)]
    assert expected == pytest.approx(moved_db(before, after, CELLS, known).tolist())


def test_traffic_of_two_floors_teaches_each_its_own() -> None:
    walks = [heard(FLOORS, str(seed), walk_up(), seed=seed, noise_db=3.0) for seed in range(6)]
    rows = [row for walk in walks for row in walk.readings]
    t_ns, receiver, tag, rssi = (np.array(column) for column in zip(*rows, strict=True))
    traffic = reduce_traffic(
        t_ns, receiver.astype(np.int16), tag.astype(np.int32), rssi, receivers=12, tick_ns=SECOND
    )
    known = learn_around(radio_map_from_geometry(FLOORS, CELLS), FLOORS, CELLS, traffic)
    assert {0, 1} == set(known.on_floor.tolist())
    at = np.argmin(
        np.hypot(np.subtract.outer(known.x_m, CELLS.x_m), np.subtract.outer(known.y_m, CELLS.y_m))
        + 1e3 * np.not_equal.outer(known.on_floor, CELLS.floor),
        axis=1,
    )
    assert np.array_equal(CELLS.floor[at], known.on_floor)
    # The generator's law is that of geometry: nothing is left to learn on either floor.
    for floor in (0, 1):
        mine = known.on_floor == floor
        assert abs(np.average(known.residual_db[mine], weights=known.weight[mine])) < 2
