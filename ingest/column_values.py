"""Columns of files as numpy arrays: text, numbers and times, one bad cell at a time.

Rules of the file: whatever type a file gives a column, a cell that cannot be what the
column should hold becomes NaN, `BAD_TIME` or text that no name can have; nothing here
raises on data, and no conversion loops over good rows.
"""

import re
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

BAD_TIME = np.iinfo(np.int64).min
"""Stands for a time that could not be read, or lies outside of 1823 to 2116."""
_TIME_LIMIT_NS = 2**62
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*$"
_WHOLE = r"^\s*[+-]?\d{1,18}\s*$|^\s*[+-]?[1-8]\d{18}\s*$"
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|z|[+-]\d\d:\d\d)", re.ASCII
)
_USUAL = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$"
_NO_TEXT = pa.scalar(None, pa.string())
_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def text_of(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return a column as str objects, equal texts as one object; absent is the empty text.

    Parameters
    ----------
    column : of any type

    Returns
    -------
    text : shape (n,), object
    """
    coded = _as_string(column).combine_chunks().dictionary_encode()
    values = np.array([*coded.dictionary.to_pylist(), ""], dtype=object)
    codes = pc.fill_null(coded.indices, len(values) - 1).to_numpy(zero_copy_only=False)
    found: NDArray[np.object_] = values[codes]
    return found


def numbers_of(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column as numbers; NaN is absent or not a number.

    Parameters
    ----------
    column : of any type

    Returns
    -------
    numbers : shape (n,), float64
    """
    if _is_number(column.type):
        return _floats(pc.cast(column, pa.float64(), safe=False))
    return _floats(_parsed(_as_string(column), _NUMBER, pa.float64()))


def times_of(column: pa.ChunkedArray, *, rfc3339: bool = False) -> NDArray[np.int64]:
    """Return a column as nanoseconds since 1970, UTC; `BAD_TIME` is absent or unreadable.

    Parameters
    ----------
    column : of any type; timestamps without a zone count as UTC
    rfc3339 : text is RFC 3339, not a count of nanoseconds

    Returns
    -------
    t_ns : shape (n,), int64 [ns]
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _scaled(pc.cast(column, pa.int64()), _UNIT_NS[kind.unit])
    if rfc3339:
        return _times(_as_string(column))
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return _scaled(pc.cast(column, pa.int64()), 1)
    if pa.types.is_floating(kind):
        return _rounded(numbers_of(column))
    text = _as_string(column)
    whole = _parsed(text, _WHOLE, pa.int64())
    found = _scaled(whole, 1)
    rest = pc.is_null(whole).to_numpy()
    if rest.any():
        # Some writers give large whole numbers as 1.764e18.
        found[rest] = _rounded(numbers_of(text.filter(pa.array(rest))))
    return found


def _is_number(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind))


def _as_string(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type):
        return column
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowException:
        # Bytes that are no UTF-8, or a nested type: the rest of the column is still good.
        return pa.chunked_array([[_text(item) for item in column.to_pylist()]], pa.string())


def _text(item: object) -> str | None:
    if isinstance(item, bytes):
        return item.decode("utf-8", errors="replace")
    return None if item is None else str(item)


def _parsed(text: pa.ChunkedArray, pattern: str, kind: pa.DataType) -> pa.ChunkedArray:
    good = pc.match_substring_regex(text, pattern)
    bare = pc.utf8_ltrim(pc.ascii_trim_whitespace(text), "+")
    return pc.cast(pc.if_else(good, bare, _NO_TEXT), kind)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array(pc.fill_null(column, np.nan).to_numpy(), dtype=np.float64)


def _scaled(column: pa.ChunkedArray, factor: int) -> NDArray[np.int64]:
    count = np.array(pc.fill_null(column, BAD_TIME).to_numpy(), dtype=np.int64)
    limit = _TIME_LIMIT_NS // factor
    good = (count > -limit) & (count < limit)
    return np.where(good, np.where(good, count, 0) * factor, BAD_TIME)


def _rounded(number: NDArray[np.float64]) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        good = np.abs(number) < _TIME_LIMIT_NS
    return np.where(good, np.where(good, number, 0).astype(np.int64), BAD_TIME)


def _times(text: pa.ChunkedArray) -> NDArray[np.int64]:
    """Read RFC 3339: the usual form at once, what is left of the column cell by cell."""
    usual = pc.fill_null(pc.match_substring_regex(text, _USUAL), fill_value=False)
    try:
        moments = pc.cast(pc.if_else(usual, text, _NO_TEXT), pa.timestamp("ns", tz="UTC"))
    except pa.ArrowException:
        moments, usual = pa.nulls(len(text), pa.int64()), pa.nulls(len(text), pa.bool_())
    found = _scaled(pc.cast(moments, pa.int64()), 1)
    rest = ~pc.fill_null(usual, fill_value=False).to_numpy(zero_copy_only=False)
    found[rest] = [_time(item or "") for item in text.filter(pa.array(rest)).to_pylist()]
    return found


def _time(text: str) -> int:
    """Return the nanoseconds of an RFC 3339 time; digits beyond the ninth are cut off."""
    parts = _RFC3339.fullmatch(text.strip())
    if parts is None:
        return int(BAD_TIME)
    day, clock, fraction, zone = parts.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}")
    except ValueError:
        return int(BAD_TIME)
    t_ns = int(moment.timestamp()) * 10**9 + int((fraction or "")[:9].ljust(9, "0"))
    return t_ns if abs(t_ns) < _TIME_LIMIT_NS else int(BAD_TIME)
