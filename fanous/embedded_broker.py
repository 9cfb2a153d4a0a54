"""A broker for the demo: mosquitto where it is installed, else amqtt in this process.

Rules of the file: bound to 127.0.0.1 on a free port; ended by its own process id; a
broker that does not come up in time is said so.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from ingest.config import ConfigError

START_S = 15.0
_CONFIG = """listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 100000
max_inflight_messages 200
set_tcp_nodelay true
"""


def find_mosquitto() -> str | None:
    """Return the path of mosquitto, or None; Debian keeps it where users do not look."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.asynccontextmanager
async def running_broker(state_dir: Path) -> AsyncIterator[tuple[str, str]]:
    """Run a broker for the length of the context.

    Parameters
    ----------
    state_dir : where its configuration may be written

    Yields
    ------
    url, name : ``mqtt://127.0.0.1:port`` and which broker it is

    Raises
    ------
    ConfigError
        It did not come up.
    """
    program = find_mosquitto()
    port = _free_port()
    url = f"mqtt://127.0.0.1:{port}"
    if program is None:
        async with _amqtt(port):
            yield url, "amqtt, embedded"
        return
    config = state_dir / "mosquitto.conf"
    config.write_text(_CONFIG.format(port=port), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(config),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; the broker ends after the last ack
    )  # fmt: skip
    try:
        await _wait_for(port, lambda: process.returncode is None)
        yield url, "mosquitto"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def _amqtt(port: int) -> AsyncIterator[None]:
    from amqtt.broker import Broker

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    # It reports every client that goes away as an error.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    await broker.start()
    try:
        yield
    finally:
        await broker.shutdown()


async def _wait_for(port: int, is_alive: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + START_S
    while asyncio.get_running_loop().time() < deadline and is_alive():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return
    raise ConfigError(f"the broker on 127.0.0.1:{port} did not come up within {START_S:.0f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
