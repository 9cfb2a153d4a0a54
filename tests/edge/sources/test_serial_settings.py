import dataclasses
import re
import tomllib
from collections import ChainMap
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import edge
from analytics.store import TAP_ROLES
from edge.sources.serial_lines import SerialSource
from edge.sources.serial_settings import (
    ChannelSettings,
    PollSettings,
    Role,
    SerialPortSettings,
    SerialSettings,
    read_serial,
)
from firmware_profiles.registry import load_registry
from ingest.config import ConfigError

PROFILES = load_registry().profiles
GATE = {"path": "gate", "profile": "rdm6300", "tap_point": "gate-1"}
SCALE = {"path": "scale", "profile": "mt_sics", "sensor": "plate-1"}
BRIDGE = {"path": "cells", "profile": "hx711_bridge", "sensor": "plate-1", "counts_per_g": 420.5}
CELL = {"channel": 0, "sensor": "plate-1", "counts_per_g": 2.0}
BUS = {"path": "bus", "profile": "modbus_rtu_load_cell"}
POLL = {"sensor": "plate-1", "counts_per_g": 1.0}
TILL = {
    "path": "till",
    "profile": "ntag424_sun",
    "tap_point": "till-1",
    "role": "payment",
    "keys_file": "keys.csv",
}


def read(*ports, **more):
    table = {"port": list(ports), **more}
    return read_serial(table, subject="[[source]] number 1", base=Path("/b"), profiles=PROFILES)


def without(table, key):
    return {name: value for name, value in table.items() if name != key}


def test_the_rate_is_the_profiles_first_unless_given():
    aandd = {"path": "/dev/serial/by-id/x", "profile": "aandd", "sensor": "plate-2"}
    settings = read(GATE, aandd, SCALE | {"baud": 9600})
    assert [port.baud for port in settings.port] == [9600, 2400, 9600]
    assert [port.path for port in settings.port] == ["/b/gate", "/dev/serial/by-id/x", "/b/scale"]
    assert [port.label for port in settings.port] == ["gate", "x", "scale"]


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ([], r"expected one \[\[source.port\]\] or more, got none"),
        ([GATE | {"profile": "rdm630"}], "did you mean 'rdm6300'"),
        ([GATE | {"profile": "ibeacon"}], "profile of a serial device, got 'ibeacon'"),
        ([GATE | {"baud": 115200}], "expected baud 9600, as profile rdm6300 says, got 115200"),
        ([SCALE | {"baud": 0}], "baud"),
        ([SCALE | {"bauds": 9600}], "did you mean 'baud'"),
        ([without(GATE, "tap_point")], "gives taps: expected tap_point, got none"),
        ([without(GATE, "tap_point") | {"sensor": "p"}], "expected tap_point, got sensor"),
        ([SCALE | {"tap_point": "gate-1"}], "expected sensor, got tap_point and sensor"),
        ([SCALE | {"sensor": "A B"}], "expected a name like 'plate-1', got 'A B'"),
        ([SCALE | {"counts_per_g": 2.0}], "gives no raw counts"),
        ([without(BRIDGE, "counts_per_g")], "gives counts: expected counts_per_g"),
        ([BRIDGE | {"counts_per_g": 0.0}], "finite number other than 0"),
        ([BRIDGE | {"counts_per_g": float("nan")}], "finite number other than 0"),
        ([BRIDGE | {"tare_g": float("inf")}], "tare_g"),
        ([BRIDGE | {"channel": [CELL]}], "expected sensor or channel, got sensor and channel"),
        ([without(BRIDGE, "sensor") | {"channel": [CELL]}], "gives no raw counts of its own"),
        (
            [{"path": "c", "profile": "hx711_bridge", "channel": [CELL, CELL]}],
            r"each channel once, got \[0, 0\]",
        ),
        ([SCALE | {"channel": [CELL]}], "expected sensor, got sensor and channel"),
        ([BUS | {"sensor": "plate-1"}], "expected poll, got sensor"),
        ([BUS | {"poll": [without(POLL, "counts_per_g")]}], "counts_per_g or counts_per_mm"),
        ([BUS | {"poll": [POLL | {"counts_per_mm": 1.0}]}], "one of them"),
        ([BUS | {"poll": [POLL | {"unit": 248}]}], "unit"),
        (
            [BUS | {"poll": [POLL], "ask": "S\r\n"}],
            "ask: expected ASCII text for a device of lines",
        ),
        (
            [GATE | {"role": "payment"}],
            "role payment: profile rdm6300 proves nothing, .* use a reader and cards of profile",
        ),
        ([GATE | {"role": "till"}], "role"),
        ([SCALE | {"role": "shelf"}], "role: expected a port with a tap_point"),
        ([GATE | {"keys_file": "k"}], "keys_file: profile rdm6300 verifies nothing"),
        ([without(TILL, "keys_file")], "expected keys_file, a CSV file with columns id,key"),
        ([TILL], "expected counters_file, a file in state_dir"),
        ([SCALE, GATE | {"path": "scale"}], "a path of its own for each port, got /b/scale"),
        ([SCALE | {"name": "a"}, GATE | {"name": "a"}], "a name of its own for each port, got a"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(ports, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(*ports)
    assert "\n" not in str(caught.value)


def test_a_device_that_gives_nothing_is_refused():
    profile = PROFILES["rdm6300"]
    silent = dataclasses.replace(profile, table={**profile.table, "emit": []})
    with pytest.raises(ConfigError, match="gives neither taps nor samples"):
        read_serial({"port": [GATE]}, subject="x", base=Path("/b"), profiles={"rdm6300": silent})


def test_a_port_where_people_pay_takes_a_device_that_proves_itself():
    settings = read(TILL, GATE | {"role": "entry"}, counters_file="state/c.db")
    assert [port.role for port in settings.port] == ["payment", "entry"]
    assert settings.port[0].keys_file == "/b/keys.csv"
    assert settings.counters_file == "/b/state/c.db"
    assert read(TILL | {"role": "entry"}, counters_file="/c.db").counters_file == "/c.db"


def test_roles_are_those_of_the_store_file():
    assert set(get_args(Role)) == set(TAP_ROLES)


def test_a_table_makes_a_source_and_touches_no_port():
    table = {"name": "lines", "port": [GATE, BRIDGE, BUS | {"poll": [POLL]}]}
    source = SerialSource.from_table(table, subject="x", base=Path("/none"), now_ns=int)
    assert source.name == "lines"
    health = source.health()
    assert health["queue"] == 0
    assert [port["state"] for port in health["ports"]] == ["waiting"] * 3


def assert_documents(tables, kind, examples):
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    table = ChainMap(*tables)
    assert set(fields) == set(table)
    for name in set(fields) - set(examples):
        assert fields[name].default == table[name], name


def test_the_sample_documents_every_key_with_its_default():
    text = (Path(edge.__file__).parent / "sample.toml").read_text("utf-8")
    sources = tomllib.loads(re.sub(r"(?m)^# ", "", text))["source"]
    (table,) = [source for source in sources if source.pop("kind") == "serial"]
    ports = table["port"]
    assert_documents([table], SerialSettings, ["port", "counters_file"])
    places = ["path", "profile", "name", "baud", "tap_point", "sensor", "counts_per_g"]
    examples = [*places, "role", "keys_file", "ask", "poll_ms", "channel", "poll"]
    assert_documents(ports, SerialPortSettings, examples)
    cells = [cell for port in ports for cell in port.get("channel", ())]
    assert_documents(cells, ChannelSettings, ["channel", "sensor", "counts_per_g"])
    polls = [poll for port in ports for poll in port.get("poll", ())]
    calibrations = ["counts_per_g", "counts_per_mm"]
    assert_documents(
        polls[::-1], PollSettings, ["sensor", "unit", "address", "count", *calibrations]
    )
    defaults = PollSettings(sensor="plate-4", counts_per_g=10.0)
    assert defaults == msgspec.convert(polls[0], PollSettings)
    assert [port["role"] for port in ports if "keys_file" in port] == ["payment"]
    table["port"] = [port for port in ports if "keys_file" not in port]
    source = SerialSource.from_table(table, subject="x", base=Path("/"), now_ns=int)
    assert len(source.health()["ports"]) == 5
