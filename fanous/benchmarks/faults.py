"""Faults against the real programs: what was done, what was lost, what was there twice.

Rules of the file: the faults are those of `fanous.faults.catalogue`; here they are chosen,
run one after the other, and shown as a table and as figures. A broken promise makes the
command end with 1; what cannot run here is left out with a sentence, and is an error only
when it was asked for by name. A SIGTERM ends everything that was started, too.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from fanous.benchmarks.figure import Figure, Say
from fanous.faults.catalogue import FAULTS, run_fault
from fanous.faults.outcome import NotHereError, Outcome
from ingest.config import ConfigError, nearest

VIOLATIONS = "violations"
"""Figures of this name must be 0."""
_COLUMNS = (
    *(
        "fault",
        "times",
        "rows",
        "lost",
        "twice",
        "tables",
        "points",
        "drain s",
        "",
        "what was done",
    ),
)


def measure(
    *, quick: bool, say: Say, only: Sequence[str] = (), seed: int = 1
) -> tuple[Figure, ...]:
    """Run the faults and return their figures; the table goes to stderr.

    Parameters
    ----------
    quick : short runs
    say : told what is going on
    only : names of faults; default: all
    seed : of all randomness

    Raises
    ------
    ConfigError
        There is no such fault, or one that was named cannot run here.
    """
    for name in only:
        if name not in FAULTS:
            raise ConfigError(f"unknown fault '{name}'{nearest(name, list(FAULTS))}")
    outcomes: list[Outcome] = []
    with _sigterm_unwinds():
        for name in only or FAULTS:
            say(f"{name} …")
            try:
                outcome = run_fault(name, quick=quick, seed=seed, say=say)
            except NotHereError as error:
                if only:
                    raise ConfigError(f"fault {name}: {error}") from error
                say(f"{name} left out: {error}")
                continue
            outcomes.append(outcome)
            for violation in outcome.violations:
                say(f"{name} BROKEN: {violation}")
    print(as_table(outcomes), file=sys.stderr, flush=True)
    return tuple(figure for outcome in outcomes for figure in _figures(outcome))


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as a table for people.

    Parameters
    ----------
    outcomes : in their order
    """
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for o in outcomes:
        verdict = f"{len(o.violations)} BROKEN" if o.violations else "holds"
        counts = (o.times, o.emitted, o.lost, o.duplicated, o.rows_wrong, o.points_wrong)
        more = "".join(f"; {value:.4g} {unit}" for value, unit in o.more.values())
        rows.append(
            (o.name, *(f"{n:,}" for n in counts), f"{o.drain_s:.1f}", verdict, o.done + more)
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if 0 < at < 8 else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _figures(outcome: Outcome) -> list[Figure]:
    numbers: list[tuple[str, float, str]] = [
        ("times", outcome.times, "times"),
        ("rows", outcome.emitted, "rows"),
        ("lost", outcome.lost, "rows"),
        ("duplicated", outcome.duplicated, "rows"),
        ("tables_wrong", outcome.rows_wrong, "rows"),
        ("points_wrong", outcome.points_wrong, "points"),
        ("drain", outcome.drain_s, "s"),
        *((name, value, unit) for name, (value, unit) in outcome.more.items()),
        (VIOLATIONS, len(outcome.violations), "broken promises"),
    ]
    return [
        Figure(
            name=f"faults.{outcome.name}.{name}",
            value=value,
            unit=unit,
            better="higher" if name in {"times", "rows"} else "lower",
        )
        for name, value, unit in numbers
    ]


@contextlib.contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Let a SIGTERM end this program through its contexts, which end what was started."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
