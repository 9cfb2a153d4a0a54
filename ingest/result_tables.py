"""Result tables as files: Parquet or CSV with the columns of contract section 3."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analytics.rows import STAGES, TABLES, ZONE_STATES, Positions
from analytics.store import Store
from ingest.config import ConfigError
from ingest.files import write_columns

KINDS = ("parquet", "csv")
"""Formats of tables; also their extensions."""
_TIMES = {"t_ns": "time", "start_ns": "start_time", "end_ns": "end_time"}
_SORT: dict[str, tuple[str, ...]] = {
    "dwells": ("start_ns", "tag", "layer", "dwell"),
    "visits": ("start_ns", "tag", "visit"),
    "transitions": ("layer", "from_zone", "to_zone"),
    "shelf_events": ("t_ns", "shelf", "event", "status"),
    "shelf_stock": ("t_ns", "shelf", "gtin"),
    "sensor_health": ("since_ns", "sensor"),
    "occupancy": ("t_ns", "layer", "zone"),
    "queues": ("t_ns", "zone"),
    "occupancy_estimates": ("t_ns", "layer", "zone"),
    "heat": ("t_ns", "floor", "y_m", "x_m"),
    "receiver_health": ("since_ns", "receiver"),
}
_KINDS = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}


def remove_tables(directory: Path) -> None:
    """Remove the tables of an earlier analysis, of both formats, so that none can be mistaken.

    Parameters
    ----------
    directory : exists; other files in it stay

    Raises
    ------
    ConfigError
        A table cannot be removed.
    """
    try:
        for name in ("positions", *TABLES):
            for kind in KINDS:
                (directory / f"{name}.{kind}").unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be written ({error.strerror})") from error


def write_table(directory: Path, name: str, rows: Sequence[Any], *, kind: str) -> int:
    """Write one of the small tables, sorted.

    Parameters
    ----------
    directory : exists
    name : a key of `analytics.rows.TABLES`
    rows : records of that table
    kind : "parquet" or "csv"

    Returns
    -------
    rows : how many were written
    """
    ordered = sorted(rows, key=lambda row: tuple(getattr(row, key) for key in _SORT[name]))
    columns: dict[str, pa.Array] = {}
    for field in dataclasses.fields(TABLES[name]):
        column_type = _KINDS[_type_name(field.type)]
        columns[field.name] = pa.array([getattr(row, field.name) for row in ordered], column_type)
    _write(directory, name, columns, kind)
    return len(ordered)


def write_positions(
    directory: Path, parts: Sequence[Positions], store: Store, names: Sequence[str], *, kind: str
) -> int:
    """Write the positions table, sorted by time, tag, layer and stage.

    In a store with several floors there is a last column `floor`, empty where `zone_state` is
    unknown.

    Parameters
    ----------
    directory : exists
    parts : stretches of the table
    store : zones and layers
    names : tag of each id
    kind : "parquet" or "csv"

    Returns
    -------
    rows : how many were written
    """
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        if parts
        else np.empty(0)
        for field in dataclasses.fields(Positions)
    }
    rank = np.empty(len(names) + 1, np.int64)
    rank[np.argsort(np.array([*names, "~"], dtype=object), kind="stable")] = np.arange(len(rank))
    tag = joined["tag"].astype(np.int64)
    order = np.lexsort((joined["stage"], joined["layer"], rank[tag], joined["t_ns"]))
    joined = {name: column[order] for name, column in joined.items()}
    zones = [zone.id for zone in store.zones]
    columns = {
        "t_ns": pa.array(joined["t_ns"].astype(np.int64)),
        "tag": _coded(joined["tag"], names),
        "stage": _coded(joined["stage"], STAGES),
        "layer": _coded(joined["layer"], store.layers),
        "zone": _coded(joined["zone"], zones),
        "zone_state": _coded(joined["zone_state"], ZONE_STATES),
        "zone_p": _decimals(joined["zone_p"], 3),
        "x_m": _decimals(joined["x_m"], 2),
        "y_m": _decimals(joined["y_m"], 2),
        "sigma_m": _decimals(joined["sigma_m"], 2),
    }
    if len(store.floors) > 1:
        is_unknown = joined["zone_state"] == ZONE_STATES.index("unknown")
        floor = np.where(is_unknown, -1, joined["floor"].astype(np.int32))
        columns["floor"] = _coded(floor, [each.id for each in store.floors])
    _write(directory, "positions", columns, kind)
    return len(order)


def _type_name(kind: object) -> str:
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    return name.split(" ", maxsplit=1)[0]


def _coded(codes: np.ndarray[Any, Any], values: Sequence[str]) -> pa.Array:
    index = codes.astype(np.int32)
    coded = pa.DictionaryArray.from_arrays(
        pa.array(index, mask=index < 0), pa.array(list(values), pa.string())
    )
    return coded.cast(pa.string())


def _decimals(values: np.ndarray[Any, Any], digits: int) -> pa.Array:
    wide = np.round(values.astype(np.float64), digits)
    return pa.array(wide, mask=np.isnan(wide))


def _write(directory: Path, name: str, columns: dict[str, pa.Array], kind: str) -> None:
    if kind == "parquet":
        for source, target in _TIMES.items():
            if source in columns:
                columns[target] = columns[source].cast(pa.timestamp("ns", tz="UTC"))
    write_columns(directory / f"{name}.{kind}", columns, force=True)
