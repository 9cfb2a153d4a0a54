"""Checks of a configuration and of everything it names: files, store, broker, database.

Rules of the file: what kind of file it is is told by its keys; each thing it names is
looked at on its own, so that one fault does not hide the next. A wrong file is a check
that failed, with the very sentence that `fanous edge check` or `gateway check` says.
"""

import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from edge.check_broker import PROBE_S, Broker, check_broker
from edge.check_host import check_agent_state, check_disk, check_state_dir, is_locked
from edge.findings import Check, guarded, within
from fanous.doctor_checks import check_bluetooth
from fanous.doctor_probes import free_port
from ingest.config import ConfigError, read_config, read_toml

if TYPE_CHECKING:
    from edge.settings import EdgeSettings
    from gateway.settings import GatewaySettings

EDGE_KEYS = frozenset({"agent", "source", "outbox", "batch", "aliases"})
GATEWAY_KEYS = frozenset({"http", "influxdb", "journal", "alarms", "clock", "foreign"})
GATEWAY_SPARE_MB = 256
"""Room for what is beside the journal."""
OTHERS = stat.S_IROTH | stat.S_IWOTH | stat.S_IXOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What came of a configuration: its checks and the extra of fanous it needs."""

    checks: tuple[Check, ...]
    extra: str | None = None


def diagnose_config(path: Path) -> Diagnosis:
    """Check a configuration file and everything it names.

    Parameters
    ----------
    path : an ``edge.toml`` or ``gateway.toml``
    """
    kinds: list[Literal["edge", "gateway"]] = []

    def look() -> str:
        kinds.append(find_kind(path))
        return kinds[0]

    first = guarded(
        "config",
        "an edge.toml or a gateway.toml",
        "say -c with the right file; edge/sample.toml and gateway/sample.toml show all keys",
        look,
    )
    if not kinds:
        return Diagnosis(checks=(first,))
    checks = _edge(path) if kinds[0] == "edge" else _gateway(path)
    return Diagnosis(checks=tuple(checks), extra=kinds[0])


def find_kind(path: Path) -> Literal["edge", "gateway"]:
    """Tell by its keys what a configuration file is for.

    Parameters
    ----------
    path : the file

    Raises
    ------
    ConfigError
        It cannot be read, or is neither.
    """
    table = read_toml(path)
    if str(table.get("schema", "")).startswith("fanous.store"):
        raise ConfigError(f"{path}: this is a store file; look at it with `fanous store check`")
    edge, gateway = len(EDGE_KEYS & table.keys()), len(GATEWAY_KEYS & table.keys())
    if edge == gateway:
        edge, gateway = ("edge" in path.name), ("gateway" in path.name)
    if edge == gateway:
        raise ConfigError(
            f"{path}: expected keys of an agent (agent, source, …) or of a gateway (http, "
            f"influxdb, …), got {', '.join(sorted(table)[:8]) or 'none'}"
        )
    return "edge" if edge > gateway else "gateway"


def _edge(path: Path) -> Iterator[Check]:
    from edge.check_broker import broker_of
    from edge.settings import EdgeSettings, absolute
    from edge.settings import read_settings as read

    def whole() -> str:
        settings = read(path)
        return f"{path}: agent {settings.agent} of store {settings.store}"

    yield _config_check("edge", whole)
    try:
        settings = within(
            PROBE_S, lambda: absolute(read_config(path, EdgeSettings), path.resolve().parent)
        )
    except (ConfigError, TimeoutError):
        return
    state_dir = Path(settings.state_dir)
    yield from check_agent_state(state_dir, max_mb=settings.outbox.max_mb)
    yield from _databases(state_dir)
    if settings.identity != "raw":
        yield _key_file(settings.pseudonym_key_file)
    yield from _secrets("mqtt", settings.mqtt, ("password_file", "key_file"))
    yield from _sources(settings, path.resolve().parent)
    yield check_broker(lambda: broker_of(settings))


def _gateway(path: Path) -> Iterator[Check]:
    from gateway.settings import GatewaySettings, read_secret, read_settings, tls_context
    from ingest.broker import broker_address

    def whole() -> str:
        settings = read_settings(path)
        return f"{path}: a gateway with its page at {settings.http.bind}:{settings.http.port}"

    yield _config_check("gateway", whole)
    try:
        raw = within(PROBE_S, lambda: read_config(path, GatewaySettings))
    except (ConfigError, TimeoutError):
        return
    settings = _absolute(raw, path.resolve().parent)
    yield _store(Path(settings.store))
    state_dir = Path(settings.state_dir)
    yield check_state_dir(state_dir)
    yield check_disk(state_dir, least_mb=settings.journal.max_mb + GATEWAY_SPARE_MB)
    yield from _databases(state_dir)
    yield _key_file(settings.pseudonym_key_file)
    yield from _secrets("mqtt", settings.mqtt, ("password_file", "key_file"))
    yield from _secrets("http", settings.http, ("token_file",))

    def broker() -> Broker:
        mqtt = settings.mqtt
        address = broker_address(mqtt.url)
        secret = mqtt.password_file
        return Broker(
            host=address.host,
            port=address.port,
            tls=tls_context(mqtt),
            username=mqtt.username,
            password=read_secret(Path(secret), subject="[mqtt] password_file") if secret else None,
        )

    yield check_broker(broker)
    yield _http_port(settings)
    if settings.influxdb is not None:
        yield from _secrets("influxdb", settings.influxdb, ("token_file", "password_file"))
        yield _influxdb(settings)


def _config_check(kind: str, work: Callable[[], str]) -> Check:
    return guarded(
        "config",
        f"an {kind}.toml without mistakes" if kind == "edge" else f"a {kind}.toml without mistakes",
        f"correct the key that the sentence names; {kind}/sample.toml shows all keys",
        work,
    )


def _absolute(settings: "GatewaySettings", base: Path) -> "GatewaySettings":
    """Resolve the paths without the checks of `gateway.settings.read_settings`."""

    def resolved(struct: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the tables
        changes: dict[str, Any] = {}
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            if isinstance(value, msgspec.Struct):
                changes[name] = msgspec.structs.replace(value, **resolved(value))
            elif isinstance(value, str) and (name.endswith("_file") or name in _PATHS):
                changes[name] = str(base / Path(value).expanduser())
        return changes

    return msgspec.structs.replace(settings, **resolved(settings))


_PATHS = ("store", "state_dir")


def _store(path: Path) -> Check:
    def look() -> str:
        from gateway.engine_room import read_engine_room
        from ingest.store_file import read_store

        store = read_store(path)
        read_engine_room(store, path)
        return f"{path}: {len(store.zones)} zones, {len(store.receivers)} receivers"

    return guarded("store file", "a store file without mistakes", "see `fanous store check`", look)


def _databases(state_dir: Path) -> Iterator[Check]:
    for file in sorted(state_dir.glob("*.sqlite")) if state_dir.is_dir() else ():
        yield _database(file)


def _database(file: Path) -> Check:
    def look() -> str:
        database = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=PROBE_S)
        try:
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{file}: {error}") from error
        finally:
            database.close()
        return f"{tables} tables, {file.stat().st_size / 1e6:.1f} MB"

    return guarded(
        f"database {file.name}",
        "a SQLite database",
        "move it away to start with an empty one; what it held and nobody took is lost",
        look,
    )


def _key_file(path: str | None) -> Check:
    def look() -> str:
        from ingest.identifiers import read_key_file

        if path is None:
            raise ValueError("no pseudonym_key_file is configured")
        size = len(read_key_file(Path(path)))
        _refuse_open(Path(path))
        return f"{path}: {size} bytes"

    shown = path or "fanous.key"
    return guarded(
        "key file",
        "16 to 64 bytes, not readable by others",
        f"make one with: head -c 32 /dev/urandom > {shown}; then: chmod 600 {shown}",
        look,
    )


def _secrets(table: str, settings: object, names: tuple[str, ...]) -> Iterator[Check]:
    for name in names:
        path = getattr(settings, name)
        if path is None:
            continue

        def look(path: str = path) -> str:
            if not Path(path).read_bytes().strip():
                raise ValueError(f"{path} is empty")
            _refuse_open(Path(path))
            return f"{path} can be read by its owner"

        yield guarded(
            f"{table} {name}",
            "a file with the secret, not readable by others",
            f"write the secret into {path}; then: chmod 600 {path}",
            look,
        )


def _refuse_open(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & OTHERS:
        raise ValueError(f"{path} is open to every user (mode {stat.S_IMODE(mode):03o})")


def _sources(settings: "EdgeSettings", base: Path) -> Iterator[Check]:
    from edge.check import check_sources, hardware_looks, run_looks

    def look() -> str:
        from edge.agent import make_sources

        sources = make_sources(settings, base=base, now_ns=lambda: 0)
        return ", ".join(source.name for source in sources) or "none: there is nothing to do"

    whole = guarded(
        "sources",
        "[[source]] tables that fit their kind",
        "correct the table that the sentence names; edge/sample.toml shows all kinds",
        look,
    )
    yield whole
    # The first table that is wrong is named above, with those behind it here.
    wrong = list(check_sources(settings, base=base))
    yield from wrong if whole.ok else wrong[1:]
    if not any(table.get("kind") == "ble" for table in settings.source):
        yield check_bluetooth(is_needed=False)
    yield from run_looks(hardware_looks(settings, base=base))


def _http_port(settings: "GatewaySettings") -> Check:
    where = f"{settings.http.bind}:{settings.http.port}"

    def look() -> str:
        try:
            return free_port(settings.http.bind, settings.http.port)
        except OSError:
            if is_locked(Path(settings.state_dir) / "lock"):
                return f"{where} is in use, and the gateway of this state_dir is running"
            raise

    return guarded(
        "http port",
        f"{where} free",
        "end what uses the port, or choose another [http] bind and port",
        look,
    )


def _influxdb(settings: "GatewaySettings") -> Check:
    def look() -> str:
        from gateway.influx_writers import choose_writer

        assert settings.influxdb is not None
        quick = msgspec.structs.replace(settings.influxdb, timeout_s=PROBE_S)
        writer = choose_writer(quick)
        writer.close()
        return writer.name

    return guarded(
        "influxdb",
        "an InfluxDB that answers as the version that is configured",
        "start it, or correct [influxdb] url, database (1.x) or bucket and token_file (2.x, 3)",
        look,
        seconds=3 * PROBE_S,
    )
