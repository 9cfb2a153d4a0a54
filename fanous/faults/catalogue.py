"""All faults by name, which of them the quick selection of the tests runs, and one run.

Rules of the file: names are a table of texts, loaded when they are run. A fault gets an
empty folder, which is deleted afterwards unless a promise was broken: then it is the
evidence, and is named. A wait that never ended is a broken promise too.
"""

import importlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from fanous.faults.outcome import Outcome, Say, Task
from fanous.faults.processes import TooLateError

FAULTS: dict[str, str] = {
    "kills": "fanous.faults.kills:kill_at_random",
    "power": "fanous.faults.power:cut_power",
    "full-agent": "fanous.faults.full_disks:fill_agent",
    "full-gateway": "fanous.faults.full_disks:fill_gateway",
    "full-outbox": "fanous.faults.full_disks:overflow_outbox",
    "writes": "fanous.faults.full_disks:fail_writes",
    "partition": "fanous.faults.networks:part_networks",
    "packet-loss": "fanous.faults.networks:lose_packets",
    "bad-line": "fanous.faults.lines:worsen_line",
    "sessions": "fanous.faults.kills:restart_without_sessions",
    "twins": "fanous.faults.messages:twin_clients",
    "copies": "fanous.faults.messages:copy_and_reorder",
    "cut-off": "fanous.faults.messages:cut_off_agent",
    "clocks": "fanous.faults.clocks:jump_clocks",
    "slow-database": "fanous.faults.lines:slow_database",
    "poison": "fanous.faults.messages:poison",
    "soak": "fanous.faults.soak:soak",
}
"""Name to the function that does it: ``fault(task: Task) -> Outcome``."""


def run_fault(name: str, *, quick: bool, seed: int, say: Say) -> Outcome:
    """Run one fault.

    Parameters
    ----------
    name : of `FAULTS`
    quick : a short run
    seed : of all randomness
    say : told what is going on

    Raises
    ------
    NotHereError
        Something that it needs is missing here.
    """
    module, function = FAULTS[name].split(":")
    fault = cast("Callable[[Task], Outcome]", getattr(importlib.import_module(module), function))
    folder = Path(tempfile.mkdtemp(prefix=f"fanous-fault-{name}-"))
    is_evidence = False
    try:
        task = Task(name=name, quick=quick, seed=seed, folder=folder, say=say)
        try:
            outcome = fault(task)
        except (TooLateError, RuntimeError, OSError) as error:  # the other faults go on
            outcome = Outcome(name=name, done="not finished", times=0, violations=(str(error),))
        is_evidence = bool(outcome.violations)
        if is_evidence:
            say(f"what is left of it is in {folder}")
        return outcome
    finally:
        if not is_evidence:
            shutil.rmtree(folder, ignore_errors=True)
