"""The position filter against a float64 filter written from its docstrings, cell by cell."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from analytics.cells import build_cells, transition_matrix
from analytics.filter_model import (
    REFERENCE_DBM,
    SIGMA_FINAL_M,
    SIGMA_LIVE_M,
    TILE_M,
    Model,
    build_model,
)
from analytics.radio_map import radio_map_from_geometry
from analytics.tracker import (
    OFFSET_DRIFT_DB2,
    OFFSET_START_DB2,
    STUDENT_NU,
    Scratch,
    Tracker,
)
from tests.analytics.stores import rssi_at, shop

STORE = shop()
GRID = build_cells(STORE)
MAP = radio_map_from_geometry(STORE, GRID)
MODEL = build_model(GRID, MAP, tick_s=1.0)
RECEIVERS = len(STORE.receivers)


def tracker_of(lanes: int, depth: int, model: Model = MODEL) -> Tracker:
    """Return a tracker with scratch of its own."""
    return Tracker(model, Scratch(model, lanes), lanes=lanes, depth=depth)


def everybody(lanes: int) -> Callable[[int], np.ndarray]:
    """Return equal weights for all lanes."""
    return lambda _tick: np.ones(lanes, np.float32)


class Reference:
    """One tag, in float64: place and power, the power integrated out tile by tile."""

    def __init__(self) -> None:
        self.T = transition_matrix(GRID, SIGMA_LIVE_M)
        self.M = MAP.mean_dbm - REFERENCE_DBM
        self.noise = MAP.noise_db**2
        self.p = GRID.weight / GRID.weight.sum()
        x, y = GRID.x_m - GRID.x_m.min(), GRID.y_m - GRID.y_m.min()
        tile = np.stack([x, y]) // TILE_M
        self.same = (tile[:, :, None] == tile[:, None, :]).all(0).astype(float)
        # Where those of a tile go whose place within it is as likely as at first.
        apart = self.p / (self.same @ self.p)
        self.tiles = (self.same * apart) @ self.T @ self.same
        self.prior = self.p
        self.b = np.zeros(len(GRID))
        self.v = OFFSET_START_DB2

    def step(self, y: np.ndarray, heard: np.ndarray, nats: np.ndarray | float = 0.0) -> np.ndarray:
        """Advance one tick; return the log likelihood of each cell."""
        moved = self.T.T @ self.p
        # One offset per tile, held in each of its cells: mass and moment of a tile move.
        size = self.same.sum(0)
        mass, moment = self.same @ self.p, self.same @ (self.p * self.b)
        mass_moved = self.tiles.T @ (mass / size)
        self.b = (self.tiles.T @ (moment / size)) / mass_moved
        mass_moved = mass_moved / size
        self.v = min(self.v + OFFSET_DRIFT_DB2, OFFSET_START_DB2)
        level = self.M + self.b[:, None]
        mu = moved @ self.M + mass_moved @ self.b
        spread = moved @ (self.M - moved @ self.M) ** 2 + self.v + self.noise
        # The moved tiles stand for the moved cells, as far as the offset goes.
        spread += mass_moved @ self.b**2 - (mass_moved @ self.b) ** 2
        u = heard * (STUDENT_NU + 1) / (STUDENT_NU + (y - mu) ** 2 / spread)
        # A sum of Gaussians in the deviation of the offset, which has variance v:
        # -sum u (e - o)^2 / 2 s^2 - o^2 / 2 v is largest at o = D / W, and integrates to
        # exp(D^2 / 2 W) over the Gaussian factor.
        e = y - level
        D = (u * e).sum(1) / self.noise
        W = u.sum() / self.noise + 1 / self.v
        loglike = -0.5 * (u * e**2).sum(1) / self.noise + D**2 / (2 * W) + nats
        loglike -= loglike.max()
        self.p = moved * np.exp(loglike)
        self.p /= self.p.sum()
        self.b = self.same @ (self.p * (self.b + D / W)) / (self.same @ self.p)
        self.v = 1 / W
        return loglike

    def place(self) -> tuple[float, float]:
        """Return the mean place."""
        return float(self.p @ GRID.x_m), float(self.p @ GRID.y_m)


def walk(seed: int, ticks: int, *, power_dbm: float = -59.0, lost: float = 0.3):
    """Return levels and heard flags, shape (ticks, receivers), of a noisy walk."""
    rng = np.random.default_rng(seed)
    place = np.array([5.0, 2.0])
    levels, heard = [], []
    for _ in range(ticks):
        place = np.clip(place + rng.normal(0, 0.7, 2), [0.2, 0.2], [9.8, 5.8])
        rssi = rssi_at(STORE, *place, power_dbm=power_dbm) + rng.standard_t(4, RECEIVERS) * 4
        flags = rng.random(RECEIVERS) > lost
        levels.append(np.where(flags, rssi - REFERENCE_DBM, 0.0))
        heard.append(flags)
    return np.array(levels), np.array(heard, float)


def stepped(tracker: Tracker, tick: int, columns: dict[int, tuple[np.ndarray, np.ndarray]], **kw):
    """Step a tracker with the levels of some lanes; others hear nothing."""
    level = np.zeros((RECEIVERS, tracker.lanes), np.float32)
    heard = np.zeros_like(level)
    for lane, (values, flags) in columns.items():
        level[:, lane], heard[:, lane] = values, flags
    return tracker.step(tick, level, heard, **kw)


def places(readout: np.ndarray, lane: int) -> tuple[float, float]:
    """Return x and y of a readout."""
    return (
        float(readout[0, lane]) + MODEL.origin_m[0],
        float(readout[1, lane]) + MODEL.origin_m[1],
    )


@pytest.mark.parametrize(("seed", "power_dbm"), [(0, -59.0), (1, -71.0), (2, -50.0)])
def test_agrees_with_the_float64_reference(seed: int, power_dbm: float) -> None:
    tracker, reference = tracker_of(8, 4), Reference()
    levels, heard = walk(seed, 60, power_dbm=power_dbm)
    heard[20:25] = 0  # silence
    heard[30:33, 1:] = 0  # one receiver alone
    for tick in range(60):
        nats = None
        if tick == 40:
            nats = np.log(np.exp(-6.0) + GRID.zone_share[1])
        given = {"tapped": {3: nats.astype(np.float32)}} if nats is not None else {}
        readout = stepped(tracker, tick, {3: (levels[tick], heard[tick])}, **given)
        reference.step(levels[tick], heard[tick], 0.0 if nats is None else nats)
        assert places(readout, 3) == pytest.approx(reference.place(), abs=1e-3)
        shares = GRID.zone_share @ reference.p
        assert np.allclose(readout[4:, 3], shares, atol=1e-4)


def test_readout_holds_the_spread_of_the_belief() -> None:
    tracker = tracker_of(2, 2)
    readout = stepped(tracker, 0, {})
    p = transition_matrix(GRID, SIGMA_LIVE_M).T @ MODEL.prior[:, 0]
    variance = p @ GRID.x_m**2 - (p @ GRID.x_m) ** 2
    assert readout[2, 0] - readout[0, 0] ** 2 == pytest.approx(variance, rel=1e-3)


def test_smoothing_agrees_with_all_paths_of_the_chain() -> None:
    ticks, depth = 4, 4
    store = shop(cell_m=3.5)
    grid = build_cells(store)
    model = build_model(grid, radio_map_from_geometry(store, grid), tick_s=1.0)
    tracker = tracker_of(2, depth, model)
    T = transition_matrix(grid, SIGMA_FINAL_M)
    cells = range(len(grid))
    assert len(grid) == 6
    levels, heard = walk(5, ticks)
    for tick in range(ticks):
        stepped(tracker, tick, {1: (levels[tick], heard[tick])})
    beliefs = tracker._beliefs[:, :, 1].astype(np.float64)
    likelihood = tracker._likelihoods[:, :, 1].astype(np.float64)
    found = [row for row, _ in tracker.smooth(ticks - 1, 0, ticks - 1, everybody(2))]
    for tick in range(ticks):
        mass = np.zeros(len(grid))
        for path in itertools.product(cells, repeat=ticks - tick):
            weight = beliefs[tick, path[0]]
            for later, (a, b) in enumerate(itertools.pairwise(path), tick + 1):
                weight *= T[a, b] * likelihood[later, b]
            mass[path[0]] += weight
        mass /= mass.sum()
        assert found[tick][0, 1] + model.origin_m[0] == pytest.approx(mass @ grid.x_m, abs=1e-3)
        assert found[tick][1, 1] + model.origin_m[1] == pytest.approx(mass @ grid.y_m, abs=1e-3)


def test_smoothing_in_stretches_is_smoothing_at_once() -> None:
    levels, heard = walk(6, 12)
    tracker = tracker_of(4, 12)
    for tick in range(12):
        stepped(tracker, tick, {0: (levels[tick], heard[tick])})
    whole = tracker.smooth(11, 3, 9, everybody(4))
    assert len(whole) == 7
    parts = tracker.smooth(11, 3, 5, everybody(4)) + tracker.smooth(11, 6, 9, everybody(4))
    for expected, actual in zip(whole, parts, strict=True):
        assert np.array_equal(expected[0], actual[0])
        assert np.array_equal(expected[1], actual[1])


def test_sum_over_lanes_is_weighted() -> None:
    levels, heard = walk(6, 6)
    tracker = tracker_of(4, 6)
    for tick in range(6):
        stepped(tracker, tick, {0: (levels[tick], heard[tick])})
    weights = {tick: np.array([tick, 0, 0.5, 0], np.float32) for tick in range(6)}
    for tick, (_, cells) in enumerate(tracker.smooth(5, 2, 4, weights.__getitem__), 2):
        assert cells.shape == (len(GRID),)
        assert tick + 0.5 == pytest.approx(float(cells.sum()), rel=1e-4)


def test_power_of_the_tag_does_not_matter_after_the_first_seconds() -> None:
    tracker = tracker_of(4, 2)
    levels, heard = walk(7, 60, lost=0.1)
    apart = []
    for tick in range(60):
        weak = np.where(heard[tick] > 0, levels[tick] - 12, 0.0)
        lanes = {0: (levels[tick], heard[tick]), 2: (weak, heard[tick])}
        readout = stepped(tracker, tick, lanes)
        apart.append(np.hypot(*(readout[:2, 0] - readout[:2, 2])))
    assert max(apart[10:]) < 0.05


@pytest.mark.parametrize("lanes", [64, 192])
def test_other_lanes_do_not_change_a_lane_by_a_single_bit(lanes: int) -> None:
    alone, crowded = (tracker_of(lanes, 6) for _ in range(2))
    rng = np.random.default_rng(8)
    levels, heard = walk(9, 30)
    mine = lanes - 5
    for tick in range(30):
        lane = {mine: (levels[tick], heard[tick])}
        others = {
            at: (rng.normal(0, 12, RECEIVERS), (rng.random(RECEIVERS) > 0.4).astype(float))
            for at in range(lanes)
            if at != mine
        }
        if tick == 12:
            crowded.start(3)
        a = stepped(alone, tick, lane)
        b = stepped(crowded, tick, lane | others)
        assert np.array_equal(a[:, mine], b[:, mine])
    first, second = (tracker.smooth(29, 25, 28, everybody(lanes)) for tracker in (alone, crowded))
    for (a, _), (b, _) in zip(first, second, strict=True):
        assert np.array_equal(a[:, mine], b[:, mine])


def test_restart_forgets_the_place_and_keeps_the_power_it_is_given() -> None:
    levels, heard = walk(10, 20, power_dbm=-71.0)
    known = tracker_of(64, 2)
    for tick in range(20):
        stepped(known, tick, {5: (levels[tick], heard[tick])})
    offset_db, variance_db2 = known.power_of(5)
    # Its own power is known: -12 dB against the map, give or take a few.
    assert offset_db == pytest.approx(-12, abs=4)
    assert variance_db2 < 4
    after = []
    for lane in (5, 9):  # its old lane, or another one
        tracker = known if lane == 5 else tracker_of(64, 2)
        tracker.restart(lane, offset_db=offset_db, variance_db2=variance_db2, rested_ticks=40)
        grown = variance_db2 + 40 * OFFSET_DRIFT_DB2
        assert (offset_db, grown) == pytest.approx(tracker.power_of(lane), rel=1e-4)
        assert np.array_equal(MODEL.prior[:, 0], tracker._beliefs[tracker._slot, :, lane])
        after.append(stepped(tracker, 60, {lane: (levels[0], heard[0])})[:, lane])
    assert np.allclose(*after, atol=1e-3)
    new = tracker_of(64, 2)
    new.start(5)
    assert (0.0, OFFSET_START_DB2) == new.power_of(5)
    assert not np.allclose(stepped(new, 60, {5: (levels[0], heard[0])})[:, 5], after[0], atol=0.1)


def test_wild_levels_give_no_nan_and_no_warning() -> None:
    tracker = tracker_of(64, 6)
    for tick in range(30):
        lanes = {
            0: (np.full(RECEIVERS, 95.0), np.ones(RECEIVERS)),
            1: (np.full(RECEIVERS, -45.0), np.ones(RECEIVERS)),
            2: (np.where(np.arange(RECEIVERS) == tick % 6, 95.0, -45.0), np.ones(RECEIVERS)),
        }
        readout = stepped(tracker, tick, lanes)
        assert np.isfinite(readout).all()
        assert (readout[4:] >= -1e-6).all()
        assert (readout[4:] <= 1 + 1e-5).all()
    for corrected, cells in tracker.smooth(29, 25, 29, everybody(64)):
        assert np.isfinite(corrected).all()
        assert np.isfinite(cells).all()


def test_map_of_other_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="60 cells, the store has"):
        build_model(build_cells(shop(cell_m=2.0)), MAP, tick_s=1.0)
