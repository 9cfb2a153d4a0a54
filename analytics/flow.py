"""How visitors flow from zone to zone, and what became of their visits."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analytics.rows import Dwell, Transition, Visit

TRANSITION_GAP_S = 120.0
"""Two stays further apart are not one movement."""
LOOKING_S = 15.0
"""A stay as long as this is interest, not passage."""
ENGAGED_STAYS = 2
"""So many of them make an engaged visit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitCounts:
    """How many visits there were, how many came to nothing, how many were engaged.

    Attributes
    ----------
    visits : all
    bounces : shorter than `Rules.bounce_s`, without a stay of `LOOKING_S` and more, without
        a tap and without a pick
    engaged_visits : with shelf time that counts as engagement, a pick, a tap, or
        `ENGAGED_STAYS` stays of `LOOKING_S` and more
    """

    visits: int
    bounces: int
    engaged_visits: int


def visit_counts(
    visits: Iterable[Visit], dwells: Iterable[Dwell], *, bounce_s: float
) -> VisitCounts:
    """Count visits by what became of them.

    Parameters
    ----------
    visits : rows in any order
    dwells : their stays; those of layer `main` count
    bounce_s : float [s], of the store's rules

    Examples
    --------
    >>> visit_counts([], [], bounce_s=120.0)
    VisitCounts(visits=0, bounces=0, engaged_visits=0)
    """
    stays = Counter(d.visit for d in dwells if d.layer == "main" and d.dwell_s >= LOOKING_S)
    total = bounces = engaged = 0
    for visit in visits:
        total += 1
        acted = visit.taps > 0 or visit.picks > 0
        looked = stays[visit.visit]
        bounces += visit.visit_s < bounce_s and not acted and not looked
        engaged += acted or visit.shelf_s > 0 or looked >= ENGAGED_STAYS
    return VisitCounts(visits=total, bounces=bounces, engaged_visits=engaged)


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
