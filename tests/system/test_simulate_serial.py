"""`fanous simulate --serial`: unmodified agents read the virtual devices, row by row."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ingest.columns import decode_batch
from ingest.files import read_columns
from ingest.identifiers import pseudonym, read_key_file
from ingest.topics import agent_topic, parse_topic
from tests.edge.sources.bluez_rig import open_bus
from tests.system.servers import mosquitto, wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("servers"),
]

WITHOUT_DAEMON = """
import sys
import simulators.private_bus
from fanous.program import main
simulators.private_bus.find_daemon = lambda: None
sys.exit(main(["simulate", *sys.argv[1:]]))
"""
KINDS = ("readings", "taps", "samples")


class Gateway:
    """Acknowledges batches and keeps their rows: (where, what), and when."""

    def __init__(self, port):
        self.rows = {kind: Counter() for kind in KINDS}
        self.t_ns = {kind: {} for kind in KINDS}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id="fake-gateway")
        self.client.on_message = self.take
        self.client.connect("127.0.0.1", port)
        for leaf in KINDS:
            self.client.subscribe(agent_topic("demo", "any", leaf).replace("any", "+"), 1)
        self.client.loop_start()

    def take(self, client, _user, message):
        batch, topic = decode_batch(message.payload), parse_topic(message.topic)
        kind = {"ble": "readings", "tap": "taps", "sample": "samples"}[batch.kind]
        place = {"ble": batch.receiver, "tap": batch.tap_point, "sample": batch.sensor}[batch.kind]
        for row, (t_ns, code) in enumerate(zip(batch.t_ns.tolist(), place.codes, strict=True)):
            found = [place.values[code]]
            if batch.kind == "sample":
                found.append(round(float(batch.mass_g[row]), 6))
            else:
                found.append(batch.tag.values[batch.tag.codes[row]])
            if batch.kind == "ble":
                found.append(float(batch.rssi_dbm[row]))
            self.rows[kind][tuple(found)] += 1
            self.t_ns[kind].setdefault(tuple(found), []).append(t_ns)
        ack = {"boot": batch.boot, "kind": batch.kind, "seq": batch.seq}
        client.publish(agent_topic("demo", topic.agent, "ack"), json.dumps(ack), qos=1)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Shop:
    """A running `fanous simulate … --serial`, and agents on its devices."""

    def __init__(self, folder, *words, program=("-m", "fanous", "simulate")):
        self.folder = folder
        with (folder / "shop.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, "demo", "--serial", "--json", *words],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.told = json.loads(self.process.stdout.readline())
        self.agents = []

    @property
    def log(self):
        return (self.folder / "shop.log").read_text(encoding="utf-8")

    @property
    def ports(self):
        return [*(self.folder / self.told["folder"] / "ports").glob("*")]

    def start_agents(self):
        for name, config in self.told["agents"].items():
            with (self.folder / f"{name}.log").open("wb") as log:
                self.agents.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "fanous", "edge", "run", "-c", config],
                        cwd=self.folder,
                        stderr=log,
                        env={**os.environ, **self.told["environment"]},
                    )
                )

    def end(self, number=None, timeout_s=60):
        """Return the exit code and what was said last."""
        if number is not None:
            self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, json.loads(out)

    def kill(self):
        for process in (self.process, *self.agents):
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextlib.contextmanager
def shop_of(folder, *words, **options):
    shop = Shop(folder, *words, **options)
    try:
        yield shop
    finally:
        shop.kill()


def written(out, key):
    """Return the rows of a recording as an agent would send them, and their times."""
    rows = {kind: Counter() for kind in KINDS}
    t_ns = {kind: {} for kind in KINDS}
    columns = {
        "readings": ("receiver", "tag", "rssi_dbm"),
        "taps": ("tap_point", "tag"),
        "samples": ("sensor", "mass_g"),
    }
    for kind, names in columns.items():
        table = read_columns(out / f"{kind}.csv", required=("t_ns", *names))
        for at, values in enumerate(zip(*(table[name] for name in names), strict=True)):
            found = [
                pseudonym(value, key) if name == "tag" else value
                for name, value in zip(names, values, strict=True)
            ]
            if kind == "samples":
                found[1] = round(float(found[1]), 6)
            rows[kind][tuple(found)] += 1
            t_ns[kind].setdefault(tuple(found), []).append(int(table["t_ns"][at]))
    return rows, t_ns


def test_agents_receive_every_row_once_at_the_time_it_happened(tmp_path):
    open_bus().end()
    with mosquitto(tmp_path / "broker") as broker:
        gateway = Gateway(broker.port)
        words = ("--minutes", "0.25", "--seed", "7", "--out", "truth")
        with shop_of(tmp_path, *words, "--mqtt", f"mqtt://127.0.0.1:{broker.port}") as shop:
            assert len(shop.ports) == shop.told["ports"] == 35
            assert shop.told["adapters"] == 12
            shop.start_agents()
            code, told = shop.end()
            heard = told["heard"]
            wait_until(
                lambda: all(gateway.rows[kind].total() >= heard[kind] for kind in KINDS),
                f"{heard} rows",
            )
            for agent in shop.agents:
                agent.send_signal(signal.SIGTERM)
            assert [0] * 4 == [agent.wait(5) for agent in shop.agents]
        gateway.close()
    assert code == 0
    assert told["unheard"] == {}
    assert told["lost_bytes"] == 0
    key = read_key_file(tmp_path / shop.told["folder"] / "fanous.key")
    rows, t_ns = written(tmp_path / "truth", key)
    assert rows["readings"].total() > 300
    assert rows["taps"].total() >= 3
    assert rows["samples"].total() == 2250
    for kind in KINDS:
        assert rows[kind] == gateway.rows[kind]
        late_s = [
            (sent - happened) / 1e9
            for key_of, times in t_ns[kind].items()
            for happened, sent in zip(
                sorted(times), sorted(gateway.t_ns[kind][key_of]), strict=True
            )
        ]
        assert min(late_s) > -0.01
        assert np.median(late_s) < 0.2


def test_an_interruption_ends_it_at_once_and_takes_the_ports_away(tmp_path):
    with shop_of(tmp_path) as shop:
        assert len(shop.ports) == 35
        wait_until(lambda: "opens when an agent listens" in shop.log, "it waits")
        code, told = shop.end(signal.SIGINT, timeout_s=5)
        assert code == 130
        assert told == {"heard": {}, "unheard": {}, "lost_bytes": 0}
        assert not (tmp_path / shop.told["folder"] / "ports").exists()
        for value in shop.told["environment"].values():
            assert not Path(value.removeprefix("unix:path=")).parent.exists()
        assert "Traceback" not in shop.log


def test_without_dbus_daemon_it_says_so_and_plays_the_serial_lines(tmp_path):
    with mosquitto(tmp_path / "broker") as broker:
        gateway = Gateway(broker.port)
        url = f"mqtt://127.0.0.1:{broker.port}"
        with shop_of(tmp_path, "--mqtt", url, program=("-c", WITHOUT_DAEMON)) as shop:
            assert "no dbus-daemon" in shop.log
            assert shop.told["environment"] == {}
            assert shop.told["adapters"] == 0
            shop.start_agents()
            wait_until(lambda: gateway.rows["samples"].total() > 300, "samples arrive")
            code, told = shop.end(signal.SIGTERM, timeout_s=5)
        gateway.close()
    assert code == 0
    assert told["heard"]["samples"] > 300
    assert told["unheard"].get("samples", 0) == 0
