"""Parts that the service is made of, made from its settings.

Rules of the file: what reads files or knows a library's constructor is here, so that
`gateway.service` only starts, connects and stops.
"""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from analytics.store import Store
from gateway.driver import EngineLike
from gateway.settings import GatewaySettings, read_secret, tls_context
from gateway.subscriber import Subscriber
from ingest.broker import broker_address
from ingest.config import ConfigError
from ingest.topics import agents_filter

EngineMaker = Callable[[Callable[[NDArray[np.int32]], list[str]]], EngineLike]


def read_engine_maker(store: Store, store_file: Path) -> EngineMaker:
    """Read the radio map and return what makes an engine with it.

    Parameters
    ----------
    store : the store
    store_file : its radio map's path is relative to it

    Raises
    ------
    ConfigError
        The radio map cannot be read or belongs to another store.
    """
    from analytics.cells import build_cells
    from analytics.engine import Engine
    from analytics.radio_map import radio_map_from_geometry

    grid = build_cells(store)
    if store.radio_map is None:
        radio_map = radio_map_from_geometry(store, grid)
    else:
        from ingest.radio_map_file import read_radio_map

        radio_map = read_radio_map(store_file.parent / store.radio_map, store, grid)
    return lambda name_of: Engine(store, radio_map, name_of=name_of, grid=grid)


def make_subscriber(
    settings: GatewaySettings, store_id: str, now_ns: Callable[[], int]
) -> Subscriber:
    """Return the MQTT connection, not yet started.

    Parameters
    ----------
    settings : checked
    store_id : names the topics and the client
    now_ns : this machine's clock
    """
    mqtt = settings.mqtt
    password = (
        read_secret(Path(mqtt.password_file), subject="[mqtt] password_file")
        if mqtt.password_file
        else None
    )
    return Subscriber(
        broker_address(mqtt.url),
        [agents_filter(store_id, leaf) for leaf in ("readings", "taps", "samples", "status")],
        client_id=mqtt.client_id or f"fanous-gateway-{store_id}",
        now_ns=now_ns,
        username=mqtt.username,
        password=password,
        tls=tls_context(mqtt),
    )


def lock_state_dir(state_dir: Path) -> IO[bytes]:
    """Take a state directory for this process; closing the file gives it back.

    Parameters
    ----------
    state_dir : it exists and can be written

    Raises
    ------
    ConfigError
        Another gateway uses it.
    """
    file = open(state_dir / "lock", "ab")  # noqa: SIM115 (held until the service stops)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ConfigError(
            f"state_dir {state_dir}: another gateway uses it; stop that one or choose another"
        ) from error
    return file
