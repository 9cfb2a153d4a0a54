"""The embedded store: the engine's tables in SQLite, and what still has to be sent.

Rules of the file: tables and columns are those of contract section 3, made from the
records of `analytics.rows`; rows are written by id, so writing them again changes
nothing. One transaction holds a step's rows, its outgoing lines and events and how
far the engine was, so a crash loses all of a step or nothing and the journal's
replay makes it again; that is why synchronous=NORMAL is enough here. Outgoing queues
are bounded: the oldest go first and are counted. Positions: the last hour, bounded.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from analytics.rows import Output
from gateway.database import Patience, open_database, patient
from gateway.engine_room import Trail
from gateway.events import Message
from gateway.result_tables import (
    HOUR_NS,
    KEYS,
    SCHEMA_VERSION,
    add_state,
    migrations,
    set_state,
    tables_sql,
    upsert_sql,
    values_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far the engine was: the newest batch it had, and the watermark it closed up to.

    `id` is that of a recorded step, 0 before it is recorded.
    """

    journal_id: int
    watermark_ns: int | None
    id: int = 0


class Portion(NamedTuple):
    """Queued lines: the id they reach to, joined, their number, and whether they erase."""

    up_to_id: int
    body: bytes
    lines: int
    is_erasure: bool


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
        self.path, self.patience = path, Patience(path.name)
        self._db = open_database(
            path,
            tables_sql(),
            version=SCHEMA_VERSION,
            synchronous="NORMAL",
            migrations=migrations(),
        )
        self._reader = open_database(path, "", version=SCHEMA_VERSION, synchronous="NORMAL")
        self._newest_position_ns = 0
        self.events_also_to: Callable[[sqlite3.Connection, Sequence[Message], bool], None] = (
            lambda _db, _events, _again: None
        )

    @patient
    def save(
        self,
        output: Output,
        step: Step,
        *,
        closed_ns: int = 0,
        trail: Trail | None = None,
        lines: Sequence[bytes] = (),
        events: Sequence[Message] = (),
        pass_bys: int = 0,
        dirty_ns: int | None = None,
    ) -> int:
        """Write everything that one step produced, in one transaction.

        Parameters
        ----------
        output : its tables; positions come in `trail`
        step : how far the engine was after it
        closed_ns : [ns] up to where ticks are closed
        trail : live positions
        lines : line protocol for InfluxDB
        events : for the broker
        pass_bys : how many tags it found to have only passed by
        dirty_ns : [ns] the earliest row that came too late and is to be recomputed

        Returns
        -------
        int
            The step's id; 0 when it closed nothing and is not recorded.
        """
        written = step_id = 0
        with self._transaction() as db:
            for name in KEYS:
                rows = getattr(output, name)
                if rows:
                    db.executemany(upsert_sql(name), [values_of(row, closed_ns) for row in rows])
                    written += len(rows)
            if trail is not None and len(trail.t_ns):
                self._save_trail(db, trail)
            self._queue_lines(db, lines)
            self.put_events(db, events)
            if step.watermark_ns is not None:
                cursor = db.execute(
                    "INSERT INTO steps (journal_id, watermark_ns, pass_bys) VALUES (?, ?, ?)",
                    (step.journal_id, step.watermark_ns, pass_bys),
                )
                step_id = int(cursor.lastrowid or 0)
            set_state(db, "journal_id", step.journal_id)
            if dirty_ns is not None:
                set_state(db, "dirty_ns", dirty_ns)
            add_state(db, "rows_written", written)
            add_state(db, "pass_bys", pass_bys)
        return step_id

    @patient
    def queue(self, *, lines: Sequence[bytes] = (), events: Sequence[Message] = ()) -> None:
        """Queue lines and events that no step produced (agents' status and silences).

        Parameters
        ----------
        lines : line protocol for InfluxDB
        events : for the broker
        """
        with self._transaction() as db:
            self._queue_lines(db, lines)
            self.put_events(db, events)

    def put_events(
        self, db: sqlite3.Connection, events: Sequence[Message], *, again: bool = False
    ) -> None:
        """Queue events in a transaction, for the broker and whoever else wants them.

        Parameters
        ----------
        db : as `transaction` or `attached` gave it
        events : in their order
        again : they may have been told otherwise before
        """
        if events:
            db.executemany(
                "INSERT INTO outgoing_events (topic, payload) VALUES (?, ?)",
                [(event.topic, event.payload) for event in events],
            )
            self._bound(db, "outgoing_events", self._events_max, "events_dropped")
            self.events_also_to(db, events, again)

    def progress(self, *, after_step: int = 0) -> tuple[int, list[Step]]:
        """Return the newest journal id whose results are stored, and the steps kept.

        Parameters
        ----------
        after_step : only the steps after the one with this id
        """
        with self._write_lock:
            row = self._db.execute("SELECT value FROM state WHERE name='journal_id'").fetchone()
            steps = self._db.execute(
                "SELECT id, journal_id, watermark_ns FROM steps WHERE id > ? ORDER BY id",
                (after_step,),
            )
            return (row[0] if row else 0), [
                Step(id=step_id, journal_id=journal_id, watermark_ns=watermark_ns)
                for step_id, journal_id, watermark_ns in steps.fetchall()
            ]

    def progress_id(self) -> int:
        """Return the newest journal id whose results are stored."""
        with self._write_lock:
            row = self._db.execute("SELECT value FROM state WHERE name='journal_id'").fetchone()
        return int(row[0]) if row else 0

    @patient
    def forget_steps(self, before_journal_id: int) -> None:
        """Forget the steps whose batches the journal no longer has.

        Parameters
        ----------
        before_journal_id : the oldest batch that the journal keeps
        """
        with self._transaction() as db:
            db.execute("DELETE FROM steps WHERE journal_id < ?", (before_journal_id,))

    def state(self, name: str) -> int | None:
        """Return one number of the state, None when it was never set.

        Parameters
        ----------
        name : for example ``dirty_ns``
        """
        with self._write_lock:
            row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else int(row[0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the writing connection for one transaction; for the modules of this room."""
        with self._transaction() as db:
            yield db

    @contextmanager
    def attached(self, other: Path) -> Iterator[sqlite3.Connection]:
        """Give the writing connection with another file as schema ``made``, in a transaction.

        Parameters
        ----------
        other : a results file that nobody else uses

        Yields
        ------
        db : the transaction ends with the block
        """
        with self._write_lock:
            self._db.execute("ATTACH ? AS made", (str(other),))
            try:
                with self._db:
                    self._db.execute("BEGIN IMMEDIATE")
                    yield self._db
            finally:
                self._db.execute("DETACH made")

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

    @patient
    def events_sent(self, up_to_id: int) -> None:
        """Forget the events that the broker has taken.

        Parameters
        ----------
        up_to_id : inclusive
        """
        with self._transaction() as db:
            cursor = db.execute("DELETE FROM outgoing_events WHERE id <= ?", (up_to_id,))
            add_state(db, "events_published", cursor.rowcount)

    def next_lines(self, lines_max: int) -> Portion:
        """Return the oldest queued lines, either all to be written or all to be erased.

        Parameters
        ----------
        lines_max : stop before more lines than this, but give at least one entry
        """
        up_to_id, total, erases = 0, 0, False
        bodies: list[bytes] = []
        with self._write_lock:
            for row_id, count, body, is_erasure in self._db.execute(
                "SELECT id, line_count, body, is_erasure FROM outgoing_lines ORDER BY id LIMIT 4096"
            ):
                if bodies and (total + count > lines_max or bool(is_erasure) != erases):
                    break
                up_to_id, total, erases = row_id, total + count, bool(is_erasure)
                bodies.append(body)
        return Portion(up_to_id, b"\n".join(bodies), total, erases)

    @patient
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
            add_state(db, "points_written", written)
            add_state(db, "points_refused", len(refused))
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
                add_state(db, "points_dropped", count)
                total -= count

    def _bound(self, db: sqlite3.Connection, table: str, most: int, counter: str) -> None:
        cursor = db.execute(
            f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?",  # noqa: S608
            (most,),
        )
        add_state(db, counter, cursor.rowcount)
