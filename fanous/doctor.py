"""Check this machine and a configuration; every fault comes with its remedy.

Rules of the file: looks and changes nothing; never hangs; a wrong configuration is a check
that failed, because explaining it is the purpose. Exit code 0 when all checks hold, else 1.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import fanous
from edge.check_host import is_virtual_machine, kernel_clock
from edge.findings import Check
from fanous.doctor_checks import (
    check_bluetooth,
    check_clock_of,
    check_machine_disk,
    check_mosquitto,
    check_names,
    check_packages,
    check_python,
)
from fanous.doctor_config import diagnose_config


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fanous doctor``.

    Parameters
    ----------
    parser : of the verb
    """
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="an edge.toml or gateway.toml"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.epilog = "example: fanous doctor -c edge.toml"


def run(args: argparse.Namespace) -> int:
    """Run ``fanous doctor``.

    Parameters
    ----------
    args : parsed

    Returns
    -------
    code : 0 when all checks hold, else 1
    """
    checks = diagnose(args.config)
    ok = all(check.ok for check in checks)
    if args.json:
        print(json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        print(as_text(checks))
    return 0 if ok else 1


def diagnose(config: Path | None) -> list[Check]:
    """Check this machine, and a configuration if there is one.

    Parameters
    ----------
    config : an ``edge.toml`` or ``gateway.toml``
    """
    began = (time.time_ns(), time.monotonic_ns())
    of_config: tuple[Check, ...] = ()
    needed: frozenset[str] = frozenset()
    if config is not None:
        diagnosis = diagnose_config(config)
        of_config = diagnosis.checks
        needed = frozenset({diagnosis.extra} if diagnosis.extra else ())
    checks = [check_python(), *check_packages(needed), check_names(), check_mosquitto()]
    if config is None:
        checks += [check_machine_disk(), check_bluetooth(is_needed=False)]
    ended = (time.time_ns(), time.monotonic_ns())
    files = [Path(fanous.__file__), *([] if config is None else [config])]
    clock = check_clock_of(
        began, ended, files=files, kernel=kernel_clock(), is_virtual=is_virtual_machine()
    )
    return [*checks, clock, *of_config]


def as_text(checks: Sequence[Check]) -> str:
    """Return the checks as aligned lines, with what is wrong explained below each.

    Parameters
    ----------
    checks : in order
    """
    width = max(len(check.name) for check in checks)
    indent = " " * (width + 8)
    lines = []
    for check in checks:
        lines.append(f"{'ok' if check.ok else 'FAULT':<6}{check.name:<{width}}  {check.found}")
        if not check.ok:
            lines += [f"{indent}expected: {check.expected}", f"{indent}remedy:   {check.remedy}"]
    faults = sum(not check.ok for check in checks)
    lines.append(
        f"{faults} of {len(checks)} checks found a fault" if faults
        else f"all checks hold ({len(checks)})"
    )  # fmt: skip
    return "\n".join(lines)
