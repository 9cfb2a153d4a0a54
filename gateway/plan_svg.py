"""The plan of a store as one self-contained SVG picture, y up, floors side by side.

Rules of the file: it draws what the record says and judges nothing; every text of the
store is escaped and cleaned of characters that XML forbids; nothing is loaded from
outside. SVG 1.1 (W3C 2011), XML 1.0 section 2.2 for the characters.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.geometry import label_point
from analytics.store import Floor, Polygon, Store, Zone

WIDTH_PX = 1000.0
MARGIN_PX = 24.0
HEAD_PX = 34.0
FOOT_PX = 58.0
FLOOR_PX = 640.0
"""Width of a floor where there are several; all floors have one scale."""
FLOOR_HEAD_PX = 16.0
FLOORS_A_ROW = 3

_COLOURS = {
    "entrance": "#cfe8cf",
    "exit": "#f3d3cf",
    "aisle": "#e3ecf7",
    "shelf": "#d7dff2",
    "promo": "#fbe6c4",
    "fitting": "#ead9f2",
    "service": "#d5eeee",
    "checkout": "#f7d9e6",
    "queue": "#f4ecc6",
    "staff": "#e2e2e2",
    "outside": "#f4f4f4",
}
_STYLE = """
text{font-family:system-ui,sans-serif;font-size:11px;fill:#1c2430}
.title{font-size:16px;font-weight:600}
.zone-name{text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:3px}
.small{font-size:9px;fill:#3d4856;paint-order:stroke;stroke:#fff;stroke-width:2px}
.outline{fill:#fff;stroke:#1c2430;stroke-width:2}
.zone{stroke:#6b7a8c;stroke-width:1}
.layer{fill:none;stroke:#8a5a00;stroke-width:1.5;stroke-dasharray:6 4}
.obstacle{fill:#6b7480}
.shelf{fill:#a9743f;stroke:#5c3b1a;stroke-width:1}
.neighbour{stroke:#2f6fb3;stroke-width:1.2;stroke-dasharray:2 3}
.receiver{fill:#d62828;stroke:#fff;stroke-width:1}
.connection{fill:#2f6fb3;fill-opacity:.35;stroke:#2f6fb3;stroke-width:1.5}
.tap-point{fill:#1f7a3d;stroke:#fff;stroke-width:1}
.square{fill-opacity:.55}
.square-name{font-size:8px;text-anchor:middle;fill:#1c2430;fill-opacity:.7}
.bar{stroke:#1c2430;stroke-width:2}
"""
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-�\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """A coloured part of the floor: its box (x0, y0, x1, y1), where its label stands, a tip.

    Without a floor it is drawn on all of them.
    """

    box_m: tuple[float, float, float, float]
    label_m: tuple[float, float]
    colour: str
    label: str
    tip: str
    floor: str | None = None


def draw_plan(store: Store, *, squares: Sequence[Square] = (), note: str = "") -> str:
    """Return the plan of a store as the text of an SVG file.

    Parameters
    ----------
    store
        as read from a store file
    squares
        drawn over zones, under shelves, obstacles and names; neighbours are then left out
    note
        a line in the place of the kinds of zones, which squares would cover

    Returns
    -------
    svg : the text of the file
    """
    panels = [_Panel(store, floor, squares) for floor in store.floors]
    a_row = min(len(panels), FLOORS_A_ROW)
    rows = -(-len(panels) // a_row)
    across_px = panels[0].width_px + MARGIN_PX
    # The legend needs its room even under one narrow floor.
    width_px = max(WIDTH_PX + MARGIN_PX, a_row * across_px) + MARGIN_PX
    head_px = HEAD_PX + (FLOOR_HEAD_PX if len(panels) > 1 else 0)
    height_px = head_px + rows * panels[0].height_px + FOOT_PX
    size = f'width="{width_px:g}" height="{height_px:.1f}"'
    view = f'viewBox="0 0 {width_px:g} {height_px:.1f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} {size} role="img">',
        f"<title>{_escaped(store.name)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect {size} fill="#fff"/>',
        f'<text class="title" x="{MARGIN_PX:g}" y="22">{_escaped(store.name)}</text>',
    ]
    for at, panel in enumerate(panels):
        left_px = MARGIN_PX + at % a_row * across_px
        top_px = head_px + at // a_row * panel.height_px
        parts.append(f'<g transform="translate({left_px:.1f} {top_px:.1f})">')
        if len(panels) > 1:
            parts.append(f'<text y="-4">{_escaped(panel.title)}</text>')
        parts.extend(panel.shapes())
        parts.append("</g>")
    top_px = height_px - FOOT_PX
    parts.append(f'<g transform="translate({MARGIN_PX:g} {top_px:.1f})">')
    parts.extend(_legend(store, panels[0].px_per_m, shaded=bool(squares)))
    if note:
        parts.append(f'<text x="0" y="39">{_escaped(note)}</text>')
    parts += ["</g>", "</svg>", ""]
    return "\n".join(parts)


class _Panel:
    """One floor: knows the scale, and turns metres into pixels with y up."""

    def __init__(self, store: Store, floor: Floor, squares: Sequence[Square]) -> None:
        self.title = f"floor {floor.id}"
        if floor.name not in ("", floor.id):
            self.title += f" ({floor.name})"
        self._floor = floor.id
        self._outline = floor.outline_m or store.outline_m
        self._squares = [square for square in squares if square.floor in (None, floor.id)]
        self._shaded = bool(squares)
        self._store = store
        corners = [*store.outline_m, *(r.position_m[:2] for r in store.receivers)]
        corners += [corner for each in store.floors for corner in each.outline_m or ()]
        corners += [corner for zone in store.zones for corner in zone.polygon_m]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        extent = np.maximum(high - low, 1e-3)
        most_px = WIDTH_PX if len(store.floors) == 1 else FLOOR_PX
        self.px_per_m = float(min(most_px / extent[0], 1.2 * most_px / extent[1]))
        self._left_m, self._top_m = float(low[0]), float(high[1])
        self.width_px = float(extent[0]) * self.px_per_m
        self.height_px = float(extent[1]) * self.px_per_m + MARGIN_PX
        self._zones = [zone for zone in store.zones if zone.floor == floor.id]
        self._middle = {zone.id: label_point(zone.polygon_m) for zone in self._zones}

    def shapes(self) -> Iterator[str]:
        store, floor = self._store, self._floor
        yield self._polygon("outline", self._outline)
        for zone in self._zones:
            if zone.layer == "main":
                colour = "#fff" if self._shaded else _COLOURS.get(zone.kind)
                yield self._polygon("zone", zone.polygon_m, _tip(zone), colour)
        yield from self._shading()
        shelves = [s for s in store.shelves if s.floor == floor and s.rect_m]
        drawn = {_corners(shelf.rect_m) for shelf in shelves if shelf.rect_m}
        for obstacle in store.obstacles:
            if obstacle.floor == floor and obstacle.polygon_m not in drawn:
                yield self._polygon("obstacle", obstacle.polygon_m)
        for shelf in shelves:
            if shelf.rect_m:
                tip = f"shelf {shelf.id}: {len(shelf.sensors)} sensors"
                yield self._polygon("shelf", _corners(shelf.rect_m), tip)
        for zone in self._zones:
            if zone.layer != "main":
                yield self._polygon("layer", zone.polygon_m, _tip(zone))
        yield from self._connections()
        if not self._shaded:
            yield from self._neighbours()
        yield from self._receivers()
        yield from self._names()
        yield from self._tap_points()

    def _shading(self) -> Iterator[str]:
        for square in self._squares:
            polygon = self._polygon("square", _corners(square.box_m), square.tip, square.colour)
            x, y = self._at(square.label_m)
            label = _escaped(square.label)
            yield f'{polygon}<text class="square-name" x="{x}" y="{y}" dy="3">{label}</text>'

    def _connections(self) -> Iterator[str]:
        for connection in self._store.connections:
            for end in connection.ends:
                if end.floor == self._floor:
                    others = ", ".join(name for name in connection.floors if name != end.floor)
                    tip = f"{connection.kind} {connection.id} to floor {others}"
                    polygon = self._polygon("connection", _corners(end.rect_m), tip)
                    x, y = self._at((end.rect_m[0], end.rect_m[3]))
                    name = _escaped(connection.id)
                    yield f'{polygon}<text class="small" x="{x}" y="{y}" dy="-3">{name}</text>'

    def _neighbours(self) -> Iterator[str]:
        pairs = {
            (min(zone.id, other), max(zone.id, other))
            for zone in self._zones
            for other in zone.neighbours
            if other in self._middle
        }
        for one, other in sorted(pairs):
            x0, y0 = self._at(self._middle[one])
            x1, y1 = self._at(self._middle[other])
            yield f'<line class="neighbour" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>'

    def _receivers(self) -> Iterator[str]:
        for receiver in self._store.receivers:
            if receiver.floor != self._floor:
                continue
            x, y = self._at(receiver.position_m[:2])
            place = ", ".join(f"{metres:g}" for metres in receiver.position_m)
            tip = _escaped(f"receiver {receiver.id} at {place} m")
            name = _escaped(receiver.id)
            yield f'<circle class="receiver" cx="{x}" cy="{y}" r="5"><title>{tip}</title></circle>'
            yield f'<text class="small" x="{x}" y="{y}" dx="7" dy="3">{name}</text>'

    def _names(self) -> Iterator[str]:
        for zone in self._zones:
            x, y = self._at(self._middle[zone.id])
            width_px = float(np.ptp([corner[0] for corner in zone.polygon_m])) * self.px_per_m
            size_px = min(13.0, max(6.0, 1.7 * width_px / max(len(zone.name), 1)))
            # Names of other layers go above the middle, where those of layer main are not.
            dy = 4 if zone.layer == "main" else -12
            yield (
                f'<text class="zone-name" style="font-size:{size_px:.1f}px" x="{x}" y="{y}" '
                f'dy="{dy}">{_escaped(zone.name)}</text>'
            )

    def _tap_points(self) -> Iterator[str]:
        """Draw tap points side by side under the name of their zone; they have no place."""
        before: dict[str, int] = {}
        for point in self._store.tap_points:
            if point.zone not in self._middle:
                continue
            at = before[point.zone] = before.get(point.zone, -1) + 1
            x, y = self._at(self._middle[point.zone])
            tip = _escaped(f"tap point {point.id} ({point.role})")
            shift = f"translate({x} {y}) translate(0 {18 + 14 * at})"
            yield (
                f'<path class="tap-point" transform="{shift}" d="M0-6 6 0 0 6-6 0z">'
                f"<title>{tip}</title></path>"
            )
            yield f'<text class="small" transform="{shift}" x="8" y="3">{_escaped(point.id)}</text>'

    def _polygon(
        self, kind: str, polygon_m: Polygon, tip: str = "", colour: str | None = None
    ) -> str:
        points = " ".join(",".join(self._at(corner)) for corner in polygon_m)
        fill = f' fill="{colour}"' if colour else ""
        title = f"<title>{_escaped(tip)}</title>" if tip else ""
        return f'<polygon class="{kind}"{fill} points="{points}">{title}</polygon>'

    def _at(self, point_m: Sequence[float]) -> tuple[str, str]:
        x_px = (point_m[0] - self._left_m) * self.px_per_m
        y_px = (self._top_m - point_m[1]) * self.px_per_m
        return f"{x_px:.1f}", f"{y_px:.1f}"


def _legend(store: Store, px_per_m: float, *, shaded: bool) -> Iterable[str]:
    bar_m = next((m for m in (50, 20, 10, 5, 2, 1) if m * px_per_m <= WIDTH_PX / 4), 0.5)
    yield f'<line class="bar" x1="0" y1="12" x2="{bar_m * px_per_m:.1f}" y2="12"/>'
    yield f'<text x="{bar_m * px_per_m + 6:.1f}" y="16">{bar_m:g} m</text>'
    signs = [f"{len(store.receivers)} receivers: red circles"]
    if store.tap_points:
        signs.append(f"{len(store.tap_points)} tap points: green diamonds (in their zone)")
    if store.shelves:
        signs.append(f"{len(store.shelves)} shelves: brown")
    if store.connections:
        signs.append(f"{len(store.connections)} stairs and lifts: blue")
    signs.append("obstacles: grey")
    if not shaded:
        signs.append("dotted: neighbours")
    yield f'<text x="{WIDTH_PX / 4 + 60:.0f}" y="16">{_escaped(" · ".join(signs))}</text>'
    if shaded:
        return
    x_px = 0
    for kind in dict.fromkeys(zone.kind for zone in store.zones if zone.layer == "main"):
        colour = _COLOURS.get(kind, "#fff")
        yield f'<rect class="zone" x="{x_px}" y="28" width="14" height="14" fill="{colour}"/>'
        yield f'<text x="{x_px + 19}" y="39">{kind}</text>'
        x_px += 85


def _tip(zone: Zone) -> str:
    layer = "" if zone.layer == "main" else f", layer {zone.layer}"
    return f"{zone.id} ({zone.kind}{layer})"


def _corners(rect_m: tuple[float, float, float, float]) -> Polygon:
    x0, y0, x1, y1 = rect_m
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _escaped(text: str) -> str:
    return html.escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))
