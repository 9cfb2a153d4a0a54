import asyncio
from pathlib import Path

import pytest

from edge.measurement import Reading, Sample, Tap
from edge.sources.virtual import PortSettings, VirtualSettings, VirtualSource
from firmware_profiles.registry import load_registry
from ingest.config import ConfigError
from tests.edge.agents import BAND, T0

SCALE = {"name": "t", "profile": "mt_sics", "sensor": "plate-1"}
ADVERT = bytes.fromhex("0201061aff4c000215b9407f30f5f8466eaff925556b57fe6d00010100b4")


def run_out(source):
    taken = []

    async def emit(measurements):
        taken.extend(measurements)

    source.end()
    asyncio.run(asyncio.wait_for(source.run(emit), 5))
    return taken


def test_ready_measurements_pass_in_order():
    source = VirtualSource()
    assert source.push_reading(T0, "rx-1", BAND, -60.5)
    assert source.push_tap(T0 + 1, "gate-1", BAND)
    assert source.push_sample(T0 + 2, "plate-1", 640.0)
    assert run_out(source) == [
        Reading(T0, "rx-1", BAND, -60.5),
        Tap(T0 + 1, "gate-1", BAND),
        Sample(T0 + 2, "plate-1", 640.0, None),
    ]


def test_adverts_are_decoded_by_the_profiles_and_cached():
    source = VirtualSource(VirtualSettings(adverts_cached_max=1))
    assert source.push_advert(T0, "rx-1", -60, ADVERT)
    assert source.push_advert(T0 + 1, "rx-2", -61, ADVERT)
    assert source._adverts.meaning.cache_info().hits == 1
    assert not source.push_advert(T0, "rx-1", -60, b"\x02\x01\x06")
    assert not source.push_advert(T0, "rx-1", -60, b"\xff")
    assert source._adverts.meaning.cache_info().currsize == 1
    assert source.health()["dropped"] == {"no_tag": 2}
    assert run_out(source) == [Reading(T0, "rx-1", BAND, -60), Reading(T0 + 1, "rx-2", BAND, -61)]


def serial_source(profile, **place):
    port = PortSettings(name="ttyv0", profile=profile, **place)
    return VirtualSource(VirtualSettings(port=(port,)))


def test_a_scale_on_a_serial_line_may_be_cut_anywhere():
    line = load_registry().encode("mt_sics", {"stable": True, "mass_g": 640.5})
    source = serial_source("mt_sics", sensor="plate-1")
    assert source.push_serial(T0, "ttyv0", line[:5])
    assert source.push_serial(T0 + 1, "ttyv0", line[5:])
    assert run_out(source) == [Sample(T0 + 1, "plate-1", 640.5, None)]


def test_noise_on_a_serial_line_is_counted():
    source = serial_source("mt_sics", sensor="plate-1")
    assert not source.push_serial(T0, "ttyv0", b"\xff\xfe rubbish\r\n")
    assert sum(source.dropped.values()) == 1
    assert run_out(source) == []


def test_a_scale_where_a_gate_is_configured_has_no_place():
    line = load_registry().encode("mt_sics", {"stable": True, "mass_g": 640.5})
    source = serial_source("mt_sics", tap_point="gate-1")
    assert not source.push_serial(T0, "ttyv0", line)
    assert source.dropped == {"no_place": 1}


def test_a_full_queue_turns_readings_away_and_keeps_a_reserve_for_taps():
    source = VirtualSource(VirtualSettings(queue_max=10))
    assert [source.push_reading(T0, "rx-1", BAND, -60) for _ in range(12)] == [True] * 10 + [
        False
    ] * 2
    assert not source.push_sample(T0, "plate-1", 1.0)
    assert source.push_tap(T0, "gate-1", BAND)
    assert not source.push_tap(T0, "gate-1", BAND)
    health = source.health()
    assert (health["queue"], health["dropped"]) == (11, {"queue_full": 4})


def test_a_pusher_can_wait_for_room():
    source = VirtualSource(VirtualSettings(queue_max=100))
    taken = []

    async def emit(measurements):
        taken.extend(measurements)

    async def push():
        for n in range(1000):
            await source.room()
            assert source.push_reading(T0 + n, "rx-1", BAND, -60)
        source.end()

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(push())
            group.create_task(source.run(emit))

    asyncio.run(asyncio.wait_for(main(), 10))
    assert len(taken) == 1000
    assert source.dropped == {}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"queue_max": 1}, "queue_max"),
        ({"port": [SCALE | {"profile": "mt_sic"}]}, "did you mean 'mt_sics'"),
        ({"port": [{"name": "t", "profile": "mt_sics"}]}, "tap_point or sensor"),
        ({"port": [SCALE | {"sensor": "A B"}]}, "expected a name"),
        ({"port": [SCALE | {"profile": "ibeacon"}]}, "profile of a serial device"),
    ],
)
def test_wrong_tables_are_refused(table, message):
    with pytest.raises(ConfigError, match=message):
        VirtualSource.from_table(table, subject="[[source]]", base=Path(), now_ns=lambda: T0)


def test_a_right_table_makes_a_source():
    table = {"name": "lab", "port": [SCALE]}
    source = VirtualSource.from_table(table, subject="x", base=Path(), now_ns=lambda: T0)
    assert source.name == "lab"
