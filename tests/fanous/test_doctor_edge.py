"""`fanous doctor -c edge.toml`: what an agent's own check looks at is in it, too."""

import asyncio
import json

import pytest

from edge.check_host import KernelClock
from fanous import doctor
from fanous.program import main
from simulators.serial_ports import SerialPorts
from tests.edge.fake_broker import fake_broker
from tests.edge.sources.bluez_rig import open_bus
from tests.edge.test_check_host import filled


@pytest.fixture(autouse=True)
def kept_clock(monkeypatch):
    monkeypatch.setattr(doctor, "kernel_clock", lambda: KernelClock(is_kept=True, error_s=0.0))


def diagnosed(capsys, folder, more, *, head=""):
    path = folder / "edge.toml"
    with fake_broker() as (port, _):
        path.write_text(
            f'store = "demo"\nagent = "pi-1"\nstate_dir = "state"\nidentity = "raw"\n{head}'
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n{more}',
            "utf-8",
        )
        code = main(["doctor", "-c", str(path), "--json"])
    report = json.loads(capsys.readouterr().out)
    faults = {check["name"]: check for check in report["checks"] if not check["ok"]}
    assert code == (1 if faults else 0)
    for fault in faults.values():
        assert fault["remedy"]
    return {check["name"]: check for check in report["checks"]}, faults


def test_ports_are_checked_one_by_one(capsys, tmp_path):
    tables = (
        '[[source]]\nkind = "serial"\n'
        '[[source.port]]\npath = "gate"\nprofile = "rdm6300"\ntap_point = "gate-1"\n'
        '[[source.port]]\npath = "/dev/serial/by-id/none"\nprofile = "mt_sics"\nsensor = "s"\n'
    )
    with SerialPorts(tmp_path) as ports:
        ports.open("gate")
        checks, faults = diagnosed(capsys, tmp_path, tables)
    assert checks["port gate"]["ok"]
    assert set(faults) == {"port none"}
    assert "/dev/serial/by-id/none is not there" in faults["port none"]["found"]


@pytest.mark.system
def test_bluetooth_is_asked_for_and_not_guessed(capsys, tmp_path, monkeypatch):
    table = '[[source]]\nkind = "ble"\nreceiver = "rx-1"\nadapter = "hci7"\n'
    with open_bus() as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        _, faults = diagnosed(capsys, tmp_path, table)
    assert {"bluetooth hci7": "bluetoothd does not run"} == {
        name: fault["found"] for name, fault in faults.items()
    }


def test_a_nearly_full_outbox(capsys, tmp_path):
    (tmp_path / "state").mkdir()
    outbox = filled(tmp_path / "state", 950_000)
    try:
        checks, faults = diagnosed(capsys, tmp_path, "[outbox]\nmax_mb = 1\n")
    finally:
        asyncio.run(outbox.close())
    assert set(faults) == {"outbox"}
    assert faults["outbox"]["found"].startswith("95% full: ")
    assert checks["database outbox.sqlite"]["ok"]


def test_all_wrong_sources_are_named(capsys, tmp_path):
    tables = '[[source]]\nkind = "blee"\n[[source]]\nkind = "ble"\nreceiver = "RX"\n'
    _, faults = diagnosed(capsys, tmp_path, tables)
    named = {name: fault["found"] for name, fault in faults.items() if "bluetooth" not in name}
    assert set(named) == {"sources", "[[source]] number 2"}
    assert "unknown kind 'blee'" in named["sources"]
    assert "receiver: expected a name" in named["[[source]] number 2"]


def test_a_profile_file_that_is_missing(capsys, tmp_path):
    _, faults = diagnosed(capsys, tmp_path, "", head='profiles = ["mine.toml"]\n')
    assert "profiles" in faults
    assert "mine.toml: cannot be read" in faults["profiles"]["found"]


def test_a_clock_that_nobody_keeps(capsys, tmp_path, monkeypatch):
    adrift = KernelClock(is_kept=False, error_s=16.0)
    monkeypatch.setattr(doctor, "kernel_clock", lambda: adrift)
    monkeypatch.setattr(doctor, "is_virtual_machine", lambda: False)
    _, faults = diagnosed(capsys, tmp_path, "")
    assert set(faults) == {"clock"}
    assert "not synchronised by NTP" in faults["clock"]["found"]
