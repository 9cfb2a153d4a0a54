"""Serial lines over real pseudo-terminals: taps, weights, ranges, faults of the cable."""

import asyncio
import contextlib
import itertools
import logging
import os
import time

import pytest

from edge.measurement import Sample, Tap
from edge.sources.serial_lines import SerialSource
from edge.sources.serial_port import close_port, open_port
from edge.sources.serial_settings import SerialPortSettings
from simulators.serial_ports import ModbusBus, Pn532Reader, SerialPorts
from tests.edge.agents import until

GATE = {"path": "gate", "profile": "rdm6300", "tap_point": "gate-1"}
SCALE = {"path": "scale", "profile": "mt_sics", "sensor": "plate-1"}
CARD = "em4100:67003b51c6"


@pytest.fixture
def ports(tmp_path):
    with SerialPorts(tmp_path) as made:
        yield made


class Rig:
    """A running source: what it handed over, and its health."""

    def __init__(self, source):
        self.source, self.taken = source, []

    async def emit(self, measurements):
        self.taken.extend(measurements)

    def port(self, number=0):
        return self.source.health()["ports"][number]

    def is_open(self):
        return all(port["state"] == "open" for port in self.source.health()["ports"])

    def tags(self):
        return [m.tag for m in self.taken if isinstance(m, Tap)]

    def masses(self, sensor="plate-1"):
        return [m.mass_g for m in self.taken if isinstance(m, Sample) and m.sensor == sensor]


def drive(folder, work, *tables, opened=True, **more):
    """Run a source over some ports while `work` plays the devices."""
    table = {"port": list(tables), **more}

    async def main():
        rig = Rig(SerialSource.from_table(table, subject="x", base=folder, now_ns=time.time_ns))
        task = asyncio.create_task(rig.source.run(rig.emit))
        try:
            if opened:
                await until(rig.is_open, 5)
            await work(rig)
        finally:
            task.cancel()
            began_s = time.monotonic()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, 2)
            assert time.monotonic() - began_s < 2
        return rig

    return asyncio.run(main())


def test_a_card_held_to_a_reader_is_one_tap(tmp_path, ports):
    ports.open("gate")

    async def work(rig):
        for _ in range(10):
            assert ports.tap("gate", "rdm6300", CARD)
        await until(lambda: rig.port()["frames"] == 10)

    began_ns = time.time_ns()
    rig = drive(tmp_path, work, GATE)
    assert [("gate-1", CARD)] == [(tap.tap_point, tap.tag) for tap in rig.taken]
    assert began_ns < rig.taken[0].t_ns < time.time_ns()
    assert rig.port()["held_off"] == 9


@pytest.mark.parametrize(
    ("profile", "counts_per_g"),
    [
        ("mt_sics", None),
        ("aandd", None),
        ("st_gs_ascii", None),
        ("hx711_bridge", 420.5),
    ],
)
def test_scales_give_grams(tmp_path, ports, profile, counts_per_g):
    ports.open("scale")
    more = {} if counts_per_g is None else {"counts_per_g": counts_per_g}

    async def work(rig):
        for mass_g in (0.0, 640.0, 1280.0):
            assert ports.weigh("scale", profile, mass_g, **more)
        await until(lambda: len(rig.taken) == 3)

    rig = drive(tmp_path, work, SCALE | {"profile": profile} | more)
    assert [0.0, 640.0, 1280.0] == pytest.approx(rig.masses(), abs=0.01)


@pytest.mark.parametrize("profile", ["tfmini_s", "gy53_vl53l0x"])
def test_range_sensors_give_millimetres_between_noise(tmp_path, ports, profile):
    port = ports.open("range")

    async def work(rig):
        for noise in (b"\x00", b"\x59\x59\x01", b"\x5a\x5a\x15", b"\xff" * 40):
            assert port.send(noise)
            assert ports.weigh("range", profile, 350.0)
        # What the last half frame holds back comes with what follows it.
        await until(lambda: len(rig.taken) == 4)

    rig = drive(tmp_path, work, {"path": "range", "profile": profile, "sensor": "range-1"})
    assert [350.0] * 4 == [sample.range_mm for sample in rig.taken]
    assert sum(rig.port()["rejected"].values()) >= 2


def test_half_a_frame_is_given_up_in_a_silence(tmp_path, ports):
    port = ports.open("gate")

    async def work(rig):
        port.send(b"\x026700")
        await until(lambda: rig.port()["rejected"])
        ports.tap("gate", "rdm6300", CARD)
        await until(lambda: rig.tags() == [CARD])

    rig = drive(tmp_path, work, GATE)
    assert rig.port()["rejected"]["truncated"] >= 1


def test_two_ports_are_two_streams(tmp_path, ports):
    gate, scale = ports.open("gate"), ports.open("scale")

    async def work(rig):
        frame = ports.registry.encode("mt_sics", {"stable": True, "mass_g": 640.5})
        tap = b"\x0267003B51C6CB\x03"
        for a, b in itertools.zip_longest(frame, tap):
            scale.send(bytes([a]))
            gate.send(b"" if b is None else bytes([b]))
        await until(lambda: len(rig.taken) == 2)

    rig = drive(tmp_path, work, GATE, SCALE)
    assert ([CARD], [640.5]) == (rig.tags(), rig.masses())


def test_registers_are_polled_and_a_silent_unit_does_not_stop_the_rest(tmp_path, ports):
    bus = ModbusBus(ports.registry)
    ports.open("bus", bus)
    bus.put(1, 0, -2500)
    bus.put(0x50, 0x34, 356, words=1)
    polls = [
        {"sensor": "plate-1", "counts_per_g": 10.0},
        {"sensor": "range-1", "unit": 0x50, "address": 0x34, "count": 1, "counts_per_mm": 1.0},
        {"sensor": "plate-9", "unit": 9, "counts_per_g": 1.0},
    ]

    async def work(rig):
        await until(lambda: len(rig.masses()) >= 5 and rig.port()["timeouts"] >= 2)
        bus.put(1, 0, 10_000)
        await until(lambda: rig.masses()[-1] == 1000.0)
        bus.put(9, 0, 70_000)
        await until(lambda: rig.masses("plate-9"))

    table = {"path": "bus", "profile": "modbus_rtu_load_cell", "poll": polls}
    rig = drive(tmp_path, work, table | {"poll_ms": 20, "timeout_ms": 50})
    assert {-250.0, 1000.0} == set(rig.masses())
    assert {70_000.0} == set(rig.masses("plate-9"))
    assert {356.0} == {m.range_mm for m in rig.taken if m.sensor == "range-1"}


def test_a_bus_without_an_answer_says_so(tmp_path, ports):
    ports.open("bus", ModbusBus(ports.registry))
    table = {"path": "bus", "profile": "modbus_rtu_load_cell", "timeout_ms": 20, "poll_ms": 20}

    async def work(rig):
        await until(lambda: "hint" in rig.port())
        assert "no answer" in rig.port()["hint"]
        assert "profile modbus_rtu_load_cell says 9600 baud" in rig.port()["hint"]

    drive(tmp_path, work, table | {"poll": [{"sensor": "plate-1", "counts_per_g": 1.0}]})


def test_the_nfc_reader_is_woken_and_a_held_card_is_one_tap(tmp_path, ports):
    reader = Pn532Reader(ports.registry)
    ports.open("nfc", reader)

    async def work(rig):
        await until(lambda: reader.commands[-1:] == [0x4A])
        assert reader.commands[:2] == [0x14, 0x32]
        reader.uid_hex = "04a1b2c3d4e5f6"
        await until(lambda: rig.port()["held_off"] >= 3)
        reader.uid_hex = "08a1b2c3"
        before = rig.port()["frames"]
        await until(lambda: rig.port()["frames"] > before + 10)

    rig = drive(tmp_path, work, {"path": "nfc", "profile": "pn532_hsu", "tap_point": "gate-1"})
    assert ["nfc:04a1b2c3d4e5f6"] == rig.tags()


def test_a_scale_that_waits_to_be_asked_is_asked(tmp_path, ports):
    class Scale:
        def answer(self, data):
            return b"S S     640.50 g\r\n" if data == b"SIR\r\n" else b"ES\r\n"

    ports.open("scale", Scale())

    async def work(rig):
        await until(lambda: rig.masses() == [640.5])

    drive(tmp_path, work, SCALE | {"ask": "SIR\r\n"})


@pytest.mark.parametrize("is_named_again", [True, False])
def test_a_port_is_open_again_within_two_seconds(tmp_path, ports, caplog, is_named_again):
    caplog.set_level(logging.INFO, "fanous.edge.serial")
    port = ports.open("gate")

    async def work(rig):
        for round_ in range(3):
            if is_named_again:
                port.unplug()
                await until(lambda: rig.port()["state"] == "missing", 2)
                port.plug()
            else:
                _replace(port)
            began_s = time.monotonic()
            await until(lambda n=round_: rig.port()["reopened"] == n + 1, 2)
            assert time.monotonic() - began_s < 2
            ports.tap("gate", "rdm6300", f"em4100:67003b51{round_:02x}")
            await until(lambda n=round_: len(rig.tags()) == n + 1, 2)
            await until(lambda n=round_: messages(caplog).count("port recovered") == n + 1, 2)

    drive(tmp_path, work, GATE)
    assert messages(caplog) == ["port lost", "port recovered"] * 3


def _replace(port):
    """Leave the old terminal open, and put another one under its name."""
    old, port._master = port._master, None
    port.plug()
    os.set_blocking(old, False)


def messages(caplog):
    return [" ".join(record.getMessage().split()[:2]) for record in caplog.records]


def test_a_port_that_is_not_there_yet_is_told_once_and_waited_for(tmp_path, ports, caplog):
    caplog.set_level(logging.INFO, "fanous.edge.serial")

    async def work(rig):
        await until(lambda: rig.port()["state"] == "missing")
        began_s = time.monotonic()
        await until(lambda: time.monotonic() - began_s > 0.5)
        ports.open("gate")
        await until(rig.is_open, 2)
        ports.tap("gate", "rdm6300", CARD)
        await until(lambda: rig.tags() == [CARD])
        await until(lambda: "port recovered" in messages(caplog))

    drive(tmp_path, work, GATE, opened=False)
    assert ["port lost", "port recovered"] == messages(caplog)
    assert "the port is not there" in caplog.text


def test_garbage_makes_the_health_ask_for_the_rate(tmp_path, ports, caplog):
    caplog.set_level(logging.INFO, "fanous.edge.serial")
    port = ports.open("gate")

    async def work(rig):
        noise = itertools.cycle([b"\x80\xf8\x00\x1e", b"\x78\x06\xe6", b"\xfe\x02\x9e"])
        while "hint" not in rig.port():
            port.send(next(noise))
            await asyncio.sleep(0.01)
        assert "wrong baud?" in rig.port()["hint"]
        assert "profile rdm6300 says 9600 baud" in rig.port()["hint"]
        ports.tap("gate", "rdm6300", CARD)
        await until(lambda: "hint" not in rig.port())
        await until(lambda: messages(caplog) == ["port garbled", "port understood"])

    drive(tmp_path, work, GATE, garbage_s=0.5)


def test_a_port_has_one_user(tmp_path, ports):
    ports.open("gate")
    settings = SerialPortSettings(path=str(tmp_path / "gate"), profile="rdm6300", baud=9600)
    line = open_port(settings)

    async def work(rig):
        await until(lambda: rig.port()["state"] == "busy")
        close_port(line)
        await until(rig.is_open, 2)
        with pytest.raises(OSError):
            open_port(settings)

    drive(tmp_path, work, GATE, opened=False)
    again = open_port(settings)
    close_port(again)


def test_what_is_no_serial_port_is_told(tmp_path, caplog):
    (tmp_path / "gate").write_text("a file", "utf-8")

    async def work(rig):
        await until(lambda: rig.port()["state"] == "broken")

    drive(tmp_path, work, GATE, opened=False)
    assert ["port lost"] == messages(caplog)


def test_a_full_queue_turns_samples_away_and_keeps_a_reserve_for_taps(tmp_path, ports):
    ports.open("gate")
    ports.open("scale")
    free = asyncio.Event()

    async def work(rig):
        async def blocked(measurements):
            await free.wait()
            rig.taken.extend(measurements)

        rig.emit = blocked
        table = {"port": [GATE, SCALE], "queue_max": 10}
        source = SerialSource.from_table(table, subject="x", base=tmp_path, now_ns=time.time_ns)
        rig.source = source
        task = asyncio.create_task(source.run(blocked))
        await until(rig.is_open)
        assert ports.weigh("scale", "mt_sics", 0.0)
        await until(lambda: rig.port(1)["frames"] == 1 and source.health()["queue"] == 0)
        for n in range(1, 13):
            assert ports.weigh("scale", "mt_sics", float(n))
        await until(lambda: rig.port(1)["frames"] == 13)
        ports.tap("gate", "rdm6300", CARD)
        await until(lambda: rig.port(0)["frames"] == 1)
        assert (11, {"queue_full": 2}) == (source.health()["queue"], source.dropped)
        free.set()
        await until(lambda: len(rig.taken) == 12)
        task.cancel()
        await asyncio.wait([task])

    rig = drive_alone(work)
    assert rig.tags() == [CARD]


def drive_alone(work):
    async def main():
        rig = Rig(None)
        await asyncio.wait_for(work(rig), 20)
        return rig

    return asyncio.run(main())
