"""Playing a simulation on devices: when things are sent, and what the shop's clock says."""

import asyncio

import numpy as np
import pytest

from simulators import hardware_play
from simulators.chunk import Chunk, Readings, Samples, ShelfTruth, Taps, Truth
from simulators.hardware_play import StoreClock, play

T0 = 1_764_000_000_000_000_000
SECOND = 10**9


@pytest.fixture(autouse=True)
def _slices_of_10_ms(monkeypatch):
    monkeypatch.setattr(hardware_play, "SLICE_S", 0.01)


def chunk(number, *, per_s=50):
    start_ns = T0 + number * SECOND
    t_ns = start_ns + np.arange(per_s, dtype=np.int64) * (SECOND // per_s)
    none, empty = np.zeros(0), np.zeros(0, dtype=np.int64)
    return Chunk(
        start_ns=start_ns,
        end_ns=start_ns + SECOND,
        tags=(),
        new_tags=(),
        readings=Readings(t_ns=empty, receiver=empty, tag=empty, rssi_dbm=none),
        taps=Taps(t_ns=empty, tap_point=empty, tag=empty),
        samples=Samples(t_ns=t_ns, sensor=np.zeros(per_s, np.int16), value=np.arange(per_s) * 1.0),
        truth=Truth(t_ns=empty, tag=empty, x_m=none, y_m=none, zone=empty),
        shelf_truth=ShelfTruth(t_ns=empty, product=empty, kind=(), quantity=empty, tag=empty),
    )


class FakeDevices:
    """Notes what is sent, and what the clock says then."""

    def __init__(self, clock):
        self.clock, self.sent, self.seconds, self.arrived = clock, [], 0, 0

    async def send(self, packet):
        self.sent.append((packet, self.clock.now_ns(), asyncio.get_running_loop().time()))

    async def pass_second(self):
        self.seconds += 1

    async def arrive(self):
        await asyncio.sleep(0)
        self.arrived = len(self.sent)


def played(chunks, *, speed, **options):
    async def run():
        clock = StoreClock(T0)
        devices = FakeDevices(clock)
        began_s = asyncio.get_running_loop().time()
        paused_s = await play(chunks, devices, clock, speed=speed, **options)
        return devices, paused_s, began_s

    return asyncio.run(run())


def test_everything_is_sent_once_in_order_and_never_before_its_time():
    speed = 20
    devices, paused_s, began_s = played([chunk(0), chunk(1)], speed=speed)
    times = [packet.t_ns for packet, _, _ in devices.sent]
    assert [*chunk(0).samples.t_ns, *chunk(1).samples.t_ns] == times
    assert devices.seconds == 2
    assert paused_s == 0
    slice_ns = hardware_play.SLICE_S * speed * 1e9
    for packet, stamp_ns, sent_s in devices.sent:
        assert 0 < stamp_ns - packet.t_ns <= slice_ns
        assert sent_s - began_s >= (packet.t_ns - T0) / 1e9 / speed
    assert T0 + 2 * SECOND == devices.clock.now_ns()


def test_the_next_slice_waits_until_the_last_one_has_come():
    async def run():
        clock = StoreClock(T0)
        devices = FakeDevices(clock)
        stamps, waiting = [], []

        async def late():
            # Five turns of the loop later it is still the time at which it was sent.
            for _ in range(5):
                await asyncio.sleep(0)
            stamps.extend([clock.now_ns()] * (len(devices.sent) - len(stamps)))
            waiting.append(1)

        await play([chunk(0)], devices, clock, speed=20, arrived=late)
        return stamps, [stamp_ns for _, stamp_ns, _ in devices.sent], waiting

    stamps, sent, waiting = asyncio.run(run())
    assert sent == stamps
    assert len(waiting) == 5


def test_a_stop_ends_it_with_the_slice():
    async def run():
        clock, stop = StoreClock(T0), asyncio.Event()
        devices = FakeDevices(clock)

        async def stop_after_three():
            if clock.now_ns() >= T0 + 3 * SECOND // 5:
                stop.set()

        endless = (chunk(number) for number in range(10**9))
        await play(endless, devices, clock, speed=20, arrived=stop_after_three, stop=stop)
        return devices

    devices = asyncio.run(run())
    assert len(devices.sent) == 30
    assert {T0 + n * SECOND // 5 for n in (1, 2, 3)} == {stamp for _, stamp, _ in devices.sent}


def test_a_machine_that_slept_does_not_make_up_for_it():
    async def run():
        loop = asyncio.get_running_loop()
        real, jump_s = loop.time, [0.0]
        loop.time = lambda: real() + jump_s[0]
        clock = StoreClock(T0)
        devices = FakeDevices(clock)

        def sleep_once(made):
            if made.start_ns == T0 + SECOND:
                jump_s[0] = 500.0

        began_s = real()
        paused_s = await play([chunk(0), chunk(1)], devices, clock, speed=20, on_chunk=sleep_once)
        return devices, paused_s, real() - began_s

    devices, paused_s, took_s = asyncio.run(run())
    assert paused_s == pytest.approx(500, abs=1)
    assert took_s >= 0.09
    assert len(devices.sent) == 100


def test_the_clock_never_goes_back():
    clock = StoreClock(T0)
    clock.set(T0 + 5)
    clock.set(T0 + 3)
    assert T0 + 5 == clock.now_ns()
