"""Whatever bytes a file holds, it is read or refused; what is written is read back."""

import functools
import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.config import ConfigError, read_toml
from ingest.files import BAD_TIME, read_columns, read_columns_counting, write_columns
from ingest.floorplan import read_floorplan
from ingest.identifiers import is_pseudonym, is_tag, pseudonym
from ingest.measurements import Dropped, Names, read_readings
from ingest.store_file import read_store
from tests.ingest.small_store import STORE, small_store, write_store

QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HEADER = "t_ns,receiver,tag,rssi_dbm"
COLUMNS = HEADER.split(",")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
CELLS = st.one_of(
    TEXTS,
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.sampled_from(["rx-1", "name:anna", "-61", "1764000000000000000", "true", '"', '""', "\n"]),
)


def refused_or(work):
    """Return what some work gives, or None where it is refused in one sentence."""
    try:
        return work()
    except ConfigError as error:
        sentence = str(error)
    assert sentence
    assert "\n" not in sentence
    return None


@QUICK
@given(st.binary(max_size=300), st.sampled_from(["r.csv", "r.csv.gz", "r.jsonl", "r.parquet"]))
def test_any_bytes_are_read_or_refused(tmp_path, content, name):
    path = tmp_path / name
    for data in (content, HEADER.encode() + b"\n" + content):
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        columns = refused_or(lambda: read_columns(path, required=COLUMNS))
        assert columns is None or 1 == len({len(column) for column in columns.values()})


@QUICK
@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), max_size=8))
def test_every_line_is_used_or_counted(tmp_path, rows):
    """Cells of any text, written as a CSV writer would: no row is lost silently."""
    store = small_store(tmp_path)
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    lines = [line.replace("\r", " ").replace("\n", " ") for line in lines]
    (tmp_path / "r.csv").write_text("\n".join([HEADER, *lines]), encoding="utf-8", newline="\n")
    dropped = Dropped()
    columns = read_readings([tmp_path / "r.csv"], store, Names(key=b"k" * 16), dropped)
    assert len(rows) == len(columns[0]) + dropped.reasons.total()
    assert (np.abs(columns[3]) <= 120).all()
    assert (columns[0] != BAD_TIME).all()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@QUICK
@given(st.lists(st.dictionaries(st.sampled_from(COLUMNS), JSON), min_size=1, max_size=5))
def test_any_json_objects_are_read(tmp_path, rows):
    full = dict.fromkeys(COLUMNS)
    text = "\n".join(json.dumps(row) for row in [full, *rows])
    (tmp_path / "r.jsonl").write_text(text, encoding="utf-8")
    columns, broken = read_columns_counting(tmp_path / "r.jsonl", required=COLUMNS)
    assert len(rows) + 1 == len(columns["t_ns"]) + broken


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NANOSECONDS = st.integers(-(2**62) + 1, 2**62 - 1)
WORDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=12)
TABLES = st.integers(1, 6).flatmap(
    lambda rows: st.tuples(
        st.lists(NANOSECONDS, min_size=rows, max_size=rows),
        st.lists(WORDS, min_size=rows, max_size=rows),
        st.lists(NUMBERS, min_size=rows, max_size=rows),
    )
)


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.parquet"])
@QUICK
@given(table=TABLES)
def test_what_is_written_is_read_back(tmp_path, name, table):
    expected = dict(zip(["t_ns", "zone", "x_m"], table, strict=True))
    write_columns(tmp_path / name, expected, force=True)
    found = read_columns(tmp_path / name, required=list(expected))
    assert expected == {key: column.tolist() for key, column in found.items()}


@QUICK
@given(st.binary(max_size=200), st.integers(0, len(STORE)), st.integers(0, 40))
def test_a_store_file_with_other_bytes_in_it_is_read_or_refused(tmp_path, noise, at, gone):
    path = write_store(tmp_path)
    text = STORE.encode()
    path.write_bytes(text[:at] + noise + text[at + gone :])
    store = refused_or(lambda: read_store(path))
    assert store is None or store.receivers


@QUICK
@given(st.binary(max_size=100), JSON)
def test_any_plan_and_any_toml_is_read_or_refused(tmp_path, content, features):
    path = tmp_path / "x"
    for data in (content, json.dumps({"features": features}).encode()):
        path.write_bytes(data)
        for read in (read_floorplan, read_toml):
            refused_or(functools.partial(read, path))


@QUICK
@given(st.text(max_size=80), st.binary(min_size=16, max_size=64))
def test_pseudonyms_of_any_text(text, key):
    name = pseudonym(text, key)
    assert is_pseudonym(name)
    assert name == pseudonym(name, b"another key " * 2)
    assert not is_tag(name)


@QUICK
@given(st.from_regex(r"(ble:[0-9a-f]{12}|name:[a-z]{1,9}|nfc:[0-9a-f]{14})", fullmatch=True))
def test_a_tag_in_capitals_or_with_anything_round_it_is_none(tag):
    assert is_tag(tag)
    for wrong in (tag + " ", "\n" + tag, tag + "\n", tag.upper(), tag.replace(":", "")):
        assert not is_tag(wrong)
