"""What a source is, and the table of those we have.

Rules of the file: a kind of ``[[source]]`` is a text in a table and its module is loaded
only when a configuration names it; packages may add kinds by the entry point group
``fanous.sources``. A source checks its own table without touching hardware or network.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from edge.measurement import Emit
from ingest.config import ConfigError, nearest

if TYPE_CHECKING:
    from firmware_profiles.registry import Registry

SOURCES = {
    "ble": "edge.sources.ble:BleSource",
    "replay": "edge.sources.replay:ReplaySource",
    "serial": "edge.sources.serial_lines:SerialSource",
    "virtual": "edge.sources.virtual:VirtualSource",
}
ENTRY_POINTS = "fanous.sources"


class SourceUnavailable(ConnectionError):  # noqa: N818 - the house's name
    """A radio or a port is not there now: try again after a while."""


class Source(Protocol):
    """Where measurements come from.

    `name` is for logs and health. `run` hands measurements to `emit` and returns when
    there will be no more; it is cancelled at the end, and raises `SourceUnavailable` when
    it should be started again after a while. `health` holds counters and bounded words.
    """

    name: str

    async def run(self, emit: Emit) -> None:
        """Hand over measurements until there are no more."""

    def health(self) -> dict[str, Any]:
        """Return counters and states."""


class SourceKind(Protocol):
    """The class of a source."""

    def from_table(
        self, table: Mapping[str, Any], *, subject: str, base: Path, now_ns: Callable[[], int]
    ) -> Source:
        """Make the source from its ``[[source]]`` table, without the key ``kind``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a table is read with: its name in messages, its folder, the agent's clock [ns]."""

    subject: str
    base: Path
    now_ns: Callable[[], int]
    registry: "Registry | None" = None

    def profiles(self) -> "Registry":
        """Return the profiles that the agent knows."""
        from firmware_profiles.registry import load_registry

        return load_registry() if self.registry is None else self.registry


class TableSource:
    """A source of this program: all of them are made from their tables in one way."""

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, Any],
        *,
        subject: str,
        base: Path,
        now_ns: Callable[[], int],
        registry: "Registry | None" = None,
    ) -> Self:
        """Make the source from its table; no hardware is touched.

        Parameters
        ----------
        table : as the settings of the source say, without the key ``kind``
        subject : which table, for messages
        base : the folder that relative paths are relative to
        now_ns : [ns] the agent's clock
        registry : the profiles that the agent knows; None = those of the program

        Returns
        -------
        source : not yet running

        Raises
        ------
        ConfigError
            A key or a file that the table names is wrong.
        """
        return cls.read(
            table, Surroundings(subject=subject, base=base, now_ns=now_ns, registry=registry)
        )

    @classmethod
    def read(cls, table: Mapping[str, Any], around: Surroundings) -> Self:
        """Make the source; each kind has its own.

        Parameters
        ----------
        table : without the key ``kind``
        around : what it is read with
        """
        raise NotImplementedError


def make_source(
    table: Mapping[str, Any],
    *,
    subject: str,
    base: Path,
    now_ns: Callable[[], int],
    registry: "Registry | None" = None,
) -> Source:
    """Make the source that a ``[[source]]`` table describes.

    Parameters
    ----------
    table : with the key ``kind``
    subject : which table, for messages
    base : the folder that relative paths are relative to
    now_ns : [ns] the agent's clock
    registry : the profiles that the agent knows; None = those of the program

    Returns
    -------
    source : not yet running

    Raises
    ------
    ConfigError
        The kind is missing or unknown, or its table is wrong.
    """
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(f"{subject}: expected a key 'kind', one of {', '.join(sorted(SOURCES))}")
    rest = {key: value for key, value in table.items() if key != "kind"}
    made_by = _load(kind, subject)
    if isinstance(made_by, type) and issubclass(made_by, TableSource):
        around = Surroundings(subject=subject, base=base, now_ns=now_ns, registry=registry)
        return cast("Source", made_by.read(rest, around))
    return made_by.from_table(rest, subject=subject, base=base, now_ns=now_ns)


def _load(kind: str, subject: str) -> SourceKind:
    if kind in SOURCES:
        module, name = SOURCES[kind].split(":")
        return cast("SourceKind", getattr(importlib.import_module(module), name))
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        return cast("SourceKind", entry.load())
    raise ConfigError(f"{subject}: unknown kind {kind!r}{nearest(kind, list(SOURCES))}")
