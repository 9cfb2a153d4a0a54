"""Transitions between zones and what became of visits, counted in the result store.

Rules of the file: the counting is `analytics.flow.transitions`; here it gets the stays
of a stretch of time, and each visit's last stay before it, so that a movement belongs
to the stretch in which the second stay begins. Complete as they are: views that
people see suppress small cells. What became of visits is asked in SQL, because there
may be very many; the definitions are those of `analytics.flow.visit_counts`.
"""

from analytics.flow import ENGAGED_STAYS, LOOKING_S, VisitCounts, transitions
from analytics.rows import Dwell, Transition
from gateway.result_tables import COLUMNS, Reads

_SQL = f"""
SELECT {", ".join(COLUMNS["dwells"])} FROM dwells
WHERE start_ns < ? AND visit IN (SELECT visit FROM dwells WHERE start_ns >= ? AND start_ns < ?)
ORDER BY start_ns
"""  # noqa: S608 (names of columns only)
_VISIT_COUNTS = """
SELECT count(*),
    coalesce(sum(visit_s < ? AND taps = 0 AND picks = 0 AND stays = 0), 0),
    coalesce(sum(taps > 0 OR picks > 0 OR shelf_s > 0 OR stays >= ?), 0)
FROM (
    SELECT visit_s, taps, picks, shelf_s, coalesce(found.stays, 0) AS stays
    FROM visits LEFT JOIN (
        SELECT visit, count(*) AS stays FROM dwells
        WHERE layer = 'main' AND dwell_s >= ? GROUP BY visit) AS found USING (visit))
"""


def transitions_between(
    results: Reads, from_ns: int, to_ns: int, *, layer: str | None = None
) -> list[Transition]:
    """Return the transitions that ended within a stretch of time.

    Parameters
    ----------
    results : the embedded store
    from_ns : [ns] the second stay begins then or later
    to_ns : [ns] the second stay begins before
    layer : only this one; None = all
    """
    stays: list[Dwell] = []
    before: dict[tuple[str, str], Dwell] = {}
    for row in results.query(_SQL, (to_ns, from_ns, to_ns)):
        stay = Dwell(**dict(zip(COLUMNS["dwells"], row, strict=True)))
        if layer not in (None, stay.layer):
            continue
        if stay.start_ns >= from_ns:
            stays.append(stay)
        else:
            before[stay.visit, stay.layer] = stay
    return transitions([*before.values(), *stays])


def stored_visit_counts(results: Reads, *, bounce_s: float) -> VisitCounts:
    """Count the stored visits by what became of them.

    Parameters
    ----------
    results : the embedded store
    bounce_s : [s] of the store's rules
    """
    rules = (bounce_s, ENGAGED_STAYS, LOOKING_S)
    ((total, bounces, engaged),) = results.query(_VISIT_COUNTS, rules)
    return VisitCounts(visits=total, bounces=bounces, engaged_visits=engaged)
