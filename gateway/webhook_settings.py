"""``[[webhook]]``: a receiver of events outside the store, and the checks of its table.

Rules of the file: no network is touched; a message never holds the secret or the
address, whose path may be a secret too. The secret is that of Standard Webhooks 1.0:
``whsec_`` and the base64 of 24 to 64 random bytes.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
import ssl
from collections import Counter
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from ingest.config import ConfigError, nearest, shown
from ingest.identifiers import is_name
from ingest.topics import EVENT_NAMES

_SECRET_PREFIX = "whsec_"  # noqa: S105 (not a secret, how one begins)
_SECRET_BYTES_LEAST, _SECRET_BYTES_MOST = 24, 64


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[webhook]]``."""

    url: str
    secret_file: str
    events: tuple[str, ...]
    name: str | None = None
    ca_file: str | None = None
    allow_http: bool = False
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    queue_max: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 10_000

    @property
    def id(self) -> str:
        """What it is called in logs, metrics and the queue: its name, else host and a digest."""
        if self.name is not None:
            return self.name
        host = re.sub(r"[^a-z0-9.-]", "-", (urlsplit(self.url).hostname or "").lower())
        digest = hashlib.blake2b(self.url.encode(), digest_size=4).hexdigest()
        return f"{host.strip('.-')[:50]}-{digest}"


def check_webhooks(webhooks: Sequence[WebhookSettings]) -> None:
    """Check the tables, but for their secrets.

    Parameters
    ----------
    webhooks : all of them

    Raises
    ------
    ConfigError
        An address, a name or an event is wrong, or two cannot be told apart.
    """
    for at, webhook in enumerate(webhooks):
        subject = f"[[webhook]] number {at + 1}"
        _check_url(webhook, subject)
        if webhook.name is not None and not is_name(webhook.name):
            raise ConfigError(
                f"{subject} name: expected [a-z0-9][a-z0-9_.-]{{0,63}}, got {shown(webhook.name)}"
            )
        if not webhook.events:
            raise ConfigError(
                f'{subject} events: expected at least one, for example "shelf.empty", got none'
            )
        for event in webhook.events:
            if event not in EVENT_NAMES:
                raise ConfigError(
                    f"{subject} events: there is no event {shown(event)}"
                    f"{nearest(event, EVENT_NAMES)}"
                )
        trusted_context(webhook)
    for name, count in Counter(webhook.id for webhook in webhooks).items():
        if count > 1:
            raise ConfigError(
                f"[[webhook]]: expected each to have its own name, got {count} named {name}; "
                "give each a name"
            )


def signing_key(text: str, *, subject: str) -> bytes:
    """Return the bytes of a secret.

    Parameters
    ----------
    text : ``whsec_…``
    subject : the key that names its file, for messages

    Raises
    ------
    ConfigError
        It is not such a secret.
    """
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if text.startswith(_SECRET_PREFIX) and _SECRET_BYTES_LEAST <= len(key) <= _SECRET_BYTES_MOST:
        return key
    raise ConfigError(
        f"{subject}: expected whsec_ and the base64 of {_SECRET_BYTES_LEAST} to "
        f"{_SECRET_BYTES_MOST} bytes, got something else; the receiver gives you one, or make "
        'one for both sides with: echo "whsec_$(head -c 32 /dev/urandom | base64)"'
    )


def trusted_context(webhook: WebhookSettings) -> ssl.SSLContext:
    """Return a TLS context that verifies the receiver's name and certificate.

    Parameters
    ----------
    webhook : its `ca_file` is trusted in place of the system's authorities

    Raises
    ------
    ConfigError
        The file holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=webhook.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[[webhook]] ca_file: expected a PEM file of certificates ({error})"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_url(webhook: WebhookSettings, subject: str) -> None:
    expected = f"{subject} url: expected https://host/path"
    try:
        parts = urlsplit(webhook.url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{expected}, got an address that cannot be parsed") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{expected}, got {shown(parts.scheme)} as its scheme or no host")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{expected} without user and password: requests are signed instead")
    if parts.scheme == "http" and not webhook.allow_http and not _is_loopback(host):
        raise ConfigError(
            f"{expected}, got http://, which anybody on the way can read; "
            "say allow_http = true if that network is your own"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
