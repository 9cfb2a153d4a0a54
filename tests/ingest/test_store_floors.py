"""Floors and connections of a store file; a wrong one is refused with its key."""

import pytest

from analytics.store import ConnectionEnd
from ingest.config import ConfigError
from ingest.store_file import read_store
from tests.ingest.small_store import STORE, changed, small_store, write_store

UPSTAIRS = """
[[floor]]
id = "0"
name = "Ground"
[[floor]]
id = "1"
outline_m = [[0, 0], [6, 0], [6, 6], [0, 6]]
[[zone]]
id = "loft"
kind = "aisle"
floor = "1"
polygon_m = [[0, 0], [6, 0], [6, 6], [0, 6]]
"""
STAIRS = """
[[connection]]
id = "stairs-1"
kind = "stairs"
floors = ["0", "1"]
rect_m = [0, 4, 2, 6]
"""
HOUSE = STORE + UPSTAIRS + STAIRS


def read(folder, text):
    return read_store(write_store(folder, text))


def refusal(folder, text):
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


def test_a_house(tmp_path):
    store = read(tmp_path, HOUSE)
    assert [("0", "Ground", 0.0), ("1", "1", 4.5)] == [
        (floor.id, floor.name, floor.level_m) for floor in store.floors
    ]
    assert ((0, 0), (8, 0), (8, 6), (0, 6)) == store.outline_of("0")
    assert ((0, 0), (6, 0), (6, 6), (0, 6)) == store.outline_of("1")
    (stairs,) = store.connections
    assert ("stairs-1", "stairs", ("0", "1")) == (stairs.id, stairs.kind, stairs.floors)
    assert {(0, 4, 2, 6)} == {end.rect_m for end in stairs.ends}
    assert () == store.zones[2].neighbours


def test_a_store_of_one_floor_has_floor_0(tmp_path):
    store = small_store(tmp_path)
    assert (["0"], ()) == ([floor.id for floor in store.floors], store.connections)
    assert {"0"} == {obstacle.floor for obstacle in store.obstacles}


@pytest.mark.parametrize(
    ("names", "levels"),
    [(("0", "ground"), [0.0, 4.5]), (("0", "-1"), [4.5, 0.0]), (("0", "2"), [0.0, 9.0])],
)
def test_without_floors_they_are_those_that_are_used(tmp_path, names, levels):
    zone = f'[[zone]]\nid = "z"\nkind = "aisle"\nfloor = "{names[1]}"\n'
    store = read(tmp_path, f"{STORE}{zone}polygon_m = [[0, 0], [1, 0], [1, 1]]\n")
    assert [*names] == [floor.id for floor in store.floors]
    assert levels == [floor.level_m for floor in store.floors]


def test_the_only_floor_is_that_of_all_that_do_not_say_theirs(tmp_path):
    (tmp_path / "walls.csv").write_text("x0_m,y0_m,x1_m,y1_m\n1,1,2,2\n", encoding="utf-8")
    text = changed('id = "shop"', 'id = "shop"\nobstacles = "walls.csv"')
    store = read(tmp_path, text + '[[floor]]\nid = "ground"\nlevel_m = 3\n')
    things = (*store.receivers, *store.zones, *store.obstacles, *store.shelves)
    assert {"ground"} == {thing.floor for thing in things}
    assert 3.0 == store.floors[0].level_m


def test_obstacles_may_name_their_floor(tmp_path):
    (tmp_path / "walls.csv").write_text(
        "x0_m,y0_m,x1_m,y1_m,floor\n1,1,2,2,1\n3,1,4,2,\n", encoding="utf-8"
    )
    text = HOUSE.replace('id = "shop"', 'id = "shop"\nobstacles = "walls.csv"', 1)
    assert ["1", "0", "0"] == [obstacle.floor for obstacle in read(tmp_path, text).obstacles]
    (tmp_path / "walls.csv").write_text("x0_m,y0_m,x1_m,y1_m,floor\n1,1,2,2,7\n", encoding="utf-8")
    sentence = refusal(tmp_path, text)
    assert "obstacle at (1.0, 1.0): floor: expected the id of a floor, got '7'" in sentence


def test_ends_may_lie_apart(tmp_path):
    ends = '[[connection.end]]\nfloor = "1"\nrect_m = [3, 3, 4, 4]\n'
    (way,) = read(tmp_path, HOUSE + ends).connections
    expected = (
        ConnectionEnd(floor="0", rect_m=(0, 4, 2, 6)),
        ConnectionEnd(floor="1", rect_m=(3, 3, 4, 4)),
    )
    assert expected == way.ends
    text = HOUSE.replace('floors = ["0", "1"]\nrect_m = [0, 4, 2, 6]\n', "")
    both = '[[connection.end]]\nfloor = "0"\nrect_m = [0, 4, 2, 6]\n' + ends
    assert expected == read(tmp_path, text + both).connections[0].ends


def test_the_outline_of_the_store_may_be_that_of_its_first_floor(tmp_path):
    text = HOUSE.replace("outline_m = [[0, 0], [8, 0], [8, 6], [0, 6]]\n", "", 1)
    text = text.replace('name = "Ground"', "outline_m = [[-1, 0], [8, 0], [8, 6], [0, 6]]", 1)
    assert ((-1, 0), (8, 0), (8, 6), (0, 6)) == read(tmp_path, text).outline_m


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('id = "rx-1"', 'id = "rx-1"\nfloor = "2"', "receiver 'rx-1': floor: expected the id of a"),
        ('id = "rx-1"', 'id = "rx-1"\nfloor = "2"', "got '2'; known are 0, 1"),
        ('id = "left"', 'id = "left"\nfloor = ""', "zone 'left': floor: expected the id of a flo"),
        ('id = "board"', 'id = "board"\nfloor = "x"', "shelf 'board': floor: expected the id of"),
        ('id = "1"\nout', 'id = "0"\nout', "floor '0' is given more than once"),
        ('id = "1"\nout', 'id = ""\nout', "floor[1].id: expected text like '0' or 'ground'"),
        ('id = "1"\nout', 'id = "1"\nlevel_m = -1\nout', "floor '1': level_m: expected metres ab"),
        ('id = "1"\nout', 'id = "1"\nlevel_m = nan\nout', "floor '1': level_m: expected metres a"),
        ('id = "1"\nout', 'id = "1"\nlevel = 1\nout', "(did you mean 'level_m'?)"),
        ("[[0, 0], [6, 0], [6, 6], [0, 6]]", "[[0, 0], [6, 6], [6, 0], [0, 6]]", "edges 0 and 2"),
        ('"stairs-1"', '"Stairs"', "connection[0].id: expected a name like 'stairs-1'"),
        ('kind = "stairs"', 'kind = "ramp"', "connection 'stairs-1': kind: expected a kind of co"),
        ('kind = "stairs"', 'kind = "lifd"', "(did you mean 'lift'?)"),
        ('["0", "1"]', '["0"]', "floors: expected two floors or more, each once, got ['0']"),
        ('["0", "1"]', '["0", "0"]', "floors: expected two floors or more, each once"),
        ('["0", "1"]', "[]", "floors: expected two floors or more, each once, got []"),
        ('floors = ["0", "1"]\n', "", "floors: expected two floors or more, each once, got []"),
        ('["0", "1"]', '["0", "3"]', "floors: expected the id of a floor, got '3'; known are 0, 1"),
        ("rect_m = [0, 4, 2, 6]\n", "", "expected its place on floor '0', got nothing; give rec"),
        ("[0, 4, 2, 6]", "[2, 4, 0, 6]", "rect_m: expected [x0, y0, x1, y1] in metres"),
        ("[0, 4, 2, 6]", "[9, 4, 11, 6]", "a rectangle inside the outline of floor '0', got [9"),
        ("[0, 4, 2, 6]", "[6.5, 4, 8, 6]", "a rectangle inside the outline of floor '1'"),
        (STAIRS, STAIRS + STAIRS, "connection 'stairs-1' is given more than once"),
        (
            STAIRS,
            STAIRS + '[[connection.end]]\nfloor = "2"\nrect_m = [0, 4, 2, 6]\n',
            "floors: expected the id of a floor, got '2'",
        ),
        (
            STAIRS,
            STAIRS + 2 * '[[connection.end]]\nfloor = "1"\nrect_m = [0, 4, 2, 6]\n',
            "expected one [[connection.end]] for each floor, got two",
        ),
    ],
)  # fmt: skip
def test_a_wrong_floor_or_connection_is_refused(tmp_path, old, new, words):
    assert old in HOUSE
    assert words in refusal(tmp_path, HOUSE.replace(old, new, 1))


def test_an_end_must_be_on_a_floor_of_its_connection(tmp_path):
    third = '[[floor]]\nid = "2"\n'
    end = '[[connection.end]]\nfloor = "2"\nrect_m = [0, 4, 2, 6]\n'
    sentence = refusal(tmp_path, STORE + UPSTAIRS + third + STAIRS + end)
    assert "connection 'stairs-1': end: floor: expected one of its floors, got '2'" in sentence


def test_more_receivers_and_zones_than_a_byte_counts(tmp_path):
    receivers = "".join(
        f'[[receiver]]\nid = "r{i}"\nposition_m = [{i / 50}, 1, 2]\n' for i in range(400)
    )
    zones = "".join(
        f'[[zone]]\nid = "z{i}"\nkind = "aisle"\nfloor = "1"\n'
        f"polygon_m = [[{i / 50}, 0], [{(i + 1) / 50}, 0], [{(i + 1) / 50}, 6], [{i / 50}, 6]]\n"
        for i in range(300)
    )
    store = read(tmp_path, STORE + receivers + zones)
    assert (403, 302) == (len(store.receivers), len(store.zones))
