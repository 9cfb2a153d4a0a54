"""Checking an agent's configuration, and what of the world it needs.

Rules of the file: a wrong configuration is exit code 2 and the world is then not looked
at; something of the world that is wrong is 1; else 0. Each finding is one sentence. What
is looked at does not wait for another look (ports are listened to at the same time), and
the order of the findings is always the same.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

import edge
from edge.agent import make_sources
from edge.check_broker import broker_of, check_broker
from edge.check_host import (
    check_agent_state,
    check_clock,
    is_virtual_machine,
    kernel_clock,
)
from edge.check_radio import check_radio
from edge.check_serial import LISTEN_S, check_port, serial_ports_of
from edge.findings import Check
from edge.identity import read_aliases
from edge.profiles import read_profiles
from edge.publisher import default_client_id
from edge.settings import EdgeSettings, read_settings
from firmware_profiles.registry import Registry
from ingest.config import ConfigError

DONE, WORLD_WRONG, CONFIG_WRONG = 0, 1, 2
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the checks found; `plan` says what the agent would do."""

    plan: dict[str, Any]
    config: tuple[Check, ...] = ()
    world: tuple[Check, ...] = field(default=())

    @property
    def code(self) -> int:
        """The exit code: 2 wrong configuration, 1 something of the world is wrong, 0 fine."""
        if not all(check.ok for check in self.config):
            return CONFIG_WRONG
        return DONE if all(check.ok for check in self.world) else WORLD_WRONG

    def as_json(self) -> bytes:
        """Return one JSON document: ``ok``, ``checks`` as of `fanous doctor`, and the plan."""
        checks = [asdict(check) for check in (*self.config, *self.world)]
        return msgspec.json.encode({"ok": self.code == DONE, **self.plan, "checks": checks})

    def as_text(self) -> str:
        """Return the plan, then each finding as one sentence."""
        lines = []
        plan = self.plan
        if self.code != CONFIG_WRONG:
            lines += [
                f"agent {plan['agent']} of store {plan['store']}: the configuration is right",
                *_plan_lines(plan),
            ]
        for check in (*self.config, *self.world):
            lines.append(
                f"  ok     {check.name}: {check.found}"
                if check.ok
                else f"  FAULT  {check.sentence}"
            )
        return "\n".join(lines)


def check_agent(path: Path, *, is_offline: bool) -> Report:
    """Check a configuration, and the world unless it is wrong.

    Parameters
    ----------
    path : ``edge.toml``
    is_offline : touch neither radios, ports nor network

    Raises
    ------
    ConfigError
        A key is wrong; what is wrong in sources and profile files is in the report.
    """
    settings, base = read_settings(path), path.resolve().parent
    config = tuple(check_sources(settings, base=base))
    if not all(check.ok for check in config):
        return Report(plan={"store": settings.store, "agent": settings.agent}, config=config)
    # Beside each on its own: two sources may not have one name.
    sources = make_sources(settings, base=base, now_ns=time.time_ns)
    named = [
        {"name": source.name, "kind": table["kind"]}
        for source, table in zip(sources, settings.source, strict=True)
    ]
    world = () if is_offline else tuple(check_world(settings, base=base, files=(path,)))
    return Report(plan=_plan(settings, named), config=(), world=world)


def check_sources(settings: EdgeSettings, *, base: Path) -> Iterator[Check]:
    """Find everything that is wrong with profile files and sources, each on its own.

    Parameters
    ----------
    settings : checked
    base : the folder that relative paths are relative to

    Yields
    ------
    check : only what does not hold
    """
    try:
        refused = _registry(settings).errors
    except ConfigError as error:
        yield Check(
            name="profiles",
            ok=False,
            found=str(error).removeprefix("profiles: "),
            expected="TOML files that can be read",
            remedy="correct the paths, which are relative to edge.toml",
        )
        return
    for message in refused:
        yield Check(
            name="profile",
            ok=False,
            found=message,
            expected="a profile without mistakes",
            remedy="correct it, or take its file out of `profiles`; the agent runs without it",
        )
    for number, table in enumerate(settings.source, 1):
        alone = msgspec.structs.replace(settings, source=(table,))
        try:
            with _unlogged():
                make_sources(alone, base=base, now_ns=time.time_ns)
        except ConfigError as error:
            yield Check(
                name=f"[[source]] number {number}",
                ok=False,
                found=str(error).removeprefix("[[source]] number 1: "),
                expected="a table that fits its kind",
                remedy="correct the key that the sentence names; edge/sample.toml shows all kinds",
            )


def check_world(
    settings: EdgeSettings, *, base: Path, files: tuple[Path, ...] = (), listen_s: float = LISTEN_S
) -> list[Check]:
    """Check all that an agent needs beside its configuration.

    Parameters
    ----------
    settings : with absolute paths; a source that is wrong is not looked at
    base : the folder that relative paths are relative to
    files : written on this machine, for the clock
    listen_s : [s] how long a port is listened to
    """
    state_dir = Path(settings.state_dir)
    written = (*files, Path(edge.__file__), state_dir / "outbox.sqlite")
    looks: list[Callable[[], list[Check]]] = [
        lambda: [
            check_clock(
                time.time_ns(),
                files=written,
                kernel=kernel_clock(),
                is_virtual=is_virtual_machine(),
            )
        ],
        lambda: list(check_agent_state(state_dir, max_mb=settings.outbox.max_mb)),
        *hardware_looks(settings, base=base, listen_s=listen_s),
        lambda: [check_broker(lambda: broker_of(settings))],
    ]
    return run_looks(looks)


def hardware_looks(
    settings: EdgeSettings, *, base: Path, listen_s: float = LISTEN_S
) -> list[Callable[[], list[Check]]]:
    """Return the looks at adapters and ports, not yet taken.

    Parameters
    ----------
    settings : with absolute paths; a source that is wrong is not looked at
    base : the folder that relative paths are relative to
    listen_s : [s] how long a port is listened to
    """
    state_dir = Path(settings.state_dir)
    adapters = {
        str(table.get("adapter", "hci0")) for table in settings.source if table.get("kind") == "ble"
    }
    looks: list[Callable[[], list[Check]]] = [
        lambda adapter=adapter: [check_radio(adapter)]  # type: ignore[misc]
        for adapter in sorted(adapters)
    ]
    try:
        profiles = _registry(settings).profiles
    except ConfigError:
        return looks
    looks += [
        lambda port=port: [  # type: ignore[misc]
            check_port(port, profiles[port.profile], state_dir=state_dir, listen_s=listen_s)
        ]
        for port in serial_ports_of(settings.source, base=base, profiles=profiles)
    ]
    return looks


def run_looks(looks: list[Callable[[], list[Check]]]) -> list[Check]:
    """Take several looks at the same time.

    Parameters
    ----------
    looks : each bounded in time

    Returns
    -------
    checks : in the order of the looks
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="look") as pool:
        return [check for found in pool.map(lambda look: look(), looks) for check in found]


def _registry(settings: EdgeSettings) -> Registry:
    with _unlogged():
        return read_profiles(settings.profiles)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Let the log of refused profiles rest: they are findings here."""
    log = logging.getLogger("fanous.edge.profiles")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _plan(settings: EdgeSettings, sources: list[dict[str, str]]) -> dict[str, Any]:
    aliases = {} if settings.aliases is None else read_aliases(Path(settings.aliases))
    return {
        "store": settings.store,
        "agent": settings.agent,
        "state_dir": settings.state_dir,
        "identity": settings.identity,
        "aliases": len(aliases),
        "broker": settings.mqtt.url,
        "client_id": settings.mqtt.client_id or default_client_id(settings),
        "batch_max_rows": settings.batch.max_rows,
        "batch_max_ms": settings.batch.max_ms,
        "outbox_max_mb": settings.outbox.max_mb,
        "outbox_commit_ms": settings.outbox.commit_ms,
        "sources": sources,
    }


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    sources = ", ".join(f"{s['name']} ({s['kind']})" for s in plan["sources"])
    return [
        f"  sources    {sources or 'none: there is nothing to do'}",
        f"  identity   {plan['identity']}, {plan['aliases']} aliases",
        f"  batches    {plan['batch_max_rows']} rows or {plan['batch_max_ms']} ms, taps at once",
        f"  outbox     {plan['state_dir']}, at most {plan['outbox_max_mb']} MB",
        f"  disk       everything is there within {plan['outbox_commit_ms']} ms",
        f"  broker     {plan['broker']} as {plan['client_id']}",
    ]
