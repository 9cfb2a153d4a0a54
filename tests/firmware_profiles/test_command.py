"""`fanous profiles`: lines in and out, exit codes, sentences."""

import argparse
import io
import json
import sys

import pytest

from firmware_profiles import command
from firmware_profiles.registry import load_registry

IBEACON = "02011a1aff4c000215e2c56db5dffb48d2b060d0f5a71096e000640000c5"


def run(*words):
    parser = argparse.ArgumentParser(prog="fanous profiles")
    command.configure(parser)
    return command.run(parser.parse_args(words))


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def feed(monkeypatch):
    def give(*texts):
        data = "\n".join(texts).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def test_decode_reads_stdin_and_writes_lines(feed, capsys):
    feed(
        json.dumps({"name": "a", "device": "x", "transport": "ble-adv", "input_hex": IBEACON}),
        "",
        json.dumps(
            {"name": "b", "device": "mt_sics", "transport": "serial", "input_hex": "45530d"}
        ),
        json.dumps({"name": "c", "device": "hx711", "transport": "raw24", "input_hex": "zz"}),
        json.dumps({"name": "d", "device": "nothing", "transport": "serial", "input_hex": "00"}),
    )
    assert run("decode") == 0
    assert lines(capsys) == [
        {
            "name": "a",
            "device": "ibeacon",
            "fields": {
                "uuid": "e2c56db5-dffb-48d2-b060-d0f5a71096e0",
                "major": 100,
                "minor": 0,
                "tx_power_1m_dbm": -59,
            },
        },
        {"name": "b", "device": "mt_sics", "fields": {"status": "error", "error_code": "ES"}},
        {"name": "c", "reject": "bad-line"},
        {"name": "d", "reject": "unknown-device"},
    ]


def test_several_frames_are_frames(tmp_path, capsys):
    file = tmp_path / "in.jsonl"
    twice = "45530d0a" * 2
    file.write_text(json.dumps({"name": "a", "device": "mt_sics", "input_hex": twice}) + "\n")
    assert run("decode", str(file)) == 0
    assert [len(line["frames"]) for line in lines(capsys)] == [2]


def test_profile_overrules_the_line(feed, capsys):
    feed(json.dumps({"name": "a", "transport": "ble-adv", "input_hex": "45530d0a"}))
    assert run("decode", "--profile", "mt_sics") == 0
    assert lines(capsys)[0]["device"] == "mt_sics"


@pytest.mark.parametrize("text", ["{", "[1]", "1", '"a"', "\x00\xff", "null", "[" * 100000])
def test_a_line_that_is_none_is_said_and_the_rest_goes_on(feed, capsys, text):
    feed(text, json.dumps({"name": "b", "device": "mt_sics", "input_hex": "45530d0a"}))
    assert run("decode") == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["name"] for line in out.splitlines()] == [None, "b"]
    assert "stdin:1: expected a JSON object with 'input_hex'" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"input_hex": 5},
        {"input_hex": None, "device": "hx711"},
        {"input_hex": "00", "device": ["x"]},
        {"input_hex": "00", "device": "hx711", "calibration": 7, "key_hex": 9},
        {"input_hex": "00", "device": "wiegand", "bit_length": "26"},
        {"input_hex": "000000", "device": "hx711", "calibration": {"counts_per_gram": "x"}},
        {"input_hex": "000000", "device": "hx711", "calibration": {"counts_per_gram": 1e-320}},
        {"input_hex": IBEACON, "transport": "ble-adv", "address": 5},
    ],
)
def test_any_line_gives_an_answer(line):
    found = command.decode_line(load_registry(), line)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_missing_and_empty_inputs_are_2(tmp_path, feed, capsys):
    assert run("decode", str(tmp_path / "no")) == 2
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "empty").write_bytes(b"")
    assert run("decode", str(tmp_path / "empty")) == 2
    feed()
    assert run("decode") == 2
    assert "there is nothing in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("show", "ibeacn"), ("test", "ibeacn"), ("decode", "--profile", "ibeacn")]
)
def test_unknown_profile_is_2_with_a_hint(words, capsys):
    assert run(*words) == 2
    assert "profile 'ibeacn': there is none (did you mean 'ibeacon'?)" in capsys.readouterr().err


def test_list_names_every_profile(capsys):
    assert run("list") == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == sorted(load_registry().profiles)
    assert run("list", "--json") == 0
    assert {"id", "title", "transport"} <= set(lines(capsys)[0])


def test_show_is_the_file(capsys):
    assert run("show", "hx711") == 0
    assert capsys.readouterr().out.startswith('schema = "fanous.profile/1"')


def test_test_counts(capsys):
    assert run("test") == 0
    assert " passed, 0 failed, " in capsys.readouterr().out
    assert run("test", "hx711", "--json") == 0
    assert {line["state"] for line in lines(capsys)} == {"passed"}


def test_broken_extra_profile_fails_and_the_rest_works(tmp_path, capsys):
    (tmp_path / "mine.toml").write_text("schema = 5\n")
    assert run("--extra", str(tmp_path), "test") == 1
    out, err = capsys.readouterr()
    assert "refused profile: mine.toml:1: " in err
    assert " 0 failed" in out
    assert run("--extra", str(tmp_path / "no"), "list") == 2


def test_failing_vector_is_shown(tmp_path, capsys):
    from firmware_profiles.registry import packaged_profiles

    text = packaged_profiles()["hx711.toml"].replace("raw_counts = 83886,", "raw_counts = 1,")
    (tmp_path / "hx711.toml").write_text(text)
    assert run("--extra", str(tmp_path), "test", "hx711") == 1
    assert "hx711: zero at tare: expected" in capsys.readouterr().out


MINE = """
schema = "fanous.profile/1"
[profile]
id = "acme_rail"
title = "ACME rail"
vendor = "ACME"
version = 1
transport = "serial-line"
privacy = "sensor"
source = "its manual"
[line]
[[line.form]]
pattern = 'W(?P<value>[+-]\\d{1,6})g'
[[line.form.field]]
group = "value"
type = "int"
name = "mass_g"
[[test]]
name = "250 g"
hex = "572b323530670d0a"
expect = { mass_g = 250 }
"""


def test_files_of_ones_own_are_listed_shown_tested_and_used(tmp_path, feed, capsys):
    mine, other = tmp_path / "mine.toml", tmp_path / "other.toml"
    mine.write_text(MINE)
    other.write_text(MINE.replace("acme_rail", "acme_other"))
    files = ("--file", str(mine), "--file", str(other))
    assert run(*files, "list") == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"acme_rail", "acme_other", "hx711"} <= set(listed)
    assert run(*files, "show", "acme_other") == 0
    assert capsys.readouterr().out == other.read_text()
    assert run(*files, "test", "acme_rail") == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out
    feed(json.dumps({"name": "a", "device": "acme_other", "input_hex": "572d37670d0a"}))
    assert run(*files, "decode") == 0
    assert lines(capsys)[0]["fields"] == {"mass_g": -7}


def test_a_file_of_ones_own_stands_before_the_programs(tmp_path, capsys):
    mine = tmp_path / "mine.toml"
    mine.write_text(MINE.replace("acme_rail", "hx711"))
    assert run("--file", str(mine), "show", "hx711") == 0
    assert capsys.readouterr().out == mine.read_text()


def test_a_wrong_file_of_ones_own_is_said_with_its_line(tmp_path, capsys):
    mine = tmp_path / "mine.toml"
    mine.write_text(MINE.replace("group", "gruop"))
    assert run("--file", str(mine), "test") == 1
    said = capsys.readouterr().err
    assert f"refused profile: {mine}:15: " in said
    assert "did you mean 'group'?" in said
    assert run("--file", str(tmp_path / "none.toml"), "list") == 2
    assert f"{tmp_path}/none.toml: cannot be read" in capsys.readouterr().err
