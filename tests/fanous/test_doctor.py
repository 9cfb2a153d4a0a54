"""`fanous doctor`: each fault that can be made here is found, and comes with its remedy."""

import contextlib
import fcntl
import http.server
import json
import socket
import threading
from pathlib import Path

import pytest

from edge.check_host import KernelClock
from fanous import doctor
from fanous import doctor_checks as checks
from fanous.doctor import as_text
from fanous.program import main
from simulators.command import DEMO_STORE
from tests.edge.fake_broker import fake_broker

KEY = b"0123456789abcdef0123456789abcdef"
S = 10**9
NOW = (1_790_000_000 * S, 5 * S)


@pytest.fixture(autouse=True)
def kept_clock(monkeypatch):
    """The clock of the machine that runs the tests is its own matter."""
    monkeypatch.setattr(doctor, "kernel_clock", lambda: KernelClock(is_kept=True, error_s=0.0))


def diagnosed(capsys, *words):
    code = main(["doctor", *words, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["ok", "checks"]
    for check in report["checks"]:
        assert list(check) == ["name", "ok", "found", "expected", "remedy"]
        assert check["found"]
        assert check["expected"]
        assert bool(check["remedy"]) is not check["ok"]
    assert report["ok"] is all(check["ok"] for check in report["checks"])
    assert code == (0 if report["ok"] else 1)
    return {check["name"]: check for check in report["checks"]}


def faults(found):
    return {name: check["found"] for name, check in found.items() if not check["ok"]}


@contextlib.contextmanager
def fake_influxdb(version="1.6.7"):
    class Ping(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.send_header("X-Influxdb-Version", version)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ping)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(name="key_file")
def _key_file(tmp_path):
    file = tmp_path / "fanous.key"
    file.write_bytes(KEY)
    file.chmod(0o600)
    return file


@pytest.fixture(name="edge")
def _edge(tmp_path, key_file):
    def write(port, more="", head=""):
        path = tmp_path / "edge.toml"
        path.write_text(
            f'store = "demo"\nagent = "pi-1"\nstate_dir = "state"\n{head}\n'
            f'pseudonym_key_file = "{key_file.name}"\n'
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n{more}\n'
        )
        return str(path)

    return write


@pytest.fixture(name="gateway")
def _gateway(tmp_path, key_file):
    (tmp_path / "store.toml").write_text(DEMO_STORE.read_text())

    def write(port, more="", http_port=0):
        path = tmp_path / "gateway.toml"
        path.write_text(
            f'store = "store.toml"\nstate_dir = "state"\npseudonym_key_file = "{key_file.name}"\n'
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n[http]\nport = {http_port}\n{more}\n'
        )
        return str(path)

    return write


def test_this_machine_is_in_order(capsys):
    found = diagnosed(capsys)
    assert faults(found) == {}
    expected = {"python", "package numpy", "names", "mosquitto", "disk", "bluetooth", "clock"}
    assert expected <= set(found)


def test_our_import_packages_belong_to_fanous_only():
    assert checks.check_names().ok


def test_a_right_agent_configuration_holds(capsys, edge):
    with fake_broker() as (port, received):
        found = diagnosed(capsys, "-c", edge(port))
    assert faults(found) == {}
    assert {"config", "state_dir", "disk", "key file", "sources", "broker"} <= set(found)
    assert received[0][:1] == b"\x10"
    assert b"MQTT\x04" in received[0]
    assert found["broker"]["found"] == f"127.0.0.1:{port} accepts this client"


def test_a_right_gateway_configuration_holds(capsys, gateway):
    with fake_broker() as (port, _), fake_influxdb() as influx_port:
        more = f'[influxdb]\nurl = "http://127.0.0.1:{influx_port}"\ndatabase = "fanous"'
        found = diagnosed(capsys, "-c", gateway(port, more))
    assert faults(found) == {}
    assert {"config", "store file", "key file", "broker", "http port", "influxdb"} <= set(found)
    assert found["influxdb"]["found"] == "InfluxDB 1.6.7, /write"


def test_the_text_explains_each_fault(capsys, edge, key_file):
    key_file.unlink()
    with fake_broker() as (port, _):
        assert main(["doctor", "-c", edge(port)]) == 1
    text = capsys.readouterr().out
    at = next(at for at, line in enumerate(text.splitlines()) if line.startswith("FAULT key file"))
    fault, expected, remedy = text.splitlines()[at : at + 3]
    assert f"key file {key_file}: cannot be read" in fault
    assert expected.strip().startswith("expected: 16 to 64 bytes")
    assert f"chmod 600 {key_file}" in remedy
    column = fault.index("key file /")
    assert expected.index("expected") == remedy.index("remedy") == column
    assert text.splitlines()[-1].startswith("2 of ")  # config names it too


def test_all_well_is_one_line_each():
    check = checks.judged("disk", "much", "some", "make room", ok=True)
    assert as_text([check]) == "ok    disk  much\nall checks hold (1)"
    assert check.remedy == ""


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("agent = ", "not valid TOML"),
        ('schema = "fanous.store/1"', "this is a store file"),
        ("colour = 1", "expected keys of an agent"),
        ('agent = "pi-1"\nstor = "demo"', "unknown key 'stor' (did you mean 'store'?)"),
        ('[http]\nport = "x"', "port"),
    ],
)
def test_a_wrong_configuration_is_a_fault_with_its_sentence(capsys, tmp_path, text, sentence):
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    found = diagnosed(capsys, "-c", str(path))
    assert set(faults(found)) == {"config"}
    assert sentence in found["config"]["found"]


def test_a_wrong_value_does_not_hide_the_broker(capsys, edge):
    path = edge(closed_port(), "client_id = 'x'\n[[source]]\nkind = 'blee'\nname = 'a'")
    found = diagnosed(capsys, "-c", path)
    assert {"sources", "broker"} == set(faults(found))
    assert "cannot be reached (connection refused)" in found["broker"]["found"]
    assert "unknown kind 'blee'" in found["sources"]["found"]


def test_the_password_is_sent_and_never_shown(capsys, edge, tmp_path):
    secret = tmp_path / "mqtt.password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    more = 'username = "pi-1"\npassword_file = "mqtt.password"'
    with fake_broker(b"\x20\x02\x00\x04") as (port, received):
        found = diagnosed(capsys, "-c", edge(port, more))
    assert received[0].endswith(b"\x00\x04pi-1\x00\x0bopen sesame")
    assert set(faults(found)) == {"broker"}
    assert "sesame" not in json.dumps(found)


def test_open_keys_and_secrets_are_found(capsys, edge, key_file, tmp_path):
    key_file.chmod(0o644)
    secret = tmp_path / "mqtt.password"
    secret.write_text("open sesame\n")
    secret.chmod(0o604)
    with fake_broker() as (port, _):
        more = 'username = "pi-1"\npassword_file = "mqtt.password"'
        found = diagnosed(capsys, "-c", edge(port, more))
    assert set(faults(found)) == {"key file", "mqtt password_file"}
    assert "mode 644" in found["key file"]["found"]


def test_a_state_dir_that_is_a_file(capsys, gateway, tmp_path):
    (tmp_path / "state").write_text("x")
    with fake_broker() as (port, _):
        found = diagnosed(capsys, "-c", gateway(port))
    assert set(faults(found)) == {"state_dir"}
    assert found["state_dir"]["found"] == f"{tmp_path / 'state'} is a file"


def test_a_broken_database(capsys, gateway, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "journal.sqlite").write_bytes(b"not a database" * 100)
    with fake_broker() as (port, _):
        found = diagnosed(capsys, "-c", gateway(port))
    assert set(faults(found)) == {"database journal.sqlite"}


def test_a_wrong_store_file(capsys, gateway, tmp_path):
    store = tmp_path / "store.toml"
    store.write_text(store.read_text().replace("timezone", "timezon"))
    with fake_broker() as (port, _):
        found = diagnosed(capsys, "-c", gateway(port))
    assert set(faults(found)) == {"store file"}
    assert "timezon" in found["store file"]["found"]


def test_a_port_in_use_is_a_fault_unless_our_gateway_has_it(capsys, gateway, tmp_path):
    with fake_broker() as (port, _), socket.create_server(("127.0.0.1", 0)) as other:
        path = gateway(port, http_port=other.getsockname()[1])
        assert set(faults(diagnosed(capsys, "-c", path))) == {"http port"}
        (tmp_path / "state").mkdir()
        with (tmp_path / "state" / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert faults(diagnosed(capsys, "-c", path)) == {}


def test_a_database_that_is_away_or_another_version(capsys, gateway):
    with fake_broker() as (port, _):
        more = f'[influxdb]\nurl = "http://127.0.0.1:{closed_port()}"\ndatabase = "fanous"'
        found = diagnosed(capsys, "-c", gateway(port, more))
        assert set(faults(found)) == {"influxdb"}
        assert "cannot be reached" in found["influxdb"]["found"]
        with fake_influxdb("v2.7.1") as influx_port:
            more = f'[influxdb]\nurl = "http://127.0.0.1:{influx_port}"\ndatabase = "fanous"'
            found = diagnosed(capsys, "-c", gateway(port, more))
        assert set(faults(found)) == {"influxdb"}
        assert "expected [influxdb] bucket" in found["influxdb"]["found"]


def test_python_versions():
    assert [False, True, True, False] == [
        checks.check_python(version).ok
        for version in ((3, 10, 9), (3, 11, 0), (3, 13, 5), (3, 14, 0))
    ]


def test_packages_that_are_missing_or_old():
    requirements = [
        "msgspec>=0.20",
        "paho-mqtt>=2.1; extra == 'edge'",
        'numpy>=2.2; extra == "gateway"',
        "paho-mqtt>=2.1; extra == 'gateway'",
        "fanous[edge,gateway]; extra == 'demo'",
    ]
    there = {"msgspec": "0.9.9", "paho-mqtt": "2.10.0"}

    def wrong(*extras):
        found = checks.check_packages(
            frozenset(extras), requirements=requirements, version_of=there.get
        )
        assert [check.name for check in found] == [
            "package msgspec",
            "package paho-mqtt",
            "package numpy",
        ]
        return [check.name for check in found if not check.ok]

    assert wrong() == ["package msgspec"]
    assert wrong("gateway") == ["package msgspec", "package numpy"]
    there["msgspec"] = "0.20.0"
    assert wrong("edge") == []


def test_names_that_are_not_ours_alone():
    home = Path("/opt/fanous")
    ours = {name: ["fanous"] for name in checks.IMPORT_PACKAGES}

    def found(owners=ours, origin_of=lambda name: home / name):
        check = checks.check_names(owners, origin_of)
        return "" if check.ok else check.found

    assert found() == ""
    assert found({}) == ""
    assert found({**ours, "edge": ["fanous", "other"]}) == "'edge' belongs to other too"
    assert "would be loaded from /home/me" in found(
        origin_of=lambda name: (Path("/home/me") if name == "ingest" else home) / name
    )
    assert found(origin_of=lambda name: None if name == "gateway" else home / name) == (
        "'gateway' cannot be imported"
    )


def test_clocks_that_were_never_set_or_are_stepped():
    later = (NOW[0] + S, NOW[1] + S)
    assert checks.check_clock_of(NOW, later).ok
    assert not checks.check_clock_of((0, 0), (S, S)).ok
    stepped = checks.check_clock_of(NOW, (NOW[0] + 61 * S, NOW[1] + S))
    assert not stepped.ok
    assert "stepped by +60.0 s" in stepped.found


def test_a_full_disk(tmp_path):
    full = checks.check_disk(tmp_path / "a" / "b", least_mb=100, free_mb=lambda _path: 99)
    assert not full.ok
    assert full.found.startswith("99 MB free")
    assert checks.check_disk(tmp_path, least_mb=100, free_mb=lambda _path: 100).ok


def test_a_bluetooth_adapter_where_one_is_needed(tmp_path):
    assert checks.check_bluetooth(is_needed=False, adapters=tmp_path).ok
    assert not checks.check_bluetooth(is_needed=True, adapters=tmp_path / "none").ok
    (tmp_path / "hci0").mkdir()
    assert checks.check_bluetooth(is_needed=True, adapters=tmp_path).found == "hci0"
