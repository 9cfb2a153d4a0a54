"""A backup made while the gateway writes, put back, and fed the rest: nothing differs."""

import argparse
import json
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fanous import program
from gateway import backup, command
from gateway.archive import read_progress
from gateway.assembly import lock_state_dir
from gateway.backup import write_backup
from gateway.backup_manifest import read_manifest
from gateway.backup_restore import restore_backup
from gateway.journal import Journal
from gateway.result_store import ResultStore
from ingest.config import ConfigError
from tests.gateway.archive_rig import MIDNIGHT
from tests.gateway.archive_rig import Rig as ArchiveRig
from tests.gateway.day import agents_days
from tests.gateway.samples import write_store
from tests.gateway.test_keeper import MINUTES, STORE, Rig, play


def quiet(_text):
    """Hear how far it is and say nothing."""


def backed_up(state_dir, out, **more):
    return write_backup(
        Path(state_dir), STORE.id, Path(out), **{"force": False, "now_ns": 7, "tell": quiet, **more}
    )


def feed(rig, first, last, until=lambda: False):
    """Feed seconds of the day; return the second after the last one fed."""
    for second, (end_ns, of_agent) in enumerate(agents_days(STORE, MINUTES)):
        if first <= second < last and not until():
            rig.now_s += 1.0
            rig.feed([payload for payloads in of_agent.values() for payload in payloads], end_ns)
            reached = second + 1
    return reached


def test_a_backup_taken_while_writing_and_fed_the_rest_ends_with_equal_tables(tmp_path):
    undisturbed = Rig(tmp_path / "undisturbed")
    play(undisturbed)
    expected = undisturbed.tables()
    undisturbed.close()

    rig = Rig(tmp_path / "state")
    feed(rig, 0, 130)
    made = []
    copying = threading.Thread(
        target=lambda: made.append(
            backed_up(tmp_path / "state", tmp_path / "copy", tell=lambda _: asked.wait(0.02))
        )
    )
    asked = threading.Event()  # never set: it slows the copying down, so that much is written
    copying.start()
    reached = feed(rig, 130, 250, until=lambda: bool(made))
    copying.join(timeout=60)
    assert made, "the copying ended although somebody wrote all the time"
    assert reached > 133, "much was written meanwhile"
    last_id = rig.journal.last_id()
    assert 0 < made[0].journal_id < last_id
    assert any(file.name.startswith("checkpoints/") for file in made[0].files)
    feed(rig, reached, 1 << 30)
    assert expected == rig.tables(), "the one that was copied noticed nothing"
    rig.close()

    (tmp_path / "other").mkdir()
    restore_backup(tmp_path / "other", STORE.id, tmp_path / "copy", force=False, tell=quiet)
    other = Rig(tmp_path / "other")
    assert 0 < other.replayed < made[0].journal_id, "it began at a checkpoint"
    duplicates = other.journal.totals().get("duplicates", 0)
    feed(other, 100, 1 << 30)  # the agents send again what they were not told is stored
    assert other.journal.totals()["duplicates"] > duplicates
    assert expected == other.tables()
    other.close()


@pytest.fixture
def state(tmp_path):
    """A state directory with a few batches, its gateway.toml, and the rig's archive."""
    rig = ArchiveRig(_new(tmp_path / "state"))
    for _ in range(3):
        rig.readings(MIDNIGHT)
        rig.run(write_out=True)
    rig.journal.close()
    ResultStore(tmp_path / "state" / "results.sqlite").close()
    _new(tmp_path / "state" / "checkpoints")
    write_store(tmp_path)
    (tmp_path / "fanous.key").write_bytes(b"0123456789abcdef")
    (tmp_path / "gateway.toml").write_text(
        'store = "store.toml"\nstate_dir = "state"\npseudonym_key_file = "fanous.key"\n'
    )
    return tmp_path


def _new(path):
    path.mkdir()
    return path


def fanous(folder, action, *words):
    return program.main(["gateway", action, "-c", str(folder / "gateway.toml"), *map(str, words)])


def batches(state_dir):
    with closing(sqlite3.connect(state_dir / "journal.sqlite")) as db:
        return db.execute("SELECT id, agent, seq, payload FROM batches ORDER BY id").fetchall()


def test_backup_and_restore_as_commands(state, capsys):
    before = batches(state / "state")
    assert 0 == fanous(state, "backup", "--out", state / "copy", "--json")
    told = json.loads(capsys.readouterr().out)
    manifest = read_manifest(state / "copy")
    assert {
        "out": str(state / "copy"),
        "bytes": manifest.total_bytes,
        "files": 2,
        "journal_id": 3,
    } == told
    assert ["journal.sqlite", "results.sqlite"] == [file.name for file in manifest.files]
    assert {"checkpoints", "manifest.json", "journal.sqlite", "results.sqlite"} == {
        path.name for path in (state / "copy").iterdir()
    }
    assert 0o700 == (state / "copy").stat().st_mode & 0o777
    with closing(Journal(state / "state" / "journal.sqlite", max_bytes=1)) as journal:
        journal.trim(2)
    assert 1 == len(batches(state / "state"))
    assert 2 == fanous(state, "restore", "--from", state / "copy")
    assert "expected none or an empty one, found journal.sqlite" in capsys.readouterr().err
    assert 0 == fanous(state, "restore", "--from", state / "copy", "--force")
    assert f"{state / 'state'}: 2 files" in capsys.readouterr().out
    assert before == batches(state / "state")
    left = {path.name for path in (state / "state").iterdir()}
    assert {"archive", "checkpoints", "journal.sqlite", "lock", "results.sqlite"} == left


def test_the_log_of_the_old_database_never_meets_the_new_one(state):
    fanous(state, "backup", "--out", state / "copy")
    before = batches(state / "state")
    for name in ("journal.sqlite-wal", "journal.sqlite-shm", "results.sqlite-wal"):
        (state / "state" / name).write_bytes(b"of another database")
    assert 0 == fanous(state, "restore", "--from", state / "copy", "--force")
    assert not list((state / "state").glob("*-wal"))
    assert before == batches(state / "state")


def test_the_archive_goes_back_with_the_journal(state):
    fanous(state, "backup", "--out", state / "copy")
    rig = ArchiveRig(state / "state")
    rig.seq = 3
    rig.readings(MIDNIGHT)
    rig.run(write_out=True)
    rig.journal.close()
    place = state / "state" / "archive" / "demo"
    assert 4 == read_progress(place)
    assert 0 == fanous(state, "restore", "--from", state / "copy", "--force")
    assert 3 == read_progress(place)
    created_ns = read_manifest(state / "copy").created_ns
    assert (place / "2025-11-25" / f"readings-4-4-{created_ns}.parquet").exists()


def test_an_existing_output_stays_without_force(state, capsys):
    assert 0 == fanous(state, "backup", "--out", state / "copy")
    assert 2 == fanous(state, "backup", "--out", state / "copy")
    assert "copy: exists already; choose another one or say --force" in capsys.readouterr().err
    (state / "copy" / "mine.txt").write_text("old")
    assert 0 == fanous(state, "backup", "--out", state / "copy", "--force")
    assert not (state / "copy" / "mine.txt").exists()
    assert [] == [path for path in state.iterdir() if path.name.startswith(".copy")]
    (state / "file").write_text("")
    assert 2 == fanous(state, "backup", "--out", state / "file", "--force")
    assert 2 == fanous(state, "backup", "--out", state / "file" / "copy")


def test_a_failure_leaves_nothing_behind(state, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "write_manifest", fail)
    assert 1 == fanous(state, "backup", "--out", state / "copy")
    assert "No space left on device" in capsys.readouterr().err
    assert not (state / "copy").exists()
    assert [] == [path for path in state.iterdir() if path.name.startswith(".copy")]


def test_without_a_state_there_is_nothing_to_copy(state, capsys):
    (state / "state" / "results.sqlite").unlink()
    assert 2 == fanous(state, "backup", "--out", state / "copy")
    assert "found no results.sqlite" in capsys.readouterr().err
    (state / "state" / "results.sqlite").write_bytes(b"x" * 4096)
    assert 2 == fanous(state, "backup", "--out", state / "copy")
    assert "results.sqlite: expected a SQLite database" in capsys.readouterr().err
    assert not (state / "copy").exists()


def test_nothing_is_put_back_while_a_gateway_runs(state, capsys):
    fanous(state, "backup", "--out", state / "copy")
    with lock_state_dir(state / "state"):
        assert 2 == fanous(state, "restore", "--from", state / "copy", "--force")
        assert 0 == fanous(state, "backup", "--out", state / "second")
    assert "another gateway uses it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda d: (d / "manifest.json").unlink(), "manifest.json: cannot be read"),
        (lambda d: (d / "manifest.json").write_text("{}"), "expected a manifest of"),
        (lambda d: (d / "journal.sqlite").unlink(), "journal.sqlite: cannot be read"),
        (lambda d: _flip(d / "journal.sqlite"), "bytes that differ; take another backup"),
        (lambda d: _cut(d / "results.sqlite"), "as they were when the backup was made"),
        (lambda d: _rename(d, "../outside.sqlite"), "found others"),
        (lambda d: _age(d / "journal.sqlite"), "it was written by a newer fanous"),
    ],
)
def test_a_backup_that_cannot_be_trusted_changes_nothing(state, capsys, harm, words):
    fanous(state, "backup", "--out", state / "copy")
    before = _bytes(state / "state")
    harm(state / "copy")
    assert 2 == fanous(state, "restore", "--from", state / "copy", "--force")
    assert words in capsys.readouterr().err
    assert before == _bytes(state / "state")


def _bytes(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-4096])


def _rename(directory, name):
    text = (directory / "manifest.json").read_text()
    (directory / "manifest.json").write_text(text.replace('"journal.sqlite"', f'"{name}"'))


def _age(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")


def test_a_backup_of_another_store_is_refused(state):
    fanous(state, "backup", "--out", state / "copy")
    with pytest.raises(ConfigError, match="expected a backup of store 'other', got one of 'demo'"):
        restore_backup(state / "state", "other", state / "copy", force=True, tell=quiet)


def test_a_checkpoint_that_goes_meanwhile_is_struck_off_or_the_copying_begins_anew(state):
    results = ResultStore(state / "state" / "results.sqlite")
    with results.transaction() as db:
        for at in (1, 2):
            db.execute(
                "INSERT INTO checkpoints (name, step_id, journal_id, watermark_ns) "
                "VALUES (?, ?, ?, 0)",
                (f"{at:012d}.checkpoint", at, at),
            )
    results.close()
    (state / "state" / "checkpoints" / "000000000002.checkpoint").write_bytes(b"new")
    made = backed_up(state / "state", state / "copy")
    assert ["checkpoints/000000000002.checkpoint"] == [file.name for file in made.files[2:]]
    with closing(sqlite3.connect(state / "copy" / "results.sqlite")) as db:
        listed = db.execute("SELECT name FROM checkpoints").fetchall()
    assert [("000000000002.checkpoint",)] == listed
    shutil.rmtree(state / "state" / "checkpoints")
    with pytest.raises(OSError, match="the newest checkpoint was replaced 3 times"):
        backed_up(state / "state", state / "second")
    assert not (state / "second").exists()


def test_help_has_an_example_for_each_action(capsys):
    parser = argparse.ArgumentParser()
    command.configure(parser)
    for action in ("backup", "restore"):
        with pytest.raises(SystemExit):
            parser.parse_args([action, "--help"])
        assert f"example: fanous gateway {action} -c gateway.toml" in capsys.readouterr().out
