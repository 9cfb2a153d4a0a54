"""A small right store file for tests that change one thing in it."""

from ingest.store_file import read_store

STORE = """
schema = "fanous.store/1"
id = "shop"
timezone = "Europe/Berlin"
outline_m = [[0, 0], [8, 0], [8, 6], [0, 6]]
staff_tags = ["name:anna"]

[[receiver]]
id = "rx-1"
position_m = [0.0, 0.0, 2.5]

[[receiver]]
id = "rx-2"
position_m = [8.0, 0.0, 2.5]

[[receiver]]
id = "rx-3"
position_m = [4.0, 6.0, 2.5]

[[zone]]
id = "left"
kind = "entrance"
polygon_m = [[0, 0], [4, 0], [4, 6], [0, 6]]

[[zone]]
id = "right"
kind = "aisle"
polygon_m = [[4, 0], [8, 0], [8, 6], [4, 6]]

[[shelf]]
id = "board"
zone = "right"
rect_m = [6, 5, 8, 6]
[[shelf.sensor]]
id = "plate-1"
kind = "mass"
capacity_g = 10000
[[shelf.sensor]]
id = "eye-1"
kind = "range"
[[shelf.product]]
gtin = "04012345678901"
unit_g = 640
sensors = ["plate-1"]

[[tap_point]]
id = "gate"
zone = "left"
role = "entry"
"""


def write_store(folder, text=STORE):
    path = folder / "store.toml"
    path.write_text(text, encoding="utf-8")
    return path


def small_store(folder):
    return read_store(write_store(folder))


def changed(old, new):
    """Return the store file with one thing changed; refuses a change that changes nothing."""
    assert 1 <= STORE.count(old), old
    return STORE.replace(old, new, 1)
