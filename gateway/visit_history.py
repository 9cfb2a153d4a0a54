"""How often somebody was here before: counted in the store's own database.

Rules of the file: the pseudonym is used to look up and never leaves; what comes out are
numbers, the same whenever they are looked up again for the same visit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analytics.rows import Visit
from gateway.result_tables import Reads

_DAY_NS = 86_400_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Visits of the same tag before one, and days since the last of them ended [d]."""

    earlier_visits: int
    days_since_last: float | None


def histories(results: Reads, visits: Sequence[Visit]) -> dict[str, History]:
    """Return the history of each visit, by its id.

    Parameters
    ----------
    results : the embedded store
    visits : new ones, stored already or not
    """
    of_tag: dict[str, dict[str, Visit]] = {}
    for visit in visits:
        of_tag.setdefault(visit.tag, {})[visit.visit] = visit
    return {visit.visit: _history(results, visit, of_tag[visit.tag]) for visit in visits}


def _history(results: Reads, visit: Visit, new: dict[str, Visit]) -> History:
    """Return the history of one visit; `new` are those of its tag that may not be stored."""
    marks = ", ".join("?" * len(new))
    ((count, last_ns),) = results.query(
        "SELECT count(*), max(end_ns) FROM visits "  # noqa: S608 (question marks only)
        f"WHERE tag = ? AND start_ns < ? AND visit NOT IN ({marks})",
        (visit.tag, visit.start_ns, *new),
    )
    ends = [other.end_ns for other in new.values() if other.start_ns < visit.start_ns]
    earlier_visits = count + len(ends)
    if last_ns is not None:
        ends.append(last_ns)
    return History(
        earlier_visits=earlier_visits,
        days_since_last=round((visit.start_ns - max(ends)) / _DAY_NS, 4) if ends else None,
    )
