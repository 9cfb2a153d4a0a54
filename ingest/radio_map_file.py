"""The radio map file, ``radio-map.npz``: the reduced survey it was fitted from.

The file keeps places and power means rather than cells, so that a plan may change
(another cell size, a moved shelf) without a new survey; fitting takes well under a
second when it is read.
"""

import contextlib
import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid
from analytics.radio_map import RadioMap, SurveyPoints, fit_radio_map, radio_map_from_geometry
from analytics.store import Store
from ingest.config import ConfigError, wrong_value

SCHEMA = "fanous.radio-map/1"
_COLUMNS = ("x_m", "y_m", "z_m", "rssi_dbm", "count")


def write_radio_map(path: Path, points: SurveyPoints, store: Store, *, force: bool = False) -> None:
    """Write the reduced survey of a store, atomically.

    Parameters
    ----------
    path : ends in .npz
    points : what `ingest.measurements.read_survey` gave
    store : names of the receivers
    force : overwrite an existing file

    Raises
    ------
    ConfigError
        The file exists and `force` is false, or cannot be written.
    """
    refuse_radio_map_path(path, force=force)
    meta = {"schema": SCHEMA, "store": store.id, "receivers": [r.id for r in store.receivers]}
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            np.savez_compressed(
                file,
                meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
                x_m=points.x_m,
                y_m=points.y_m,
                z_m=points.z_m,
                receiver=points.receiver,
                rssi_dbm=points.rssi_dbm,
                count=points.count,
            )
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def refuse_radio_map_path(path: Path, *, force: bool = False) -> None:
    """Refuse a place for a radio map before any work is done for it.

    Parameters
    ----------
    path : ends in .npz
    force : overwrite an existing file

    Raises
    ------
    ConfigError
        The name is wrong, the file exists and `force` is false, or there is no such folder.
    """
    if path.suffix != ".npz":
        raise ConfigError(f"{path}: expected a name ending in .npz")
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: expected a file, found a directory")
        if path.exists() and not force:
            raise ConfigError(f"{path}: exists already; choose another name or say --force")
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: cannot be written ({path.parent} is no directory)")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error


def read_radio_map(path: Path, store: Store, grid: CellGrid) -> RadioMap:
    """Read a radio map and fit it to the cells of a store.

    Parameters
    ----------
    path : the file
    store : its receivers are matched by name; those without a survey get the mean law
    grid : the store's cells

    Raises
    ------
    ConfigError
        The file is unreadable, is no radio map, or knows no receiver of this store.
    """
    points = _read_points(path, store)
    try:
        return fit_radio_map(store, grid, points)
    except ValueError as error:
        raise ConfigError(f"{path}: does not fit store '{store.id}': {error}") from error


def radio_map_of(store: Store, grid: CellGrid, override: Path | None = None) -> RadioMap:
    """Return the radio map that a store file names, or one from geometry alone.

    Parameters
    ----------
    store, grid : the store and its cells
    override : a file that wins over the store's own

    Raises
    ------
    ConfigError
        As `read_radio_map`.
    """
    path = override or (Path(store.radio_map) if store.radio_map else None)
    return read_radio_map(path, store, grid) if path else radio_map_from_geometry(store, grid)


_NOT_OURS = (
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise on bytes that are no archive of arrays, or a damaged one."""


def _read_points(path: Path, store: Store) -> SurveyPoints:
    remedy = "make one with `fanous survey fit`"
    try:
        # Opened here, because numpy leaves a damaged archive open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            columns = {name: np.asarray(file[name], np.float64) for name in _COLUMNS}
            receiver = np.asarray(file["receiver"], np.int64)
        schema, names = meta["schema"], list(meta["receivers"])
        if schema == SCHEMA:
            _refuse_impossible(columns, receiver, len(names))
    except OSError as error:
        raise ConfigError(
            f"{path}: radio map cannot be read ({error.strerror or 'damaged'}); {remedy}"
        ) from error
    except _NOT_OURS as error:
        raise ConfigError(
            f"{path}: no radio map, or a damaged one; expected a file written by "
            "`fanous survey fit`"
        ) from error
    if schema != SCHEMA:
        raise wrong_value(f"{path}: schema", repr(SCHEMA), schema, f"; {remedy}")
    known = {r.id: at for at, r in enumerate(store.receivers)}
    here = np.array([known.get(str(name), -1) for name in names] or [-1], np.int64)[receiver]
    if not (here >= 0).any():
        raise ConfigError(
            f"{path}: expected receivers of store '{store.id}', got others alone; {remedy}"
        )
    keep = here >= 0
    return SurveyPoints(
        receiver=here[keep].astype(np.int16),
        refused=int((~keep).sum()),
        **{name: column[keep] for name, column in columns.items()},
    )


def _refuse_impossible(
    columns: dict[str, NDArray[np.float64]], receiver: NDArray[np.int64], receivers: int
) -> None:
    lengths = {array.shape for array in (*columns.values(), receiver)}
    if lengths != {(len(receiver),)}:
        raise ValueError("columns of different lengths")
    if len(receiver) and not (receiver.min() >= 0 and receiver.max() < receivers):
        raise ValueError("a receiver without a name")
    for name, column in columns.items():
        if not np.isfinite(column[~np.isnan(column)] if name == "z_m" else column).all():
            raise ValueError(f"{name} is not finite")
