"""Make the pictures of `docs/positions.md` from the simulated demo shop, as SVG files.

The same seed and minutes give the same files, byte for byte; what stands in them as figures is
printed too. Nothing is needed but this repository.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from picture_dwell import dwell
from picture_plans import paths, posterior
from picture_receivers import receivers
from picture_reliability import reliability
from picture_shop import Shop

MINUTES = 15.0
SEED = 1
RELIABILITY_SEEDS = 4
RECEIVER_MINUTES = 60.0


def main() -> None:
    """Make the pictures that were asked for."""
    parser = argparse.ArgumentParser(
        description="Make the pictures of docs/positions.md from the simulated demo shop.",
        epilog="example: .venv/bin/python benchmarks/pictures.py --out docs/images/positions paths",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; default: all"
    )
    parser.add_argument("--out", type=Path, required=True, help="directory for the SVG files")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the shop (default {SEED})")
    parser.add_argument("--minutes", type=float, help="of the shop; default: each picture's own")
    parser.add_argument(
        "--body-db", type=float, metavar="DB", help="lost behind a body (default 6, as simulated)"
    )
    args = parser.parse_args()
    wrong = [name for name in args.names if name not in PICTURES]
    if wrong:
        parser.error(f"expected names of {', '.join(PICTURES)}, got '{wrong[0]}'")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or PICTURES:
            began = time.monotonic()
            print(f"{name} ...", file=sys.stderr, flush=True)
            picture, said = PICTURES[name](Path(folder), args.seed, args.minutes, args.body_db)
            path = args.out / f"{name}.svg"
            path.write_text(picture, encoding="utf-8")
            size_kb, took_s = len(picture.encode()) / 1000, time.monotonic() - began
            print(f"{path}: {size_kb:.0f} kB, {took_s:.0f} s", file=sys.stderr, flush=True)
            print(f"{name}: {said}")


def _of_one(draw: Callable[[Shop], tuple[str, str]], minutes: float):
    return lambda folder, seed, given, body_db: draw(Shop(folder, seed, given or minutes, body_db))


def _of_several(
    folder: Path, seed: int, minutes: float | None, body_db: float | None
) -> tuple[str, str]:
    seeds = range(seed, seed + RELIABILITY_SEEDS)
    return reliability([Shop(folder, each, minutes or MINUTES, body_db) for each in seeds])


PICTURES: dict[str, Callable[[Path, int, float | None, float | None], tuple[str, str]]] = {
    "posterior": _of_one(posterior, MINUTES),
    "paths": _of_one(paths, MINUTES),
    "dwell": _of_one(dwell, MINUTES),
    "reliability": _of_several,
    "receivers": _of_one(receivers, RECEIVER_MINUTES),
}

if __name__ == "__main__":
    main()
