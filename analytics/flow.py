"""How visitors flow from zone to zone."""

import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from analytics.rows import Dwell, Transition

TRANSITION_GAP_S = 120.0
"""Two stays further apart are not one movement."""


def transitions(dwells: Iterable[Dwell]) -> list[Transition]:
    """Count consecutive stays of one visit, with the seconds between them.

    Parameters
    ----------
    dwells : stays of any visits and layers, in any order

    Returns
    -------
    transitions : sorted by layer, from_zone and to_zone; `median_s` and `p90_s` are the
        seconds from the end of one stay to the start of the next [s]

    Notes
    -----
    Stays in the same zone, or more than two minutes apart, are not a transition.
    """
    ordered = sorted(dwells, key=lambda d: (d.visit, d.layer, d.start_ns, d.zone))
    gaps: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for before, after in itertools.pairwise(ordered):
        if (before.visit, before.layer) != (after.visit, after.layer):
            continue
        gap_s = (after.start_ns - before.end_ns) / 1e9
        if before.zone != after.zone and gap_s <= TRANSITION_GAP_S:
            gaps[before.layer, before.zone, after.zone].append(gap_s)
    return [
        Transition(
            layer=layer,
            from_zone=start,
            to_zone=end,
            count=len(found),
            median_s=round(float(np.median(found)), 3),
            p90_s=round(float(np.quantile(found, 0.9)), 3),
        )
        for (layer, start, end), found in sorted(gaps.items())
    ]
