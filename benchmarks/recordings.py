"""Accuracy on the real recordings, plain and stressed, as tables.

Every figure comes from `fanous survey fit|learn`, `analyze` and `evaluate`; see
`accuracy.py`. `FANOUS_DATA` names the recordings.

Usage: .venv/bin/python benchmarks/recordings.py [--place tetam|flat] [--seeds N] [--json FILE]
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from accuracy import BINS, SEEDS, STAGES, WALKS, Figures, Found, Place, cases

WIDE = ("live.mean_m", "live.p90_m", "live.macro_f1", "live.dwell_misplaced", "live.switches",
        "live.sure_right", "final.mean_m", "final.p90_m", "final.macro_f1",
        "final.dwell_misplaced", "final.switches", "final.sure_right",
        "dwells.error")  # fmt: skip
HEAD = ("live m", "p90", "F1", "misplaced", "switches", "right if p ≥ .8", "final m", "p90", "F1",
        "misplaced", "switches", "right if p ≥ .8", "dwell error")  # fmt: skip


def text(runs: Sequence[Figures], name: str) -> str:
    """Return the mean over the seeds, and their range where there are several."""
    values = [run[name] for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    number = "{:.0f}" if name.endswith("switches") else "{:.2f}"
    mean = number.format(sum(known) / len(known))
    if name.endswith("switches"):
        mean += f"/{runs[0]['true_switches']:.0f}"
    if len(known) == 1:
        return mean
    return f"{mean} ({number.format(min(known))}–{number.format(max(known))})"


def print_table(place: str, found: dict[str, Found]) -> None:
    """Print the pooled table, then the metres walk by walk."""
    print(f"\n### {place}, all walks together; (lowest–highest of the seeds)")
    print(f"| case | {' | '.join(HEAD)} |")
    print("| --- " * (len(HEAD) + 1) + "|")
    for name, case in found.items():
        print(f"| {name} | {' | '.join(text(case.pooled, column) for column in WIDE)} |")
    walks = next(iter(found.values())).walks
    if len(walks) > 1:
        print(f"\n### {place}, each walk analysed alone: live m · final m")
        print(f"| case | {' | '.join(walks)} | spread live | spread final |")
        print("| --- " * (len(walks) + 3) + "|")
        for name, case in found.items():
            both = [
                f"{text(runs, 'live.mean_m')} · {text(runs, 'final.mean_m')}"
                for runs in case.walks.values()
            ]
            spreads = []
            for stage in STAGES:
                values = [r[f"{stage}.mean_m"] or 0.0 for runs in case.walks.values() for r in runs]
                spreads.append(f"{min(values):.2f}–{max(values):.2f}")
            print(f"| {name} | {' | '.join([*both, *spreads])} |")
    print_bins(place, found["plain"])


def print_bins(place: str, plain: Found) -> None:
    """Print how often a zone was right by what probability it was given."""
    print(f"\n### {place}, plain: ticks by the probability of their zone")
    print("| zone_p | live ticks | mean p | right | final ticks | mean p | right |")
    print("| --- " * 7 + "|")
    each = len(BINS) - 1
    for number in range(each):
        cells = []
        for stage in range(len(STAGES)):
            count, p, right = plain.bins[0][stage * each + number]
            cells += [str(count), f"{p:.2f}" if count else "–", f"{right:.2f}" if count else "–"]
        print(f"| {BINS[number]:.1f}–{min(BINS[number + 1], 1):.1f} | {' | '.join(cells)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Accuracy on the real recordings.")
    parser.add_argument("--place", choices=WALKS, help="default: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of what is by chance")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    args = parser.parse_args()
    results: dict[str, dict[str, Found]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for place in [args.place] if args.place else WALKS:
            here = Place(place, Path(folder))
            results[place] = {
                name: here.measure(case) for name, case in cases(place, args.seeds).items()
            }
            print_table(place, results[place])
    if args.json:
        written = {
            place: {name: asdict(case) for name, case in found.items()}
            for place, found in results.items()
        }
        args.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
