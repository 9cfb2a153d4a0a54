"""The MQTT connection: messages into a bounded queue, acknowledgements on demand.

Rules of the file: paho-mqtt with manual acknowledgement and a persistent session, so
a message is the broker's until `acknowledge` is called, and that happens after the
commit. The inbox is bounded: when it is full the network thread waits, which holds
the broker back through TCP; nothing is dropped here. paho reconnects with back-off by
itself; an outage is told once, and so is its end. An acknowledgement that belongs to
an earlier connection is not sent, because packet identifiers are reused.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.reasoncodes import ReasonCode

from gateway.fast_client import OWN_MIDS, FastClient, Message
from gateway.inbox import Arrived, Inbox
from ingest.broker import BrokerAddress

_LOG = logging.getLogger(__name__)
INBOX_MAX = 2048
IN_FLIGHT_MAX = 500
PUBLISH_QUEUE_MAX = 20_000
SEND_MAX = 1000


class Subscriber:
    """One client of one broker.

    Parameters
    ----------
    address : the broker
    filters : topic filters, all with QoS 1
    client_id : fixed, because the session is persistent
    now_ns : stamps arrivals
    username : where the broker asks for one
    password : where the broker asks for one
    tls : for ``mqtts``
    """

    def __init__(
        self,
        address: BrokerAddress,
        filters: Sequence[str],
        *,
        client_id: str,
        now_ns: Callable[[], int],
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.inbox = Inbox(INBOX_MAX)
        self.arrived_count = 0
        self.outage_count = 0
        self.on_answers: Callable[[Sequence[int]], None] = lambda _mids: None
        self._address = address
        self._filters = [(topic, 1) for topic in filters]
        self._now_ns = now_ns
        self._connection = 0
        self._next_mid = OWN_MIDS.start
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._told_down = False
        self._client = FastClient(client_id)
        self._client.max_inflight_messages_set(IN_FLIGHT_MAX)
        self._client.max_queued_messages_set(PUBLISH_QUEUE_MAX)
        self._client.reconnect_delay_set(1, 30)
        if username is not None:
            self._client.username_pw_set(username, password)
        if tls is not None:
            self._client.tls_set_context(tls)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_messages = self._on_messages
        self._client.on_answers = self._on_answers
        self._client.on_socket_open = self._on_socket_open

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted this client and it has subscribed."""
        return self._connected.is_set()

    def start(self) -> None:
        """Begin to connect, for ever until `stop`; returns at once."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=30)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and end the network thread."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()
        left_open = self._client.socket()  # paho's thread may end before it closes it
        if left_open is not None:
            left_open.close()
        self._connected.clear()

    def acknowledge(self, stored: Sequence[Arrived]) -> None:
        """Tell the broker that messages are stored.

        Parameters
        ----------
        stored : as they came from `inbox`
        """
        self._client.acknowledge(
            [a.mid for a in stored if a.connection == self._connection and a.qos]
        )

    def publish(self, topic: str, payload: bytes, *, qos: int = 1) -> int:
        """Publish a message, never retained.

        Parameters
        ----------
        topic : where to
        payload : what
        qos : 0 or 1

        Returns
        -------
        mid : the packet's identifier; 0 when the broker is away (QoS 0) or the queue is full
        """
        if qos == 0 and not self._connected.is_set():
            return 0
        info = self._client.publish(topic, payload, qos=qos)
        return info.mid if info.rc in (mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_NO_CONN) else 0

    def send(self, messages: Sequence[tuple[str, bytes]]) -> list[int]:
        """Publish messages with QoS 1, once; `on_answers` is told which the broker has taken.

        Parameters
        ----------
        messages : topic and payload of each, at most `SEND_MAX`

        Returns
        -------
        mids : the packets' identifiers, another one for each and none of the last call's;
            empty when the broker is away
        """
        if not self._connected.is_set():
            return []
        if self._next_mid + len(messages) > OWN_MIDS.stop:
            self._next_mid = OWN_MIDS.start
        first = self._next_mid
        self._next_mid += len(messages)
        self._client.send(messages, first)
        return list(range(first, first + len(messages)))

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Any,  # noqa: ANN401
    ) -> None:
        if reason.is_failure:
            self._tell_down(f"refused the connection ({reason})")
            return
        self._connection += 1
        client.subscribe(self._filters)
        self._connected.set()
        where = f"{self._address.host}:{self._address.port}"
        _LOG.info("broker %s %s", where, "recovered" if self._told_down else "connected")
        self._told_down = False

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: Any) -> None:  # noqa: ANN401
        self._tell_down("cannot be reached")

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Any,  # noqa: ANN401
    ) -> None:
        self._connected.clear()
        if not self._stopping.is_set():
            self._tell_down(f"has closed the connection ({reason})")

    def _tell_down(self, what: str) -> None:
        self.outage_count += 1
        if not self._told_down and not self._stopping.is_set():
            self._told_down = True
            _LOG.warning(
                "broker %s:%d %s; waiting for it, agents keep their data meanwhile",
                self._address.host,
                self._address.port,
                what,
            )

    def _on_messages(self, messages: Sequence[Message]) -> None:
        received_ns, connection = self._now_ns(), self._connection
        arrived = [
            Arrived(
                topic=message.topic.decode("utf-8", "replace"),
                payload=message.payload,
                received_ns=received_ns,
                mid=message.mid,
                qos=message.qos,
                connection=connection,
                is_retained=message.is_retained,
            )
            for message in messages
        ]
        self.arrived_count += len(arrived)
        self.inbox.put(arrived, is_stopping=self._stopping.is_set)

    def _on_socket_open(self, _client: mqtt.Client, _userdata: Any, sock: Any) -> None:  # noqa: ANN401
        self._client.forget_unread()
        _send_at_once(sock)

    def _on_answers(self, mids: Sequence[int]) -> None:
        self.on_answers(mids)


def _send_at_once(sock: Any) -> None:  # noqa: ANN401
    """Switch Nagle's algorithm off: with delayed acknowledgements it costs 40 ms a message."""
    plain = getattr(sock, "socket", sock)
    if isinstance(plain, socket.socket) and plain.family in (socket.AF_INET, socket.AF_INET6):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
