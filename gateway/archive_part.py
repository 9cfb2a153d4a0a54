"""A part of the archive while it is gathered, and its Parquet files.

Rules of the file: columns are those of contract section 3, with `time` beside `t_ns`,
as in every Parquet file of ours; taps keep `proof`. A part that spans midnight (UTC)
gives one file a day; rows stand in order of time. What it holds in memory is arrays
of numbers, and each name once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingest.batch import Kind
from ingest.columns import Coded, DecodedBatch

DAY_NS = 86_400_000_000_000
DAYS_MOST = 31
"""Days that one part may touch: every day is a file, and an agent's clock may be mad."""
FILE_OF: dict[Kind, str] = {"ble": "readings", "tap": "taps", "sample": "samples"}
_TEXTS: dict[Kind, tuple[str, ...]] = {
    "ble": ("receiver", "tag"),
    "tap": ("tap_point", "tag", "proof"),
    "sample": ("sensor",),
}
_NUMBERS: dict[Kind, tuple[str, ...]] = {
    "ble": ("rssi_dbm",),
    "tap": (),
    "sample": ("mass_g", "range_mm"),
}
_INSTANT = pa.timestamp("ns", tz="UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFile:
    """One file of a part.

    Attributes
    ----------
    day : YYYY-MM-DD, UTC
    stem : readings, taps or samples
    data : Parquet
    newest_ns : [ns] time of its last row
    """

    day: str
    stem: str
    data: bytes
    rows: int
    newest_ns: int


class Part:
    """Rows of consecutive batches of the journal.

    Attributes
    ----------
    batches : how many were added
    rows : how many rows are held
    """

    def __init__(self) -> None:
        self.batches = self.rows = 0
        self._days: set[int] = set()
        self._kinds: dict[Kind, _Rows] = {}

    def add(self, batch: DecodedBatch, keep: NDArray[np.bool_]) -> int | None:
        """Add a batch's rows.

        Parameters
        ----------
        batch : decoded
        keep : shape (rows,), bool, the rows to be kept

        Returns
        -------
        int or None
            Rows added: fewer than kept when the batch alone touches more days than a part
            may. None: nothing was added, it needs the next part.
        """
        days = batch.t_ns // DAY_NS
        touched = set(np.unique(days[keep]).tolist())
        if len(self._days | touched) > DAYS_MOST:
            if self.batches:
                return None
            touched = set(sorted(touched)[:DAYS_MOST])
            keep = keep & np.isin(days, sorted(touched))
        self.batches += 1
        added = int(keep.sum())
        if added:
            self._days |= touched
            self._kinds.setdefault(batch.kind, _Rows(batch.kind)).add(batch, keep)
            self.rows += added
        return added

    def files(self) -> Iterator[PartFile]:
        """Yield the part's files, made one at a time."""
        for kind, rows in self._kinds.items():
            yield from rows.files(FILE_OF[kind])


@dataclass(slots=True)
class _Texts:
    """A text column: each text once, and codes; -1 = none."""

    code_of: dict[str, int] = field(default_factory=dict)
    codes: list[NDArray[np.int32]] = field(default_factory=list)

    def add(self, column: Coded | None, keep: NDArray[np.bool_]) -> None:
        if column is None:
            self.codes.append(np.full(int(keep.sum()), -1, np.int32))
            return
        known: list[Any] = list(map(self.code_of.get, column.values))
        if None in known:
            known = [self.code_of.setdefault(text, len(self.code_of)) for text in column.values]
        self.codes.append(np.array(known, np.int32)[column.codes[keep]])


class _Rows:
    """Rows of one kind, column by column."""

    def __init__(self, kind: Kind) -> None:
        self._t_ns: list[NDArray[np.int64]] = []
        self._texts = {name: _Texts() for name in _TEXTS[kind]}
        self._numbers: dict[str, list[NDArray[np.float64]]] = {n: [] for n in _NUMBERS[kind]}

    def add(self, batch: DecodedBatch, keep: NDArray[np.bool_]) -> None:
        self._t_ns.append(batch.t_ns[keep])
        for name, texts in self._texts.items():
            texts.add(getattr(batch, name), keep)
        for name, numbers in self._numbers.items():
            column = getattr(batch, name)
            absent = np.full(int(keep.sum()), np.nan)
            numbers.append(absent if column is None else column[keep])

    def files(self, stem: str) -> Iterator[PartFile]:
        every_ns = np.concatenate(self._t_ns)
        order = np.argsort(every_ns, kind="stable")
        ordered_ns = every_ns[order]
        texts = {name: np.concatenate(column.codes) for name, column in self._texts.items()}
        numbers = {name: np.concatenate(column) for name, column in self._numbers.items()}
        days, first = np.unique(ordered_ns // DAY_NS, return_index=True)
        for day, rows in zip(days.tolist(), np.split(order, first[1:]), strict=True):
            t_ns = every_ns[rows]
            columns: dict[str, Any] = {"t_ns": pa.array(t_ns)}
            columns["time"] = columns["t_ns"].cast(_INSTANT)
            for name, codes in texts.items():
                columns[name] = _as_text(list(self._texts[name].code_of), codes[rows])
            for name, values in numbers.items():
                columns[name] = pa.array(values[rows], from_pandas=True)
            yield PartFile(
                day=str(np.datetime64(day, "D")),
                stem=stem,
                data=_parquet(pa.table(columns)),
                rows=len(rows),
                newest_ns=int(t_ns[-1]),
            )


def _as_text(values: list[str], codes: NDArray[np.int32]) -> pa.Array:
    used, place = np.unique(codes, return_inverse=True)
    texts = [None if code < 0 else values[code] for code in used.tolist()]
    return pa.array(texts, pa.string()).take(pa.array(place))


def _parquet(table: pa.Table) -> bytes:
    # Delta encoding for what only grows; a column of few values has a dictionary.
    times = {"t_ns": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED"}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=[name for name in table.column_names if name not in times],
        column_encoding=times,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
