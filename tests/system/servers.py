"""Real servers for the tests: mosquitto and influxd on free ports of 127.0.0.1.

Each is started with its own directory, watched (a test never talks to somebody
else's server by accident), and ended by its pid. Without the program a test skips
with a sentence, except where CI=true, where it fails.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_S = 20.0


def need(program: str) -> str:
    """The path of a program; skips the test (fails it under CI=true) when there is none."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        sentence = f"{program} is not installed; apt-get install it to run this test"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    return found


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], what: str, *, timeout_s: float = START_S) -> None:
    """Poll until something holds; fails with what was expected."""
    until = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > until:
            pytest.fail(f"expected within {timeout_s:g} s: {what}")
        time.sleep(0.02)


@dataclass
class Server:
    """A server process that can be ended and started again on the same port."""

    arguments: list[str]
    port: int
    is_up: Callable[[], bool]
    directory: Path
    log: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.log = self.directory / "server.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments, stdout=log, stderr=log, cwd=self.directory
            )
        process = self._process

        def answers() -> bool:
            if process.poll() is not None:
                pytest.fail(f"{self.arguments[0]} ended: {self.log.read_text()[-2000:]}")
            return self.is_up()

        wait_until(answers, f"{self.arguments[0]} answers on port {self.port}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


@contextlib.contextmanager
def mosquitto(directory: Path, *, started: bool = True, more: str = "") -> Iterator[Server]:
    """A mosquitto with persistent sessions; `.port`, `.start()`, `.stop()`."""
    program = need("mosquitto")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        f"persistence_location {directory}/\nautosave_interval 1\nautosave_on_changes true\n"
        f"max_queued_messages 100000\nmax_inflight_messages 100\nset_tcp_nodelay true\n"
        f"user root\n{more}\n"
    )
    server = Server([program, "-c", str(config)], port, lambda: _accepts(port), directory)
    if started:
        server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def influxd(directory: Path) -> Iterator[Server]:
    """An InfluxDB 1.6 without users; `.port`."""
    program = need("influxd")
    directory.mkdir(parents=True, exist_ok=True)
    port, rpc_port = free_port(), free_port()
    config = directory / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc_port}"\n'
        f'[meta]\ndir = "{directory}/meta"\n'
        f'[data]\ndir = "{directory}/data"\nwal-dir = "{directory}/wal"\nindex-version = "tsi1"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
        "[monitor]\nstore-enabled = false\n"
    )

    def pings() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as reply:
                return reply.status == 204
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    server = Server([program, "-config", str(config)], port, pings, directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
