"""Profiles of the shop's own: all sources use them, and a broken one does no harm."""

import logging
from pathlib import Path

import pytest

from edge.measurement import Sample
from edge.profiles import read_profiles
from edge.settings import read_settings
from edge.sources.source import make_source
from firmware_profiles.advert import build_advert
from firmware_profiles.registry import load_registry
from ingest.config import ConfigError
from tests.edge.agents import T0
from tests.firmware_profiles.test_command import MINE

EMIT = """
[[emit]]
kind = "sample"
mass_g = "mass_g"
"""
AIR = """
schema = "fanous.profile/1"
[profile]
id = "acme_air"
title = "ACME plate"
vendor = "ACME"
version = 1
transport = "ble-adv"
privacy = "sensor"
source = "its manual"
[match]
company_id = 0xFFF7
[[field]]
name = "mass_g"
type = "s16"
[[emit]]
kind = "sample"
mass_g = "mass_g"
[[test]]
name = "one"
hex = "02010605fff7ff00fa"
expect = { mass_g = 250 }
"""


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return [str(folder / f"{name}.toml") for name in texts]


def make(table, registry, base=Path()):
    return make_source(table, subject="x", base=base, now_ns=lambda: T0, registry=registry)


def test_paths_of_the_configuration_are_relative_to_it(tmp_path):
    write(tmp_path, mine=MINE)
    config = tmp_path / "edge.toml"
    config.write_text(
        'store = "demo"\nagent = "pi-1"\nstate_dir = "s"\nidentity = "raw"\n'
        'profiles = ["mine.toml"]\n',
        encoding="utf-8",
    )
    settings = read_settings(config)
    assert settings.profiles == (str(tmp_path / "mine.toml"),)
    assert "acme_rail" in read_profiles(settings.profiles).profiles


def test_a_virtual_line_and_radio_use_them(tmp_path):
    registry = read_profiles(write(tmp_path, mine=MINE + EMIT, air=AIR))
    table = {
        "kind": "virtual",
        "port": [{"name": "p", "profile": "acme_rail", "sensor": "plate-1"}],
        "sensor": [{"address": "c4:00:00:00:00:01", "sensor": "plate-2"}],
    }
    source = make(table, registry)
    assert source.push_serial(T0, "p", b"W+250g\r\n")
    advert = bytes.fromhex("02010605fff7ff00fa")
    assert source.push_advert(T0, "rx-1", -60, advert, address="C4:00:00:00:00:01")
    assert list(source._queue) == [Sample(T0, "plate-1", 250), Sample(T0, "plate-2", 250)]
    with pytest.raises(ConfigError, match="unknown profile 'acme_rail'"):
        make(table, None)


def test_a_passive_scan_asks_for_them(tmp_path):
    table = {"kind": "ble", "receiver": "rx-1", "mode": "passive"}
    ours = make(table, read_profiles(write(tmp_path, air=AIR)))
    assert set(ours._patterns) - set(make(table, None)._patterns) == {(0, 0xFF, b"\xf7\xff")}


def test_a_broken_file_is_refused_with_its_line_and_the_others_load(tmp_path, caplog):
    broken = MINE.replace("group", "gruop").replace("acme_rail", "acme_bad")
    paths = write(tmp_path, bad=broken, worse="schema = [", mine=MINE + EMIT)
    with caplog.at_level(logging.WARNING, "fanous"):
        registry = read_profiles(paths)
    said = [record.getMessage() for record in caplog.records]
    assert any(f"{paths[0]}:15: " in text and "did you mean 'group'?" in text for text in said)
    assert any(text.startswith(f"refused profile: {paths[1]}:1: not valid TOML") for text in said)
    assert set(registry.profiles) == {"acme_rail", *load_registry().profiles}
    port = {"name": "p", "profile": "acme_bad", "sensor": "plate-1"}
    with pytest.raises(ConfigError, match="unknown profile 'acme_bad'"):
        make({"kind": "virtual", "port": [port]}, registry)


def test_a_refused_file_does_not_leave_the_programs_profile_under_its_name(tmp_path):
    broken = MINE.replace("group", "gruop").replace("acme_rail", "mt_sics")
    registry = read_profiles(write(tmp_path, bad=broken))
    assert set(load_registry().profiles) - set(registry.profiles) == {"mt_sics"}


def test_two_folders_may_have_files_of_one_name(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    paths = [
        *write(tmp_path / "a", scale=MINE),
        *write(tmp_path / "b", scale=MINE.replace("acme_rail", "acme_two")),
    ]
    assert {"acme_rail", "acme_two"} <= set(read_profiles(paths).profiles)


def test_a_file_that_is_not_there_twice_or_too_long_is_a_wrong_configuration(tmp_path):
    (path,) = write(tmp_path, mine=MINE)
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        read_profiles([str(tmp_path / "none.toml")])
    with pytest.raises(ConfigError, match="each file once"):
        read_profiles([path, path])
    Path(path).write_text("#" * (1 << 20) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="at most 1048576 bytes"):
        read_profiles([path])


def test_without_files_it_is_the_programs_registry():
    assert set(read_profiles(()).profiles) == set(load_registry().profiles)
    assert read_profiles(()).decode_advert(build_advert((0xFF, b"\xf7\xff\x00"))).reason


def test_the_worked_example_of_the_documentation_runs(tmp_path):
    """docs/profiles-howto.md: its profile, its edge.toml, its sample of 211 g."""
    from tests.firmware_profiles.test_howto import EDGE, PROFILE

    (tmp_path / "acme_rail.toml").write_text(PROFILE, encoding="utf-8")
    head = 'store = "demo"\nagent = "pi-1"\nstate_dir = "s"\nidentity = "raw"\n'
    (tmp_path / "edge.toml").write_text(head + EDGE, encoding="utf-8")
    settings = read_settings(tmp_path / "edge.toml")
    source = make(settings.source[0], read_profiles(settings.profiles), tmp_path)
    device = source._ports[0]._device
    assert device.feed(b"W+00251g\r\n", T0, 0.0)[0] == [Sample(T0, "plate-1", 211.0)]


def test_a_kind_of_another_package_is_made_as_before(tmp_path, monkeypatch):
    class Foreign:
        name = "foreign"

        @classmethod
        def from_table(cls, table, *, subject, base, now_ns):
            assert (table, subject, base, now_ns()) == ({"a": 1}, "x", tmp_path, T0)
            return cls()

    monkeypatch.setattr("edge.sources.source._load", lambda _kind, _subject: Foreign)
    made = make({"kind": "foreign", "a": 1}, read_profiles(()), tmp_path)
    assert made.name == "foreign"
