"""The tables of the embedded store, made from the records of `analytics.rows`.

Rules of the file: names and statements only. Every row has in addition `closed_ns`, up
to where ticks were closed when it was made: a recomputation replaces what was made
after a moment. It is not shown outside.
"""

import dataclasses
import sqlite3
import types
import typing
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from analytics.rows import TABLES

SCHEMA_VERSION = 2
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
    watermark_ns INTEGER NOT NULL, pass_bys INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS checkpoints (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, step_id INTEGER NOT NULL,
    journal_id INTEGER NOT NULL, watermark_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outgoing_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outgoing_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, line_count INTEGER NOT NULL, body BLOB NOT NULL,
    is_erasure INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS refused_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, line BLOB NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS webhook_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, webhook TEXT NOT NULL, message_id TEXT NOT NULL,
    name TEXT NOT NULL, visitor TEXT, body BLOB NOT NULL,
    failing_since_ns INTEGER NOT NULL DEFAULT 0, reason TEXT, UNIQUE (webhook, message_id));
CREATE INDEX IF NOT EXISTS webhook_events_waiting ON webhook_events (webhook, id)
    WHERE reason IS NULL;
CREATE INDEX IF NOT EXISTS dwells_by_visit ON dwells (visit, layer, start_ns);
CREATE INDEX IF NOT EXISTS visits_by_tag ON visits (tag, start_ns);
"""


class Reads(Protocol):
    """What can be asked: the result store, or its writing connection in a transaction."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a reading query written by this program."""
        ...


def tables_sql() -> str:
    """Return the statements that make all tables where they are missing."""
    return "".join(_table_sql(name) for name in KEYS) + _OTHER_TABLES


def migrations() -> dict[int, str]:
    """Return the statements that bring an older file forward, by the version they start from."""
    to_two = [
        _table_sql(name, with_closed=False) + f"ALTER TABLE {name} ADD COLUMN closed_ns INTEGER "
        "NOT NULL DEFAULT 0;\n"
        for name in KEYS
    ]
    to_two += [
        "ALTER TABLE steps ADD COLUMN pass_bys INTEGER NOT NULL DEFAULT 0;\n",
        "ALTER TABLE outgoing_lines ADD COLUMN is_erasure INTEGER NOT NULL DEFAULT 0;\n",
    ]
    return {1: "".join(to_two)}


def upsert_sql(table: str) -> str:
    """Return the statement that writes one row of a table, whatever was there."""
    names = (*COLUMNS[table], "closed_ns")
    marks = ", ".join("?" * len(names))
    return f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608


def values_of(row: Any, closed_ns: int) -> tuple[Any, ...]:  # noqa: ANN401
    """Return the values of a record for `upsert_sql`.

    Parameters
    ----------
    row : a record of `analytics.rows`
    closed_ns : [ns] up to where ticks were closed when it was made
    """
    values = (getattr(row, field) for field in row.__dataclass_fields__)
    return (*(v.item() if isinstance(v, np.generic) else v for v in values), closed_ns)


def set_state(db: sqlite3.Connection, name: str, value: int) -> None:
    """Set one number of the state."""
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))


def add_state(db: sqlite3.Connection, name: str, more: int) -> None:
    """Add to one number of the state."""
    if more > 0:
        db.execute(
            "INSERT INTO state VALUES (?, ?) "
            "ON CONFLICT DO UPDATE SET value = value + excluded.value",
            (name, more),
        )


def _table_sql(table: str, *, with_closed: bool = True) -> str:
    columns = []
    for name, kind in typing.get_type_hints(TABLES[table]).items():
        parts = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        sql_type = next(_SQL_TYPES[part] for part in parts if part in _SQL_TYPES)
        may_be_null = types.NoneType in parts or sql_type == "REAL"  # SQLite stores NaN as NULL
        columns.append(f"{name} {sql_type}{'' if may_be_null else ' NOT NULL'}")
    key = ", ".join(KEYS[table])
    time = TIME_COLUMN.get(table, "t_ns")
    if with_closed:
        columns.append("closed_ns INTEGER NOT NULL DEFAULT 0")
    return (
        f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}, PRIMARY KEY ({key}));\n"
        f"CREATE INDEX IF NOT EXISTS {table}_by_time ON {table} ({time});\n"
    )
