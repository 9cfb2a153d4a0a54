"""The radio map file: written whole or not at all, and read only if it is one."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest

from analytics.cells import build_cells
from analytics.radio_map import SurveyPoints, fit_radio_map
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


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path)


def points(**changes):
    x, y = (a.ravel().astype(float) for a in np.meshgrid([1, 3, 5, 7], [1, 3, 5]))
    receiver = np.repeat(np.arange(3, dtype=np.int16), len(x))
    place = np.array([[0, 0], [8, 0], [4, 6]])[receiver]
    x, y = np.tile(x, 3), np.tile(y, 3)
    distance = np.hypot(x - place[:, 0], y - place[:, 1])
    columns = {
        "x_m": x,
        "y_m": y,
        "z_m": np.full(len(x), np.nan),
        "receiver": receiver,
        "rssi_dbm": -50 - 20 * np.log10(distance),
        "count": np.ones(len(x)),
    }
    return SurveyPoints(refused=0, **(columns | changes))


def saved(path, *, without=(), meta=None, **changes):
    columns = {
        name: getattr(points(), name)
        for name in ("x_m", "y_m", "z_m", "receiver", "rssi_dbm", "count")
    }
    head = {"schema": "fanous.radio-map/1", "store": "shop", "receivers": ["rx-1", "rx-2", "rx-3"]}
    text = json.dumps(head) if meta is None else meta
    arrays = {"meta": np.frombuffer(text.encode(), np.uint8)} | columns | changes
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if k not in without})
    return path


def refusal(path, store):
    with pytest.raises(ConfigError) as error:
        read_radio_map(path, store, build_cells(store))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_read_is_what_was_fitted(tmp_path, store):
    grid = build_cells(store)
    path = tmp_path / "map.npz"
    write_radio_map(path, points(), store)
    expected, found = fit_radio_map(store, grid, points()), read_radio_map(path, store, grid)
    assert expected.mean_dbm.tolist() == found.mean_dbm.tolist()
    assert "survey" == found.source
    assert {"store.toml", "map.npz"} == {p.name for p in tmp_path.iterdir()}
    assert read_radio_map(saved(tmp_path / "same.npz"), store, grid).source == "survey"


def on_floors(store, *names):
    return dataclasses.replace(store, floors=tuple(Floor(id=name) for name in names))


def test_floors_are_kept_by_name_and_only_where_there_are_several(tmp_path, store):
    floor = np.arange(36, dtype=np.int16) % 2
    path = tmp_path / "map.npz"
    write_radio_map(path, points(floor=floor), on_floors(store, "0", "up"))
    turned, _ = read_radio_map_parts(path, on_floors(store, "up", "0"))
    assert (1 - floor).tolist() == turned.on_floor.tolist()
    lower, _ = read_radio_map_parts(path, store)
    assert (18, 18) == (len(lower.x_m), lower.refused)
    assert {0} == set(lower.on_floor.tolist())
    write_radio_map(tmp_path / "plain.npz", points(), store)
    write_radio_map(tmp_path / "zeros.npz", points(floor=floor * 0), store)
    assert (tmp_path / "plain.npz").read_bytes() == (tmp_path / "zeros.npz").read_bytes()


@pytest.mark.parametrize("floor", [[0] * 35, [0] * 35 + [2], [0] * 35 + [-1]])
def test_a_floor_without_a_name_is_no_radio_map(tmp_path, store, floor):
    meta = {
        "schema": "fanous.radio-map/1",
        "receivers": ["rx-1", "rx-2", "rx-3"],
        "floors": ["0", "up"],
    }
    path = saved(tmp_path / "m.npz", meta=json.dumps(meta), floor=np.array(floor))
    assert "no radio map, or a damaged one" in refusal(path, store)


def test_the_same_survey_gives_the_same_bytes(tmp_path, store):
    write_radio_map(tmp_path / "a.npz", points(), store)
    write_radio_map(tmp_path / "b.npz", points(), store)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_receivers_are_matched_by_name(tmp_path, store):
    write_radio_map(tmp_path / "map.npz", points(), store)
    turned = dataclasses.replace(store, receivers=store.receivers[::-1])
    grid = build_cells(store)
    expected = read_radio_map(tmp_path / "map.npz", store, grid).p0_dbm[::-1]
    found = read_radio_map(tmp_path / "map.npz", turned, grid).p0_dbm
    assert expected.round(6).tolist() == found.round(6).tolist()
    assert expected.round(6).tolist() != found[::-1].round(6).tolist()


def test_a_receiver_without_a_survey_gets_the_mean_law(tmp_path, store):
    path = saved(tmp_path / "map.npz", meta='{"schema": "fanous.radio-map/1", "receivers": '
                 '["rx-1", "rx-2", "gone"]}')  # fmt: skip
    found = read_radio_map(path, store, build_cells(store))
    assert found.p0_dbm[:2].mean() == pytest.approx(found.p0_dbm[2])


def test_without_a_file_the_map_comes_from_geometry(store):
    assert "geometry" == radio_map_of(store, build_cells(store)).source


def test_a_map_that_is_named_must_be_there(tmp_path, store):
    text = STORE + '\n[radio]\nmap = "none.npz"\n'
    named = read_store(write_store(tmp_path, text))
    with pytest.raises(ConfigError, match=r"none\.npz: radio map cannot be read \(No such file"):
        radio_map_of(named, build_cells(named))
    over = saved(tmp_path / "over.npz")
    assert "survey" == radio_map_of(named, build_cells(named), over).source
    assert store.radio_map is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x_m,y_m,receiver\n1,2,rx-1\n",
        b"\x1f\x8b\x08\x00" + bytes(50),
        b"PK\x03\x04" + bytes(500),
        b"\x93NUMPY\x01\x00" + bytes(100),
        b"\x80\x04\x95" + bytes(100),
    ],
)
def test_garbage_is_refused(tmp_path, store, content):
    (tmp_path / "map.npz").write_bytes(content)
    sentence = refusal(tmp_path / "map.npz", store)
    assert "no radio map, or a damaged one; expected a file written by `fanous survey" in sentence


def test_other_arrays_are_refused(tmp_path, store):
    np.save(tmp_path / "map.npy", np.arange(5))
    (tmp_path / "map.npy").rename(tmp_path / "map.npz")
    assert "no radio map" in refusal(tmp_path / "map.npz", store)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"without": ["meta"]}, "no radio map"),
        ({"without": ["count"]}, "no radio map"),
        ({"meta": "no json"}, "no radio map"),
        ({"meta": "[]"}, "no radio map"),
        ({"meta": "[" * 100_000}, "no radio map"),
        ({"meta": '{"schema": "fanous.radio-map/1"}'}, "no radio map"),
        ({"meta": '{"schema": "fanous.radio-map/1", "receivers": 5}'}, "no radio map"),
        (
            {"meta": '{"schema": "fanous.radio-map/9", "receivers": []}'},
            "schema: expected 'fanous.radio-map/1', got 'fanous.radio-map/9'; make one with",
        ),
        (
            {"meta": '{"schema": "fanous.radio-map/1", "receivers": ["a", "b", ["c"]]}'},
            "expected receivers of store 'shop', got others alone",
        ),
        ({"x_m": np.arange(3.0)}, "no radio map"),
        ({"x_m": np.full(36, np.nan)}, "no radio map"),
        ({"rssi_dbm": np.full(36, np.inf)}, "no radio map"),
        ({"x_m": np.array(["a"] * 36)}, "no radio map"),
        ({"x_m": np.zeros((36, 2))}, "no radio map"),
        ({"receiver": np.full(36, -1)}, "no radio map"),
        ({"receiver": np.full(36, 3)}, "no radio map"),
        ({"receiver": np.array([object()] * 36)}, "no radio map"),
        (
            {name: np.zeros(0) for name in ("x_m", "y_m", "z_m", "receiver", "rssi_dbm", "count")},
            "expected receivers of store 'shop', got others alone",
        ),
        (
            {name: np.zeros(2) for name in ("x_m", "y_m", "z_m", "receiver", "rssi_dbm", "count")},
            "does not fit store 'shop'",
        ),
    ],
)
def test_wrong_contents_are_refused(tmp_path, store, changes, words):
    assert words in refusal(saved(tmp_path / "map.npz", **changes), store)


def test_a_damaged_archive_is_refused(tmp_path, store):
    path = saved(tmp_path / "map.npz")
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("rssi_dbm.npy").header_offset
    for damaged in (
        whole[:-30],
        whole[: len(whole) // 2],
        whole[: start + 60] + bytes(40) + whole[start + 100 :],
    ):
        path.write_bytes(damaged)
        assert "no radio map, or a damaged one" in refusal(path, store)


def test_places_that_cannot_be_read(tmp_path, store):
    (tmp_path / "file").write_text("")
    for path, why in [
        (tmp_path, "Is a directory"),
        (tmp_path / "none.npz", "No such file or directory"),
        (tmp_path / "file" / "map.npz", "Not a directory"),
    ]:
        assert f"radio map cannot be read ({why}); make one with" in refusal(path, store)


def test_places_that_cannot_be_written(tmp_path, store):
    (tmp_path / "file").write_text("")
    (tmp_path / "dir.npz").mkdir()
    write_radio_map(tmp_path / "map.npz", points(), store)
    before = (tmp_path / "map.npz").read_bytes()
    for path, words in [
        (tmp_path / "map.zip", r"expected a name ending in \.npz"),
        (tmp_path / "map.npz", "exists already; choose another name or say --force"),
        (tmp_path / "dir.npz", "expected a file, found a directory"),
        (tmp_path / "none" / "map.npz", "cannot be written"),
        (tmp_path / "file" / "map.npz", "cannot be written"),
        (tmp_path / ("x" * 300 + ".npz"), "cannot be written"),
    ]:
        with pytest.raises(ConfigError, match=words):
            write_radio_map(path, points(), store)
    assert before == (tmp_path / "map.npz").read_bytes()
    write_radio_map(tmp_path / "map.npz", points(count=np.full(36, 2.0)), store, force=True)
    assert before != (tmp_path / "map.npz").read_bytes()
