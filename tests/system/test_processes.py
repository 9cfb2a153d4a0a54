"""`fanous edge run` and `fanous gateway run` as processes: bad starts, stops and kills."""

import contextlib
import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fanous.program import main
from ingest.columns import decode_batch
from ingest.identifiers import pseudonym, read_key_file
from tests.system.servers import free_port, mosquitto, wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]

SPEED = 20
HALF_S = 60


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two minutes of the demo store, cut into a first and a second half, and one key."""
    folder = tmp_path_factory.mktemp("shop")
    words = ["simulate", "demo", "--minutes", "2", "--seed", "3", "--out", str(folder)]
    assert main(words) == 0
    (folder / "key").write_bytes(b"0123456789abcdef" * 2)
    for kind in ("readings", "taps", "samples"):
        with (folder / f"{kind}.csv").open() as file:
            header, *lines = file.readlines()
        times = [int(line.partition(",")[0]) for line in lines]
        first_ns = 1_764_000_000_000_000_000 + HALF_S * 10**9
        cut = sum(t_ns < first_ns for t_ns in times)
        (folder / f"{kind}-1.csv").write_text("".join([header, *lines[:cut]]))
        (folder / f"{kind}-2.csv").write_text("".join([header, *lines[cut:]]))
    return folder


class Rig:
    """Writes configurations and starts processes; everything it started ends with it."""

    def __init__(self, folder, shop, broker_port):
        self.folder, self.shop, self.broker_port = folder, shop, broker_port
        self.http_port = free_port()
        self.processes = []

    def edge(self, half=1, action="run", **changes):
        values = {
            "store": "demo",
            "agent": "pi-1",
            "state_dir": "edge-state",
            "pseudonym_key_file": str(self.shop / "key"),
        } | {key: value for key, value in changes.items() if key != "url"}
        url = changes.get("url", f"mqtt://127.0.0.1:{self.broker_port}")
        files = "".join(
            f'{kind} = "{self.shop}/{kind}-{half}.csv"\n'
            for kind in ("readings", "taps", "samples")
        )
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        text += f'[mqtt]\nurl = "{url}"\nbackoff_max_s = 1\nack_timeout_s = 2\n'
        text += "[batch]\nmax_rows = 10000\n"
        text += f'[[source]]\nkind = "replay"\nspeed = {SPEED}\n{files}'
        (self.folder / "edge.toml").write_text(text)
        return self._start("edge", action)

    def gateway(self, action="run", **changes):
        values = {
            "store": str(self.shop / "store.toml"),
            "state_dir": "gateway-state",
            "clock": "data",
            "pseudonym_key_file": str(self.shop / "key"),
        } | {key: value for key, value in changes.items() if key != "url"}
        url = changes.get("url", f"mqtt://127.0.0.1:{self.broker_port}")
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        text += f'[mqtt]\nurl = "{url}"\n[http]\nport = {self.http_port}\n'
        (self.folder / "gateway.toml").write_text(text)
        return self._start("gateway", action)

    def start(self, name, **changes):
        return self.edge(**changes) if name == "edge" else self.gateway(**changes)

    def _start(self, name, action):
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [sys.executable, "-m", "fanous", name, action, "-c", f"{name}.toml"],
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        self.processes.append(process)
        return process

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def summary(self):
        try:
            url = f"http://127.0.0.1:{self.http_port}/api/v1/summary"
            with urllib.request.urlopen(url, timeout=5) as reply:
                return json.loads(reply.read())
        except OSError:
            return {"readings": -1, "broker_connected": False}

    def rows_in(self, name, table):
        file = {"edge": "outbox.sqlite", "gateway": "journal.sqlite"}[name]
        path = self.folder / f"{name}-state" / file
        if not path.exists():
            return []
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
            if not database.execute(
                "SELECT 1 FROM sqlite_master WHERE name=?", (table,)
            ).fetchone():
                return []
            return database.execute(f"SELECT * FROM {table}").fetchall()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def rigged(folder, shop, broker_port=1):
    rig = Rig(folder, shop, broker_port)
    try:
        yield rig
    finally:
        rig.close()


@pytest.mark.parametrize("name", ["edge", "gateway"])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"url": "http://127.0.0.1:1883"}, "expected mqtt://host:port"),
        ({"url": "mqtt://somebody:secret@127.0.0.1"}, "no user in it"),
        ({"url": "mqtt://127.0.0.1:99999"}, "expected mqtt://host:port"),
        ({"pseudonym_key_file": "missing.key"}, "missing.key"),
        ({"state_dir": "/proc/nowhere/state"}, "state_dir /proc/nowhere/state"),
        ({"state_dir": "edge.toml/state"}, "state_dir"),
        ({"stroe": "x"}, "did you mean 'store'"),
    ],
)
def test_a_wrong_configuration_ends_with_2_and_one_sentence(
    tmp_path, shop, name, changes, sentence
):
    (tmp_path / "edge.toml").write_text("")
    with rigged(tmp_path, shop) as rig:
        assert 2 == rig.start(name, **changes).wait(20)
        said = rig.log(name).strip()
        assert sentence in said
        assert "Traceback" not in said
        assert "secret" not in said
        assert 1 == len(said.splitlines())


def _ends_in(process, number):
    began_s = time.monotonic()
    process.send_signal(number)
    code = process.wait(10)
    return code, time.monotonic() - began_s


def test_without_a_broker_both_wait_say_so_once_and_stop_in_time(tmp_path, shop):
    with rigged(tmp_path, shop, free_port()) as rig:
        edge, gateway = rig.edge(), rig.gateway()
        wait_until(lambda: "broker lost" in rig.log("edge"), "the agent says so")
        wait_until(lambda: "cannot be reached" in rig.log("gateway"), "the gateway says so")
        wait_until(lambda: len(rig.rows_in("edge", "outbox")) > 4, "rows wait on the disk")
        for name in ("edge", "gateway"):
            assert 1 == rig.log(name).count("WARNING"), rig.log(name)
            assert "Traceback" not in rig.log(name)
        code, seconds = _ends_in(edge, signal.SIGTERM)
        assert (0, True) == (code, seconds < 2.0)
        code, seconds = _ends_in(gateway, signal.SIGTERM)
        assert (0, True) == (code, seconds < 5.0)


def _statuses(port, received):
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe("fanous/v1/demo/agents/+/status", qos=1)
    client.on_message = lambda _c, _u, m: received.append((m.retain, json.loads(m.payload)))
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def _leave(client):
    client.disconnect()
    client.loop_stop()
    left_open = client.socket()
    if left_open is not None:
        left_open.close()


def test_an_agent_that_goes_says_so_and_one_that_is_killed_has_left_its_will(tmp_path, shop):
    statuses, later = [], []
    with mosquitto(tmp_path / "broker") as broker, rigged(tmp_path, shop, broker.port) as rig:
        client = _statuses(broker.port, statuses)
        try:
            edge = rig.edge()
            wait_until(lambda: len(rig.rows_in("edge", "outbox")) > 4, "nobody takes its rows")
            code, seconds = _ends_in(edge, signal.SIGTERM)
            assert (0, True) == (code, seconds < 2.0), "although nobody has acknowledged"
            wait_until(lambda: statuses[-1][1]["state"] == "offline", "it says goodbye")
            edge = rig.edge()
            wait_until(lambda: statuses[-1][1]["state"] == "online", "it is back")
            body = statuses[-1][1]
            assert {"state", "versions", "sources", "outbox", "clock"} <= set(body)
            assert [("replay", "running")] == [(s["name"], s["state"]) for s in body["sources"]]
            edge.kill()
            wait_until(lambda: statuses[-1][1]["state"] == "offline", "the broker tells its will")
        finally:
            _leave(client)
        client = _statuses(broker.port, later)
        try:
            wait_until(lambda: later, "who comes later is told")
            assert (True, "offline") == (later[0][0], later[0][1]["state"])
        finally:
            _leave(client)


def _recorded(shop, half):
    """Rows of a half by kind, in order, with pseudonyms: what the agent emits."""
    key, found = read_key_file(shop / "key"), {}
    for kind, name, numbers in (
        ("ble", "readings", ("rssi_dbm",)),
        ("tap", "taps", ()),
        ("sample", "samples", ("mass_g",)),
    ):
        with (shop / f"{name}-{half}.csv").open() as file:
            found[kind] = [
                (
                    int(row["t_ns"]),
                    row.get("receiver") or row.get("tap_point") or row["sensor"],
                    *([pseudonym(row["tag"], key)] if "tag" in row else []),
                    *(float(row[number]) for number in numbers),
                )
                for row in csv.DictReader(file)
            ]
    return found


def _journaled(rig):
    """Rows in the gateway's journal by kind, each as often as it is there."""
    found = {"ble": Counter(), "tap": Counter(), "sample": Counter()}
    for *_, payload, _first_ns in rig.rows_in("gateway", "batches"):
        batch = decode_batch(payload)
        columns = [batch.t_ns.tolist()]
        columns += [
            [coded.values[code] for code in coded.codes.tolist()]
            for coded in (batch.receiver, batch.tap_point, batch.sensor, batch.tag)
            if coded is not None
        ]
        columns += [
            [round(number, 3) for number in numbers.astype(float).tolist()]
            for numbers in (batch.rssi_dbm, batch.mass_g)
            if numbers is not None
        ]
        found[batch.kind].update(zip(*columns, strict=True))
    return found


def _is_served(rig):
    return rig.summary()["broker_connected"]


def _takes_more(rig):
    before = rig.summary()["readings"]
    wait_until(lambda: rig.summary()["readings"] > before + 500, "the gateway takes more")


def test_kill_9_of_each_in_mid_stream_loses_nothing_acknowledged_and_doubles_nothing(
    tmp_path, shop
):
    with mosquitto(tmp_path / "broker") as broker, rigged(tmp_path, shop, broker.port) as rig:
        gateway = rig.gateway()
        wait_until(lambda: _is_served(rig), "the gateway is at the broker")
        edge = rig.edge(half=1)
        _takes_more(rig)
        edge.kill()
        edge.wait()
        edge = rig.edge(half=2)
        _takes_more(rig)
        gateway.kill()
        gateway.wait()
        wait_until(lambda: len(rig.rows_in("edge", "outbox")) > 3, "the agent keeps its rows")
        gateway = rig.gateway()
        wait_until(lambda: _is_served(rig), "the gateway is back")
        _takes_more(rig)
        broker.stop(signal.SIGKILL)
        wait_until(lambda: not _is_served(rig), "the gateway misses the broker")
        broker.start()
        wait_until(lambda: _is_served(rig), "the broker is back")
        wait_until(lambda: "source ended" in rig.log("edge"), "everything is played")
        wait_until(lambda: not rig.rows_in("edge", "outbox"), "the outbox is empty")
        wait_until(
            lambda: rig.summary()["dwells"] > 5,
            "stays are found",
        )
        summary = rig.summary()
        code, seconds = _ends_in(edge, signal.SIGTERM)
        assert (0, True) == (code, seconds < 2.0)
        code, seconds = _ends_in(gateway, signal.SIGTERM)
        assert (0, True) == (code, seconds < 5.0), rig.log("gateway")[-2000:]
        found = _journaled(rig)
        first, second = _recorded(shop, 1), _recorded(shop, 2)
        for kind, name in (("ble", "readings"), ("tap", "taps"), ("sample", "samples")):
            assert {1} == set(found[kind].values()), f"a row of kind {kind} is there twice"
            assert found[kind].total() == summary[name]
            kept = found[kind].total() - len(second[kind])
            # Of the killed agent a beginning is there, up to its last commit.
            assert set(first[kind][:kept]) | set(second[kind]) == set(found[kind])
        assert 0 < found["ble"].total() - len(second["ble"]) < len(first["ble"])
        assert (0, 0, 0) == tuple(summary[name] for name in ("lost", "late", "dead_letters"))
        database = sqlite3.connect(tmp_path / "gateway-state" / "results.sqlite")
        with contextlib.closing(database):
            twice = database.execute(
                "SELECT count(*) FROM dwells a JOIN dwells b USING (tag, layer) "
                "WHERE a.dwell != b.dwell AND a.start_ns < b.end_ns AND b.start_ns < a.end_ns"
            ).fetchone()[0]
        assert 0 == twice, "nobody is in two zones of one layer at once"
        for name in ("edge", "gateway"):
            assert "Traceback" not in rig.log(name)
