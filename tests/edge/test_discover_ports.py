"""`fanous edge discover --port`, over pseudo-terminals."""

import argparse
import contextlib
import json
import threading
import time
import tomllib

import pytest

from edge import command, discover_ports
from edge.discover_ports import Heard, Understood, find_ports, listen_ports, source_tables
from edge.sources.serial_port import close_port, open_port
from edge.sources.serial_settings import SerialPortSettings, read_serial
from firmware_profiles.registry import load_registry
from simulators.serial_ports import SAMPLES, SerialPorts

REGISTRY = load_registry()
CARD = b"\x0267003B51C6CB\x03"


@pytest.fixture
def ports(tmp_path):
    with SerialPorts(tmp_path) as made:
        yield made


@contextlib.contextmanager
def sending(*pairs):
    """Let devices speak for ever, some 50 messages a second each."""
    stop = threading.Event()

    def send():
        while not stop.wait(0.02):
            for port, data in pairs:
                port.send(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def discover(capsys, *words):
    parser = argparse.ArgumentParser(prog="fanous edge")
    command.configure(parser)
    code = command.run(parser.parse_args(["discover", *words]))
    captured = capsys.readouterr()
    assert captured.err == ""  # no progress where there is no terminal
    return code, captured.out


def test_what_speaks_is_recognised_and_proposed(tmp_path, ports, capsys):
    gate, scale, bridge, range_ = (ports.open(name) for name in ("gate", "scale", "bridge", "tof"))
    ports.open("quiet")
    with sending(
        (gate, b"\x00\xff" + CARD),
        (scale, REGISTRY.encode("mt_sics", SAMPLES["mt_sics"](12.5))),
        (bridge, REGISTRY.encode("hx711_bridge", SAMPLES["hx711_bridge"](80_000))),
        (range_, REGISTRY.encode("tfmini_s", SAMPLES["tfmini_s"](900))),
    ):
        names = ("gate", "scale", "bridge", "tof", "quiet", "gone")
        words = [word for name in names for word in ("--port", str(tmp_path / name))]
        code, out = discover(capsys, *words, "--seconds", "2.4", "--json")
    assert code == 0
    found = json.loads(out)
    best = {
        one["path"].rpartition("/")[2]: one["understood"][0]["profile"]
        for one in found["ports"]
        if one["understood"]
    }
    assert best == {
        "gate": "rdm6300",
        "scale": "mt_sics",
        "bridge": "hx711_bridge",
        "tof": "tfmini_s",
    }
    assert found["ports"][4]["bytes"] == 0
    assert "gone is not there" in found["ports"][5]["trouble"]
    (source,) = tomllib.loads("\n".join(found["toml"]))["source"]
    del source["kind"]
    settings = read_serial(source, subject="proposed", base=tmp_path, profiles=REGISTRY.profiles)
    assert [port.profile for port in settings.port] == list(best.values())
    assert settings.port[0].tap_point == "gate-1"
    assert settings.port[1].sensor == "plate-1"
    assert settings.port[2].counts_per_g == 1.0


def test_seven_bits_and_parity_are_recognised(tmp_path, ports):
    text = REGISTRY.encode("aandd", SAMPLES["aandd"](12.5))
    line = bytes(byte | (byte.bit_count() % 2) << 7 for byte in text)
    with sending((ports.open("scale"), line)):
        (heard,) = listen_ports([tmp_path / "scale"], REGISTRY.profiles, seconds=2)
    assert (7, "even") == (heard.best.data_bits, heard.best.parity)
    table = tomllib.loads("\n".join(source_tables([heard], REGISTRY.profiles)))
    assert (7, "even") == tuple(
        table["source"][0]["port"][0][key] for key in ("data_bits", "parity")
    )


def test_garbage_is_understood_by_nobody_and_silence_is_explained(tmp_path, ports, capsys):
    ports.open("quiet")
    with sending((ports.open("noise"), b"\x80\xf8\x00\x1e\x78\x06\x55\xaa")):
        words = ("--port", str(tmp_path / "noise"), "--port", str(tmp_path / "quiet"))
        code, out = discover(capsys, *words, "--seconds", "0.8")
    assert code == 0
    noise, quiet = out.splitlines()
    assert noise.endswith("bytes that no profile understands")
    assert "silent; a device that only answers" in quiet


def test_a_port_that_is_in_use_or_pulled_out(tmp_path, ports, capsys):
    ports.open("gate")
    path = tmp_path / "gate"
    line = open_port(SerialPortSettings(path=str(path), profile="x", baud=9600))
    try:
        code, out = discover(capsys, "--port", str(path), "--seconds", "0.2")
    finally:
        close_port(line)
    assert code == 1
    assert "is in use by another program; end what uses it" in out
    port = ports.open("tof")
    timer = threading.Timer(0.3, port.unplug)
    timer.start()
    (heard,) = listen_ports([tmp_path / "tof"], REGISTRY.profiles, seconds=5)
    timer.join()
    assert heard.trouble == "was unplugged while it was listened to"


def test_an_interrupt_does_not_wait_for_the_rest(tmp_path, ports):
    ports.open("quiet")
    began_s = time.monotonic()

    def interrupt(passed_s):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        listen_ports([tmp_path / "quiet"], REGISTRY.profiles, seconds=30, tell=interrupt)
    assert time.monotonic() - began_s < 5


def test_ports_are_listed_by_their_stable_names(tmp_path, monkeypatch):
    (tmp_path / "by-id").mkdir()
    for number in (0, 1):
        (tmp_path / f"ttyUSB{number}").touch()
    (tmp_path / "by-id" / "usb-1a86-if00").symlink_to(tmp_path / "ttyUSB1")
    listed = [argparse.Namespace(device=str(tmp_path / f"ttyUSB{number}")) for number in (0, 1)]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: listed)
    assert find_ports(tmp_path / "by-id") == [
        tmp_path / "by-id" / "usb-1a86-if00",
        tmp_path / "ttyUSB0",
    ]


def test_no_ports_at_all(capsys, monkeypatch):
    monkeypatch.setattr(discover_ports, "find_ports", list)
    code, out = discover(capsys, "--ports", "--seconds", "0.1")
    assert (0, "no serial port; plug one in, and see: ls -l /dev/serial/by-id\n") == (code, out)


def test_the_table_names_what_differs_from_the_profiles_first_choice():
    heard = Heard(
        path='/dev/a"b',
        understood=(Understood(profile="rdm6300", baud=9600, good=9, bad=0),),
    )
    other = Heard(
        path="/dev/c", understood=(Understood(profile="mt_sics", baud=2400, good=9, bad=1),)
    )
    lines = source_tables([heard, other, Heard(path="/dev/d")], REGISTRY.profiles)
    ports = tomllib.loads("\n".join(lines))["source"][0]["port"]
    assert [{"path": '/dev/a"b', "profile": "rdm6300", "tap_point": "gate-1"}] == ports[:1]
    assert [{"path": "/dev/c", "profile": "mt_sics", "baud": 2400, "sensor": "plate-1"}] == ports[
        1:
    ]
    assert source_tables([Heard(path="/dev/d")], REGISTRY.profiles) == []
