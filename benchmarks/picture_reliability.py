"""The picture of how often a zone is right by the probability it was given."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from accuracy import SURE_P
from accuracy import reliability as reliability_of
from picture_shop import STAGES, Shop
from picture_svg import FINAL, GRID, LIVE, MUTED, Canvas, Frame

BINS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0001)
TARGET = 0.95


def reliability(shops: Sequence[Shop]) -> tuple[str, str]:
    """Draw how often a zone was right by the probability it was given."""
    seeds = ", ".join(str(shop.seed) for shop in shops)
    canvas = Canvas("How often a zone was right, by its probability", 980, 600)
    canvas.text(24, 28, "How often a zone is right, by the probability it was given", "title")
    entries = [
        ("line", LIVE, "live"),
        ("line", FINAL, "final"),
        ("line", GRID, f"single seeds ({seeds})"),
        ("dash", MUTED, "as good as said"),
        ("box", "#dcefe1", "target: 0.8 or more is right in 95 of 100"),
    ]
    canvas.key(24, 52, entries)
    frame = Frame(canvas, (64, 84, 890, 330), (0.2, 1.0), (0.1, 1.0))
    left, top = frame.x(SURE_P), frame.y(1.0)
    canvas.rect(left, top, frame.x(1.0) - left, frame.y(TARGET) - top, "#dcefe1")
    ticks = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    frame.axes(ticks, [0.1, *ticks], "", "share of ticks whose zone is right")
    frame.plot([0.2, 1.0], [0.2, 1.0], MUTED, stroke_dasharray="4 3", stroke_width="1")
    counts = Frame(canvas, (64, 466, 890, 84), (0.2, 1.0), (0, 1))
    said, most = [], 0
    by_stage = {}
    for stage in STAGES:
        pairs = [
            reliability_of(shop.result(), [shop.recording / "truth.csv"], shop.store_file, stage)
            for shop in shops
        ]
        by_stage[stage] = pairs
        every = np.concatenate([p for p, _ in pairs])
        most = max(most, int(np.histogram(every, BINS)[0].max()))
    for at, (stage, colour) in enumerate(zip(STAGES, (LIVE, FINAL), strict=True)):
        pairs = by_stage[stage]
        for zone_p, right in pairs:
            p, share, _ = _binned(zone_p, right)
            frame.plot(p, share, colour, stroke_opacity=".28", stroke_width="1.2")
        zone_p, right = (np.concatenate(part) for part in zip(*pairs, strict=True))
        p, share, number = _binned(zone_p, right)
        frame.plot(p, share, colour, stroke_width="2.4")
        for x, y in zip(p, share, strict=True):
            if not np.isnan(x):
                canvas.circle(frame.x(x), frame.y(y), 4, colour, stroke="#fff")
        for (low, high), count in zip(pairwise(BINS), number, strict=True):
            middle = frame.x((max(low, 0.2) + min(high, 1.0)) / 2)
            height = 84 * count / most
            canvas.rect(middle - 17 + 18 * at, 550 - height, 16, height, colour)
        said.append(_at_target(stage, pairs, zone_p, right))
        x, y = frame.x(1.0) - 8, frame.y(0.24) + 20 * at
        canvas.text(x, y, said[-1], "halo", text_anchor="end", fill=colour)
    counts.axes([], [0, 1], "", "number of ticks (the interval of each point)",
                lambda v: f"{v * most:.0f}")  # fmt: skip
    for low, high in pairwise(BINS):
        middle = frame.x((max(low, 0.2) + min(high, 1.0)) / 2)
        text = f"{low:g}–{min(high, 1):g}"
        canvas.text(middle, 566, text, "muted", text_anchor="middle", font_size="10")
    canvas.text(954, 588, "zone_p", "muted", text_anchor="end")
    return str(canvas), "; ".join([*said, *(_wrong_and_sure(shops, stage) for stage in STAGES)])


def _wrong_and_sure(shops: Sequence[Shop], stage: str) -> str:
    """Tell how many of the sure but wrong ticks are of people who stand, for 3 s in one zone."""
    wrong = standing = 0
    for shop in shops:
        rows = shop.rows(stage)
        rows = rows.take(np.lexsort((rows.end, rows.tag.astype(str))))
        bad = (rows.zone_p >= SURE_P) & (rows.zone != rows.true_zone) & (rows.true_zone != "?")
        still = np.ones(len(bad), bool)
        for back in (-3, -2, -1, 1, 2, 3):
            there = [np.roll(column, back) for column in (rows.true_x_m, rows.true_y_m)]
            moved_m = np.hypot(there[0] - rows.true_x_m, there[1] - rows.true_y_m)
            still &= (moved_m < 0.3) & (np.roll(rows.true_zone, back) == rows.true_zone)
            still &= np.roll(rows.tag, back) == rows.tag
        wrong += int(bad.sum())
        standing += int((bad & still).sum())
    return f"{stage}: {standing / max(wrong, 1):.2f} of the wrong ones of people standing still"


def _binned(zone_p: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean probability, share right (NaN with fewer than 20 ticks) and ticks per bin."""
    at = np.digitize(zone_p, BINS) - 1
    number = np.bincount(at, minlength=len(BINS) - 1)
    some = np.where(number >= 20, number, np.nan)
    return (
        np.bincount(at, zone_p, len(BINS) - 1) / some,
        np.bincount(at, right, len(BINS) - 1) / some,
        number,
    )


def _at_target(stage: str, pairs, zone_p: np.ndarray, right: np.ndarray) -> str:
    """Return the figure for the ticks that claim to be sure."""
    each = [r[p >= SURE_P].mean() if (p >= SURE_P).any() else np.nan for p, r in pairs]
    sure = zone_p >= SURE_P
    return (
        f"{stage}: zone_p ≥ {SURE_P:g} in {sure.mean():.0%} of {len(sure)} ticks, right in "
        f"{right[sure].mean():.3f} ({np.nanmin(each):.3f}–{np.nanmax(each):.3f} by seed); "
        f"all {right.mean():.3f}"
    )
