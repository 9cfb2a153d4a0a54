"""Parts that the service is made of, made from its settings.

Rules of the file: what reads files or knows a library's constructor is here, so that
`gateway.service` only starts, connects and stops.
"""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from analytics.store import Store
from gateway.agent_clocks import AgentClocks
from gateway.archive import Archive
from gateway.commit import Committer
from gateway.intake import Intake
from gateway.journal import Journal
from gateway.settings import GatewaySettings, read_secret, tls_context
from gateway.subscriber import Subscriber
from ingest.broker import broker_address
from ingest.columns import DecodedBatch
from ingest.config import ConfigError
from ingest.proofs import payment_points
from ingest.topics import agents_filter


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


def make_committer(
    settings: GatewaySettings,
    store: Store,
    journal: Journal,
    subscriber: Subscriber,
    clocks: AgentClocks | None,
    now_ns: Callable[[], int],
) -> Committer:
    """Return what commits messages.

    Parameters
    ----------
    settings : checked
    store : its payment tap points need proofs
    journal, subscriber : the service's
    clocks : None where clocks do not run alike
    now_ns : this machine's clock
    """
    return Committer(
        journal,
        subscriber,
        store=store.id,
        identity=settings.identity,
        batch_bytes_max=settings.journal.batch_max_kb * 1024,
        payment_points=payment_points(store),
        clocks=clocks,
        now_ns=None if clocks is None else now_ns,
    )


def make_archive(
    settings: GatewaySettings,
    store_id: str,
    journal: Journal,
    decode: Callable[[bytes], DecodedBatch],
) -> Archive:
    """Return the archive in the state directory.

    Parameters
    ----------
    settings : checked
    store_id : names its folder
    journal : where its rows come from
    decode : bytes of a journaled batch to the batch
    """
    return Archive(
        journal,
        decode,
        Path(settings.state_dir) / "archive",
        store_id,
        settings.archive,
        clock=settings.clock,
        monotonic_s=time.monotonic,
    )


def archive_turn(
    archive: Archive, intake: Intake, journal: Journal, now_ns: Callable[[], int]
) -> Callable[[], float]:
    """Return one turn of the archive; it returns the seconds until the next.

    Parameters
    ----------
    archive : runs in a thread of its own
    intake : while it is behind, the archive waits: what is live goes first
    journal : unless it is full, and only the archive can make room
    now_ns : this machine's clock
    """

    def turn() -> float:
        if intake.is_behind and not journal.is_over_full:
            return 1.0
        return 0.0 if archive.run_once(now_ns(), journal.last_id()) else 1.0

    return turn


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
