import re
import ssl
import tomllib
from pathlib import Path

import msgspec
import pytest

import edge
from edge.settings import (
    BatchSettings,
    EdgeSettings,
    MqttSettings,
    OutboxSettings,
    check_settings,
    read_password,
    read_settings,
    tls_context,
)
from edge.sources.replay import ReplaySettings
from edge.sources.virtual import PortSettings, RadioSettings, VirtualSettings, VirtualSource
from ingest.broker import BrokerAddress, broker_address
from ingest.config import ConfigError
from tests.edge.agents import make_settings

SAMPLE = Path(edge.__file__).parent / "sample.toml"
# Keys without a default: the sample shows an example.
EXAMPLES = {
    "store",
    "agent",
    "state_dir",
    "pseudonym_key_file",
    "aliases",
    "username",
    "password_file",
    "ca_file",
    "cert_file",
    "key_file",
    "client_id",
    "keys_file",
    "tap_rssi_min_dbm",
    "readings",
    "taps",
    "samples",
}


def uncommented():
    return tomllib.loads(re.sub(r"(?m)^# ", "", SAMPLE.read_text(encoding="utf-8")))


def assert_documents(table, kind):
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    assert set(fields) == set(table)
    for name, value in table.items():
        if name not in EXAMPLES and not isinstance(value, (dict, list)):
            assert fields[name].default == value, name


def test_the_sample_documents_every_key_with_its_default(tmp_path):
    table = uncommented()
    assert_documents(table, EdgeSettings)
    assert_documents(table["mqtt"], MqttSettings)
    assert_documents(table["batch"], BatchSettings)
    assert_documents(table["outbox"], OutboxSettings)
    sources = {source.pop("kind"): source for source in table["source"]}
    assert_documents(sources["replay"], ReplaySettings)
    assert_documents(sources["virtual"], VirtualSettings)
    (scale, reader) = sources["virtual"]["port"]
    assert set(scale) | set(reader) == set(PortSettings.__struct_fields__)
    (radio,) = sources["virtual"]["radio"]
    assert set(radio) == set(RadioSettings.__struct_fields__)
    (tmp_path / "keys.csv").write_text("id,key\n", encoding="utf-8")
    VirtualSource.from_table(sources["virtual"], subject="x", base=tmp_path, now_ns=int)


def test_the_sample_as_it_is_works(tmp_path):
    (tmp_path / "edge.toml").write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "fanous.key").write_bytes(b"k" * 32)
    settings = read_settings(tmp_path / "edge.toml")
    assert (settings.store, settings.agent) == ("demo", "pi-1")
    assert settings.state_dir == str(tmp_path / "state")
    assert settings.mqtt == MqttSettings()
    assert not (tmp_path / "state").exists()


def write(folder, text):
    path = folder / "edge.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ('store = "demo"', "agent"),
        ('stroe = "demo"', "did you mean 'store'"),
        ('store = "demo"\nagent = "pi-1"\nstate_dir = "s"\n[batch]\nmax_row = 1', "max_rows"),
        ('store = "Demo"\nagent = "pi-1"\nstate_dir = "s"', "store: expected a name"),
        ('store = "demo"\nagent = "pi/1"\nstate_dir = "s"', "agent: expected a name"),
        ('store = "demo"\nagent = "pi-1"\nstate_dir = "s"', "pseudonym_key_file: expected a file"),
        (
            'store = "demo"\nagent = "pi-1"\nstate_dir = "s"\npseudonym_key_file = "none.key"',
            "none.key: cannot be read",
        ),
        (
            'store = "demo"\nagent = "pi-1"\nstate_dir = "s"\nidentity = "clear"',
            "identity",
        ),
        (
            'store="demo"\nagent="a"\nstate_dir="s"\nidentity="raw"\nmqtt.url="http://x"',
            "expected mqtt://host:port or mqtts://host:port, got 'http://x'",
        ),
        (
            'store = "demo"\nagent = "pi-1"\nstate_dir = "edge.toml"\nidentity = "raw"',
            "expected a folder, got a file",
        ),
    ],
)
def test_wrong_files_are_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_settings(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_raw_identity_needs_no_key(tmp_path):
    text = 'store = "demo"\nagent = "pi-1"\nstate_dir = "s"\nidentity = "raw"'
    assert read_settings(write(tmp_path, text)).key() is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker:1884", BrokerAddress(host="broker", port=1884, tls=False)),
        ("mqtt://broker", BrokerAddress(host="broker", port=1883, tls=False)),
        ("mqtts://broker/", BrokerAddress(host="broker", port=8883, tls=True)),
        ("mqtt://[::1]:1883", BrokerAddress(host="::1", port=1883, tls=False)),
    ],
)
def test_broker_addresses(url, address):
    assert address == broker_address(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker:1883",
        "mqtt://",
        "mqtt://broker:0",
        "mqtt://broker:65536",
        "mqtt://broker:x",
        "mqtt://broker/topic",
        "mqtt://broker?x=1",
        "tcp://broker:1883",
        "mqtt://[broken",
    ],
)
def test_wrong_broker_addresses(url):
    with pytest.raises(ConfigError, match="expected mqtt://host:port"):
        broker_address(url)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="use username and password_file") as caught:
        broker_address("mqtt://anna:secret@broker")
    assert "secret" not in str(caught.value)


def test_password_file(tmp_path):
    file = tmp_path / "password"
    mqtt = MqttSettings(username="pi-1", password_file=str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_password(mqtt)
    file.write_text("s3cret\nsecond line\n", encoding="utf-8")
    assert read_password(mqtt) == "s3cret"
    file.write_bytes(b"\n")
    with pytest.raises(ConfigError, match="got nothing"):
        read_password(mqtt)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_password(mqtt)
    with pytest.raises(ConfigError, match="username"):
        read_password(MqttSettings(password_file=str(file)))


def test_tls(tmp_path):
    assert tls_context(MqttSettings()) is None
    assert isinstance(tls_context(MqttSettings(url="mqtts://broker")), ssl.SSLContext)
    pem = tmp_path / "ca.pem"
    pem.write_text("no certificate", encoding="utf-8")
    wrong = [
        (MqttSettings(ca_file="ca.pem"), "need mqtts"),
        (MqttSettings(url="mqtts://b", cert_file="a"), "both or neither"),
        (MqttSettings(url="mqtts://b", ca_file=str(tmp_path / "none.pem")), "PEM certificates"),
        (MqttSettings(url="mqtts://b", ca_file=str(pem)), "PEM certificates"),
        (MqttSettings(url="mqtts://b", cert_file=str(pem), key_file=str(pem)), "and its key"),
    ]
    for mqtt, message in wrong:
        with pytest.raises(ConfigError, match=message):
            tls_context(mqtt)


def test_checking_touches_nothing(tmp_path):
    check_settings(make_settings(tmp_path))
    assert not (tmp_path / "state").exists()
