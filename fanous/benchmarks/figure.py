"""What a benchmark returns, and how time is taken.

Rules of the file: the best of a few runs is what the code can do, the rest is what else
the machine did; work of one thread is counted in CPU time, so that neighbours matter
less. A peer is something that exists elsewhere, measured in the same run.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number.

    Attributes
    ----------
    name : ``<benchmark>.<what>``
    value : in `unit`
    better : which direction is good
    peer : name to value in the same unit, measured side by side
    """

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    peer: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def best_cpu_s(
    work: Callable[[], object],
    *,
    repeats: int = 3,
    clock_s: Callable[[], float] = time.process_time,
) -> float:
    """Return the shortest time that some work took.

    Parameters
    ----------
    work : done `repeats` times
    repeats : int, > 0
    clock_s : [s] CPU time of this process; wall time where the disk or others count

    Returns
    -------
    seconds : [s], > 0
    """
    spent = []
    for _ in range(repeats):
        began_s = clock_s()
        work()
        spent.append(clock_s() - began_s)
    return max(min(spent), 1e-9)
