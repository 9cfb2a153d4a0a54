import itertools

import numpy as np
import pytest

from simulators.places import products_of
from simulators.plates import PlateNoise, Plates

NS = 1_000_000_000
QUIET = PlateNoise(noise_g=1e-6, noise_max_g=1e-6, step_g=0.01, drift_g=0.0, gain_sd=0.0)


def plates_of(store, noise=None, seed=3):
    rng = np.random.default_rng(seed)
    return Plates(store, noise=noise or PlateNoise(), rng=rng, sample_hz=5.0)


def by_sensor(samples, count):
    return samples.value.reshape(-1, count)


def test_a_shelf_weighs_what_stands_on_it(store):
    plates = plates_of(store)
    samples = plates.sample(0, 10 * NS)
    mean = by_sensor(samples, len(store.sensors)).mean(axis=0)
    at = 0
    products = list(enumerate(products_of(store)))
    for index, shelf in enumerate(store.shelves):
        expected = sum(
            plates.stock(i) * product.unit_g for i, (of, product) in products if of == index
        )
        found = mean[at : at + len(shelf.sensors)].sum()
        assert found == pytest.approx(expected, rel=0.02)
        at += len(shelf.sensors)


def test_samples_come_at_the_rate_that_was_set_and_noise_is_small(store):
    plates = plates_of(store)
    samples = plates.sample(7 * NS, 17 * NS)
    count = len(store.sensors)
    assert len(samples.t_ns) == 50 * count
    assert np.unique(np.diff(samples.t_ns)).tolist() == [0, NS // 5]
    assert samples.t_ns.min() == 7 * NS
    assert samples.t_ns.max() < 17 * NS
    spread = by_sensor(samples, count).std(axis=0)
    assert 0.2 < np.median(spread) < 2.0
    assert spread.max() < 6.0


def test_any_cut_into_stretches_covers_each_sample_time_once(store):
    plates = plates_of(store, QUIET)
    cuts = [0, NS // 3, NS, NS + 1, 2 * NS]
    parts = [plates.sample(a, b).t_ns for a, b in itertools.pairwise(cuts)]
    times = np.unique(np.concatenate(parts))
    assert times.tolist() == [NS // 5 * k for k in range(10)]


def test_a_pick_takes_one_item_and_its_return_brings_the_same_mass_back(store):
    plates = plates_of(store, QUIET)
    count = len(store.sensors)
    before = by_sensor(plates.sample(0, NS), count)[-1]
    stock = plates.stock(0)
    item, lift_ns = plates.pick(0, NS + NS // 2)
    assert NS * 1.5 <= lift_ns <= NS * 2.1
    assert plates.stock(0) == stock - 1
    assert item.mass_g == pytest.approx(640.0, rel=0.05)
    after = by_sensor(plates.sample(NS, 3 * NS), count)[-1]
    assert (before - after).sum() == pytest.approx(item.mass_g, abs=0.1)
    assert np.flatnonzero(np.abs(before - after) > 1).tolist() == list(item.sensors)
    plates.put_back(0, item, 3 * NS)
    again = by_sensor(plates.sample(3 * NS, 4 * NS), count)[-1]
    assert again == pytest.approx(before, abs=0.1)
    assert plates.stock(0) == stock


def test_a_hand_presses_and_goes(store):
    plates = plates_of(store, QUIET)
    count = len(store.sensors)
    before = by_sensor(plates.sample(0, NS), count)[-1]
    assert plates.touch(5, NS) <= NS + 600_000_000
    rows = by_sensor(plates.sample(NS, 3 * NS), count)
    assert (rows[0] - before).sum() > 19
    assert rows[-1] == pytest.approx(before, abs=0.1)


def test_an_empty_facing_gives_nothing_and_is_filled_up_later(store):
    plates = plates_of(store, QUIET)
    full = plates.stock(2)
    for _ in range(full):
        assert plates.pick(2, NS) is not None
    assert plates.pick(2, NS) is None
    rows = [row for s in range(200) for row in plates.restock(s * NS, (s + 1) * NS)]
    assert [(2, full)] == [(product, units) for _, product, units in rows]
    assert plates.stock(2) == full
    assert 60 <= rows[0][0] / NS <= 182


def test_a_touch_of_an_empty_facing_presses_nothing(store):
    plates = plates_of(store, QUIET)
    while plates.pick(0, 0):
        pass
    plates.sample(0, 2 * NS)
    count = len(store.sensors)
    before = by_sensor(plates.sample(2 * NS, 3 * NS), count)[-1]
    plates.touch(0, 3 * NS)
    assert by_sensor(plates.sample(3 * NS, 4 * NS), count)[0] == pytest.approx(before, abs=0.1)
