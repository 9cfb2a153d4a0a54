"""A learned radio map is kept beside its survey or with its law, and read again as it was."""

import dataclasses

import numpy as np
import pytest

from analytics.cells import build_cells
from analytics.radio_learning import Learned, apply_learned
from analytics.radio_map import fit_radio_map
from analytics.store import Floor
from ingest.config import ConfigError
from ingest.radio_map_file import (
    radio_map_of,
    read_radio_map,
    read_radio_map_parts,
    write_radio_map,
)
from ingest.store_file import read_store
from tests.ingest.small_store import STORE, small_store, write_store
from tests.ingest.test_radio_map_file import points


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path)


def learned(*, alone=False):
    rng = np.random.default_rng(5)
    return Learned(
        p0_dbm=np.array([-60.0, -66.0, -63.0]) if alone else None,
        exponent=np.array([1.8, 2.0, 2.2]) if alone else None,
        x_m=rng.uniform(0, 8, 30),
        y_m=rng.uniform(0, 6, 30),
        receiver=np.repeat(np.arange(3, dtype=np.int16), 10),
        residual_db=rng.normal(0, 3, 30),
        weight=rng.uniform(0.5, 20, 30),
    )


def same(expected, actual):
    for field in dataclasses.fields(expected):
        one, two = getattr(expected, field.name), getattr(actual, field.name)
        assert np.array_equal(one, two, equal_nan=True) if one is not None else two is None, (
            field.name
        )


def test_with_a_survey_both_are_read_again(tmp_path, store):
    grid = build_cells(store)
    write_radio_map(tmp_path / "m.npz", points(), store, learned=learned())
    survey, known = read_radio_map_parts(tmp_path / "m.npz", store)
    same(points(), survey)
    same(learned(), known)
    expected = apply_learned(fit_radio_map(store, grid, points()), store, grid, learned())
    found = radio_map_of(store, grid, tmp_path / "m.npz")
    assert np.array_equal(expected.mean_dbm, found.mean_dbm)
    assert "learned" == found.source


def test_without_a_survey_the_law_is_the_anchor(tmp_path, store):
    grid = build_cells(store)
    write_radio_map(tmp_path / "m.npz", None, store, learned=learned(alone=True))
    survey, known = read_radio_map_parts(tmp_path / "m.npz", store)
    assert survey is None
    same(learned(alone=True), known)
    expected = apply_learned(None, store, grid, learned(alone=True))
    assert np.array_equal(
        expected.mean_dbm, read_radio_map(tmp_path / "m.npz", store, grid).mean_dbm
    )


def test_a_map_of_a_survey_alone_has_nothing_learned(tmp_path, store):
    write_radio_map(tmp_path / "m.npz", points(), store)
    with np.load(tmp_path / "m.npz") as file:
        assert {"meta", "x_m", "y_m", "z_m", "receiver", "rssi_dbm", "count"} == set(file)
    assert read_radio_map_parts(tmp_path / "m.npz", store)[1] is None


def test_receivers_are_matched_by_name_and_new_ones_get_the_mean_law(tmp_path, store):
    write_radio_map(tmp_path / "m.npz", None, store, learned=learned(alone=True))
    text = STORE.replace('"rx-1"', '"new"').replace('"rx-2"', '"rx-1"').replace('"new"', '"rx-2"')
    text = text.replace('"rx-3"', '"rx-new"')
    other = write_store(tmp_path, text)
    _, known = read_radio_map_parts(tmp_path / "m.npz", read_store(other))
    assert [-66.0, -60.0, -63.0] == known.p0_dbm.tolist()
    assert [2.0, 1.8, 1.9] == pytest.approx(known.exponent.tolist())
    assert [1] * 10 + [0] * 10 == known.receiver.tolist()


def test_a_store_with_none_of_its_receivers_is_refused(tmp_path, store):
    write_radio_map(tmp_path / "m.npz", None, store, learned=learned(alone=True))
    receivers = tuple(dataclasses.replace(r, id=f"other-{r.id}") for r in store.receivers)
    other = dataclasses.replace(store, receivers=receivers)
    with pytest.raises(ConfigError, match="got others alone"):
        read_radio_map(tmp_path / "m.npz", other, build_cells(other))


@pytest.mark.parametrize(
    "changes",
    [
        {"learned_residual_db": np.full(30, np.nan)},
        {"learned_residual_db": np.zeros(29)},
        {"learned_weight": np.zeros(30)},
        {"learned_weight": np.full(30, np.inf)},
        {"learned_receiver": np.full(30, 3)},
        {"learned_receiver": np.full(30, -1)},
        {"law_p0_dbm": np.zeros(2)},
        {"law_p0_dbm": np.full(3, np.nan)},
        {"law_exponent": None},
        {"learned_y_m": None},
    ],
)
def test_impossible_arrays_are_refused(tmp_path, store, changes):
    write_radio_map(tmp_path / "m.npz", None, store, learned=learned(alone=True))
    with np.load(tmp_path / "m.npz") as file:
        arrays = {name: file[name] for name in file} | changes
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(tmp_path / "bad.npz", **kept)
    with pytest.raises(ConfigError, match="no radio map, or a damaged one"):
        read_radio_map(tmp_path / "bad.npz", store, build_cells(store))


def test_floors_are_kept_by_name_and_old_files_have_the_first_alone(tmp_path, store):
    up = dataclasses.replace(store, floors=(Floor(id="0"), Floor(id="up")))
    floor = np.arange(30, dtype=np.int16) % 2
    told = dataclasses.replace(learned(alone=True), floor=floor)
    write_radio_map(tmp_path / "m.npz", None, up, learned=told)
    turned = dataclasses.replace(store, floors=up.floors[::-1])
    found = read_radio_map_parts(tmp_path / "m.npz", turned)[1]
    assert (1 - floor).tolist() == found.on_floor.tolist()
    # The plan has lost a floor: what was learned there is left out.
    lower = read_radio_map_parts(tmp_path / "m.npz", store)[1]
    assert told.residual_db[floor == 0].tolist() == lower.residual_db.tolist()
    write_radio_map(tmp_path / "old.npz", None, store, learned=learned(alone=True))
    with np.load(tmp_path / "old.npz") as file:
        assert "learned_floor" not in file
    assert {0} == set(read_radio_map_parts(tmp_path / "old.npz", up)[1].on_floor.tolist())


def test_a_residual_on_a_floor_without_a_name_is_no_radio_map(tmp_path, store):
    up = dataclasses.replace(store, floors=(Floor(id="0"), Floor(id="up")))
    told = dataclasses.replace(learned(alone=True), floor=np.full(30, 2, np.int16))
    write_radio_map(tmp_path / "m.npz", None, up, learned=told)
    with pytest.raises(ConfigError, match="no radio map, or a damaged one"):
        read_radio_map_parts(tmp_path / "m.npz", up)
