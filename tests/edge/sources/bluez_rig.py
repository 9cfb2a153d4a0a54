"""What the Bluetooth tests share: a private D-Bus, a stand-in of bluetoothd, real bleak.

The rig itself is that of `fanous bench bluetooth`; here it has a clock that stands, and a
test is skipped where there is no dbus-daemon.
"""

import os
import time
from contextlib import asynccontextmanager

import pytest

from fanous.benchmarks.bluetooth_rig import Rig, supervised
from simulators.private_bus import PrivateBus, find_daemon
from tests.edge.agents import T0


def open_bus():
    """Start a bus; skip where there is no dbus-daemon, but not in CI."""
    if find_daemon() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("dbus-daemon is not installed, and CI must have it")
        pytest.skip("dbus-daemon is not installed; install dbus to run this test")
    return PrivateBus()


@asynccontextmanager
async def running(bus, *, service=True, poll_s=None, clock_s=time.monotonic, **table):
    """Run a source with this table, on a clock that stands."""
    rig = Rig(bus.address, now_ns=lambda: T0, poll_s=poll_s, clock_s=clock_s, table=table)
    async with supervised(rig, service=service):
        yield rig
