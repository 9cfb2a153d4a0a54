"""What the tests of the engine share: a store, a tag, and what was found of its visits."""

from tests.analytics.row_rules import assert_rows_keep_the_rules
from tests.analytics.stores import (
    Rows,
    records,
    seconds,
    shop,
    whole,
)

STORE = shop()
TAG = "p_one"


def visits_of(found) -> list[tuple[float, float]]:
    """Return the start and end of all visits, in seconds."""
    return sorted((seconds(v.start_ns), seconds(v.end_ns)) for v in records(found, "visits"))


def dwells_of(found, layer: str = "main") -> list[tuple[str, float, float]]:
    """Return zone, start and end of the dwells of a layer, in seconds."""
    rows = [d for d in records(found, "dwells") if d.layer == layer]
    return sorted(
        ((d.zone, seconds(d.start_ns), seconds(d.end_ns)) for d in rows), key=lambda d: d[1]
    )


def checked(store, rows: Rows):
    """Analyse rows and hold the result against the rules."""
    found = whole(store, rows)
    assert_rows_keep_the_rules(found, rows, store)
    return found
