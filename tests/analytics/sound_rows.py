"""Runs of bad rows that must be sound: in one portion and in portions of a second."""

import dataclasses

from tests.analytics.row_rules import assert_rows_keep_the_rules
from tests.analytics.stores import (
    SECOND,
    Rows,
    portions,
    tap,
    tour,
    whole,
)

HOUR_S = 3600
IDENTIFIERS = {"dwell", "visit"}


def sound(store, rows):
    """Run rows whole and in portions; check and return the tables."""
    found = whole(store, rows)
    assert_rows_keep_the_rules(found, rows, store)
    live = portions(store, rows, SECOND)
    assert {name: len(found[name]) for name in found} == {name: len(live[name]) for name in live}
    for name, expected in found.items():
        assert expected == live[name], name
    return found


def walk(store):
    """Return the rows of two people who walk about, tap, and are silent for a while."""
    rows = tour(store, "p_a", ("entrance", 20), ("aisle", 15), ("silence", 12), ("queue", 30))
    rows += tour(store, "p_b", ("promo", 40), ("silence", 3), ("checkout", 25), from_s=10.4)
    return rows + (tap(store, "p_b", "info", 30) if store.tap_points else Rows())


def shifted(rows, by_ns):
    """Return rows at another time."""
    return Rows(**{
        field.name: [(row[0] + by_ns, *row[1:]) for row in getattr(rows, field.name)]
        for field in dataclasses.fields(Rows)
    })  # fmt: skip


def thinned(rows, keep):
    """Return rows with the readings that a function keeps."""
    return dataclasses.replace(rows, readings=[row for row in rows.readings if keep(row)])


def nameless(rows):
    """Return rows by time without their identifiers, which are made of the time."""
    kept = [
        {key: value for key, value in dataclasses.asdict(row).items() if key not in IDENTIFIERS}
        for row in rows
    ]
    return sorted(kept, key=lambda row: (row["start_ns"], row.get("layer")))
