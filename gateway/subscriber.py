"""The MQTT connection: messages into a bounded queue, acknowledgements on demand.

Rules of the file: paho-mqtt with manual acknowledgement and a persistent session, so
a message is the broker's until `acknowledge` is called, and that happens after the
commit. The inbox is bounded: when it is full the network thread waits, which holds
the broker back through TCP; nothing is dropped here. paho reconnects with back-off by
itself; an outage is told once, and so is its end. An acknowledgement that belongs to
an earlier connection is not sent, because packet identifiers are reused.
"""

import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from ingest.broker import BrokerAddress

_LOG = logging.getLogger(__name__)
INBOX_MAX = 2048
IN_FLIGHT_MAX = 500
PUBLISH_QUEUE_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A message as it came; `connection` counts connections, for `acknowledge`."""

    topic: str
    payload: bytes
    received_ns: int
    mid: int
    qos: int
    connection: int
    is_retained: bool = False


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
        self.inbox: queue.Queue[Arrived] = queue.Queue(INBOX_MAX)
        self.arrived_count = 0
        self.outage_count = 0
        self.on_published: Callable[[int], None] = lambda _mid: None
        self._address = address
        self._filters = [(topic, 1) for topic in filters]
        self._now_ns = now_ns
        self._connection = 0
        self._connected = threading.Event()
        self._stopping = threading.Event()
        self._told_down = False
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id, clean_session=False, manual_ack=True
        )
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
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_socket_open = _send_at_once

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

    def acknowledge(self, arrived: Arrived) -> None:
        """Tell the broker that a message is stored.

        Parameters
        ----------
        arrived : as it came from `inbox`
        """
        if arrived.connection == self._connection and arrived.qos:
            self._client.ack(arrived.mid, arrived.qos)

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

    def _on_message(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401
        message: mqtt.MQTTMessage,
    ) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        arrived = Arrived(
            topic=topic,
            payload=bytes(message.payload),
            received_ns=self._now_ns(),
            mid=message.mid,
            qos=message.qos,
            connection=self._connection,
            is_retained=message.retain,
        )
        self.arrived_count += 1
        while not self._stopping.is_set():
            try:
                self.inbox.put(arrived, timeout=0.2)
            except queue.Full:
                continue
            return

    def _on_publish(
        self,
        _client: mqtt.Client,
        _userdata: Any,  # noqa: ANN401
        mid: int,
        _reason: ReasonCode,
        _properties: Any,  # noqa: ANN401
    ) -> None:
        self.on_published(mid)


def _send_at_once(_client: mqtt.Client, _userdata: Any, sock: Any) -> None:  # noqa: ANN401
    """Switch Nagle's algorithm off: with delayed acknowledgements it costs 40 ms a message."""
    plain = getattr(sock, "socket", sock)
    if isinstance(plain, socket.socket) and plain.family in (socket.AF_INET, socket.AF_INET6):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def next_group(
    inbox: "queue.Queue[Arrived]",
    *,
    wait_s: float,
    group_s: float,
    group_max: int,
    is_urgent: Callable[[Arrived], bool],
) -> list[Arrived]:
    """Take the messages of one group commit from the inbox.

    Parameters
    ----------
    inbox : the subscriber's
    wait_s : [s] longest wait for the first message; then the group is empty
    group_s : [s] longest wait for more after the first
    group_max : a group this large is complete
    is_urgent : tells which messages end the group at once (taps)
    """
    try:
        group = [inbox.get(timeout=wait_s)]
    except queue.Empty:
        return []
    until = time.monotonic() + group_s
    while len(group) < group_max and not is_urgent(group[-1]):
        try:
            group.append(inbox.get(timeout=max(0.0, until - time.monotonic())))
        except queue.Empty:
            break
    return group
