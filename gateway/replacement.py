"""A stretch that was computed again takes the place of what was stored before.

Rules of the file: one transaction of the result store. Rows made after a moment that
the new computation does not have go, the others are written by their ids; every line
for InfluxDB goes out again (the same series and time overwrite themselves) and what has
gone is erased there; an event is told for a row that is new or differs, under the id
that the fact always had. Live events of zones are not told again: they were true when
they were told.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analytics.rows import TABLES, Output
from gateway.events import EventFinder, encode_event
from gateway.flow import transitions_between
from gateway.points import PointMaker, encode_points
from gateway.result_store import ResultStore, Step
from gateway.result_tables import COLUMNS, HOUR_NS, KEYS, add_state, set_state
from gateway.visit_history import histories

HOURS_MAX = 72
"""Transitions of hours further back are not counted again: rows older than that are refused."""
TOLD_AGAIN = ("dwells", "visits", "shelf_events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What a replacement did: rows that are new or differ, rows that have gone."""

    written: int
    erased: int
    step_id: int


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads through the writing connection, inside the transaction."""

    db: sqlite3.Connection

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.db.execute(sql, parameters).fetchall()


def replace_after(
    results: ResultStore,
    made: Path,
    after: Step | None,
    step: Step,
    *,
    finder: EventFinder,
    points: PointMaker | None,
    dirty_ns: int | None,
) -> Replaced:
    """Put a recomputed stretch in the place of the stored one.

    Parameters
    ----------
    results : the gateway's
    made : the results file of the recomputation, closed; it has everything made after `after`
    after : the recorded step it began at; None = at the beginning of everything
    step : how far both computations are; it is recorded
    finder : a new one, for the events of rows
    points : makes lines of visits, of hours and of what has gone; None without InfluxDB
    dirty_ns : [ns] a row that came too late for the recomputation as well, None = none did
    """
    after_ns = 0 if after is None or after.watermark_ns is None else after.watermark_ns
    after_step = 0 if after is None else after.id
    with results.attached(made) as db:
        changed = {name: _changed(db, name) for name in KEYS}
        untrue = {name: _untrue(db, name, after_ns) for name in KEYS}
        erased = 0
        new_visits = _rows(db, "SELECT {columns} FROM made.{table}", "visits")
        for name in KEYS:
            key = ", ".join(KEYS[name])
            cursor = db.execute(
                f"DELETE FROM {name} WHERE closed_ns > ? AND ({key}) NOT IN "  # noqa: S608
                f"(SELECT {key} FROM made.{name})",
                (after_ns,),
            )
            erased += cursor.rowcount
            columns = ", ".join((*COLUMNS[name], "closed_ns"))
            db.execute(
                f"INSERT OR REPLACE INTO {name} ({columns}) "  # noqa: S608
                f"SELECT {columns} FROM made.{name}"
            )
        if points is not None:
            _queue_lines(
                db, points, Output(**untrue), new_visits, (after_ns, step.watermark_ns or 0)
            )
        found = finder.find(Output(**{name: changed[name] for name in TOLD_AGAIN}))
        messages = [encode_event(event, finder.store_id) for event in found]
        results.put_events(db, messages, again=True)
        written = sum(map(len, changed.values()))
        step_id = _record(db, after_step, step, dirty_ns)
        add_state(db, "rows_recomputed", written)
        add_state(db, "rows_erased", erased)
    return Replaced(written=written, erased=erased, step_id=step_id)


def _queue_lines(
    db: sqlite3.Connection,
    points: PointMaker,
    untrue: Output,
    visits: list[Any],
    stretch_ns: tuple[int, int],
) -> None:
    erasures = points.of_gone(untrue)
    if erasures:
        db.execute(
            "INSERT INTO outgoing_lines (line_count, body, is_erasure) VALUES (?, ?, 1)",
            (len(erasures), b"\n".join(erasures)),
        )
    db.execute(
        "INSERT INTO outgoing_lines (line_count, body) "
        "SELECT line_count, body FROM made.outgoing_lines ORDER BY id"
    )
    reading = _Reading(db)
    lines = encode_points(points.of_visits(visits, histories(reading, visits)))
    hours = points.of_hours(
        max(stretch_ns[0], stretch_ns[1] - HOURS_MAX * HOUR_NS),
        stretch_ns[1],
        lambda from_ns, to_ns: transitions_between(reading, from_ns, to_ns, layer="main"),
    )
    lines += encode_points(hours)
    if lines:
        db.execute(
            "INSERT INTO outgoing_lines (line_count, body) VALUES (?, ?)",
            (len(lines), b"\n".join(lines)),
        )


def _record(db: sqlite3.Connection, after_step: int, step: Step, dirty_ns: int | None) -> int:
    """Let the new step stand for all that were recorded after `after_step`."""
    (before,) = db.execute(
        "SELECT coalesce(sum(pass_bys), 0) FROM steps WHERE id > ?", (after_step,)
    ).fetchone()
    (now,) = db.execute(
        "SELECT coalesce(max(value), 0) FROM made.state WHERE name = 'pass_bys'"
    ).fetchone()
    (total,) = db.execute(
        "SELECT coalesce(max(value), 0) FROM state WHERE name = 'pass_bys'"
    ).fetchone()
    set_state(db, "pass_bys", total - before + now)
    db.execute("DELETE FROM steps WHERE id > ?", (after_step,))
    db.execute("DELETE FROM checkpoints WHERE step_id > ?", (after_step,))
    cursor = db.execute(
        "INSERT INTO steps (journal_id, watermark_ns, pass_bys) VALUES (?, ?, ?)",
        (step.journal_id, step.watermark_ns, now),
    )
    set_state(db, "journal_id", step.journal_id)
    if dirty_ns is None:
        db.execute("DELETE FROM state WHERE name = 'dirty_ns'")
    else:
        set_state(db, "dirty_ns", dirty_ns)
    add_state(db, "recomputations", 1)
    return int(cursor.lastrowid or 0)


def _changed(db: sqlite3.Connection, table: str) -> list[Any]:
    """Return the rows made anew that are not stored just so."""
    text = "SELECT {columns} FROM made.{table} EXCEPT SELECT {columns} FROM main.{table}"
    return _rows(db, text, table)


def _untrue(db: sqlite3.Connection, table: str, after_ns: int) -> list[Any]:
    """Return the stored rows that the new computation does not have just so."""
    text = (
        "SELECT {columns} FROM main.{table} WHERE closed_ns > ? "
        "EXCEPT SELECT {columns} FROM made.{table}"
    )
    return _rows(db, text, table, (after_ns,))


def _rows(
    db: sqlite3.Connection, text: str, table: str, parameters: Sequence[Any] = ()
) -> list[Any]:
    columns = COLUMNS[table]
    found = db.execute(text.format(columns=", ".join(columns), table=table), parameters)
    record = TABLES[table]
    return [record(**dict(zip(columns, row, strict=True))) for row in found]
