// The floor: outline, zones, obstacles, shelves, receivers, tap points and zone labels.
//
// Drawn anew only when the store or the size of the picture changes; each second only
// attributes and numbers change. Looks are in page.css by class and data-level.

import { draw, setAttribute, setText } from "./dom.js";
import {
  boundsOf,
  isInside,
  labelSpot,
  pathOf,
  pointsOf,
  rectPolygon,
  roundLength,
  widthAt,
} from "./plan.js";
import { levelOf } from "./scale.js";
import { length, number, texts } from "./texts.js";

const LABEL_SIZES = [
  { count: 38, name: 18 },
  { count: 30, name: 15 },
  { count: 24, name: 12.5 },
  { count: 17, name: 11 },
];
const BARE_COUNTS = [20, 15, 11];
const LINE = 1.15; // height of a line of text, per font size
const LEAST_CHARACTERS = 6;
const LARGEST_COUNT_SHARE = 0.08; // of the picture's shorter side
const CHARACTER_SHARE = 0.57; // mean width of a character of the page's font, per font size

// What the drawing needs of a store, worked out once: places that do not depend on pixels.
export const prepareFloor = (store) => {
  const shelves = (store.shelves ?? [])
    .map((shelf) => ({ ...shelf, polygon: rectPolygon(shelf.rect_m) }))
    .filter((shelf) => shelf.polygon.length > 0);
  const obstacles = (store.obstacles ?? []).map(pointsOf).filter((points) => points.length > 2);
  const things = [...shelves.map((shelf) => shelf.polygon), ...obstacles];
  const drawable = (store.zones ?? [])
    .map((zone) => ({ ...zone, polygon: pointsOf(zone.polygon_m) }))
    .filter((zone) => zone.polygon.length > 2)
    .map((zone) => ({ ...zone, isOverlay: (zone.layer ?? "main") !== "main" }));
  const receivers = (store.receivers ?? []).filter(
    ({ position_m: place }) => Number.isFinite(place?.[0]) && Number.isFinite(place?.[1]),
  );
  const signs = receivers.map((receiver) => receiver.position_m);
  const overlays = drawable.filter((zone) => zone.isOverlay).map((zone) => zone.polygon);
  const zones = drawable.map((zone) => ({
    ...zone,
    name: zone.name || zone.id,
    spot: labelSpot(zone.polygon, zone.isOverlay ? things : [...things, ...overlays], signs),
  }));
  const taps = placeTaps(store.tap_points ?? [], zones, things, receivers);
  return { outline: pointsOf(store.outline_m), zones, shelves, obstacles, taps, receivers };
};

// A tap point has a zone and no coordinates: it stands near a corner of its zone, the one
// farthest from the label, and its title says that the exact place is not recorded.
const placeTaps = (taps, zones, things, receivers) => {
  const used = new Map();
  const apart_m = ([ax, ay], [bx, by]) => Math.hypot(ax - bx, ay - by);
  return taps.flatMap((tap) => {
    const zone = zones.find(({ id }) => id === tap.zone);
    if (!zone) {
      return [];
    }
    const { x_m, y_m } = zone.spot;
    const room_m = 0.12 * Math.max(...zone.polygon.map((corner) => apart_m(corner, [x_m, y_m])));
    const corners = zone.polygon
      .map(([cx, cy]) => [cx + 0.22 * (x_m - cx), cy + 0.22 * (y_m - cy)])
      .filter(([cx, cy]) => isInside(zone.polygon, cx, cy))
      .filter(([cx, cy]) => !things.some((thing) => isInside(thing, cx, cy)))
      .filter((corner) => !receivers.some((r) => apart_m(r.position_m, corner) < room_m))
      .sort((a, b) => apart_m(b, [x_m, y_m]) - apart_m(a, [x_m, y_m]));
    const turn = used.get(zone.id) ?? 0;
    used.set(zone.id, turn + 1);
    const place = corners.length > 0 ? corners[turn % corners.length] : [x_m, y_m];
    return [{ ...tap, zoneName: zone.name, place }];
  });
};

// A name on one line or two, each at most `fits` characters; null when it does not go.
const linesFor = (name, fits) => {
  if (name.length <= fits) {
    return [name];
  }
  const words = name.split(/\s+/);
  for (let cut = words.length - 1; cut > 0; cut -= 1) {
    const lines = [words.slice(0, cut).join(" "), words.slice(cut).join(" ")];
    if (lines.every((line) => line.length <= fits)) {
      return lines;
    }
  }
  return null;
};

// The largest way to write count and name into a zone; the count alone if need be.
const chooseLabel = (zone, view) => {
  const room_px = (height_px) =>
    widthAt(zone.polygon, zone.spot.blockers, zone.spot, height_px / view.scale) * view.scale - 6;
  const unit = view.unit;
  const most_px = LARGEST_COUNT_SHARE * Math.min(view.width_px, view.height_px);
  const sizes = LABEL_SIZES.map(({ count, name }) => ({ count: count * unit, name: name * unit }))
    .filter((size, index) => size.count <= most_px || index === LABEL_SIZES.length - 1);
  for (const size of sizes) {
    for (const count of [1, 2]) {
      const fits = room_px(size.count + count * size.name * LINE) / (size.name * CHARACTER_SHARE);
      const lines = linesFor(zone.name, Math.floor(fits));
      if (lines !== null && lines.length <= count) {
        return { size, lines };
      }
    }
  }
  const smallest = sizes.at(-1);
  const fits = room_px(smallest.count + smallest.name * LINE) / (smallest.name * CHARACTER_SHARE);
  if (fits >= LEAST_CHARACTERS) {
    return { size: smallest, lines: [`${zone.name.slice(0, Math.floor(fits) - 1)}…`] };
  }
  const bare = BARE_COUNTS.map((count) => count * unit).find((count) => room_px(count) > count * 1.3);
  return bare === undefined ? null : { size: { count: bare, name: 0 }, lines: [] };
};

const labelOf = (zone, view) => {
  const count = draw("text", { class: "zone-count" });
  const label = draw("g", {
    class: zone.isOverlay ? "zone-label over" : "zone-label",
    transform: `translate(${view.x(zone.spot.x_m).toFixed(1)} ${view.y(zone.spot.y_m).toFixed(1)})`,
  });
  const choice = chooseLabel(zone, view);
  if (choice !== null) {
    const { size, lines } = choice;
    const top_px = -(size.count + lines.length * size.name * LINE) / 2;
    setAttribute(count, "font-size", size.count);
    setAttribute(count, "y", (top_px + size.count * 0.85).toFixed(1));
    const names = lines.map((line, index) =>
      draw(
        "text",
        {
          class: "zone-name",
          y: (top_px + size.count + (index + 0.85) * size.name * LINE).toFixed(1),
          "font-size": size.name,
        },
        line,
      ),
    );
    label.append(count, ...names);
  }
  return { label, count };
};

const drawShelf = (shelf, view) => {
  const box = boundsOf(shelf.polygon);
  const width_px = (box.x1 - box.x0) * view.scale;
  const height_px = (box.y1 - box.y0) * view.scale;
  const products = (shelf.products ?? []).map((product) => product.name || product.gtin).join(", ");
  const isUpright = height_px > width_px;
  const fits =
    Math.min(width_px, height_px) >= 13 * view.unit &&
    Math.max(width_px, height_px) >= (shelf.id.length * 5.8 + 8) * view.unit;
  const x_px = view.x((box.x0 + box.x1) / 2).toFixed(1);
  const y_px = view.y((box.y0 + box.y1) / 2).toFixed(1);
  return draw(
    "g",
    { class: "shelf", "data-shelf": shelf.id },
    draw("title", {}, texts.shelfTitle(shelf.id, products)),
    draw("path", { d: pathOf(shelf.polygon, view) }),
    fits
      ? draw(
          "text",
          { transform: `translate(${x_px} ${y_px})${isUpright ? " rotate(-90)" : ""}`, y: 3.5 * view.unit },
          shelf.id,
        )
      : null,
  );
};

// Signs of fixed size, drawn round (0, 0).
export const receiverSign = () => [
  draw("circle", { class: "receiver-base", r: 7.5 }),
  draw("path", { d: "M0 5V0M-2.6 -2.6a3.7 3.7 0 0 1 5.2 0M-4.6 -4.6a6.5 6.5 0 0 1 9.2 0" }),
];

export const tapSign = () => [
  draw("circle", { class: "ripple", r: 8 }),
  draw("path", { d: "M0 -7.5L7.5 0L0 7.5L-7.5 0Z" }),
];

const placed = ([x_m, y_m], view) =>
  `translate(${view.x(x_m).toFixed(1)} ${view.y(y_m).toFixed(1)}) scale(${view.sign})`;

const drawReceiver = (receiver, view) =>
  draw(
    "g",
    { class: "receiver", transform: placed(receiver.position_m, view) },
    draw("title", {}, texts.receiverTitle(receiver.id, receiver.agent)),
    ...receiverSign(),
  );

const drawTap = (tap, view) =>
  draw(
    "g",
    { class: "tap", "data-tap": tap.id, transform: placed(tap.place, view) },
    draw("title", {}, texts.tapTitle(tap.id, tap.role, tap.zoneName)),
    ...tapSign(),
  );

const drawScaleBar = (view) => {
  const length_m = roundLength((110 * view.unit) / view.scale);
  const width_px = length_m * view.scale;
  const left = view.right_px - width_px;
  const base = view.bottom_px + 18 * view.unit;
  return draw(
    "g",
    { class: "scale-bar" },
    draw("path", { d: `M${left} ${base - 5}v5h${width_px}v-5` }),
    draw("text", { x: left + width_px / 2, y: base - 5 }, length(length_m)),
  );
};

const group = (name, parts) => draw("g", { class: name }, ...parts);

export const createFloor = (svg, labelSvg) => {
  let zoneParts = new Map();

  const redraw = (floor, view) => {
    zoneParts = new Map();
    setAttribute(svg, "viewBox", `0 0 ${view.width_px} ${view.height_px}`);
    const areas = [];
    const overlays = [];
    const labels = [];
    for (const zone of floor.zones) {
      const title = draw("title", {}, zone.name);
      const area = draw(
        "g",
        {
          class: `${zone.isOverlay ? "zone over" : "zone"} kind-${zone.kind}`,
          "data-zone": zone.id,
          "data-level": "unknown",
        },
        title,
        draw("path", { d: pathOf(zone.polygon, view) }),
      );
      const { label, count } = labelOf(zone, view);
      (zone.isOverlay ? overlays : areas).push(area);
      labels.push(label);
      zoneParts.set(zone.id, { area, title, label, count, name: zone.name });
    }
    svg.replaceChildren(
      group("ground", [draw("path", { d: pathOf(floor.outline, view) })]),
      group("zones", areas),
      group("obstacles", [
        draw("path", { d: floor.obstacles.map((points) => pathOf(points, view)).join("") }),
      ]),
      group("shelves", floor.shelves.map((shelf) => drawShelf(shelf, view))),
      group("overlays", overlays),
      group("walls", [draw("path", { d: pathOf(floor.outline, view) })]),
      group("receivers", floor.receivers.map((receiver) => drawReceiver(receiver, view))),
      group("taps", floor.taps.map((tap) => drawTap(tap, view))),
      drawScaleBar(view),
    );
    setAttribute(labelSvg, "viewBox", `0 0 ${view.width_px} ${view.height_px}`);
    labelSvg.replaceChildren(...labels);
  };

  // People per zone; a zone that the gateway gives as null is unknown, not empty.
  const update = (people, bounds) => {
    for (const [id, part] of zoneParts) {
      const count = people(id);
      const level = levelOf(count, bounds);
      setAttribute(part.area, "data-level", level);
      setAttribute(part.label, "data-level", level);
      setAttribute(part.area, "data-people", count ?? "unknown");
      setText(part.count, count === null ? "?" : number(count));
      setText(part.title, count === null ? part.name : texts.inZone(count, part.name));
    }
  };

  // A shelf or tap point at which something just happened glows for a moment.
  const glow = (attribute, id) => {
    for (const node of svg.querySelectorAll(`[${attribute}]`)) {
      if (node.getAttribute(attribute) === id) {
        node.classList.remove("glow");
        node.getBoundingClientRect(); // lets the animation begin again
        node.classList.add("glow");
        setTimeout(() => node.classList.remove("glow"), 2000);
      }
    }
  };

  return {
    redraw,
    update,
    glowShelf: (id) => glow("data-shelf", id),
    glowTap: (id) => glow("data-tap", id),
  };
};
