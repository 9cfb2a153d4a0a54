"""Transitions between zones, counted from the stays in the result store.

Rules of the file: the counting is `analytics.flow.transitions`; here it gets the stays
of a stretch of time, and each visit's last stay before it, so that a movement belongs
to the stretch in which the second stay begins. Complete as they are: views that
people see suppress small cells.
"""

from analytics.flow import transitions
from analytics.rows import Dwell, Transition
from gateway.result_store import COLUMNS, ResultStore

_SQL = f"""
SELECT {", ".join(COLUMNS["dwells"])} FROM dwells
WHERE start_ns < ? AND visit IN (SELECT visit FROM dwells WHERE start_ns >= ? AND start_ns < ?)
ORDER BY start_ns
"""  # noqa: S608 (names of columns only)


def transitions_between(
    results: ResultStore, from_ns: int, to_ns: int, *, layer: str | None = None
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
