"""`fanous analyze` over an archive: its tables are those of the original files."""

import argparse
import json

import pytest

from gateway import analyze
from gateway.archive import rewind
from simulators import command
from simulators.command import DEMO_STORE
from tests.gateway.archive_rig import ANNA, MIDNIGHT, Rig, entry_of
from tests.gateway.day import agents_days, decode
from tests.gateway.test_keeper import STORE


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three minutes of the demo store as files, and as the archive of what agents sent of them."""
    directory = tmp_path_factory.mktemp("recording")
    parser = argparse.ArgumentParser()
    command.configure(parser)
    words = ["demo", "--seed", "5", "--minutes", "3", "--out", str(directory / "files")]
    command.run(parser.parse_args(words))
    (directory / "key").write_bytes(STORE.id.encode() * 8)
    rig = Rig(directory, part_rows=3000)
    rig.open(clock="data")
    for end_ns, of_agent in agents_days(STORE, 3):
        for payload in (payload for payloads in of_agent.values() for payload in payloads):
            entry = entry_of(decode(payload), payload, end_ns)
            rig.journal.append([entry, entry])  # sent twice
        rig.run(end_ns)
    # A part that is there twice, as after a journal was put back.
    rewind(directory / "archive", "demo", rig.archive.archived_id - 100, "1")
    rig.open(clock="data")
    while rig.run(end_ns) or rig.archive.archived_id < rig.journal.last_id():
        rig.run(end_ns, write_out=True)
    rig.journal.close()
    assert 5 < len(rig.names())
    return directory


def _analysed(directory, source, out):
    parser = argparse.ArgumentParser()
    analyze.configure(parser)
    words = [*map(str, source), "--store", str(DEMO_STORE), "--key-file", str(directory / "key")]
    assert 0 == analyze.run(
        parser.parse_args([*words, "--format", "csv", "--out", str(directory / out)])
    )
    summary = json.loads((directory / out / "summary.json").read_text())
    tables = {path.name: path.read_bytes() for path in (directory / out).glob("*.csv")}
    return tables, {
        name: summary[name] for name in ("readings", "visits", "tags", "dropped", "rows")
    }


def test_an_analysis_of_the_archive_equals_that_of_the_original_files(recording):
    files = recording / "files"
    found = {stem: next(files.glob(f"{stem}.*")) for stem in ("readings", "taps", "samples")}
    original = _analysed(
        recording,
        [found["readings"], "--taps", found["taps"], "--shelf", found["samples"]],
        "original",
    )
    archived = _analysed(recording, [recording / "archive" / "demo"], "archived")
    assert original == archived
    assert 1000 < original[1]["readings"]
    assert 0 < original[1]["rows"]["shelf_events"]
    (day,) = (path for path in (recording / "archive" / "demo").iterdir() if path.is_dir())
    assert original == _analysed(recording, [day], "day")
    assert original == _analysed(recording, [files], "recording")


def test_which_file_is_read_is_shown_on_a_terminal(recording, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    _analysed(recording, [recording / "archive" / "demo"], "shown")
    assert "reading file 2 of " in capsys.readouterr().err


def test_an_archive_with_taps_alone_is_analysed(tmp_path):
    rig = Rig(tmp_path)
    rig.feed("tap", t_ns=[MIDNIGHT], tap_point=["gate-in"], tag=[ANNA])
    rig.run(write_out=True)
    rig.journal.close()
    (rig.directory / "key").write_bytes(b"k" * 16)
    _, summary = _analysed(rig.directory, [rig.directory / "archive" / "demo"], "out")
    assert (0, 1) == (summary["readings"], summary["tags"])
