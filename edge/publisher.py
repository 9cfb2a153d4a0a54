"""Sends what lies in the outbox, until the gateway has acknowledged it.

Rules of the file: MQTT is an untrusted transport. The broker's PUBACK empties nothing;
only `A/ack` does. At most `window` batches are out without an ack, in the order of the
outbox; after a reconnect, or when no ack comes for `ack_timeout_s` (doubled each time,
so that an absent gateway does not fill the broker), everything is sent again from the
oldest on, and the gateway knows duplicates by their seq. A broker that is not there is
told once and tried again with back-off and jitter.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

import msgspec

from edge.outbox import Outbox, StoredBatch
from edge.session import BrokerUnavailable, Session, Will
from edge.settings import EdgeSettings
from ingest.batch import INT64_MAX, KINDS
from ingest.topics import Leaf, agent_topic, batch_topic, parse_topic

_BACKOFF_MIN_S = 0.2
_ACK_TIMEOUT_MAX_S = 600.0
_STATUS_S = 30.0
log = logging.getLogger("fanous.edge.publisher")


class Ack(msgspec.Struct, frozen=True):
    """The payload of `A/ack`: everything of a boot and kind up to seq is stored."""

    boot: str
    kind: str
    seq: int


class Publisher:
    """Moves batches from the outbox to the broker.

    Parameters
    ----------
    settings : of the agent
    boot : of this run: acks for it are never believed beyond what was sent
    outbox : open
    status : returns the payload of `A/status`, given the state
    jitter : returns a number in [0, 1)
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        boot: str,
        outbox: Outbox,
        status: Callable[[str], bytes],
        jitter: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._boot = boot
        self._outbox = outbox
        self._status = status
        self._jitter = jitter
        self._sent: dict[int, StoredBatch] = {}
        self._highest: dict[str, int] = {}
        self._cursor = 0
        self._wake = asyncio.Event()
        self._session: Session | None = None
        self._troubled = False
        self._acked_s = self._status_s = 0.0
        self._ack_timeout_s = float(settings.mqtt.ack_timeout_s)
        self.counts: Counter[str] = Counter()

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return self._session is not None and self._session.connected

    @property
    def in_flight(self) -> int:
        """Batches that are out without an ack."""
        return len(self._sent)

    def wake(self) -> None:
        """Look again: the outbox has something new."""
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled; then the status goes to offline."""
        attempt = 0
        while True:
            session = self._new_session()
            try:
                await session.connect()
            except BrokerUnavailable as error:
                await session.close()
                self._tell_trouble(str(error))
                ceiling = min(self._settings.mqtt.backoff_max_s, _BACKOFF_MIN_S * 2**attempt)
                attempt = min(attempt + 1, 16)
                await asyncio.sleep(ceiling * (0.5 + 0.5 * self._jitter()))
                continue
            except asyncio.CancelledError:
                await session.close()
                raise
            attempt = 0
            self._tell_recovery()
            try:
                self._session = session
                await self._serve(session)
            finally:
                self._session = None
                last = (self._topic("status"), self._status("offline"))
                await session.close(last=last)
            self._tell_trouble("connection lost")

    def _new_session(self) -> Session:
        mqtt = self._settings.mqtt
        return Session(
            mqtt,
            client_id=mqtt.client_id or default_client_id(self._settings),
            will=Will(topic=self._topic("status"), payload=self._status("offline")),
            window=mqtt.window + 2,
            on_message=self._receive,
            on_lost=self._wake.set,
        )

    async def _serve(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        session.subscribe(self._topic("ack"))
        self._from_the_oldest(loop.time())
        self._status_s = 0.0
        while session.connected:
            self._wake.clear()
            self._send_status(session, loop.time())
            room = self._settings.mqtt.window - len(self._sent)
            batches = await self._outbox.fetch(self._cursor, room) if room else []
            for batch in batches:
                if not self._send(session, batch):
                    break
            if not batches or len(batches) == room:
                await self._wait(loop)
            if self._sent and loop.time() - self._acked_s > self._ack_timeout_s:
                self._ack_timeout_s = min(2 * self._ack_timeout_s, _ACK_TIMEOUT_MAX_S)
                self.counts["ack_timeouts"] += 1
                log.warning("ack missed in_flight=%d; sending again", len(self._sent))
                self._from_the_oldest(loop.time())

    def _send(self, session: Session, batch: StoredBatch) -> bool:
        if not self._sent:
            self._acked_s = asyncio.get_running_loop().time()
        store, agent = self._settings.store, self._settings.agent
        if not session.publish(batch_topic(store, agent, batch.kind), batch.payload):
            return False
        self._sent[batch.id] = batch
        self._cursor = batch.id
        if batch.boot == self._boot:
            self._highest[batch.kind] = max(batch.seq, self._highest.get(batch.kind, 0))
        self.counts["published"] += 1
        return True

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = self._status_s + _STATUS_S
        if self._sent:
            due_s = min(due_s, self._acked_s + self._ack_timeout_s)
        try:
            await asyncio.wait_for(self._wake.wait(), max(0.01, due_s - loop.time()))
        except TimeoutError:
            pass

    def _send_status(self, session: Session, now_s: float) -> None:
        if self._status_s == 0.0 or now_s - self._status_s >= _STATUS_S:
            session.publish(self._topic("status"), self._status("online"), retain=True)
            self._status_s = now_s

    def _from_the_oldest(self, now_s: float) -> None:
        self._sent.clear()
        self._cursor = 0
        self._acked_s = now_s

    def _receive(self, topic: str, payload: bytes) -> None:
        parsed = parse_topic(topic)
        if parsed is None or parsed.leaf != "ack" or len(payload) > 1024:
            self.counts["foreign_messages"] += 1
            return
        try:
            ack = msgspec.json.decode(payload, type=Ack)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.counts["bad_acks"] += 1
            return
        sent = self._highest.get(ack.kind, 0) if ack.boot == self._boot else INT64_MAX
        seq = min(ack.seq, sent)
        if seq != ack.seq or ack.kind not in KINDS or seq < 1:
            self.counts["bad_acks"] += 1
        if ack.kind not in KINDS or seq < 1:
            return
        self._outbox.ack(ack.boot, ack.kind, seq)
        done = [
            number
            for number, batch in self._sent.items()
            if batch.boot == ack.boot and batch.kind == ack.kind and batch.seq <= seq
        ]
        for number in done:
            del self._sent[number]
        if done:
            self._acked_s = asyncio.get_running_loop().time()
            self._ack_timeout_s = float(self._settings.mqtt.ack_timeout_s)
            self.counts["acked"] += len(done)
        self._wake.set()

    def _topic(self, leaf: Leaf) -> str:
        return agent_topic(self._settings.store, self._settings.agent, leaf)

    def _tell_trouble(self, reason: str) -> None:
        if not self._troubled:
            self._troubled = True
            log.warning(
                "broker lost url=%s reason=%r; trying again", self._settings.mqtt.url, reason
            )

    def _tell_recovery(self) -> None:
        self.counts["connects"] += 1
        log.info("broker connected url=%s", self._settings.mqtt.url)
        self._troubled = False


def default_client_id(settings: EdgeSettings) -> str:
    """Return the client id of an agent that is not given one.

    Parameters
    ----------
    settings : of the agent

    Returns
    -------
    client_id : one agent, one id: a twin would throw it off the broker
    """
    return f"fanous-edge-{settings.store}-{settings.agent}"
