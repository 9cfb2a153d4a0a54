"""From messages to journal to acknowledgement, in this order and no other.

Rules of the file: architecture, invariant 5. A batch is decoded, committed and only
then acknowledged, to the broker (MQTT) and to its agent (`A/ack`, cumulative, again
for every duplicate). A malformed batch is refused whole, counted by reason, kept as
a dead letter and acknowledged wherever its boot, kind and seq can be read; its payload
is not kept where it may hold a raw identifier. When the disk refuses, nothing is
acknowledged and the group is tried again. Taps that need a proof and have none are in the
journal, and nowhere behind it (`ingest.proofs`).
"""

import dataclasses
import io
import json
import logging
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
import zstandard

from gateway.agent_clocks import AgentClocks
from gateway.inbox import Arrived
from gateway.journal import Appended, DeadLetter, Entry, Journal
from ingest.batch import KINDS, SCHEMA_ZSTD, BatchError
from ingest.columns import INFLATED_BYTES_MAX, DecodedBatch, decode_batch
from ingest.group import GroupDecoder
from ingest.identifiers import is_name
from ingest.proofs import UNPROVEN, without_unproven
from ingest.topics import Topic, agent_topic, parse_topic

_LOG = logging.getLogger(__name__)
_STATUS_BYTES_MAX = 64 * 1024
_REASONS_WITH_IDENTITIES = ("identity", "tag")
_RAW_TAG = re.compile(
    rb"\b(?:ble|ibeacon|eddystone|altbeacon|nfc|em4100|wiegand|name):[0-9a-z]", re.IGNORECASE
)
_RETRY_S = 1.0
_TOPICS_MAX = 4096


class Courier(Protocol):
    """What committing needs of a `gateway.subscriber.Subscriber`."""

    def acknowledge(self, stored: Sequence[Arrived]) -> None:
        """Tell the broker that messages are stored."""
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> int:
        """Publish a message."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A new batch that is on disk."""

    journal_id: int
    received_ns: int
    batch: DecodedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What an agent said about itself; `is_retained`: at some time, not just now."""

    agent: str
    received_ns: int
    body: dict[str, Any]
    is_retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What came of one group of messages."""

    batches: tuple[Accepted, ...] = ()
    statuses: tuple[Status, ...] = ()
    messages: int = 0


class Committer:
    """Commits groups of messages.

    Parameters
    ----------
    journal : where batches go
    courier : who acknowledges
    store : the store's id; batches of others are refused
    identity : "pseudonym" refuses raw tags
    batch_bytes_max : larger batches are refused
    payment_points : tap points at which a tap needs a proof
    clocks : sets aside the batches of agents whose clock has jumped; None = takes every time
    now_ns : this machine's clock, told in acknowledgements; None = it is not

    Attributes
    ----------
    refused : malformed batches by reason
    dropped : rows of good batches by reason
    """

    def __init__(
        self,
        journal: Journal,
        courier: Courier,
        *,
        store: str,
        identity: Literal["pseudonym", "raw"],
        batch_bytes_max: int,
        payment_points: frozenset[str] = frozenset(),
        clocks: AgentClocks | None = None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self._journal = journal
        self._courier = courier
        self._store = store
        self._decoder = GroupDecoder(identity=identity, payload_bytes_max=batch_bytes_max)
        self._topics: dict[str, Topic] = {}
        self._clocks, self._now_ns = clocks, now_ns
        self._told_disk = False
        self._payment_points = payment_points
        self.refused: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def commit(self, group: Sequence[Arrived], stopping: threading.Event) -> Committed:
        """Commit a group and acknowledge it.

        Parameters
        ----------
        group : in order of arrival
        stopping : ends the retries on a full disk

        Returns
        -------
        Committed
            Only what is on disk.
        """
        entries: list[tuple[Arrived, Entry, DecodedBatch]] = []
        letters: list[DeadLetter] = []
        statuses: list[Status] = []
        others: list[Arrived] = []
        came = [(arrived, self._topic(arrived.topic)) for arrived in group]
        batches = [(arrived, topic) for arrived, topic in came if not self._is_status(topic)]
        decoded = self._decoder.decode([arrived.payload for arrived, _ in batches])
        for arrived, topic in came:
            if topic is not None and self._is_status(topic):
                status = _read_status(topic.agent, arrived)
                if status is not None:
                    statuses.append(status)
                others.append(arrived)
        for (arrived, topic), found in zip(batches, decoded, strict=True):
            batch = self._fitting(found, topic)
            if isinstance(batch, BatchError):
                letters.append(_dead_letter(arrived, topic, batch.reason))
                others.append(arrived)
                continue
            newest = (0, 0)
            if self._clocks is not None:
                if not self._clocks.is_plausible(batch, arrived.received_ns):
                    letters.append(_set_aside(arrived, batch, "clock_jump"))
                    others.append(arrived)
                    continue
                newest = self._clocks.newest((batch.agent, batch.boot, batch.kind))
            entries.append((arrived, _entry(batch, arrived, newest), batch))
        appended = self._append([entry for _, entry, _ in entries], letters, stopping)
        if appended is None:
            return Committed()
        for letter in letters:
            self._tell_refused(letter.reason)
        # Also those that are not stored because too much before them is missing: unanswered
        # they would fill the broker's window. Their agent has no A/ack and sends them again.
        self._courier.acknowledge([*others, *(arrived for arrived, _, _ in entries)])
        self._publish_acks(appended)
        return Committed(
            batches=tuple(
                Accepted(journal_id=new, received_ns=arrived.received_ns, batch=self._proven(batch))
                for (arrived, _, batch), new in zip(entries, appended.ids, strict=True)
                if new
            ),
            statuses=tuple(statuses),
            messages=len(group),
        )

    def decode_again(self, payload: bytes) -> DecodedBatch:
        """Decode a batch of the journal.

        Parameters
        ----------
        payload : it passed when it was journaled, perhaps under laboratory settings
        """
        batch = decode_batch(payload, identity="raw", payload_bytes_max=1 << 30)
        return without_unproven(batch, self._payment_points)

    def _proven(self, batch: DecodedBatch) -> DecodedBatch:
        found = without_unproven(batch, self._payment_points)
        if found is not batch:
            if not self.dropped[UNPROVEN]:
                _LOG.warning(
                    "taps at a payment tap point without a proof were dropped, more are only "
                    "counted; use a reader of profile ntag424_sun there, or another role"
                )
            self.dropped[UNPROVEN] += batch.rows - found.rows
        return found

    def _topic(self, text: str) -> Topic | None:
        """Parse a topic; agents have few, and they are remembered."""
        known = self._topics.get(text)
        if known is None:
            known = parse_topic(text)
            if known is not None:
                if len(self._topics) >= _TOPICS_MAX:
                    self._topics.clear()
                self._topics[text] = known
        return known

    def _is_status(self, topic: Topic | None) -> bool:
        return topic is not None and topic.leaf == "status" and topic.store == self._store

    def _fitting(
        self, batch: DecodedBatch | BatchError, topic: Topic | None
    ) -> DecodedBatch | BatchError:
        """Return the batch, or what is wrong with it or with its topic."""
        if isinstance(batch, BatchError):
            return batch
        if topic is None or (topic.store, topic.agent) != (batch.store, batch.agent):
            return BatchError("name", "the topic names another store or agent")
        if batch.store != self._store:
            return BatchError("name", "another store")
        if topic.kind != batch.kind:
            return BatchError("kind", "the topic is for another kind")
        return batch

    def _append(
        self, entries: Sequence[Entry], letters: Sequence[DeadLetter], stopping: threading.Event
    ) -> Appended | None:
        if not entries and not letters:
            return Appended(ids=(), acks={})
        while True:
            try:
                appended = self._journal.append(entries, letters)
            except sqlite3.OperationalError as error:
                if not self._told_disk:
                    self._told_disk = True
                    _LOG.error(
                        "journal cannot be written (%s); nothing is acknowledged until it can",
                        error,
                    )
                if stopping.wait(_RETRY_S):
                    return None
                continue
            if self._told_disk:
                self._told_disk = False
                _LOG.info("journal recovered")
            return appended

    def _publish_acks(self, appended: Appended) -> None:
        for (agent, boot, kind), seq in appended.acks.items():
            ack: dict[str, str | int] = {"boot": boot, "kind": kind, "seq": seq}
            if self._now_ns is not None:
                ack["now_ns"] = self._now_ns()
            self._courier.publish(agent_topic(self._store, agent, "ack"), msgspec.json.encode(ack))

    def _tell_refused(self, reason: str) -> None:
        self.refused[reason] += 1
        if self.refused[reason] == 1:
            _LOG.warning(
                "a batch was refused (%s); it is kept as a dead letter, "
                "more of this reason are only counted",
                reason,
            )


def is_tap(arrived: Arrived) -> bool:
    """Tell whether a message must be committed at once.

    Parameters
    ----------
    arrived : any message
    """
    return arrived.topic.endswith("/taps")


def _set_aside(arrived: Arrived, batch: DecodedBatch, reason: str) -> DeadLetter:
    """Return a well-formed batch that cannot be believed, for the dead-letter store."""
    return DeadLetter(
        topic=arrived.topic,
        reason=reason,
        received_ns=arrived.received_ns,
        payload=arrived.payload,
        agent=batch.agent,
        boot=batch.boot,
        kind=batch.kind,
        seq=batch.seq,
        rows=batch.rows,
    )


def _entry(batch: DecodedBatch, arrived: Arrived, newest: tuple[int, int]) -> Entry:
    return Entry(
        agent=batch.agent,
        boot=batch.boot,
        kind=batch.kind,
        seq=batch.seq,
        received_ns=arrived.received_ns,
        row_count=batch.rows,
        payload=arrived.payload,
        first_seq=batch.first_seq,
        lost=batch.dropped,
        first_ns=batch.first_ns,
        newest=newest,
    )


def _dead_letter(arrived: Arrived, topic: Topic | None, reason: str) -> DeadLetter:
    plain = _inflated(arrived.payload)
    may_name_somebody = reason in _REASONS_WITH_IDENTITIES or _RAW_TAG.search(plain) is not None
    letter = DeadLetter(
        topic=arrived.topic,
        reason=reason,
        received_ns=arrived.received_ns,
        payload=b"" if may_name_somebody else arrived.payload,
    )
    read = _loose(plain)
    boot, kind, seq = read.get("boot"), read.get("kind"), read.get("seq")
    if topic is None or topic.kind is None or kind not in KINDS:
        return letter
    numbered = isinstance(seq, int) and not isinstance(seq, bool) and 0 < seq < 1 << 62
    if not isinstance(boot, str) or not is_name(boot) or not numbered:
        return letter
    return dataclasses.replace(letter, agent=topic.agent, boot=boot, kind=kind, seq=seq)


def _inflated(payload: bytes) -> bytes:
    """Return what a zstd wrapper holds, as far as it may be long; other payloads as they are."""
    if payload[:1] == b"{":
        return payload
    wrapper = _loose(payload)
    data = wrapper.get("data")
    if wrapper.get("schema") != SCHEMA_ZSTD or not isinstance(data, bytes):
        return payload
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).stream_reader(
            io.BytesIO(data)
        )
        return reader.read(INFLATED_BYTES_MAX)
    except (zstandard.ZstdError, MemoryError):
        return payload


def _loose(payload: bytes) -> dict[Any, Any]:
    """Read what can be read of a batch that is refused; {} when nothing can."""
    is_json = payload[:1] == b"{"
    try:
        # The standard library also reads the NaN that it writes itself.
        read: Any = json.loads(payload) if is_json else msgspec.msgpack.decode(payload)
    except (ValueError, RecursionError, OverflowError):
        return {}
    return read if isinstance(read, dict) else {}


def _read_status(agent: str, arrived: Arrived) -> Status | None:
    if len(arrived.payload) > _STATUS_BYTES_MAX:
        return None
    try:
        body = msgspec.json.decode(arrived.payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    return Status(
        agent=agent,
        received_ns=arrived.received_ns,
        body=body,
        is_retained=arrived.is_retained,
    )
