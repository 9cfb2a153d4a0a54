"""Small tables of truth and answers for the tests of `evaluate`'s figures."""

import numpy as np
import pytest

from analytics.store import Rules, Zone

S = 1_000_000_000
ZONES = tuple(
    Zone(id=name, name=name, kind="aisle", polygon_m=((x, 0), (x + 2, 0), (x + 2, 3), (x, 3)))
    for name, x in (("a", 0.0), ("b", 2.0), ("c", 4.0))
)


RULES = Rules(dwell_min_s=2.0, flicker_s=1.0, dwell_gap_s=4.0, visit_min_s=1.0)


def columns(names, rows):
    """Build a table from tuples; texts become object columns."""
    table = {}
    for at, name in enumerate(names.split()):
        values = [row[at] for row in rows]
        if name.endswith("_ns"):
            table[name] = np.array(values, np.int64)
        elif name.endswith(("_m", "_s")):
            table[name] = np.array(values, np.float64)
        else:
            table[name] = np.array(values, dtype=object)
    return table


def truth_table(rows):
    return columns("t_ns tag x_m y_m", rows)


def position_table(rows):
    """Rows of (T, tag, stage, layer, zone, state, x, y)."""
    return columns("t_ns tag stage layer zone zone_state x_m y_m", rows)


def dwell_table(rows):
    """Rows of (tag, zone, start, end) in layer main."""
    return columns(
        "tag layer zone start_ns end_ns dwell_s",
        [(tag, "main", zone, start, end, (end - start) / S) for tag, zone, start, end in rows],
    )


def near(expected):
    return expected if expected is None else pytest.approx(expected, abs=2e-6, nan_ok=False)


# Cases worked by hand. A walk along x at y = 1, half a metre a second: zones a, b, c.
WALK = [(t * S, "p", t / 2, 1.0) for t in range(12)]


def answers(zones="aaaabbbbcccc", stage="final", tag="p"):
    """One row a second; '?' unknown, '.' outside, ' ' no row."""
    rows = []
    for t, zone in enumerate(zones):
        if zone == "?":
            rows.append((t * S, tag, stage, "main", "", "unknown", np.nan, np.nan))
        elif zone != " ":
            known = "outside" if zone == "." else "known"
            rows.append((t * S, tag, stage, "main", zone.strip("."), known, t / 2 + 0.3, 1.4))
    return rows


# Zone a for 20 s, b for 12 s, c for 6 s.
STAY = [(t * S, "p", x, 1.0) for t, x in enumerate([1.0] * 21 + [3.0] * 12 + [5.0] * 6)]
