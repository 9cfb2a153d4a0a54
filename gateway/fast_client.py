"""paho's client, reading what the socket holds at once and acknowledging many at once.

Rules of the file: paho 2 reads a packet with three to four calls of the operating system
and goes through `select` between two of them; beside a thread that computes each call waits
for the interpreter, so a few hundred packets a second is all that comes through. Here one
call reads up to `READ_MAX`, packets that carry messages go straight to `on_messages`, and
all others through paho. `_sock_recv`, `_packet_read`, `_packet_queue`, `_loop_rc_handle`
and the time of the last byte are paho's own (2.1 and 2.2 have them). MQTT 3.1.1 only.
"""

import struct
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

READ_MAX = 256 * 1024
_LENGTH_BYTES_MAX = 4
_PUBLISH, _PUBACK = 0x30, 0x40
OWN_MIDS = range(0x8000, 0x10000)
"""Identifiers of what `FastClient.send` sends; those below are paho's."""
_OWN_HIGH = OWN_MIDS.start >> 8


class Message(NamedTuple):
    """A message as the wire had it."""

    topic: bytes
    payload: bytes
    mid: int
    qos: int
    is_retained: bool


class FastClient(mqtt.Client):
    """A client whose messages come in portions, to be acknowledged by `acknowledge`.

    Parameters
    ----------
    client_id : fixed, because the session is persistent

    Attributes
    ----------
    on_messages : called by the network thread with the messages of one portion
    on_answers : called by the network thread with the identifiers of messages of `send`
        that the broker has taken
    """

    def __init__(self, client_id: str) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2, client_id, clean_session=False, manual_ack=True
        )
        self.on_messages: Callable[[Sequence[Message]], None] = lambda _messages: None
        self.on_answers: Callable[[Sequence[int]], None] = lambda _mids: None
        self._unread = bytearray()
        self._for_paho = bytearray()

    def forget_unread(self) -> None:
        """Forget the beginning of a packet of an earlier connection."""
        self._unread.clear()
        self._for_paho.clear()

    def acknowledge(self, mids: Sequence[int]) -> None:
        """Send acknowledgements (QoS 1) in one go.

        Parameters
        ----------
        mids : of the messages
        """
        if mids:
            packets = b"".join([struct.pack("!BBH", _PUBACK, 2, mid) for mid in mids])
            self._packet_queue(_PUBACK, packets, mids[-1], 1)

    def send(self, messages: Sequence[tuple[str, bytes]], first_mid: int) -> None:
        """Send messages (QoS 1) once, in one go; whoever wants them answered sends them again.

        Parameters
        ----------
        messages : (topic, payload)
        first_mid : identifier of the first; the others count on from it. paho counts from 1
            and uses few, so let them be from `OWN_MIDS` on
        """
        packets = b"".join(
            [
                _publish(topic, mid, payload)
                for mid, (topic, payload) in enumerate(messages, first_mid)
            ]
        )
        self._packet_queue(_PUBACK, packets, first_mid, 1)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002
        """Read what has come and hand it on.

        Parameters
        ----------
        max_packets : of no meaning here
        """
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        try:
            data = super()._sock_recv(READ_MAX)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        if not data:
            self.forget_unread()
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        self._unread += data
        return self._hand_on()

    def _hand_on(self) -> MQTTErrorCode:
        unread, at = self._unread, 0
        messages: list[Message] = []
        answers: list[int] = []
        code = MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            while (whole := _packet(unread, at)) is not None:
                begin, end = whole
                if unread[at] & 0xF0 == _PUBLISH and unread[at] & 0x06 != 0x04:
                    messages.append(_message(unread, at, begin, end))
                elif unread[at] == _PUBACK and end - begin == 2 and unread[begin] >= _OWN_HIGH:
                    answers.append(unread[begin] << 8 | unread[begin + 1])
                else:
                    self._tell(messages)
                    messages = []
                    self._for_paho += unread[at:end]
                    code = self._packet_read()
                    if code > 0 or self._sock is None:
                        break
                at = end
        except ValueError:
            code = MQTTErrorCode.MQTT_ERR_PROTOCOL
        self._tell(messages)
        if answers:
            self.on_answers(answers)
        if code > 0:
            self.forget_unread()
            return self._loop_rc_handle(code)
        del unread[:at]
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _sock_recv(self, bufsize: int) -> bytes:
        """Give paho's own reader what is meant for it."""
        data = bytes(self._for_paho[:bufsize])
        del self._for_paho[:bufsize]
        if not data:
            raise BlockingIOError
        return data

    def _tell(self, messages: Sequence[Message]) -> None:
        if messages:
            self.on_messages(messages)


def _packet(data: bytearray, at: int) -> tuple[int, int] | None:
    """Return where a packet's variable part begins and where it ends; None = not all there.

    Raises
    ------
    ValueError
        Its length is none.
    """
    length, factor = 0, 1
    for begin in range(at + 1, at + 1 + _LENGTH_BYTES_MAX):
        if begin >= len(data):
            return None
        length += (data[begin] & 0x7F) * factor
        if data[begin] < 0x80:
            end = begin + 1 + length
            return (begin + 1, end) if end <= len(data) else None
        factor *= 0x80
    raise ValueError("a length of more than four bytes")


def _message(data: bytearray, at: int, begin: int, end: int) -> Message:
    flags = data[at]
    qos = flags >> 1 & 3
    topic_end = begin + 2 + (data[begin] << 8 | data[begin + 1]) if end - begin >= 2 else end + 1
    payload_at = topic_end + (2 if qos else 0)
    if payload_at > end:
        raise ValueError("a message without a topic or an identifier")
    return Message(
        topic=bytes(data[begin + 2 : topic_end]),
        payload=bytes(data[payload_at:end]),
        mid=data[topic_end] << 8 | data[topic_end + 1] if qos else 0,
        qos=qos,
        is_retained=bool(flags & 1),
    )


def _publish(topic: str, mid: int, payload: bytes) -> bytes:
    name = topic.encode()
    left = 4 + len(name) + len(payload)
    length = bytearray()
    while left >= 0x80:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    length.append(left)
    return b"".join(
        (b"\x32", length, struct.pack("!H", len(name)), name, struct.pack("!H", mid), payload)
    )
