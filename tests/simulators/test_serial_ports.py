import os
import select
import time

import pytest
import serial

from simulators.serial_ports import MODBUS, SAMPLES, TAPS, ModbusBus, Pn532Reader, SerialPorts


@pytest.fixture
def ports(tmp_path):
    with SerialPorts(tmp_path) as made:
        yield made


def read(line, size, timeout_s=5.0):
    """Return so many bytes from an open port, or what came until the deadline."""
    out, until_s = b"", time.monotonic() + timeout_s
    while len(out) < size and time.monotonic() < until_s:
        if select.select([line.fileno()], [], [], 0.05)[0]:
            out += line.read(size - len(out))
    return out


def opened(path):
    return serial.Serial(str(path), 9600, timeout=0)


@pytest.mark.parametrize("profile", sorted(SAMPLES))
def test_what_a_sensor_sends_is_what_its_profile_reads(tmp_path, ports, profile):
    ports.open("port")
    with opened(tmp_path / "port") as line:
        assert ports.weigh("port", profile, 640.0)
        fields = SAMPLES[profile](640.0)
        data = read(line, len(ports.registry.encode(profile, fields)))
    (found,) = ports.registry.stream(profile).feed(data)
    assert {key: found.fields[key] for key in fields} == fields


@pytest.mark.parametrize(
    ("profile", "tag"),
    [
        ("rdm6300", "em4100:67003b51c6"),
        ("keyboard_wedge", "nfc:04a1b2c3d4e5f6"),
        ("keyboard_wedge", "nfc:04a1b2c3"),
        ("keyboard_wedge", "wiegand:3887558"),
    ],
)
def test_what_a_reader_sends_is_the_tag(ports, profile, tag):
    data = ports.registry.encode(profile, TAPS[profile](tag))
    (found,) = ports.registry.stream(profile).feed(data)
    assert [tag] == [emit.tag for emit in found.emits]


def test_nothing_is_echoed_or_translated(tmp_path, ports):
    port = ports.open("port")
    every_byte = bytes(range(256))
    with opened(tmp_path / "port") as line:
        assert port.send(every_byte)
        assert every_byte == read(line, 256)
        os.write(line.fileno(), every_byte)
        out, until_s = b"", time.monotonic() + 5
        while len(out) < 256 and time.monotonic() < until_s:
            out += port.receive()
        assert every_byte == out


def test_what_was_sent_while_nobody_listened_is_lost(tmp_path, ports):
    port = ports.open("port")
    port.send(b"before the first")
    with opened(tmp_path / "port") as line:
        assert port.send(b"a")
        assert read(line, 2, 0.3) == b"a"
    port.send(b"between")
    with opened(tmp_path / "port") as line:
        assert port.send(b"b")
        assert read(line, 2, 0.3) == b"b"


def test_a_full_line_loses_and_does_not_block(tmp_path, ports):
    port = ports.open("port")
    with opened(tmp_path / "port"):
        for _ in range(200):
            port.send(bytes(1000))
        assert port.lost_bytes > 0


def test_unplugging_hangs_up_and_takes_the_name_away(tmp_path, ports):
    port = ports.open("port")
    with opened(tmp_path / "port") as line:
        port.unplug()
        assert not (tmp_path / "port").exists()
        with pytest.raises(serial.SerialException):
            read(line, 1)
    port.unplug()
    assert not port.send(b"x")
    port.plug()
    with opened(tmp_path / "port") as line:
        assert port.send(b"x")
        assert read(line, 1) == b"x"


def test_a_bus_answers_for_its_units_only(tmp_path, ports):
    bus = ModbusBus(ports.registry)
    bus.put(1, 0, -250)
    ports.open("bus", bus)
    with opened(tmp_path / "bus") as line:
        os.write(line.fileno(), bytes.fromhex("010300000002c40b"))
        assert bytes.fromhex("010304ffffff06") == read(line, 9)[:7]
    for head in ({"unit": 2, "address": 0}, {"unit": 1, "address": 4}):
        request = ports.registry.encode(MODBUS, {**head, "function": 3, "count": 2})
        assert bus.answer(request) == b""
    assert bus.answer(b"\x01\x03\x00") == b""


def test_a_bus_answers_for_high_addresses(ports):
    bus = ModbusBus(ports.registry)
    bus.put(1, 0x2000, 7, words=1)
    head = {"unit": 1, "function": 4}
    request = ports.registry.encode(MODBUS, {**head, "address": 0x2000, "count": 1})
    assert ports.registry.encode(MODBUS, {**head, "registers": [7]}) == bus.answer(request)


def test_the_card_reader_answers_with_the_card_that_is_there(ports):
    reader = Pn532Reader(ports.registry)
    ask = ports.registry.encode(
        "pn532_hsu", {"type": "command", "code": 0x4A, "payload_hex": "0100"}
    )
    ack = bytes.fromhex("0000ff00ff00")
    assert ack + bytes.fromhex("0000ff03fdd54b00e000") == reader.answer(ask)
    reader.uid_hex = "04a1b2c3d4e5f6"
    stream = ports.registry.stream("pn532_hsu")
    _, found = stream.feed(reader.answer(ask))
    assert found.tag == "nfc:04a1b2c3d4e5f6"
