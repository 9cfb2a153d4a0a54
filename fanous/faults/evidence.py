"""What is where: rows in outboxes and journals, rows in result tables, points in InfluxDB.

Rules of the file: it only looks. The files of a program that does not run are copied
before they are opened, because opening a SQLite file repairs it, and that is for the
program itself to do; those of a running one are opened for reading.
"""

import contextlib
import json
import shutil
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanous.faults.recording import Key, Tables, within
from gateway.line_protocol import stamp_ns
from gateway.result_tables import COLUMNS
from ingest.columns import DecodedBatch, decode_batch

Numbered = tuple[str, str, int]
"""A batch's boot, kind and seq."""


@dataclass(slots=True)
class JournalView:
    """The rows of a journal, read on from where the last look ended.

    Attributes
    ----------
    counts : how often each row is there
    """

    path: Path
    counts: Counter[Key] = field(default_factory=Counter)
    last_id: int = 0

    def look(self, *, runs: bool, scratch: Path) -> Counter[Key]:
        """Read what is new and return `counts`.

        Parameters
        ----------
        runs : whether the gateway runs
        scratch : for the copy where it does not
        """
        if not self.path.exists():
            return self.counts
        with opened(self.path, runs=runs, scratch=scratch) as database:
            for number, payload in database.execute(
                "SELECT id, payload FROM batches WHERE id > ? AND boot != 'tail' ORDER BY id",
                (self.last_id,),
            ):
                self.last_id = number
                self.counts.update(keys_of(decode_batch(payload)))
        return self.counts


def read_outbox(state_dir: Path, *, runs: bool, scratch: Path) -> dict[Numbered, bytes]:
    """Return the batches of an outbox, by boot, kind and seq.

    Parameters
    ----------
    state_dir : of the agent
    runs : whether the agent runs
    scratch : for the copy where it does not
    """
    path = state_dir / "outbox.sqlite"
    if not path.exists():
        return {}
    with opened(path, runs=runs, scratch=scratch) as database:
        if not database.execute("PRAGMA user_version").fetchone()[0]:
            return {}
        rows = database.execute("SELECT boot, kind, seq, payload FROM outbox").fetchall()
    return {(boot, kind, seq): payload for boot, kind, seq, payload in rows}


def read_losses(state_dir: Path, *, scratch: Path) -> dict[str, int]:
    """Return the rows in an outbox's loss ledger, by kind.

    Parameters
    ----------
    state_dir : of the agent, which does not run
    scratch : for the copy
    """
    with opened(state_dir / "outbox.sqlite", runs=False, scratch=scratch) as database:
        return dict(database.execute("SELECT kind, sum(rows) FROM loss GROUP BY kind").fetchall())


@contextlib.contextmanager
def opened(path: Path, *, runs: bool, scratch: Path) -> Iterator[sqlite3.Connection]:
    """Open a database of the project to look at it.

    Parameters
    ----------
    path : the file
    runs : whether its program runs
    scratch : for the copy where it does not

    Yields
    ------
    database : open, closed afterwards
    """
    if runs:
        database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20.0)
    else:
        scratch.mkdir(parents=True, exist_ok=True)
        copy = scratch / path.name
        for end in ("", "-wal", "-shm"):
            copy.with_name(copy.name + end).unlink(missing_ok=True)
        for end in ("", "-wal"):
            source = path.with_name(path.name + end)
            if source.exists():
                shutil.copyfile(source, copy.with_name(copy.name + end))
        database = sqlite3.connect(copy, timeout=20.0)
    with contextlib.closing(database):
        yield database


def keys_of(batch: DecodedBatch) -> list[Key]:
    """Return the keys of a batch's rows.

    Parameters
    ----------
    batch : decoded
    """
    if not batch.rows:
        return []
    where = next(c for c in (batch.receiver, batch.tap_point, batch.sensor) if c is not None)
    places = [where.values[code] for code in where.codes.tolist()]
    tags = [""] * len(places)
    if batch.tag is not None:
        tags = [batch.tag.values[code] for code in batch.tag.codes.tolist()]
    return [
        (batch.kind, t_ns, place, tag)
        for t_ns, place, tag in zip(batch.t_ns.tolist(), places, tags, strict=True)
    ]


def keys_in(payloads: Iterable[bytes]) -> set[Key]:
    """Return the keys of all rows of batches.

    Parameters
    ----------
    payloads : of batches
    """
    return {key for payload in payloads for key in keys_of(decode_batch(payload))}


def read_tables(
    state_dir: Path, names: Iterable[str], last_ns: int, *, runs: bool, scratch: Path
) -> Tables:
    """Return the rows of result tables, comparable to `Recording.expected`.

    Parameters
    ----------
    state_dir : of the gateway
    names : of the tables
    last_ns : [ns] of the last row of the day
    runs : whether the gateway runs
    scratch : for the copy where it does not
    """
    path = state_dir / "results.sqlite"
    if not path.exists():
        return {name: set() for name in names}
    with opened(path, runs=runs, scratch=scratch) as database:
        return {
            name: within(
                name,
                database.execute(f"SELECT {', '.join(COLUMNS[name])} FROM {name}").fetchall(),  # noqa: S608
                last_ns,
            )
            for name in names
        }


def differences(expected: Tables, found: Tables) -> dict[str, tuple[int, int]]:
    """Return the tables that differ, with how many rows are missing and how many too many.

    Parameters
    ----------
    expected : of the undisturbed run
    found : of the gateway
    """
    counts = {
        name: (len(rows - found[name]), len(found[name] - rows)) for name, rows in expected.items()
    }
    return {name: both for name, both in counts.items() if both != (0, 0)}


def expected_points(tables: Tables) -> dict[str, set[tuple[Any, ...]]]:
    """Return what InfluxDB must hold of dwells, visits and occupancy, as (time, value) rows.

    Parameters
    ----------
    tables : of the undisturbed run
    """

    def column(table: str, row: Sequence[Any], name: str) -> Any:  # noqa: ANN401
        return row[COLUMNS[table].index(name)]

    dwells = {
        (
            stamp_ns(column("dwells", r, "end_ns"), column("dwells", r, "dwell")),
            column("dwells", r, "zone"),
        )
        for r in tables["dwells"]
    }
    visits = {
        (
            stamp_ns(column("visits", r, "end_ns"), column("visits", r, "visit")),
            column("visits", r, "visit"),
        )
        for r in tables["visits"]
    }
    occupancy = {
        (
            stamp_ns(column("occupancy", r, "t_ns"), None),
            column("occupancy", r, "zone"),
            column("occupancy", r, "people"),
        )
        for r in tables["occupancy"]
    }
    # A 1.x server can delete, so nothing may only be voided there (contract, section 6).
    return {"dwell": dwells, "visit": visits, "occupancy": occupancy, "voided": set()}


def found_points(port: int, last_ns: int) -> dict[str, Counter[tuple[Any, ...]]]:
    """Return the same from the database, with how often each is there.

    Parameters
    ----------
    port : of the InfluxDB
    last_ns : [ns] of the last point wanted
    """
    queries = {
        "dwell": 'SELECT dwell_s, "zone" FROM dwell',
        "visit": 'SELECT visit_s, "visit" FROM visit',
        "occupancy": 'SELECT people, "zone" FROM occupancy',
    }
    picked = {"dwell": ("zone",), "visit": ("visit",), "occupancy": ("zone", "people")}
    found: dict[str, Counter[tuple[Any, ...]]] = {"voided": Counter()}
    for name, query in queries.items():
        rows = _ask(port, f"{query} WHERE time <= {last_ns}")
        is_void = [
            name != "occupancy" and not (row.get("dwell_s") or row.get("visit_s")) for row in rows
        ]
        found[name] = Counter(
            (row["time"], *(row[column] for column in picked[name]))
            for row, void in zip(rows, is_void, strict=True)
            if not void
        )
        found["voided"].update((name,) for void in is_void if void)
    return found


def point_differences(
    expected: dict[str, set[tuple[Any, ...]]], found: dict[str, Counter[tuple[Any, ...]]]
) -> dict[str, tuple[int, int]]:
    """Return measurements that differ, with how many points are missing and how many too many.

    Parameters
    ----------
    expected : of the undisturbed run
    found : in the database
    """
    counts = {
        name: (len(rows - set(found[name])), found[name].total() - len(rows & set(found[name])))
        for name, rows in expected.items()
    }
    return {name: both for name, both in counts.items() if both != (0, 0)}


def summary_of(port: int) -> dict[str, Any]:
    """Return ``GET /api/v1/summary``, {} when the gateway does not answer.

    Parameters
    ----------
    port : of the gateway
    """
    try:
        url = f"http://127.0.0.1:{port}/api/v1/summary"
        with urllib.request.urlopen(url, timeout=5) as reply:
            read: dict[str, Any] = json.loads(reply.read())
            return read
    except (OSError, ValueError):
        return {}


def _ask(port: int, query: str) -> list[dict[str, Any]]:
    words = urllib.parse.urlencode({"db": "fanous", "q": query, "epoch": "ns"})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/query?{words}", timeout=20) as reply:
            result = json.loads(reply.read())["results"][0]
    except (urllib.error.URLError, OSError, ValueError):
        return []
    return [
        dict(zip(series["columns"], row, strict=True))
        for series in result.get("series", [])
        for row in series["values"]
    ]
