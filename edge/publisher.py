"""Sends what lies in the outbox, until the gateway has acknowledged it.

Rules of the file: MQTT is an untrusted transport. The broker's PUBACK empties nothing; only
`A/ack` does. At most `window` batches are out without an ack. What was there at the connect
is the backlog and goes oldest first; what comes after it goes in order too, and while the
backlog is longer than the window it has a quarter of the window to itself, taps another, so
that neither waits for old rows. What is missing is sent again by `edge.flight`, all of it
after a reconnect; the gateway knows duplicates by their seq. A broker that is not there, or
closes again and again, is told once and tried again with back-off and jitter; a batch that it
refuses is found by `edge.suspicion` and goes to the outbox's dead letters.
"""

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable

from edge.acks import read_ack
from edge.flight import Flight, Sent
from edge.outbox import REASON_LARGE, Outbox, StoredBatch
from edge.session import BrokerUnavailable, Session, Will
from edge.settings import EdgeSettings
from edge.suspicion import SOON_S, STRIKES, Suspicion
from ingest.topics import Leaf, agent_topic, batch_topic, parse_topic

_BACKOFF_MIN_S = 0.2
_STATUS_S = 30.0
_BEAT_S = 5.0
_FETCH_MAX = 16
_BYTES_MAX = 1 << 20
"""In one lane, so that a tap does not wait behind more; one batch may always be out."""
_AHEAD_MAX = 20_000
_MISSED_MAX = 5
REASON_REFUSED = "refused"
log = logging.getLogger("fanous.edge.publisher")


class Publisher:
    """Moves batches from the outbox to the broker.

    Parameters
    ----------
    settings : of the agent
    boot : of this run: acks for it are never believed beyond what was sent
    outbox : open
    status : returns the payload of `A/status`, given the state
    jitter : returns a number in [0, 1)

    Attributes
    ----------
    on_beat : called at least each 5 s while the publisher works
    on_gateway_time : called with the gateway's clock and the round trip [ns]
    on_too_large : called with the size [bytes] of a batch that the broker does not take
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
        self._boots = {boot}
        self._outbox = outbox
        self._status = status
        self._jitter = jitter
        self._window = settings.mqtt.window
        self._share = max(1, self._window // 4)
        self._flight = Flight(float(settings.mqtt.ack_timeout_s))
        self._suspicion = Suspicion(self._window)
        self._highest: dict[tuple[str, str], int] = {}
        self._backlog_id = self._live_id = self._tap_id = 0
        self._divide_id = self._known_id = 0
        self._wake = asyncio.Event()
        self._session: Session | None = None
        self._troubled = self._told_missing = False
        self._status_s = 0.0
        self.counts: Counter[str] = Counter()
        self.on_beat: Callable[[], None] = lambda: None
        self.on_gateway_time: Callable[[int, int], None] = lambda _now_ns, _round_trip_ns: None
        self.on_too_large: Callable[[int], None] = lambda _size: None

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return self._session is not None and self._session.connected

    @property
    def in_flight(self) -> int:
        """Batches that are out without an ack."""
        return len(self._flight)

    def wake(self) -> None:
        """Look again: the outbox has something new."""
        self._wake.set()

    def begin_boot(self, boot: str) -> None:
        """Know another boot of this run.

        Parameters
        ----------
        boot : batches of it will come
        """
        self._boots.add(boot)

    async def run(self) -> None:
        """Publish until cancelled; then the status goes to offline."""
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            self.on_beat()
            session, began_s = self._new_session(), loop.time()
            try:
                await session.connect()
            except BrokerUnavailable as error:
                await session.close()
                self._tell_trouble(str(error))
            except asyncio.CancelledError:
                await session.close()
                raise
            else:
                began_s = loop.time()
                self._tell_recovery()
                try:
                    self._session = session
                    await self._serve(session)
                finally:
                    self._session = None
                    last = (self._topic("status"), self._status("offline"))
                    await session.close(last=last)
                self._tell_trouble("connection lost")
                self._suspect(loop.time() - began_s)
                if loop.time() - began_s >= SOON_S:
                    attempt = 0
            await self._pause(attempt)
            attempt = min(attempt + 1, 16)

    async def _pause(self, attempt: int) -> None:
        ceiling_s = min(self._settings.mqtt.backoff_max_s, _BACKOFF_MIN_S * 2**attempt)
        left_s = ceiling_s * (0.5 + 0.5 * self._jitter())
        while left_s > 0:
            self.on_beat()
            await asyncio.sleep(min(left_s, _BEAT_S))
            left_s -= _BEAT_S

    def _new_session(self) -> Session:
        mqtt = self._settings.mqtt
        return Session(
            mqtt,
            client_id=mqtt.client_id or default_client_id(self._settings),
            will=Will(topic=self._topic("status"), payload=self._status("offline")),
            window=2 * self._window + 16,
            on_message=self._receive,
            on_taken=self._taken,
            on_lost=self._wake.set,
        )

    async def _serve(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        session.subscribe(self._topic("ack"))
        self._flight = Flight(float(self._settings.mqtt.ack_timeout_s))
        self._divide_id = self._live_id = self._tap_id = self._outbox.counts.last_id
        self._known_id = self._divide_id
        self._backlog_id = 0
        self._told_missing = False
        self._status_s = 0.0
        while session.connected:
            self.on_beat()
            self._wake.clear()
            self._send_status(session, loop.time())
            await self._bury_convicts()
            await self._send_missing(session)
            if not await self._send_new(session):
                await self._wait(loop)

    async def _send_new(self, session: Session) -> bool:
        """Fill the window; false when there is nothing to do before something happens."""
        flight, window = self._flight, self._window
        sent = False
        if self._backlog_id < self._divide_id:
            room = self._room(window - self._share - flight.held, flight.held_bytes)
            if room:
                found = await self._outbox.fetch(self._backlog_id, room, up_to_id=self._divide_id)
                for batch in found:
                    if flight.held_bytes >= _BYTES_MAX or not self._sends(session, batch):
                        break
                    self._backlog_id = batch.id
                if len(found) < room:
                    self._divide_id = found[-1].id if found else self._backlog_id
                sent = bool(found)
        is_behind = self._backlog_id < self._divide_id
        if self._outbox.counts.last_id <= self._live_id or len(flight) >= _AHEAD_MAX:
            return sent
        if is_behind:
            room = self._room(self._share - flight.ahead, flight.ahead_bytes)
        else:
            room = self._room(window - flight.held, flight.held_bytes)
        if room:
            found = await self._outbox.fetch(self._live_id, room)
            for batch in found:
                held_bytes = flight.ahead_bytes if is_behind else flight.held_bytes
                if held_bytes >= _BYTES_MAX:
                    break
                if not self._sends(session, batch, is_ahead=is_behind):
                    break
                self._live_id = batch.id
            sent = sent or bool(found)
        return await self._send_taps(session) or sent

    async def _send_taps(self, session: Session) -> bool:
        """Send the taps that the rest would hold up."""
        newest_id, after_id = self._outbox.counts.last_id, max(self._live_id, self._tap_id)
        room = self._room(self._share - self._flight.taps_ahead, 0)
        if after_id >= newest_id or not room:
            return False
        taps = await self._outbox.fetch(after_id, room, up_to_id=newest_id, only_taps=True)
        for tap in taps:
            if self._is_due(tap) and not self._send(session, tap, is_ahead=True):
                return False
            self._tap_id = tap.id
        if len(taps) < room:
            self._tap_id = newest_id
        return bool(taps)

    def _room(self, places: int, held_bytes: int) -> int:
        if self._suspicion.is_careful:
            return 0 if self._flight.untaken else 1
        return max(0, min(places, _FETCH_MAX)) if held_bytes < _BYTES_MAX else 0

    def _is_due(self, batch: StoredBatch) -> bool:
        """Tell whether a batch has yet to be sent: not out, not passed over, not acknowledged."""
        is_out = batch.id in self._flight or batch.id in self._suspicion.passed_over
        return not is_out and batch.seq >= self._outbox.first_seq(batch.boot, batch.kind)

    def _sends(self, session: Session, batch: StoredBatch, *, is_ahead: bool = False) -> bool:
        """Send a batch if that is due; false when it must wait or the connection is gone."""
        if not self._is_due(batch):
            return True
        if self._suspicion.is_careful and self._flight.untaken:
            return False
        return self._send(session, batch, is_ahead=is_ahead)

    def _send(self, session: Session, batch: StoredBatch, *, is_ahead: bool = False) -> bool:
        store, agent = self._settings.store, self._settings.agent
        mid = session.publish(batch_topic(store, agent, batch.kind), batch.payload)
        if mid is None:
            return False
        now_s = asyncio.get_running_loop().time()
        is_fresh = batch.id > self._known_id
        self._flight.add(batch, mid, now_s, is_ahead=is_ahead, is_fresh=is_fresh)
        key = (batch.boot, batch.kind)
        if batch.boot in self._boots:
            self._highest[key] = max(batch.seq, self._highest.get(key, 0))
        self.counts["published"] += 1
        return True

    async def _send_missing(self, session: Session) -> None:
        if self._suspicion.is_careful and self._flight.untaken:
            return
        for sent in self._flight.overdue(asyncio.get_running_loop().time()):
            if sent.missed >= _MISSED_MAX and not await self._bury(sent, REASON_REFUSED):
                continue
            found = await self._outbox.fetch(sent.id - 1, 1, up_to_id=sent.id)
            if sent.id not in self._flight:
                continue  # acknowledged while it was read
            if not found:
                self._flight.forget(sent)
                continue
            self.counts["ack_timeouts"] += 1
            if not self._told_missing:
                self._told_missing = True
                log.warning("ack missed in_flight=%d; sending again", len(self._flight))
            if not self._send(session, found[0]):
                return

    async def _bury_convicts(self) -> None:
        for sent in list(self._suspicion.convicted):
            if await self._bury(sent, REASON_LARGE):
                self._suspicion.close(sent)
                # From its place on: its stand-in is read and sent, what is out is passed by.
                self._backlog_id = min(self._backlog_id, sent.id - 1)
                self._divide_id = max(self._divide_id, sent.id)

    async def _bury(self, sent: Sent, reason: str) -> bool:
        """Give a batch up; false when the disk does not take it now."""
        try:
            rows = await self._outbox.bury(sent.id, reason)
        except sqlite3.Error:
            return False
        if rows:
            self.counts["buried"] += 1
            log.warning(
                "batch given up kind=%s rows=%d bytes=%d reason=%s; it is a dead letter now",
                sent.kind,
                rows,
                sent.size,
                reason,
            )
        return True

    def _suspect(self, lived_s: float) -> None:
        sent = self._suspicion.lost(self._flight.untaken, lived_s)
        if sent is not None:
            self.counts["passed_over"] += 1
            log.warning(
                "broker closes the connection at a batch kind=%s bytes=%d times=%d; passed over, "
                "shorter ones from now on: raise the broker's limit for packets, or lower "
                "[batch] max_bytes",
                sent.kind,
                sent.size,
                STRIKES,
            )
            self.on_too_large(sent.size)

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        due_s = min(self._status_s + _STATUS_S, self._flight.due_s(), now_s + _BEAT_S)
        try:
            await asyncio.wait_for(self._wake.wait(), max(0.02, due_s - now_s))
        except TimeoutError:
            pass

    def _send_status(self, session: Session, now_s: float) -> None:
        if self._status_s == 0.0 or now_s - self._status_s >= _STATUS_S:
            session.publish(self._topic("status"), self._status("online"), retain=True)
            self._status_s = now_s

    def _taken(self, mid: int) -> None:
        sent = self._flight.taken(mid)
        if sent is not None:
            self._suspicion.taken(sent)
        if self._suspicion.is_careful or self._suspicion.passed_over:
            self._wake.set()

    def _receive(self, topic: str, payload: bytes) -> None:
        parsed = parse_topic(topic)
        if parsed is None or parsed.leaf != "ack":
            self.counts["foreign_messages"] += 1
            return
        ack = read_ack(payload)
        if ack is None:
            self.counts["bad_acks"] += 1
            return
        seq = ack.seq
        if ack.boot in self._boots:
            seq = min(seq, self._highest.get((ack.boot, ack.kind), 0))
        if seq != ack.seq:
            self.counts["bad_acks"] += 1
        if seq < 1:
            return
        now_s = asyncio.get_running_loop().time()
        self._outbox.ack(ack.boot, ack.kind, seq)
        done = self._flight.acknowledge(ack.boot, ack.kind, seq, now_s)
        if done:
            self.counts["acked"] += len(done)
            last = done[-1]
            if ack.now_ns and last.seq == ack.seq and last.tries == 1 and last.is_fresh:
                self.on_gateway_time(ack.now_ns, round((now_s - last.sent_s) * 1e9))
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
