"""Zones and obstacles from GeoJSON; a wrong plan is refused with the feature and its key."""

import json

import pytest

from ingest.config import ConfigError
from ingest.floorplan import read_floorplan
from ingest.store_file import read_store
from tests.ingest.small_store import changed, write_store

SQUARE = [[0, 7], [4, 7], [4, 9], [0, 9], [0, 7]]


def feature(feature_type="unit", ring=SQUARE, **properties):
    return {
        "type": "Feature",
        "feature_type": feature_type,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }


def plan(folder, *features):
    path = folder / "floor.geojson"
    document = {"type": "FeatureCollection", "features": list(features)}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def refusal(path):
    with pytest.raises(ConfigError) as error:
        read_floorplan(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_units_and_sections_become_zones_and_fixtures_obstacles(tmp_path):
    path = plan(
        tmp_path,
        feature(id="yard", kind="outside", name={"de": "Hof", "en": "Yard"}),
        feature("section", id="wide", layer="wide"),
        feature("fixture", ring=[[1, 7], [2, 7], [2, 8]], floor=1),
        {"feature_type": "opening", "geometry": {"type": "LineString", "coordinates": []}},
    )
    zones, obstacles = read_floorplan(path)
    assert [("yard", "Yard", "outside", "main"), ("wide", "wide", "aisle", "wide")] == [
        (z.id, z.name, z.kind, z.layer) for z in zones
    ]
    assert ((0, 7), (4, 7), (4, 9), (0, 9)) == zones[0].polygon_m
    assert [("1", ((1, 7), (2, 7), (2, 8)))] == [(o.floor, o.polygon_m) for o in obstacles]


def test_its_zones_join_those_of_the_store(tmp_path):
    plan(tmp_path, feature(id="yard", ring=[[0, 6], [4, 6], [4, 9], [0, 9]]))
    text = changed('id = "shop"', 'id = "shop"\nfloorplan = "floor.geojson"')
    store = read_store(write_store(tmp_path, text))
    assert ["left", "right", "yard"] == [zone.id for zone in store.zones]
    assert ("left",) == store.zones[2].neighbours


@pytest.mark.parametrize(
    ("yard", "words"),
    [
        (feature(id="left"), "zone id 'left' is used more than once"),
        (feature(id="yard", ring=[[0, 5], [4, 5], [4, 9]]), "zones 'left' and 'yard' of layer"),
    ],
)
def test_its_zones_must_agree_with_those_of_the_store(tmp_path, yard, words):
    plan(tmp_path, yard)
    text = changed('id = "shop"', 'id = "shop"\nfloorplan = "floor.geojson"')
    with pytest.raises(ConfigError, match=words):
        read_store(write_store(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"no json", "expected GeoJSON: Expecting value"),
        (b"\xff\xfe", "expected GeoJSON as UTF-8 text"),
        (b"[" * 100_000, "expected GeoJSON: nested too deeply"),
        (b"[]", "with a list 'features', got 'list'"),
        (b'{"type": "Feature"}', "with a list 'features', got 'Feature'"),
        (b'{"features": null}', "a GeoJSON FeatureCollection"),
        (b'{"features": 5}', "a GeoJSON FeatureCollection"),
        (b'{"features": ["unit"]}', "feature 0: expected a feature_type, got nothing"),
    ],
)
def test_what_is_no_plan(tmp_path, content, words):
    path = tmp_path / "floor.geojson"
    path.write_bytes(content)
    assert words in refusal(path)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"feature_type": "untit"}, "expected a feature_type, got 'untit' (did you mean 'unit'?)"),
        ({"feature_type": ["unit"]}, "expected a feature_type"),
        ({"geometry": None}, "geometry: expected a Polygon, got nothing"),
        ({"geometry": []}, "geometry: expected a Polygon"),
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}}, "a Polygon, got 'Point'"),
        ({"geometry": {"type": "Polygon"}}, "coordinates: expected one ring"),
        ({"geometry": {"type": "Polygon", "coordinates": [SQUARE, SQUARE]}}, "without holes"),
        ({"geometry": {"type": "Polygon", "coordinates": [5]}}, "expected one ring"),
        ({"properties": 5}, "properties: expected an object, got 5"),
        ({"properties": {}}, "id: expected a name that a zone can have, got nothing"),
        ({"properties": {"id": "A B"}}, "id: expected a name that a zone can have, got 'A B'"),
        ({"properties": {"id": 5}}, "id: expected a name that a zone can have, got 5"),
        ({"properties": {"id": "a", "kind": "aisel"}}, "(did you mean 'aisle'?)"),
        ({"properties": {"id": "a", "kind": {}}}, "kind: expected a kind of zone"),
        ({"properties": {"id": "a", "layer": "A"}}, "layer: expected a name, got 'A'"),
        ({"properties": {"id": "a", "floor": []}}, "floor: expected text"),
    ],
)
def test_wrong_features(tmp_path, wrong, words):
    sentence = refusal(plan(tmp_path, feature(id="yard"), feature(id="b") | wrong))
    assert words in sentence
    assert "feature 1" in sentence


@pytest.mark.parametrize(
    ("ring", "words"),
    [
        ([[0, 0], [1, 1]], "at least three corners"),
        ([[0, 0], [1, 1], [1, 0], [0, 1]], "does not cross itself"),
        ([[0, 0], [1, 0], [2, 0]], "a polygon with an area"),
        ([[0, 0], [1, 0], [float("nan"), 1]], "finite metres"),
        ([[0, 0], [1, 0], [1e9, 1]], "finite metres"),
        ([[0, 0], [1, 0], [10**400, 1]], "corners [x, y] in metres"),
        ([[0, 0], [1, 0], ["1", 1]], "corners [x, y] in metres"),
        ([[0, 0], [1, 0], [True, 1]], "corners [x, y] in metres"),
        ([[0, 0], [1, 0], {"x": 1}], "corners [x, y] in metres"),
        ([[0, 0], [1, 0], [1]], "corners [x, y] in metres"),
        ([[0, 0], [1, 0], "12"], "corners [x, y] in metres"),
    ],
)
def test_wrong_rings(tmp_path, ring, words):
    assert words in refusal(plan(tmp_path, feature(id="yard", ring=ring)))


def test_a_height_is_allowed(tmp_path):
    ring = [[0, 7, 0], [4, 7, 0], [4, 9, 0]]
    zones, _ = read_floorplan(plan(tmp_path, feature(id="yard", ring=ring)))
    assert ((0, 7), (4, 7), (4, 9)) == zones[0].polygon_m


def test_features_without_a_floor_stand_on_the_usual_one(tmp_path):
    path = plan(tmp_path, feature(id="a"), feature(id="b", floor="2"), feature("fixture"))
    zones, obstacles = read_floorplan(path, floor="ground")
    assert ["ground", "2"] == [zone.floor for zone in zones]
    assert ["ground"] == [obstacle.floor for obstacle in obstacles]


def test_a_directory_is_no_plan(tmp_path):
    assert "floor plan cannot be read (Is a directory)" in refusal(tmp_path)
