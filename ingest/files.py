"""Measurement and truth files: CSV, CSV.gz, JSON lines and Parquet, by extension.

Rules of the file: columns by name in any order, extra columns ignored; a cell
that cannot be parsed becomes NaN (or `BAD_TIME`) so that its row, and only that
row, can be dropped and counted by the caller; a missing column or an unreadable
file is a `ConfigError`, whose sentence never repeats the file's rows. Contract section 3.
"""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import ArrayLike, NDArray

from ingest.column_values import BAD_TIME, numbers_of, text_of, times_of
from ingest.config import ConfigError, nearest, shown
from ingest.csv_text import open_text

__all__ = [
    "BAD_TIME",
    "EXTENSIONS",
    "extension_of",
    "read_columns",
    "read_columns_counting",
    "write_columns",
]

EXTENSIONS = (".csv", ".csv.gz", ".jsonl", ".parquet")
_TEXT = {
    "receiver", "tag", "tap_point", "sensor", "zone", "shelf", "gtin", "kind", "stage", "layer",
    "zone_state", "dwell", "visit", "path", "purpose", "from_zone", "to_zone", "event", "status",
    "state", "reason", "floor", "proof",
}  # fmt: skip
_TIMES = {"t_ns", "start_ns", "end_ns", "since_ns"}
_HEADER_BYTES = 65536


def extension_of(path: Path) -> str:
    """Return which of `EXTENSIONS` a file has.

    Raises
    ------
    ConfigError
        It has none of them.
    """
    for extension in EXTENSIONS:
        if path.name.lower().endswith(extension):
            return extension
    raise ConfigError(f"{path}: expected a name ending in {', '.join(EXTENSIONS)}")


def read_columns(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """Read named columns of a file.

    Parameters
    ----------
    path : the file
    required : columns that must be there; ``t_ns`` may be given as ``time`` (RFC 3339)
    optional : columns that are read where they exist

    Returns
    -------
    columns : names of text columns hold str objects, times int64 (`BAD_TIME` where
        unreadable), all others float64 (NaN where unreadable or empty)

    Raises
    ------
    ConfigError
        The file is unreadable or empty, or a required column is missing.
    """
    return read_columns_counting(path, required=required, optional=optional)[0]


def read_columns_counting(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, NDArray[Any]], int]:
    """As `read_columns`, with the number of lines that are broken: wrong count of cells, no JSON.

    Raises
    ------
    ConfigError
        As `read_columns`.
    """
    extension = extension_of(path)

    def choose(names: Sequence[str]) -> dict[str, str]:
        return _chosen(path, names, required, optional)

    try:
        if path.is_dir():
            raise ConfigError(f"{path}: expected a file, found a directory")
        if path.stat().st_size == 0:
            raise ConfigError(f"{path}: the file is empty (0 bytes); expected a header at least")
        columns, broken = _READERS[extension](path, choose)
    except OSError as error:
        # An error without a number comes from a decoder, not from the system.
        reason = error.strerror if error.errno else _not_readable(extension)
        raise ConfigError(f"{path}: cannot be read ({reason})") from error
    except (pa.ArrowException, zlib.error, EOFError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({_not_readable(extension)})") from error
    return {name: _converted(name, *found) for name, found in columns.items()}, broken


def write_columns(
    path: Path, columns: Mapping[str, ArrayLike | pa.Array], *, force: bool = False
) -> None:
    """Write columns of equal length to a file, atomically, in the format of its extension.

    Parameters
    ----------
    path : the file
    columns : name to values; None and NaN are an empty cell
    force : overwrite an existing file

    Raises
    ------
    ConfigError
        The file exists and `force` is false, or cannot be written.
    """
    extension = extension_of(path)
    table = pa.table({name: _array(values) for name, values in columns.items()})
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not force:
            raise ConfigError(f"{path}: exists already; choose another name or say --force")
        try:
            with open(partial, "wb") as raw:
                _write_table(table, raw, extension)
            partial.replace(path)
        except BaseException:
            if partial.exists():
                partial.unlink()
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be written ({reason})") from error


_CSV_OUT = pa.csv.WriteOptions(quoting_style="needed")


def _write_table(table: pa.Table, raw: io.BufferedWriter, extension: str) -> None:
    if extension == ".parquet":
        pa.parquet.write_table(table, raw, compression="zstd")
    elif extension == ".csv":
        pa.csv.write_csv(table, raw, _CSV_OUT)
    elif extension == ".csv.gz":
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed:
            pa.csv.write_csv(table, packed, _CSV_OUT)
    else:
        raw.writelines(msgspec.json.encode(row) + b"\n" for row in table.to_pylist())


def _array(values: ArrayLike | pa.Array) -> pa.Array:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    return pa.array(values, from_pandas=True)


def _not_readable(extension: str) -> str:
    what = {
        ".csv": "no CSV text in it",
        ".csv.gz": "not gzip, or cut off",
        ".jsonl": "no JSON lines in it",
        ".parquet": "not Parquet, or cut off",
    }
    return f"{what[extension]}; expected what the name says, {extension}"


Choose = Callable[[Sequence[str]], dict[str, str]]
"""From the names in a file to the wanted columns: name to the column it is read from."""
Found = dict[str, tuple[str, pa.ChunkedArray]]
"""Name to the column it was read from and its cells."""


def _chosen(
    path: Path, names: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in (*required, *optional):
        source = "time" if name == "t_ns" and name not in names and "time" in names else name
        if source not in names:
            if name in required:
                raise ConfigError(f"{path}: column '{name}' is missing{_missing_hint(name, names)}")
            continue
        if names.count(source) > 1:
            raise ConfigError(f"{path}: column '{source}' appears more than once; expected it once")
        found[name] = source
    return found


def _missing_hint(name: str, names: Sequence[str]) -> str:
    for sign, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and sign in names[0]:
            return f"; the header is separated by {called}, expected commas"
    if len(names) > 40 or not all(text.isprintable() and len(text) <= 64 for text in names):
        return f"; the file begins with {shown(' '.join(names)[:60])}"
    return nearest(name, [text for text in names if text])


def _read_csv(path: Path, choose: Choose) -> tuple[Found, int]:
    names, lines, has_rows = _csv_header(path)
    chosen = choose(names)
    if not has_rows:
        return {name: (source, pa.chunked_array([], _NULL)) for name, source in chosen.items()}, 0
    # Columns are read by number, so that repeated or empty names elsewhere do no harm.
    numbers = {name: str(names.index(source)) for name, source in chosen.items()}
    kinds = {numbers[name]: _csv_type(name, source) for name, source in chosen.items()}
    try:
        table, broken = _parse_csv(path, len(names), lines, kinds)
    except pa.ArrowInvalid:
        # Some cell is not of its column's type: read all as text and look at each cell.
        kinds = dict.fromkeys(kinds, pa.string())
        table, broken = _parse_csv(path, len(names), lines, kinds)
    return {name: (source, table[numbers[name]]) for name, source in chosen.items()}, broken


_NULL = pa.null()


def _csv_type(name: str, source: str) -> pa.DataType:
    if name in _TEXT or source == "time":
        return pa.string()
    return pa.int64() if name in _TIMES else pa.float64()


def _csv_header(path: Path) -> tuple[list[str], int, bool]:
    """Return the names of the header, the lines up to its end, and whether anything follows."""
    head = b""
    with open_text(path) as file:
        while len(head) < _HEADER_BYTES and (more := file.read(_HEADER_BYTES)):
            head += more
    whole = len(head) < _HEADER_BYTES
    text = io.StringIO(head.decode("utf-8-sig", errors="ignore"), newline=None)
    rows = csv.reader(text)
    try:
        for row in rows:
            names = [name.strip() for name in row]
            if any(names):
                return names, rows.line_num, not whole or bool(text.read().strip())
    except csv.Error as error:
        raise ValueError("no CSV") from error
    raise ConfigError(f"{path}: the file is empty; expected a header at least")


def _parse_csv(
    path: Path, columns: int, lines: int, kinds: dict[str, pa.DataType]
) -> tuple[pa.Table, int]:
    broken = 0

    def skip(_row: object) -> str:
        nonlocal broken
        broken += 1
        return "skip"

    with open_text(path) as stream:
        table = pa.csv.read_csv(
            stream,
            read_options=pa.csv.ReadOptions(
                use_threads=False,
                skip_rows=lines,
                column_names=[str(number) for number in range(columns)],
            ),
            parse_options=pa.csv.ParseOptions(invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(
                column_types=kinds, include_columns=list(kinds), strings_can_be_null=False
            ),
        )
    return table, broken


def _read_jsonl(path: Path, choose: Choose) -> tuple[Found, int]:
    names: dict[str, None] = {}
    rows: list[dict[str, Any]] = []
    decoder = msgspec.json.Decoder()
    broken = 0
    with open(path, "rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append(row)
                names.update(dict.fromkeys(row))
            else:
                broken += 1
    if not rows:
        raise ConfigError(f"{path}: expected one JSON object per line, got none")
    found: Found = {}
    for name, source in choose(list(names)).items():
        cells = pa.array([_json_text(row.get(source)) for row in rows], pa.string())
        found[name] = (source, pa.chunked_array([cells]))
    return found, broken


def _json_text(value: object) -> str | None:
    return None if value is None else str(value)


def _read_parquet(path: Path, choose: Choose) -> tuple[Found, int]:
    with pa.parquet.ParquetFile(str(path)) as file:
        chosen = choose(file.schema_arrow.names)
        table = file.read(columns=sorted(set(chosen.values())), use_threads=False)
    return {name: (source, table[source]) for name, source in chosen.items()}, 0


_READERS: dict[str, Callable[[Path, Choose], tuple[Found, int]]] = {
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _converted(name: str, source: str, column: pa.ChunkedArray) -> NDArray[Any]:
    if name in _TEXT:
        return text_of(column)
    if name in _TIMES:
        return times_of(column, rfc3339=source == "time")
    return numbers_of(column)
