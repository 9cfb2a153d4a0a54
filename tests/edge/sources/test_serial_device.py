import pytest

from edge.measurement import Sample, Tap
from edge.sources.serial_device import SerialDevice
from edge.sources.serial_settings import (
    ChannelSettings,
    PollSettings,
    SerialPortSettings,
)
from firmware_profiles.registry import load_registry
from simulators.serial_ports import SAMPLES, TAPS
from tests.edge.agents import T0

REGISTRY = load_registry()
CARD = "em4100:67003b51c6"


def make(profile, *, garbage_s=10.0, **fields):
    settings = SerialPortSettings(path="/p", profile=profile, baud=9600, **fields)
    return SerialDevice(settings, REGISTRY.profiles[profile], garbage_s=garbage_s)


def said(profile, value, **more):
    return REGISTRY.encode(profile, {**TAPS, **SAMPLES}[profile](value, **more))


def fed(device, data, now_s=0.0):
    return device.feed(data, T0, now_s)[0]


@pytest.mark.parametrize("profile", sorted(SAMPLES))
def test_every_shelf_sensor_gives_grams_or_millimetres(profile):
    counts = {"counts_per_g": 100.0} if profile == "hx711_bridge" else {}
    device = make(profile, sensor="plate-1", **counts)
    (sample,) = fed(device, said(profile, 640.0, **counts))
    is_range = profile in {"tfmini_s", "gy53_vl53l0x"}
    expected = Sample(T0, "plate-1", *((None, 640.0) if is_range else (640.0, None)))
    assert expected == sample


def test_a_held_card_is_one_tap_until_it_was_away():
    device = make("rdm6300", tap_point="gate-1")
    frame = said("rdm6300", CARD)
    taps = [fed(device, frame, n / 10) for n in range(50)]
    assert [[Tap(T0, "gate-1", CARD)]] + [[]] * 49 == taps
    assert device.counts["held_off"] == 49
    assert fed(device, said("rdm6300", "em4100:0a00d2f0c1"), 4.95) != []
    assert fed(device, frame, 6.8) == []
    assert fed(device, frame, 8.9) == [Tap(T0, "gate-1", CARD)]


def test_noise_between_frames_and_half_frames_cost_nothing_but_themselves():
    device = make("rdm6300", tap_point="gate-1")
    frame, other = said("rdm6300", CARD), said("rdm6300", "em4100:0a00d2f0c1")
    assert fed(device, b"\xff\x02\x30" + frame + b"\x00\x03" + other[:6]) == [
        Tap(T0, "gate-1", CARD)
    ]
    assert fed(device, other) == [Tap(T0, "gate-1", "em4100:0a00d2f0c1")]
    assert sum(device.rejected.values()) >= 2


def test_half_a_line_is_forgotten_in_a_silence():
    device = make("mt_sics", sensor="plate-1")
    line = said("mt_sics", 640.5)
    assert fed(device, line[:9]) == []
    assert device.finish(T0, 1.0) == ([], [])
    assert fed(device, line) == [Sample(T0, "plate-1", 640.5, None)]
    assert device.rejected == {"truncated": 1}


def test_calibration_is_counts_then_tare():
    device = make("hx711_bridge", sensor="plate-1", counts_per_g=-420.5, tare_g=150.0)
    (sample,) = fed(device, said("hx711_bridge", 790.0, counts_per_g=-420.5))
    assert sample.mass_g == pytest.approx(640.0, abs=0.01)
    scale = make("mt_sics", sensor="plate-1", tare_g=0.5)
    assert fed(scale, said("mt_sics", 640.5))[0].mass_g == 640.0


def test_a_saturated_load_cell_is_no_sample():
    device = make("hx711_bridge", sensor="plate-1", counts_per_g=1.0)
    assert fed(device, said("hx711_bridge", 8388607)) == []
    assert device.counts["frames"] == 1


def test_channels_have_their_own_sensors_and_calibrations():
    cells = (
        ChannelSettings(channel=0, sensor="plate-1", counts_per_g=100.0),
        ChannelSettings(channel=2, sensor="plate-2", counts_per_g=10.0, tare_g=5.0),
    )
    device = make("hx711_bridge", channel=cells)
    frames = b"".join(said("hx711_bridge", 1000, channel=number) for number in (0, 1, 2))
    assert fed(device, frames) == [
        Sample(T0, "plate-1", 10.0, None),
        Sample(T0, "plate-2", 95.0, None),
    ]
    assert device.counts["no_place"] == 1


def test_one_sensor_takes_one_channel_only():
    device = make("hx711_bridge", sensor="plate-1", counts_per_g=1.0)
    frames = b"".join(said("hx711_bridge", 5, channel=number) for number in (3, 1, 3))
    assert fed(device, frames) == [Sample(T0, "plate-1", 5.0, None)] * 2
    assert device.counts["no_place"] == 1


def modbus(**fields):
    return REGISTRY.encode("modbus_rtu_load_cell", {"unit": 1, "function": 3, **fields})


def test_registers_become_the_sensor_that_was_asked_and_no_other():
    polls = (
        PollSettings(sensor="plate-1", counts_per_g=10.0, tare_g=1.0),
        PollSettings(sensor="range-1", counts_per_mm=1.0, count=1),
    )
    device = make("modbus_rtu_load_cell", poll=polls)
    device.expect(0, lambda fields: len(fields["registers"]) == 2)
    assert fed(device, modbus(address=0, count=2)) == []
    assert fed(device, modbus(registers=[356])) == []
    assert fed(device, modbus(registers=[0, 65])) == [Sample(T0, "plate-1", 5.5, None)]
    device.expect(1, lambda fields: len(fields["registers"]) == 1)
    assert fed(device, modbus(registers=[356])) == [Sample(T0, "range-1", None, 356.0)]
    assert (device.counts["echoes"], device.rejected["foreign"]) == (1, 1)


def test_a_broken_checksum_is_no_weight():
    device = make("modbus_rtu_load_cell", poll=(PollSettings(sensor="plate-1", counts_per_g=10.0),))
    device.expect(0, lambda _fields: True)
    answer = bytearray(modbus(registers=[0, 65]))
    answer[4] ^= 1
    assert fed(device, bytes(answer)) == []
    assert device.finish(T0, 1.0)[0] == []
    assert sum(device.rejected.values()) > 0


def test_garbage_is_told_after_a_while_and_forgotten_at_the_first_good_frame():
    device = make("tfmini_s", sensor="range-1", garbage_s=10.0)
    device.restart(0.0)
    for n in range(100):
        fed(device, bytes([n % 80] * 9), n / 10)
        device.watch(n / 10)
    assert not device.is_garbage
    fed(device, b"\x00" * 9, 10.0)
    device.watch(10.0)
    assert device.is_garbage
    fed(device, said("tfmini_s", 850), 10.1)
    assert not device.is_garbage


def test_a_little_noise_and_a_silent_line_are_no_garbage():
    device = make("rdm6300", tap_point="gate-1", garbage_s=10.0)
    device.restart(0.0)
    for n in range(1, 20):
        fed(device, b"\xff\xfe", n * 5.0)
        device.finish(T0, n * 5.0 + 1)
        device.watch(n * 5.0)
        assert not device.is_garbage


@pytest.mark.parametrize("profile", ["rdm6300", "mt_sics", "hx711_bridge", "pn532_hsu"])
def test_any_bytes_are_taken(profile):
    place = {"mt_sics": {"sensor": "s"}, "hx711_bridge": {"sensor": "s", "counts_per_g": 1.0}}
    device = make(profile, **place.get(profile, {"tap_point": "t"}))
    data = bytes((n * n + n // 7) % 256 for n in range(20_000))
    for at in range(0, len(data), 37):
        fed(device, data[at : at + 37], at / 1000)
    assert device.counts["bytes"] == 20_000
