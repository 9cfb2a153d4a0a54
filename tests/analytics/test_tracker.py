"""The position filter against a float64 filter written from its docstrings, cell by cell."""

import itertools

import numpy as np
import pytest

from analytics.cells import build_cells, transition_matrix
from analytics.radio_map import radio_map_from_geometry
from analytics.tracker import (
    OFFSET_DRIFT_DB2,
    OFFSET_START_DB2,
    REFERENCE_DBM,
    SIGMA_FINAL_M,
    SIGMA_LIVE_M,
    STUDENT_NU,
    Tracker,
    build_model,
)
from tests.analytics.stores import rssi_at, shop

STORE = shop()
GRID = build_cells(STORE)
MAP = radio_map_from_geometry(STORE, GRID)
MODEL = build_model(GRID, MAP, tick_s=1.0)
RECEIVERS = len(STORE.receivers)


class Reference:
    """One tag, in float64: place and power, the power integrated out cell by cell."""

    def __init__(self) -> None:
        self.T = transition_matrix(GRID, SIGMA_LIVE_M)
        self.M = MAP.mean_dbm - REFERENCE_DBM
        self.noise = MAP.noise_db**2
        self.p = GRID.weight / GRID.weight.sum()
        self.b = np.zeros(len(GRID))
        self.v = OFFSET_START_DB2

    def step(self, y: np.ndarray, heard: np.ndarray, nats: np.ndarray | float = 0.0) -> np.ndarray:
        """Advance one tick; return the log likelihood of each cell."""
        moved = self.T.T @ self.p
        self.b = (self.T.T @ (self.p * self.b)) / moved
        self.v = min(self.v + OFFSET_DRIFT_DB2, OFFSET_START_DB2)
        level = self.M + self.b[:, None]
        mu = moved @ level
        spread = moved @ (level - mu) ** 2 + self.v + self.noise
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
        self.b = self.b + D / W
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
    tracker, reference = Tracker(MODEL, lanes=8, depth=4), Reference()
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
    tracker = Tracker(MODEL, lanes=2, depth=2)
    readout = stepped(tracker, 0, {})
    p = transition_matrix(GRID, SIGMA_LIVE_M).T @ MODEL.prior[:, 0]
    variance = p @ GRID.x_m**2 - (p @ GRID.x_m) ** 2
    assert readout[2, 0] - readout[0, 0] ** 2 == pytest.approx(variance, rel=1e-3)


def test_smoothing_agrees_with_all_paths_of_the_chain() -> None:
    ticks, depth = 4, 4
    store = shop(cell_m=3.5)
    grid = build_cells(store)
    model = build_model(grid, radio_map_from_geometry(store, grid), tick_s=1.0)
    tracker = Tracker(model, lanes=2, depth=depth)
    T = transition_matrix(grid, SIGMA_FINAL_M)
    cells = range(len(grid))
    assert len(grid) == 6
    levels, heard = walk(5, ticks)
    for tick in range(ticks):
        stepped(tracker, tick, {1: (levels[tick], heard[tick])})
    beliefs = tracker._beliefs[:, :, 1].astype(np.float64)
    likelihood = np.exp(tracker._loglike[:, :, 1].astype(np.float64))
    found = tracker.smooth(ticks - 1, 0, ticks - 1)
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
    tracker = Tracker(MODEL, lanes=4, depth=12)
    for tick in range(12):
        stepped(tracker, tick, {0: (levels[tick], heard[tick])})
    whole = tracker.smooth(11, 3, 9)
    assert len(whole) == 7
    parts = tracker.smooth(11, 3, 5) + tracker.smooth(11, 6, 9)
    for expected, actual in zip(whole, parts, strict=True):
        assert np.array_equal(expected, actual)


def test_power_of_the_tag_does_not_matter_after_the_first_seconds() -> None:
    tracker = Tracker(MODEL, lanes=4, depth=2)
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
    alone, crowded = (Tracker(MODEL, lanes=lanes, depth=6) for _ in range(2))
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
            crowded.restart(3, keep_offset=False)
        a = stepped(alone, tick, lane)
        b = stepped(crowded, tick, lane | others)
        assert np.array_equal(a[:, mine], b[:, mine])
    first, second = (tracker.smooth(29, 25, 28) for tracker in (alone, crowded))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a[:, mine], b[:, mine])


def test_restart_forgets_the_place_and_keeps_the_power_from_when_it_rested() -> None:
    trackers = [Tracker(MODEL, lanes=64, depth=2) for _ in range(2)]
    levels, heard = walk(10, 20, power_dbm=-71.0)
    for tracker in trackers:
        for tick in range(20):
            stepped(tracker, tick, {5: (levels[tick], heard[tick])})
        tracker.rest(5)
    for tick in range(20, 60):  # only one of them goes on, for others
        stepped(trackers[1], tick, {9: (levels[tick - 40], heard[tick - 40])})
    after = []
    for tracker in trackers:
        tracker.restart(5, keep_offset=True, rested_ticks=40)
        assert np.array_equal(MODEL.prior[:, 0], tracker._state[:, 5])
        after.append(stepped(tracker, 60, {5: (levels[0], heard[0])})[:, 5])
    assert np.array_equal(*after)
    new = Tracker(MODEL, lanes=64, depth=2)
    new.restart(5, keep_offset=False)
    readout = stepped(new, 60, {5: (levels[0], heard[0])})[:, 5]
    assert not np.array_equal(readout, after[0])
    # Its own power is known: -12 dB against the map, give or take a few.
    known = trackers[0]
    offset = float(known._state[:, 5] @ known._offset[:, 5])
    assert offset == pytest.approx(-12, abs=4)


def test_wild_levels_give_no_nan_and_no_warning() -> None:
    tracker = Tracker(MODEL, lanes=64, depth=6)
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
    for corrected in tracker.smooth(29, 25, 29):
        assert np.isfinite(corrected).all()


def test_map_of_other_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="60 cells, the store has"):
        build_model(build_cells(shop(cell_m=2.0)), MAP, tick_s=1.0)
