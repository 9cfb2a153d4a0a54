"""The picture of a visit's zone probabilities, its decided zones and its dwells."""

import numpy as np
from picture_plans import rows_of, runs_of
from picture_shop import STAGES, Rows, Shop
from picture_svg import INK, ZONES, Canvas, Frame

from analytics.quality_match import Intervals, match_one_to_one, overlapping_pairs
from analytics.quality_truth import true_dwells
from ingest.files import read_columns


def dwell(shop: Shop) -> tuple[str, str]:
    """Draw the zone probabilities of one visit, the zones decided, and its dwells."""
    tag = shop.typical_tag()
    beliefs = shop.beliefs(tag)
    live, final = (rows_of(shop, stage, tag) for stage in STAGES)
    at_zone = [shop.store.zones.index(zone) for zone in shop.main_zones]
    mass = beliefs.final[final.end - beliefs.first] @ beliefs.grid.zone_share[at_zone].T
    colours = {zone.id: ZONES[at % len(ZONES)] for at, zone in enumerate(shop.main_zones)}
    canvas = Canvas("Zone probabilities of one visit, and its dwells", 980, 560)
    canvas.text(
        24, 28, "One visit: the probability of each zone, and the dwells made of it", "title"
    )
    entries = [("box", colours[zone.id], zone.id) for zone in shop.main_zones]
    canvas.key(84, 52, entries)
    n = len(final.end)
    frame = Frame(canvas, (84, 84, 876, 200), (0, n), (0, 1))
    edges = np.concatenate([np.zeros((n, 1)), np.cumsum(mass, axis=1)], axis=1)
    xs = [frame.x(second + 0.5) for second in range(n)]
    for at, zone in enumerate(shop.main_zones):
        low, high = edges[:, at], edges[:, at + 1]
        if (high - low).max() > 0.002:
            shape = [*zip(xs, map(frame.y, high), strict=True)]
            shape += reversed([*zip(xs, map(frame.y, low), strict=True)])
            canvas.polygon(shape, colours[zone.id])
    frame.axes(range(0, n + 1, 30), (0, 0.5, 1), "seconds since the first reading",
               "probability, final answer (before it is published as zone_p)")  # fmt: skip
    bands = (("true", final.true_zone), ("final", final.zone), ("live", live.zone))
    for at, (name, zones) in enumerate(bands):
        top = 338 + 30 * at
        canvas.text(74, top + 15, name, text_anchor="end")
        for start, end, zone in runs_of(zones):
            x0, x1 = frame.x(start), frame.x(end)
            canvas.rect(x0, top, x1 - x0, 22, colours.get(zone, "#fff"), stroke="#fff")
            if x1 - x0 > 7 * len(zone):
                canvas.text((x0 + x1) / 2, top + 15, zone, text_anchor="middle", font_size="11")
    _draw_dwells(canvas, frame, shop, final, colours)
    return str(canvas), f"{tag}; {_sigma_check(shop)}"


def _draw_dwells(
    canvas: Canvas, frame: Frame, shop: Shop, final: Rows, colours: dict[str, str]
) -> None:
    table = read_columns(
        shop.result() / "dwells.csv",
        required=("tag", "layer", "zone", "start_ns", "end_ns", "dwell_s", "sigma_s"),
    )
    mine = (table["tag"] == final.tag[0]) & (table["layer"] == "main")
    order = np.flatnonzero(mine)[np.argsort(table["start_ns"][mine])]
    start = int(final.end[0] - 1)
    canvas.text(74, 455, "dwells", text_anchor="end")
    for place, at in enumerate(order.tolist()):
        y = 444 + 34 * (place % 2)
        begin, end = (frame.x(float(table[n][at]) / shop.tick_ns - start)
                      for n in ("start_ns", "end_ns"))  # fmt: skip
        sigma_s = float(table["sigma_s"][at])
        canvas.rect(begin, y, end - begin, 14, colours[table["zone"][at]])
        # sigma_s is that of the length: both ends share it.
        half = sigma_s / np.sqrt(2) * (frame.x(1) - frame.x(0))
        for x in (begin, end):
            canvas.line(x - half, y + 7, x + half, y + 7, INK, stroke_width="1.4")
            for tip in (x - half, x + half):
                canvas.line(tip, y + 4, tip, y + 10, INK, stroke_width="1.4")
        if end - begin > 20:
            text = f"{table['dwell_s'][at]:.0f} ± {sigma_s:.1f}"
            canvas.text((begin + end) / 2, y + 26, text, text_anchor="middle", font_size="10")
    note = "dwell_s ± sigma_s, in seconds; the whiskers give each end its part, sigma_s / √2. "
    note += "Dwells shorter than dwell_min_s are not written."
    canvas.text(84, 540, note, "muted")


def _sigma_check(shop: Shop) -> str:
    """Tell how the errors of all dwells' lengths compare with their sigma_s."""
    ticks, tags = shop.truth
    zones = [zone.id for zone in shop.main_zones]
    true, true_zone = true_dwells(ticks, shop.store.rules)
    table = read_columns(
        shop.result() / "dwells.csv",
        required=("tag", "layer", "zone", "start_ns", "end_ns", "dwell_s", "sigma_s"),
    )
    group = np.array([tags[t] * len(zones) + zones.index(z) if z in zones else -1
                      for t, z in zip(table["tag"], table["zone"], strict=True)])  # fmt: skip
    use = group >= 0
    length_s, sigma_s = table["dwell_s"][use], table["sigma_s"][use]
    found = Intervals(
        group=group[use], start_ns=table["start_ns"][use], end_ns=table["end_ns"][use]
    )
    inside = true_zone >= 0
    theirs = Intervals(
        group=(true.group * len(zones) + true_zone)[inside],
        start_ns=true.start_ns[inside],
        end_ns=true.end_ns[inside],
    )
    theirs = theirs.take(np.lexsort((theirs.start_ns, theirs.group)))
    a, b = overlapping_pairs(found, theirs)
    overlap = np.minimum(found.end_ns[a], theirs.end_ns[b]) - np.maximum(
        found.start_ns[a], theirs.start_ns[b]
    )
    a, b = match_one_to_one(a, b, overlap)
    error_s = length_s[a] - (theirs.end_ns[b] - theirs.start_ns[b]) / 1e9
    inside_1, inside_2 = (float(np.mean(np.abs(error_s) <= k * sigma_s[a])) for k in (1, 2))
    return (
        f"{len(found)} dwells, {len(a)} of {len(theirs)} true ones met; length within 1 sigma_s "
        f"{inside_1:.2f}, within 2 {inside_2:.2f}, median error "
        f"{np.median(np.abs(error_s)):.1f} s, median sigma_s {np.median(sigma_s[a]):.1f} s"
    )
