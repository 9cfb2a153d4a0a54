"""A store file is read as contract section 2 says, and a wrong one is refused in a sentence."""

from pathlib import Path

import pytest

from ingest.config import ConfigError
from ingest.store_file import read_store
from tests.ingest.small_store import STORE, changed, small_store, write_store

ZONE = """
[[zone]]
id = "{id}"
kind = "promo"
polygon_m = {polygon}
"""


def refusal(folder, text):
    with pytest.raises(ConfigError) as error:
        read_store(write_store(folder, text))
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


def test_a_right_file(tmp_path):
    store = small_store(tmp_path)
    assert ("shop", "shop", "Europe/Berlin") == (store.id, store.name, store.timezone)
    assert ["rx-1", "rx-2", "rx-3"] == [r.id for r in store.receivers]
    assert [("right",), ("left",)] == [zone.neighbours for zone in store.zones]
    assert ((6, 5), (8, 5), (8, 6), (6, 6)) == store.obstacles[0].polygon_m
    assert ["plate-1", "eye-1"] == [sensor.id for _, sensor in store.sensors]
    assert ("main",) == store.layers
    assert (1.0, None) == (store.cell_m, store.radio_map)
    assert 1.0 == store.rules.tick_s


def test_a_store_without_zones_and_outline(tmp_path):
    text = STORE[: STORE.index("[[zone]]")].replace(
        "outline_m = [[0, 0], [8, 0], [8, 6], [0, 6]]\n", ""
    )
    store = read_store(write_store(tmp_path, text))
    assert () == store.zones
    assert ((0, 0), (8, 0), (8, 6), (0, 6)) == store.outline_m


def test_an_outline_round_receivers_in_a_line_has_an_area(tmp_path):
    text = STORE[: STORE.index("[[zone]]")].replace("4.0, 6.0", "4.0, 0.0")
    text = text.replace("outline_m = [[0, 0], [8, 0], [8, 6], [0, 6]]\n", "")
    store = read_store(write_store(tmp_path, text))
    assert ((-1, -1), (9, -1), (9, 1), (-1, 1)) == store.outline_m


def test_given_neighbours_win_even_none(tmp_path):
    text = changed('kind = "entrance"', 'kind = "entrance"\nneighbours = []')
    store = read_store(write_store(tmp_path, text))
    assert [(), ("left",)] == [zone.neighbours for zone in store.zones]


def test_zones_may_touch_in_one_layer_and_overlap_across_layers(tmp_path):
    text = STORE + ZONE.format(id="whole", polygon="[[0, 0], [8, 0], [8, 6], [0, 6]]")
    assert "overlap by 24 m²" in refusal(tmp_path, text)
    store = read_store(write_store(tmp_path, text + 'layer = "wide"\n'))
    assert ("main", "wide") == store.layers
    other_floor = read_store(write_store(tmp_path, text + 'floor = "1"\n'))
    assert 3 == len(other_floor.zones)


def test_a_polygon_may_repeat_its_first_corner(tmp_path):
    text = changed("[[0, 0], [4, 0], [4, 6], [0, 6]]", "[[0, 0], [4, 0], [4, 6], [0, 6], [0, 0]]")
    assert 4 == len(read_store(write_store(tmp_path, text)).zones[0].polygon_m)


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "walls.csv").write_text("x0_m,y0_m,x1_m,y1_m,note\n1,1,2,2,wall\n")
    text = 'obstacles = "walls.csv"\n' + STORE + '\n[radio]\nmap = "map.npz"\n'
    write_store(tmp_path / "sub", text)
    monkeypatch.chdir(tmp_path)
    store = read_store(Path("sub/store.toml"))
    assert str(tmp_path / "sub" / "map.npz") == store.radio_map
    assert ((1, 1), (2, 1), (2, 2), (1, 2)) == store.obstacles[0].polygon_m


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        # the head
        ("fanous.store/1", "fanous.store/2", "schema: expected 'fanous.store/1', got 'fanous.st"),
        ('schema = "fanous.store/1"', "", "schema: expected 'fanous.store/1', got nothing"),
        ('id = "shop"', 'id = "Shop"', "id: expected a name of lower-case letters"),
        ('id = "shop"', "", "expected the key 'id', which is missing"),
        ('id = "shop"', 'id = "shop"\nfloorplans = "x"', "did you mean 'floorplan'?"),
        ("Europe/Berlin", "Europe/Berln", "timezone: expected an IANA time zone"),
        ("Europe/Berlin", "Europe/Berln", "(did you mean 'Europe/Berlin'?)"),
        ("Europe/Berlin", "Europe", "timezone: expected an IANA time zone"),
        ("Europe/Berlin", "../../etc/passwd", "timezone: expected an IANA time zone"),
        ("Europe/Berlin", "", "timezone: expected an IANA time zone"),
        ("name:anna", "Anna", "staff_tags[0]: expected a tag like 'name:anna'"),
        ('["name:anna"]', '"name:anna"', "staff_tags: expected a list, got text"),
        # outline and shapes
        ("[[0, 0], [8, 0], [8, 6], [0, 6]]", "[[0, 0], [8, 0]]", "outline_m: expected at least"),
        ("[[0, 0], [8, 0], [8, 6], [0, 6]]", "[]", "outline_m: expected at least three corners"),
        ("[8, 6], [0, 6]]", "[8, nan], [0, 6]]", "outline_m: expected finite metres"),
        ("[8, 6], [0, 6]]", "[8, inf], [0, 6]]", "outline_m: expected finite metres"),
        ("[8, 6], [0, 6]]", "[8, 6e9], [0, 6]]", "outline_m: expected finite metres below 100 km"),
        ("[8, 6], [0, 6]]", "[8, 6, 0], [0, 6]]", "outline_m: expected corners [x, y]"),
        ("[8, 6], [0, 6]]", '[8, "6"], [0, 6]]', "outline_m[2][1]: expected a number, got text"),
        ("[[0, 0], [4, 0], [4, 6], [0, 6]]", "[[0, 0], [4, 6], [4, 0], [0, 6]]", "edges 0 and 2"),
        ("[[0, 0], [4, 0], [4, 6], [0, 6]]", "[[0, 0], [2, 0], [4, 0]]", "a polygon with an area"),
        ("[6, 5, 8, 6]", "[8, 5, 6, 6]", "shelf 'board': rect_m: expected [x0, y0, x1, y1]"),
        ("[6, 5, 8, 6]", "[6, 5, 8]", "got [6.0, 5.0, 8.0]"),
        ("[6, 5, 8, 6]", "[6, 5, 8, nan]", "rect_m: expected [x0, y0, x1, y1]"),
        # receivers
        ("position_m = [0.0, 0.0, 2.5]", "", "receiver[0]: expected the key 'position_m'"),
        ("[0.0, 0.0, 2.5]", "[0.0, 0.0]", "receiver 'rx-1': position_m: expected [x, y, z]"),
        ("[0.0, 0.0, 2.5]", "[0.0, nan, 2.5]", "receiver 'rx-1': position_m: expected [x, y, z]"),
        ("[0.0, 0.0, 2.5]", "[0.0, 1e12, 2.5]", "receiver 'rx-1': position_m: expected [x, y, z]"),
        ("[0.0, 0.0, 2.5]", "[0.0, true, 2.5]", "position_m[1]: expected a number, got true"),
        ("[0.0, 0.0, 2.5]", "[0, 0, 2]\nposition = 1", "receiver[0].position' (did you mean 'pos"),
        ("[0.0, 0.0, 2.5]", "[0, 0, 2]\noffset_db = nan", "receiver 'rx-1': offset_db: expected"),
        ("[0.0, 0.0, 2.5]", '[0, 0, 2]\nagent = "Pi 1"', "receiver 'rx-1': agent: expected a name"),
        ('"rx-2"', '"rx-1"', "receiver id 'rx-1' is used more than once"),
        ('"rx-2"', '"rx 2"', "receiver[1].id: expected a name"),
        # zones
        ('"right"', '"left"', "zone id 'left' is used more than once"),
        ('kind = "aisle"', 'kind = "aisel"', "zone 'right': kind: expected a kind of zone, got 'a"),
        ('kind = "aisle"', 'kind = "aisel"', "(did you mean 'aisle'?)"),
        ('kind = "aisle"', "", "zone[1]: expected the key 'kind', which is missing"),
        ('kind = "aisle"', 'kind = "aisle"\nlayer = "A B"', "zone 'right': layer: expected a name"),
        ("[[4, 0], [8, 0]", "[[3, 0], [8, 0]", "zones 'left' and 'right' of layer 'main' overlap"),
        (
            'kind = "aisle"',
            'kind = "aisle"\nneighbours = ["lefft"]',
            "zone 'right': neighbours: expected the id of a zone, got 'lefft' (did you mean 'left",
        ),
        # shelves
        ('zone = "right"', 'zone = "rigth"', "shelf 'board': zone: expected the id of a zone"),
        ('zone = "right"', 'zone = "rigth"', "(did you mean 'right'?)"),
        ('kind = "range"', 'kind = "rnage"', "sensor 'eye-1': kind: expected mass or range"),
        ('id = "eye-1"', 'id = "plate-1"', "shelf.sensor id 'plate-1' is used more than once"),
        ("capacity_g = 10000", "capacity_g = 0", "capacity_g: expected a number above 0"),
        ("unit_g = 640", "unit_g = -1", "product '04012345678901': unit_g: expected a number"),
        ("unit_g = 640", "unit_g = nan", "product '04012345678901': unit_g: expected a number"),
        ("unit_g = 640", "", "shelf[0].product[0]: expected the key 'unit_g', which is missing"),
        ('["plate-1"]', '["plate-2"]', "sensors: expected a sensor of this shelf, got 'plate-2'"),
        ('["plate-1"]', "[]", "sensors: expected the sensors under its facings"),
        ('"04012345678901"', '""', "product gtin: expected digits"),
        # tap points
        ('role = "entry"', 'role = "entrance"', "tap_point 'gate': role: expected a role, got 'en"),
        ('role = "entry"', 'role = "entrance"', "(did you mean 'entry'?)"),
        ('zone = "left"', 'zone = "lef"', "tap_point 'gate': zone: expected the id of a zone"),
        ('id = "gate"', 'id = "gate/1"', "tap_point[0].id: expected a name"),
        # the rest
        ("[[tap_point]]", "[radio]\ncell = 1\n[[tap_point]]", "(did you mean 'cell_m'?)"),
        ("[[tap_point]]", "[radio]\ncell_m = 0\n[[tap_point]]", "radio.cell_m: expected a number"),
        (
            "[[tap_point]]",
            "[radio]\ncell_m = nan\n[[tap_point]]",
            "radio.cell_m: expected a number",
        ),
        (
            "[[tap_point]]",
            "[radio]\ncell_m = 0.1\n[[tap_point]]",
            "radio.cell_m: expected a number from 0.25 to 100, got 0.1; finer cells take",
        ),
        (
            "[[tap_point]]",
            "[radio]\ncell_m = 0.25\n[rules]\nlag_s = 3600\n[[tap_point]]",
            "radio.cell_m: expected cells of 0.6 m or more with rules.lag_s 3600 and rules.tick",
        ),
        ("[[tap_point]]", '[radio]\nmap = ""\n[[tap_point]]', "radio.map: expected the path"),
        ("[[tap_point]]", "[rules]\ntick_s = 0\n[[tap_point]]", "rules.tick_s: expected more than"),
        ("[[tap_point]]", "[rules]\ntick_s = 1e-9\n[[tap_point]]", "rules.tick_s: expected a num"),
        ("[[tap_point]]", "[rules]\nlag_s = -1\n[[tap_point]]", "rules.lag_s: expected 0 or more"),
        ("[[tap_point]]", "[rules]\nlag_s = 86400\n[[tap_point]]", "rules.lag_s: expected at most"),
        ("[[tap_point]]", "[rules]\nvisit_gap_s = 1e9\n[[tap_point]]", "at most a week"),
        ("[[tap_point]]", "[rules]\ndwell_min_s = nan\n[[tap_point]]", "rules.dwell_min_s: expec"),
        ("[[tap_point]]", "[rules]\ndwell_min = 5\n[[tap_point]]", "(did you mean 'dwell_min_s'?)"),
        ("[[tap_point]]", "[[obstacle]]\n[[tap_point]]", "either rect_m or polygon_m, got neither"),
        (
            "[[tap_point]]",
            "[[obstacle]]\nrect_m = [0, 0, 1, 1]\npolygon_m = []\n[[tap_point]]",
            "obstacle[0]: expected either rect_m or polygon_m, got both",
        ),
        ("[[tap_point]]", "[[obstacle]]\nrect_m = [0]\n[[tap_point]]", "obstacle[0].rect_m: expec"),
        ("[[tap_point]]", "[tap_point]", "tables of a list are written [[tap_point]]"),
        (
            'id = "shop"',
            'id = "shop"\nobstacles = "none.csv"',
            "none.csv: obstacles cannot be read",
        ),
        ('id = "shop"', 'id = "shop"\nobstacles = "a\\u0000b"', "obstacles: expected the path"),
        ('id = "shop"', 'id = "shop"\nfloorplan = "no.json"', "no.json: floor plan cannot be read"),
        ('id = "shop"', 'id = "shop"\nfloorplan = ""', "floorplan: expected the path of a file"),
    ],
)
def test_one_wrong_thing_is_refused_by_its_key(tmp_path, old, new, words):
    sentence = refusal(tmp_path, changed(old, new))
    assert words in sentence
    assert str(tmp_path) in sentence


def test_no_receivers_and_dangling_zones_without_any_zone(tmp_path):
    head = STORE[: STORE.index("[[receiver]]")]
    assert "expected at least one [[receiver]]" in refusal(tmp_path, head)
    tap = '[[receiver]]\nid = "a"\nposition_m = [0, 0, 0]\n[[tap_point]]\nid = "g"\nrole = "exit"\n'
    assert "got 'x'; there are none" in refusal(tmp_path, f'{head}{tap}zone = "x"\n')


def test_a_wrong_staff_tag_is_not_repeated(tmp_path):
    assert "B0B0" not in refusal(tmp_path, changed("name:anna", "BLE:B0B0B0B0B0B0"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty; expected columns x0_m, y0_m, x1_m, y1_m"),
        (b"x0_m,y0_m,x1_m\n1,2,3\n", "column 'y1_m' is missing"),
        (b"x0_m,y0_m,x1_m,y1_m\n1,1,2,2\n1,2,x,4\n", "line 3: expected numbers"),
        (b"x0_m,y0_m,x1_m,y1_m\n1,1,2\n", "line 2: expected numbers"),
        (b"x0_m,y0_m,x1_m,y1_m\n3,1,2,2\n", "line 2: expected [x0, y0, x1, y1]"),
        (b"x0_m,y0_m,x1_m,y1_m\nnan,1,2,2\n", "line 2: expected [x0, y0, x1, y1]"),
        (b"x0_m,y0_m,x1_m,y1_m\n\xff,1,2,2\n", "expected obstacles as UTF-8 text"),
        (b"x0_m,y0_m,x1_m,y1_m\n" + b"1" * 200_000, "expected obstacles as UTF-8 text"),
        (b"\x1f\x8b\x08\x00", "expected obstacles as UTF-8 text"),
    ],
)
def test_wrong_obstacle_files(tmp_path, content, words):
    (tmp_path / "walls.csv").write_bytes(content)
    sentence = refusal(tmp_path, changed('id = "shop"', 'id = "shop"\nobstacles = "walls.csv"'))
    assert words in sentence
    assert "walls.csv" in sentence


def test_an_obstacle_file_with_a_header_alone_and_a_byte_order_mark(tmp_path):
    (tmp_path / "walls.csv").write_bytes("\ufeffx0_m,y0_m,x1_m,y1_m\n".encode())
    text = changed('id = "shop"', 'id = "shop"\nobstacles = "walls.csv"')
    assert 1 == len(read_store(write_store(tmp_path, text)).obstacles)


def test_a_directory_as_obstacle_file(tmp_path):
    text = changed('id = "shop"', 'id = "shop"\nobstacles = "."')
    assert "obstacles cannot be read (Is a directory)" in refusal(tmp_path, text)


def test_the_files_of_the_products_own_stores():
    demo = Path(__file__).parents[2] / "simulators" / "stores" / "demo.toml"
    assert "demo" == read_store(demo).id


def test_a_long_lag_is_fine_with_the_cells_that_the_refusal_asks_for(tmp_path):
    text = "[radio]\ncell_m = 0.6\n[rules]\nlag_s = 3600\n[[tap_point]]"
    store = read_store(write_store(tmp_path, changed("[[tap_point]]", text)))
    assert (0.6, 3600.0) == (store.cell_m, store.rules.lag_s)


def test_more_floors_than_a_byte_counts_are_refused(tmp_path):
    def floors(count):
        tables = "".join(f'[[floor]]\nid = "{at}"\nlevel_m = {at}\n' for at in range(count))
        return changed("[[tap_point]]", tables + "[[tap_point]]")

    assert 255 == len(read_store(write_store(tmp_path, floors(255))).floors)
    assert "floor: expected at most 255 floors, got 256" in refusal(tmp_path, floors(256))
