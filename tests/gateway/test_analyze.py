"""`fanous analyze` over files: its tables, its remarks, and everything it refuses."""

import argparse
import json
import random

import pyarrow.parquet as pq
import pytest

from gateway import analyze
from ingest.config import ConfigError
from ingest.files import write_columns
from ingest.identifiers import is_pseudonym, pseudonym
from tests.gateway.recordings import T0, readings_rows, write_readings, write_recording
from tests.ingest.small_store import STORE

TABLES = ["positions", "dwells", "visits", "transitions", "shelf_events", "shelf_stock",
          "sensor_health", "occupancy", "queues", "occupancy_estimates", "heat",
          "receiver_health"]  # fmt: skip


@pytest.fixture
def recording(tmp_path):
    return write_recording(tmp_path)


def run(folder, *more, readings="readings.csv", out="out"):
    parser = argparse.ArgumentParser()
    analyze.configure(parser)
    words = [
        *(str(folder / name) for name in readings.split()),
        "--store",
        str(folder / "store.toml"),
    ]
    args = parser.parse_args([*words, "--out", str(folder / out), *map(str, more)])
    return analyze.run(args)


def tables(folder, kind="csv"):
    return {name: (folder / f"{name}.{kind}").read_bytes() for name in TABLES}


def summary(folder, out="out"):
    return json.loads((folder / out / "summary.json").read_text(encoding="utf-8"))


def all_inputs(folder):
    return ["--taps", folder / "taps.csv", "--shelf", folder / "samples.csv"]


def test_all_tables_are_written_and_counted(recording, capsys):
    assert 0 == run(recording, *all_inputs(recording))
    told = capsys.readouterr()
    assert "" == told.out
    assert "no --key-file: pseudonyms use the store's id as key" in told.err
    assert "no radio map: positions come from geometry alone" in told.err
    expected = {f"{name}.parquet" for name in TABLES} | {"summary.json"}
    assert expected == {path.name for path in (recording / "out").iterdir()}
    found = summary(recording)
    assert (360, 2, {}) == (found["readings"], found["tags"], found["dropped"])
    for name in TABLES:
        rows = pq.read_metadata(recording / "out" / f"{name}.parquet").num_rows
        assert rows == found["rows"][name]
    assert 2 == found["rows"]["visits"] == found["visits"]
    counts = ("pass_bys", "bounces", "engaged_visits", "staff_tags_seen", "refused_tags")
    assert (0, 0, 2, 0, 0) == tuple(found[name] for name in counts)
    tags = set(pq.read_table(recording / "out" / "positions.parquet")["tag"].to_pylist())
    assert {pseudonym(f"name:{who}", b"shop") for who in ("bo", "cleo")} == tags
    assert ["pick"] == pq.read_table(recording / "out" / "shelf_events.parquet")["kind"].to_pylist()
    assert [1, 0] == sorted(
        pq.read_table(recording / "out" / "visits.parquet")["taps"].to_pylist(), reverse=True
    )


def test_csv_and_parquet_hold_the_same(recording):
    run(recording, *all_inputs(recording))
    run(recording, *all_inputs(recording), "--format", "csv", out="csv")
    from ingest.files import read_columns

    for name in TABLES:
        packed = pq.read_schema(recording / "out" / f"{name}.parquet").names
        names = [column for column in packed if column not in {"time", "start_time", "end_time"}]
        one = read_columns(recording / "out" / f"{name}.parquet", required=names)
        other = read_columns(recording / "csv" / f"{name}.csv", required=names)
        assert {k: str(v.tolist()) for k, v in one.items()} == {
            k: str(v.tolist()) for k, v in other.items()
        }


def test_order_and_repetition_of_rows_change_nothing(recording):
    run(recording, "--format", "csv")
    rows = readings_rows() * 2
    random.Random(5).shuffle(rows)
    write_readings(recording / "shuffled.csv", rows[:200])
    write_readings(recording / "rest.csv", rows[200:])
    run(recording, "--format", "csv", readings="shuffled.csv rest.csv", out="two")
    assert tables(recording / "out") == tables(recording / "two")
    assert summary(recording)["readings"] == summary(recording, "two")["readings"]


def test_every_kind_of_file_gives_the_same(recording):
    from ingest.files import read_columns

    run(recording, "--format", "csv")
    columns = read_columns(
        recording / "readings.csv", required=["t_ns", "receiver", "tag", "rssi_dbm"]
    )
    for name in ("r.csv.gz", "r.jsonl", "r.parquet"):
        write_columns(recording / name, columns)
        run(recording, "--format", "csv", readings=name, out=f"out-{name}")
        assert tables(recording / "out") == tables(recording / f"out-{name}")


def test_raw_identity_names_tags_and_keeps_the_ids_of_rows(recording, capsys):
    more = all_inputs(recording)
    run(recording, *more)
    capsys.readouterr()
    run(recording, *more, "--identity", "raw", out="raw")
    assert "--identity raw: the tables name the tags themselves" in capsys.readouterr().err
    for name in ("dwells", "visits", "shelf_events"):
        masked, raw = (
            pq.read_table(recording / out / f"{name}.parquet").to_pylist() for out in ("out", "raw")
        )
        assert masked
        assert {None if row["tag"] is None else pseudonym(row["tag"], b"shop") for row in raw} == {
            row["tag"] for row in masked
        }
        key = {"dwells": "dwell", "visits": "visit", "shelf_events": "event"}[name]
        assert {row[key] for row in masked} == {row[key] for row in raw}
    tags = set(pq.read_table(recording / "raw" / "positions.parquet")["tag"].to_pylist())
    assert {"name:bo", "name:cleo"} == tags


def test_pseudonyms_in_the_input_pass_unchanged(recording):
    run(recording, "--format", "csv")
    rows = [row.replace("name:bo", pseudonym("name:bo", b"shop")) for row in readings_rows()]
    write_readings(recording / "readings.csv", rows)
    run(recording, "--format", "csv", out="two")
    assert tables(recording / "out") == tables(recording / "two")


def test_a_key_file_makes_other_pseudonyms(recording, capsys):
    (recording / "key").write_bytes(b"k" * 32)
    run(recording, "--key-file", recording / "key")
    assert "protects nobody" not in capsys.readouterr().err
    tags = set(pq.read_table(recording / "out" / "visits.parquet")["tag"].to_pylist())
    assert {pseudonym(f"name:{who}", b"k" * 32) for who in ("bo", "cleo")} == tags
    assert all(is_pseudonym(tag) for tag in tags)
    assert "file" == summary(recording)["key"]


@pytest.mark.parametrize("identity", ["raw", "pseudonym"])
@pytest.mark.parametrize("staff", ["name:bo", pseudonym("name:bo", b"shop")])
def test_staff_are_no_visitors_however_they_are_named(recording, identity, staff):
    (recording / "store.toml").write_text(STORE.replace("name:anna", staff), encoding="utf-8")
    run(recording, "--identity", identity)
    assert 1 == summary(recording)["rows"]["visits"]


def test_rssi_counts_in_tenths_of_a_decibel(recording):
    run(recording, "--format", "csv")
    rows = [row.rsplit(",", 1) for row in readings_rows()]
    rounded = [f"{head},{round(float(rssi) * 10) / 10:.1f}" for head, rssi in rows]
    write_readings(recording / "readings.csv", rounded)
    run(recording, "--format", "csv", out="two")
    assert tables(recording / "out") == tables(recording / "two")


def test_a_store_without_zones_gives_positions_outside(recording):
    bare = STORE[: STORE.index("[[zone]]")]
    (recording / "store.toml").write_text(bare, encoding="utf-8")
    run(recording)
    table = pq.read_table(recording / "out" / "positions.parquet").to_pydict()
    assert {"main"} == set(table["layer"])
    assert {"outside"} == set(table["zone_state"])
    assert {None} == set(table["zone"])
    assert all(x is not None for x in table["x_m"])
    assert 0 == summary(recording)["rows"]["dwells"]


def test_a_header_alone_gives_empty_tables(recording):
    write_readings(recording / "readings.csv", [])
    for kind in ("csv", "parquet"):
        assert 0 == run(recording, "--format", kind, out=kind)
        assert dict.fromkeys(TABLES, 0) == summary(recording, kind)["rows"]
    first = (recording / "csv" / "positions.csv").read_text().splitlines()
    assert [
        '"t_ns","tag","stage","layer","zone","zone_state","zone_p","x_m","y_m","sigma_m"'
    ] == first


def test_bad_rows_are_told_once_by_reason_with_their_count(recording, capsys):
    bad = [f"{T0},rx-9,name:bo,-61"] * 3 + [f"{T0},rx-1,name:bo,nan", f"{T0},rx-1,name:bo,loud"]
    bad += [f"{T0},rx-1,name:bo,42", f"{T0},rx-1,BO,-61", "now,rx-1,name:bo,-61"]
    run(recording, "--format", "csv")
    write_readings(recording / "readings.csv", [*readings_rows(), *bad])
    capsys.readouterr()
    assert 0 == run(recording, "--format", "csv", out="two")
    told = capsys.readouterr().err
    for sentence in [
        "dropped 3 rows: unknown receiver 'rx-9'",
        "dropped 2 rows: RSSI is not a number",
        "dropped 1 row: RSSI outside -120 to +20 dBm",
        "dropped 1 row: not a tag or pseudonym",
        "dropped 1 row: unreadable time",
    ]:
        assert 1 == told.count(sentence)
    assert "BO" not in told
    assert 8 == sum(summary(recording, "two")["dropped"].values())
    assert tables(recording / "out") == tables(recording / "two")


def test_readings_years_apart_cost_nothing(recording):
    far = [row.replace(str(T0)[:3], "216", 1) for row in readings_rows()]
    write_readings(recording / "readings.csv", ["5,rx-1,name:bo,-61", *readings_rows(), *far])
    assert 0 == run(recording)
    assert 400 > summary(recording)["rows"]["occupancy"]


def test_an_existing_output_stays_without_force(recording):
    run(recording)
    before = tables(recording / "out", "parquet")
    with pytest.raises(ConfigError, match="exists already; choose another one or say --force"):
        run(recording)
    assert before == tables(recording / "out", "parquet")
    (recording / "out" / "notes.txt").write_text("mine")
    run(recording, "--format", "csv", "--force")
    expected = {f"{name}.csv" for name in TABLES} | {"summary.json", "notes.txt"}
    assert expected == {path.name for path in (recording / "out").iterdir()}


def test_an_empty_output_directory_is_fine(recording):
    (recording / "out").mkdir()
    assert 0 == run(recording)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("readings.csv", "expected a directory, found a file"),
        ("readings.csv/out", "cannot be written (Not a directory)"),
        ("x" * 300, "cannot be written (File name too long)"),
    ],
)
def test_places_that_cannot_be_written(recording, out, words):
    with pytest.raises(ConfigError) as error:
        run(recording, out=out)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--workers", "0"], "--workers: expected 1 or more, got 0"),
        (["--taps", "none.csv"], "none.csv: cannot be read"),
        (["--shelf", "none.csv"], "none.csv: cannot be read"),
        (["--radio-map", "none.npz"], "none.npz: radio map cannot be read"),
        (["--key-file", "none"], "key file none: cannot be read"),
        (["none.csv"], None),
    ],
)
def test_wrong_arguments_leave_no_output_behind(recording, more, words):
    if words is None:
        with pytest.raises(ConfigError, match="cannot be read"):
            run(recording, readings="none.csv", out="a/b")
    else:
        with pytest.raises(ConfigError) as error:
            run(recording, *more, out="a/b")
        assert words in str(error.value)
    assert not (recording / "a").exists()


def test_a_store_too_large_for_its_cells_is_refused(recording):
    text = STORE.replace("outline_m = [[0, 0], [8, 0], [8, 6], [0, 6]]",
                         "outline_m = [[0, 0], [9000, 0], [9000, 6000], [0, 6000]]")  # fmt: skip
    (recording / "store.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"store\.toml.*set radio\.cell_m to"):
        run(recording)


def test_the_progress_bar_changes_no_row(recording, monkeypatch, capsys):
    run(recording, "--format", "csv")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(analyze, "PORTION_TICKS", 7)
    run(recording, "--format", "csv", out="two")
    assert "[####" in capsys.readouterr().err
    assert tables(recording / "out") == tables(recording / "two")
