"""The files an agent needs to read the virtual devices of a simulated shop.

Rules of the file: what is written is what an engineer would write in a store, and
`fanous edge run` takes it unmodified; a folder may be used again, its key stays.
"""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from analytics.store import Store
from ingest.config import ConfigError
from ingest.identifiers import read_key_file
from simulators.hardware_bytes import (
    SENSOR_PROFILES,
    SITE_BEACON,
    TAP_PROFILE,
    adapter_of,
    write_enrolment,
)
from simulators.routing import find_routes

KEY, BANDS, PORTS = "fanous.key", "bands.csv", "ports"
_HEAD = """\
# Made by fanous: agent {agent} of the simulated shop {store}, on its virtual devices.
store = {store}
agent = {agent}
state_dir = {state}
pseudonym_key_file = {key}
aliases = {bands}

[mqtt]
url = {url}
"""
_SERIAL = """
[[source]]
kind = "serial"
"""
_PORT = """
[[source.port]]
path = {path}
profile = {profile}
{place} = {name}
"""
_BLE = """
[[source]]
kind = "ble"
name = {name}
receiver = {receiver}
adapter = {adapter}
site_beacon = {beacon}
"""


def port_of_tap_point(point: str) -> str:
    """Return the name of a tap point's port in the folder of ports."""
    return f"{TAP_PROFILE}-{point}"


def port_of_sensor(kind: str, sensor: str) -> str:
    """Return the name of a shelf sensor's port in the folder of ports."""
    return f"{SENSOR_PROFILES[kind]}-{sensor}"


def write_configs(
    store: Store,
    folder: Path,
    *,
    broker_url: str,
    key_file: Path | None = None,
    with_radios: bool,
) -> dict[str, Path]:
    """Write the key, the enrolment and a configuration for each agent.

    Parameters
    ----------
    store : the store
    folder : where; made when missing
    broker_url : where the agents publish
    key_file : the store's key; None = one of the folder's own, made when missing
    with_radios : also the sources of Bluetooth

    Returns
    -------
    configs : agent → its ``edge-<agent>.toml``

    Raises
    ------
    ConfigError
        The key is wrong, or the folder cannot be written.
    """
    if key_file is not None:
        read_key_file(key_file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if key_file is None and not (folder / KEY).exists():
            (folder / KEY).touch(mode=0o600)
            (folder / KEY).write_bytes(secrets.token_bytes(32))
        write_enrolment(folder / BANDS)
        configs = {}
        for name, sources in _sources(store, with_radios=with_radios).items():
            head = {
                "store": store.id,
                "agent": name,
                "state": f"state-{name}",
                "key": KEY if key_file is None else str(key_file.resolve()),
                "bands": BANDS,
                "url": broker_url,
            }
            configs[name] = folder / f"edge-{name}.toml"
            configs[name].write_text(_filled(_HEAD, head) + sources, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})") from error
    return configs


def _sources(store: Store, *, with_radios: bool) -> dict[str, str]:
    """Return the tables of the sources of each agent."""
    routes = find_routes(store)
    ports: dict[str, str] = dict.fromkeys(routes.agents, "")
    radios: dict[str, str] = dict.fromkeys(routes.agents, "")
    for point, agent in zip(store.tap_points, routes.tap_point.tolist(), strict=True):
        path = f"{PORTS}/{port_of_tap_point(point.id)}"
        table = {"path": path, "profile": TAP_PROFILE, "name": point.id}
        ports[routes.agents[agent]] += _filled(_PORT, table, place="tap_point")
    for (_, sensor), agent in zip(store.sensors, routes.sensor.tolist(), strict=True):
        path = f"{PORTS}/{port_of_sensor(sensor.kind, sensor.id)}"
        table = {"path": path, "profile": SENSOR_PROFILES[sensor.kind], "name": sensor.id}
        ports[routes.agents[agent]] += _filled(_PORT, table, place="sensor")
    for at, receiver in enumerate(store.receivers if with_radios else ()):
        table = {
            "name": f"ble-{receiver.id}",
            "receiver": receiver.id,
            "adapter": adapter_of(at),
            "beacon": SITE_BEACON,
        }
        radios[routes.agents[routes.receiver[at]]] += _filled(_BLE, table)
    return {
        name: (_SERIAL + ports[name] if ports[name] else "") + radios[name]
        for name in routes.agents
    }


def _filled(form: str, values: Mapping[str, str], **bare: str) -> str:
    # A text of JSON is one of TOML, too.
    return form.format(**{key: json.dumps(text) for key, text in values.items()}, **bare)
