import contextlib
import fcntl
import threading

import pytest

from edge.sources.serial_port import close_port, open_port
from edge.sources.serial_settings import SerialPortSettings
from fanous.doctor_config import diagnose_config
from fanous.doctor_serial import check_serial
from simulators.serial_ports import SerialPorts

GATE = {"path": "gate", "profile": "rdm6300", "tap_point": "gate-1"}


@pytest.fixture
def ports(tmp_path):
    with SerialPorts(tmp_path) as made:
        yield made


def check(folder, *tables, listen_s=0.5):
    source = {"kind": "serial", "port": list(tables)}
    return list(check_serial([source], base=folder, state_dir=folder, listen_s=listen_s))


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
        (found,) = check(tmp_path, GATE)
    assert (True, "port gate", "a rdm6300 at 9600 baud") == (found.ok, found.name, found.expected)
    assert found.found.endswith("understood")


def test_a_port_that_is_silent_is_no_fault(tmp_path, ports):
    ports.open("gate")
    (found,) = check(tmp_path, GATE, listen_s=0.1)
    assert found.ok
    assert found.found.endswith("silent for 0.1 s")


def test_garbage_is_told_with_the_rate_of_the_profile(tmp_path, ports):
    port = ports.open("gate")
    with sending(port, b"\x80\xf8\x00\x1e\x78\x06"):
        (found,) = check(tmp_path, GATE)
    assert not found.ok
    assert "wrong baud? profile rdm6300 says 9600" in found.found
    assert "set the device to 9600 baud" in found.remedy


def test_a_port_that_is_missing(tmp_path):
    (found,) = check(tmp_path, GATE)
    assert not found.ok
    assert found.found == f"{tmp_path}/gate is not there"
    assert "ls -l /dev/serial/by-id" in found.remedy


def test_no_permission(tmp_path, ports, monkeypatch):
    ports.open("gate")
    monkeypatch.setattr("fanous.doctor_serial.os.access", lambda *_: False)
    (found,) = check(tmp_path, GATE)
    assert not found.ok
    assert "no permission" in found.found
    assert "dialout" in found.remedy


def test_a_port_in_use_is_a_fault_unless_the_agent_uses_it(tmp_path, ports):
    ports.open("gate")
    line = open_port(SerialPortSettings(path=str(tmp_path / "gate"), profile="rdm6300", baud=9600))
    try:
        (found,) = check(tmp_path, GATE)
        assert not found.ok
        assert "in use by another program" in found.found
        with (tmp_path / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (found,) = check(tmp_path, GATE)
        assert found.ok
        assert "which is running" in found.found
    finally:
        close_port(line)


def test_a_file_is_no_port(tmp_path):
    (tmp_path / "gate").write_text("x", "utf-8")
    (found,) = check(tmp_path, GATE)
    assert not found.ok


def test_a_configuration_is_checked_port_by_port(tmp_path, ports):
    ports.open("gate")
    (tmp_path / "edge.toml").write_text(
        'store = "demo"\nagent = "pi-1"\nstate_dir = "state"\nidentity = "raw"\n'
        '[mqtt]\nurl = "mqtt://127.0.0.1:9"\n[[source]]\nkind = "serial"\n'
        '[[source.port]]\npath = "gate"\nprofile = "rdm6300"\ntap_point = "gate-1"\n'
        '[[source.port]]\npath = "/dev/serial/by-id/none"\nprofile = "mt_sics"\nsensor = "s"\n',
        "utf-8",
    )
    checks = {c.name: c for c in diagnose_config(tmp_path / "edge.toml").checks}
    assert checks["port gate"].ok
    assert not checks["port none"].ok
