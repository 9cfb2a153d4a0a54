import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from gateway.settings import (
    GatewaySettings,
    HttpSettings,
    InfluxSettings,
    MqttSettings,
    check_settings,
    is_loopback,
    prepare_state_dir,
    read_settings,
)
from ingest.broker import broker_address
from ingest.config import ConfigError, to_struct
from tests.gateway.samples import settings_for, write_store

SAMPLE = Path(__file__).parents[2] / "gateway" / "sample.toml"
MINIMAL = 'store = "store.toml"\nstate_dir = "state"\npseudonym_key_file = "fanous.key"\n'


def _write(directory, text=MINIMAL):
    write_store(directory)
    (directory / "fanous.key").write_bytes(b"0123456789abcdef")
    path = directory / "gateway.toml"
    path.write_text(text)
    return path


def test_the_sample_uncommented_has_the_codes_defaults_and_every_key():
    text = re.sub(r"(?m)^# ", "", SAMPLE.read_text())
    sample = to_struct(tomllib.loads(text), GatewaySettings, subject="sample")
    defaults = GatewaySettings(store="store.toml", state_dir="state", influxdb=InfluxSettings())
    optional = {"username", "password_file", "ca_file", "cert_file", "key_file", "client_id"}
    optional |= {"token_file", "org", "bucket", "database", "pseudonym_key_file", "webhook"}
    for table in (None, "mqtt", "http", "influxdb", "journal", "archive", "alarms"):
        given, expected = (getattr(s, table) if table else s for s in (sample, defaults))
        there = tomllib.loads(text)[table] if table else tomllib.loads(text)
        for field in msgspec.structs.fields(type(given)):
            assert field.name in there, f"{table}.{field.name} is not in the sample"
            if field.name not in optional and not isinstance(
                getattr(given, field.name), msgspec.Struct
            ):
                assert getattr(expected, field.name) == getattr(given, field.name)


def test_the_sample_as_it_is_has_only_required_keys():
    bare = tomllib.loads(SAMPLE.read_text())
    assert {"store", "state_dir", "pseudonym_key_file"} == {
        key for key, value in bare.items() if not isinstance(value, dict)
    }


def test_paths_are_relative_to_the_file(tmp_path):
    settings = read_settings(_write(tmp_path))
    assert str(tmp_path / "store.toml") == settings.store
    assert str(tmp_path / "state") == settings.state_dir
    assert b"0123456789abcdef" == settings.key()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + 'clok = "wall"\n', "unknown key 'clok' (did you mean 'clock'?)"),
        (MINIMAL + 'clock = "sun"\n', "clock"),
        ('store = "store.toml"\nstate_dir = "s"\n', "pseudonym_key_file"),
        (MINIMAL.replace("fanous.key", "nothing.key"), "nothing.key"),
        (MINIMAL + '[http]\nbind = "0.0.0.0"\n', "token_file"),
        (MINIMAL + '[http]\ntoken_file = "no.token"\n', "no.token"),
        (MINIMAL + "[http]\nport = 70000\n", "65535"),
        (MINIMAL + '[mqtt]\nurl = "http://x"\n', "mqtt://host:port"),
        (MINIMAL + '[influxdb]\nurl = "ftp://x"\ndatabase = "d"\n', "http://host:port"),
        (MINIMAL + "[influxdb]\n", "bucket"),
        ("", "empty"),
    ],
)
def test_a_wrong_configuration_is_refused_in_a_sentence(tmp_path, text, words):
    with pytest.raises(ConfigError) as error:
        read_settings(_write(tmp_path, text))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mqtt://",
        "broker:1883",
        "mqtt://host:port",
        "mqtt://h:99999",
        "mqtt://u:p@h:1",
        "mqtt://h:0",
    ],
)
def test_a_wrong_broker_address_is_refused_without_its_password(url):
    with pytest.raises(ConfigError) as error:
        broker_address(url)
    assert "u:p" not in str(error.value)


def test_broker_addresses():
    plain = broker_address("mqtt://shop.example")
    tls = broker_address("mqtts://[::1]:9000")
    assert ("shop.example", 1883, False) == (plain.host, plain.port, plain.tls)
    assert ("::1", 9000, True) == (tls.host, tls.port, tls.tls)


def test_a_wrong_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    mqtt = MqttSettings(url="mqtts://127.0.0.1", ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError, match="PEM"):
        check_settings(settings_for(tmp_path, mqtt=mqtt))


def test_a_bind_that_others_reach_needs_a_token(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    http = HttpSettings(bind="0.0.0.0", port=0, token_file=str(tmp_path / "token"))
    check_settings(settings_for(tmp_path, http=http))
    with pytest.raises(ConfigError, match="token_file"):
        check_settings(settings_for(tmp_path, http=HttpSettings(bind="::")))


@pytest.mark.parametrize(
    ("bind", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_loopback(bind, expected):
    assert expected == is_loopback(bind)


def test_a_state_dir_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="state_dir"):
        prepare_state_dir(settings_for(tmp_path, state_dir=str(tmp_path / "file" / "state")))
