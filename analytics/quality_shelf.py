"""How well shelf events agree with the true ones: precision, recall, time of the onset.

Rules of the file: an event is right if shelf and sign agree and its onset is within
2.5 s, one to one, nearest first; what follows within 2 s (picks) or 8 s (puts) for the
same product and sign is one event, in the truth too, as a hand that takes two and a
restock of twenty are one act. The rule is that of the shelf generator's scorer, on
which the shelf targets were measured.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.quality_figures import Columns, codes_of, looked_up, rounded, share
from analytics.quality_match import Int, Intervals, match_one_to_one, overlapping_pairs

WITHIN_NS = 2_500_000_000
SIGNS = {"pick": 0, "return": 1, "restock": 1}
MERGE_NS = (2_000_000_000, 8_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfFigures:
    """Final picks, returns and restocks against the true ones."""

    precision: float | None
    recall: float | None
    onset_p95_s: float | None


def shelf_figures(events: Columns | None, truth: Columns | None) -> ShelfFigures | None:
    """Return how well the final shelf events agree with the true ones; None without any.

    Parameters
    ----------
    events
        columns as for `analytics.quality.score`
    truth
        as events

    Returns
    -------
    figures : None without a table or without a true event
    """
    if events is None or truth is None:
        return None
    shelves: dict[Any, int] = {}
    true_group, true_ns = _bursts(truth, np.ones(len(truth["t_ns"]), np.bool_), shelves)
    group, t_ns = _bursts(events, np.asarray(events["status"]) == "final", shelves)
    if not len(true_ns):
        return None
    windows = Intervals(
        group=group,
        start_ns=t_ns - WITHIN_NS - 1,
        end_ns=t_ns + WITHIN_NS + 1,
    )
    at_event, at_true = overlapping_pairs(
        windows, Intervals(group=true_group, start_ns=true_ns, end_ns=true_ns)
    )
    late_ns = np.abs(t_ns[at_event] - true_ns[at_true])
    at_event, at_true = match_one_to_one(at_event, at_true, -late_ns)
    late_s = np.abs(t_ns[at_event] - true_ns[at_true]) / 1e9
    return ShelfFigures(
        precision=share(len(at_event), len(t_ns)),
        recall=share(len(at_true), len(true_ns)),
        onset_p95_s=rounded(np.percentile(late_s, 95)) if len(late_s) else None,
    )


def _bursts(table: Columns, wanted: NDArray[np.bool_], shelves: dict[Any, int]) -> tuple[Int, Int]:
    """Return shelf-and-sign group and first time of each burst of one product and sign."""
    t_ns = np.asarray(table["t_ns"], np.int64)
    sign = looked_up(table["kind"], SIGNS)
    good = wanted & (sign >= 0) & (t_ns >= 0)
    t_ns, sign = t_ns[good], sign[good]
    shelf = codes_of(table["shelf"][good], shelves)
    gtin = codes_of(table["gtin"][good], {})
    order = np.lexsort((t_ns, gtin, sign, shelf))
    t_ns, gtin, group = t_ns[order], gtin[order], (shelf * 2 + sign)[order]
    merged_ns = np.array(MERGE_NS)[group % 2]
    first = np.ones(len(t_ns), np.bool_)
    first[1:] = (
        (group[1:] != group[:-1]) | (gtin[1:] != gtin[:-1]) | (t_ns[1:] - t_ns[:-1] > merged_ns[1:])
    )
    group, t_ns = group[first], t_ns[first]
    by_time = np.lexsort((t_ns, group))
    return group[by_time], t_ns[by_time]
