"""The picture of errors while receivers fail, and of what is found out about them."""

import numpy as np
from accuracy import SILENT
from picture_shop import STAGES, Rows, Shop
from picture_svg import BAD, FINAL, GOOD, LIVE, MUTED, Canvas, Frame

from ingest.files import read_columns

FAULT_FROM, FAULT_TO = 10, 40
"""Minutes between which the receivers fail."""
WEAK_RECEIVER, WEAKER_DB, LOWEST_DBM = "rx-8", 20.0, -100.0
STEP = 2
"""Minutes whose ticks make one point of the error."""


def receivers(shop: Shop) -> tuple[str, str]:
    """Draw the error over time while receivers fail, and what was found out about them."""
    names = [receiver.id for receiver in shop.store.receivers]
    silent = [names[at] for at in SILENT["a"]]
    start_ns = int(read_columns(shop.recording / "truth.csv", required=("t_ns",))["t_ns"].min())

    def failing(row: dict[str, str]) -> bool:
        minute = (int(row["t_ns"]) - start_ns) / 60e9
        return FAULT_FROM <= minute < FAULT_TO

    def without(rows):
        return [row for row in rows if row["receiver"] not in silent or not failing(row)]

    def weaker(rows):
        found = []
        for row in rows:
            if row["receiver"] == WEAK_RECEIVER and failing(row):
                level = float(row["rssi_dbm"]) - WEAKER_DB
                row = {**row, "rssi_dbm": f"{level:g}"} if level >= LOWEST_DBM else None
            if row:
                found.append(row)
        return found

    cases = (
        ("silent", f"{len(silent)} of {len(names)} receivers fall silent: {', '.join(silent)}",
         without),
        ("weak", f"one receiver hears {WEAKER_DB:g} dB less: {WEAK_RECEIVER}", weaker),
    )  # fmt: skip
    canvas = Canvas("Errors while receivers fail", 980, 670)
    canvas.text(24, 28, "Mean error of all tags while receivers fail", "title")
    canvas.key(24, 52, [("line", LIVE, "live"), ("line", FINAL, "final"),
                        ("dash", MUTED, "the same without a fault"), ("box", "#fbeaea", "fault"),
                        ("line", BAD, "row of receiver_health")])  # fmt: skip
    minutes = float(max(shop.rows("final").end) * shop.tick_ns - start_ns) / 60e9
    said = []
    for at, (name, title, change) in enumerate(cases):
        result = shop.result(name, change)
        frame = Frame(canvas, (64, 130 + 295 * at, 890, 190), (0, np.ceil(minutes)), (0, 2.5))
        canvas.text(24, frame.top - 32, f"{'ab'[at]} · {title}", font_weight="600")
        x0 = frame.x(FAULT_FROM)
        canvas.rect(x0, frame.top, frame.x(FAULT_TO) - x0, frame.height, "#fbeaea")
        frame.axes(range(0, int(minutes) + 1, 10), (0, 0.5, 1, 1.5, 2, 2.5), "minutes",
                   "error [m]")  # fmt: skip
        for stage, colour in zip(STAGES, (LIVE, FINAL), strict=True):
            plain = shop.rows(stage)
            frame.plot(*_by_minute(plain, shop, start_ns), colour, stroke_dasharray="4 3",
                       stroke_opacity=".6")  # fmt: skip
            faulty = shop.rows(stage, result)
            frame.plot(*_by_minute(faulty, shop, start_ns), colour, stroke_width="2.2")
            means = [_mean_in(rows, shop, start_ns) for rows in (plain, faulty)]
            said.append(f"{name} {stage} {means[0]:.2f} -> {means[1]:.2f} m during the fault")
        said.append(f"{name}: {_draw_health(frame, result, start_ns)}")
    return str(canvas), "; ".join(said)


def _by_minute(rows: Rows, shop: Shop, start_ns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each stretch of minutes and the mean error of its ticks."""
    known = ~np.isnan(rows.error_m)
    minute = (rows.end[known] * shop.tick_ns - start_ns - 1) / 60e9
    at = (minute // STEP).astype(np.int64)
    number = np.bincount(at)
    mean = np.bincount(at, rows.error_m[known]) / np.where(number >= 60, number, np.nan)
    return (np.arange(len(mean)) + 0.5) * STEP, mean


def _mean_in(rows: Rows, shop: Shop, start_ns: int) -> float:
    minute = (rows.end * shop.tick_ns - start_ns) / 60e9
    return float(np.nanmean(rows.error_m[(minute > FAULT_FROM) & (minute <= FAULT_TO)]))


def _draw_health(frame: Frame, result, start_ns: int) -> str:
    """Mark the rows of receiver_health; return them as text."""
    path = result / "receiver_health.csv"
    if not path.exists():
        return "no row"
    table = read_columns(path, required=("receiver", "state", "since_ns"))
    minutes = (table["since_ns"] - start_ns) / 60e9
    by_time: dict[float, list[str]] = {}
    for at in np.argsort(minutes, kind="stable").tolist():
        text = f"{table['receiver'][at]} {table['state'][at]}"
        by_time.setdefault(round(float(minutes[at]), 1), []).append(text)
    for place, (minute, texts) in enumerate(by_time.items()):
        x = frame.x(minute)
        colour = GOOD if all(text.endswith(" ok") for text in texts) else BAD
        frame.canvas.line(x, frame.top, x, frame.top + frame.height, colour, stroke_width="1.4")
        frame.canvas.text(x + 4, frame.top + 13 + 14 * (place % 4), ", ".join(texts), "halo",
                          fill=colour, font_size="11")  # fmt: skip
    return ", ".join(f"minute {m:g} {' + '.join(texts)}" for m, texts in by_time.items())
