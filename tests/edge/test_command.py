import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from edge import command
from edge.batcher import ClosedBatch, Sender
from edge.outbox import Outbox
from ingest.config import ConfigError
from tests.edge.agents import BAND, KEY, T0

CONFIG = """
store = "demo"
agent = "pi-1"
state_dir = "state"
pseudonym_key_file = "fanous.key"
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[[source]]
kind = "replay"
readings = "readings.csv"
speed = 0
"""


@pytest.fixture
def config(tmp_path):
    with socket.socket() as taken:  # bound and not listening: every connect is refused
        taken.bind(("127.0.0.1", 0))
        text = CONFIG.format(port=taken.getsockname()[1])
        (tmp_path / "edge.toml").write_text(text, "utf-8")
        (tmp_path / "fanous.key").write_bytes(KEY)
        (tmp_path / "readings.csv").write_text(
            f"t_ns,receiver,tag,rssi_dbm\n{T0},rx-1,{BAND},-60\n", "utf-8"
        )
        yield tmp_path / "edge.toml"


def parse(*words):
    parser = argparse.ArgumentParser(prog="fanous edge")
    command.configure(parser)
    return parser.parse_args(words)


def test_check_says_what_the_agent_would_do(config, capsys):
    assert command.run(parse("check", "-c", str(config), "--offline")) == 0
    out = capsys.readouterr().out
    assert "agent pi-1 of store demo: the configuration is right" in out
    assert "replay (replay)" in out
    assert not (config.parent / "state").exists()


def test_check_as_json(config, capsys):
    assert command.run(parse("check", "-c", str(config), "--offline", "--json")) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["ok"] is True
    assert plan["sources"] == [{"name": "replay", "kind": "replay"}]
    assert plan["client_id"] == "fanous-edge-demo-pi-1"


def test_a_wrong_source_is_a_config_error(config, capsys):
    (config.parent / "readings.csv").write_text("t_ns,receiver,tag\n", "utf-8")
    with pytest.raises(ConfigError, match="column rssi_dbm is missing"):
        command.run(parse("run", "-c", str(config)))
    assert command.run(parse("check", "-c", str(config))) == 2
    assert "column rssi_dbm is missing" in capsys.readouterr().out


def test_without_a_key_nothing_starts(config):
    (config.parent / "fanous.key").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        command.run(parse("run", "-c", str(config)))
    assert not (config.parent / "state").exists()


def test_backup_and_restore(config, tmp_path, capsys):
    out = str(tmp_path / "copy.sqlite")
    with pytest.raises(ConfigError, match="found none"):
        command.run(parse("backup", "-c", str(config), "--out", out))
    sender = Sender(store="demo", agent="pi-1", boot="b1")

    async def fill():
        outbox = Outbox(config.parent / "state", sender=sender, max_bytes=10**6)
        await outbox.open()
        await outbox.put([ClosedBatch("b1", "tap", 1, 3, b"payload")])
        await outbox.close()

    asyncio.run(fill())
    assert command.run(parse("backup", "-c", str(config), "--out", out, "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"path": out, "batches": 1, "rows": 3}.items() <= told.items()
    (config.parent / "state" / "outbox.sqlite").unlink()
    assert command.run(parse("restore", "-c", str(config), "--from", out)) == 0
    assert "outbox.sqlite: 1 batches, 3 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    "action", [None, "run", "check", "calibrate", "discover", "backup", "restore"]
)
def test_every_parser_has_an_example(action, capsys):
    with pytest.raises(SystemExit):
        parse(*filter(None, (action, "--help")))
    assert f"example: fanous edge {action or 'run'} " in capsys.readouterr().out


@pytest.mark.system
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_the_agent_cleanly(config, number, code):
    program = (
        "import argparse, sys; from edge import command; p = argparse.ArgumentParser();"
        "command.configure(p); sys.exit(command.run(p.parse_args(sys.argv[1:])))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", "-c", str(config), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        lines, deadline = [], time.monotonic() + 20
        while not any("source ended" in line for line in lines):
            assert time.monotonic() < deadline, lines
            assert process.poll() is None, lines
            lines.append(process.stderr.readline())
        process.send_signal(number)
        out, rest = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert json.loads(out)["outbox"]["rows"] == 1
    log = "".join(lines) + rest
    assert "event=agent started store=demo agent=pi-1" in log
    assert "event=agent stopped" in log
    assert "Traceback" not in log
    assert "b9407f30" not in log
