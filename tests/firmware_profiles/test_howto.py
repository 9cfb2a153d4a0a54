"""docs/profiles-howto.md: what it shows is what happens."""

import argparse
import io
import re
import shlex
import sys
from pathlib import Path

import pytest

import firmware_profiles
from firmware_profiles import command

PAGE = Path(firmware_profiles.__file__).parents[1] / "docs" / "profiles-howto.md"
BLOCKS = re.findall(
    r"^```(toml|console)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
PROFILE, EDGE = (text for kind, text in BLOCKS if kind == "toml")
SESSIONS = [
    (line[2:], said)
    for kind, text in BLOCKS
    if kind == "console"
    for line, said in re.findall(r"^(\$ .*)\n((?:[^$].*\n)*)", text, re.MULTILINE)
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("acme_rail.toml").write_text(PROFILE, encoding="utf-8")
    Path("wrong.toml").write_text(PROFILE.replace("vendor =", "vendro ="), encoding="utf-8")
    return tmp_path


def test_the_page_shows_a_profile_a_configuration_and_commands():
    assert "schema = " in PROFILE
    assert "[[source.port]]" in EDGE
    assert len(SESSIONS) == 4


@pytest.mark.parametrize(("line", "said"), SESSIONS)
def test_every_command_prints_what_the_page_says(line, said, monkeypatch, capsys):
    feed, _, wanted = line.rpartition(" | ")
    if line.startswith("printf"):
        text = re.search(r"'(.*?)'", line)[1].encode().decode("unicode_escape")
        assert text.encode().hex() == said.strip()
        return
    words = shlex.split(wanted)
    assert words[:2] == ["fanous", "profiles"]
    if feed:
        typed = io.BytesIO(shlex.split(feed)[1].encode() + b"\n")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(typed))
    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args(words[2:]))
    out, err = capsys.readouterr()
    assert said == err + out
