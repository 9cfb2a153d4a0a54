"""From the bytes of a batch to checked numpy columns.

Rules of the file: a batch is right as a whole or it is refused as a whole, with one
reason of a bounded set; any bytes whatever give a `DecodedBatch` or a `BatchError`.
Sizes are checked before anything is inflated or converted. An impossible RSSI is not
malformed: its row is dropped and counted by the caller (`possible_rssi`).
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from ingest.batch import (
    DTYPES,
    INT64_MAX,
    ONE_OF_COLUMNS,
    OPTIONAL_COLUMNS,
    PAYLOAD_BYTES_MAX,
    REQUIRED_COLUMNS,
    RSSI_MAX_DBM,
    RSSI_MIN_DBM,
    Batch,
    BatchError,
    BatchReason,
    CodedColumn,
    Columns,
    Kind,
    Numbers,
    Strings,
    TypedColumn,
    ZstdBatch,
)
from ingest.identifiers import are_pseudonyms, is_name, is_pseudonym, is_tag

# A batch of 256 KiB of the densest allowed rows inflates to less than this; what
# inflates to more is an attack.
INFLATED_BYTES_MAX = 1024 * 1024

_ANY = Batch | ZstdBatch
_FIELD = re.compile(r"`\$\.(\w+)")
_FIELD_REASONS: dict[str, BatchReason] = {
    "schema": "schema",
    "kind": "kind",
    "seq": "seq",
    "sent_ns": "seq",
    "dropped": "seq",
    "first_seq": "seq",
    "complete_ns": "seq",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A string column: row i holds ``values[codes[i]]``.

    Attributes
    ----------
    values : distinct strings, each checked against its grammar; made when they are asked for
        where `ingest.packed_tags` holds them
    codes : shape (rows,), int32, 0 <= code < len(values)
    """

    values: Sequence[str]
    codes: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedBatch:
    """A batch that passed every check; `None` = the kind has no such column.

    Attributes
    ----------
    t_ns : shape (rows,), int64 [ns since 1970, UTC]
    rssi_dbm : shape (rows,), float64 [dBm], rounded to 0.1 dB, NaN where the sender had none
    mass_g : shape (rows,), float64 [g], NaN where the row has none
    range_mm : shape (rows,), float64 [mm], NaN where the row has none
    proof : schemes by which taps proved themselves, "" = none; None = no tap did
    dropped : rows the outbox had to drop, for which this empty batch stands
    first_seq : lowest seq of this boot and kind that the sender still held
    complete_ns : [ns] no later batch of this agent holds earlier rows; 0 = not said
    oldest_ns : [ns] time of the earliest row, None = see `first_ns`
    """

    store: str
    agent: str
    boot: str
    kind: Kind
    seq: int
    sent_ns: int
    dropped: int
    reason: str
    first_seq: int
    complete_ns: int
    t_ns: NDArray[np.int64]
    receiver: Coded | None = None
    tap_point: Coded | None = None
    sensor: Coded | None = None
    tag: Coded | None = None
    rssi_dbm: NDArray[np.float64] | None = None
    mass_g: NDArray[np.float64] | None = None
    range_mm: NDArray[np.float64] | None = None
    proof: Coded | None = None
    oldest_ns: int | None = None

    @property
    def first_ns(self) -> int:
        """Time of the earliest row [ns], 0 when there is none."""
        if self.oldest_ns is not None:
            return self.oldest_ns
        return int(self.t_ns.min()) if len(self.t_ns) else 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.t_ns)

    @property
    def event_ns(self) -> int | None:
        """Up to where this batch moves its agent's event time, None when it does not."""
        if self.complete_ns:
            return self.complete_ns
        return int(self.t_ns.max()) if len(self.t_ns) else None


def decode_batch(
    payload: bytes,
    *,
    identity: Literal["pseudonym", "raw"] = "pseudonym",
    payload_bytes_max: int = PAYLOAD_BYTES_MAX,
) -> DecodedBatch:
    """Decode and check one batch, JSON or MessagePack, plain or zstd.

    Parameters
    ----------
    payload : the MQTT payload; ``{`` as first byte means JSON
    identity : "pseudonym" refuses raw tags, "raw" lets both pass (laboratory)
    payload_bytes_max : longer payloads are refused before they are read

    Returns
    -------
    batch : everything in it is checked

    Raises
    ------
    BatchError
        The batch is malformed; `.reason` is one of `ingest.batch.BatchReason`.
    """
    if len(payload) > payload_bytes_max:
        raise BatchError("oversize", f"{len(payload)} bytes, at most {payload_bytes_max}")
    wire = _parse(payload)
    if isinstance(wire, ZstdBatch):
        wire = _parse(_inflate(wire.data))
        if isinstance(wire, ZstdBatch):
            raise BatchError("schema", "a zstd wrapper inside a zstd wrapper")
    return _check(wire, identity)


def possible_rssi(rssi_dbm: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which readings can be real: -120 to +20 dBm, not NaN.

    Parameters
    ----------
    rssi_dbm : shape (rows,), float [dBm]

    Returns
    -------
    possible : shape (rows,), bool; the caller drops and counts the others

    Examples
    --------
    >>> possible_rssi(np.array([-61.0, float("nan"), 127.0])).tolist()
    [True, False, False]
    """
    return (rssi_dbm >= RSSI_MIN_DBM) & (rssi_dbm <= RSSI_MAX_DBM)


def _parse(payload: bytes) -> Batch | ZstdBatch:
    try:
        if payload[:1] == b"{":
            return cast("Batch | ZstdBatch", msgspec.json.decode(payload, type=_ANY))
        return cast("Batch | ZstdBatch", msgspec.msgpack.decode(payload, type=_ANY))
    except msgspec.ValidationError as error:
        raise BatchError(_reason(str(error))) from None
    except (ValueError, RecursionError, OverflowError):
        # msgspec's DecodeError, UnicodeDecodeError, nesting without end.
        raise BatchError("syntax", "neither JSON nor MessagePack") from None


def _reason(message: str) -> BatchReason:
    if "`schema`" in message:
        return "schema"
    field = _FIELD.search(message)
    return _FIELD_REASONS.get(field.group(1), "shape") if field else "shape"


def _inflate(data: bytes) -> bytes:
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).stream_reader(
            io.BytesIO(data)
        )
        plain = reader.read(INFLATED_BYTES_MAX + 1)
    except (zstandard.ZstdError, MemoryError):
        raise BatchError("zstd", "not zstd data") from None
    if len(plain) > INFLATED_BYTES_MAX:
        raise BatchError("oversize", f"inflates to more than {INFLATED_BYTES_MAX} bytes")
    return plain


def _check(wire: Batch, identity: str) -> DecodedBatch:
    for name in (wire.store, wire.agent, wire.boot):
        if not is_name(name):
            raise BatchError("name", "store, agent or boot")
    required, optional = REQUIRED_COLUMNS[wire.kind], OPTIONAL_COLUMNS[wire.kind]
    there = {name for name in Columns.__struct_fields__ if getattr(wire.columns, name) is not None}
    if there - {*required, *optional}:
        raise BatchError("columns", "a column of another kind")
    one_of = ONE_OF_COLUMNS[wire.kind]
    complete = there.issuperset(required) and (not one_of or not there.isdisjoint(one_of))
    if not complete and (there or not wire.dropped):
        raise BatchError("columns", f"kind {wire.kind} needs {', '.join(required)}")
    t_ns = _times(wire.columns.t_ns)
    if wire.dropped and len(t_ns):
        raise BatchError("dropped", "rows in a batch that stands for dropped ones")
    names = {
        name: _strings(getattr(wire.columns, name), len(t_ns))
        for name in ("receiver", "tap_point", "sensor", "tag", "proof")
    }
    for name, column in names.items():
        if column is not None:
            _check_values(column.values, name, identity)
    rssi = _floats(wire.columns.rssi_dbm, len(t_ns))
    with np.errstate(over="ignore"):  # an impossible RSSI stays impossible
        rssi_dbm = None if rssi is None else np.round(rssi * 10.0) / 10.0
    return DecodedBatch(
        store=wire.store,
        agent=wire.agent,
        boot=wire.boot,
        kind=wire.kind,
        seq=wire.seq,
        sent_ns=wire.sent_ns,
        dropped=wire.dropped,
        reason=wire.reason,
        first_seq=min(wire.first_seq, wire.seq),
        complete_ns=wire.complete_ns,
        t_ns=t_ns,
        oldest_ns=int(t_ns.min()) if len(t_ns) else None,
        rssi_dbm=rssi_dbm,
        mass_g=_floats(wire.columns.mass_g, len(t_ns)),
        range_mm=_floats(wire.columns.range_mm, len(t_ns)),
        **names,
    )


def _array(column: TypedColumn, integers: bool) -> NDArray[np.generic]:
    if column.dtype not in DTYPES or (integers and "f" in column.dtype):
        raise BatchError("dtype")
    dtype = np.dtype(column.dtype)
    if len(column.data) % dtype.itemsize:
        raise BatchError("length", "bytes that are not whole elements")
    return np.frombuffer(column.data, dtype=dtype)


def _times(column: list[int] | TypedColumn | None) -> NDArray[np.int64]:
    if column is None:
        return np.empty(0, np.int64)
    if isinstance(column, TypedColumn):
        found = _array(column, integers=True)
        if found.dtype == np.uint64 and len(found) and int(found.max()) > INT64_MAX:
            raise BatchError("time")
        t_ns = found.astype(np.int64)
    else:
        try:
            t_ns = np.array(column, dtype=np.int64)
        except OverflowError:
            raise BatchError("time") from None
    if len(t_ns) and int(t_ns.min()) < 0:
        raise BatchError("time")
    return t_ns


def _floats(column: Numbers | None, rows: int) -> NDArray[np.float64] | None:
    if column is None:
        return None
    if isinstance(column, TypedColumn):
        numbers = _array(column, integers=False).astype(np.float64)
    else:
        numbers = np.array(column, dtype=np.float64)
    if len(numbers) != rows:
        raise BatchError("length")
    return numbers


def _strings(column: Strings | None, rows: int) -> Coded | None:
    if column is None:
        return None
    if isinstance(column, CodedColumn):
        values, codes = tuple(column.values), _codes(column.codes)
        if len(set(values)) != len(values):
            raise BatchError("codes", "a value given twice")
    else:
        index = {value: code for code, value in enumerate(dict.fromkeys(column))}
        values = tuple(index)
        codes = np.fromiter(map(index.__getitem__, column), np.int32, len(column))
    if len(codes) != rows:
        raise BatchError("length")
    if rows and not 0 <= int(codes.min()) <= int(codes.max()) < len(values):
        raise BatchError("codes", "a code without a value")
    return Coded(values=values, codes=codes.astype(np.int32))


def _codes(column: TypedColumn | list[int]) -> NDArray[np.generic]:
    if isinstance(column, TypedColumn):
        return _array(column, integers=True)
    try:
        return np.array(column, dtype=np.int64)
    except OverflowError:
        raise BatchError("codes", "a code without a value") from None


def _check_values(values: Sequence[str], column: str, identity: str) -> None:
    if column == "proof":
        values = tuple(value for value in values if value)
    if column != "tag":
        if not all(map(is_name, values)):
            raise BatchError("name", column)
    elif not are_pseudonyms(values):
        if not all(v.isascii() and (is_pseudonym(v) or is_tag(v)) for v in values):
            raise BatchError("tag")
        if identity != "raw":
            raise BatchError("identity", "raw tags where pseudonyms were expected")
