"""Drawing for `pictures.py`: a canvas, a chart's frame, the plan of a store; SVG 1.1 as text.

Rules of the file: every number is rounded, so the same figures give the same bytes; nothing is
loaded from outside; a background of its own keeps a picture readable on a dark page.
"""

import html
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from analytics.geometry import label_point
from analytics.store import Polygon, Store

INK, MUTED, GRID = "#1c2430", "#56616f", "#dde2e8"
TRUE, LIVE, FINAL, BELIEF = "#1c2430", "#d95f0e", "#1668b8", "#6d3fb0"
GOOD, BAD = "#1f7a3d", "#c22f2f"
ZONES = ("#8fbf8f", "#f0b860", "#d9cf6a", "#e79ab8", "#e58f80",
         "#6fa8dc", "#56b8a6", "#b79ad8", "#a0896f", "#9aa7b5")  # fmt: skip
"""Fills of zones; dark text is readable on all of them."""
_STYLE = f"""
.title{{font-size:15px;font-weight:600}}
.muted{{fill:{MUTED};font-size:11px}}
.halo{{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}}
.zone-name{{font-size:10px;fill:#7b8694;text-anchor:middle}}
"""


class Canvas:
    """Collects shapes."""

    def __init__(self, title: str, width_px: float, height_px: float) -> None:
        size = f'width="{number(width_px)}" height="{number(height_px)}"'
        view = f'viewBox="0 0 {number(width_px)} {number(height_px)}"'
        font = f'font-family="system-ui,sans-serif" font-size="12" fill="{INK}"'
        self._head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {view} {size} {font} role="img">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect {size} rx="6" fill="#fff"/>',
        ]
        self._parts: list[str] = []

    def __str__(self) -> str:
        """Return the text of the file."""
        return "\n".join([*self._head, *self._parts, "</svg>", ""])

    def text(self, x: float, y: float, text: str, kind: str = "", **style: str) -> None:
        """Write a line of text; `style` are attributes, with _ for -."""
        kind = f' class="{kind}"' if kind else ""
        at = f'x="{number(x)}" y="{number(y)}"'
        self._parts.append(f"<text {at}{kind}{_attributes(style)}>{html.escape(text)}</text>")

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str, **style: str) -> None:
        """Draw a straight line."""
        ends = f'x1="{number(x0)}" y1="{number(y0)}" x2="{number(x1)}" y2="{number(y1)}"'
        self._parts.append(f'<line {ends} stroke="{colour}"{_attributes(style)}/>')

    def rect(self, x: float, y: float, w: float, h: float, fill: str, **style: str) -> None:
        """Draw a rectangle."""
        box = f'x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}"'
        self._parts.append(f'<rect {box} fill="{fill}"{_attributes(style)}/>')

    def circle(self, x: float, y: float, r: float, fill: str, **style: str) -> None:
        """Draw a circle."""
        at = f'cx="{number(x)}" cy="{number(y)}" r="{number(r)}"'
        self._parts.append(f'<circle {at} fill="{fill}"{_attributes(style)}/>')

    def polygon(self, points: Iterable[tuple[float, float]], fill: str, **style: str) -> None:
        """Draw a closed shape."""
        listed = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._parts.append(f'<polygon points="{listed}" fill="{fill}"{_attributes(style)}/>')

    def curve(self, x: Sequence[float], y: Sequence[float], colour: str, **style: str) -> None:
        """Draw a line through points; it breaks where one is missing (NaN)."""
        steps, pen = [], "M"
        for px, py in zip(x, y, strict=True):
            if np.isnan(px) or np.isnan(py):
                pen = "M"
                continue
            steps.append(f"{pen}{number(px)} {number(py)}")
            pen = "L"
        style = {"stroke_width": "1.6", "stroke_linejoin": "round"} | style
        shape = f'<path d="{"".join(steps)}" fill="none" stroke="{colour}"'
        self._parts.append(f"{shape}{_attributes(style)}/>")

    def squares(self, boxes: Iterable[tuple[float, float, float]], fill: str, **style: str) -> None:
        """Draw squares (left, top, edge) of one colour as one shape."""
        steps = "".join(
            f"M{number(x)} {number(y)}h{number(e)}v{number(e)}h-{number(e)}z" for x, y, e in boxes
        )
        if steps:
            self._parts.append(f'<path d="{steps}" fill="{fill}"{_attributes(style)}/>')

    def begin(self, **style: str) -> None:
        """Open a group."""
        self._parts.append(f"<g{_attributes(style)}>")

    def end(self) -> None:
        """Close a group."""
        self._parts.append("</g>")

    def key(self, x: float, y: float, entries: Iterable[tuple[str, str, str]]) -> float:
        """Write a legend in one line: (kind, colour, text); kind is line, dash, box or dot."""
        for kind, colour, text in entries:
            if kind in ("line", "dash"):
                dash = {"stroke_dasharray": "4 3"} if kind == "dash" else {}
                self.line(x, y - 4, x + 20, y - 4, colour, stroke_width="2", **dash)
            elif kind == "box":
                self.rect(x + 3, y - 10, 14, 12, colour)
            elif kind == "ring":
                self.circle(x + 10, y - 4, 6, "none", stroke=colour, stroke_width="1.5")
            else:
                self.circle(x + 10, y - 4, 4.5, colour, stroke="#fff")
            self.text(x + 26, y, text)
            x += 26 + 6.6 * len(text) + 18
        return x


class Frame:
    """A chart's box with linear scales, y up."""

    def __init__(
        self,
        canvas: Canvas,
        box: tuple[float, float, float, float],
        x_range: tuple[float, float],
        y_range: tuple[float, float],
    ) -> None:
        self.canvas = canvas
        self.left, self.top, self.width, self.height = box
        self._x0, self._x1 = x_range
        self._y0, self._y1 = y_range

    def x(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.left + (value - self._x0) / (self._x1 - self._x0) * self.width

    def y(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.top + (self._y1 - value) / (self._y1 - self._y0) * self.height

    def axes(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        x_label: str,
        y_label: str,
        y_text: Callable[[float], str] = "{:g}".format,
    ) -> None:
        """Draw grid, numbers and labels."""
        c, bottom = self.canvas, self.top + self.height
        for value in y_ticks:
            y = self.y(value)
            c.line(self.left, y, self.left + self.width, y, GRID)
            c.text(self.left - 6, y + 4, y_text(value), "muted", text_anchor="end")
        for value in x_ticks:
            x = self.x(value)
            c.line(x, bottom, x, bottom + 4, MUTED)
            c.text(x, bottom + 16, f"{value:g}", "muted", text_anchor="middle")
        c.line(self.left, bottom, self.left + self.width, bottom, MUTED)
        if x_label:
            c.text(self.left + self.width, bottom + 31, x_label, "muted", text_anchor="end")
        if y_label:
            c.text(self.left, self.top - 7, y_label, "muted")

    def plot(self, x: Sequence[float], y: Sequence[float], colour: str, **style: str) -> None:
        """Draw a curve; what lies above the frame is cut."""
        high = np.minimum(np.asarray(y, float), self._y1)
        self.canvas.curve([self.x(v) for v in x], [self.y(v) for v in high], colour, **style)


class Plan:
    """The plan of a store's first floor at a place on the canvas."""

    def __init__(self, canvas: Canvas, store: Store, left: float, top: float, width: float) -> None:
        corners = np.array(store.floors[0].outline_m or store.outline_m)
        low, high = corners.min(0), corners.max(0)
        self.canvas, self._store, self._left, self._top = canvas, store, left, top
        self.px_per_m = width / float(high[0] - low[0])
        self.low_m = (float(low[0]), float(low[1]))
        self._high_m = float(high[1])
        self.width, self.height = width, float(high[1] - low[1]) * self.px_per_m

    def at(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Return the pixel of a place."""
        return (
            self._left + (x_m - self.low_m[0]) * self.px_per_m,
            self._top + (self._high_m - y_m) * self.px_per_m,
        )

    def draw(self, *, receivers: bool = True, silent: Sequence[str] = ()) -> None:
        """Draw zones, obstacles, shelves and receivers, lightly."""
        c, store, floor = self.canvas, self._store, self._store.floors[0].id
        self._shape(store.floors[0].outline_m or store.outline_m, "#fbfcfd", stroke=INK)
        for zone in store.zones:
            if zone.layer == "main" and zone.floor == floor:
                self._shape(zone.polygon_m, "none", stroke="#c3cbd5")
        for obstacle in store.obstacles:
            if obstacle.floor == floor:
                self._shape(obstacle.polygon_m, "#e3e6ea")
        for shelf in store.shelves:
            if shelf.floor == floor and shelf.rect_m:
                x0, y0, x1, y1 = shelf.rect_m
                self._shape(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), "#dcc9b3")
        for receiver in store.receivers if receivers else ():
            if receiver.floor == floor:
                colour = BAD if receiver.id in silent else "#aab4c0"
                x, y = self.at(*receiver.position_m[:2])
                c.polygon([(x, y - 4), (x + 4, y + 3), (x - 4, y + 3)], colour)

    def names(self) -> None:
        """Write the names of the zones at their upper edge, out of the way of a path."""
        for zone in self._store.zones:
            if zone.layer == "main" and zone.floor == self._store.floors[0].id:
                x, _ = self.at(*label_point(zone.polygon_m))
                _, y = self.at(0.0, max(corner[1] for corner in zone.polygon_m))
                self.canvas.text(x, y + 11, zone.name, "zone-name halo")

    def path(self, x_m: Sequence[float], y_m: Sequence[float], colour: str, **style: str) -> None:
        """Draw a way."""
        points = [self.at(x, y) for x, y in zip(x_m, y_m, strict=True)]
        self.canvas.curve([p[0] for p in points], [p[1] for p in points], colour, **style)

    def _shape(self, polygon_m: Polygon, fill: str, **style: str) -> None:
        self.canvas.polygon([self.at(*corner[:2]) for corner in polygon_m], fill, **style)


def number(value: float) -> str:
    """Return a number of pixels as short text."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _attributes(style: dict[str, str]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())
