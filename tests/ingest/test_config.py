"""Configuration is read strictly, and what is wrong is said in one sentence."""

from typing import Literal

import msgspec
import pytest

from ingest.config import ConfigError, nearest, read_config, read_toml, shown, to_struct


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    max_rows: int = 500


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    clock: Literal["wall", "data"] = "wall"
    weight_g: float | None = None
    batch: Inner = msgspec.field(default_factory=Inner)
    part: list[Inner] = msgspec.field(default_factory=list)


def test_a_right_file_becomes_a_struct(tmp_path):
    path = tmp_path / "thing.toml"
    path.write_text('name = "a"\nweight_g = 3\n[[part]]\nmax_rows = 7\n', encoding="utf-8")
    expected = Thing(name="a", weight_g=3.0, part=[Inner(max_rows=7)])
    assert expected == read_config(path, Thing)


def test_a_byte_order_mark_and_foreign_line_ends_are_fine(tmp_path):
    path = tmp_path / "thing.toml"
    path.write_bytes('\ufeffname = "a"\r\nclock = "data"\r\n'.encode())
    assert Thing(name="a", clock="data") == read_config(path, Thing)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"nmae": "a"}, "thing: unknown key 'nmae' (did you mean 'name'?)"),
        (
            {"name": "a", "qqqq": 1},
            "thing: unknown key 'qqqq'; known are batch, clock, name, part, weight_g",
        ),
        (
            {"name": "a", "batch": {"max_row": 1}},
            "thing: unknown key 'batch.max_row' (did you mean 'max_rows'?)",
        ),
        (
            {"name": "a", "part": [{}, {"max_row": 1}]},
            "thing: unknown key 'part[1].max_row' (did you mean 'max_rows'?)",
        ),
        ({}, "thing: expected the key 'name', which is missing"),
        ({"name": 1}, "thing: name: expected text, got a whole number"),
        ({"name": "a", "weight_g": "3"}, "thing: weight_g: expected a number, got text"),
        ({"name": "a", "weight_g": True}, "thing: weight_g: expected a number, got true or false"),
        ({"name": None}, "thing: name: expected text, got nothing"),
        ({"name": "a", "batch": 1}, "thing: batch: expected a table, got a whole number"),
        (
            {"name": "a", "part": {"max_rows": 1}},
            "thing: part: expected a list, got a table; tables of a list are written [[part]]",
        ),
        ({"name": "a", "part": [1]}, "thing: part[0]: expected a table, got a whole number"),
        ({"name": "a", "weight_g": 10**400}, "thing: weight_g: number out of range"),
        ({"name": "a", "clock": "sun"}, "thing: clock: invalid enum value 'sun'"),
    ],
)
def test_a_wrong_table_is_refused_by_key(table, sentence):
    with pytest.raises(ConfigError) as error:
        to_struct(table, Thing, subject="thing")
    assert sentence == str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n\t\n", "the file is empty"),
        (b"\xff\xfe\x00", "expected UTF-8 text, got another byte at 0"),
        (b"a = 1\nb = [1,\nc = 2", "line 3"),
        (b"a = 1\na = 2", "line 2"),
        (b"# only words\nthis is no toml", "line 2"),
        (b"a = " + b"[" * 20_000, "nested too deeply"),
        (b"a = " + b"9" * 5_000, "not valid TOML"),
        (b"a = 2024-13-45", "not valid TOML"),
    ],
)
def test_what_is_no_toml_is_refused(tmp_path, content, words):
    path = tmp_path / "thing.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_toml(path)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "file").write_text("x = 1")
    for path, why in [
        (tmp_path / "none.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "file" / "x.toml", "Not a directory"),
    ]:
        with pytest.raises(ConfigError, match=f"cannot be read \\({why}\\)"):
            read_toml(path)


def test_nearest():
    assert " (did you mean 'aisle'?)" == nearest("aisel", ["entrance", "aisle"])
    assert "; known are a, b" == nearest("zzz", ["b", "a"])
    assert "; there are none" == nearest("zzz", [])


def test_what_is_shown_stays_short_and_on_one_line():
    assert "nothing" == shown(None)
    assert "'a\\nb'" == shown("a\nb")
    assert 100 == len(shown("x" * 5000))
