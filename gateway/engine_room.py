"""The engine as the gateway sees it: made, saved, and made again from what was saved.

Rules of the file: the gateway needs of an engine what `EngineLike` says and nothing
else; a checkpoint is only ever refused with `CheckpointRefusedError`, whatever is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from analytics.rows import Output
from analytics.store import Store

NameOf = Callable[[NDArray[np.int32]], list[str]]


class CheckpointRefusedError(ValueError):
    """A checkpoint cannot be used; the message says why."""


class EngineLike(Protocol):
    """What the driver needs of `analytics.engine.Engine`."""

    def add_readings(
        self,
        t_ns: NDArray[np.int64],
        receiver: NDArray[np.int16],
        tag: NDArray[np.int32],
        rssi_dbm: NDArray[np.float64],
    ) -> int:
        """Take readings; return how many came too late."""
        ...

    def add_taps(
        self, t_ns: NDArray[np.int64], tap_point: NDArray[np.int16], tag: NDArray[np.int32]
    ) -> int:
        """Take taps; return how many came too late."""
        ...

    def add_samples(
        self, t_ns: NDArray[np.int64], sensor: NDArray[np.int16], value: NDArray[np.float64]
    ) -> int:
        """Take samples; return how many came too late."""
        ...

    def advance(self, watermark_ns: int) -> Output:
        """Close every tick that ends at or before a moment."""
        ...

    def finish(self) -> Output:
        """Close everything."""
        ...

    def live(self) -> Any:  # noqa: ANN401
        """Return who is where now."""
        ...

    def active_tags(self) -> NDArray[np.int32]:
        """Return the ids that must stay known."""
        ...


EngineMaker = Callable[[NameOf], EngineLike]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRoom:
    """What makes engines; without `save` and `load` there are no checkpoints."""

    make: EngineMaker
    save: Callable[[EngineLike], bytes] | None = None
    load: Callable[[bytes, NameOf], EngineLike] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """Live positions of layer main, one element per row: for the heat map."""

    t_ns: Sequence[int]
    tag: Sequence[str]
    zone: Sequence[int]
    floor: Sequence[str]
    x_m: Sequence[float]
    y_m: Sequence[float]


def read_engine_room(store: Store, store_file: Path) -> EngineRoom:
    """Read the radio map and return what makes engines with it.

    Parameters
    ----------
    store : the store
    store_file : its radio map's path is relative to it

    Raises
    ------
    ConfigError
        The radio map cannot be read or belongs to another store.
    """
    from analytics import checkpoint
    from analytics.cells import build_cells
    from analytics.engine import Engine
    from analytics.radio_map import radio_map_from_geometry

    grid = build_cells(store)
    if store.radio_map is None:
        radio_map = radio_map_from_geometry(store, grid)
    else:
        from ingest.radio_map_file import read_radio_map

        radio_map = read_radio_map(store_file.parent / store.radio_map, store, grid)
    program = _version()

    def load(data: bytes, name_of: NameOf) -> EngineLike:
        try:
            return checkpoint.restore(
                data, store, radio_map, name_of=name_of, grid=grid, version=program
            )
        except checkpoint.CheckpointError as error:
            raise CheckpointRefusedError(str(error)) from error

    return EngineRoom(
        make=lambda name_of: Engine(store, radio_map, name_of=name_of, grid=grid),
        save=lambda engine: checkpoint.save(cast("Engine", engine), version=program),
        load=load,
    )


def _version() -> str:
    try:
        return version("fanous")
    except PackageNotFoundError:
        return "unknown"
