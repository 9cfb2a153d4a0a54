"""The servers beside the project's own programs: mosquitto and an InfluxDB 1.x.

Rules of the file: each on free ports of 127.0.0.1, with its files in its own folder.
"""

import urllib.error
import urllib.request
from pathlib import Path

from fanous.faults.processes import Program, accepts, free_port, need


def make_broker(
    folder: Path, *, host: str = "127.0.0.1", keeps: bool = True, more: str = ""
) -> Program:
    """Return a mosquitto that is not yet started; its port is `port_of`.

    Parameters
    ----------
    folder : made when missing
    host : the address it listens on
    keeps : whether it keeps sessions and messages over a restart
    more : lines for its configuration
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "mosquitto.conf"
    kept = f"persistence_location {folder}/\nautosave_interval 1\nautosave_on_changes true\n"
    config.write_text(
        f"listener {port} {host}\nallow_anonymous true\npersistence {str(keeps).lower()}\n"
        f"{kept if keeps else ''}"
        "max_queued_messages 100000\nmax_inflight_messages 100\nset_tcp_nodelay true\n"
        f"user root\n{more}\n",
        encoding="utf-8",
    )
    program = Program(
        "broker",
        [need("mosquitto"), "-c", str(config)],
        folder,
        is_ready=lambda: accepts(port, host),
    )
    program.port = port
    return program


def make_database(folder: Path) -> Program:
    """Return an InfluxDB 1.x that is not yet started.

    Parameters
    ----------
    folder : made when missing
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, rpc_port = free_port(), free_port()
    config = folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc_port}"\n'
        f'[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\nindex-version = "tsi1"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
        "[monitor]\nstore-enabled = false\n",
        encoding="utf-8",
    )

    def pings() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as reply:
                return int(reply.status) == 204
        except (urllib.error.URLError, OSError):
            return False

    program = Program(
        "database",
        [need("influxd", "influxdb"), "-config", str(config)],
        folder,
        is_ready=pings,
    )
    program.port = port
    return program
