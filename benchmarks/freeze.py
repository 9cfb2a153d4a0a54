"""Write down the accuracy that the tests' gate expects, from now on.

Run it when the core is meant to have these figures, look at what it says has worsened,
and commit the file. Without the recordings (`FANOUS_DATA`) their figures stay as they were.

Usage: .venv/bin/python benchmarks/freeze.py [--out tests/system/accuracy.json] [--dry-run]
"""

import argparse
import json
import tempfile
from pathlib import Path

from accuracy import DATA, WALKS, Figures, Place, cases, flat_figures, measured_shop
from accuracy_gate import worsened

EXPECTED = Path(__file__).parents[1] / "tests" / "system" / "accuracy.json"


def main() -> None:
    """Measure, compare with what stands there, and write."""
    parser = argparse.ArgumentParser(description="Write down the accuracy the gate expects.")
    parser.add_argument("--out", type=Path, default=EXPECTED, metavar="FILE")
    parser.add_argument("--dry-run", action="store_true", help="measure and compare only")
    args = parser.parse_args()
    before: Figures = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        now = measured_shop(folder)
        for place in WALKS if (DATA / "tetam").is_dir() else ():
            here = Place(place, folder)
            for case, what in cases(place).items():
                now |= flat_figures(f"{place} / {case}", here.measure(what))
    kept = {} if (DATA / "tetam").is_dir() else before
    for sentence in worsened({name: before[name] for name in before if name in now}, now):
        print("worse:", sentence)
    if not args.dry_run:
        args.out.write_text(json.dumps(kept | now, indent=1) + "\n", encoding="utf-8")
        print(f"{len(kept | now)} figures written to {args.out}")


if __name__ == "__main__":
    main()
