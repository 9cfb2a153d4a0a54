import sqlite3

import pytest

from gateway.journal import DeadLetter, Entry, Journal
from ingest.config import ConfigError


def _entry(seq, *, boot="b1", kind="ble", rows=2, payload=b"x" * 100, **more):
    return Entry(
        agent="pi-1",
        boot=boot,
        kind=kind,
        seq=seq,
        received_ns=seq,
        row_count=rows,
        payload=payload,
        **more,
    )


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal.sqlite", max_bytes=1000, dead_letters_max=3)
    yield made
    made.close()


def test_acks_are_cumulative_and_never_pass_a_gap(journal):
    stream = ("pi-1", "b1", "ble")
    assert {stream: 1} == journal.append([_entry(1)]).acks
    assert {stream: 1} == journal.append([_entry(3)]).acks
    assert {stream: 3} == journal.append([_entry(2)]).acks
    assert {} == journal.append([_entry(5, boot="b2")]).acks
    assert {("pi-1", "b3", "ble"): 7} == journal.append([_entry(7, boot="b3", first_seq=7)]).acks


def test_a_duplicate_is_absorbed_counted_and_acknowledged_again(journal):
    journal.append([_entry(1), _entry(2)])
    again = journal.append([_entry(1)])
    assert (0,) == again.ids
    assert {("pi-1", "b1", "ble"): 2} == again.acks
    assert {"rows.ble": 4, "batches": 2, "duplicates": 1} == journal.totals()


def test_everything_is_there_after_opening_again(tmp_path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, max_bytes=1 << 20)
    journal.append([_entry(1), _entry(2), _entry(4, lost=9)])
    journal.close()
    journal = Journal(path, max_bytes=1 << 20)
    assert [1, 2, 3] == [row[0] for row in journal.read(0, journal.last_id())]
    assert (0,) == journal.append([_entry(2)]).ids
    assert {("pi-1", "b1", "ble"): 4} == journal.append([_entry(3)]).acks
    assert {"rows.ble": 8, "batches": 4, "duplicates": 1, "lost": 9} == journal.totals()
    journal.close()


def test_retention_takes_the_oldest_that_were_used_and_keeps_knowing_them(journal):
    journal.append([_entry(seq) for seq in range(1, 31)])
    assert 0 == journal.trim(0)
    assert 20 == journal.trim(20)
    assert 21 == journal.first_id()
    assert (0,) == journal.append([_entry(3)]).ids


def test_retention_stops_at_the_bound(journal):
    journal.append([_entry(seq, payload=b"x") for seq in range(1, 501)])
    assert 0 == journal.trim(500)
    journal.append([_entry(seq, payload=b"x" * 10) for seq in range(501, 601)])
    assert 0 < journal.trim(600) < 600


def test_dead_letters_are_bounded_counted_and_acknowledged(journal):
    for seq in range(1, 6):
        letter = DeadLetter(
            topic="t",
            reason="syntax",
            received_ns=1,
            payload=b"bad",
            agent="pi-1",
            boot="b1",
            kind="ble",
            seq=seq,
        )
        acks = journal.append([], [letter]).acks
        assert {("pi-1", "b1", "ble"): seq} == acks
    journal.append([], [DeadLetter(topic="t", reason="kind", received_ns=1, payload=b"worse")])
    assert ["syntax", "syntax", "kind"] == [reason for _, reason, _ in journal.dead_letters()]
    assert 6 == journal.totals()["dead_letters"]
    assert 5 == journal.totals()["refused.syntax"]


def test_a_failed_commit_leaves_the_ledger_as_it_was(journal):
    journal.append([_entry(1)])
    with pytest.raises(sqlite3.Error):
        journal.append([_entry(2), _entry(3, payload=None)])
    assert {("pi-1", "b1", "ble"): 2} == journal.append([_entry(2)]).acks


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "journal.sqlite"
    Journal(path, max_bytes=1).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(ConfigError, match="newer fanous"):
        Journal(path, max_bytes=1)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="cannot be opened"):
        Journal(path, max_bytes=1)


def test_many_batches_at_once_are_stored_as_one_by_one(tmp_path):
    entries = [_entry(seq, lost=seq % 3) for seq in (*range(1, 300), 17, 5, *range(300, 330))]
    together = Journal(tmp_path / "one.sqlite", max_bytes=1 << 20)
    one_by_one = Journal(tmp_path / "other.sqlite", max_bytes=1 << 20)
    found = together.append(entries)
    expected = [one_by_one.append([entry]) for entry in entries]
    assert [ids for appended in expected for ids in appended.ids] == list(found.ids)
    assert expected[-1].acks == found.acks
    assert one_by_one.totals() == together.totals()
    assert one_by_one.read(0, 1000, 1000) == together.read(0, 1000, 1000)
    together.close()
    one_by_one.close()


def test_a_batch_that_the_table_has_and_the_ledger_forgot_is_a_duplicate_among_many(tmp_path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, max_bytes=1 << 20)
    journal.append([_entry(seq) for seq in (4, 9)])
    journal.close()
    db = sqlite3.connect(path)
    db.execute("DELETE FROM streams")
    db.commit()
    db.close()
    journal = Journal(path, max_bytes=1 << 20)
    found = journal.append([_entry(seq) for seq in range(1, 11)])
    assert [(4, 0), (9, 0)] == [(at, i) for at, i in enumerate(found.ids, 1) if not i]
    rows = journal.read(0, 100)
    stored = sorted(i for i in found.ids if i)
    assert (stored, 2) == ([row[0] for row in rows[2:]], journal.totals()["duplicates"])
    journal.close()
