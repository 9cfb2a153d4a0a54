"""The scenario of the peers: what is heard is what its description says, seed by seed."""

import numpy as np
import pytest

from analytics.geometry import points_in_polygon
from simulators import peers_scenario as peers
from simulators.peers_scenario import (
    MISMATCH,
    NOMINAL,
    START_NS,
    Radio,
    peers_store,
    walk_and_hear,
)

FIELDS = ("t_ns", "receiver", "tag", "rssi_dbm", "seconds", "x_m", "y_m", "zone", "standing")


def law_dbm(walks, store, exponent):
    """Return the level of every reading without any chance, from the truth's places."""
    second = (walks.t_ns - START_NS) // 10**9
    place = np.array([r.position_m for r in store.receivers])[walks.receiver]
    x, y = walks.x_m[walks.tag, second], walks.y_m[walks.tag, second]
    d2 = (x - place[:, 0]) ** 2 + (y - place[:, 1]) ** 2 + (place[:, 2] - 1.2) ** 2
    return -59.0 - 5 * exponent * np.log10(d2)


@pytest.fixture(scope="module", params=[5.0, 10.0])
def played(request):
    store = peers_store(request.param)
    return store, walk_and_hear(store, range(6))


def test_the_zones_tile_the_floor_and_each_has_its_receiver_in_the_middle():
    store = peers_store(10.0, cell_m=2.0)
    assert ((0.0, 0.0), (30.0, 0.0), (30.0, 20.0), (0.0, 20.0)) == store.outline_m
    assert store.cell_m == 2.0
    for zone, receiver in zip(store.zones, store.receivers, strict=True):
        assert np.mean(zone.polygon_m, axis=0).tolist() == list(receiver.position_m[:2])
    corners = {corner for zone in store.zones for corner in zone.polygon_m}
    assert len(corners) == 12


def test_the_same_seed_walks_the_same_whoever_else_walks():
    store = peers_store(5.0)
    many, alone = walk_and_hear(store, [3, 8]), walk_and_hear(store, [8])
    again = walk_and_hear(store, [3, 8])
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(many, name), getattr(again, name))
    mine = many.tag == 1
    np.testing.assert_array_equal(alone.t_ns, many.t_ns[mine])
    np.testing.assert_array_equal(alone.rssi_dbm, many.rssi_dbm[mine])
    np.testing.assert_array_equal(alone.zone[0], many.zone[1, : alone.seconds[0]])
    assert not np.array_equal(many.x_m[0, :100], many.x_m[1, :100])


def test_twelve_stops_of_twenty_to_sixty_seconds_and_one_metre_a_second(played):
    store, walks = played
    for walk, seconds in enumerate(walks.seconds.tolist()):
        standing = walks.standing[walk, :seconds].astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], standing, [0]])))
        lasted = edges[1::2] - edges[::2]
        assert len(lasted) == 12
        assert lasted.min() >= 19
        assert lasted.max() <= 61
        moved = np.hypot(np.diff(walks.x_m[walk, :seconds]), np.diff(walks.y_m[walk, :seconds]))
        assert moved.max() <= 1.0 + 1e-9
        still = (standing[1:] + standing[:-1] == 2) & (np.diff(standing) == 0)
        assert moved[still].max() == 0.0
        zones = walks.zone[walk, edges[::2]]
        assert np.all(zones[1:] != zones[:-1])
        middle = np.array([r.position_m[:2] for r in store.receivers])[zones]
        at = np.stack([walks.x_m[walk, edges[::2]], walks.y_m[walk, edges[::2]]], axis=1)
        assert np.abs(at - middle).max() <= peers.STAND_M


def test_the_true_zone_is_the_one_that_holds_the_place(played):
    store, walks = played
    inside = walks.zone >= 0
    assert inside.sum(1).tolist() == walks.seconds.tolist()
    assert np.array_equal(np.isfinite(walks.x_m), inside)
    x, y, zone = walks.x_m[inside], walks.y_m[inside], walks.zone[inside]
    for at, one in enumerate(store.zones):
        np.testing.assert_array_equal(points_in_polygon(x, y, one.polygon_m), zone == at)


def test_eight_of_ten_packets_are_heard_one_a_second(played):
    _, walks = played
    second = (walks.t_ns - START_NS) // 10**9
    keys = set(zip(walks.tag.tolist(), second.tolist(), walks.receiver.tolist(), strict=True))
    assert len(keys) == len(walks.t_ns)
    assert len(keys) / (6 * walks.seconds.sum()) == pytest.approx(0.8, abs=0.01)
    assert np.all(np.diff(walks.t_ns) >= 0)
    assert np.all(second < walks.seconds[walks.tag])


def test_the_noise_is_what_the_description_adds_up_to(played):
    store, walks = played
    residual = walks.rssi_dbm - law_dbm(walks, store, peers.EXPONENT)
    # 4 dB fast, 4 dB slow, bursts of 6 dB for a tenth of the time, whole dB.
    assert np.std(residual) == pytest.approx(np.sqrt(16 + 16 + 36 * 0.09 + 1 / 12), abs=0.4)
    assert np.mean(residual) == pytest.approx(-0.6, abs=0.4)


def test_the_slow_part_fades_within_eight_seconds():
    rng = np.random.default_rng(1)
    fading = peers._fading(rng, (50_000, 2))
    assert fading.std() == pytest.approx(4.0, abs=0.2)
    for lag in (1, 8):
        found = np.mean(fading[lag:] * fading[:-lag]) / np.mean(fading**2)
        assert found == pytest.approx(np.exp(-lag / 8.0), abs=0.05)
    assert abs(np.corrcoef(fading.T)[0, 1]) < 0.1


def test_bursts_take_a_tenth_of_the_time():
    lost = peers._bursts(np.random.default_rng(2), (50_000, 3))
    assert set(np.unique(lost).tolist()) == {-6.0, 0.0}
    assert np.mean(lost < 0) == pytest.approx(0.1, abs=0.01)
    begins = np.sum((lost[1:] < 0) & (lost[:-1] == 0))
    assert np.sum(lost < 0) / begins == pytest.approx(peers.BURST_S, rel=0.1)


def test_the_mismatch_changes_the_radio_and_not_the_walk():
    store = peers_store(10.0)
    nominal, other = (walk_and_hear(store, range(4), radio) for radio in (NOMINAL, MISMATCH))
    for name in ("t_ns", "receiver", "tag", "x_m", "y_m", "zone"):
        np.testing.assert_array_equal(getattr(nominal, name), getattr(other, name))
    shift = other.rssi_dbm - law_dbm(other, store, 3.2)
    shift -= nominal.rssi_dbm - law_dbm(nominal, store, 2.7)
    for walk in range(4):
        for receiver in range(6):
            mine = (other.tag == walk) & (other.receiver == receiver)
            assert abs(abs(np.median(shift[mine]) + 8.0) - 4.0) < 0.3


def test_a_weak_tag_is_weaker_by_just_that():
    store = peers_store(5.0)
    plain = walk_and_hear(store, [1])
    weak = walk_and_hear(store, [1], Radio(tag_db=-8.0))
    assert set((plain.rssi_dbm - weak.rssi_dbm).tolist()) == {8.0}


def test_no_walk_at_all_is_refused():
    with pytest.raises(ValueError, match="seeds: expected at least one"):
        walk_and_hear(peers_store(5.0), [])
