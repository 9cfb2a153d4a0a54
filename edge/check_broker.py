"""Looking at the broker: whether it is there and lets this client in.

Rules of the file: every call has a timeout; what is wrong is raised as one sentence. The
broker is asked with one MQTT 3.1.1 CONNECT under a client id of its own, so nobody is
thrown off (OASIS MQTT 3.1.1, sections 3.1 and 3.2). Nothing is published.
"""

import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.findings import Check, guarded
from ingest.broker import broker_address

if TYPE_CHECKING:
    from edge.settings import EdgeSettings

PROBE_S = 2.0
_REFUSALS = {
    1: "it does not speak MQTT 3.1.1",
    2: "it refuses the client id",
    3: "it is not available now",
    4: "it refuses the user name or password",
    5: "it does not authorise this client",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """How to reach a broker."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = None


def broker_of(settings: "EdgeSettings") -> Broker:
    """Return the broker of an agent.

    Parameters
    ----------
    settings : with absolute paths

    Raises
    ------
    ConfigError
        The address, a certificate or the password is wrong.
    """
    from edge.settings import read_password, tls_context

    address = broker_address(settings.mqtt.url)
    return Broker(
        host=address.host,
        port=address.port,
        tls=tls_context(settings.mqtt),
        username=settings.mqtt.username,
        password=read_password(settings.mqtt),
    )


def check_broker(make: Callable[[], Broker]) -> Check:
    """Check that a broker lets this client in.

    Parameters
    ----------
    make : returns where it is, or raises what is wrong with that
    """
    return guarded(
        "broker",
        "a broker that lets this client in",
        "start the broker, or correct [mqtt] url, username and password_file",
        lambda: ask_broker(make()),
        seconds=3 * PROBE_S,
    )


def ask_broker(broker: Broker, *, timeout_s: float = PROBE_S) -> str:
    """Connect to a broker and say what was found.

    Parameters
    ----------
    broker : where, and as whom
    timeout_s : [s] for each step

    Raises
    ------
    ConnectionError
        It cannot be reached, is no broker, or refuses us.
    """
    where = f"{broker.host}:{broker.port}"
    try:
        with socket.create_connection((broker.host, broker.port), timeout=timeout_s) as plain:
            answer = _connect(plain, broker)
    except ssl.SSLError as error:
        raise ConnectionError(f"{where} refuses TLS ({error.reason or 'no reason'})") from error
    except TimeoutError:
        raise ConnectionError(f"{where} does not answer within {timeout_s:g} s") from None
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise ConnectionError(f"{where} cannot be reached ({reason})") from error
    if len(answer) < 4 or answer[0] != 0x20:
        raise ConnectionError(f"{where} is there but does not answer as an MQTT broker")
    if answer[3]:
        reason = _REFUSALS.get(answer[3], f"code {answer[3]}")
        raise ConnectionError(f"{where} is a broker, but {reason}")
    return f"{where} accepts this client"


def _connect(plain: socket.socket, broker: Broker) -> bytes:
    if broker.tls is None:
        return _exchange(plain, broker)
    with broker.tls.wrap_socket(plain, server_hostname=broker.host) as secure:
        return _exchange(secure, broker)


def _exchange(connection: socket.socket, broker: Broker) -> bytes:
    connection.sendall(_connect_packet(broker))
    answer = b""
    while len(answer) < 4:
        more = connection.recv(4 - len(answer))
        if not more:
            break
        answer += more
    if answer[:1] == b"\x20":
        connection.sendall(b"\xe0\x00")  # DISCONNECT
    return answer


def _connect_packet(broker: Broker) -> bytes:
    fields = [f"fanous-check-{secrets.token_hex(3)}".encode()]
    flags = 0x02  # clean session
    if broker.username is not None:
        flags |= 0x80
        fields.append(broker.username.encode())
        if broker.password is not None:
            flags |= 0x40
            fields.append(broker.password.encode())
    payload = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + b"\x00\x0a" + payload
    size, length = len(body), b""
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return b"\x10" + length + body
