"""Faults of serial lines, made on pseudo-terminals."""

import contextlib
import fcntl
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edge.check_serial import check_port, serial_ports_of
from edge.sources.serial_port import close_port, open_port
from edge.sources.serial_settings import SerialPortSettings
from firmware_profiles.registry import load_registry
from simulators.serial_ports import SerialPorts

GATE = {"path": "gate", "profile": "rdm6300", "tap_point": "gate-1"}
PROFILES = load_registry().profiles


@pytest.fixture
def ports(tmp_path):
    with SerialPorts(tmp_path) as made:
        yield made


def check(folder, table, *, listen_s=0.5, listed=Path("/none")):
    source = {"kind": "serial", "port": [table]}
    (port,) = serial_ports_of([source], base=folder, profiles=PROFILES)
    return check_port(
        port, PROFILES[port.profile], state_dir=folder, listen_s=listen_s, listed=listed
    )


@contextlib.contextmanager
def sending(port, data):
    stop = threading.Event()

    def send():
        while not stop.wait(0.01):
            port.send(data)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_a_port_that_is_understood(tmp_path, ports):
    port = ports.open("gate")
    with sending(port, b"\x0267003B51C6CB\x03"):
        found = check(tmp_path, GATE)
    assert (True, "port gate", "a rdm6300 at 9600 baud") == (found.ok, found.name, found.expected)
    assert found.found.endswith("understood")


def test_a_port_that_is_silent_is_no_fault(tmp_path, ports):
    ports.open("gate")
    found = check(tmp_path, GATE, listen_s=0.1)
    assert found.ok
    assert found.found.endswith("silent for 0.1 s")


def test_garbage_is_told_with_the_rate_of_the_profile(tmp_path, ports):
    port = ports.open("gate")
    with sending(port, b"\x80\xf8\x00\x1e\x78\x06"):
        found = check(tmp_path, GATE)
    assert not found.ok
    assert "wrong baud? profile rdm6300 says 9600" in found.found
    assert "set the device to 9600 baud" in found.remedy


def test_a_missing_port_says_which_there_are(tmp_path):
    found = check(tmp_path, GATE)
    assert not found.ok
    assert found.found == f"{tmp_path}/gate is not there"
    assert "there is nothing in /none" in found.remedy
    (tmp_path / "by-id").mkdir()
    (tmp_path / "by-id" / "usb-1a86-if00").touch()
    found = check(tmp_path, GATE, listed=tmp_path / "by-id")
    assert f"there is {tmp_path}/by-id/usb-1a86-if00" in found.remedy


def test_no_permission():
    """As another user, since root may open everything; all is imported before that."""
    program = (
        "import json, os, sys; from dataclasses import asdict; from pathlib import Path;"
        "import edge.keys, edge.sources.serial_device, edge.sources.serial_port;"
        "from edge.check_serial import check_port;"
        "from edge.sources.serial_settings import SerialPortSettings as S;"
        "from firmware_profiles.registry import load_registry;"
        "profile = load_registry().profiles['rdm6300'];"
        "p = S(path=sys.argv[1], profile='rdm6300', baud=9600, tap_point='g');"
        "os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534));"
        "print(json.dumps(asdict(check_port(p, profile, state_dir=Path('/none')))))"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with SerialPorts(folder) as ports:
            ports.open("gate")
            (folder / "gate").chmod(0)
            done = subprocess.run(
                [sys.executable, "-c", program, str(folder / "gate")],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
    found = json.loads(done.stdout)
    assert not found["ok"]
    assert found["found"] == f"no permission to open {folder}/gate"
    assert "usermod -a -G " in found["remedy"]


def test_a_port_in_use_is_a_fault_unless_the_agent_uses_it(tmp_path, ports):
    ports.open("gate")
    line = open_port(SerialPortSettings(path=str(tmp_path / "gate"), profile="rdm6300", baud=9600))
    try:
        found = check(tmp_path, GATE)
        assert not found.ok
        assert "in use by another program" in found.found
        assert f"fuser -v {tmp_path}/gate" in found.remedy
        with (tmp_path / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = check(tmp_path, GATE)
        assert found.ok
        assert "which is running" in found.found
    finally:
        close_port(line)


def test_a_file_is_no_port(tmp_path):
    (tmp_path / "gate").write_text("x", "utf-8")
    found = check(tmp_path, GATE)
    assert (False, f"{tmp_path}/gate is no serial port") == (found.ok, found.found)


def test_a_wrong_table_has_no_ports(tmp_path):
    tables = [{"kind": "serial", "port": [{"path": "a", "profile": "nothing"}]}, {"kind": "ble"}]
    assert list(serial_ports_of(tables, base=tmp_path, profiles=PROFILES)) == []
