"""`fanous evaluate`: files in, JSON or a table out, sentences for what is wrong."""

import argparse
import json

import numpy as np
import pytest

from gateway import evaluate
from ingest.config import ConfigError
from ingest.files import write_columns
from ingest.identifiers import pseudonym

S = 1_000_000_000
START = 1_764_000_000
TAG = "name:anna"
STORE = """
schema = "fanous.store/1"
id = "demo"
timezone = "Europe/Berlin"
[rules]
dwell_min_s = 3.0
[[receiver]]
id = "rx-1"
position_m = [1.0, 1.0, 2.0]
[[zone]]
id = "a"
kind = "aisle"
polygon_m = [[0, 0], [4, 0], [4, 4], [0, 4]]
[[zone]]
id = "b"
kind = "aisle"
polygon_m = [[4, 0], [8, 0], [8, 4], [4, 4]]
"""
STAGES = ("live", "final")
METRES = ["mean_m", "median_m", "p90_m", "rows", "unknown"]
ZONES = ["accuracy", "macro_f1", "switches", "true_switches", "dwell_misplaced"]
JSON_FORM = {
    "position": dict.fromkeys(STAGES, METRES),
    "zones": dict.fromkeys(STAGES, ZONES),
    "dwells": ["error", "missed", "false"],
    "paths": ["edit_distance"],
    "shelf": ["precision", "recall", "onset_p95_s"],
}


def text(values):
    return np.array(values, dtype=object)


@pytest.fixture
def store_file(tmp_path):
    path = tmp_path / "store.toml"
    path.write_text(STORE, encoding="utf-8")
    return path


class Output:
    """An output directory as `analyze` writes it: 40 s in a, 39 s in b, 0.5 m off in y."""

    def __init__(self, tmp_path, extension="parquet", tag=TAG, key=b"demo", **summary):
        self.directory = tmp_path / "out"
        self.directory.mkdir(exist_ok=True)
        self.extension = extension
        tag = tag if key is None else pseudonym(tag, key)
        t = (START + np.arange(1, 80)) * S
        zone = ["a" if i < 40 else "b" for i in range(1, 80)]
        for name, columns in {
            "positions": {
                "t_ns": np.repeat(t, 2),
                "tag": text([tag] * 158),
                "stage": text(["live", "final"] * 79),
                "layer": text(["main"] * 158),
                "zone": text([z for z in zone for _ in range(2)]),
                "zone_state": text(["known"] * 158),
                "zone_p": np.ones(158),
                "x_m": np.repeat(np.arange(1, 80) / 10, 2),
                "y_m": np.full(158, 1.5),
                "sigma_m": np.ones(158),
            },
            "dwells": {
                "tag": text([tag, tag]),
                "layer": text(["main"] * 2),
                "zone": text(["a", "b"]),
                "start_ns": np.array([START, START + 39]) * S,
                "end_ns": np.array([START + 39, START + 79]) * S,
                "dwell_s": np.array([39.0, 40.0]),
            },
            "visits": {
                "tag": text([tag]),
                "start_ns": np.array([START * S]),
                "end_ns": np.array([(START + 79) * S]),
                "path": text(["a>b"]),
            },
            "shelf_events": {
                "t_ns": np.array([(START + 5) * S, (START + 50) * S]),
                "shelf": text(["s", "s"]),
                "gtin": text(["04012345678901"] * 2),
                "kind": text(["pick", "pick"]),
                "status": text(["final", "final"]),
            },
        }.items():
            write_columns(self.directory / f"{name}.{extension}", columns, force=True)
        told = {
            "store": {"id": "demo"},
            "identity": "pseudonym" if key else "raw",
            "key": "store id" if key in {None, b"demo"} else "file",
            "tick_s": 1.0,
            "store_file": str(tmp_path / "store.toml"),
        }
        (self.directory / "summary.json").write_text(json.dumps(told | summary), encoding="utf-8")


def write_truth(path, tag=TAG, shift_s=0, **more):
    t = np.arange(1, 80)
    columns = {
        "t_ns": (START + shift_s + t) * S,
        "tag": text([tag] * 79),
        "x_m": t / 10,
        "y_m": np.ones(79),
    }
    write_columns(path, columns | more, force=True)
    return path


def run(capsys, *arguments):
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    assert evaluate.run(parser.parse_args([str(word) for word in arguments])) == 0
    return capsys.readouterr()


def run_json(capsys, *arguments):
    return json.loads(run(capsys, *arguments, "--json").out)


def refused(*arguments):
    parser = argparse.ArgumentParser()
    evaluate.configure(parser)
    with pytest.raises(ConfigError) as error:
        evaluate.run(parser.parse_args([str(word) for word in arguments]))
    return str(error.value)


@pytest.mark.parametrize("extension", ["parquet", "csv", "csv.gz", "jsonl"])
def test_the_json_has_exactly_the_keys_of_the_contract(tmp_path, store_file, capsys, extension):
    out = Output(tmp_path, extension)
    shelf_truth = tmp_path / "shelf_truth.csv"
    write_columns(
        shelf_truth,
        {
            "t_ns": np.array([(START + 6) * S]),
            "shelf": text(["s"]),
            "gtin": text(["04012345678901"]),
            "kind": text(["pick"]),
            "quantity": np.array([1]),
            "tag": text([""]),
        },
    )
    truth = write_truth(tmp_path / "truth.csv")
    got = run_json(capsys, out.directory, "--truth", truth, "--shelf-truth", shelf_truth)
    form = {
        part: (
            {stage: list(figures) for stage, figures in value.items()}
            if part in {"position", "zones"}
            else list(value)
        )
        for part, value in got.items()
    }
    assert JSON_FORM == form
    perfect = {"mean_m": 0.5, "median_m": 0.5, "p90_m": 0.5, "rows": 79, "unknown": 0.0}
    assert perfect == got["position"]["final"] == got["position"]["live"]
    assert (1.0, 1.0, 1) == tuple(
        got["zones"]["final"][name] for name in ("accuracy", "macro_f1", "switches")
    )
    assert {"error": 0.0, "missed": 0.0, "false": 0.0} == got["dwells"]
    assert {"edit_distance": 0.0} == got["paths"]
    assert {"precision": 0.5, "recall": 1.0, "onset_p95_s": 1.0} == got["shelf"]


def test_a_part_without_truth_is_null_and_the_key_is_named(tmp_path, store_file, capsys):
    out = Output(tmp_path)
    done = run(capsys, out.directory, "--truth", write_truth(tmp_path / "truth.parquet"), "--json")
    assert json.loads(done.out)["shelf"] is None
    assert "store's id 'demo'" in done.err
    assert "p_" not in done.err
    assert TAG not in done.err


def test_without_a_store_zones_come_from_the_truth_alone(tmp_path, capsys):
    out = Output(tmp_path, store_file=None)
    bare = write_truth(tmp_path / "bare.csv")
    assert run_json(capsys, out.directory, "--truth", bare)["zones"] is None
    named = write_truth(tmp_path / "named.csv", zone=text(["a"] * 39 + ["b"] * 40))
    assert run_json(capsys, out.directory, "--truth", named)["zones"]["final"]["accuracy"] == 1.0


def test_key_files_raw_output_and_truths_that_hold_pseudonyms(tmp_path, store_file, capsys):
    truth = write_truth(tmp_path / "truth.csv")
    key_file = tmp_path / "key"
    key_file.write_bytes(b"0123456789abcdef")
    out = Output(tmp_path, key=key_file.read_bytes())
    assert "--key-file" in refused(out.directory, "--truth", truth)
    got = run_json(capsys, out.directory, "--truth", truth, "--key-file", key_file)
    assert got["position"]["final"]["rows"] == 79
    hidden = write_truth(tmp_path / "hidden.csv", tag=pseudonym(TAG, key_file.read_bytes()))
    assert run_json(capsys, out.directory, "--truth", hidden)["position"]["final"]["rows"] == 79

    raw = Output(tmp_path, key=None)
    done = run(capsys, raw.directory, "--truth", truth, "--json")
    assert (79, "") == (json.loads(done.out)["position"]["final"]["rows"], done.err)
    store_key = write_truth(tmp_path / "by-id.csv", tag=pseudonym(TAG, b"demo"))
    assert run_json(capsys, raw.directory, "--truth", store_key)["position"]["final"]["rows"] == 79


def test_several_truths_are_pooled_and_a_missing_person_counts(tmp_path, store_file, capsys):
    out = Output(tmp_path)
    truths = [write_truth(tmp_path / "one.csv"), write_truth(tmp_path / "two.csv", tag="name:bo")]
    got = run_json(capsys, out.directory, "--truth", *truths)
    assert (79, 0.5) == (got["position"]["final"]["rows"], got["position"]["final"]["unknown"])
    again = run_json(capsys, out.directory, "--truth", truths[0], "--truth", truths[1])
    assert got == again


def test_the_table_for_people_is_aligned_and_shows_what_is_not_known(tmp_path, store_file, capsys):
    out = Output(tmp_path)
    lines = run(capsys, out.directory, "--truth", write_truth(tmp_path / "t.csv")).out.splitlines()
    assert lines[0].split() == [
        "position",
        "mean",
        "m",
        "median",
        "m",
        "p90",
        "m",
        "ticks",
        "unknown",
    ]
    assert lines[2].split() == ["final", "0.50", "0.50", "0.50", "79", "0.000"]
    assert len(lines[0]) == len(lines[1]) == len(lines[2])
    assert "  no truth" == lines[-1]


def test_a_header_without_rows_is_no_error(tmp_path, store_file, capsys):
    out = Output(tmp_path)
    empty = tmp_path / "empty.csv"
    empty.write_text("t_ns,tag,x_m,y_m\n", encoding="utf-8")
    got = run(capsys, out.directory, "--truth", empty, "--json")
    assert dict.fromkeys(JSON_FORM) == json.loads(got.out)
    assert "no rows" in got.err
    for name in ("positions", "dwells", "visits"):
        (out.directory / f"{name}.parquet").unlink()
    header = "t_ns,tag,stage,layer,zone,zone_state,zone_p,x_m,y_m,sigma_m\n"
    (out.directory / "positions.csv").write_text(header, encoding="utf-8")
    got = run(capsys, out.directory, "--truth", write_truth(tmp_path / "t.csv"), "--json")
    silent = {"mean_m": None, "median_m": None, "p90_m": None, "rows": 0, "unknown": 1.0}
    assert silent == json.loads(got.out)["position"]["final"]
    assert json.loads(got.out)["zones"]["final"]["accuracy"] == 0.0
    assert "no dwells table" in got.err


def test_unusable_truth_rows_are_left_out_and_counted(tmp_path, store_file, capsys):
    out = Output(tmp_path)
    truth = write_truth(tmp_path / "t.csv")
    with truth.open("a", encoding="utf-8") as file:
        file.write(f"{(START + 3) * S},{TAG},nan,1\nsoon,{TAG},1,1\n{(START + 3) * S},,1,1\n")
    done = run(capsys, out.directory, "--truth", truth, "--json")
    assert "3 rows" in done.err
    assert json.loads(done.out)["position"]["final"]["rows"] == 79


def test_what_is_missing_is_said_in_a_sentence(tmp_path, store_file):
    truth = write_truth(tmp_path / "truth.csv")
    assert "got nothing" in refused(tmp_path / "nowhere", "--truth", truth)
    assert "got a file" in refused(truth, "--truth", truth)
    (tmp_path / "blank").mkdir()
    assert "expected positions.parquet" in refused(tmp_path / "blank", "--truth", truth)
    out = Output(tmp_path)
    assert "cannot be read" in refused(out.directory, "--truth", tmp_path / "gone.csv")
    crooked = tmp_path / "crooked.csv"
    crooked.write_text("t_ns,tag,x_m\n1,p,2\n", encoding="utf-8")
    assert "column 'y_m' is missing" in refused(out.directory, "--truth", crooked)
    (out.directory / "shelf_events.parquet").unlink()
    assert "--shelf" in refused(out.directory, "--truth", truth, "--shelf-truth", _shelf(tmp_path))
    (out.directory / "summary.json").write_text("{", encoding="utf-8")
    assert "summary.json" in refused(out.directory, "--truth", truth)
    (out.directory / "summary.json").write_text('{"tick_s": 0}', encoding="utf-8")
    assert "tick_s" in refused(out.directory, "--truth", truth, "--store", store_file)


def _shelf(tmp_path):
    path = tmp_path / "shelf.csv"
    path.write_text("t_ns,shelf,gtin,kind\n", encoding="utf-8")
    return path


def test_a_truth_of_other_people_or_times_is_refused(tmp_path, store_file):
    out = Output(tmp_path)
    stranger = write_truth(tmp_path / "stranger.csv", tag="name:bo")
    message = refused(out.directory, "--truth", stranger)
    assert "found none of 1" in message
    assert "bo" not in message.replace("both", "")
    later = write_truth(tmp_path / "later.csv", shift_s=7200)
    assert "2025-11-24T18:00:01Z" in refused(out.directory, "--truth", later)


def test_another_stores_file_is_refused(tmp_path, store_file):
    out = Output(tmp_path)
    other = tmp_path / "other.toml"
    other.write_text(STORE.replace('id = "demo"', 'id = "mall"'), encoding="utf-8")
    truth = write_truth(tmp_path / "truth.csv")
    assert "store 'mall'" in refused(out.directory, "--truth", truth, "--store", other)
