"""One connection to the broker: paho-mqtt in its own thread, seen from asyncio.

Rules of the file: a session lives from one connect to the first disconnect and is never
used again. paho resends its whole queue at a reconnect and keeps it in memory without a
bound (reference, transport 1); the outbox does that better, so each connection gets a
new client and paho holds no more than the publisher's window.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edge.settings import MqttSettings, read_password, tls_context
from ingest.broker import broker_address

_CONNECT_TIMEOUT_S = 10.0
_KEEPALIVE_S = 30
_QOS = 1


class BrokerUnavailable(ConnectionError):  # noqa: N818 - as SourceUnavailable
    """The broker is not there now, or refuses: try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker publishes, retained, when the agent is gone without a word."""

    topic: str
    payload: bytes


class Session:
    """One connection.

    Parameters
    ----------
    mqtt : the ``[mqtt]`` table, with absolute paths
    client_id : the same at each connection, so that the broker keeps the acks for us
    will : set at connect
    window : messages paho may have in flight
    on_message : called in the event loop with topic and payload
    on_taken : called in the event loop with the number of a packet that the broker has taken
    on_lost : called in the event loop when the connection is gone
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        *,
        client_id: str,
        will: Will,
        window: int,
        on_message: Callable[[str, bytes], None],
        on_taken: Callable[[int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._address = broker_address(mqtt.url)
        self._loop = asyncio.get_running_loop()
        self._on_message, self._on_taken, self._on_lost = on_message, on_taken, on_lost
        self._answer: asyncio.Future[str] = self._loop.create_future()
        self.connected = False
        self._closed = False
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(window)
        client.will_set(will.topic, will.payload, qos=_QOS, retain=True)
        if mqtt.username is not None:
            client.username_pw_set(mqtt.username, read_password(mqtt))
        context: ssl.SSLContext | None = tls_context(mqtt)
        if context is not None:
            client.tls_set_context(context)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_socket_open = _send_at_once
        client.on_message = self._received
        client.on_publish = self._taken
        self._client = client

    async def connect(self) -> None:
        """Connect and wait for the broker's answer.

        Raises
        ------
        BrokerUnavailable
            The broker cannot be reached or refuses; the message says why in few words.
        """
        try:
            await self._reach()
        except OSError as error:
            raise BrokerUnavailable(error.strerror or type(error).__name__) from error
        self._client.loop_start()
        try:
            refusal = await asyncio.wait_for(asyncio.shield(self._answer), _CONNECT_TIMEOUT_S)
        except TimeoutError:
            raise BrokerUnavailable("no answer to CONNECT") from None
        if refusal:
            raise BrokerUnavailable(refusal)

    def subscribe(self, topic: str) -> None:
        """Subscribe with QoS 1.

        Parameters
        ----------
        topic : without wildcards from outside
        """
        self._client.subscribe(topic, _QOS)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int | None:
        """Publish with QoS 1.

        Parameters
        ----------
        topic : where to
        payload : what
        retain : keep it at the broker

        Returns
        -------
        mid : the number of the packet; None when the connection is gone
        """
        info = self._client.publish(topic, payload, qos=_QOS, retain=retain)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    async def close(self, *, last: tuple[str, bytes] | None = None, timeout_s: float = 1.0) -> None:
        """Disconnect and end paho's thread.

        Parameters
        ----------
        last : topic and payload of a retained message to deliver before
        timeout_s : [s] how long to wait for the broker to take it
        """
        await asyncio.shield(asyncio.to_thread(self._close, last, timeout_s))

    async def _reach(self) -> None:
        # A thread of its own and a daemon: a host that does not answer blocks it for ten
        # seconds, and neither a stop of the agent nor the end of the program waits for that.
        done: asyncio.Future[None] = self._loop.create_future()

        def settle(error: OSError | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def work() -> None:
            error: OSError | None = None
            try:
                self._client.connect(self._address.host, self._address.port, _KEEPALIVE_S)
            except OSError as found:
                error = found
            self._tell(settle, error)

        threading.Thread(target=work, name="broker connect", daemon=True).start()
        await done

    def _close(self, last: tuple[str, bytes] | None, timeout_s: float) -> None:
        if last is not None and self.connected:
            info = self._client.publish(*last, qos=_QOS, retain=True)
            try:
                info.wait_for_publish(timeout_s)
            except (ValueError, RuntimeError):
                pass  # the connection went while we waited; the will says the same
        self._closed = True
        self._client.disconnect()
        self._client.loop_stop()
        self.connected = False

    # paho's thread calls these.

    def _connected(self, _client: Any, _user: Any, _flags: Any, reason: Any, _more: Any) -> None:  # noqa: ANN401
        self.connected = not reason.is_failure
        self._tell(self._settle, str(reason) if reason.is_failure else "")

    def _disconnected(self, _client: Any, _user: Any, _flags: Any, reason: Any, _more: Any) -> None:  # noqa: ANN401
        self.connected = False
        self._tell(self._settle, str(reason) or "closed")
        self._tell(self._on_lost)

    def _received(self, _client: Any, _user: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401
        self._tell(self._on_message, message.topic, bytes(message.payload))

    def _taken(self, _client: Any, _user: Any, mid: int, _reason: Any, _more: Any) -> None:  # noqa: ANN401
        self._tell(self._on_taken, mid)

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        if self._closed:
            return
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            pass  # the loop is closed: nobody is there to be told

    def _settle(self, refusal: str) -> None:
        if not self._answer.done():
            self._answer.set_result(refusal)


def _send_at_once(_client: paho.Client, _userdata: Any, sock: Any) -> None:  # noqa: ANN401
    # Nagle's algorithm with delayed acknowledgements would cost a tap 40 ms.
    plain = getattr(sock, "socket", sock)
    if isinstance(plain, socket.socket) and plain.family in {socket.AF_INET, socket.AF_INET6}:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
