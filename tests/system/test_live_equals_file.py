"""Invariant 1: what the gateway finds live is what `fanous analyze` finds, row for row.

Simulated radio, taps and load cells are recorded, replayed through a real mosquitto by
the agents of the store into a gateway, and analysed as files; every table must be the
same to the byte. On the way the points arrive in a real InfluxDB.
"""

import dataclasses
import json
import subprocess
import sys
import urllib.parse
import urllib.request

import numpy as np
import pytest

from analytics.flow import transitions
from analytics.rows import TABLES, Output
from fanous.program import main
from gateway.settings import GatewaySettings, HttpSettings, InfluxSettings, MqttSettings
from ingest.result_tables import write_positions, write_table
from tests.system.gateway_rig import gateway
from tests.system.servers import influxd, mosquitto

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three minutes of the demo store with a survey of the same air."""
    folder = tmp_path_factory.mktemp("recording")
    assert main(["simulate", "walk", "--minutes", "1", "--out", str(folder / "walk")]) == 0
    words = ["simulate", "demo", "--minutes", "3", "--seed", "11", "--out", str(folder / "day")]
    assert main(words) == 0
    store = folder / "day" / "store.toml"
    fit = ["survey", "fit", str(folder / "walk" / "survey.csv.gz"), "--store", str(store)]
    assert main([*fit, "--out", str(folder / "day" / "radio-map.npz")]) == 0
    text = store.read_text(encoding="utf-8")
    assert "[radio]\n" in text
    store.write_text(text.replace("[radio]\n", '[radio]\nmap = "radio-map.npz"\n'))
    return folder / "day"


def analysed(recording, out):
    words = ["analyze", str(recording / "readings.csv"), "--store", str(recording / "store.toml")]
    words += ["--taps", str(recording / "taps.csv"), "--shelf", str(recording / "samples.csv")]
    assert main([*words, "--out", str(out), "--format", "csv"]) == 0
    return {path.name: path.read_bytes() for path in out.glob("*.csv")}


def replayed(recording, url):
    files = [str(recording / name) for name in ("readings.csv", "taps.csv", "samples.csv")]
    words = ["replay", *files, "--store", str(recording / "store.toml"), "--mqtt", url]
    done = subprocess.run(
        [sys.executable, "-m", "fanous", *words, "--speed", "60", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_gateway_gives_the_rows_of_the_file_analysis(recording, tmp_path):
    expected = analysed(recording, tmp_path / "files")
    (tmp_path / "key").write_bytes(b"k" * 32)
    out = Output()
    positions = []
    with mosquitto(tmp_path / "broker") as broker, influxd(tmp_path / "influx") as influx:
        url = f"mqtt://127.0.0.1:{broker.port}"
        settings = GatewaySettings(
            store=str(recording / "store.toml"),
            state_dir=str(tmp_path / "state"),
            clock="data",
            pseudonym_key_file=str(tmp_path / "key"),
            mqtt=MqttSettings(url=url),
            http=HttpSettings(port=0),
            influxdb=InfluxSettings(url=f"http://127.0.0.1:{influx.port}", database="fanous"),
        )
        with gateway(settings) as running:

            def take(step):
                for part in step.positions:
                    names = running.service.driver.tags.names(part.tag)
                    positions.append((part, names))
                out.extend(step)

            running.service.on_output(take)
            replayed(recording, url)
            running.call(running.service.drain_and_finish(timeout_s=60))
            counters = running.service.counters()
            store = running.service.store
            found = influx_counts(influx.port)
    assert counters["late"] == 0
    assert counters["lost"] == 0
    assert counters["dropped"] == {}
    live = tmp_path / "live"
    live.mkdir()
    out.shelf_events = [event for event in out.shelf_events if event.status == "final"]
    for name in TABLES:
        rows = transitions(out.dwells) if name == "transitions" else getattr(out, name)
        write_table(live, name, rows, kind="csv")
    parts, names = with_own_ids(positions)
    write_positions(live, parts, store, names, kind="csv")
    for name, content in expected.items():
        assert content == (live / name).read_bytes(), name
    assert len(expected) == 12
    assert out.visits
    assert out.shelf_events
    assert found["dwell"] == len(out.dwells)
    assert found["visit"] == len(out.visits)
    assert found["shelf_event"] == len(out.shelf_events)


def with_own_ids(positions):
    """The same rows with ids that index one list of names: the gateway uses ids again."""
    names = sorted({name for _, found in positions for name in found})
    ids = {name: at for at, name in enumerate(names)}
    parts = [
        dataclasses.replace(part, tag=np.array([ids[name] for name in found], np.int32))
        for part, found in positions
    ]
    return parts, names


def influx_counts(port):
    """Points per measurement, counted by InfluxQL over a field that every point has."""
    fields = {"dwell": "dwell_s", "visit": "visit_s", "shelf_event": "confidence"}
    counts = {}
    for measurement, field in fields.items():
        query = f'SELECT count("{field}") FROM "{measurement}"'
        words = urllib.parse.urlencode({"db": "fanous", "q": query})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/query?{words}", timeout=10) as reply:
            series = json.load(reply)["results"][0].get("series")
        counts[measurement] = series[0]["values"][0][1] if series else 0
    return counts
