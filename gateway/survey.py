"""Survey a store: learn from measured places, or from traffic, what each receiver hears where."""

import argparse
import json
import sys
from pathlib import Path

from analytics.cells import CellGrid, build_cells
from analytics.radio_map import fit_radio_map
from analytics.store import Store
from gateway import survey_check, survey_learn
from ingest.config import ConfigError
from ingest.measurements import Dropped, read_survey
from ingest.radio_map_file import refuse_radio_map_path, write_radio_map
from ingest.store_file import read_store


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous survey``."""
    parser.epilog = (
        "example: fanous survey fit survey.csv.gz --store store.toml --out radio-map.npz"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    fit = verbs.add_parser(
        "fit", help="fit the radio map of a survey", description="Fit the radio map of a survey."
    )
    fit.epilog = parser.epilog
    fit.add_argument(
        "survey",
        type=Path,
        metavar="SURVEY",
        help="x_m, y_m, z_m, receiver, rssi_dbm, count; floor where there are several",
    )
    fit.add_argument("--store", type=Path, required=True, metavar="F", help="the store file")
    fit.add_argument(
        "--out", type=Path, required=True, metavar="radio-map.npz", help="the file to write"
    )
    fit.add_argument("--force", action="store_true", help="overwrite an existing file")
    fit.add_argument("--json", action="store_true", help="one JSON document to stdout")
    for verb, module, what in (
        ("learn", survey_learn, "learn the radio map from ordinary traffic"),
        ("check", survey_check, "draw who hears what where, and name idle receivers"),
    ):
        description = f"{what[0].upper()}{what[1:]}."
        module.configure(verbs.add_parser(verb, help=what, description=description))


def run(args: argparse.Namespace) -> int:
    """Run ``fanous survey fit``, ``learn`` or ``check``."""
    store = read_store(args.store)
    if args.verb == "fit":
        refuse_radio_map_path(args.out, force=args.force)
    try:
        grid = build_cells(store)
    except ValueError as error:
        raise ConfigError(f"{args.store}: {error}") from error
    if args.verb != "fit" and not (grid.weight >= 1).any():
        raise ConfigError(
            f"{args.store}: expected a floor with room to walk, got obstacles everywhere"
        )
    run_verb = {"fit": _fit, "learn": survey_learn.run, "check": survey_check.run}[args.verb]
    return run_verb(args, store, grid)


def _fit(args: argparse.Namespace, store: Store, grid: CellGrid) -> int:
    dropped = Dropped()
    points = read_survey(args.survey, store, dropped)
    for line in dropped.lines():
        print(f"fanous survey fit: {line}", file=sys.stderr)
    try:
        fitted = fit_radio_map(store, grid, points)
    except ValueError as error:
        raise ConfigError(f"{args.survey}: {error}") from error
    write_radio_map(args.out, points, store, force=args.force)
    rows = [
        {
            "receiver": receiver.id,
            "places": int((points.receiver == at).sum()),
            "readings": int(points.count[points.receiver == at].sum()),
            "p0_dbm": round(float(fitted.p0_dbm[at]), 1),
            "exponent": round(float(fitted.exponent[at]), 2),
        }
        for at, receiver in enumerate(store.receivers)
    ]
    if args.json:
        print(json.dumps({"store": store.id, "out": str(args.out), "receivers": rows}))
        return 0
    print(f"{'receiver':<20}{'places':>8}{'readings':>10}{'P0 [dBm]':>10}{'exponent':>10}")
    for row in rows:
        print(
            f"{row['receiver']:<20}{row['places']:>8}{row['readings']:>10}"
            f"{row['p0_dbm']:>10}{row['exponent']:>10}"
        )
    print(f"written to {args.out}")
    return 0
