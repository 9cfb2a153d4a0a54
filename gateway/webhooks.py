"""The webhook sink: events to receivers outside the store, each at its own pace.

Rules of the file: at least once, in order, oldest first, one request at a time; an event
leaves the queue when its receiver has taken it, so after a cut or a crash some go twice,
with the same `webhook-id`. A receiver that is away is asked again with exponential
back-off and jitter, not before its own Retry-After. One that fails on the same event for
a day with a server error of its own loses that event to those set aside, so that the
rest flows. Nothing but the event whose turn it is is held in memory.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.gate import Gate
from gateway.metrics import Metric, by_label
from gateway.result_store import ResultStore
from gateway.settings import read_secret
from gateway.webhook_client import WebhookClient
from gateway.webhook_queue import Waiting, WebhookQueue
from gateway.webhook_request import Verdict
from gateway.webhook_settings import WebhookSettings, signing_key

_LOG = logging.getLogger(__name__)
AWAY_AFTER = 3
"""Failures in a row from which on a receiver is said to be away."""
_METRICS = (
    ("sent", "counter", "Events that the receiver has taken."),
    ("dead", "counter", "Events refused for good and set aside."),
    ("dropped", "counter", "Events dropped: the queue was full or the receiver gone."),
    ("denied", "counter", "Events about persons that the gate kept back."),
    ("failures", "counter", "Attempts to be repeated, since the start."),
    ("queued", "gauge", "Events that wait."),
    ("disabled", "gauge", "1 = it answered 410 Gone."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a sender waits [s]: between attempts, when idle, at the end, for one event."""

    back_off_min_s: float = 1.0
    back_off_max_s: float = 300.0
    retry_after_max_s: float = 3600.0
    idle_s: float = 30.0
    grace_s: float = 1.0
    failing_max_s: float = 86_400.0


class Webhooks:
    """All webhooks of a gateway.

    It must exist before the first event is stored: from then on events are queued with
    the step that made them.

    Parameters
    ----------
    webhooks : the tables of the configuration
    results : where events wait
    gate : decides what may leave the store
    now_ns : this machine's clock
    random : for the jitter, in [0, 1)
    patience : how long senders wait

    Raises
    ------
    ConfigError
        A secret's file has gone since the configuration was checked.
    """

    def __init__(
        self,
        webhooks: Sequence[WebhookSettings],
        results: ResultStore,
        gate: Gate,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        random: Callable[[], float] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._queue = WebhookQueue(webhooks, results, gate)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._senders = {
            webhook.id: _Sender(
                webhook,
                self._queue,
                now_ns=now_ns,
                random=random or np.random.default_rng().random,
                patience=patience or Patience(),
            )
            for webhook in webhooks
        }
        self._queue.on_queued = self._wake

    async def run(self, stopping: asyncio.Event) -> None:
        """Send until told to stop.

        Parameters
        ----------
        stopping : ends it
        """
        self._loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for name, sender in self._senders.items():
                group.create_task(sender.run(stopping), name=f"webhook {name}")
            await stopping.wait()
            for sender in self._senders.values():
                sender.has_work.set()

    def summary(self) -> dict[str, dict[str, int]]:
        """Return the figures of each webhook; counts but `failures` outlive a restart."""
        return {
            name: {
                **figures,
                "failures": self._senders[name].failures,
                "disabled": int(self._queue.is_gone(name)),
            }
            for name, figures in self._queue.figures().items()
        }

    def metrics(self) -> list[Metric]:
        """Return the metrics, labelled by webhook."""
        summary = self.summary()
        return [
            by_label(
                f"webhook_{what}_total" if kind == "counter" else f"webhook_{what}",
                text,
                "webhook",
                {name: figures[what] for name, figures in summary.items()},
                kind=kind,
            )
            for what, kind, text in _METRICS
            if summary
        ]

    def _wake(self, webhooks: set[str]) -> None:
        """Say that there is something to send; from any thread."""
        if self._loop is not None:
            try:
                for webhook in webhooks:
                    self._loop.call_soon_threadsafe(self._senders[webhook].has_work.set)
            except RuntimeError:
                pass  # the loop has closed: the events wait for the next start


class _Sender:
    """Sends one webhook's events."""

    def __init__(
        self,
        webhook: WebhookSettings,
        queue: WebhookQueue,
        *,
        now_ns: Callable[[], int],
        random: Callable[[], float],
        patience: Patience,
    ) -> None:
        self._id = webhook.id
        self._queue = queue
        self._now_ns = now_ns
        self._random = random
        self._patience = patience
        self._back_off_s = patience.back_off_min_s
        self._failures_in_a_row = 0
        self._told_refused = False
        secret = read_secret(Path(webhook.secret_file), subject="[[webhook]] secret_file")
        key = signing_key(secret, subject="[[webhook]] secret_file")
        self._client = WebhookClient(webhook, key, now_ns=now_ns)
        self.failures = 0
        self.has_work = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        if self._queue.is_gone(self._id):
            _LOG.warning(
                "webhook %s stays disabled: it answered 410 Gone; give it another url or take "
                "it out of gateway.toml",
                self._id,
            )
        async with self._client as client:
            while not stopping.is_set() and not self._queue.is_gone(self._id):
                self.has_work.clear()
                waiting = await asyncio.to_thread(self._queue.next, self._id)
                if waiting is None:
                    await _pause(self.has_work, self._patience.idle_s)
                    continue
                verdict = await self._post(client, waiting, stopping)
                if verdict is None:
                    return
                await asyncio.to_thread(self._note, waiting, verdict)
                if verdict.kind == "again":
                    await _pause(stopping, self._wait_s(verdict))

    async def _post(
        self, client: WebhookClient, waiting: Waiting, stopping: asyncio.Event
    ) -> Verdict | None:
        """Post once; None when the service is stopping and the answer takes too long."""
        post = asyncio.create_task(
            client.post(waiting.message_id, waiting.body), name=f"post to {self._id}"
        )
        stop = asyncio.create_task(stopping.wait(), name=f"stop {self._id}")
        try:
            await asyncio.wait({post, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not post.done():
                await asyncio.wait({post}, timeout=self._patience.grace_s)
            return post.result() if post.done() else None
        finally:
            for task in (post, stop):
                task.cancel()
            await asyncio.gather(post, stop, return_exceptions=True)

    def _note(self, waiting: Waiting, verdict: Verdict) -> None:
        """Store what came of an attempt."""
        if verdict.kind == "again":
            self._note_failure(waiting, verdict)
            return
        self._back_off_s = self._patience.back_off_min_s
        if self._failures_in_a_row >= AWAY_AFTER:
            _LOG.info("webhook %s answers again", self._id)
        self._failures_in_a_row = 0
        if verdict.kind == "taken":
            self._queue.taken(self._id, waiting)
            self._told_refused = False
        elif verdict.kind == "refused":
            self._refuse(waiting, verdict.reason)
        else:
            waited = self._queue.gone(self._id)
            _LOG.warning(
                "webhook %s answered 410 Gone: it is disabled until it has another url, and the "
                "%d events that waited for it are dropped",
                self._id,
                waited,
            )

    def _note_failure(self, waiting: Waiting, verdict: Verdict) -> None:
        self.failures += 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row == AWAY_AFTER:
            _LOG.warning(
                "webhook %s takes nothing now (%s); events wait on disk", self._id, verdict.reason
            )
        if verdict.is_about_event:
            now_ns = self._now_ns()
            self._queue.failing(waiting, now_ns)
            failing_ns = now_ns - (waiting.failing_since_ns or now_ns)
            if failing_ns > self._patience.failing_max_s * 1e9:
                self._refuse(waiting, f"{verdict.reason} for too long")

    def _refuse(self, waiting: Waiting, reason: str) -> None:
        self._queue.refused(self._id, waiting, reason)
        if not self._told_refused:
            self._told_refused = True
            _LOG.warning(
                "webhook %s refuses an event for good (%s); it is set aside, and so are all "
                "that it refuses",
                self._id,
                reason,
            )

    def _wait_s(self, verdict: Verdict) -> float:
        """Return how long until the next attempt, at least half of it certain [s]."""
        patience = self._patience
        wait_s = self._back_off_s * (0.5 + 0.5 * self._random())
        self._back_off_s = min(2 * self._back_off_s, patience.back_off_max_s)
        if verdict.retry_after_s is None:
            return wait_s
        asked_s = min(verdict.retry_after_s, patience.retry_after_max_s)
        return max(wait_s, asked_s * (1.0 + 0.1 * self._random()))


async def _pause(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        pass
