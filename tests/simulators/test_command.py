import argparse
import json

import numpy as np
import pytest

from ingest.broker import BrokerAddress, broker_address
from ingest.config import ConfigError
from ingest.files import read_columns
from ingest.identifiers import is_tag
from ingest.store_file import read_store
from simulators import command
from simulators.recording import copy_store
from simulators.scenario import SCENARIOS


def simulate(*words):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


def test_the_list_names_every_scenario(capsys):
    assert simulate("--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(SCENARIOS) == [line.split()[0] for line in lines]


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_recording_has_the_files_and_columns_of_the_contract(tmp_path, capsys, file_format):
    out = tmp_path / "deep" / "recording"
    assert simulate("demo", "--minutes", 1.5, "--out", out, "--format", file_format, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    store = read_store(out / "store.toml")
    files = {
        "readings": ("t_ns", "receiver", "tag", "rssi_dbm"),
        "taps": ("t_ns", "tap_point", "tag"),
        "samples": ("t_ns", "sensor", "mass_g"),
        "truth": ("t_ns", "tag", "x_m", "y_m", "zone"),
        "shelf_truth": ("t_ns", "shelf", "gtin", "kind", "quantity", "tag"),
    }
    columns = {
        stem: read_columns(out / f"{stem}.{file_format}", required=names)
        for stem, names in files.items()
    }
    assert {stem: len(of["t_ns"]) for stem, of in columns.items()} == told["rows"]
    assert min(told["rows"].values()) > 0
    assert set(columns["readings"]["receiver"]) <= {r.id for r in store.receivers}
    assert {s.id for _, s in store.sensors} == set(columns["samples"]["sensor"])
    assert all(is_tag(tag) for tag in set(columns["readings"]["tag"]))
    assert set(columns["taps"]["tag"]) <= set(columns["truth"]["tag"])
    assert set(columns["truth"]["zone"]) <= {z.id for z in store.zones}
    assert set(columns["shelf_truth"]["kind"]) <= {"pick", "return", "restock"}
    gtins = {p.gtin for shelf in store.shelves for p in shelf.products}
    assert set(columns["shelf_truth"]["gtin"]) <= gtins
    rssi = columns["readings"]["rssi_dbm"]
    assert np.array_equal(rssi, np.round(rssi))


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        simulate("walk", "--minutes", 0.3, "--seed", 4, "--out", tmp_path / name)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("a", "b")
    )
    assert one == two
    assert {"survey.csv.gz", "readings.csv", "truth.csv", "samples.csv", "store.toml"} == set(one)


def test_the_survey_has_the_contract_s_columns(tmp_path):
    simulate("walk", "--minutes", 0.1, "--out", tmp_path)
    names = ["x_m", "y_m", "z_m", "receiver", "rssi_dbm", "count"]
    survey = read_columns(tmp_path / "survey.csv.gz", required=names)
    assert len(survey["x_m"]) > 1000
    assert survey["count"].min() >= 1
    assert -100 <= survey["rssi_dbm"].min() <= survey["rssi_dbm"].max() <= 0


def test_an_old_recording_is_kept_unless_forced(tmp_path):
    simulate("quiet", "--minutes", 0.1, "--out", tmp_path)
    with pytest.raises(ConfigError, match=r"found store\.toml; choose another or say --force"):
        simulate("quiet", "--minutes", 0.1, "--out", tmp_path)
    simulate("quiet", "--minutes", 0.1, "--out", tmp_path, "--force", "--format", "parquet")
    assert not (tmp_path / "readings.csv").exists()
    assert (tmp_path / "readings.parquet").exists()


def test_what_the_store_refers_to_comes_along(tmp_path):
    source = tmp_path / "source"
    (source / "plans").mkdir(parents=True)
    (source / "plans" / "walls.csv").write_text("x0_m,y0_m,x1_m,y1_m\n4,0,5,3\n")
    (source / "store.toml").write_text(
        'schema = "fanous.store/1"\nid = "tiny"\ntimezone = "UTC"\nobstacles = "plans/walls.csv"\n'
        "outline_m = [[0, 0], [9, 0], [9, 6], [0, 6]]\n"
        '[[receiver]]\nid = "rx-1"\nposition_m = [1, 1, 2]\n'
    )
    out = tmp_path / "out"
    out.mkdir()
    copy_store(source / "store.toml", out)
    assert read_store(out / "store.toml").obstacles == read_store(source / "store.toml").obstacles


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["demoo", "--out", "x"], r"scenario 'demoo'.*did you mean 'demo'"),
        (["demo"], "either --out DIR or --mqtt URL"),
        (["demo", "--out", "x", "--mqtt", "mqtt://h:1"], "and not both"),
        ([], "expected a scenario"),
        (["demo", "--mqtt", "tcp://h:1"], "expected mqtt://host:port"),
        (["demo", "--out", "x", "--store", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["demo", "--mqtt", "mqtt://h:1", "--key-file", "nokey"], "key file nokey"),
        (["demo", "--out", "/proc/here"], "/proc/here: cannot be written"),
        (["demo", "--serial", "--mqtt", "tcp://h:1"], "expected mqtt://host:port"),
        (["demo", "--serial", "--key-file", "nokey"], "key file nokey"),
        (["demo", "--serial", "--out", "x", "--speed", "2"], "expected --speed 1"),
        (["demo", "--serial", "--folder", "/proc/here"], "/proc/here: cannot be written"),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=sentence):
        simulate(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_shop_without_lines_and_without_a_bus_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simulators.private_bus.find_daemon", lambda: None)
    (tmp_path / "store.toml").write_text(
        'schema = "fanous.store/1"\nid = "tiny"\ntimezone = "UTC"\n'
        "outline_m = [[0, 0], [9, 0], [9, 6], [0, 6]]\n"
        '[[receiver]]\nid = "rx-1"\nposition_m = [1, 1, 2]\n'
    )
    with pytest.raises(ConfigError, match="or a dbus-daemon, got none"):
        simulate("demo", "--serial", "--store", "store.toml")
    assert [tmp_path / "store.toml"] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words", [["--minutes", "0"], ["--minutes", "x"], ["--speed", "-1"], ["--shoppers", "-3"]]
)
def test_numbers_that_make_no_sense_are_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        simulate("demo", "--out", "x", *words)
    assert ended.value.code == 2
    assert "expected a" in capsys.readouterr().err


def test_broker_addresses():
    assert BrokerAddress(host="h", port=1883, tls=False) == broker_address("mqtt://h")
    assert BrokerAddress(host="::1", port=99, tls=True) == broker_address("mqtts://[::1]:99")
    assert str(broker_address("mqtts://h")) == "mqtts://h:8883"
    for wrong in ("h:1883", "mqtt://", "mqtt://h:port", "mqtt://h:1/topic", "mqtt://h:99999", ""):
        with pytest.raises(ConfigError, match="expected mqtt://host:port"):
            broker_address(wrong)
