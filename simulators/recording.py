"""A simulation as a directory: store.toml, measurements and truth (contract section 3).

Rules of the file: what exists is refused before anything is simulated; the directory
can be moved, because files the store refers to come along. A recording is held in
memory until it is written (about 30 bytes a reading).
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.store import Store
from ingest.config import ConfigError, read_toml
from ingest.files import EXTENSIONS, write_columns
from simulators.chunk import Chunk
from simulators.places import products_of
from simulators.survey import Survey

STEMS = ("readings", "taps", "samples", "truth", "shelf_truth")
SURVEY = "survey.csv.gz"


def prepare(out: Path, *, force: bool) -> None:
    """Make the output directory, or refuse it; with `force` an old recording is removed.

    Parameters
    ----------
    out : the directory
    force : whether an old recording may go

    Raises
    ------
    ConfigError
        It holds a recording and `force` is false, or it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = [f"{stem}{extension}" for stem in STEMS for extension in EXTENSIONS]
        old = [out / name for name in ("store.toml", SURVEY, *names) if (out / name).exists()]
        if old and not force:
            raise ConfigError(
                f"{out}: expected a directory without a recording, found {old[0].name}; "
                f"choose another or say --force"
            )
        for path in old:
            path.unlink()
        probe = out / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error


def copy_store(source: Path, out: Path) -> None:
    """Copy a store file, and what it refers to, into a directory.

    Parameters
    ----------
    source : the store file
    out : the directory

    Raises
    ------
    ConfigError
        Something cannot be read or written.
    """
    table = read_toml(source)
    text = source.read_text(encoding="utf-8")
    named = [table.get("obstacles"), table.get("floorplan"), table.get("radio", {}).get("map")]
    try:
        for name in (name for name in named if isinstance(name, str)):
            path, local = source.parent / name, Path(name).name
            if not path.is_file():
                continue
            shutil.copyfile(path, out / local)
            for quote in "\"'":
                text = text.replace(f"{quote}{name}{quote}", f"{quote}{local}{quote}")
        (out / "store.toml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a recording holds: rows per file."""

    rows: dict[str, int] = field(default_factory=dict)
    tags: int = 0


def write_recording(
    chunks: Iterable[Chunk],
    store: Store,
    out: Path,
    *,
    file_format: str,
    survey: Survey | None = None,
    progress: Callable[[Chunk], None] = lambda _chunk: None,
) -> Written:
    """Play a simulation and write it.

    Parameters
    ----------
    chunks : the simulation
    store : what its indices refer to
    out : a prepared directory
    file_format : csv or parquet
    survey : written beside it where there is one
    progress : told of every chunk

    Raises
    ------
    ConfigError
        A file cannot be written.
    """
    parts: dict[str, list[dict[str, NDArray[Any]]]] = {stem: [] for stem in STEMS}
    tags: dict[str, int] = {"": 0}
    kinds: list[str] = []
    for chunk in chunks:
        code = np.array([tags.setdefault(name, len(tags)) for name in (*chunk.tags, "")])
        for stem, columns in _columns(chunk, code).items():
            parts[stem].append(columns)
        kinds += chunk.shelf_truth.kind
        progress(chunk)
    names = _names(store, list(tags))
    rows = {}
    for stem in STEMS:
        whole = {
            name: np.concatenate([part[name] for part in parts[stem]])
            for name in (parts[stem][0] if parts[stem] else {})
        }
        parts[stem].clear()
        if stem == "shelf_truth" and whole:
            whole["kind"] = np.array(kinds, dtype=object)
        rows[stem] = len(whole["t_ns"]) if whole else 0
        if rows[stem] or stem == "readings":
            table = _table(stem, whole, names, with_time=file_format == "parquet")
            write_columns(out / f"{stem}.{file_format}", table)
    if survey is not None:
        write_columns(out / SURVEY, survey_columns(survey, store))
        rows["survey"] = len(survey.count)
    return Written(rows=rows, tags=len(tags) - 1)


def survey_columns(survey: Survey, store: Store) -> dict[str, Any]:
    """Return a survey as the columns of its file.

    Parameters
    ----------
    survey : what was taken
    store : where
    """
    return {
        "x_m": survey.x_m,
        "y_m": survey.y_m,
        "z_m": survey.z_m,
        "receiver": _text(survey.receiver, [r.id for r in store.receivers]),
        "rssi_dbm": survey.rssi_dbm,
        "count": survey.count,
    }


def _columns(chunk: Chunk, code: NDArray[np.int64]) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the columns of a chunk, its tags as codes of the whole recording."""
    readings, taps, samples = chunk.readings, chunk.taps, chunk.samples
    truth, shelf = chunk.truth, chunk.shelf_truth
    return {
        "readings": {
            "t_ns": readings.t_ns,
            "receiver": readings.receiver,
            "tag": code[readings.tag].astype(np.int32),
            "rssi_dbm": readings.rssi_dbm,
        },
        "taps": {"t_ns": taps.t_ns, "tap_point": taps.tap_point, "tag": code[taps.tag]},
        "samples": {"t_ns": samples.t_ns, "sensor": samples.sensor, "value": samples.value},
        "truth": {
            "t_ns": truth.t_ns,
            "tag": code[truth.tag].astype(np.int32),
            "x_m": truth.x_m,
            "y_m": truth.y_m,
            "zone": truth.zone,
        },
        "shelf_truth": {
            "t_ns": shelf.t_ns,
            "product": shelf.product,
            "quantity": shelf.quantity,
            "tag": code[shelf.tag],
        },
    }


def _names(store: Store, tags: list[str]) -> dict[str, list[str]]:
    return {
        "receiver": [r.id for r in store.receivers],
        "tap_point": [p.id for p in store.tap_points],
        "sensor": [s.id for _, s in store.sensors],
        "sensor_kind": [s.kind for _, s in store.sensors],
        "zone": [*(z.id for z in store.zones), ""],  # -1, in no zone, is the last
        "shelf": [store.shelves[at].id for at, _ in products_of(store)],
        "gtin": [product.gtin for _, product in products_of(store)],
        "tag": tags,
    }


def _table(
    stem: str,
    whole: Mapping[str, NDArray[Any]],
    names: Mapping[str, Sequence[str]],
    *,
    with_time: bool,
) -> dict[str, Any]:
    """Return the columns of one file as the contract has them."""
    table: dict[str, Any] = {}
    for name, values in whole.items():
        if name == "product":
            table["shelf"] = _text(values, names["shelf"])
            table["gtin"] = _text(values, names["gtin"])
        elif name == "value":
            is_mass = np.array([kind == "mass" for kind in names["sensor_kind"]])[whole["sensor"]]
            for column, wanted in (("mass_g", is_mass), ("range_mm", ~is_mass)):
                if wanted.any():
                    table[column] = pa.array(values, mask=~wanted)
        elif name in names:
            table[name] = _text(values, names[name])
        elif name == "rssi_dbm":
            table[name] = values.astype(np.int64)
        else:
            table[name] = values
    if stem == "shelf_truth":
        order = ("t_ns", "shelf", "gtin", "kind", "quantity", "tag")
        table = {name: table[name] for name in order if name in table}
    if with_time and "t_ns" in table:
        table["time"] = pa.array(table["t_ns"]).cast(pa.timestamp("ns", tz="UTC"))
    return table


def _text(codes: NDArray[Any], names: Sequence[str]) -> pa.Array:
    """Return codes as text; code -1 is the last name."""
    index = np.where(codes < 0, len(names) - 1, codes).astype(np.int32)
    coded = pa.DictionaryArray.from_arrays(pa.array(index), pa.array(list(names), pa.string()))
    return coded.cast(pa.string())
