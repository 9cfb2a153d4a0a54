"""The gateway's configuration, ``gateway.toml``: read, checked, paths resolved.

Rules of the file: checking touches no hardware and no network; every wrong value
is a `ConfigError` with the key, what was expected and what was found; secrets
come from files only. Contract section 10 names the keys others rely on,
``gateway/sample.toml`` documents all of them. ``[[foreign]]`` is a later issue.
"""

import ipaddress
import os
import ssl
import tempfile
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.webhook_settings import WebhookSettings, check_webhooks, signing_key
from ingest.broker import broker_address
from ingest.config import ConfigError, read_config
from ingest.identifiers import read_key_file

PositiveInt = Annotated[int, msgspec.Meta(gt=0)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]


class MqttSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[mqtt]``: the broker between the agents and the gateway."""

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    client_id: str | None = None


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[http]``: the live page and the API."""

    bind: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8480
    token_file: str | None = None


class InfluxSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[influxdb]``: where points go; absent = no InfluxDB."""

    url: str = "http://127.0.0.1:8086"
    org: str | None = None
    bucket: str | None = None
    database: str | None = None
    username: str | None = None
    token_file: str | None = None
    password_file: str | None = None
    identity: Literal["none", "pseudonym"] = "none"
    batch_lines: PositiveInt = 5000
    queue_max_lines: PositiveInt = 2_000_000
    timeout_s: PositiveFloat = 10.0


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[journal]``: how long batches wait for the disk, and how many stay there.

    `keep_h` [h] is how long they stay, also how far late rows reach back; `checkpoint_s` [s]
    is how much of the journal a restart reads again at most; `late_quiet_s` [s] without
    another late row begins a recomputation.
    """

    commit_ms: PositiveInt = 250
    keep_h: PositiveFloat = 24.0
    checkpoint_s: PositiveFloat = 900.0
    late_quiet_s: PositiveFloat = 5.0
    max_mb: PositiveInt = 512
    dead_letters_max: PositiveInt = 1000
    batch_max_kb: PositiveInt = 256


class ArchiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[archive]``: raw rows as Parquet.

    `keep_h` [h] is how long they stay; a part is written when it has `part_rows` rows, or
    `part_s` [s] after its first batch.
    """

    enabled: bool = True
    keep_h: PositiveFloat = 24.0
    part_rows: Annotated[int, msgspec.Meta(gt=0, le=1_000_000)] = 100_000
    part_s: PositiveFloat = 300.0


class AlarmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[alarms]``: when something is worth telling."""

    agent_silent_s: PositiveFloat = 30.0
    queue_long: PositiveInt = 5


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of ``gateway.toml``; `read_settings` makes its paths absolute."""

    store: str
    state_dir: str
    clock: Literal["wall", "data"] = "wall"
    identity: Literal["pseudonym", "raw"] = "pseudonym"
    pseudonym_key_file: str | None = None
    mqtt: MqttSettings = MqttSettings()
    http: HttpSettings = HttpSettings()
    influxdb: InfluxSettings | None = None
    journal: JournalSettings = JournalSettings()
    archive: ArchiveSettings = ArchiveSettings()
    alarms: AlarmSettings = AlarmSettings()
    webhook: tuple[WebhookSettings, ...] = ()

    def key(self) -> bytes:
        """Return the pseudonym key.

        Raises
        ------
        ConfigError
            No key file is configured, or it cannot be read.
        """
        if self.pseudonym_key_file is None:
            raise ConfigError(
                "pseudonym_key_file: expected a file of 16 to 64 bytes, got none; "
                "make one with: head -c 32 /dev/urandom > fanous.key"
            )
        return read_key_file(Path(self.pseudonym_key_file))


def read_settings(path: Path) -> GatewaySettings:
    """Read ``gateway.toml``; relative paths in it are relative to it.

    Parameters
    ----------
    path : the file

    Raises
    ------
    ConfigError
        The file or a key is wrong (see `check_settings`).
    """
    raw = read_config(path, GatewaySettings)
    base = path.resolve().parent
    settings = _absolute(raw, base)
    check_settings(settings)
    return settings


def check_settings(settings: GatewaySettings) -> None:
    """Check everything that needs neither network nor hardware.

    Parameters
    ----------
    settings : with absolute paths

    Raises
    ------
    ConfigError
        An address cannot be parsed, a secret file is missing, a key that another key
        needs is absent, or the HTTP server would be open to the network without a token.
    """
    broker_address(settings.mqtt.url)
    settings.key()
    if not is_loopback(settings.http.bind) and settings.http.token_file is None:
        raise ConfigError(
            f"[http] bind {settings.http.bind}: expected a token_file, because this address can be "
            "reached from other machines, got none; add one or bind 127.0.0.1"
        )
    for name, file in (
        ("[mqtt] password_file", settings.mqtt.password_file),
        ("[http] token_file", settings.http.token_file),
    ):
        if file is not None:
            read_secret(Path(file), subject=name)
    tls_context(settings.mqtt)
    if settings.influxdb is not None:
        _check_influx(settings.influxdb)
    check_webhooks(settings.webhook)
    for at, webhook in enumerate(settings.webhook):
        subject = f"[[webhook]] number {at + 1} secret_file"
        signing_key(read_secret(Path(webhook.secret_file), subject=subject), subject=subject)


def tls_context(mqtt: MqttSettings) -> ssl.SSLContext | None:
    """Return the TLS context of an ``mqtts`` address, else None.

    Parameters
    ----------
    mqtt : the ``[mqtt]`` table

    Raises
    ------
    ConfigError
        A certificate or key cannot be loaded.
    """
    if not broker_address(mqtt.url).tls:
        return None
    try:
        context = ssl.create_default_context(cafile=mqtt.ca_file)
        if mqtt.cert_file is not None:
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[mqtt] ca_file, cert_file, key_file: expected PEM files that fit together ({error})"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def read_secret(path: Path, *, subject: str) -> str:
    """Return the first line of a secret file.

    Parameters
    ----------
    path : the file
    subject : the key that names it, for messages

    Raises
    ------
    ConfigError
        It cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{subject}: {path} cannot be read ({error})") from error
    if not text:
        raise ConfigError(f"{subject}: {path} is empty; expected the secret on its first line")
    return text.splitlines()[0].strip()


def is_loopback(bind: str) -> bool:
    """Tell whether an address can only be reached from this machine."""
    if bind == "localhost":
        return True
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False


def prepare_state_dir(settings: GatewaySettings) -> Path:
    """Make the state directory and prove that it can be written.

    Parameters
    ----------
    settings : with an absolute `state_dir`

    Raises
    ------
    ConfigError
        It cannot be made or written.
    """
    path = Path(settings.state_dir)
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path, prefix=".probe-"):
            pass
    except OSError as error:
        raise ConfigError(
            f"state_dir {path}: expected a directory that can be written ({error.strerror}); "
            "choose another or change its owner"
        ) from error
    return path


def _check_influx(influx: InfluxSettings) -> None:
    parts = urlsplit(influx.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"[influxdb] url: expected http://host:port or https://…, got {_safe(influx.url)!r}"
        )
    if influx.bucket is None and influx.database is None:
        raise ConfigError(
            "[influxdb]: expected bucket, org, token_file (2.x, 3) or database (1.x), got neither"
        )
    for name, file in (("token_file", influx.token_file), ("password_file", influx.password_file)):
        if file is not None:
            read_secret(Path(file), subject=f"[influxdb] {name}")


def _safe(url: str) -> str:
    """Return an address without what may be a password."""
    return url.rpartition("@")[2][:120]


def _absolute(raw: GatewaySettings, base: Path) -> GatewaySettings:
    def table(value: msgspec.Struct) -> msgspec.Struct:
        changes: dict[str, object] = {}
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            if isinstance(inner, msgspec.Struct):
                changes[field.name] = table(inner)
            elif isinstance(inner, tuple):
                changes[field.name] = tuple(
                    table(each) if isinstance(each, msgspec.Struct) else each for each in inner
                )
            elif isinstance(inner, str) and (
                field.name.endswith("_file") or field.name in ("store", "state_dir")
            ):
                changes[field.name] = str(base / os.path.expanduser(inner))  # noqa: PTH111
        return msgspec.structs.replace(value, **changes)

    made = table(raw)
    assert isinstance(made, GatewaySettings)
    return made
