"""``fanous survey learn``: refine or make a radio map from ordinary traffic.

Rules of the file: a new map is written only when a map learned from the first four
fifths of the traffic predicts the last fifth better than the map in use; then it is
learned once more from all of it. Otherwise a sentence, exit code 1 and no file.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.cells import CellGrid
from analytics.filter_model import TAP_NATS
from analytics.presence import zone_index
from analytics.radio_learning import (
    HELD_OUT,
    TICKS_LEAST,
    TICKS_MOST,
    Learned,
    Tell,
    apply_learned,
    held_out_nats,
    learn_alone,
    learn_around,
    moved_db,
)
from analytics.radio_map import RadioMap, SurveyPoints, fit_radio_map, radio_map_from_geometry
from analytics.store import Store
from analytics.traffic import Traffic, reduce_traffic, split_by_time, thinned
from analytics.traffic_pass import F32, tap_evidence
from gateway.store_tags import with_pseudonymous_staff
from ingest.config import ConfigError
from ingest.identifiers import store_key
from ingest.measurements import Dropped, Names, read_readings, read_taps
from ingest.radio_map_file import (
    read_radio_map_parts,
    refuse_radio_map_path,
    write_radio_map,
)

RECEIVERS_LEAST = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous survey learn``."""
    parser.epilog = (
        "example: fanous survey learn readings.csv --store store.toml "
        "--radio-map radio-map.npz --out learned.npz"
    )
    parser.add_argument(
        "readings", nargs="+", type=Path, metavar="READINGS", help="t_ns, receiver, tag, rssi_dbm"
    )
    parser.add_argument("--store", type=Path, required=True, metavar="F", help="the store file")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="radio-map.npz", help="the file to write"
    )
    parser.add_argument(
        "--radio-map", type=Path, metavar="F", help="start from this one; wins over [radio] map"
    )
    parser.add_argument("--taps", type=Path, metavar="F", help="t_ns, tap_point, tag")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    parser.add_argument("--json", action="store_true", help="one JSON document to stdout")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """What there is to learn from."""

    store: Store
    grid: CellGrid
    survey: SurveyPoints | None
    anchor: RadioMap | None
    taps: tuple[NDArray[np.int64], NDArray[np.int32], F32] | None

    def learn(self, traffic: Traffic, tell: Tell) -> tuple[Learned, RadioMap]:
        taps = tap_evidence(traffic, *self.taps) if self.taps else None
        if self.anchor is None:
            known = learn_alone(self.store, self.grid, traffic, taps=taps, tell=tell)
        else:
            known = learn_around(self.anchor, self.store, self.grid, traffic, taps=taps, tell=tell)
        return known, apply_learned(self.anchor, self.store, self.grid, known)


def run(args: argparse.Namespace, store: Store, grid: CellGrid) -> int:
    """Run ``fanous survey learn``; return the exit code.

    Parameters
    ----------
    args
        as `configure` describes them
    store, grid
        the store and its cells
    """
    refuse_radio_map_path(args.out, force=args.force)
    if len(store.receivers) < RECEIVERS_LEAST:
        raise ConfigError(
            f"{args.store}: expected at least {RECEIVERS_LEAST} receivers to learn from, "
            f"got {len(store.receivers)}"
        )
    survey, in_use, anchor = _start(args, store, grid)
    traffic, taps = read_traffic(args.readings, store, grid, taps=args.taps, say=_say)
    lesson = _Lesson(store=store, grid=grid, survey=survey, anchor=anchor, taps=taps)
    early, late = split_by_time(traffic, 1 - HELD_OUT)
    if not len(early) or not len(late):
        raise ConfigError(
            f"{args.readings[0]}: expected tracks of {TICKS_LEAST} seconds and more, "
            "got pieces too short to learn from"
        )
    told = _Progress()
    _, candidate = lesson.learn(early, told.part(0.0, 0.42))
    before = held_out_nats(in_use, store, grid, late)
    after = held_out_nats(candidate, store, grid, late)
    better = bool(np.isfinite(after) and after > before)
    rows: list[dict[str, Any]] = []
    if better:
        known, learned_map = lesson.learn(traffic, told.part(0.45, 1.0))
        write_radio_map(args.out, survey, store, learned=known, force=args.force)
        rows = _rows(store, traffic, moved_db(in_use, learned_map, grid, known))
    told.end()
    said = {
        "store": store.id,
        "out": str(args.out) if better else None,
        "accepted": better,
        "anchor": "none" if anchor is None else "survey",
        "tracks": len(traffic),
        "ticks": len(traffic.tick),
        "held_out": {"before_nats": round(before, 4), "after_nats": round(after, 4)},
        "receivers": rows,
    }
    if args.json:
        print(json.dumps(said))
    if not better:
        _say(
            f"not written: the learned map predicts the last fifth of the traffic no better than "
            f"the one in use ({after:.4f} against {before:.4f} nats per level); "
            "keep that one, or learn from more traffic"
        )
        return 1
    if not args.json:
        _print(said, args.out)
    return 0


def _start(
    args: argparse.Namespace, store: Store, grid: CellGrid
) -> tuple[SurveyPoints | None, RadioMap, RadioMap | None]:
    """Return the survey, the map in use, and the survey's own map, which is the anchor."""
    path = args.radio_map or (Path(store.radio_map) if store.radio_map else None)
    if path is None:
        return None, radio_map_from_geometry(store, grid), None
    points, known = read_radio_map_parts(path, store)
    try:
        anchor = None if points is None else fit_radio_map(store, grid, points)
        in_use = anchor if known is None else apply_learned(anchor, store, grid, known)
    except ValueError as error:
        raise ConfigError(f"{path}: does not fit store '{store.id}': {error}") from error
    assert in_use is not None, "a file has a survey or a law"
    return points, in_use, anchor


def read_traffic(
    readings: Sequence[Path],
    store: Store,
    grid: CellGrid,
    *,
    taps: Path | None = None,
    say: Callable[[str], None],
) -> tuple[Traffic, tuple[NDArray[np.int64], NDArray[np.int32], F32] | None]:
    """Read ordinary traffic, without staff, thinned if it is very much.

    Parameters
    ----------
    readings
        files of readings
    store, grid
        the store and its cells
    taps
        a file of taps
    say
        is told what had to be dropped

    Returns
    -------
    traffic, taps : the taps as tick, tag and log likelihood of each cell, None without a file

    Raises
    ------
    ConfigError
        A file cannot be read, or there is too little.
    """
    dropped = Dropped()
    key = store_key(store.id)  # Names stay inside: nothing of them is written.
    names = Names(key=key)
    t_ns, receiver, tag, rssi_dbm = read_readings(readings, store, names, dropped)
    tapped = read_taps(taps, store, names, dropped) if taps else None
    for line in dropped.lines():
        say(line)
    staff = frozenset(with_pseudonymous_staff(store, key).staff_tags)
    watched = np.array([name not in staff for name in names.values], np.bool_)
    keep = watched[tag] if len(tag) else np.ones(0, np.bool_)
    # Ids follow the names, not the file's order: sums then come in the same order.
    rank = np.empty(len(names.values), np.int32)
    rank[np.argsort(np.array(names.values, np.str_))] = np.arange(len(rank))
    traffic = reduce_traffic(
        t_ns[keep], receiver[keep], rank[tag[keep]], rssi_dbm[keep],
        receivers=len(store.receivers), tick_ns=store.rules.tick_ns,
    )  # fmt: skip
    if len(traffic.tick) < TICKS_LEAST:
        raise ConfigError(
            f"{readings[0]}: expected at least {TICKS_LEAST} ticks of tags heard by receivers "
            f"of store '{store.id}', got {len(traffic.tick)}; record more traffic"
        )
    traffic = thinned(traffic, TICKS_MOST)
    if tapped is None:
        return traffic, None
    nats = np.array(
        [
            np.log(np.exp(-TAP_NATS) + grid.zone_share[zone_index(store, point.zone)])
            for point in store.tap_points
        ],
        np.float32,
    ).reshape(len(store.tap_points), len(grid))
    return traffic, (tapped[0] // store.rules.tick_ns, rank[tapped[2]], nats[tapped[1]])


def _rows(store: Store, traffic: Traffic, moved: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [
        {
            "receiver": receiver.id,
            "readings": int(traffic.readings[at]),
            "moved_db": round(float(moved[at]), 1) if np.isfinite(moved[at]) else None,
        }
        for at, receiver in enumerate(store.receivers)
    ]


def _print(said: dict[str, Any], out: Path) -> None:
    print(f"{'receiver':<20}{'readings':>10}{'moved [dB]':>12}")
    for row in said["receivers"]:
        moved = "-" if row["moved_db"] is None else f"{row['moved_db']:+.1f}"
        print(f"{row['receiver']:<20}{row['readings']:>10}{moved:>12}")
    held = said["held_out"]
    print(
        f"{said['tracks']} tracks, {said['ticks']} ticks; the last fifth is predicted with "
        f"{held['after_nats']:.3f} instead of {held['before_nats']:.3f} nats per level"
    )
    print(f"written to {out}")


def _say(text: str) -> None:
    print(f"fanous survey learn: {text}", file=sys.stderr)


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def part(self, start: float, end: float) -> Tell:
        def tell(share: float) -> None:
            if self._shown:
                filled = start + (end - start) * share
                bar = "#" * round(30 * filled)
                print(f"\r[{bar:<30}] {filled:4.0%}", end="", file=sys.stderr, flush=True)

        return tell

    def end(self) -> None:
        if self._shown:
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
