"""`fanous store check`: what it understood, what it warns of, and the plan it draws."""

import argparse
import dataclasses
import xml.etree.ElementTree as ET

import pytest

from gateway import store_check
from gateway.plan_svg import Square, draw_plan, label_point
from ingest.config import ConfigError
from ingest.store_file import read_store

STORE = """
schema = "fanous.store/1"
id = "demo"
name = "Demo & <script>alert(1)</script>\\u0001"
timezone = "Europe/Berlin"
outline_m = [[0, 0], [20, 0], [20, 10], [0, 10]]
[[obstacle]]
rect_m = [8, 5, 10, 10]
[[receiver]]
id = "rx-1"
position_m = [2.0, 0.0, 2.4]
[[receiver]]
id = "rx-2"
position_m = [18.0, 8.0, 2.4]
[[zone]]
id = "shoes"
name = "Shoes <b>"
kind = "aisle"
polygon_m = [[0, 0], [10, 0], [10, 10], [0, 10]]
[[zone]]
id = "promo"
kind = "promo"
polygon_m = [[10, 0], [20, 0], [20, 10], [10, 10]]
[[zone]]
id = "brand"
kind = "promo"
layer = "brands"
polygon_m = [[2, 2], [12, 2], [12, 4], [2, 4]]
[[shelf]]
id = "shoes-1"
zone = "shoes"
rect_m = [0, 9, 5, 10]
[[shelf.sensor]]
id = "plate-1"
kind = "mass"
[[tap_point]]
id = "gate-1"
zone = "promo"
role = "entry"
"""
RADIO = "[radio]\nmap = 'm.npz'\n"
NEAR = "[[receiver]]\nid = 'rx-3'\nposition_m = [3.0, 3.0, 2]\n"


def write(tmp_path, text=STORE):
    path = tmp_path / "store.toml"
    path.write_text(text, encoding="utf-8")
    return path


def run(capsys, *arguments):
    parser = argparse.ArgumentParser()
    store_check.configure(parser)
    assert store_check.run(parser.parse_args(["check", *map(str, arguments)])) == 0
    return capsys.readouterr().out


def warnings(tmp_path, text):
    return list(store_check.warnings_about(read_store(write(tmp_path, text))))


def test_it_says_what_it_understood(tmp_path, capsys):
    out = run(capsys, write(tmp_path)).splitlines()
    assert "outline 200.0 m², 2 obstacles" in out
    assert "walkable 185.0 m² on floor 0" in out
    assert "185 cells of 1 m on floor 0" in out
    assert "  shoes  aisle  100.0 m²  touches promo" in out
    assert "2 receivers, 17.9 m to the nearest other (median)" in out
    assert "  shoes-1  in shoes  1 sensors  0 products" in out
    assert "  gate-1  in promo  entry" in out


def test_a_sound_store_has_no_warning(tmp_path):
    assert [] == warnings(tmp_path, STORE + NEAR)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[18.0, 8.0, 2.4]", "[28.0, 8.0, 2.4]", "receiver 'rx-2' at (28, 8) lies outside"),
        ("[20, 0], [20, 10], [10, 10]]", "[26, 0], [26, 10], [10, 10]]", "60.0 of its 160.0 m²"),
        ("[0, 9, 5, 10]", "[14, 9, 19, 10]", "more than 1 m away from its zone 'shoes'"),
        ('[[shelf.sensor]]\nid = "plate-1"\nkind = "mass"\n', "", "has no sensors"),
        ("[[10, 0], [20, 0]", "[[12, 0], [20, 0]", "'shoes' touches no other zone"),
        ('[[receiver]]\nid = "rx-1"', f'{RADIO}[[receiver]]\nid = "rx-1"', "m.npz"),
    ],
)  # fmt: skip
def test_what_will_disappoint_is_a_warning(tmp_path, old, new, expected):
    assert STORE.count(old) == 1
    found = warnings(tmp_path, STORE.replace(old, new) + NEAR)
    assert any(expected in line for line in found), found


def test_zones_finer_than_the_receivers_are_named(tmp_path):
    (found,) = warnings(tmp_path, STORE)
    assert "17.9 m" in found
    assert found.endswith("shoes, promo")


def test_a_store_without_zones_says_what_is_left(tmp_path):
    text = STORE[: STORE.index("[[zone]]")]
    assert any("positions only" in line for line in warnings(tmp_path, text))


def test_the_plan_is_one_safe_file_with_everything_on_it(tmp_path, capsys):
    plan = tmp_path / "plan.svg"
    run(capsys, write(tmp_path), "--out", plan)
    text = plan.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    kinds = [element.get("class") for element in root.iter()]
    expected = {
        "outline": 1, "zone-name": 3, "layer": 1, "obstacle": 1, "shelf": 1, "neighbour": 1,
        "receiver": 2, "tap-point": 1,
    }  # fmt: skip
    assert expected == {kind: kinds.count(kind) for kind in expected}
    assert "Demo & <script>alert(1)</script>\N{REPLACEMENT CHARACTER}" in "".join(root.itertext())
    assert {"http://www.w3.org/2000/svg"} == {
        word.split('"')[0] for word in text.split('"') if "//" in word
    }
    assert not any(
        element.tag.endswith(("script", "image", "use", "a}")) for element in root.iter()
    )


def test_y_goes_up(tmp_path):
    root = ET.fromstring(draw_plan(read_store(write(tmp_path))))
    low, high = (float(e.get("cy")) for e in root.iter() if e.get("class") == "receiver")
    assert high < low


HOUSE = (
    STORE
    + NEAR
    + """
[[receiver]]
id = "rx-up"
position_m = [4.0, 4.0, 2.4]
floor = "1"
[[floor]]
id = "0"
[[floor]]
id = "1"
name = "Up & away"
outline_m = [[0, 0], [12, 0], [12, 10], [0, 10]]
[[connection]]
id = "lift-1"
kind = "lift"
floors = ["0", "1"]
rect_m = [6, 0, 8, 2]
"""
)


def test_a_house_says_its_floors_and_connections(tmp_path, capsys):
    out = run(capsys, write(tmp_path, HOUSE)).splitlines()
    assert "120 cells of 1 m on floor 1" in out
    assert "walkable 120.0 m² on floor 1" in out
    assert "1 connection between floors" in out
    assert "  lift-1  lift  floors 0, 1" in out
    assert "0 warnings" in out


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (HOUSE[HOUSE.index("[[connection]]") :], "", "floor '1' is an island: no [[connection]]"),
        ("[4.0, 4.0, 2.4]", "[14.0, 4.0, 2.4]", "receiver 'rx-up' at (14, 4) lies outside"),
        ('id = "rx-up"', 'id = "rx-up"\nfloor = "0"\n#', "floor '1' has no receiver"),
        ("[3.0, 3.0, 2]", "[10.0, 4.0, 2]", "3 receivers of floor '0' stand in a line"),
        ('id = "promo"', 'id = "promo"\nfloor = "1"', "80.0 of its 100.0 m² outside the outline"),
        ('id = "shoes-1"', 'id = "shoes-1"\nfloor = "1"', "stands on floor '1', its zone 'shoes'"),
        ("rect_m = [8, 5, 10, 10]", "rect_m = [0, 0, 10, 10]", "4 cells at (6.5, 0.5) on floor"),
        ("rect_m = [8, 5, 10, 10]", "rect_m = [0, 0, 10, 10]", "obstacles shut its ends in"),
        ("rect_m = [8, 5, 10, 10]", "rect_m = [-9, -9, 29, 19]", "zone 'promo' has no cells"),
        ("[6, 0, 8, 2]", "[6, 9.99, 8, 12]", "connection 'lift-1' has no cells on floor '0'"),
    ],
)
def test_what_is_odd_in_a_house_is_a_warning(tmp_path, old, new, expected):
    text = HOUSE.replace(old, new, 1)
    assert text != HOUSE
    if 'floor = "0"' in new:
        text = text.replace(
            '#\nposition_m = [4.0, 4.0, 2.4]\nfloor = "1"', "\nposition_m = [4, 4, 2]"
        )
    found = warnings(tmp_path, text)
    assert any(expected in line for line in found), found


def test_cells_that_obstacles_shut_in_are_an_island(tmp_path):
    ring = "".join(
        f"[[obstacle]]\nrect_m = {rect}\n"
        for rect in ([12, 2, 17, 3], [12, 5, 17, 6], [12, 3, 13, 5], [15, 3, 17, 5])
    )
    assert [] == warnings(tmp_path, HOUSE)
    (found,) = warnings(tmp_path, HOUSE + ring)
    assert found.startswith("4 cells at (13.5, 3.5) on floor '0' cannot be reached")
    (alone,) = warnings(tmp_path, STORE + NEAR + ring)
    assert alone == found


def test_nowhere_to_walk_is_said(tmp_path):
    text = STORE.replace("rect_m = [8, 5, 10, 10]", "rect_m = [0, 0, 20, 10]") + NEAR
    assert any("there is nowhere to walk" in line for line in warnings(tmp_path, text))


def test_floors_stand_side_by_side_with_what_joins_them(tmp_path):
    root = ET.fromstring(draw_plan(read_store(write(tmp_path, HOUSE))))
    titles = {"floor 0", "floor 1 (Up & away)"}
    panels = [
        group for group in root.iter("{http://www.w3.org/2000/svg}g")
        if any(child.text in titles for child in group)
    ]  # fmt: skip
    places = [panel.get("transform")[len("translate(") : -1].split() for panel in panels]
    assert float(places[0][0]) < float(places[1][0])
    assert places[0][1] == places[1][1]
    for panel in panels:
        kinds = [child.get("class") for child in panel]
        assert (1, 1) == (kinds.count("outline"), kinds.count("connection"))


def test_a_square_is_drawn_on_its_floor(tmp_path):
    store = read_store(write(tmp_path, HOUSE))
    square = Square(
        box_m=(1, 1, 2, 2), label_m=(1.5, 1.5), colour="#fff", label="7", tip="seven", floor="1"
    )
    everywhere = dataclasses.replace(square, floor=None)
    for given, expected in (([square], 1), ([everywhere], 2), ([square, everywhere], 3)):
        root = ET.fromstring(draw_plan(store, squares=given))
        assert expected == sum(element.get("class") == "square" for element in root.iter())


def test_floors_are_drawn_apart(tmp_path):
    text = STORE + NEAR + 'floor = "1"\n'
    root = ET.fromstring(draw_plan(read_store(write(tmp_path, text))))
    assert 2 == sum(element.get("class") == "outline" for element in root.iter())
    assert {"floor 0", "floor 1"} <= {element.text for element in root.iter()}


def test_the_name_of_a_bent_zone_lies_inside_it():
    corner = ((0, 0), (10, 0), (10, 2), (2, 2), (2, 10), (0, 10))
    x, y = label_point(corner)
    assert (0 < x < 10 and 0 < y < 2) or (0 < x < 2 and 0 < y < 10)


def test_a_picture_is_not_overwritten_unless_forced(tmp_path, capsys):
    plan = tmp_path / "plan.svg"
    plan.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="--force"):
        run(capsys, write(tmp_path), "--out", plan)
    assert "mine" == plan.read_text(encoding="utf-8")
    run(capsys, write(tmp_path), "--out", plan, "--force")
    assert plan.read_text(encoding="utf-8").startswith("<svg")


def test_an_unwritable_place_and_a_wrong_file_are_sentences(tmp_path, capsys):
    with pytest.raises(ConfigError, match="cannot be written"):
        run(capsys, write(tmp_path), "--out", tmp_path / "no" / "plan.svg")
    with pytest.raises(ConfigError, match="schema"):
        run(capsys, write(tmp_path, "id = 1\n"), "--out", tmp_path / "plan.svg")
    assert not (tmp_path / "plan.svg").exists()
