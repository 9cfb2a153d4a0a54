"""Compare the output of an analysis with the truth: metres, zones, dwells, paths, shelves.

Rules of the file: it only finds, reads and prints; every figure is computed by
`analytics.quality`, where each definition stands. Figures go to stdout, remarks to
stderr; no tag or pseudonym is printed. Contract sections 4 and 9.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.quality import Scores, score
from analytics.store import Rules, Store
from ingest.config import ConfigError
from ingest.files import EXTENSIONS, read_columns
from ingest.identifiers import is_pseudonym, pseudonym, read_key_file, store_key
from ingest.store_file import read_store

Table = dict[str, NDArray[Any]]

_POSITIONS = ("t_ns", "tag", "stage", "layer", "zone", "zone_state", "x_m", "y_m")
_DWELLS = ("tag", "layer", "zone", "start_ns", "end_ns", "dwell_s")
_VISITS = ("tag", "start_ns", "end_ns", "path")
_SHELF_EVENTS = ("t_ns", "shelf", "gtin", "kind", "status")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous evaluate``."""
    parser.add_argument(
        "directory", metavar="DIR", type=Path, help="what `fanous analyze` wrote with --out"
    )
    parser.add_argument(
        "--truth",
        metavar="F",
        type=Path,
        nargs="+",
        action="extend",
        required=True,
        help="true positions: t_ns, tag, x_m, y_m and perhaps zone, floor; several are pooled",
    )
    parser.add_argument(
        "--shelf-truth", metavar="F", type=Path, help="true shelf events: t_ns, shelf, gtin, kind"
    )
    parser.add_argument(
        "--store", metavar="F", type=Path, help="the store file (default: the one analysed with)"
    )
    parser.add_argument(
        "--key-file", metavar="F", type=Path, help="the pseudonym key that the analysis used"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.epilog = "example: fanous evaluate out --truth walk.truth.csv"


def run(args: argparse.Namespace) -> int:
    """Run ``fanous evaluate``; return the exit code.

    Parameters
    ----------
    args
        as `configure` describes them

    Returns
    -------
    code : 0

    Raises
    ------
    ConfigError
        Something given is missing, unreadable, or of another store, person or time.
    """
    directory: Path = args.directory
    if not directory.is_dir():
        found = "a file" if directory.exists() else "nothing"
        raise ConfigError(
            f"{directory}: expected the directory that `fanous analyze --out` wrote, got {found}"
        )
    summary = _summary(directory)
    positions = _table(directory, "positions", _POSITIONS)
    if positions is None:
        raise ConfigError(
            f"{directory}: expected positions.parquet or positions.csv, got none; "
            "name the directory that `fanous analyze --out` wrote"
        )
    truths = [_truth(path) for path in args.truth]
    shelf_truth, shelf_events = None, None
    if args.shelf_truth is not None:
        shelf_truth = read_columns(args.shelf_truth, required=("t_ns", "shelf", "gtin", "kind"))
        shelf_events = _table(directory, "shelf_events", _SHELF_EVENTS)
        if shelf_events is None:
            raise ConfigError(
                f"{directory}: expected shelf_events for --shelf-truth, got none; "
                "run `fanous analyze` with --shelf"
            )
    dwells = _table(directory, "dwells", _DWELLS)
    visits = _table(directory, "visits", _VISITS)
    store = _store(args.store, summary, directory)
    if store is not None:
        _remark_strange_zones(truths, store)
    tagged = [table for table in (positions, *truths, dwells, visits) if table is not None]
    staff = _as_one_kind(tagged, args.key_file, store, summary)
    try:
        scores = score(
            positions=positions,
            truths=truths,
            dwells=dwells,
            visits=visits,
            shelf_events=shelf_events,
            shelf_truth=shelf_truth,
            zones=store.zones if store else (),
            rules=_rules(store, summary, directory),
            staff=staff,
        )
    except ValueError as error:
        raise ConfigError(f"{directory}: positions: {error}") from error
    _refuse_strangers(scores, positions, truths, directory)
    print(json.dumps(scores.as_dict(), allow_nan=False) if args.json else table_text(scores))
    return 0


def table_text(scores: Scores) -> str:
    """Return the figures as an aligned table for people; what is not known is a dash.

    Parameters
    ----------
    scores
        the figures

    Returns
    -------
    text : several lines
    """
    rows: list[tuple[str, ...]] = []
    parts = scores.as_dict()
    for part, names, titles in _LAYOUT:
        figures = parts[part]
        rows.append((part, *titles))
        if figures is None:
            rows.append(("  no truth",))
            continue
        for stage in ("live", "final") if "live" in figures else ("",):
            values = figures[stage] if stage else figures
            rows.append((f"  {stage}", *(_cell(values[name], name) for name in names)))
    width = [max((len(row[at]) for row in rows if at < len(row)), default=0) for at in range(6)]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(width[0]),
            *(c.rjust(w) for c, w in zip(row[1:], width[1:], strict=False)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


_LAYOUT = (
    (
        "position",
        ("mean_m", "median_m", "p90_m", "rows", "unknown"),
        ("mean m", "median m", "p90 m", "ticks", "unknown"),
    ),
    (
        "zones",
        ("accuracy", "macro_f1", "switches", "true_switches", "dwell_misplaced"),
        ("accuracy", "macro F1", "switches", "true", "misplaced"),
    ),
    ("dwells", ("error", "missed", "false"), ("error", "missed", "false")),
    ("paths", ("edit_distance",), ("edit distance",)),
    ("shelf", ("precision", "recall", "onset_p95_s"), ("precision", "recall", "onset p95 s")),
)


def _cell(value: float | None, name: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if name.endswith(("_m", "_s")) else f"{value:.3f}"


def _summary(directory: Path) -> dict[str, Any]:
    path = directory / "summary.json"
    if not path.exists():
        _remark(f"{directory}: no summary.json; taking what --store says, and defaults")
        return {}
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(summary, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {type(summary).__name__}")
    return summary


def _table(directory: Path, name: str, columns: Sequence[str]) -> Table | None:
    for extension in (".parquet", *EXTENSIONS):
        path = directory / f"{name}{extension}"
        if path.exists():
            return read_columns(path, required=columns)
    if name in {"dwells", "visits"}:
        _remark(f"{directory}: no {name} table; it is not judged")
    return None


def _truth(path: Path) -> Table:
    truth = read_columns(path, required=("t_ns", "tag", "x_m", "y_m"), optional=("zone", "floor"))
    usable = (truth["t_ns"] >= 0) & np.isfinite(truth["x_m"]) & np.isfinite(truth["y_m"])
    usable &= truth["tag"] != ""
    if not usable.all():
        dropped = int((~usable).sum())
        _remark(f"{path}: {dropped} rows without a usable time, tag or place are left out")
    if not usable.any():
        _remark(f"{path}: no rows to compare with")
    return truth


def _store(given: Path | None, summary: dict[str, Any], directory: Path) -> Store | None:
    name = summary.get("store_file")
    if given is not None:
        store = read_store(given)
        analysed = _store_id(summary)
        if analysed is not None and store.id != analysed:
            raise ConfigError(
                f"{given}: expected the store file of store '{analysed}', which {directory} was "
                f"analysed with, got that of store '{store.id}'"
            )
        return store
    if isinstance(name, str):
        for path in (Path(name), directory / name):
            if path.is_file():
                return read_store(path)
    _remark(f"{directory}: the store file is not at hand; zones come from the truth only (--store)")
    return None


def _remark_strange_zones(truths: list[Table], store: Store) -> None:
    floors = {floor for truth in truths for floor in dict.fromkeys(truth.get("floor", ()))}
    unknown = floors - {"", *(floor.id for floor in store.floors)}
    if unknown:
        _remark(
            f"the truth names {len(unknown)} floors that the store does not have, for example "
            f"'{min(unknown)}'; no zone is found there"
        )
    told = {zone for truth in truths for zone in dict.fromkeys(truth.get("zone", ()))}
    strange = told - {"", *(zone.id for zone in store.zones if zone.layer == "main")}
    if strange:
        _remark(
            f"the truth names {len(strange)} zones that the store does not have in layer main, "
            f"for example '{min(strange)}'; no answer can be right there"
        )


def _store_id(summary: dict[str, Any]) -> str | None:
    store = summary.get("store")
    found = store.get("id") if isinstance(store, dict) else None
    return found if isinstance(found, str) else None


def _rules(store: Store | None, summary: dict[str, Any], directory: Path) -> Rules:
    rules = store.rules if store else Rules()
    tick_s = summary.get("tick_s", rules.tick_s)
    if isinstance(tick_s, bool) or not isinstance(tick_s, int | float) or not 1e-3 <= tick_s <= 1e5:
        raise ConfigError(
            f"{directory / 'summary.json'}: tick_s: expected seconds above 0, got {tick_s!r}"
        )
    if store and abs(store.rules.tick_s - tick_s) > 1e-9:
        _remark(f"ticks are those of the analysis, {tick_s:g} s, not the {rules.tick_s:g} s of now")
    return dataclasses.replace(rules, tick_s=float(tick_s))


def _as_one_kind(
    tables: list[Table], key_file: Path | None, store: Store | None, summary: dict[str, Any]
) -> set[str]:
    """Turn the tags of all tables into pseudonyms if any of them holds one; return the staff's.

    A pseudonym passes unchanged, so truth and output meet whichever of them is raw.
    """
    staff = set(store.staff_tags) if store else set()
    names = {tag for table in tables for tag in dict.fromkeys(table["tag"].tolist())}
    if not any(map(is_pseudonym, names)) or all(map(is_pseudonym, names | staff)):
        return staff
    if all(map(is_pseudonym, names)) and key_file is None and summary.get("key") == "file":
        _remark("staff_tags are raw and the key is not given (--key-file): staff count as visitors")
        return staff
    key = _key(key_file, store, summary)
    known = {tag: pseudonym(tag, key) for tag in names}
    for table in tables:
        tags = np.empty(len(table["tag"]), dtype=object)
        tags[:] = list(map(known.__getitem__, table["tag"].tolist()))
        table["tag"] = tags
    return {pseudonym(tag, key) for tag in staff}


def _key(key_file: Path | None, store: Store | None, summary: dict[str, Any]) -> bytes:
    if key_file is not None:
        return read_key_file(key_file)
    if summary.get("key") == "file":
        raise ConfigError(
            "--key-file: expected the key file that the analysis used, as of truth and output one "
            "holds raw tags and one pseudonyms, got none"
        )
    store_id = _store_id(summary) or (store.id if store else None)
    if store_id is None:
        raise ConfigError(
            "--store: expected the store file (or --key-file), as of truth and output one holds "
            "raw tags and one pseudonyms, got neither"
        )
    _remark(f"tags become pseudonyms with the store's id '{store_id}' as key (no --key-file)")
    return store_key(store_id)


def _refuse_strangers(
    scores: Scores, positions: Table, truths: list[Table], directory: Path
) -> None:
    """Refuse a truth that has no tick in common with the output, saying why."""
    if not scores.ticks or scores.ticks_met or not len(positions["t_ns"]):
        return
    wanted = {tag for truth in truths for tag in truth["tag"].tolist()} - {""}
    shared = wanted & set(positions["tag"].tolist())
    if not shared:
        raise ConfigError(
            f"{directory}: expected the tags of the truth in the output, found none of "
            f"{len(wanted)}; check that the truth belongs to these readings, and the key "
            "(--key-file, --store)"
        )
    t_ns = np.concatenate([truth["t_ns"] for truth in truths])
    t_ns = t_ns[t_ns >= 0]
    raise ConfigError(
        f"{directory}: expected positions at the times of the truth, found none: the output runs "
        f"{_span(positions['t_ns'])}, the truth {_span(t_ns)}"
    )


def _span(t_ns: NDArray[Any]) -> str:
    first, last = (np.datetime64(int(at), "ns") for at in (t_ns.min(), t_ns.max()))
    return f"from {np.datetime_as_string(first, 's')}Z to {np.datetime_as_string(last, 's')}Z"


def _remark(text: str) -> None:
    print(f"fanous evaluate: {text}", file=sys.stderr)
