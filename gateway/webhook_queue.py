"""What waits for webhooks: rows of the result store, written with the step that made them.

Rules of the file: everything happens in transactions of the result store's one writing
connection, so a crash loses neither an event nor how far a webhook is. An event passes
the gate when it is queued and again before each attempt. Every webhook has its own rows
and its own bound: when it is full the oldest go and are counted, so one that is away
costs the others nothing. Refused events are kept for a look, the newest thousand.

A fact that late rows changed is told again under its event's id, but as a message of
its own: `webhook-id` then also has a digest of the content, or else a receiver that
drops what it knows would miss the correction.
"""

import hashlib
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from gateway.database import Patience, patient
from gateway.events import Message
from gateway.gate import Gate
from gateway.result_store import ResultStore
from gateway.result_tables import add_state, set_state
from gateway.webhook_settings import WebhookSettings

_LOG = logging.getLogger(__name__)
PURPOSE = "webhook"
DEAD_MAX = 1000
COUNTED = ("sent", "dead", "dropped", "denied")


class Waiting(NamedTuple):
    """The event whose turn it is; `failing_since_ns` is 0 while its receiver did not fail on it."""

    id: int
    message_id: str
    body: bytes
    failing_since_ns: int


class WebhookQueue:
    """The queues of all webhooks.

    Parameters
    ----------
    webhooks : the tables of the configuration
    results : where the rows are; rows of webhooks that are no longer configured are deleted
    gate : decides what may leave
    """

    def __init__(
        self, webhooks: Sequence[WebhookSettings], results: ResultStore, gate: Gate
    ) -> None:
        self._results = results
        self.patience: Patience = results.patience
        self._gate = gate
        self._most = {webhook.id: webhook.queue_max for webhook in webhooks}
        self._marks = {webhook.id: _mark(webhook.url) for webhook in webhooks}
        self._takers: dict[str, list[str]] = {}
        for webhook in webhooks:
            for name in dict.fromkeys(webhook.events):
                self._takers.setdefault(name, []).append(webhook.id)
        self.on_queued: Callable[[set[str]], None] = lambda _webhooks: None
        self._forget_others()
        self._gone = {
            webhook
            for webhook, mark in self._marks.items()
            if results.state(f"webhook_gone.{webhook}") == mark
        }
        results.events_also_to = self.put

    def is_gone(self, webhook: str) -> bool:
        """Tell whether a receiver has said that it wants no more.

        Parameters
        ----------
        webhook : its id
        """
        return webhook in self._gone

    def put(self, db: sqlite3.Connection, events: Sequence[Message], again: bool) -> None:
        """Queue events for those who want them, in a transaction of the result store.

        Parameters
        ----------
        db : its writing connection
        events : all there are
        again : they are facts that may have been told otherwise before
        """
        counts: Counter[tuple[str, str]] = Counter()
        filled: set[str] = set()
        for message in events:
            name = message.topic.rpartition("/")[2]
            takers = self._takers.get(name, ())
            wanting = [webhook for webhook in takers if webhook not in self._gone]
            counts.update(("dropped", webhook) for webhook in takers if webhook in self._gone)
            if not wanting:
                continue
            event = msgspec.json.decode(message.payload)
            leaving = self._gate.event_for(event, name, PURPOSE)
            if leaving is None:
                counts.update(("denied", webhook) for webhook in wanting)
                continue
            body = msgspec.json.encode(leaving.event)
            message_id = f"{event['id']}/{_digest(body)}" if again else event["id"]
            db.executemany(
                "INSERT OR IGNORE INTO webhook_events (webhook, message_id, name, visitor, body) "
                "VALUES (?, ?, ?, ?, ?)",
                [(webhook, message_id, name, leaving.visitor, body) for webhook in wanting],
            )
            filled.update(wanting)
        for webhook in filled:
            counts["dropped", webhook] += _keep_newest(db, webhook, self._most[webhook])
        for (what, webhook), count in counts.items():
            add_state(db, f"webhook_{what}.{webhook}", count)
        if filled:
            self.on_queued(filled)

    @patient
    def next(self, webhook: str) -> Waiting | None:
        """Return the oldest event that waits and may leave, None when none does.

        Parameters
        ----------
        webhook : its id
        """
        with self._results.transaction() as db:
            while True:
                row = db.execute(
                    "SELECT id, message_id, body, failing_since_ns, name, visitor "
                    "FROM webhook_events WHERE webhook = ? AND reason IS NULL ORDER BY id LIMIT 1",
                    (webhook,),
                ).fetchone()
                if row is None:
                    return None
                waiting, name, visitor = Waiting(*row[:4]), row[4], row[5]
                if visitor is None:
                    return waiting
                leaving = self._gate.event_for(msgspec.json.decode(waiting.body), name, PURPOSE)
                if leaving is not None:
                    return waiting._replace(body=msgspec.json.encode(leaving.event))
                db.execute("DELETE FROM webhook_events WHERE id = ?", (waiting.id,))
                add_state(db, f"webhook_denied.{webhook}", 1)

    @patient
    def taken(self, webhook: str, waiting: Waiting) -> None:
        """Forget an event that its receiver has.

        Parameters
        ----------
        webhook : its id
        waiting : as `next` gave it
        """
        with self._results.transaction() as db:
            cursor = db.execute("DELETE FROM webhook_events WHERE id = ?", (waiting.id,))
            add_state(db, f"webhook_sent.{webhook}", cursor.rowcount)

    @patient
    def failing(self, waiting: Waiting, now_ns: int) -> None:
        """Note since when a receiver fails on an event.

        Parameters
        ----------
        waiting : as `next` gave it
        now_ns : [ns] this machine's clock
        """
        if not waiting.failing_since_ns:
            with self._results.transaction() as db:
                db.execute(
                    "UPDATE webhook_events SET failing_since_ns = ? WHERE id = ?",
                    (now_ns, waiting.id),
                )

    @patient
    def refused(self, webhook: str, waiting: Waiting, reason: str) -> None:
        """Set an event aside that its receiver will never take.

        Parameters
        ----------
        webhook : its id
        waiting : as `next` gave it
        reason : short
        """
        with self._results.transaction() as db:
            cursor = db.execute(
                "UPDATE webhook_events SET reason = ? WHERE id = ?", (reason, waiting.id)
            )
            add_state(db, f"webhook_dead.{webhook}", cursor.rowcount)
            db.execute(
                "DELETE FROM webhook_events WHERE id IN (SELECT id FROM webhook_events "
                "WHERE webhook = ? AND reason IS NOT NULL ORDER BY id DESC LIMIT -1 OFFSET ?)",
                (webhook, DEAD_MAX),
            )

    @patient
    def gone(self, webhook: str) -> int:
        """Stop queueing for a receiver until it has another address; return how many waited.

        Parameters
        ----------
        webhook : its id
        """
        with self._results.transaction() as db:
            set_state(db, f"webhook_gone.{webhook}", self._marks[webhook])
            waited = _keep_newest(db, webhook, 0)
            add_state(db, f"webhook_dropped.{webhook}", waited)
            self._gone.add(webhook)
        return waited

    def figures(self) -> Mapping[str, dict[str, int]]:
        """Return per webhook what waits, was sent, set aside, dropped and denied."""
        waiting = dict(
            self._results.query(
                "SELECT webhook, count(*) FROM webhook_events WHERE reason IS NULL GROUP BY webhook"
            )
        )
        state = dict(
            self._results.query(
                "SELECT name, value FROM state WHERE name >= 'webhook_' AND name < 'webhook`'"
            )
        )
        return {
            webhook: {
                "queued": waiting.get(webhook, 0),
                **{what: state.get(f"webhook_{what}.{webhook}", 0) for what in COUNTED},
            }
            for webhook in self._marks
        }

    @patient
    def _forget_others(self) -> None:
        """Delete what belongs to webhooks that are no longer configured."""
        with self._results.transaction() as db:
            found = db.execute("SELECT DISTINCT webhook FROM webhook_events").fetchall()
            for (webhook,) in found:
                if webhook not in self._marks:
                    cursor = db.execute("DELETE FROM webhook_events WHERE webhook = ?", (webhook,))
                    _LOG.warning(
                        "webhook %s is no longer configured: %d events that waited for it or were "
                        "set aside are deleted",
                        webhook,
                        cursor.rowcount,
                    )
            names = db.execute(
                "SELECT name FROM state WHERE name >= 'webhook_' AND name < 'webhook`'"
            ).fetchall()
            for (name,) in names:
                if name.partition(".")[2] not in self._marks:
                    db.execute("DELETE FROM state WHERE name = ?", (name,))


def _keep_newest(db: sqlite3.Connection, webhook: str, most: int) -> int:
    cursor = db.execute(
        "DELETE FROM webhook_events WHERE id IN (SELECT id FROM webhook_events "
        "WHERE webhook = ? AND reason IS NULL ORDER BY id DESC LIMIT -1 OFFSET ?)",
        (webhook, most),
    )
    return cursor.rowcount


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=6).hexdigest()


def _mark(url: str) -> int:
    """Return a number that stands for an address."""
    digest = hashlib.blake2b(url.encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")
