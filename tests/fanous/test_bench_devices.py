"""What `fanous bench bluetooth` and `fanous bench edge` stand on, and what they say without it."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from fanous.benchmarks import bluetooth, bluetooth_rig, edge_footprint
from fanous.benchmarks.bluetooth_rig import address, beacon, beacon_tag, system_bus
from fanous.benchmarks.process_facts import cpu_s, mapped_files, memory_mb, wakeups
from firmware_profiles.registry import load_registry
from ingest.config import ConfigError


def test_without_dbus_daemon_bluetooth_says_what_to_install(monkeypatch):
    monkeypatch.setattr(bluetooth, "find_daemon", lambda: None)
    with pytest.raises(ConfigError, match=r"expected dbus-daemon .* apt-get install dbus"):
        bluetooth.measure(quick=True, say=lambda _: None)


def test_without_mosquitto_the_edge_says_what_to_install(monkeypatch):
    monkeypatch.setattr(edge_footprint, "find_mosquitto", lambda: None)
    with pytest.raises(ConfigError, match=r"expected mosquitto .* apt-get install mosquitto"):
        edge_footprint.measure(quick=True, say=lambda _: None)


def test_beacons_are_told_apart_and_decode_to_their_tags():
    registry = load_registry()
    assert address(1) == "C4:00:00:00:00:01"
    assert address(2**32 + 5, first=0x4A) == "4A:01:00:00:00:05"
    for minor, major in ((0, 1), (65535, 2)):
        assert registry.decode_advert(beacon(minor, major)).tag == beacon_tag(minor, major)


def test_the_system_bus_is_as_before_afterwards(monkeypatch):
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
    with system_bus("unix:path=/one"):
        assert os.environ["DBUS_SYSTEM_BUS_ADDRESS"] == "unix:path=/one"
        with system_bus("unix:path=/two"):
            assert os.environ["DBUS_SYSTEM_BUS_ADDRESS"] == "unix:path=/two"
        assert os.environ["DBUS_SYSTEM_BUS_ADDRESS"] == "unix:path=/one"
    assert "DBUS_SYSTEM_BUS_ADDRESS" not in os.environ


def test_waiting_ends_with_the_condition_or_in_time():
    came = iter([False, False, True])
    asyncio.run(bluetooth_rig.until(lambda: next(came)))
    with pytest.raises(TimeoutError):
        asyncio.run(bluetooth_rig.until(lambda: False, 0.05))


def test_what_the_kernel_says_of_a_process():
    pid = os.getpid()
    # A process of its own: what this one let go of before would be used again.
    program = (
        "import numpy; from fanous.benchmarks.process_facts import memory_mb; "
        "before = memory_mb('self', 'VmRSS'); held = numpy.ones(4_000_000); "
        "print(memory_mb('self', 'VmRSS') - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 25 < float(done.stdout) < 40  # 32 MB
    assert memory_mb(pid, "VmHWM") >= memory_mb(pid, "VmRSS")
    began_s, woken = cpu_s(pid), wakeups(pid)
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    assert 0.05 < cpu_s(pid) - began_s < 5
    time.sleep(0.001)
    assert wakeups(pid) > woken
    assert any("numpy" in path for path in mapped_files(pid))
