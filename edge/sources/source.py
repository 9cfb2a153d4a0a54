"""What a source is, and the table of those we have.

Rules of the file: a kind of ``[[source]]`` is a text in a table and its module is loaded
only when a configuration names it; packages may add kinds by the entry point group
``fanous.sources``. A source checks its own table without touching hardware or network.
"""

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from edge.measurement import Emit
from ingest.config import ConfigError, nearest

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


def make_source(
    table: Mapping[str, Any], *, subject: str, base: Path, now_ns: Callable[[], int]
) -> Source:
    """Make the source that a ``[[source]]`` table describes.

    Parameters
    ----------
    table : with the key ``kind``
    subject : which table, for messages
    base : the folder that relative paths are relative to
    now_ns : [ns] the agent's clock

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
    return _load(kind, subject).from_table(rest, subject=subject, base=base, now_ns=now_ns)


def _load(kind: str, subject: str) -> SourceKind:
    if kind in SOURCES:
        module, name = SOURCES[kind].split(":")
        return cast("SourceKind", getattr(importlib.import_module(module), name))
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        return cast("SourceKind", entry.load())
    raise ConfigError(f"{subject}: unknown kind {kind!r}{nearest(kind, list(SOURCES))}")
