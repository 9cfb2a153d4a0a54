"""The embedded store: the engine's tables in SQLite, and what still has to be sent.

Rules of the file: tables and columns are those of contract section 3, made from the
records of `analytics.rows`; rows are written by id, so writing them again changes
nothing. One transaction holds a step's rows, its outgoing lines and events and how
far the engine was, so a crash loses all of a step or nothing and the journal's
replay makes it again; that is why synchronous=NORMAL is enough here. Outgoing queues
are bounded: the oldest go first and are counted. Positions: the last hour, bounded.
"""

import dataclasses
import sqlite3
import threading
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analytics.rows import TABLES, Output
from gateway.events import Message
from gateway.journal import open_database

SCHEMA_VERSION = 1
HOUR_NS = 3_600_000_000_000
KEYS = {
    "dwells": ("dwell",),
    "visits": ("visit",),
    "shelf_events": ("event",),
    "shelf_stock": ("t_ns", "shelf", "gtin"),
    "sensor_health": ("sensor", "since_ns"),
    "occupancy": ("t_ns", "layer", "zone"),
    "queues": ("t_ns", "zone"),
    "occupancy_estimates": ("t_ns", "layer", "zone"),
    "heat": ("t_ns", "floor", "x_m", "y_m"),
    "receiver_health": ("receiver", "since_ns"),
}
TIME_COLUMN = {
    "dwells": "start_ns",
    "visits": "start_ns",
    "sensor_health": "since_ns",
    "receiver_health": "since_ns",
}
COLUMNS = {name: tuple(field.name for field in dataclasses.fields(TABLES[name])) for name in TABLES}
_SQL_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}
_OTHER_TABLES = """
DROP TABLE IF EXISTS positions;
CREATE TABLE IF NOT EXISTS trail (
    t_ns INTEGER NOT NULL, tag TEXT NOT NULL, zone INTEGER NOT NULL, floor TEXT NOT NULL,
    x_m REAL NOT NULL, y_m REAL NOT NULL, PRIMARY KEY (t_ns, tag)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (
    id INTEGER PRIMARY KEY AUTOINCREMENT, journal_id INTEGER NOT NULL,
    watermark_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outgoing_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outgoing_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, line_count INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, line BLOB NOT NULL, reason TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS dwells_by_visit ON dwells (visit, layer, start_ns);
CREATE INDEX IF NOT EXISTS visits_by_tag ON visits (tag, start_ns);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far the engine was: the newest batch it had, and the watermark it closed up to."""

    journal_id: int
    watermark_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """Live positions of layer main, one element per row: for the heat map."""

    t_ns: Sequence[int]
    tag: Sequence[str]
    zone: Sequence[int]
    floor: Sequence[str]
    x_m: Sequence[float]
    y_m: Sequence[float]


class ResultStore:
    """The results file: one writing connection under a lock, one reading connection."""

    def __init__(
        self,
        path: Path,
        *,
        positions_max: int = 400_000,
        lines_max: int = 2_000_000,
        events_max: int = 100_000,
    ) -> None:
        self._positions_max = positions_max
        self._lines_max = lines_max
        self._events_max = events_max
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        tables = "".join(_table_sql(name) for name in KEYS) + _OTHER_TABLES
        self._db = open_database(path, tables, version=SCHEMA_VERSION, synchronous="NORMAL")
        self._reader = open_database(path, "", version=SCHEMA_VERSION, synchronous="NORMAL")
        self._newest_position_ns = 0

    def save(
        self,
        output: Output,
        step: Step,
        *,
        trail: Trail | None = None,
        lines: Sequence[bytes] = (),
        events: Sequence[Message] = (),
        pass_bys: int = 0,
    ) -> None:
        """Write everything that one step produced, in one transaction.

        Parameters
        ----------
        output : its tables; positions come in `trail`
        step : how far the engine was after it
        trail : live positions
        lines : line protocol for InfluxDB
        events : for the broker
        pass_bys : how many tags it found to have only passed by
        """
        written = 0
        with self._transaction() as db:
            for name in KEYS:
                rows = getattr(output, name)
                if rows:
                    db.executemany(_upsert_sql(name), [_values(row) for row in rows])
                    written += len(rows)
            if trail is not None and len(trail.t_ns):
                self._save_trail(db, trail)
            self._queue_lines(db, lines)
            if events:
                db.executemany(
                    "INSERT INTO outgoing_events (topic, payload) VALUES (?, ?)",
                    [(event.topic, event.payload) for event in events],
                )
                self._bound(db, "outgoing_events", self._events_max, "events_dropped")
            if step.watermark_ns is not None:
                db.execute(
                    "INSERT INTO steps (journal_id, watermark_ns) VALUES (?, ?)",
                    (step.journal_id, step.watermark_ns),
                )
            _set_state(db, "journal_id", step.journal_id)
            _add_state(db, "rows_written", written)
            _add_state(db, "pass_bys", pass_bys)

    def queue(self, *, lines: Sequence[bytes] = (), events: Sequence[Message] = ()) -> None:
        """Queue lines and events that no step produced (agents' status and silences).

        Parameters
        ----------
        lines : line protocol for InfluxDB
        events : for the broker
        """
        with self._transaction() as db:
            self._queue_lines(db, lines)
            db.executemany(
                "INSERT INTO outgoing_events (topic, payload) VALUES (?, ?)",
                [(event.topic, event.payload) for event in events],
            )

    def progress(self) -> tuple[int, list[Step]]:
        """Return the newest journal id whose results are stored, and the steps kept."""
        with self._write_lock:
            row = self._db.execute("SELECT value FROM state WHERE name='journal_id'").fetchone()
            steps = self._db.execute("SELECT journal_id, watermark_ns FROM steps ORDER BY id")
            return (row[0] if row else 0), [
                Step(journal_id=journal_id, watermark_ns=watermark_ns)
                for journal_id, watermark_ns in steps.fetchall()
            ]

    def progress_id(self) -> int:
        """Return the newest journal id whose results are stored."""
        with self._write_lock:
            row = self._db.execute("SELECT value FROM state WHERE name='journal_id'").fetchone()
        return int(row[0]) if row else 0

    def forget_steps(self, before_journal_id: int) -> None:
        """Forget the steps whose batches the journal no longer has.

        Parameters
        ----------
        before_journal_id : the oldest batch that the journal keeps
        """
        with self._transaction() as db:
            db.execute("DELETE FROM steps WHERE journal_id < ?", (before_journal_id,))

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table, of queued lines and events, and what was sent.

        Shelf events count when they are final, the heat's many rows are not counted.
        """
        with self._read_lock:
            read = self._reader.execute
            found = {
                name: int(read(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608
                for name in KEYS
                if name != "heat"
            }
            found["shelf_events"] = int(
                read("SELECT count(*) FROM shelf_events WHERE status='final'").fetchone()[0]
            )
            found["lines_queued"] = int(
                read("SELECT coalesce(sum(line_count), 0) FROM outgoing_lines").fetchone()[0]
            )
            found["events_queued"] = int(read("SELECT count(*) FROM outgoing_events").fetchone()[0])
            found |= dict(read("SELECT name, value FROM state").fetchall())
        return found

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a reading query written by this program; never text from outside.

        Parameters
        ----------
        sql : with ``?`` for every value
        parameters : the values
        """
        with self._read_lock:
            return self._reader.execute(sql, parameters).fetchall()

    def next_events(self, after_id: int, limit: int) -> list[tuple[int, str, bytes]]:
        """Return queued events as (id, topic, payload), oldest first.

        Parameters
        ----------
        after_id : exclusive
        limit : most of them
        """
        with self._write_lock:
            return self._db.execute(
                "SELECT id, topic, payload FROM outgoing_events WHERE id > ? ORDER BY id LIMIT ?",
                (after_id, limit),
            ).fetchall()

    def events_sent(self, up_to_id: int) -> None:
        """Forget the events that the broker has taken.

        Parameters
        ----------
        up_to_id : inclusive
        """
        with self._transaction() as db:
            cursor = db.execute("DELETE FROM outgoing_events WHERE id <= ?", (up_to_id,))
            _add_state(db, "events_published", cursor.rowcount)

    def next_lines(self, lines_max: int) -> tuple[int, bytes, int]:
        """Return the oldest queued lines, joined: (id up to which, body, number of lines).

        Parameters
        ----------
        lines_max : stop before more lines than this, but give at least one entry
        """
        up_to_id, total = 0, 0
        bodies: list[bytes] = []
        with self._write_lock:
            for row_id, count, body in self._db.execute(
                "SELECT id, line_count, body FROM outgoing_lines ORDER BY id LIMIT 4096"
            ):
                if bodies and total + count > lines_max:
                    break
                up_to_id, total = row_id, total + count
                bodies.append(body)
        return up_to_id, b"\n".join(bodies), total

    def lines_sent(self, up_to_id: int, written: int, refused: Sequence[tuple[bytes, str]]) -> None:
        """Forget lines that the database has taken or refused for good.

        Parameters
        ----------
        up_to_id : as `next_lines` gave it
        written : lines the database took
        refused : (line, reason) of those it did not; the last thousand are kept
        """
        with self._transaction() as db:
            db.execute("DELETE FROM outgoing_lines WHERE id <= ?", (up_to_id,))
            _add_state(db, "points_written", written)
            _add_state(db, "points_refused", len(refused))
            db.executemany("INSERT INTO refused_lines (line, reason) VALUES (?, ?)", refused)
            db.execute(
                "DELETE FROM refused_lines WHERE id <= (SELECT max(id) FROM refused_lines) - 1000"
            )

    def close(self) -> None:
        """Close the file."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db

    def _save_trail(self, db: sqlite3.Connection, trail: Trail) -> None:
        db.executemany(
            "INSERT OR REPLACE INTO trail VALUES (?, ?, ?, ?, ?, ?)",
            zip(trail.t_ns, trail.tag, trail.zone, trail.floor, trail.x_m, trail.y_m, strict=True),
        )
        self._newest_position_ns = max(self._newest_position_ns, *trail.t_ns)
        db.execute("DELETE FROM trail WHERE t_ns < ?", (self._newest_position_ns - HOUR_NS,))
        row = db.execute(
            "SELECT t_ns FROM trail ORDER BY t_ns DESC LIMIT 1 OFFSET ?",
            (self._positions_max,),
        ).fetchone()
        if row:
            db.execute("DELETE FROM trail WHERE t_ns <= ?", row)

    def _queue_lines(self, db: sqlite3.Connection, lines: Sequence[bytes]) -> None:
        for first in range(0, len(lines), 1000):
            chunk = lines[first : first + 1000]
            db.execute(
                "INSERT INTO outgoing_lines (line_count, body) VALUES (?, ?)",
                (len(chunk), b"\n".join(chunk)),
            )
        if lines:
            total = db.execute("SELECT sum(line_count) FROM outgoing_lines").fetchone()[0]
            while total > self._lines_max:
                row_id, count = db.execute(
                    "SELECT id, line_count FROM outgoing_lines ORDER BY id LIMIT 1"
                ).fetchone()
                db.execute("DELETE FROM outgoing_lines WHERE id = ?", (row_id,))
                _add_state(db, "points_dropped", count)
                total -= count

    def _bound(self, db: sqlite3.Connection, table: str, most: int, counter: str) -> None:
        cursor = db.execute(
            f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?",  # noqa: S608
            (most,),
        )
        _add_state(db, counter, cursor.rowcount)


def _set_state(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))


def _add_state(db: sqlite3.Connection, name: str, more: int) -> None:
    if more > 0:
        db.execute(
            "INSERT INTO state VALUES (?, ?) "
            "ON CONFLICT DO UPDATE SET value = value + excluded.value",
            (name, more),
        )


def _values(row: Any) -> tuple[Any, ...]:  # noqa: ANN401
    values = (getattr(row, field) for field in row.__dataclass_fields__)
    return tuple(v.item() if isinstance(v, np.generic) else v for v in values)


def _upsert_sql(table: str) -> str:
    marks = ", ".join("?" * len(COLUMNS[table]))
    return f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608


def _table_sql(table: str) -> str:
    columns = []
    for name, kind in typing.get_type_hints(TABLES[table]).items():
        parts = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        sql_type = next(_SQL_TYPES[part] for part in parts if part in _SQL_TYPES)
        may_be_null = types.NoneType in parts or sql_type == "REAL"  # SQLite stores NaN as NULL
        columns.append(f"{name} {sql_type}{'' if may_be_null else ' NOT NULL'}")
    key = ", ".join(KEYS[table])
    time = TIME_COLUMN.get(table, "t_ns")
    return (
        f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}, PRIMARY KEY ({key}));\n"
        f"CREATE INDEX IF NOT EXISTS {table}_by_time ON {table} ({time});\n"
    )
