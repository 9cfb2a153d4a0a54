"""The batch on the wire: contract section 5 as structs, its limits, and the encoder.

Rules of the file: standard library and msgspec only, because the edge agent writes
batches without numpy; reading them is `ingest.columns`. Columns travel as typed
little-endian bytes in MessagePack and as plain lists in JSON (measured in the
reference: 12.4 B a reading against 25.3 B at 256 readings). What extends the contract may be
absent: the fields `first_seq` and `complete_ns`, the column `proof` of taps.
"""

import math
import sys
from array import array
from typing import Annotated, Literal

import msgspec

SCHEMA = "fanous.batch/1"
SCHEMA_ZSTD = "fanous.batch/1+zstd"
PAYLOAD_BYTES_MAX = 256 * 1024
INT64_MAX = 2**63 - 1
RSSI_MIN_DBM, RSSI_MAX_DBM = -120.0, 20.0
REASON_LENGTH_MAX = 200
_ROUNDED_BELOW_DBM = 1e6

Kind = Literal["ble", "tap", "sample"]
KINDS: tuple[Kind, ...] = ("ble", "tap", "sample")
REQUIRED_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "ble": ("t_ns", "receiver", "tag", "rssi_dbm"),
    "tap": ("t_ns", "tap_point", "tag"),
    "sample": ("t_ns", "sensor"),
}
OPTIONAL_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "ble": (),
    "tap": ("proof",),
    "sample": ("mass_g", "range_mm"),
}
ONE_OF_COLUMNS: dict[Kind, tuple[str, ...]] = {
    "ble": (),
    "tap": (),
    "sample": ("mass_g", "range_mm"),
}
DTYPES = frozenset({"|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8"})

BatchReason = Literal[
    "oversize",  # the payload, or what a zstd wrapper holds, is longer than allowed
    "syntax",  # neither JSON nor MessagePack
    "schema",  # `schema` is missing or is not one we know
    "shape",  # a field is missing or of the wrong type
    "zstd",  # the wrapper's data is not zstd
    "name",  # store, agent, boot, receiver, tap point, sensor or proof breaks the grammar
    "tag",  # a tag is neither a pseudonym nor a raw tag
    "identity",  # a raw tag where only pseudonyms may come
    "kind",  # not ble, tap or sample
    "seq",  # seq, sent_ns, dropped or an extension is out of range
    "columns",  # a column of the kind is missing, or another kind's is there
    "dtype",  # a dtype that is not allowed here
    "length",  # columns of unequal length, or bytes that are not whole elements
    "codes",  # a code without a value, or values given twice
    "time",  # a t_ns before 1970 or after 2262
    "dropped",  # a batch that stands for dropped ones has rows
]


class BatchError(ValueError):
    """A batch is malformed: refuse it whole, count it by `reason`, keep it, acknowledge it."""

    def __init__(self, reason: BatchReason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason: BatchReason = reason


class TypedColumn(msgspec.Struct, frozen=True):
    """Numbers as the bytes of a little-endian numpy dtype (one of `DTYPES`)."""

    dtype: str
    data: bytes


class CodedColumn(msgspec.Struct, frozen=True):
    """Strings as distinct values and one code, an index into them, for each row."""

    values: list[str]
    codes: TypedColumn | list[int]


Strings = list[str] | CodedColumn
Numbers = list[float | None] | TypedColumn


class Columns(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of a batch, one column a field; `None` = the batch has no such column.

    An absent number in a row is `None` or NaN. `proof` is an extension: the name of the
    cryptographic scheme by which a tap proved itself, "" = none.
    """

    t_ns: list[int] | TypedColumn | None = None
    receiver: Strings | None = None
    tap_point: Strings | None = None
    sensor: Strings | None = None
    tag: Strings | None = None
    rssi_dbm: Numbers | None = None
    mass_g: Numbers | None = None
    range_mm: Numbers | None = None
    proof: Strings | None = None


Count = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
Ordinal = Annotated[int, msgspec.Meta(ge=1, le=INT64_MAX)]


class Batch(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag=SCHEMA
):
    """One batch of contract section 5.

    Attributes
    ----------
    seq : counts from 1 without gaps within (agent, boot, kind)
    sent_ns : [ns] the sender's clock when the batch was closed
    dropped : rows that the outbox had to drop; the batch stands in their place
    reason : why, one word
    first_seq : extension: the lowest seq of this boot and kind that the sender still
        held; lower ones were acknowledged, so a gateway that lost its ledger need not
        wait for them
    complete_ns : extension, [ns]: no later batch of this agent holds rows before it;
        0 = not said. A gateway may close ticks up to it
    """

    store: str
    agent: str
    boot: str
    kind: Kind
    seq: Ordinal
    sent_ns: Count
    columns: Columns = msgspec.field(default_factory=Columns)
    dropped: Count = 0
    reason: Annotated[str, msgspec.Meta(max_length=REASON_LENGTH_MAX)] = ""
    first_seq: Ordinal = 1
    complete_ns: Count = 0


class ZstdBatch(msgspec.Struct, frozen=True, tag_field="schema", tag=SCHEMA_ZSTD):
    """A batch compressed as a whole."""

    data: bytes


_MSGPACK = msgspec.msgpack.Encoder()
_JSON = msgspec.json.Encoder()


def encode_batch(batch: Batch, *, as_json: bool = False) -> bytes:
    """Encode a batch for the wire.

    Parameters
    ----------
    batch : its columns are plain lists (typed ones pass unchanged)
    as_json : write JSON with plain lists instead of MessagePack with typed bytes

    Returns
    -------
    payload : the caller splits what is longer than `PAYLOAD_BYTES_MAX`
    """
    if as_json:
        return _JSON.encode(batch)
    c = batch.columns
    packed = Columns(
        t_ns=_pack_times(c.t_ns),
        receiver=_pack_strings(c.receiver),
        tap_point=_pack_strings(c.tap_point),
        sensor=_pack_strings(c.sensor),
        tag=_pack_strings(c.tag),
        rssi_dbm=_pack_rssi(c.rssi_dbm),
        mass_g=_pack_numbers(c.mass_g),
        range_mm=_pack_numbers(c.range_mm),
        proof=_pack_strings(c.proof),
    )
    return _MSGPACK.encode(msgspec.structs.replace(batch, columns=packed))


def row_count(columns: Columns) -> int:
    """Return the number of rows of plain-list columns.

    Parameters
    ----------
    columns : as given to `encode_batch`

    Returns
    -------
    rows : 0 when the columns are already typed
    """
    return len(columns.t_ns) if isinstance(columns.t_ns, list) else 0


def round_rssi(rssi_dbm: float) -> float:
    """Round one RSSI to 0.1 dB exactly as ``numpy.rint(10 x) / 10`` does.

    Parameters
    ----------
    rssi_dbm : [dBm], as measured; NaN and what is far beyond any radio pass unchanged

    Returns
    -------
    rssi_dbm : [dBm]

    Examples
    --------
    >>> round_rssi(-61.349)
    -61.3
    """
    return round(rssi_dbm * 10.0) / 10.0 if abs(rssi_dbm) < _ROUNDED_BELOW_DBM else rssi_dbm


def _pack_times(column: list[int] | TypedColumn | None) -> TypedColumn | None:
    return _typed("<i8", array("q", column)) if isinstance(column, list) else column


def _pack_numbers(column: Numbers | None) -> TypedColumn | None:
    if not isinstance(column, list):
        return column
    return _typed("<f8", array("d", [math.nan if v is None else v for v in column]))


def _pack_rssi(column: Numbers | None) -> TypedColumn | None:
    if not isinstance(column, list):
        return column
    numbers = [math.nan if v is None else v for v in column]
    if all(-128 <= v <= 127 and v == int(v) for v in numbers):
        return _typed("|i1", array("b", [int(v) for v in numbers]))
    return _typed("<f4", array("f", numbers))


def _pack_strings(column: Strings | None) -> CodedColumn | None:
    if not isinstance(column, list):
        return column
    index = {value: code for code, value in enumerate(dict.fromkeys(column))}
    codes = [index[value] for value in column]
    if len(index) <= 1 << 8:
        return CodedColumn(list(index), _typed("|u1", array("B", codes)))
    if len(index) <= 1 << 16:
        return CodedColumn(list(index), _typed("<u2", array("H", codes)))
    return CodedColumn(list(index), _typed("<u4", array("I", codes)))


def _typed(dtype: str, numbers: "array[int] | array[float]") -> TypedColumn:
    if sys.byteorder == "big":
        numbers.byteswap()
    return TypedColumn(dtype, numbers.tobytes())
