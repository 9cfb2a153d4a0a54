import asyncio
import os
import socket

import pytest

from ingest.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(tmp_path, request):
    """A socket as systemd opens it, and what it is called in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@fanous-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(2)
        yield listening, name


def test_systemd_hears_what_is_said(manager):
    listening, name = manager
    told = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
    told.ready()
    told.status("replaying")
    told.alive()
    told.stopping()
    expected = [b"READY=1", b"STATUS=replaying", b"WATCHDOG=1", b"STOPPING=1"]
    assert expected == [listening.recv(100) for _ in range(4)]
    assert told.alive_every_s == 15.0


def test_without_systemd_nothing_happens():
    told = ServiceManager({})
    told.ready()
    assert told.alive_every_s is None


def test_a_watchdog_for_another_process_is_not_ours():
    told = ServiceManager({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    assert told.alive_every_s is None


def test_a_manager_that_has_gone_changes_nothing(tmp_path):
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_a_service_that_hangs_is_no_longer_called_alive(manager):
    listening, name = manager
    told = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000"})
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        return len(slept) > 5

    progress = iter([1, 2, 2, 2, 3])
    asyncio.run(told.keep_alive(sleep, lambda: next(progress)))
    told.stopping()
    heard = [listening.recv(100) for _ in range(4)]
    assert heard == [b"WATCHDOG=1"] * 3 + [b"STOPPING=1"]
