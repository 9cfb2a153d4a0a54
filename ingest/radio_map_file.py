"""The radio map file, ``radio-map.npz``: the reduced survey and what traffic has taught.

The file keeps places and power means rather than cells, so that a plan may change
(another cell size, a moved shelf) without a new survey; fitting takes well under a
second when it is read. What was learned lies in arrays of its own beside the survey,
which stays the anchor; a file without a survey holds the learned law of each receiver.
"""

import contextlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid
from analytics.radio_learning import Learned, apply_learned
from analytics.radio_map import RadioMap, SurveyPoints, fit_radio_map, radio_map_from_geometry
from analytics.store import Store
from ingest.config import ConfigError, wrong_value

SCHEMA = "fanous.radio-map/1"
_COLUMNS = ("x_m", "y_m", "z_m", "rssi_dbm", "count")
_LEARNED = ("x_m", "y_m", "residual_db", "weight")


def write_radio_map(
    path: Path,
    points: SurveyPoints | None,
    store: Store,
    *,
    learned: Learned | None = None,
    force: bool = False,
) -> None:
    """Write the reduced survey of a store, and what traffic has taught, atomically.

    Parameters
    ----------
    path : ends in .npz
    points : what `ingest.measurements.read_survey` gave, or None without a survey
    store : names of the receivers
    learned : what `analytics.radio_learning` gave
    force : overwrite an existing file

    Raises
    ------
    ConfigError
        The file exists and `force` is false, or cannot be written.
    """
    refuse_radio_map_path(path, force=force)
    meta: dict[str, Any] = {
        "schema": SCHEMA,
        "store": store.id,
        "receivers": [r.id for r in store.receivers],
    }
    arrays: dict[str, Any] = {
        name: np.empty(0) if points is None else getattr(points, name) for name in _COLUMNS
    }
    arrays["receiver"] = np.empty(0, np.int16) if points is None else points.receiver
    several = len(store.floors) > 1
    if several:
        meta["floors"] = [floor.id for floor in store.floors]
    if several and points is not None:
        # Without this array all points are on the first floor, as in files of older versions.
        arrays["floor"] = points.on_floor
    if learned is not None:
        arrays |= {f"learned_{name}": getattr(learned, name) for name in _LEARNED}
        arrays["learned_receiver"] = learned.receiver
        if several:
            arrays["learned_floor"] = learned.on_floor
        if learned.p0_dbm is not None and learned.exponent is not None:
            arrays |= {"law_p0_dbm": learned.p0_dbm, "law_exponent": learned.exponent}
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as file:
            meta_bytes = np.frombuffer(json.dumps(meta).encode(), np.uint8)
            np.savez_compressed(file, meta=meta_bytes, **arrays)
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
    points, learned = read_radio_map_parts(path, store)
    try:
        anchor = None if points is None else fit_radio_map(store, grid, points)
        if learned is not None:
            return apply_learned(anchor, store, grid, learned)
    except ValueError as error:
        raise ConfigError(f"{path}: does not fit store '{store.id}': {error}") from error
    assert anchor is not None, "a file has a survey or a law"
    return anchor


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


def read_radio_map_parts(path: Path, store: Store) -> tuple[SurveyPoints | None, Learned | None]:
    """Read what a radio map was made of.

    Parameters
    ----------
    path : the file
    store : its receivers are matched by name

    Returns
    -------
    points : the survey, None in a map learned from traffic alone
    learned : what traffic has taught, None in a map of a survey alone

    Raises
    ------
    ConfigError
        As `read_radio_map`.
    """
    remedy = "make one with `fanous survey fit`"
    try:
        # Opened here, because numpy leaves a damaged archive open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            schema, names = meta["schema"], [str(name) for name in meta["receivers"]]
            ours = schema == SCHEMA
            columns = _columns(file, _COLUMNS, "", len(names) if ours else None)
            floors = [str(name) for name in meta.get("floors", [])]
            if ours:
                _add_floors(file, "", columns, floors, store)
            law, known = None, None
            if ours and "learned_x_m" in file:
                known = _columns(file, _LEARNED, "learned_", len(names))
                _add_floors(file, "learned_", known, floors, store)
                if "law_p0_dbm" in file:
                    law = _law(file, len(names))
    except OSError as error:
        raise ConfigError(
            f"{path}: radio map cannot be read ({error.strerror or 'damaged'}); {remedy}"
        ) from error
    except _NOT_OURS as error:
        raise ConfigError(
            f"{path}: no radio map, or a damaged one; expected a file written by "
            "`fanous survey fit`"
        ) from error
    if not ours:
        raise wrong_value(f"{path}: schema", repr(SCHEMA), schema, f"; {remedy}")
    at = {receiver.id: i for i, receiver in enumerate(store.receivers)}
    here = np.array([at.get(name, -1) for name in names] or [-1], np.int64)
    points = None if law is not None else SurveyPoints(**_of_this_store(columns, here))
    measured = points is not None and len(points.receiver) > 0
    if not measured and not (law is not None and (here >= 0).any()):
        raise ConfigError(
            f"{path}: expected receivers of store '{store.id}', got others alone; {remedy}"
        )
    if known is None:
        return points, None
    p0, exponent = (None, None) if law is None else _law_here(law, here, len(store.receivers))
    kept = _of_this_store(known, here)
    del kept["refused"]
    return points, Learned(p0_dbm=p0, exponent=exponent, **kept)


def _columns(
    file: Mapping[str, NDArray[Any]], names: Sequence[str], prefix: str, receivers: int | None
) -> dict[str, NDArray[Any]]:
    """Return some columns and their receivers; refuse what cannot be if their number is given."""
    columns = {name: np.asarray(file[prefix + name], np.float64) for name in names}
    receiver = np.asarray(file[f"{prefix}receiver"], np.int64)
    if receivers is not None:
        _refuse_impossible(columns, receiver, receivers)
    return {**columns, "receiver": receiver}


def _add_floors(
    file: Mapping[str, NDArray[Any]],
    prefix: str,
    columns: dict[str, NDArray[Any]],
    names: Sequence[str],
    store: Store,
) -> None:
    """Add the store's floor of each point, -1 = it has none such, if the file says any."""
    if f"{prefix}floor" not in file:
        return
    floor = np.asarray(file[f"{prefix}floor"], np.int64)
    rows = len(columns["receiver"])
    if floor.shape != (rows,) or (rows and not (floor.min() >= 0 and floor.max() < len(names))):
        raise ValueError("a point on a floor without a name")
    ids = [each.id for each in store.floors]
    there = np.array([ids.index(name) if name in ids else -1 for name in names] or [-1], np.int64)
    columns["floor"] = there[floor]


def _law(file: Mapping[str, NDArray[Any]], receivers: int) -> NDArray[np.float64]:
    law = np.asarray([file["law_p0_dbm"], file["law_exponent"]], np.float64)
    if law.shape != (2, receivers) or not np.isfinite(law).all():
        raise ValueError("the law is not one of each receiver")
    return law


def _law_here(
    law: NDArray[np.float64], here: NDArray[np.int64], receivers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the law of this store's receivers; new ones get the mean."""
    known = here >= 0
    found = np.repeat(law[:, known].mean(axis=1, keepdims=True), receivers, axis=1)
    found[:, here[known]] = law[:, known]
    return found[0], found[1]


def _of_this_store(columns: dict[str, NDArray[Any]], here: NDArray[np.int64]) -> dict[str, Any]:
    """Turn the file's receivers into the store's; leave out others, and floors it has not."""
    receiver = here[columns["receiver"]]
    keep = receiver >= 0
    if "floor" in columns:
        keep &= columns["floor"] >= 0
        columns = {**columns, "floor": columns["floor"].astype(np.int16)}
    kept: dict[str, Any] = {name: column[keep] for name, column in columns.items()}
    return {**kept, "receiver": receiver[keep].astype(np.int16), "refused": int((~keep).sum())}


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
        if name == "weight" and not (column > 0).all():
            raise ValueError("a residual without weight")
