"""Files of four formats, good cells beside bad ones, and files that cannot be read."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.config import ConfigError
from ingest.files import BAD_TIME, extension_of, read_columns, read_columns_counting, write_columns

EXAMPLE = Path("folder")
T0 = 1_764_000_000_000_000_000
READINGS = ("t_ns", "receiver", "tag", "rssi_dbm")
HEADER = "t_ns,receiver,tag,rssi_dbm\n"


def file(folder, content, name="r.csv"):
    path = folder / name
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return path


def read(folder, content, name="r.csv", required=READINGS, **more):
    columns = read_columns(file(folder, content, name), required=required, **more)
    return {key: column.tolist() for key, column in columns.items()}


def refusal(path, required=READINGS):
    with pytest.raises(ConfigError) as error:
        read_columns(path, required=required)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))
    return str(error.value)


def nans(values):
    return [None if value != value else value for value in values]


EXPECTED = {
    "t_ns": [T0, T0 + 1],
    "receiver": ["rx-1", "rx-2"],
    "tag": ["name:anna", "name:bo"],
    "rssi_dbm": [-61.0, -70.5],
}


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.parquet", "R.CSV"])
def test_every_format_gives_back_what_was_written(tmp_path, name):
    write_columns(tmp_path / name, EXPECTED)
    columns = read_columns(tmp_path / name, required=READINGS)
    assert {key: column.tolist() for key, column in columns.items()} == EXPECTED
    assert [np.int64, object, object, np.float64] == [c.dtype for c in columns.values()]
    assert [tmp_path / name] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.parquet"])
def test_an_existing_file_stays_without_force(tmp_path, name):
    write_columns(tmp_path / name, {"t_ns": [1]})
    with pytest.raises(ConfigError, match="exists already; choose another name or say --force"):
        write_columns(tmp_path / name, {"t_ns": [2]})
    assert [1] == read_columns(tmp_path / name, required=["t_ns"])["t_ns"].tolist()
    write_columns(tmp_path / name, {"t_ns": [2]}, force=True)
    assert [2] == read_columns(tmp_path / name, required=["t_ns"])["t_ns"].tolist()


def test_absent_values_are_empty_cells(tmp_path):
    write_columns(tmp_path / "r.csv", {"z_m": np.array([1.5, np.nan]), "zone": ["a", None]})
    assert '"z_m","zone"\n1.5,"a"\n,\n' == (tmp_path / "r.csv").read_text()


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / f"d-{name}").mkdir()
    for path, why in [
        (tmp_path / "file" / name, "Not a directory"),
        (tmp_path / "none" / name, "No such file or directory"),
        (tmp_path / ("x" * 300 + name), "File name too long"),
    ]:
        with pytest.raises(ConfigError, match=f"cannot be written \\({why}\\)"):
            write_columns(path, {"t_ns": [1]})
    with pytest.raises(ConfigError, match="Is a directory"):
        write_columns(tmp_path / f"d-{name}", {"t_ns": [1]}, force=True)
    assert {"file", f"d-{name}"} == {path.name for path in tmp_path.iterdir()}


def test_an_unknown_ending_is_refused():
    assert ".csv.gz" == extension_of(EXAMPLE / "a.b.csv.gz")
    for name in ("readings", "readings.txt", "readings.csv.zip", ".csvx"):
        with pytest.raises(ConfigError, match=r"expected a name ending in \.csv, \.csv\.gz, "):
            extension_of(EXAMPLE / name)


def test_columns_come_in_any_order_with_others_between(tmp_path):
    text = 'note,rssi_dbm,tag,"receiver",x,t_ns\n'
    text += f"hello,-61,name:anna,rx-1,,{T0}\nöäü,-70.5,name:bo,rx-2,3,{T0 + 1}\n"
    assert read(tmp_path, text) == EXPECTED


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\n\n" + text,
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("t_ns,receiver", " t_ns , receiver"),
        lambda text: text.replace("rx-1", '"rx-1"'),
    ],
)
def test_csv_as_other_programs_write_it(tmp_path, change):
    text = f"{HEADER}{T0},rx-1,name:anna,-61\n{T0 + 1},rx-2,name:bo,-70.5\n"
    assert read(tmp_path, change(text)) == EXPECTED


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_bad_cells_spoil_their_own_row_alone(tmp_path, name):
    rows = [
        f"{T0},rx-1,name:anna,-61",
        "x,rx-1,name:anna,abc",
        f"{T0},,,",
        ",7,007,nan",
        "1.764e18,rx-1,name:anna,true",
        "99999999999999999999,rx-1,name:anna,1e400",
        f"{T0}, rx-1 ,name:anna, -61.5 ",
    ]
    got = read(tmp_path, HEADER + "\n".join(rows), name)
    bad = int(BAD_TIME)
    assert [T0, bad, T0, bad, T0, bad, T0] == got["t_ns"]
    assert ["rx-1", "rx-1", "", "7", "rx-1", "rx-1", " rx-1 "] == got["receiver"]
    assert ["name:anna", "name:anna", "", "007", "name:anna", "name:anna", "name:anna"] == got[
        "tag"
    ]
    assert [-61.0, None, None, None, None, float("inf"), -61.5] == nans(got["rssi_dbm"])


def test_a_bad_cell_far_down_spoils_its_own_row_alone(tmp_path):
    rows = [f"{T0 + n},rx-1,name:anna,-61" for n in range(60_000)]
    rows[50_000] = "x,rx-1,name:anna,words"
    got = read(tmp_path, HEADER + "\n".join(rows))
    assert [50_000] == [n for n, t_ns in enumerate(got["t_ns"]) if t_ns == BAD_TIME]
    assert [50_000] == [n for n, rssi in enumerate(got["rssi_dbm"]) if rssi != rssi]


@pytest.mark.parametrize("cell", ["true", "2025-11-24", "2025-11-24T16:00:00Z", "12:00:00", "x"])
def test_a_column_of_something_else_is_no_number_and_no_time(tmp_path, cell):
    got = read(tmp_path, f"{HEADER}{cell},rx-1,name:anna,{cell}\n")
    assert [BAD_TIME] == got["t_ns"]
    assert [None] == nans(got["rssi_dbm"])


def test_bytes_that_are_no_text_spoil_their_own_row_alone(tmp_path):
    text = HEADER.encode() + f"{T0},rx-1,name:anna,-61\n{T0},rx-\xff,name:b\xfe,-6\xff\n".encode(
        "latin-1"
    )
    got = read(tmp_path, text)
    assert ["rx-1", "rx-?"] == got["receiver"]
    assert [-61.0, None] == nans(got["rssi_dbm"])
    assert [T0, T0] == got["t_ns"]


def test_a_broken_line_of_other_bytes_is_counted_without_a_word(tmp_path):
    text = HEADER.encode() + b"\xe2\x9d\n\xff,\xfe\n" + f"{T0},rx-1,name:anna,-61\n".encode()
    columns, broken = read_columns_counting(file(tmp_path, text), required=READINGS)
    assert (1, 2) == (len(columns["t_ns"]), broken)


def test_letters_across_the_portions_of_a_stream_stay_whole(tmp_path):
    names = [f"größe-{'ü' * (n % 7)}€𝄞" for n in range(70_000)]
    write_columns(tmp_path / "r.csv", {"zone": names})
    assert names == read_columns(tmp_path / "r.csv", required=["zone"])["zone"].tolist()


def test_lines_with_too_few_or_too_many_cells_are_counted(tmp_path):
    text = f"{HEADER}{T0},rx-1\n{T0},rx-1,name:anna,-61\n{T0},rx-1,name:anna,-61,5\n"
    columns, broken = read_columns_counting(file(tmp_path, text), required=READINGS)
    assert (1, 2) == (len(columns["t_ns"]), broken)


@pytest.mark.parametrize("text", [HEADER, HEADER.rstrip(), HEADER + "\n\n", "\ufeff" + HEADER])
@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz"])
def test_a_header_alone_is_no_rows(tmp_path, text, name):
    columns = read_columns(file(tmp_path, text, name), required=READINGS, optional=["zone"])
    assert [0, 0, 0, 0] == [len(column) for column in columns.values()]
    assert [np.int64, object, object, np.float64] == [c.dtype for c in columns.values()]


def test_a_parquet_file_without_rows(tmp_path):
    pq.write_table(pa.table({"t_ns": pa.array([], pa.int64())}), tmp_path / "r.parquet")
    assert [] == read_columns(tmp_path / "r.parquet", required=["t_ns"])["t_ns"].tolist()


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        ("2025-11-24T16:00:00Z", T0),
        ("2025-11-24t16:00:00z", T0),
        ("2025-11-24 16:00:00Z", T0),
        ("2025-11-24T17:30:00+01:30", T0),
        ("2025-11-24T16:00:00.5Z", T0 + 500_000_000),
        ("2025-11-24T16:00:00.123456789Z", T0 + 123_456_789),
        ("2025-11-24T16:00:00.123456789999Z", T0 + 123_456_789),
        ("1969-12-31T23:59:59.25Z", -750_000_000),
        ("2025-11-24T16:00:00", BAD_TIME),
        ("2025-11-24T16:00:00+0100", BAD_TIME),
        ("2025-11-24", BAD_TIME),
        ("2025-02-30T16:00:00Z", BAD_TIME),
        ("9999-12-31T16:00:00Z", BAD_TIME),
        ("1764000000000000000", BAD_TIME),
        ("", BAD_TIME),
    ],
)
def test_times_as_rfc_3339_alone_and_among_others(tmp_path, text, t_ns):
    for others in ([], ["2025-11-24T16:00:00Z"], ["yesterday"]):
        body = "".join(f"{moment},1\n" for moment in [text, *others])
        assert t_ns == read(tmp_path, "time,x\n" + body, required=["t_ns"])["t_ns"][0]
    row = json.dumps({"time": text}) + "\n"
    assert [t_ns] == read(tmp_path, row, "r.jsonl", required=["t_ns"])["t_ns"]


def test_nanoseconds_win_over_a_time_column(tmp_path):
    text = "time,t_ns\n2025-11-24T16:00:00Z,5\n"
    assert [5] == read(tmp_path, text, required=["t_ns"])["t_ns"]


def test_json_lines_of_all_kinds(tmp_path):
    rows = [
        f'{{"t_ns": {T0}, "receiver": "rx-1", "tag": "name:anna", "rssi_dbm": -61}}',
        "no json",
        "[1, 2]",
        "",
        '{"t_ns": "x", "receiver": 7, "rssi_dbm": "-61.5", "more": {"a": [1]}}',
        f'{{"t_ns": {T0}.0, "receiver": null, "tag": ["a"], "rssi_dbm": true}}',
        '{"t_ns": 99999999999999999999, "tag": "\\ud800"}',
        '{"t_ns": ' + "[" * 10_000,
    ]
    path = file(tmp_path, "\n".join(rows), "r.jsonl")
    columns, broken = read_columns_counting(path, required=READINGS)
    assert 4 == broken
    assert [T0, BAD_TIME, T0] == columns["t_ns"].tolist()
    assert ["rx-1", "7", ""] == columns["receiver"].tolist()
    assert ["name:anna", "", "['a']"] == columns["tag"].tolist()
    assert [-61.0, -61.5, None] == nans(columns["rssi_dbm"].tolist())


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([T0, None]), [T0, BAD_TIME]),
        (pa.array([5, 2**64 - 1], pa.uint64()), [5, BAD_TIME]),
        (pa.array([5, 7], pa.int16()), [5, 7]),
        (pa.array([2**63 - 1, -(2**63)]), [BAD_TIME, BAD_TIME]),
        (pa.array([1.5e18, float("nan")]), [1_500_000_000_000_000_000, BAD_TIME]),
        (pa.array(["5", "x"]), [5, BAD_TIME]),
        (pa.array(["5", "x"]).dictionary_encode(), [5, BAD_TIME]),
        (pa.array([b"5", b"\xff"]), [5, BAD_TIME]),
        (pa.array([[5], [6]]), [BAD_TIME, BAD_TIME]),
        (pa.array([True, False]), [BAD_TIME, BAD_TIME]),
        (pa.array([None, None]), [BAD_TIME, BAD_TIME]),
        (
            pa.array([datetime(2025, 11, 24, 16, tzinfo=UTC), None], pa.timestamp("ms", "UTC")),
            [T0, BAD_TIME],
        ),
        (pa.array([datetime(9999, 1, 1), datetime(2025, 11, 24, 16)]), [BAD_TIME, T0]),  # noqa: DTZ001
    ],
)
def test_parquet_times_of_any_type(tmp_path, column, expected):
    pq.write_table(pa.table({"t_ns": column}), tmp_path / "r.parquet")
    assert expected == read_columns(tmp_path / "r.parquet", required=["t_ns"])["t_ns"].tolist()


def test_parquet_numbers_and_texts_of_any_type(tmp_path):
    table = {
        "receiver": pa.array([1, None, 3]),
        "tag": pa.array(["a", "b", None], pa.large_string()),
        "zone": pa.array(["a", None, "a"]).dictionary_encode(),
        "rssi_dbm": pa.array(["-61", "x", None]),
        "x_m": pa.array([1, 2, None], pa.decimal128(5, 2)),
        "y_m": pa.array([True, False, None]),
    }
    pq.write_table(pa.table(table), tmp_path / "r.parquet")
    got = read_columns(tmp_path / "r.parquet", required=list(table))
    assert ["1", "", "3"] == got["receiver"].tolist()
    assert ["a", "b", ""] == got["tag"].tolist()
    assert ["a", "", "a"] == got["zone"].tolist()
    assert [-61.0, None, None] == nans(got["rssi_dbm"].tolist())
    assert [1.0, 2.0, None] == nans(got["x_m"].tolist())
    assert [None, None, None] == nans(got["y_m"].tolist())


def test_folders_named_like_partitions_add_no_columns(tmp_path):
    folder = tmp_path / "tag=5"
    folder.mkdir()
    pq.write_table(pa.table({"t_ns": [1]}), folder / "r.parquet")
    assert "column 'tag' is missing" in refusal(folder / "r.parquet", ["t_ns", "tag"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "t_ns,receiver,tag,rssi\n",
            "column 'rssi_dbm' is missing (did you mean 'rssi'?)",
        ),
        ("receiver,tag,rssi_dbm\n1,2,3\n", "column 't_ns' is missing"),
        ("t_ns;receiver;tag;rssi_dbm\n", "the header is separated by semicolons, expected commas"),
        ("t_ns\treceiver\ttag\trssi_dbm\n", "separated by tabs, expected commas"),
        (f"{T0},rx-1,ble:b0b0b0b0b0b0,-61\n", "column 't_ns' is missing; known are"),
        ("t_ns,receiver,tag,tag,rssi_dbm\n1,a,b,c,2\n", "column 'tag' appears more than once"),
        ("\n", "the file is empty; expected a header at least"),
        (",,,\n1,2,3,4\n", "column 't_ns' is missing"),
        ("t_ns,receiver,tag,rssi_dbm" + ",x" * 90_000, "cannot be read"),
    ],
)
def test_wrong_headers(tmp_path, text, words):
    assert words in refusal(file(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.csv", b"", "the file is empty (0 bytes)"),
        ("r.csv.gz", b"", "the file is empty (0 bytes)"),
        ("r.jsonl", b"", "the file is empty (0 bytes)"),
        ("r.parquet", b"", "the file is empty (0 bytes)"),
        ("r.csv", b"\x00\x01\x02\xff" * 1000, "column 't_ns' is missing; the file begins with"),
        ("r.csv", b"PK\x03\x04" + bytes(100), "column 't_ns' is missing"),
        ("r.csv.gz", b"t_ns,receiver\n1,2\n", "not gzip, or cut off"),
        ("r.csv.gz", gzip.compress(HEADER.encode() * 999, mtime=0)[:40], "not gzip, or cut off"),
        ("r.jsonl", b"t_ns,receiver\n1,2\n", "expected one JSON object per line, got none"),
        ("r.jsonl", b"\n\n", "expected one JSON object per line, got none"),
        ("r.jsonl", b"\xff\xfe\n", "expected one JSON object per line, got none"),
        ("r.jsonl", b'{"time": "x"}\n', "column 'receiver' is missing"),
        ("r.parquet", b"t_ns,receiver\n1,2\n", "not Parquet, or cut off"),
        ("r.parquet", b"PAR1" + bytes(50) + b"PAR1", "not Parquet, or cut off"),
    ],
)
def test_unreadable_files(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_gzip_file_cut_off_far_down(tmp_path):
    rows = "".join(f"{T0 + n * 7919},rx-{n % 9},name:anna,-{n % 97}\n" for n in range(40_000))
    path = file(tmp_path, HEADER + rows, "r.csv.gz")
    path.write_bytes(path.read_bytes()[:-2000])
    assert "not gzip, or cut off" in refusal(path)


def test_several_gzip_members_in_one_file(tmp_path):
    path = tmp_path / "r.csv.gz"
    row = f"{T0},rx-1,name:anna,-61\n".encode()
    path.write_bytes(gzip.compress(HEADER.encode() + row, mtime=0) + gzip.compress(row))
    assert 2 == len(read_columns(path, required=READINGS)["t_ns"])


def test_a_parquet_file_cut_off_or_damaged(tmp_path):
    path = tmp_path / "r.parquet"
    write_columns(path, {"t_ns": np.arange(5000) * 7919, "receiver": ["rx-1"] * 5000})
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert "not Parquet, or cut off" in refusal(path, ["t_ns"])
    path.write_bytes(whole[:4] + bytes(1000) + whole[1004:])
    assert "not Parquet, or cut off" in refusal(path, ["t_ns"])


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.parquet"])
def test_places_that_are_no_file(tmp_path, name):
    (tmp_path / name).mkdir()
    assert "expected a file, found a directory" in refusal(tmp_path / name)
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / f"none-{name}")
    (tmp_path / "file").write_text("")
    assert "cannot be read (Not a directory)" in refusal(tmp_path / "file" / name)


def test_no_message_repeats_rows_of_the_file(tmp_path):
    text = HEADER + f"{T0},rx-1,ble:b0b0b0b0b0b0,-61\n"
    path = file(tmp_path, text, "r.csv.gz")
    path.write_bytes(path.read_bytes()[:-6])
    assert "b0b0" not in refusal(path)
    assert "b0b0" not in refusal(file(tmp_path, text.replace("rssi_dbm", "rssi")))
