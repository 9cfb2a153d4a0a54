// Moving visitors: a mark, a circle of uncertainty and a fading trail each.
//
// Messages come once a second; between two of them a mark glides in a straight line from
// where it is to where it now is said to be, taking as long as messages lately took. So
// the picture is late by one message and never runs ahead of what is known. With
// prefers-reduced-motion marks jump and nothing glides. Marks are SVG; trails go to a
// canvas, in few strokes, so that five hundred visitors stay smooth.

import { draw, setAttribute, setText } from "./dom.js";
import { drawMark, markOf, shortName } from "./marks.js";
import { length, percent, texts } from "./texts.js";

const COLOUR_COUNT = 4;
const TRAIL_BANDS = 6;
const TRAIL_MESSAGES = 9;
const SHORTEST_TRAIL = 2;
const FADE_MS = 500;
const FRAME_MS = 30;
const MANY = 60;
const CROWD = 150;
const CROWD_FRAME_MS = 60;
const EDGE_PX = 8;

const isPlaced = (tag) => Number.isFinite(tag.x_m) && Number.isFinite(tag.y_m);

export const createTags = ({ svg, canvas, zoneName, onCrowd, reducedMotion }) => {
  const shown = new Map();
  const layer = draw("g", { class: "tags" });
  svg.append(layer);
  let view = null;
  let radius = 11;
  let trail_ms = 8000;
  let lastFrame_ms = 0;
  let colours = [];
  let requested = 0;

  const readColours = () => {
    const style = getComputedStyle(canvas);
    colours = Array.from({ length: COLOUR_COUNT }, (_, index) =>
      style.getPropertyValue(`--mark-${index}`).trim(),
    );
  };

  const radiusFor = (count) => {
    return (count <= MANY ? 11 : count <= CROWD ? 6.5 : 4) * (view?.sign ?? 1);
  };

  // Store time that runs fast makes long ways, and many visitors make many: then a trail
  // spans fewer messages, so that it stays a hint of direction.
  const trailMessages = (count, speed) => {
    const most = count <= MANY ? TRAIL_MESSAGES : count <= CROWD ? 4 : SHORTEST_TRAIL;
    return Math.max(SHORTEST_TRAIL, Math.round(most / Math.max(1, speed) ** 0.7));
  };

  const rescale = (count = shown.size) => {
    const wanted = radiusFor(count);
    if (wanted !== radius) {
      radius = wanted;
      for (const part of shown.values()) {
        part.node.lastChild.replaceWith(drawMark(part.mark, radius));
      }
    }
  };

  const create = (tag) => {
    const mark = markOf(tag.tag);
    const ring = draw("circle", { class: "ring", r: 0 });
    const title = draw("title");
    const node = draw(
      "g",
      { class: `tag colour-${mark.colour}`, "data-tag": mark.short },
      title,
      ring,
      drawMark(mark, radius),
    );
    layer.append(node);
    return { mark, node, ring, title, past: [], leaves_ms: null };
  };

  const describe = (part, tag) => {
    const zone = tag.zone ? zoneName(tag.zone) : texts.unknownPlace;
    const share = tag.zone && Number.isFinite(tag.zone_p) ? percent(tag.zone_p) : null;
    const within = Number.isFinite(tag.sigma_m) ? texts.tagUncertainty(length(tag.sigma_m)) : "";
    setText(part.title, texts.tagTitle(shortName(tag.tag), zone, share) + within);
  };

  const placeAt = (part, now_ms) => {
    const share = Math.min(1, Math.max(0, (now_ms - part.start_ms) / part.glide_ms));
    return [
      part.from[0] + (part.to[0] - part.from[0]) * share,
      part.from[1] + (part.to[1] - part.from[1]) * share,
    ];
  };

  // Take one message's tags; gives how many have no place and how many lie beyond the plan.
  const update = (tags, now_ms, pace) => {
    const interval_ms = pace.interval_ms();
    rescale(tags.length);
    trail_ms = trailMessages(tags.length, pace.factor()) * interval_ms;
    onCrowd(tags.length > MANY);
    const present = new Set();
    let unplaced = 0;
    for (const tag of tags) {
      if (!isPlaced(tag)) {
        unplaced += 1;
        continue;
      }
      present.add(tag.tag);
      const isNew = !shown.has(tag.tag);
      const part = isNew ? create(tag) : shown.get(tag.tag);
      const to = [tag.x_m, tag.y_m];
      const from = isNew ? to : placeAt(part, now_ms);
      if (!isNew) {
        part.past.push({ place: from, at_ms: now_ms });
        while (part.past.length > TRAIL_MESSAGES) {
          part.past.shift();
        }
      }
      Object.assign(part, {
        from: reducedMotion.matches ? to : from,
        to,
        start_ms: now_ms,
        glide_ms: Math.max(1, interval_ms),
        sigma_m: Number.isFinite(tag.sigma_m) ? tag.sigma_m : 0,
        leaves_ms: null,
      });
      part.node.classList.toggle("unsure", !tag.zone);
      part.node.classList.remove("leaving");
      describe(part, tag);
      shown.set(tag.tag, part);
    }
    for (const [name, part] of shown) {
      if (!present.has(name) && part.leaves_ms === null) {
        part.leaves_ms = now_ms + FADE_MS;
        part.node.classList.add("leaving");
      }
    }
    removeLeft(now_ms);
    resizeRings();
    request();
    return { unplaced, beyond: view ? countBeyond() : 0 };
  };

  // Also called for each message, because a hidden tab draws no frames.
  const removeLeft = (now_ms) => {
    for (const [name, part] of shown) {
      if (part.leaves_ms !== null && now_ms > part.leaves_ms) {
        part.node.remove();
        shown.delete(name);
      }
    }
  };

  const isBeyond = ([x_m, y_m]) => {
    const x_px = view.x(x_m);
    const y_px = view.y(y_m);
    return x_px < 0 || y_px < 0 || x_px > view.width_px || y_px > view.height_px;
  };

  const countBeyond = () =>
    [...shown.values()].filter((part) => part.leaves_ms === null && isBeyond(part.to)).length;

  const resizeRings = () => {
    if (view) {
      const largest_px = 0.3 * Math.min(view.width_px, view.height_px);
      for (const part of shown.values()) {
        setAttribute(part.ring, "r", Math.min(part.sigma_m * view.scale, largest_px).toFixed(1));
      }
    }
  };

  const keepWithin = (value_px, size_px) => Math.min(size_px - EDGE_PX, Math.max(EDGE_PX, value_px));

  const drawFrame = (now_ms) => {
    if (!view) {
      return;
    }
    removeLeft(now_ms);
    for (const part of shown.values()) {
      const [x_m, y_m] = placeAt(part, now_ms);
      part.x_px = keepWithin(view.x(x_m), view.width_px);
      part.y_px = keepWithin(view.y(y_m), view.height_px);
      part.node.setAttribute(
        "transform",
        `translate(${part.x_px.toFixed(1)} ${part.y_px.toFixed(1)})`,
      );
    }
    drawTrails(now_ms);
  };

  // One stroke per colour and age band, whatever the number of visitors.
  const drawTrails = (now_ms) => {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(view.width_px * ratio);
    const height = Math.round(view.height_px * ratio);
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, view.width_px, view.height_px);
    const bands = Array.from({ length: COLOUR_COUNT * TRAIL_BANDS }, () => null);
    for (const part of shown.values()) {
      let x_px = part.x_px;
      let y_px = part.y_px;
      for (let index = part.past.length - 1; index >= 0; index -= 1) {
        const { place, at_ms } = part.past[index];
        const band = Math.floor(((now_ms - at_ms) / trail_ms) * TRAIL_BANDS);
        if (band >= TRAIL_BANDS) {
          break;
        }
        const key = part.mark.colour * TRAIL_BANDS + Math.max(0, band);
        const path = (bands[key] ??= new Path2D());
        path.moveTo(x_px, y_px);
        x_px = view.x(place[0]);
        y_px = view.y(place[1]);
        path.lineTo(x_px, y_px);
      }
    }
    pen.lineCap = "butt"; // round ends would show as dots where bands meet
    pen.lineWidth = Math.max(1.5, radius / 3.2);
    bands.forEach((path, key) => {
      if (path !== null) {
        pen.strokeStyle = colours[Math.floor(key / TRAIL_BANDS)];
        pen.globalAlpha = 0.6 * (1 - (key % TRAIL_BANDS) / TRAIL_BANDS) ** 1.4;
        pen.stroke(path);
      }
    });
    pen.globalAlpha = 1;
  };

  const needsFrames = (now_ms) => {
    for (const part of shown.values()) {
      if (part.leaves_ms !== null || (!reducedMotion.matches && now_ms < part.start_ms + trail_ms)) {
        return true;
      }
    }
    return false;
  };

  const step = (now_ms) => {
    requested = 0;
    const isDue = now_ms - lastFrame_ms >= (shown.size > CROWD ? CROWD_FRAME_MS : FRAME_MS);
    if (isDue) {
      lastFrame_ms = now_ms;
      drawFrame(now_ms);
    }
    if (!isDue || needsFrames(now_ms)) {
      request();
    }
  };

  const request = () => {
    if (requested === 0) {
      requested = requestAnimationFrame(step);
    }
  };

  const resize = (next) => {
    view = next;
    setAttribute(svg, "viewBox", `0 0 ${view.width_px} ${view.height_px}`);
    rescale();
    resizeRings();
    lastFrame_ms = 0;
    request();
  };

  readColours();
  return { update, resize, readColours };
};
