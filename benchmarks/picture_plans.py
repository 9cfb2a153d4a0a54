"""Pictures on the plan: what the filter believes, and a path as it was, live and corrected."""

from itertools import pairwise

import numpy as np
from picture_shop import STAGES, Rows, Shop
from picture_svg import BELIEF, FINAL, LIVE, TRUE, Canvas, Frame, Plan

PAST = "#8d97a3"
LEVELS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Probability of a cell from which on it is drawn darker."""


def posterior(shop: Shop) -> tuple[str, str]:
    """Draw the belief about one tag at four moments."""
    tag = shop.typical_tag()
    beliefs, rows = shop.beliefs(tag), rows_of(shop, "live", tag)
    canvas = Canvas("What the filter believes of one tag at four moments", 980, 870)
    canvas.text(24, 28, "What the filter believes of one tag, live, at four moments", "title")
    entries = [
        ("dot", TRUE, "true place"),
        ("dot", LIVE, "mean (x_m, y_m)"),
        ("ring", LIVE, "sigma_m"),
        ("line", PAST, "true way, 10 s"),
    ]
    x = canvas.key(24, 52, entries)
    canvas.text(x, 52, "probability of a square:")
    for at, level in enumerate(LEVELS[1::2]):
        left = x + 150 + 52 * at
        canvas.rect(left, 42, 14, 12, BELIEF, fill_opacity=_opacity(2 * at + 1))
        canvas.text(left + 18, 52, f"{level:g}", "muted")
    for at, (name, row) in enumerate(moments(rows)):
        left, top = 24 + at % 2 * 476, 106 + at // 2 * 402
        second = int(rows.end[row] - rows.end[0]) + 1
        head = f"{'abcd'[at]} · {name}, second {second}"
        canvas.text(left, top - 23, head, font_weight="600")
        said = f"error {rows.error_m[row]:.1f} m, sigma_m {rows.sigma_m[row]:.1f} m; "
        said += f"zone {rows.zone[row]} with zone_p {rows.zone_p[row]:.2f}"
        canvas.text(left, top - 7, f"{said}, truly {rows.true_zone[row]}", "muted")
        plan = Plan(canvas, shop.store, left, top, 456)
        plan.draw()
        _draw_belief(plan, beliefs.grid, beliefs.live[int(rows.end[row]) - beliefs.first])
        plan.names()
        past = slice(max(0, row - 10), row + 1)
        plan.path(rows.true_x_m[past], rows.true_y_m[past], PAST, stroke_width="2")
        x, y = plan.at(rows.x_m[row], rows.y_m[row])
        canvas.circle(x, y, rows.sigma_m[row] * plan.px_per_m, "none", stroke=LIVE,
                      stroke_width="1.5")  # fmt: skip
        canvas.circle(x, y, 4.5, LIVE, stroke="#fff")
        canvas.circle(*plan.at(rows.true_x_m[row], rows.true_y_m[row]), 4.5, TRUE, stroke="#fff")
    said = f"{tag}, seed {shop.seed}: means of belief and row differ by at most "
    said += f"{largest_difference_m(beliefs, rows):.3f} m"
    return str(canvas), said


def paths(shop: Shop) -> tuple[str, str]:
    """Draw one visit as it was, live and corrected, and the error over time."""
    tag = shop.typical_tag()
    live, final = (rows_of(shop, stage, tag) for stage in STAGES)
    errors = [float(np.nanmean(rows.error_m)) for rows in (live, final)]
    canvas = Canvas("One visit: the true way, the live and the final answer", 980, 800)
    canvas.text(
        24, 28, "One visit: the true way, what was said live, and the final answer", "title"
    )
    entries = [
        ("line", TRUE, "true"),
        ("line", LIVE, f"live, mean error {errors[0]:.2f} m"),
        ("line", FINAL, f"final, mean error {errors[1]:.2f} m"),
    ]
    canvas.key(24, 52, entries)
    halves = np.array_split(np.arange(len(live.end)), 2)
    for at, half in enumerate(halves):
        left = 24 + 476 * at
        first, last = half[0] + 1, half[-1] + 1
        canvas.text(left, 80, f"second {first} to {last}", font_weight="600")
        plan = Plan(canvas, shop.store, left, 90, 456)
        plan.draw()
        plan.names()
        plan.path(live.x_m[half], live.y_m[half], LIVE, stroke_width="1.2", stroke_opacity=".8")
        plan.path(final.x_m[half], final.y_m[half], FINAL, stroke_width="2")
        plan.path(live.true_x_m[half], live.true_y_m[half], TRUE, stroke_width="1.6")
        for row in (half[0], half[-1]):
            x, y = plan.at(live.true_x_m[row], live.true_y_m[row])
            canvas.circle(x, y, 4, TRUE, stroke="#fff")
            below = y + 20 < 90 + plan.height
            text = f"{row + 1} s"
            canvas.text(x, y + (17 if below else -9), text, "halo", text_anchor="middle")
    seconds = live.end - live.end[0] + 1
    most = max(4.0, float(np.ceil(np.nanmax(live.error_m))))
    frame = Frame(canvas, (60, 490, 896, 190), (0, len(seconds)), (0, most))
    frame.axes(range(0, len(seconds) + 1, 30), np.arange(0, most + 1, 2 if most > 5 else 1),
               "seconds since the first reading", "error [m]")  # fmt: skip
    frame.plot(seconds, live.error_m, LIVE)
    frame.plot(seconds, final.error_m, FINAL, stroke_width="2")
    for at, (_, row) in enumerate(moments(live)):
        x = frame.x(seconds[row])
        canvas.line(x, frame.top, x, frame.top + frame.height, "#9aa4b0", stroke_dasharray="2 3")
        canvas.text(x + 3, frame.top + 11, "abcd"[at], "halo", font_weight="600")
    zones = runs_of(live.true_zone)
    canvas.text(24, 736, "true zone", "muted")
    for start, end, zone in zones:
        x0, x1 = frame.x(start), frame.x(end)
        canvas.rect(x0, 742, x1 - x0, 20, "#eef1f5", stroke="#b8c1cc")
        if x1 - x0 > 7 * len(zone):
            canvas.text((x0 + x1) / 2, 756, zone, text_anchor="middle", font_size="11")
    canvas.text(24, 785, "a to d: the moments of the picture of the belief", "muted")
    said = f"{tag}: mean error live {errors[0]:.2f} m, final {errors[1]:.2f} m"
    return str(canvas), "; ".join([said, *(_of_all(shop, stage) for stage in STAGES)])


def moments(rows: Rows) -> list[tuple[str, int]]:
    """Return four moments and their rows: first heard, walking, just turned, standing."""
    x, y = rows.true_x_m, rows.true_y_m
    n = len(x)
    at = np.arange(12, n - 6)
    if not len(at):
        at = np.arange(n)
    before, after = np.maximum(at - 4, 0), np.minimum(at + 4, n - 1)
    came = np.stack([x[at] - x[before], y[at] - y[before]])
    goes = np.stack([x[after] - x[at], y[after] - y[at]])
    ways = np.hypot(*came), np.hypot(*goes)
    least = np.minimum(*ways)
    cos = (came * goes).sum(0) / np.maximum(ways[0] * ways[1], 1e-9)
    walking = int(at[np.nanargmax(np.where(cos > 0.95, least, -1.0))])
    turn = int(at[np.nanargmax(np.where(least > 1.5, -cos, -2.0))])
    length, standing = 0, n - 1
    for start, end, still in runs_of(np.hypot(np.diff(x), np.diff(y)) < 0.1):
        if still and start > 12 and end - start > length:
            length, standing = end - start, (start + end) // 2
    turn = min(turn + 2, n - 1)
    found = [("new tag", 0), ("walking", walking), ("after a turn", turn), ("standing", standing)]
    return sorted(found, key=lambda moment: moment[1])


def largest_difference_m(beliefs, rows: Rows) -> float:
    """Return how far the mean of the drawn belief is from the product's row, at most."""
    mean = beliefs.live[rows.end - beliefs.first] @ np.stack([beliefs.grid.x_m, beliefs.grid.y_m]).T
    return float(np.abs(mean - np.stack([rows.x_m, rows.y_m]).T).max())


def _of_all(shop: Shop, stage: str) -> str:
    """Tell the errors of all tags, now and against where they were a second ago."""
    rows = shop.rows(stage)
    rows = rows.take(np.lexsort((rows.end, rows.tag.astype(str))))
    inside = float(np.mean((rows.error_m <= rows.sigma_m)[~np.isnan(rows.error_m)]))
    follows = (rows.tag[1:] == rows.tag[:-1]) & (np.diff(rows.end) == 1)
    past_m = np.hypot(rows.x_m[1:] - rows.true_x_m[:-1], rows.y_m[1:] - rows.true_y_m[:-1])
    return (
        f"all tags {stage}: {np.nanmean(rows.error_m):.2f} m, from where they were a second ago "
        f"{np.nanmean(past_m[follows]):.2f} m, within sigma_m {inside:.2f}"
    )


def rows_of(shop: Shop, stage: str, tag: str) -> Rows:
    rows = shop.rows(stage)
    mine = rows.take((rows.tag == tag) & ~np.isnan(rows.true_x_m))
    return mine.take(np.argsort(mine.end))


def _draw_belief(plan: Plan, grid, belief: np.ndarray) -> None:
    edge = grid.cell_m * plan.px_per_m
    column = np.floor((grid.x_m - plan.low_m[0]) / grid.cell_m)
    row = np.floor((grid.y_m - plan.low_m[1]) / grid.cell_m)
    level = np.searchsorted(LEVELS, belief, side="right") - 1
    for each in range(len(LEVELS)):
        corners = [
            plan.at(plan.low_m[0] + column[c] * grid.cell_m,
                    plan.low_m[1] + (row[c] + 1) * grid.cell_m)
            for c in np.flatnonzero(level == each).tolist()
        ]  # fmt: skip
        boxes = [(x, y, edge) for x, y in corners]
        plan.canvas.squares(boxes, BELIEF, fill_opacity=_opacity(each))


def _opacity(level: int) -> str:
    return f"{0.07 + 0.1 * level:.2f}"


def runs_of(values: np.ndarray) -> list[tuple[int, int, object]]:
    """Return (first, one after the last, value) of each run of equal values."""
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return [(a, b, values[a]) for a, b in pairwise(edges)]
