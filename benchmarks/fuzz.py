"""Throw a million inputs at every decoder: ``make fuzz`` (``ARGS="--quick mt_sics"``).

Rules of the file: atheris (libFuzzer for Python) takes its process, so each decoder is
fuzzed in a child, one at a time, guided by which lines and branches it reaches. An input
must give measurements or rejections with one of `REASONS`, and a stream the same however
it is cut. Anything else, an exception or a second without an end, is an escape: it is
printed as hex and the exit code is 1. What the inputs are stands in `fuzz_targets.py`.
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

RUNS_FULL, RUNS_QUICK = 1_000_000, 5_000
HANG_S = 10
MEMORY_MB = 1024
FAILED = 77
"""Exit code of a child that found an escape."""


def main():
    """Fuzz the decoders that were named, or all; return the exit code."""
    args = parsed()
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed; `make fuzz` sets it up", file=sys.stderr)
        return 2
    if args.child:
        child(args)
    from benchmarks.fuzz_targets import targets_of
    from firmware_profiles.registry import load_registry

    targets = targets_of(load_registry())
    unknown = [name for name in args.names if name not in targets]
    if unknown:
        print(
            f"fuzz: no decoder {', '.join(unknown)}; known: {', '.join(targets)}", file=sys.stderr
        )
        return 2
    escaped = 0
    for name in args.names or targets:
        found = fuzz(targets[name], args)
        print(line_of(name, found), flush=True)
        escaped += "escape" in found
    print(f"{len(args.names or targets)} decoders, {escaped} with an escape")
    return 1 if escaped else 0


def parsed():
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="DECODER", help="default: all")
    parser.add_argument("--runs", type=int, help=f"inputs for each decoder ({RUNS_FULL})")
    parser.add_argument("--quick", action="store_true", help=f"{RUNS_QUICK} inputs each")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer, above 0 (1)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.runs = args.runs or (RUNS_QUICK if args.quick else RUNS_FULL)
    return args


def fuzz(target, args):
    """Fuzz one decoder in a child process and return what it counted."""
    with tempfile.TemporaryDirectory(prefix="fanous-fuzz-") as folder:
        seeds, out = Path(folder, "seeds"), Path(folder, "found.json")
        seeds.mkdir()
        for number, seed in enumerate(target.seeds):
            (seeds / f"{number:04}").write_bytes(seed)
        command = [sys.executable, "-m", "benchmarks.fuzz", "--child", target.name]
        command += ["--runs", str(args.runs), "--seed", str(args.seed), "--out", str(out)]
        done = subprocess.run(command, cwd=folder_of_project(), capture_output=True, check=False)
        if out.exists():
            return json.loads(out.read_text(encoding="utf-8"))
        culprits = [file.read_bytes().hex() for file in Path(folder).glob("*-*") if file.is_file()]
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = f"the process ended with {done.returncode}: {' | '.join(said[-3:])}"
        return {"escape": why, "input_hex": culprits[0] if culprits else "?"}


def line_of(name, found):
    """Return the line of a decoder."""
    if "escape" in found:
        return f"{name:<26} ESCAPE {found['escape']}\n{'':<26} input {found['input_hex']}"
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in found["rejected"].items())
    return (
        f"{name:<26} {found['inputs']:>9,} inputs  {found['accepted']:>9,} accepted  "
        f"{found['rate']:>7,.0f} /s  rejected: {rejected or 'none'}"
    )


def folder_of_project():
    """Return the folder that has `benchmarks` in it."""
    return Path(__file__).resolve().parents[1]


def child(args):
    """Fuzz a decoder until it had its inputs or something escaped; this never returns."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["firmware_profiles"]):
        from benchmarks.fuzz_targets import targets_of
        from firmware_profiles.decoded import REASONS, Decoded
        from firmware_profiles.registry import load_registry
    target = targets_of(load_registry())[args.child]
    allowed = REASONS - {"broken-profile"}
    rejected = Counter()
    inputs = accepted = 0
    began_s = time.perf_counter()

    def report(found, code):
        Path(args.out).write_text(json.dumps(found), encoding="utf-8")
        os._exit(code)

    def once(data):
        nonlocal inputs, accepted
        try:
            answers = target.run(data)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            report({"escape": text, "input_hex": data.hex()}, FAILED)
        reasons = [one.reason for one in answers if not isinstance(one, Decoded)]
        if not allowed.issuperset(reasons):
            text = f"reasons {sorted(set(reasons) - allowed)}"
            report({"escape": text, "input_hex": data.hex()}, FAILED)
        inputs += 1
        accepted += len(reasons) < len(answers)
        rejected.update(reasons)
        if inputs == args.runs:
            rate = inputs / (time.perf_counter() - began_s)
            counts = dict(rejected.most_common())
            report({"inputs": inputs, "accepted": accepted, "rejected": counts, "rate": rate}, 0)

    folder = Path(args.out).parent
    options = [f"-seed={args.seed}", f"-max_len={target.most_bytes}", f"-timeout={HANG_S}"]
    options += [f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={folder}/", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(folder / "seeds")], once)
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
