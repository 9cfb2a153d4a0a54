"""What a fault is given and what it returns.

Rules of the file: records only. A fault that needs something this machine does not have
raises `NotHereError` with a sentence that names it; a fault that finds a broken promise
returns it as a violation, with its evidence, and never raises for it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Say = Callable[[str], None]


class NotHereError(Exception):
    """Something that the fault needs is missing here; the sentence says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a fault is told.

    Attributes
    ----------
    name : of the fault
    quick : a short run
    seed : of all randomness
    folder : empty, for everything it writes
    say : told what is going on
    """

    name: str
    quick: bool
    seed: int
    folder: Path
    say: Say

    def random(self) -> random.Random:
        """Return the fault's own source of chance."""
        return random.Random(f"{self.name} {self.seed}")  # noqa: S311 - must be repeatable


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one fault did and found.

    Attributes
    ----------
    name : of the fault
    done : what was done, in words
    times : how often
    emitted : rows that agents committed to their outboxes, taps and samples included
    lost : of them not in the gateway's journal and in no ledger
    duplicated : rows that are there more than once
    rows_wrong : rows of the final tables that are missing, or that no undisturbed run has
    points_wrong : the same in InfluxDB
    drain_s : [s] from the end of fault and feed until everything was where it belongs
    violations : broken promises, each a sentence with its evidence
    more : further figures, name to (value, unit)
    """

    name: str
    done: str
    times: int
    emitted: int = 0
    lost: int = 0
    duplicated: int = 0
    rows_wrong: int = 0
    points_wrong: int = 0
    drain_s: float = 0.0
    violations: tuple[str, ...] = ()
    more: dict[str, tuple[float, str]] = field(default_factory=dict)
