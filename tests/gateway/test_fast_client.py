import socket
import struct

import pytest
from paho.mqtt.enums import MQTTErrorCode

from gateway.fast_client import OWN_MIDS, FastClient

CONNACK, PINGRESP = b"\x20\x02\x00\x00", b"\xd0\x00"


def _publish(topic, payload, *, mid=7, qos=1, retain=0):
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", mid) if qos else b"")
    body += payload
    left, length = len(body), b""
    while left >= 128:
        length, left = length + bytes([left % 128 | 128]), left // 128
    return bytes([0x30 | qos << 1 | retain]) + length + bytes([left]) + body


class Rig:
    def __init__(self):
        self.ours, self.brokers = socket.socketpair()
        self.ours.setblocking(False)
        self.client = FastClient("test")
        self.client._sock = self.ours
        self.portions, self.answers = [], []
        self.client.on_messages = lambda messages: self.portions.append(list(messages))
        self.client.on_answers = self.answers.extend

    def read(self, data):
        self.brokers.sendall(data)
        return self.client.loop_read()

    def close(self):
        self.ours.close()
        self.brokers.close()

    @property
    def messages(self):
        return [message for portion in self.portions for message in portion]


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.close()


MESSAGES = [
    _publish(b"a/b", b"one"),
    _publish(b"a/c", b"x" * 300, mid=65535),
    _publish(b"a/d", b"", qos=0, retain=1),
]


def _check_messages(rig):
    found = [(m.topic, m.payload, m.mid, m.qos, m.is_retained) for m in rig.messages]
    assert [
        (b"a/b", b"one", 7, 1, False),
        (b"a/c", b"x" * 300, 65535, 1, False),
        (b"a/d", b"", 0, 0, True),
    ] == found


def test_what_came_together_is_told_together(rig):
    assert MQTTErrorCode.MQTT_ERR_SUCCESS == rig.read(b"".join(MESSAGES))
    assert 1 == len(rig.portions)
    _check_messages(rig)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_packets_may_be_cut_anywhere(rig, size):
    data = b"".join(MESSAGES) + PINGRESP
    for first in range(0, len(data), size):
        rig.read(data[first : first + size])
    _check_messages(rig)


def test_other_packets_go_through_paho_in_their_order(rig):
    seen = []
    rig.client.on_connect = lambda *_: seen.append(len(rig.messages))
    rig.read(MESSAGES[0] + CONNACK + MESSAGES[1])
    assert [1] == seen
    assert 2 == len(rig.messages)


def test_answers_to_what_was_sent_together_are_told_and_others_are_pahos(rig):
    first = OWN_MIDS.start
    rig.client.send([("t/1", b"one"), ("t/2", b"two")], first)
    rig.client.loop_write()
    sent = rig.brokers.recv(1000)
    expected = b"".join(
        _publish(topic, payload, mid=mid)
        for topic, payload, mid in ((b"t/1", b"one", first), (b"t/2", b"two", first + 1))
    )
    assert expected == sent
    rig.read(struct.pack("!BBH", 0x40, 2, first) + struct.pack("!BBH", 0x40, 2, 5))
    assert [first] == rig.answers


def test_acknowledgements_go_in_one_piece(rig):
    rig.client.acknowledge([1, 2, 65535])
    rig.client.loop_write()
    assert b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\xff\xff" == rig.brokers.recv(1000)


@pytest.mark.parametrize("data", [b"\x32\xff\xff\xff\xff\x01", b"\x32\x02\x00\x09", b"\x32\x01x"])
def test_nonsense_ends_the_connection(rig, data):
    assert 0 < rig.read(MESSAGES[0] + data)
    assert 1 == len(rig.messages)
    assert rig.client.socket() is None


def test_a_closed_connection_is_told_and_the_rest_of_a_packet_forgotten(rig):
    rig.read(MESSAGES[0][:5])
    rig.brokers.close()
    assert MQTTErrorCode.MQTT_ERR_CONN_LOST == rig.client.loop_read()
    rig.ours, rig.brokers = socket.socketpair()
    rig.ours.setblocking(False)
    rig.client._sock = rig.ours
    rig.read(MESSAGES[0])
    assert 1 == len(rig.messages)
