"""The recorded day that all faults play, and the tables that an undisturbed run gives.

Rules of the file: the day is made by the simulator; the truth is the recorded file, and
the tables are those of `fanous analyze` over it. A *tail* of three readings of nobody in
particular follows 700 s after the last row: a live gateway ends visits by time alone.
Rows are compared as they leave an agent: with pseudonyms, up to `horizon_ns`.
"""

import csv
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import parquet

from edge.batcher import Batcher, Sender
from edge.identity import Identity
from edge.measurement import Measurement, Reading, Sample, Tap
from gateway.result_tables import COLUMNS, KEYS, TIME_COLUMN
from ingest.identifiers import read_key_file
from ingest.store_file import read_store

NS = 1_000_000_000
KEY = b"the key of the faults' own store"
STORE = "demo"
TAIL_S = (700, 760, 820)
HORIZON_S = 660
FILES = {"ble": "readings", "tap": "taps", "sample": "samples"}
Key = tuple[str, int, str, str]
"""A row's kind, time [ns], receiver, tap point or sensor, and pseudonym (or "")."""
Tables = dict[str, set[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recorded row: its key, the agent it belongs to, and its line in the file."""

    key: Key
    agent: str
    line: str
    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recorded day.

    Attributes
    ----------
    folder : with store.toml, the files and the key
    rows : in order of time
    expected : name of table to its rows
    headers : kind to the first line of its file
    """

    folder: Path
    rows: tuple[Row, ...]
    expected: Tables
    headers: dict[str, str]

    @property
    def store_file(self) -> Path:
        """The store file."""
        return self.folder / "store.toml"

    @property
    def key_file(self) -> Path:
        """The key file."""
        return self.folder / "key"

    @property
    def agents(self) -> list[str]:
        """The names of the agents, in order."""
        return sorted({row.agent for row in self.rows})

    @property
    def last_ns(self) -> int:
        """The time of the last row [ns]."""
        return self.rows[-1].key[1]

    @property
    def seconds(self) -> float:
        """How long the day is [s of data]."""
        return (self.last_ns - self.rows[0].key[1]) / NS


def make_recording(folder: Path, *, minutes: int, seed: int, agents: int = 1) -> Recording:
    """Simulate a day, analyse it, and return both.

    Parameters
    ----------
    folder : made
    minutes : how long
    seed : of the simulator
    agents : 1 or 2, who share the receivers
    """
    day = folder / "day"
    _fanous("simulate", "demo", "--minutes", str(minutes), "--seed", str(seed), "--out", str(day))
    text = (day / "store.toml").read_text(encoding="utf-8")
    owners = {f"pi-{n}": f"pi-{1 + (n - 1) * agents // 4}" for n in range(1, 5)}
    text = re.sub(r'agent = "(pi-[1-4])"', lambda found: f'agent = "{owners[found[1]]}"', text)
    (day / "store.toml").write_text(text, encoding="utf-8")
    (day / "key").write_bytes(KEY)
    rows, headers = _read(day)
    tail = day / "tail.csv"
    tail.write_text(
        headers["ble"]
        + "".join(
            f"{t_ns},{receiver},{tag},{rssi}\n"
            for t_ns, receiver, tag, rssi in tail_rows(rows[-1].key[1])
        ),
        encoding="utf-8",
    )
    out = folder / "expected"
    _fanous(
        *("analyze", str(day / "readings.csv"), str(tail), "--store", str(day / "store.toml")),
        *("--taps", str(day / "taps.csv"), "--shelf", str(day / "samples.csv")),
        *("--key-file", str(day / "key"), "--out", str(out)),
    )
    expected = {name: read_table(out / f"{name}.parquet", name, rows[-1].key[1]) for name in KEYS}
    return Recording(folder=day, rows=tuple(rows), expected=expected, headers=headers)


def tail_rows(last_ns: int) -> list[tuple[int, str, str, float]]:
    """Return the readings of the tail as (t_ns, receiver, tag, rssi_dbm).

    Parameters
    ----------
    last_ns : [ns] of the last row of the day
    """
    return [(last_ns + s * NS, "rx-1", "name:nobody", -60.0) for s in TAIL_S]


def within(table: str, rows: Sequence[tuple[Any, ...]], last_ns: int) -> set[tuple[Any, ...]]:
    """Return rows up to the horizon, final ones, with None for what is unknown.

    Parameters
    ----------
    table : its name
    rows : with the columns of the table
    last_ns : [ns] of the last row of the day
    """
    time = COLUMNS[table].index(TIME_COLUMN.get(table, "t_ns"))
    # The stock at the very end is that of a finished analysis; a live gateway does not finish.
    until_ns = last_ns + (0 if table == "shelf_stock" else HORIZON_S * NS)
    status = COLUMNS[table].index("status") if "status" in COLUMNS[table] else None
    return {
        tuple(_plain(value) for value in row)
        for row in rows
        if row[time] <= until_ns and (status is None or row[status] == "final")
    }


def read_table(path: Path, table: str, last_ns: int) -> set[tuple[Any, ...]]:
    """Return the rows of a Parquet file of `fanous analyze`, as `within` does.

    Parameters
    ----------
    path : the file
    table : its name
    last_ns : [ns] of the last row of the day
    """
    columns = parquet.read_table(path, columns=list(COLUMNS[table])).to_pydict()
    return within(table, list(zip(*(columns[n] for n in COLUMNS[table]), strict=True)), last_ns)


def write_rows(recording: Recording, rows: Sequence[Row], folder: Path) -> dict[str, Path]:
    """Write rows as files for a replay source; return kind to path, of what there is.

    Parameters
    ----------
    recording : of the rows
    rows : in order of time
    folder : made when missing
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for kind, name in FILES.items():
        lines = [row.line for row in rows if row.key[0] == kind]
        if lines:
            paths[kind] = folder / f"{name}.csv"
            paths[kind].write_text(recording.headers[kind] + "".join(lines), encoding="utf-8")
    return paths


def make_batches(
    rows: Sequence[Row], *, agent: str, boot: str, span_s: float = 0.5
) -> list[tuple[str, int, bytes]]:
    """Return the batches that an agent makes of rows, as (kind, end [ns], payload).

    Parameters
    ----------
    rows : in order of time
    agent : who sends
    boot : of the agent
    span_s : [s of data] how often it closes its batches
    """
    batcher = Batcher(
        Sender(store=STORE, agent=agent, boot=boot),
        outer=Identity(KEY).outer,
        first_seq=lambda _kind: 1,
        max_rows=10_000,
    )
    found: list[tuple[str, int, bytes]] = []
    end_ns = rows[0].measurement.t_ns + round(span_s * NS)
    for row in rows:
        t_ns = row.measurement.t_ns
        if t_ns >= end_ns:
            found += [(b.kind, end_ns, b.payload) for b in batcher.close(end_ns)]
            end_ns = t_ns + round(span_s * NS)
        batcher.add([row.measurement])
    return found + [(b.kind, end_ns, b.payload) for b in batcher.close(end_ns)]


def _read(day: Path) -> tuple[list[Row], dict[str, str]]:
    store = read_store(day / "store.toml")
    agent_of = {receiver.id: receiver.agent or "pi-1" for receiver in store.receivers}
    outer = Identity(read_key_file(day / "key")).outer
    rows, headers = [], {}
    for kind, name in FILES.items():
        with (day / f"{name}.csv").open(encoding="utf-8") as file:
            header, *lines = file.readlines()
        headers[kind] = header.replace('"', "")
        for line, fields in zip(lines, csv.reader(lines), strict=True):
            measurement = _measurement(kind, fields)
            tag = "" if kind == "sample" else outer(fields[2]) or ""
            rows.append(
                Row(
                    key=(kind, int(fields[0]), fields[1], tag),
                    agent=agent_of.get(fields[1], "pi-1"),
                    line=line,
                    measurement=measurement,
                )
            )
    rows.sort(key=lambda row: row.key[1])
    return rows, headers


def _measurement(kind: str, fields: list[str]) -> Measurement:
    t_ns = int(fields[0])
    if kind == "ble":
        return Reading(t_ns, fields[1], fields[2], float(fields[3]))
    if kind == "tap":
        return Tap(t_ns, fields[1], fields[2], None)
    return Sample(t_ns, fields[1], float(fields[2]), None)


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def _fanous(*words: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "fanous", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"fanous {words[0]} failed: {done.stderr.strip()[-500:]}")
