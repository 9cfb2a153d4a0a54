"""Many batches decoded at once: what a batch costs by itself is paid once a group.

Rules of the file: batches of readings as our edge agents write them (MessagePack, typed
columns, pseudonyms) are checked together, in columns over all of them; whatever looks
different in any way, and whatever fails a check, goes to `ingest.columns.decode_batch`,
which alone says whether and why a batch is refused. So the two agree by construction on
what is wrong, and a test holds them to each other on what is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.batch import (
    PAYLOAD_BYTES_MAX,
    REASON_LENGTH_MAX,
    SCHEMA,
    BatchError,
    Count,
    Ordinal,
    TypedColumn,
)
from ingest.columns import Coded, DecodedBatch, decode_batch
from ingest.identifiers import PSEUDONYM_LENGTH, is_name
from ingest.packed_tags import PackedTags, are_packed

TOGETHER_MAX = 256
"""Batches checked together: their columns stay in the cache of a core."""
_CACHE_MAX = 4096
_RACES_MAX = 16
_RSSI: dict[str, np.dtype[Any]] = {"|i1": np.dtype("|i1"), "<f4": np.dtype("<f4")}
_CODES: dict[str, np.dtype[Any]] = {"|u1": np.dtype("|u1"), "<u2": np.dtype("<u2")}
_TAG = np.dtype([("head", "u1"), ("prefix", "<u2"), ("a", "<u8"), ("b", "<u8")])
_HEAD, _PREFIX = 0xA0 | PSEUDONYM_LENGTH, int.from_bytes(b"p_", "little")
_ODD_A, _ODD_B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


class _Names(msgspec.Struct, frozen=True):
    values: msgspec.Raw
    codes: TypedColumn


class _Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    t_ns: TypedColumn
    receiver: _Names
    tag: _Names
    rssi_dbm: TypedColumn


class _Readings(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag=SCHEMA
):  # `ingest.batch.Batch`, with columns of readings alone
    store: str
    agent: str
    boot: str
    kind: Literal["ble"]
    seq: Ordinal
    sent_ns: Count
    columns: _Columns
    dropped: Annotated[int, msgspec.Meta(ge=0, le=0)] = 0
    reason: Annotated[str, msgspec.Meta(max_length=REASON_LENGTH_MAX)] = ""
    first_seq: Ordinal = 1
    complete_ns: Count = 0


class _Another(msgspec.Struct, frozen=True, tag_field="schema", tag="another"):
    """There is none: a choice of two makes `schema` obligatory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A batch whose sizes fit together: where it was, and its parts as they came."""

    at: int
    wire: _Readings
    rows: int
    receivers: tuple[str, ...]
    tags: int
    tag_bytes: memoryview


class GroupDecoder:
    """Decodes groups of batches.

    Parameters
    ----------
    identity : "pseudonym" refuses raw tags, "raw" lets both pass (laboratory)
    payload_bytes_max : longer payloads are refused before they are read
    """

    def __init__(
        self,
        *,
        identity: Literal["pseudonym", "raw"] = "pseudonym",
        payload_bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        self._identity: Literal["pseudonym", "raw"] = identity
        self._payload_bytes_max = payload_bytes_max
        self._decoder = msgspec.msgpack.Decoder(_Readings | _Another)
        self._names = msgspec.msgpack.Decoder(list[str])
        # Names and lists of receivers that were found right; emptied when full.
        self._right: set[str] = set()
        self._receivers: dict[bytes, tuple[str, ...]] = {}

    def decode(self, payloads: Sequence[bytes]) -> list[DecodedBatch | BatchError]:
        """Decode and check batches.

        Parameters
        ----------
        payloads : of MQTT messages

        Returns
        -------
        list
            For each payload what `decode_batch` returns or raises.
        """
        found: list[DecodedBatch | BatchError | None] = [None] * len(payloads)
        alike: dict[tuple[str, str, str], list[_Part]] = {}
        for at, payload in enumerate(payloads):
            part = self._read(at, payload)
            if part is not None:
                columns = part.wire.columns
                key = (
                    columns.rssi_dbm.dtype,
                    columns.receiver.codes.dtype,
                    columns.tag.codes.dtype,
                )
                alike.setdefault(key, []).append(part)
        for dtypes, parts in alike.items():
            for first in range(0, len(parts), TOGETHER_MAX):
                for at, batch in _checked(parts[first : first + TOGETHER_MAX], *dtypes):
                    found[at] = batch
        return [
            self._alone(payload) if batch is None else batch
            for payload, batch in zip(payloads, found, strict=True)
        ]

    def _alone(self, payload: bytes) -> DecodedBatch | BatchError:
        try:
            return decode_batch(
                payload, identity=self._identity, payload_bytes_max=self._payload_bytes_max
            )
        except BatchError as error:
            return error

    def _read(self, at: int, payload: bytes) -> _Part | None:
        """Read a batch and compare its sizes; None when it is to be decoded alone."""
        if len(payload) > self._payload_bytes_max:
            return None
        try:
            wire = self._decoder.decode(payload)
        except (ValueError, RecursionError, OverflowError):
            return None
        if isinstance(wire, _Another):
            return None
        columns = wire.columns
        rows, odd = divmod(len(columns.t_ns.data), 8)
        rssi, codes = _RSSI.get(columns.rssi_dbm.dtype), _CODES.get(columns.tag.codes.dtype)
        whose = _CODES.get(columns.receiver.codes.dtype)
        if rssi is None or codes is None or whose is None:
            return None
        if (
            not rows
            or odd
            or columns.t_ns.dtype != "<i8"
            or len(columns.rssi_dbm.data) != rows * rssi.itemsize
            or len(columns.tag.codes.data) != rows * codes.itemsize
            or len(columns.receiver.codes.data) != rows * whose.itemsize
            or not self._are_names(wire)
        ):
            return None
        receivers = self._receivers_of(columns.receiver.values)
        tag_bytes = _records(columns.tag.values)
        if not receivers or tag_bytes is None:
            return None
        return _Part(
            at=at,
            wire=wire,
            rows=rows,
            receivers=receivers,
            tags=len(tag_bytes) // _TAG.itemsize,
            tag_bytes=tag_bytes,
        )

    def _are_names(self, wire: _Readings) -> bool:
        right = self._right
        if wire.store in right and wire.agent in right and wire.boot in right:
            return True
        if not (is_name(wire.store) and is_name(wire.agent) and is_name(wire.boot)):
            return False
        if len(right) > _CACHE_MAX:
            right.clear()
        right.update((wire.store, wire.agent, wire.boot))
        return True

    def _receivers_of(self, values: msgspec.Raw) -> tuple[str, ...]:
        """Return checked names of receivers, () when something is wrong with them."""
        key = bytes(values)
        known = self._receivers.get(key)
        if known is not None:
            return known
        try:
            names = tuple(self._names.decode(key))
        except ValueError:
            return ()
        if len(set(names)) != len(names) or not all(map(is_name, names)):
            return ()
        if len(self._receivers) >= _CACHE_MAX:
            self._receivers.clear()
        self._receivers[key] = names
        return names


def _records(values: msgspec.Raw) -> memoryview | None:
    """Return the elements of an array of texts of 18 bytes, None when it is something else."""
    data = memoryview(values)
    if data[0] == 0xDC:
        count, head = data[1] << 8 | data[2], 3
    elif data[0] & 0xF0 == 0x90:
        count, head = data[0] & 0x0F, 1
    else:
        return None
    return data[head:] if count and len(data) == head + count * _TAG.itemsize else None


def _checked(
    parts: list[_Part], rssi_dtype: str, receiver_dtype: str, tag_dtype: str
) -> list[tuple[int, DecodedBatch]]:
    """Check batches together; return where the right ones were, and them."""
    columns = [part.wire.columns for part in parts]
    rows = np.array([part.rows for part in parts])
    tags = np.array([part.tags for part in parts])
    ends, tag_ends = np.cumsum(rows), np.cumsum(tags)
    starts, tag_starts = ends - rows, tag_ends - tags

    t_ns = _joined([c.t_ns.data for c in columns], np.dtype("<i8")).astype(np.int64, copy=False)
    rssi_dbm = _joined([c.rssi_dbm.data for c in columns], _RSSI[rssi_dtype]).astype(np.float64)
    if rssi_dtype == "<f4":
        with np.errstate(over="ignore"):  # an impossible RSSI stays impossible
            rssi_dbm = np.round(rssi_dbm * 10.0) / 10.0
    receiver = _joined([c.receiver.codes.data for c in columns], _CODES[receiver_dtype])
    code = _joined([c.tag.codes.data for c in columns], _CODES[tag_dtype])
    records = _joined([part.tag_bytes for part in parts], _TAG)
    a, b = records["a"].astype(np.uint64), records["b"].astype(np.uint64)

    is_tag = (records["head"] == _HEAD) & (records["prefix"] == _PREFIX)
    is_tag &= are_packed(a) & are_packed(b)
    oldest_ns = np.minimum.reduceat(t_ns, starts)
    right = oldest_ns >= 0
    right &= np.maximum.reduceat(code, starts) < tags
    right &= np.maximum.reduceat(receiver, starts) < [len(part.receivers) for part in parts]
    right &= np.logical_and.reduceat(is_tag, tag_starts)
    right &= ~_repeating(a, b, tags)

    receiver, code = receiver.astype(np.int32), code.astype(np.int32)
    spans = zip(starts.tolist(), ends.tolist(), tag_starts.tolist(), tag_ends.tolist(), strict=True)
    return [
        (
            part.at,
            DecodedBatch(
                store=part.wire.store,
                agent=part.wire.agent,
                boot=part.wire.boot,
                kind="ble",
                seq=part.wire.seq,
                sent_ns=part.wire.sent_ns,
                dropped=0,
                reason=part.wire.reason,
                first_seq=min(part.wire.first_seq, part.wire.seq),
                complete_ns=part.wire.complete_ns,
                t_ns=t_ns[start:end],
                receiver=Coded(values=part.receivers, codes=receiver[start:end]),
                tag=Coded(
                    values=PackedTags(a[tag_start:tag_end], b[tag_start:tag_end]),
                    codes=code[start:end],
                ),
                rssi_dbm=rssi_dbm[start:end],
                oldest_ns=first_ns,
            ),
        )
        for part, is_right, first_ns, (start, end, tag_start, tag_end) in zip(
            parts, right.tolist(), oldest_ns.tolist(), spans, strict=True
        )
        if is_right
    ]


def _joined(pieces: Sequence[bytes | memoryview], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(b"".join(pieces), dtype)


def _repeating(
    a: NDArray[np.uint64], b: NDArray[np.uint64], tags: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which batches name a tag twice, or may do so.

    Tags race for the places of a table; who loses to its equal is a repetition, who loses
    to another one races again for another place.
    """
    whose = np.repeat(np.arange(len(tags)), tags)
    mixed = (a ^ whose.astype(np.uint64)) * _ODD_A + b * _ODD_B
    mixed ^= mixed >> np.uint64(29)
    bits = (4 * len(a)).bit_length()
    table = np.empty(1 << bits, np.int32)
    racing = np.arange(len(a), dtype=np.int32)
    repeating = np.zeros(len(tags), np.bool_)
    for _ in range(_RACES_MAX):
        mixed *= _ODD_B
        place = (mixed >> np.uint64(64 - bits)).astype(np.int64)
        table[place] = racing
        winner = table[place]
        lost = np.flatnonzero(winner != racing)
        racing, winner, mixed = racing[lost], winner[lost], mixed[lost]
        same = (a[racing] == a[winner]) & (b[racing] == b[winner])
        same &= whose[racing] == whose[winner]
        repeating[whose[racing[same]]] = True
        racing, mixed = racing[~same], mixed[~same]
        if not len(racing):
            break
    repeating[whose[racing]] = True  # made to collide: let them be looked at one by one
    return repeating
