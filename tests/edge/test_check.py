"""`fanous edge check`: exit codes and sentences, through the command."""

import argparse
import json
import re
import socket
import time

import pytest

from edge import check, command
from edge.check_host import KernelClock
from ingest.config import ConfigError
from simulators.serial_ports import SerialPorts
from tests.edge.fake_broker import fake_broker

HEAD = 'store = "demo"\nagent = "pi-1"\nstate_dir = "state"\nidentity = "raw"\n'
GATE = (
    '[[source]]\nkind = "serial"\n[[source.port]]\npath = "gate"\nprofile = "rdm6300"\n'
    'tap_point = "gate-1"\n'
)


@pytest.fixture(autouse=True)
def kept_clock(monkeypatch):
    monkeypatch.setattr(check, "kernel_clock", lambda: KernelClock(is_kept=True, error_s=0.0))
    monkeypatch.setattr(check, "LISTEN_S", 0.2)


@pytest.fixture(name="edge")
def _edge(tmp_path):
    def write(port, more="", head=HEAD):
        path = tmp_path / "edge.toml"
        path.write_text(f'{head}[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n{more}', "utf-8")
        return path

    return write


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(path, *words):
    parser = argparse.ArgumentParser(prog="fanous edge")
    command.configure(parser)
    return command.run(parser.parse_args(["check", "-c", str(path), *words]))


def test_all_is_well(edge, capsys):
    with fake_broker() as (port, _):
        assert run(edge(port)) == 0
    out = capsys.readouterr().out
    assert "the configuration is right" in out
    assert re.findall(r"  (ok|FAULT)  +(\w+): ", out) == [
        ("ok", "clock"),
        ("ok", "state_dir"),
        ("ok", "disk"),
        ("ok", "broker"),
    ]


def test_something_of_the_world_is_wrong(edge, capsys):
    port = closed_port()
    path = edge(port, GATE)
    assert run(path) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if "FAULT" in line]
    assert faults[0].startswith(
        f"  FAULT  port gate: {path.parent}/gate is not there; expected a rdm6300 at 9600 baud; "
        "plug it in, or correct the path; there is "
    )
    (broker,) = faults[1:]
    assert broker.split("; ") == [
        f"  FAULT  broker: 127.0.0.1:{port} cannot be reached (connection refused)",
        "expected a broker that lets this client in",
        "start the broker, or correct [mqtt] url, username and password_file",
    ]
    assert run(path, "--offline") == 0
    assert "FAULT" not in capsys.readouterr().out


def test_every_wrong_source_is_named_and_the_world_is_left_alone(edge, capsys):
    with fake_broker() as (port, received):
        path = edge(
            port,
            '[[source]]\nkind = "blee"\n'
            + GATE
            + GATE.replace("rdm6300", "rdm63000").replace('serial"', 'serial"\nname = "other"'),
        )
        assert run(path) == 2
        out = capsys.readouterr().out.splitlines()
        assert [line[:31] for line in out] == [
            "  FAULT  [[source]] number 1: u",
            "  FAULT  [[source]] number 3: p",
        ]
        assert "unknown profile 'rdm63000' (did you mean 'rdm6300'?)" in out[1]
        assert run(path, "--json") == 2
        report = json.loads(capsys.readouterr().out)
        assert received == []
    assert report["ok"] is False
    assert [False, False] == [one["ok"] for one in report["checks"]]


def test_json_of_a_wrong_key_and_of_a_right_file(edge, capsys, tmp_path):
    wrong = edge(1, head=HEAD.replace("agent", "agnet"))
    with pytest.raises(ConfigError, match="did you mean 'agent'"):
        run(wrong)
    assert run(wrong, "--json") == 2
    (only,) = json.loads(capsys.readouterr().out)["checks"]
    assert "did you mean 'agent'" in only["found"]
    with fake_broker() as (port, _):
        assert run(edge(port), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert {"clock", "state_dir", "disk", "broker"} == {one["name"] for one in report["checks"]}
    assert report["client_id"] == "fanous-edge-demo-pi-1"


def test_ports_are_listened_to_at_the_same_time(edge, tmp_path):
    names = [f"p{number}" for number in range(6)]
    tables = "".join(
        f'[[source.port]]\npath = "{n}"\nprofile = "rdm6300"\ntap_point = "{n}"\n' for n in names
    )
    settings = check.read_settings(edge(1, f'[[source]]\nkind = "serial"\n{tables}'))
    with SerialPorts(tmp_path) as ports:
        for name in names:
            ports.open(name)
        began_s = time.monotonic()
        looks = check.hardware_looks(settings, base=tmp_path, listen_s=0.5)
        found = check.run_looks(looks)
        took_s = time.monotonic() - began_s
    assert [f"port {name}" for name in names] == [one.name for one in found]
    assert all(one.ok for one in found)
    assert took_s < 2.0


def test_a_refused_profile_is_a_finding_with_file_and_line(edge, capsys, tmp_path):
    (tmp_path / "mine.toml").write_text('schema = "fanous.profile/1"\n[profile]\nid = "x"\n')
    path = edge(1, head=HEAD + 'profiles = ["mine.toml"]\n')
    assert run(path, "--offline") == 2
    captured = capsys.readouterr()
    assert f"FAULT  profile: {tmp_path}/mine.toml:2: " in captured.out
    assert captured.err == ""
    (tmp_path / "mine.toml").unlink()
    assert run(path, "--offline") == 2
    out = capsys.readouterr().out
    assert f"FAULT  profiles: {tmp_path}/mine.toml: cannot be read" in out


def test_two_sources_of_one_name(edge):
    twice = GATE + GATE.replace("gate", "door")
    with pytest.raises(ConfigError, match="a name of its own"):
        run(edge(1, twice), "--offline")


def test_an_unkept_clock_and_a_full_outbox_are_findings(edge, monkeypatch, capsys):
    adrift = KernelClock(is_kept=False, error_s=16.0)
    monkeypatch.setattr(check, "kernel_clock", lambda: adrift)
    monkeypatch.setattr(check, "is_virtual_machine", lambda: False)
    with fake_broker() as (port, _):
        assert run(edge(port)) == 1
    assert "FAULT  clock: " in capsys.readouterr().out
