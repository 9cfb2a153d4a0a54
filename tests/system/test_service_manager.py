"""What systemd hears of `fanous edge run` and `fanous gateway run`: ready, alive, stopping."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.servers import free_port

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("servers")]
WATCHDOG_S = 0.6
STORE = """schema = "fanous.store/1"
id = "demo"
timezone = "UTC"
[[receiver]]
id = "rx-1"
position_m = [1.0, 2.0, 2.4]
[[zone]]
id = "hall"
kind = "aisle"
polygon_m = [[0, 0], [5, 0], [5, 6], [0, 6]]
"""


@contextmanager
def managed(folder, name):
    """A service under the eyes of a manager: its process, and the manager's end of the socket."""
    (folder / "fanous.key").write_bytes(b"0123456789abcdef" * 2)
    (folder / "store.toml").write_text(STORE, "utf-8")
    broker = f'[mqtt]\nurl = "mqtt://127.0.0.1:{free_port()}"\n'
    common = 'state_dir = "state"\npseudonym_key_file = "fanous.key"\n'
    if name == "edge":
        text = f'store = "demo"\nagent = "pi-1"\n{common}{broker}[[source]]\nkind = "virtual"\n'
    else:
        text = f'store = "store.toml"\n{common}{broker}[http]\nport = {free_port()}\n'
    (folder / "config.toml").write_text(text, "utf-8")
    address = folder / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(address))
    manager.settimeout(20)
    process = subprocess.Popen(
        [sys.executable, "-m", "fanous", name, "run", "-c", "config.toml"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "NOTIFY_SOCKET": str(address),
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    try:
        yield process, manager
    finally:
        process.kill()
        process.wait()
        manager.close()


def hear(manager, wanted, count=1):
    """Return what was said, with when, until something was said so often."""
    heard = []
    while [word for _, word in heard].count(wanted) < count:
        heard.append((time.monotonic(), manager.recv(4096).decode()))
    return heard


def goes_silent(manager, within_s):
    deadline = time.monotonic() + within_s
    try:
        while time.monotonic() < deadline:
            manager.recv(4096)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("name", ["edge", "gateway"])
def test_a_service_says_when_it_is_ready_that_it_lives_and_when_it_stops(tmp_path, name):
    with managed(tmp_path, name) as (process, manager):
        said = [word for _, word in hear(manager, "READY=1")]
        assert "STOPPING=1" not in said
        beats = [at for at, word in hear(manager, "WATCHDOG=1", 6) if word == "WATCHDOG=1"]
        assert max(b - a for a, b in itertools.pairwise(beats)) < WATCHDOG_S
        process.send_signal(signal.SIGTERM)
        hear(manager, "STOPPING=1")
        assert process.wait(10) == 0


def test_an_agent_whose_disk_hangs_is_not_alive(tmp_path):
    """A stopped thread stands for a memory card that never answers; the loop goes on."""
    code = (
        "import sys, threading, edge.outbox_database as d, edge.pulse as p, edge.agent as a\n"
        "p.LIMIT_S = 1.0\n"
        "a.Pulse.__init__.__kwdefaults__['limit_s'] = 1.0\n"
        "d.Database.commit = lambda *_, **__: threading.Event().wait()\n"
        "from edge.batcher import ClosedBatch\n"
        "run = a.Agent._tell_start\n"
        "def start(self):\n"
        "    run(self)\n"
        "    self._outbox._pending.append(ClosedBatch('b', 'ble', 1, 1, b'x'))\n"
        "    self._outbox._due.set()\n"
        "a.Agent._tell_start = start\n"
        "from fanous.program import main\n"
        "sys.exit(main(['edge', 'run', '-c', 'config.toml']))\n"
    )
    with managed(tmp_path, "edge") as (process, manager):
        hear(manager, "READY=1")
        process.kill()
        process.wait()
        hung = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
        )
        try:
            hear(manager, "READY=1")
            hear(manager, "WATCHDOG=1")
            manager.settimeout(4 * WATCHDOG_S)
            assert goes_silent(manager, within_s=20.0)
            assert hung.poll() is None
        finally:
            hung.kill()
            _, log = hung.communicate()
    assert "agent hangs parts=outbox" in log
