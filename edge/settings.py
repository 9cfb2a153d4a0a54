"""The agent's configuration, ``edge.toml``: read, checked, paths resolved.

Rules of the file: checking touches no hardware and no network; every wrong value is a
`ConfigError` with the key, what was expected and what was found; secrets come from
files only. Contract section 10 names the keys that others rely on, ``edge/sample.toml``
documents all of them. A ``[[source]]`` table is checked by its source's own class.
"""

import os
import ssl
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ingest.batch import PAYLOAD_BYTES_MAX
from ingest.broker import broker_address
from ingest.config import ConfigError, read_config
from ingest.identifiers import is_name, read_key_file

PositiveInt = Annotated[int, msgspec.Meta(gt=0)]


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[mqtt]``: the broker between this agent and the gateway."""

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    client_id: str | None = None
    window: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 64
    ack_timeout_s: PositiveInt = 30
    backoff_max_s: PositiveInt = 30


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[batch]``: when a batch is closed."""

    max_rows: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 512
    max_ms: PositiveInt = 250
    max_bytes: Annotated[int, msgspec.Meta(ge=4096, le=1 << 26)] = PAYLOAD_BYTES_MAX - 512


class OutboxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[outbox]``: how much the disk holds, and how long a batch waits for it."""

    max_mb: PositiveInt = 256
    commit_ms: PositiveInt = 250
    reserve_mb: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 8


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of ``edge.toml``; `read_settings` makes its paths absolute."""

    store: str
    agent: str
    state_dir: str
    identity: Literal["pseudonym", "raw"] = "pseudonym"
    pseudonym_key_file: str | None = None
    aliases: str | None = None
    profiles: tuple[str, ...] = ()
    mqtt: MqttSettings = MqttSettings()
    batch: BatchSettings = BatchSettings()
    outbox: OutboxSettings = OutboxSettings()
    source: tuple[dict[str, Any], ...] = ()

    def key(self) -> bytes | None:
        """Return the pseudonym key.

        Returns
        -------
        key : None when tags leave the agent raw

        Raises
        ------
        ConfigError
            Pseudonyms are wanted and no key file is configured, or it cannot be read.
        """
        if self.identity == "raw":
            return None
        if self.pseudonym_key_file is None:
            raise ConfigError(
                "pseudonym_key_file: expected a file of 16 to 64 bytes, got none; "
                "make one with: head -c 32 /dev/urandom > fanous.key"
            )
        return read_key_file(Path(self.pseudonym_key_file))


def read_settings(path: Path) -> EdgeSettings:
    """Read ``edge.toml``; relative paths in it are relative to it.

    Parameters
    ----------
    path : the file

    Returns
    -------
    settings : with absolute paths, checked by `check_settings`

    Raises
    ------
    ConfigError
        The file or a key is wrong.
    """
    settings = absolute(read_config(path, EdgeSettings), path.resolve().parent)
    try:
        check_settings(settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return settings


def absolute(settings: EdgeSettings, base: Path) -> EdgeSettings:
    """Make the paths absolute.

    Parameters
    ----------
    settings : as read
    base : the folder that relative paths are relative to

    Returns
    -------
    settings : the tables of the sources are unchanged, their classes resolve them
    """

    def under(path: str | None) -> str | None:
        return None if path is None else str(base / path)

    mqtt = msgspec.structs.replace(
        settings.mqtt,
        password_file=under(settings.mqtt.password_file),
        ca_file=under(settings.mqtt.ca_file),
        cert_file=under(settings.mqtt.cert_file),
        key_file=under(settings.mqtt.key_file),
    )
    return msgspec.structs.replace(
        settings,
        state_dir=str(base / settings.state_dir),
        pseudonym_key_file=under(settings.pseudonym_key_file),
        aliases=under(settings.aliases),
        profiles=tuple(str(base / path) for path in settings.profiles),
        mqtt=mqtt,
    )


def check_settings(settings: EdgeSettings) -> None:
    """Check everything that needs neither network nor hardware.

    Parameters
    ----------
    settings : with absolute paths

    Raises
    ------
    ConfigError
        A name breaks the grammar, an address cannot be parsed, a file is missing or
        wrong, or there is no pseudonym key.
    """
    for key, name in (("store", settings.store), ("agent", settings.agent)):
        if not is_name(name):
            raise ConfigError(
                f"{key}: expected a name like 'pi-1' ([a-z0-9][a-z0-9_.-]{{0,63}}), got {name!r}"
            )
    settings.key()
    broker_address(settings.mqtt.url)
    read_password(settings.mqtt)
    tls_context(settings.mqtt)
    _check_state_dir(Path(settings.state_dir))


def tls_context(mqtt: MqttSettings) -> ssl.SSLContext | None:
    """Return the TLS context of an ``mqtts`` address.

    Parameters
    ----------
    mqtt : the ``[mqtt]`` table, with absolute paths

    Returns
    -------
    context : None for ``mqtt``

    Raises
    ------
    ConfigError
        A certificate or key cannot be used, or is given without TLS.
    """
    if not broker_address(mqtt.url).tls:
        if mqtt.ca_file or mqtt.cert_file or mqtt.key_file:
            raise ConfigError("[mqtt] url: certificates need mqtts://, got mqtt://")
        return None
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        raise ConfigError("[mqtt] cert_file, key_file: expected both or neither, got one")
    try:
        context = ssl.create_default_context(cafile=mqtt.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"[mqtt] ca_file {mqtt.ca_file}: expected PEM certificates ({_why(error)})"
        ) from error
    if mqtt.cert_file is not None:
        try:
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file)
        except OSError as error:
            raise ConfigError(
                f"[mqtt] cert_file {mqtt.cert_file}: expected a PEM certificate and its key "
                f"({_why(error)})"
            ) from error
    return context


def read_password(mqtt: MqttSettings) -> str | None:
    """Read the broker's password.

    Parameters
    ----------
    mqtt : the ``[mqtt]`` table, with absolute paths

    Returns
    -------
    password : the first line of the file, None when none is configured

    Raises
    ------
    ConfigError
        The file cannot be read or its first line is empty, or there is no username.
    """
    if mqtt.password_file is None:
        return None
    if mqtt.username is None:
        raise ConfigError("[mqtt] password_file: expected a username with it, got none")
    subject = f"[mqtt] password_file {mqtt.password_file}"
    try:
        lines = Path(mqtt.password_file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{subject}: cannot be read ({_why(error)})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{subject}: expected UTF-8 text, got other bytes") from error
    if not lines or not lines[0]:
        raise ConfigError(f"{subject}: expected the password in the first line, got nothing")
    return lines[0]


def _check_state_dir(path: Path) -> None:
    # The nearest part of the path that is there must be a folder we may write to.
    there = next(part for part in (path, *path.parents) if part.exists())
    if not there.is_dir():
        raise ConfigError(f"state_dir {path}: expected a folder, got a file at {there}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"state_dir {path}: expected a folder to write to, {there} is not")


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
