"""Recorded readings, taps, samples and surveys, as columns of indices.

Rules of the file: names become indices into the store, tags become pseudonyms (or
stay raw if asked); a row that is impossible is dropped and counted by reason, an
unknown receiver is counted under its name and told once. Contract section 3.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analytics.levels import HIGH_TENTHS, LOW_TENTHS
from analytics.radio_map import SurveyPoints, reduce_survey
from analytics.shelf import RANGE_LIMIT_MM
from analytics.store import Store
from firmware_profiles.decoders.nfc import is_random_tag
from ingest.config import ConfigError, shown
from ingest.files import BAD_TIME, read_columns_counting
from ingest.identifiers import is_pseudonym, is_tag, pseudonym
from ingest.proofs import PROOFS, UNPROVEN

UNKNOWN_MOST = 20
"""So many unknown names are reported one by one; further ones in one sum."""
METRES_MOST = 100_000.0
BROKEN = "broken line (too few or too many cells, or no JSON object)"


@dataclass(slots=True)
class Dropped:
    """Rows that were not used, by reason; a row counts under its first reason alone."""

    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, rows: int) -> None:
        """Count rows under a reason."""
        if rows:
            self.reasons[reason] += int(rows)

    def lines(self) -> list[str]:
        """Return one sentence per reason, largest first."""
        ordered = sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))
        return [f"dropped {n} row{'s' if n != 1 else ''}: {why}" for why, n in ordered]


@dataclass(slots=True, kw_only=True)
class Names:
    """Tags by id: the id of a tag is its place in `values`.

    Parameters
    ----------
    key : the store's key

    Attributes
    ----------
    values : pseudonyms; ids of rows are made of them in every identity mode
    as_given : the tags as they stood in a file, for ``--identity raw``
    """

    key: bytes
    values: list[str] = field(default_factory=list)
    as_given: list[str] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)

    def ids(self, tags: Sequence[str]) -> NDArray[np.int32]:
        """Return the ids of tags as they stand in a file; -1 for what is no tag."""
        return np.fromiter((self._id(tag) for tag in tags), np.int32, count=len(tags))

    def of(self, ids: NDArray[np.int32]) -> list[str]:
        """Return the pseudonyms of ids."""
        return [self.values[at] for at in ids.tolist()]

    def _id(self, text: str) -> int:
        known = self._seen.get(text)
        if known is not None:
            return known
        found = -1
        if (is_tag(text) and not is_random_tag(text)) or is_pseudonym(text):
            name = pseudonym(text, self.key)
            found = self._ids.setdefault(name, len(self.values))
            if found == len(self.values):
                self.values.append(name)
                self.as_given.append(text)
            elif is_tag(text):
                self.as_given[found] = text
            self._seen[text] = found
        return found


def read_readings(
    paths: Iterable[Path], store: Store, names: Names, dropped: Dropped
) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int32], NDArray[np.float32]]:
    """Read readings files.

    Parameters
    ----------
    paths : files of any supported kind
    store : whose receivers are known
    names : gives ids to tags
    dropped : counts what cannot be used

    Returns
    -------
    t_ns, receiver, tag, rssi_dbm : columns of all files, in their order

    Raises
    ------
    ConfigError
        A file is unreadable or lacks a column.
    """
    known = [receiver.id for receiver in store.receivers]
    parts = []
    for path in paths:
        columns, broken = read_columns_counting(
            path, required=("t_ns", "receiver", "tag", "rssi_dbm")
        )
        rows = _Rows(len(columns["t_ns"]), dropped, broken)
        receiver = rows.known(columns["receiver"], known, "receiver")
        rows.refuse(columns["t_ns"] == BAD_TIME, "unreadable time")
        tag = _tag_ids(columns["tag"], names)
        rows.refuse(tag < 0, "not a tag or pseudonym")
        with np.errstate(over="ignore"):
            # As the edge agent does (`ingest.batch.round_rssi`): rounded first, then judged.
            rssi = np.rint(columns["rssi_dbm"] * 10.0) / 10.0
        rows.refuse(np.isnan(rssi), "RSSI is not a number")
        impossible = (rssi < LOW_TENTHS / 10) | (rssi > HIGH_TENTHS / 10)
        rows.refuse(impossible, "RSSI outside -120 to +20 dBm")
        keep = rows.keep
        parts.append(
            (columns["t_ns"][keep], receiver[keep], tag[keep], rssi[keep].astype(np.float32))
        )
    t_ns, receiver, tag, rssi_dbm = (np.concatenate(c) for c in zip(*parts, strict=True))
    return t_ns, receiver, tag, rssi_dbm


def read_taps(
    path: Path, store: Store, names: Names, dropped: Dropped
) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.int32]]:
    """Read a taps file; as `read_readings`, returns t_ns, tap_point, tag.

    The optional column `proof` names the scheme by which a tap proved itself; at a tap point
    where people pay a tap without one is refused.
    """
    columns, broken = read_columns_counting(
        path, required=("t_ns", "tap_point", "tag"), optional=("proof",)
    )
    rows = _Rows(len(columns["t_ns"]), dropped, broken)
    point = rows.known(columns["tap_point"], [p.id for p in store.tap_points], "tap point")
    rows.refuse(columns["t_ns"] == BAD_TIME, "unreadable time")
    tag = _tag_ids(columns["tag"], names)
    rows.refuse(tag < 0, "not a tag or pseudonym")
    is_proven = np.isin(columns.get("proof", np.full(len(tag), "", object)), sorted(PROOFS))
    # One element more stands for unknown tap points, whose index is -1.
    pays = np.array([*(p.role == "payment" for p in store.tap_points), False])[point]
    rows.refuse(pays & ~is_proven, UNPROVEN)
    return columns["t_ns"][rows.keep], point[rows.keep], tag[rows.keep]


def read_samples(
    path: Path, store: Store, dropped: Dropped
) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.float64]]:
    """Read a shelf samples file; returns t_ns, sensor, value [g or mm by the sensor's kind].

    Raises
    ------
    ConfigError
        The file is unreadable or lacks a column; one of mass_g and range_mm is enough.
    """
    sensors = [sensor for _, sensor in store.sensors]
    columns, broken = read_columns_counting(
        path, required=("t_ns", "sensor"), optional=("mass_g", "range_mm")
    )
    if "mass_g" not in columns and "range_mm" not in columns:
        raise ConfigError(f"{path}: column 'mass_g' is missing; expected it or 'range_mm'")
    rows = _Rows(len(columns["t_ns"]), dropped, broken)
    sensor = rows.known(columns["sensor"], [s.id for s in sensors], "sensor")
    rows.refuse(columns["t_ns"] == BAD_TIME, "unreadable time")
    nothing = np.full(len(sensor), np.nan)
    # One element more stands for unknown sensors, whose index is -1.
    is_mass = np.array([*(s.kind == "mass" for s in sensors), True])[sensor]
    limit = np.array(
        [*(s.capacity_g if s.kind == "mass" else RANGE_LIMIT_MM for s in sensors), np.inf]
    )[sensor]
    value = np.where(is_mass, columns.get("mass_g", nothing), columns.get("range_mm", nothing))
    rows.refuse(~np.isfinite(value), "no number of the sensor's kind (mass_g or range_mm)")
    rows.refuse(np.abs(value) > limit, "value beyond what the sensor can measure")
    return columns["t_ns"][rows.keep], sensor[rows.keep], value[rows.keep]


def read_survey(path: Path, store: Store, dropped: Dropped) -> SurveyPoints:
    """Read a survey file and reduce it to power means; identical rows all count.

    Raises
    ------
    ConfigError
        The file is unreadable or lacks a column.
    """
    columns, broken = read_columns_counting(
        path,
        required=("x_m", "y_m", "z_m", "receiver", "rssi_dbm", "count"),
        optional=("floor",),
    )
    rows = _Rows(len(columns["x_m"]), dropped, broken)
    receiver = rows.known(columns["receiver"], [r.id for r in store.receivers], "receiver")
    place = np.abs(np.stack([columns["x_m"], columns["y_m"], np.nan_to_num(columns["z_m"])]))
    rows.refuse(~(place <= METRES_MOST).all(axis=0), "impossible survey place")
    floor = columns.get("floor")
    points = reduce_survey(
        floor=None if floor is None else _floors(floor, store, rows),
        x_m=columns["x_m"],
        y_m=columns["y_m"],
        z_m=columns["z_m"],
        receiver=np.where(rows.keep, receiver, -1).astype(np.int16),
        rssi_dbm=columns["rssi_dbm"],
        count=columns["count"],
    )
    dropped.add("impossible survey RSSI", points.refused - int((~rows.keep).sum()))
    return points


def _floors(floor: NDArray[np.object_], store: Store, rows: "_Rows") -> NDArray[np.int16]:
    """Return the floor of each survey row; where it says none, it is the first one."""
    named = np.where(floor == "", store.floors[0].id, floor)
    return rows.known(named, [known.id for known in store.floors], "floor")


class _Rows:
    """Which rows of a file are still good, and the count of the others.

    Parameters
    ----------
    rows : how many there are
    dropped : counts by reason
    broken : lines that did not even become rows
    """

    def __init__(self, rows: int, dropped: Dropped, broken: int) -> None:
        self.keep = np.ones(rows, np.bool_)
        self._dropped = dropped
        dropped.add(BROKEN, broken)

    def refuse(self, bad: NDArray[np.bool_], reason: str) -> None:
        """Drop rows that are still good."""
        self._dropped.add(reason, int((self.keep & bad).sum()))
        self.keep &= ~bad

    def known(
        self, texts: NDArray[np.object_], known: Sequence[str], what: str
    ) -> NDArray[np.int16]:
        """Return the index of each name, -1 if unknown; unknown ones are named with a count."""
        values, codes = _coded(texts)
        index = {name: at for at, name in enumerate(known)}
        table = np.array([*(index.get(value, -1) for value in values), -1], np.int16)
        counts = np.bincount(codes[self.keep], minlength=len(values)).tolist()
        strange = sorted(
            (-count, value)
            for value, count in zip(values, counts, strict=True)
            if value not in index
        )
        for count, value in strange[:UNKNOWN_MOST]:
            self._dropped.add(f"unknown {what} {_name_shown(value)}", -count)
        rest = -sum(count for count, _ in strange[UNKNOWN_MOST:])
        self._dropped.add(f"further unknown {what}s", rest)
        found = table[codes]
        self.keep &= found >= 0
        return found


def _name_shown(text: str) -> str:
    """Return an unknown name for a message, but no identifier of a person."""
    if is_tag(text.lower()) or is_pseudonym(text):
        return "(a tag stands in its column)"
    return shown(text)


def _tag_ids(texts: NDArray[np.object_], names: Names) -> NDArray[np.int32]:
    values, codes = _coded(texts)
    return np.append(names.ids(values), np.int32(-1))[codes]


def _coded(texts: NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    coded: Any = pa.array(texts, pa.string()).dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int64)
