"""The figures of contract section 9 once more, in plain Python over lists of rows.

Slow and literal on purpose; `test_quality` compares it with `analytics.quality`. Dwells
of the truth come from the caller, as `test_quality_truth` has a reference of its own.
"""

import math
from statistics import fmean, median

S = 1_000_000_000


def inside(x, y, polygon):
    hit = False
    for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            hit = not hit
    return hit


def truth_at(truth, zones):
    """Return {(tag, T): (x, y, zone)} for whole seconds; truth rows are (t, tag, x, y)."""
    found = {}
    for tag in {row[1] for row in truth}:
        rows = {}
        for t, _, x, y in sorted(row for row in truth if row[1] == tag):
            rows.setdefault(t, (x, y))
        for t in range(-(-min(rows) // S) * S, max(rows) + 1, S):
            before = max(u for u in rows if u <= t)
            after = min(u for u in rows if u >= t)
            if after - before > 2 * S:
                continue
            w = (t - before) / (after - before) if after > before else 0.0
            x, y = (a + w * (b - a) for a, b in zip(rows[before], rows[after], strict=True))
            zone = next((z.id for z in zones if inside(x, y, z.polygon_m)), "")
            found[tag, t] = (x, y, zone)
    return found


def percentile(values, share):
    values = sorted(values)
    at = share * (len(values) - 1)
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (at - low) * (values[high] - values[low])


def position(answers, truth):
    """Answers and truth by (tag, T); an unknown tick is not among the answers."""
    error = [math.dist(answers[key][:2], truth[key][:2]) for key in truth if key in answers]
    return {
        "mean_m": fmean(error) if error else None,
        "median_m": median(error) if error else None,
        "p90_m": percentile(error, 0.9) if error else None,
        "rows": len(error),
        "unknown": 1 - len(error) / len(truth),
    }


def zones(answers, truth):
    zone = {key: answers[key][2] for key in truth if key in answers}
    f1 = []
    for name in {row[2] for row in truth.values()} - {""}:
        tp = sum(zone.get(key) == name and truth[key][2] == name for key in truth)
        fp = sum(zone.get(key) == name and truth[key][2] != name for key in truth)
        fn = sum(zone.get(key) != name and truth[key][2] == name for key in truth)
        f1.append(2 * tp / (2 * tp + fp + fn))
    misplaced = 0
    for name in {*zone.values()} - {""}:
        booked = sum(value == name for value in zone.values())
        misplaced += max(0, booked - sum(row[2] == name for row in truth.values()))
    return {
        "accuracy": sum(zone.get(key) == truth[key][2] for key in truth) / len(truth),
        "macro_f1": fmean(f1) if f1 else None,
        "switches": changes(zone, truth),
        "true_switches": changes({key: row[2] for key, row in truth.items()}, truth),
        "dwell_misplaced": misplaced / len(truth),
    }


def changes(zone, truth):
    count, last = 0, None
    previous = (None, 0)
    for tag, t in sorted(truth):
        if (tag, t - S) != previous:
            last = None
        if (tag, t) in zone:
            count += last is not None and zone[tag, t] != last
            last = zone[tag, t]
        previous = (tag, t)
    return count


def greedy(pairs):
    """Pairs are (merit, a, b); best first, everybody once."""
    chosen = {}
    for _, a, b in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if a not in chosen and b not in chosen.values():
            chosen[a] = b
    return chosen


def covered(truth, silence):
    """Return the stretches (tag, start, end) that the truth covers."""
    found = []
    for tag, t in sorted(truth):
        if found and found[-1][0] == tag and t - S - found[-1][2] <= silence:
            found[-1][2] = t
        else:
            found.append([tag, t - S, t])
    return found


def dwells(rows, truth, true, rules):
    """Rows and true are (tag, zone, start, end)."""
    pieces = []
    for tag, zone, start, end in rows:
        for other, low, high in covered(truth, rules.dwell_gap_s * S):
            a, b = max(start, low), min(end, high)
            whole = (a, b) == (start, end)
            if other == tag and a < b and (whole or b - a >= rules.dwell_min_s * S):
                pieces.append((tag, zone, a, b))
    pieces.sort()
    true = sorted(true)
    pairs = [
        (min(p[3], q[3]) - max(p[2], q[2]), i, j)
        for i, p in enumerate(pieces)
        for j, q in enumerate(true)
        if p[:2] == q[:2] and min(p[3], q[3]) > max(p[2], q[2])
    ]
    chosen = {j: i for i, j in greedy(pairs).items()}
    error = []
    for j, (_, _, start, end) in enumerate(true):
        if end - start >= 10 * S:
            if j in chosen:
                _, _, a, b = pieces[chosen[j]]
                error.append(abs((b - a) - (end - start)) / (end - start))
            else:
                error.append(1.0)
    return {
        "error": fmean(error) if error else None,
        "missed": 1 - len(chosen) / len(true) if true else None,
        "false": 1 - len(chosen) / len(pieces) if pieces else None,
    }


def merged(rows):
    """Rows are (t, shelf, gtin, kind); return sorted (shelf, sign, t)."""
    found, last = [], {}
    for t, shelf, gtin, kind in sorted(rows):
        sign = 0 if kind == "pick" else 1
        key = (shelf, sign, gtin)
        if key not in last or t - last[key] > (2 * S, 8 * S)[sign]:
            found.append((shelf, sign, t))
        last[key] = t
    return sorted(found)


def shelf(events, truth):
    kinds = {"pick", "return", "restock"}
    found = merged(row for row in events if row[3] in kinds)
    true = merged(row for row in truth if row[3] in kinds)
    if not true:
        return None
    pairs = [
        (-abs(a[2] - b[2]), i, j)
        for i, a in enumerate(found)
        for j, b in enumerate(true)
        if a[:2] == b[:2] and abs(a[2] - b[2]) <= 2.5 * S
    ]
    chosen = greedy(pairs)
    late = [abs(found[i][2] - true[j][2]) / S for i, j in chosen.items()]
    return {
        "precision": len(chosen) / len(found) if found else None,
        "recall": len(chosen) / len(true),
        "onset_p95_s": percentile(late, 0.95) if late else None,
    }
