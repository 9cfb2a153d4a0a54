"""Where a broker is: ``mqtt://host:port`` or ``mqtts://host:port``.

Rules of the file: standard library only (the edge agent uses it); what may be a
password in an address is refused and never repeated in a message.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from ingest.config import ConfigError

_PORT, _PORT_TLS = 1883, 8883


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """A broker's host and port, and whether to speak TLS."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        """Return the address as it is written in configuration."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' if self.tls else ''}://{host}:{self.port}"


def broker_address(url: str, *, key: str = "[mqtt] url") -> BrokerAddress:
    """Split an address; the port defaults to 1883, with TLS to 8883.

    Parameters
    ----------
    url : what the user wrote
    key : where, for messages

    Raises
    ------
    ConfigError
        It is something else, or holds a user or a password.

    Examples
    --------
    >>> str(broker_address("mqtts://shop.example"))
    'mqtts://shop.example:8883'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _wrong(url, key) from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{key}: expected no user in it; use username and password_file")
    is_bare = not (parts.path.strip("/") or parts.query or parts.fragment)
    if parts.scheme not in {"mqtt", "mqtts"} or not host or port == 0 or not is_bare:
        raise _wrong(url, key)
    tls = parts.scheme == "mqtts"
    return BrokerAddress(host=host, port=port or (_PORT_TLS if tls else _PORT), tls=tls)


def _wrong(url: str, key: str) -> ConfigError:
    shown = url.rpartition("@")[2][:120]
    return ConfigError(f"{key}: expected mqtt://host:port or mqtts://host:port, got {shown!r}")
