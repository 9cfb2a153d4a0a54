"""Stores that age: an older file is brought forward with all its rows, a newer one refused."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fanous import program
from gateway.backup import write_backup
from gateway.journal import Entry, Journal
from gateway.result_store import ResultStore
from gateway.result_tables import COLUMNS, KEYS
from gateway.state_files import VERSIONS, version_of
from tests.gateway.samples import write_store

OLD = Path(__file__).parent / "version_1"
"""The statements with which the first version of each file was made."""
ROWS = 5


@pytest.fixture
def folder(tmp_path):
    """A gateway.toml and the state of a gateway of version 1."""
    write_store(tmp_path)
    (tmp_path / "fanous.key").write_bytes(b"0123456789abcdef")
    (tmp_path / "gateway.toml").write_text(
        'store = "store.toml"\nstate_dir = "state"\npseudonym_key_file = "fanous.key"\n'
    )
    (tmp_path / "state").mkdir()
    for name in ("journal", "results"):
        with closing(sqlite3.connect(tmp_path / "state" / f"{name}.sqlite")) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript((OLD / f"{name}.sql").read_text() + "PRAGMA user_version=1;")
            _fill(db)
    return tmp_path


def _fill(db):
    """Put some rows into every table, each value another one."""
    with db:
        for (table,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            if table == "sqlite_sequence":
                continue
            columns = db.execute(f"PRAGMA table_info({table})").fetchall()
            marks = ", ".join("?" * len(columns))
            db.executemany(
                f"INSERT INTO {table} VALUES ({marks})",
                [[_value(table, *column[1:3], row) for column in columns] for row in range(ROWS)],
            )


def _value(table, name, kind, row):
    if name == "ranges":
        return json.dumps([[1, row + 1]])
    return {
        "TEXT": f"{table}-{name}-{row}",
        "INTEGER": 1 + row,
        "REAL": 0.5 + row,
        "BLOB": f"{name}-{row}".encode(),
    }[kind]


def _rows(path, tables):
    with closing(sqlite3.connect(path)) as db:
        return {
            table: sorted(db.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall())
            for table, columns in tables.items()
        }


def _columns(path):
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: [column[1] for column in db.execute(f"PRAGMA table_info({name})")]
            for (name,) in tables
            if name != "sqlite_sequence"
        }


@pytest.mark.parametrize("name", ["journal", "results"])
def test_a_file_of_version_1_is_brought_forward_with_all_its_rows(folder, name):
    path = folder / "state" / f"{name}.sqlite"
    tables = _columns(path)
    before = _rows(path, tables)
    assert {ROWS} == {len(rows) for rows in before.values()}
    for _ in range(2):
        made = Journal(path, max_bytes=1 << 20) if name == "journal" else ResultStore(path)
        made.close()
        assert VERSIONS[path.name] == version_of(path)
        assert before == _rows(path, tables)


@pytest.mark.parametrize("name", ["journal", "results"])
def test_a_file_brought_forward_has_the_tables_of_a_new_one(folder, name, tmp_path):
    def columns(path):
        made = Journal(path, max_bytes=1 << 20) if name == "journal" else ResultStore(path)
        made.close()
        return {table: sorted(names) for table, names in _columns(path).items()}

    old = columns(folder / "state" / f"{name}.sqlite")
    assert columns(tmp_path / "new.sqlite") == old


def test_a_journal_of_version_1_still_knows_what_it_has(folder):
    with closing(Journal(folder / "state" / "journal.sqlite", max_bytes=1 << 20)) as journal:
        known = [
            Entry(
                agent="streams-agent-4",
                boot="streams-boot-4",
                kind="streams-kind-4",
                seq=seq,
                received_ns=9,
                row_count=1,
                payload=b"x",
            )
            for seq in (5, 6)
        ]
        appended = journal.append(known)
        assert (0, ROWS + 1) == appended.ids, "a second copy is absorbed, the next one is not"
        assert [6] == list(appended.acks.values())
        assert [row + 1 for row in range(ROWS + 1)] == [row[0] for row in journal.read(0, 99)]


def test_results_of_version_1_are_read_and_written(folder):
    with closing(ResultStore(folder / "state" / "results.sqlite")) as results:
        for name in KEYS:
            assert ROWS == len(results.query(f"SELECT {', '.join(COLUMNS[name])} FROM {name}"))
        assert ROWS == len(results.next_events(0, 99))
        assert sum(range(1, ROWS + 1)) == results.next_lines(1 << 20).lines


def test_a_crash_during_a_migration_leaves_a_whole_version(folder, monkeypatch):
    path = folder / "state" / "journal.sqlite"
    monkeypatch.setattr(
        "gateway.journal._MIGRATIONS", {1: "ALTER TABLE batches ADD x INTEGER; NONSENSE;"}
    )
    with pytest.raises(Exception, match="cannot be opened"):
        Journal(path, max_bytes=1 << 20)
    assert "x" not in _columns(path)["batches"]
    monkeypatch.undo()
    Journal(path, max_bytes=1 << 20).close()
    assert VERSIONS[path.name] == version_of(path)


@pytest.mark.parametrize("name", list(VERSIONS))
@pytest.mark.parametrize("action", ["check", "run", "backup"])
def test_a_file_of_a_newer_version_is_refused_with_a_sentence(folder, name, action, capsys):
    path = folder / "state" / name
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={VERSIONS[name] + 1}")
    before = path.read_bytes()
    more = ["--out", str(folder / "copy")] if action == "backup" else []
    text = (folder / "gateway.toml").read_text()
    (folder / "gateway.toml").write_text(text + "[http]\nport = 0\n")
    assert 2 == program.main(["gateway", action, "-c", str(folder / "gateway.toml"), *more])
    told = capsys.readouterr().err
    assert (
        f"{name}: expected schema version {VERSIONS[name]} or older, got {VERSIONS[name] + 1}"
        in told
    )
    assert "it was written by a newer fanous" in told
    assert "Traceback" not in told
    assert before == path.read_bytes()


def test_check_takes_a_state_of_any_age_and_none_at_all(folder, tmp_path):
    words = ["gateway", "check", "-c", str(folder / "gateway.toml")]
    assert 0 == program.main(words)
    for path in (tmp_path / "state").iterdir():
        path.unlink()
    assert 0 == program.main(words)
    (tmp_path / "state" / "journal.sqlite").write_text("no database")
    assert 2 == program.main(words)


def test_an_old_state_can_be_backed_up_before_it_is_brought_forward(folder):
    manifest = write_backup(
        folder / "state", "demo", folder / "copy", force=False, now_ns=1, tell=lambda _: None
    )
    assert (1, 1) == (manifest.journal_version, manifest.results_version)
    for name in VERSIONS:
        tables = _columns(folder / "state" / name)
        assert _rows(folder / "state" / name, tables) == _rows(folder / "copy" / name, tables)
