"""One simulated agent's connection: batches out, acknowledgements in.

Rules of the file: a batch stays in the window until the gateway's ack covers it and
is sent again after a reconnect or a long silence, as an edge agent would; at most
`WINDOW` batches are unacknowledged, then the sender waits, so memory is bounded and
nothing is dropped.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import aiomqtt
import msgspec

from ingest.batch import Batch, Columns, Kind, encode_batch
from ingest.broker import BrokerAddress
from ingest.topics import agent_topic, batch_topic

WINDOW = 64
BACK_OFF_S = (0.5, 8.0)
CONNECT_S = 10.0
STALL_S = 10.0
RESEND_S = 10.0  # a gateway that restarted may have lost the ack, or the batch


class _Ack(msgspec.Struct):
    boot: str
    kind: str
    seq: int


class AgentLink:
    """An agent that publishes batches and waits for the gateway to have them.

    Parameters
    ----------
    broker : where
    store, agent : who
    boot : new at each start
    now_ns : the wall clock
    say : where to tell people what is going on
    resend_s : float [s], after so long without anything new the window is sent again
    """

    def __init__(
        self,
        broker: BrokerAddress,
        *,
        store: str,
        agent: str,
        boot: str,
        now_ns: Callable[[], int],
        say: Callable[[str], None],
        resend_s: float = RESEND_S,
    ) -> None:
        self._broker, self._store, self.agent, self._boot = broker, store, agent, boot
        self._now_ns, self._say, self._resend_s = now_ns, say, resend_s
        self._seq: dict[Kind, int] = {}
        self._unacked: dict[tuple[Kind, int], bytes] = {}
        self._unsent: list[tuple[Kind, int]] = []
        self._changed = asyncio.Condition()
        self._closing = False
        self._failing = False
        self.batches = 0
        self.acked = 0

    @property
    def unacked(self) -> int:
        """Batches in the window."""
        return len(self._unacked)

    async def send(self, kind: Kind, columns: dict[str, list[Any]], *, complete_ns: int) -> None:
        """Put rows into the window as one batch; waits while it is full.

        Parameters
        ----------
        kind : of the rows
        columns : plain lists under the names of the contract
        complete_ns : no later batch holds rows before it, 0 = not said
        """
        async with self._changed:
            while len(self._unacked) >= WINDOW:
                await self._wait_for_room()
            seq = self._seq[kind] = self._seq.get(kind, 0) + 1
            held = [number for of, number in self._unacked if of == kind]
            batch = Batch(
                store=self._store,
                agent=self.agent,
                boot=self._boot,
                kind=kind,
                seq=seq,
                sent_ns=self._now_ns(),
                columns=Columns(**columns),
                first_seq=min(held, default=seq),
                complete_ns=complete_ns,
            )
            self._unacked[kind, seq] = encode_batch(batch)
            self._unsent.append((kind, seq))
            self.batches += 1
            self._changed.notify_all()

    async def drain(self, patience_s: float) -> bool:
        """Wait until every batch is acknowledged; False when no ack came for so long.

        Parameters
        ----------
        patience_s : float [s], without any progress; a broker that is down is waited for
        """
        async with self._changed:
            while self._unacked:
                try:
                    async with asyncio.timeout(patience_s):
                        await self._changed.wait()
                except TimeoutError:
                    if not self._failing:
                        return False
        return True

    async def close(self) -> None:
        """Let `run` say goodbye and end."""
        async with self._changed:
            self._closing = True
            self._changed.notify_all()

    async def run(self) -> None:
        """Stay connected until closed, waiting for a broker that is down."""
        wait_s = BACK_OFF_S[0]
        while not self._closing:
            try:
                async with self._client() as client:
                    if self._failing:
                        self._say(f"{self.agent}: broker {self._broker} is back")
                    self._failing = False
                    wait_s = BACK_OFF_S[0]
                    await self._session(client)
                    return
            except (aiomqtt.MqttError, OSError) as error:
                if not self._failing:
                    self._say(
                        f"{self.agent}: broker {self._broker} cannot be reached "
                        f"({str(error) or type(error).__name__}); trying again until it can"
                    )
                self._failing = True
            async with self._changed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._changed.wait_for(lambda: self._closing)
            wait_s = min(2 * wait_s, BACK_OFF_S[1])

    def _client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier=f"fanous-sim-{self.agent}-{self._boot}",
            will=aiomqtt.Will(self._topic("status"), self._status("offline"), qos=1, retain=True),
            tls_context=ssl.create_default_context() if self._broker.tls else None,
            timeout=CONNECT_S,
            max_queued_incoming_messages=1000,
        )

    async def _session(self, client: aiomqtt.Client) -> None:
        await client.subscribe(self._topic("ack"), qos=1)
        await client.publish(self._topic("status"), self._status("online"), qos=1, retain=True)
        self._unsent = list(self._unacked)
        listener = asyncio.create_task(self._listen(client), name=f"{self.agent}-acks")
        sender = asyncio.create_task(self._publish(client), name=f"{self.agent}-batches")
        try:
            await asyncio.wait({listener, sender}, return_when=asyncio.FIRST_COMPLETED)
            if listener.done():
                listener.result()
            await sender
        finally:
            for task in (listener, sender):
                task.cancel()
            await asyncio.gather(listener, sender, return_exceptions=True)
        await client.publish(self._topic("status"), self._status("offline"), qos=1, retain=True)

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            async with self._changed:
                try:
                    async with asyncio.timeout(self._resend_s):
                        await self._changed.wait_for(lambda: self._unsent or self._closing)
                except TimeoutError:
                    self._unsent = list(self._unacked)
                    continue
                todo, self._unsent = self._unsent, []
                if not todo:
                    return
            for kind, seq in todo:
                payload = self._unacked.get((kind, seq))
                if payload is not None:
                    await client.publish(batch_topic(self._store, self.agent, kind), payload, qos=1)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if not isinstance(message.payload, bytes):
                continue
            try:
                ack = msgspec.json.decode(message.payload, type=_Ack)
            except msgspec.DecodeError:
                continue
            if ack.boot != self._boot:
                continue
            async with self._changed:
                done = [key for key in self._unacked if key[0] == ack.kind and key[1] <= ack.seq]
                for key in done:
                    del self._unacked[key]
                self.acked += len(done)
                self._changed.notify_all()
        raise aiomqtt.MqttError("the connection ended")

    async def _wait_for_room(self) -> None:
        """Wait for an ack; say so, once per stall, when none comes."""
        try:
            async with asyncio.timeout(STALL_S):
                await self._changed.wait()
        except TimeoutError:
            if not self._failing:
                self._say(
                    f"{self.agent}: no gateway acknowledged {WINDOW} batches for {STALL_S:g} s; "
                    f"waiting (is a gateway running for store '{self._store}'?)"
                )
            await self._changed.wait()

    def _topic(self, leaf: Any) -> str:  # noqa: ANN401 - one of ingest.topics.Leaf
        return agent_topic(self._store, self.agent, leaf)

    def _status(self, state: str) -> bytes:
        return msgspec.json.encode(
            {
                "state": state,
                "versions": {"simulator": "1"},
                "sources": [{"kind": "simulator", "health": "ok"}],
                "outbox": self.unacked,
                "clock": {},
            }
        )
