// Geometry of the plan, without a document: bounds, metres to pixels, places for labels.
//
// The store's frame has y up the plan; the screen has it down. The projection turns it
// here, number by number, and nothing is ever flipped by a transform, so text cannot end
// up mirrored. Sizes of text and marks stay in pixels for a kiosk and for an airport alike.

const MARGIN_PX = { side: 14, top: 12, bottom: 24 }; // below is the scale bar

const SMALL_PX = 330;

const isPoint = (point) =>
  Array.isArray(point) && Number.isFinite(point[0]) && Number.isFinite(point[1]);

// Points that can be drawn, of a polygon that may be missing or broken.
export const pointsOf = (polygon) => (Array.isArray(polygon) ? polygon.filter(isPoint) : []);

export const rectPolygon = (rect) =>
  Array.isArray(rect) && rect.length === 4 && rect.every(Number.isFinite)
    ? [
        [rect[0], rect[1]],
        [rect[2], rect[1]],
        [rect[2], rect[3]],
        [rect[0], rect[3]],
      ]
    : [];

// The box round some points, or null for none; never thinner than a thousandth of its length.
export const boundsOf = (points) => {
  if (points.length === 0) {
    return null;
  }
  const box = { x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity };
  for (const [x_m, y_m] of points) {
    box.x0 = Math.min(box.x0, x_m);
    box.x1 = Math.max(box.x1, x_m);
    box.y0 = Math.min(box.y0, y_m);
    box.y1 = Math.max(box.y1, y_m);
  }
  const longest = Math.max(box.x1 - box.x0, box.y1 - box.y0);
  const least = longest > 0 ? longest / 20 : 4;
  for (const [low, high] of [
    ["x0", "x1"],
    ["y0", "y1"],
  ]) {
    const missing = least - (box[high] - box[low]);
    if (missing > 0) {
      box[low] -= missing / 2;
      box[high] += missing / 2;
    }
  }
  return box;
};

// Everything of a store that has a place, in metres.
export const storePoints = (store) => [
  ...pointsOf(store.outline_m),
  ...(store.zones ?? []).flatMap((zone) => pointsOf(zone.polygon_m)),
  ...(store.shelves ?? []).flatMap((shelf) => rectPolygon(shelf.rect_m)),
  ...(store.receivers ?? []).map((receiver) => receiver.position_m).filter(isPoint),
];

// The projection that shows a box in a picture of some pixels. `unit` is the size of text
// and marks, 1 on a desk and more on a wall; `sign` is the same for drawn signs, which are
// a little smaller in a small picture.
export const fitView = (box, width_px, height_px, unit) => {
  const margin_px = {
    side: MARGIN_PX.side * unit,
    top: MARGIN_PX.top * unit,
    bottom: MARGIN_PX.bottom * unit,
  };
  const scale = Math.max(
    1e-9,
    Math.min(
      (width_px - 2 * margin_px.side) / (box.x1 - box.x0),
      (height_px - margin_px.top - margin_px.bottom) / (box.y1 - box.y0),
    ),
  );
  const left = (width_px - (box.x1 - box.x0) * scale) / 2;
  const spare_px = height_px - margin_px.top - margin_px.bottom - (box.y1 - box.y0) * scale;
  const top = margin_px.top + spare_px / 2;
  return {
    scale,
    unit,
    sign: unit * (Math.min(width_px, height_px) < SMALL_PX ? 0.8 : 1),
    width_px,
    height_px,
    right_px: left + (box.x1 - box.x0) * scale,
    bottom_px: top + (box.y1 - box.y0) * scale,
    x: (x_m) => left + (x_m - box.x0) * scale,
    y: (y_m) => top + (box.y1 - y_m) * scale,
  };
};

export const pathOf = (points, view) =>
  points.length === 0
    ? ""
    : `M${points
        .map(([x_m, y_m]) => `${view.x(x_m).toFixed(1)} ${view.y(y_m).toFixed(1)}`)
        .join("L")}Z`;

export const isInside = (polygon, x_m, y_m) => {
  let inside = false;
  for (let here = 0, before = polygon.length - 1; here < polygon.length; before = here, here += 1) {
    const [xa, ya] = polygon[here];
    const [xb, yb] = polygon[before];
    if (ya > y_m !== yb > y_m && x_m < ((xb - xa) * (y_m - ya)) / (yb - ya) + xa) {
      inside = !inside;
    }
  }
  return inside;
};

// Distance from a point to the nearest edge, with y stretched: a label is wider than high.
const clearance = (polygon, x_m, y_m, stretch) => {
  let least = Infinity;
  for (let here = 0, before = polygon.length - 1; here < polygon.length; before = here, here += 1) {
    const ax = polygon[before][0] - x_m;
    const ay = (polygon[before][1] - y_m) * stretch;
    const bx = polygon[here][0] - x_m;
    const by = (polygon[here][1] - y_m) * stretch;
    const dx = bx - ax;
    const dy = by - ay;
    const length = dx * dx + dy * dy;
    const along = length > 0 ? Math.min(1, Math.max(0, -(ax * dx + ay * dy) / length)) : 0;
    least = Math.min(least, Math.hypot(ax + along * dx, ay + along * dy));
  }
  return least;
};

const LABEL_STRETCH = 1.9;
const LABEL_GRID = 22;

const overlaps = (box, other) =>
  other.x0 < box.x1 && other.x1 > box.x0 && other.y0 < box.y1 && other.y1 > box.y0;

// The roomiest place for a zone's label: inside the zone, away from its edges and from
// what stands in it. A coarse grid suffices; it runs once per store.
// `signs` are small and keep the spot away without taking room from the text.
export const labelSpot = (polygon, things, signs = []) => {
  const box = boundsOf(polygon);
  const blockers = things.filter((thing) => overlaps(box, boundsOf(thing)));
  const middle = [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2];
  let best = { x_m: middle[0], y_m: middle[1], room: -Infinity };
  for (let column = 0; column <= LABEL_GRID; column += 1) {
    for (let row = 0; row <= LABEL_GRID; row += 1) {
      const x_m = box.x0 + ((column + 0.5) / (LABEL_GRID + 1)) * (box.x1 - box.x0);
      const y_m = box.y0 + ((row + 0.5) / (LABEL_GRID + 1)) * (box.y1 - box.y0);
      if (!isInside(polygon, x_m, y_m)) {
        continue;
      }
      let room = clearance(polygon, x_m, y_m, LABEL_STRETCH);
      for (const [sx, sy] of signs) {
        room = Math.min(room, Math.hypot(sx - x_m, (sy - y_m) * LABEL_STRETCH));
      }
      for (const blocker of blockers) {
        room = isInside(blocker, x_m, y_m)
          ? -1
          : Math.min(room, clearance(blocker, x_m, y_m, LABEL_STRETCH));
      }
      room -= 0.02 * Math.hypot(x_m - middle[0], y_m - middle[1]);
      if (room > best.room) {
        best = { x_m, y_m, room };
      }
    }
  }
  return { x_m: best.x_m, y_m: best.y_m, blockers };
};

// How wide [m] a text of some height may be when it is centred on a spot.
export const widthAt = (polygon, blockers, spot, height_m) => {
  let half = Infinity;
  for (const y_m of [spot.y_m - height_m / 2, spot.y_m, spot.y_m + height_m / 2]) {
    if (!isInside(polygon, spot.x_m, y_m) || blockers.some((b) => isInside(b, spot.x_m, y_m))) {
      return 0;
    }
    for (const shape of [polygon, ...blockers]) {
      for (let here = 0, before = shape.length - 1; here < shape.length; before = here, here += 1) {
        const [xa, ya] = shape[before];
        const [xb, yb] = shape[here];
        if (ya > y_m !== yb > y_m) {
          half = Math.min(half, Math.abs(xa + ((y_m - ya) / (yb - ya)) * (xb - xa) - spot.x_m));
        }
      }
    }
  }
  return Number.isFinite(half) ? 2 * half : 0;
};

// A round length for the scale bar, in metres, about as long as asked.
export const roundLength = (length_m) => {
  const power = 10 ** Math.floor(Math.log10(length_m));
  const digit = length_m / power;
  return (digit >= 5 ? 5 : digit >= 2 ? 2 : 1) * power;
};
