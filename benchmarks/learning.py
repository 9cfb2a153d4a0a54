"""What learning from traffic gives, on the real walks and on the simulated shop, as a table.

Every figure comes from `fanous survey fit`, `survey learn`, `analyze` and `evaluate`. Each
real walk is judged with a map learned from the other three; the simulated shop with a map
learned from another seed's quarter of an hour. `FANOUS_DATA` names the recordings.

Usage: .venv/bin/python benchmarks/learning.py [--seeds N] [--minutes M]
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

from accuracy import DATA, WALKS, run, write_survey

TETAM = DATA / "tetam"


def pooled(found: list[dict]) -> str:
    """Return the live and final means over all rows, then the means one by one."""
    texts = []
    for stage in ("live", "final"):
        places = [each["position"][stage] for each in found]
        rows = sum(place["rows"] for place in places)
        mean_m = sum(place["mean_m"] * place["rows"] for place in places) / rows
        each = " ".join(f"{place['mean_m']:.2f}" for place in places)
        texts.append(f"{mean_m:.2f} | {each}")
    return " | ".join(texts)


def walks(folder: Path) -> None:
    """Print the lines of the real walks."""
    store = str(TETAM / "store.toml")
    survey = folder / "survey.npz"
    run("survey", "fit", str(TETAM / "survey_set_1.csv.gz"), "--store", store,
        "--out", str(survey))  # fmt: skip
    kinds = {
        "geometry alone": [],
        "survey": [],
        "survey and the other walks": [],
        "the other walks alone": [],
    }
    for walk in WALKS["tetam"]:
        others = [str(TETAM / f"{other}.readings.csv") for other in WALKS["tetam"] if other != walk]
        learn = ["survey", "learn", *others, "--store", store]
        both, alone = folder / f"{walk}-both.npz", folder / f"{walk}-alone.npz"
        run(*learn, "--radio-map", str(survey), "--out", str(both))
        run(*learn, "--out", str(alone))
        for kind, radio_map in zip(kinds, (None, survey, both, alone), strict=True):
            readings, truth = TETAM / f"{walk}.readings.csv", TETAM / f"{walk}.truth.csv"
            kinds[kind].append(judge(readings, truth, Path(store), radio_map))
    for kind, found in kinds.items():
        print(f"| tetam: {kind} | {pooled(found)} |", flush=True)


def shop(folder: Path, seeds: int, minutes: int) -> None:
    """Print the lines of the simulated shop: learned from one seed, judged on the next."""
    recordings = []
    for seed in range(1, seeds + 2):
        out = folder / f"demo-{seed}"
        run("simulate", "demo", "--seed", str(seed), "--minutes", str(minutes), "--out", str(out))
        recordings.append(out)
    store_file = recordings[0] / "store.toml"
    survey = folder / "demo-survey.csv"
    write_survey(store_file, survey)
    radio_map = folder / "demo-survey.npz"
    run("survey", "fit", str(survey), "--store", str(store_file), "--out", str(radio_map))
    kinds: dict[str, list[dict]] = {}
    for seed, (seen, judged) in enumerate(itertools.pairwise(recordings)):
        learn = ["survey", "learn", str(seen / "readings.csv"), "--store", str(store_file)]
        alone, tapped = folder / f"demo-{seed}.npz", folder / f"demo-{seed}-taps.npz"
        run(*learn, "--out", str(alone))
        run(*learn, "--out", str(tapped), "--taps", str(seen / "taps.csv"))
        maps = {
            "geometry alone": None,
            "traffic alone": alone,
            "traffic and taps": tapped,
            "survey": radio_map,
        }
        for kind, chosen in maps.items():
            kinds.setdefault(kind, []).append(
                judge(judged / "readings.csv", judged / "truth.csv", store_file, chosen)
            )
    for kind, found in kinds.items():
        print(f"| simulated shop: {kind} | {pooled(found)} |", flush=True)


def judge(readings: Path, truth: Path, store_file: Path, radio_map: Path | None) -> dict:
    """Analyse a recording with a map and evaluate it."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out")
        options = ["--radio-map", str(radio_map)] if radio_map else []
        run("analyze", str(readings), "--store", str(store_file), *options, "--out", out)
        return json.loads(
            run("evaluate", out, "--truth", str(truth), "--store", str(store_file), "--json")
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What learning from traffic gives.")
    parser.add_argument("--seeds", type=int, default=3, help="of the simulated shop")
    parser.add_argument("--minutes", type=int, default=15, help="of each seed")
    args = parser.parse_args()
    print("| map | live m | one by one | final m | one by one |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        walks(Path(folder))
        shop(Path(folder), args.seeds, args.minutes)


if __name__ == "__main__":
    main()
