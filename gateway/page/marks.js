// How one visitor looks: two letters in one of four shapes and four colours.
//
// The colours are from Okabe and Ito's palette, which colour-blind people can tell apart,
// and shape and letters carry the same difference, so colour is never the only sign.
// A pseudonym is only ever shown by its first letters; the whole never enters the document.

import { draw } from "./dom.js";

const SHAPES = ["circle", "square", "diamond", "pentagon"];
const COLOUR_COUNT = 4;
// In these schemes all tags of one maker begin alike, so the end tells them apart.
const SCHEMES_THAT_DIFFER_AT_THE_END = ["ibeacon", "eddystone", "altbeacon"];
const SHORT_LENGTH = 4;

// FNV-1a, 32 bits: the same tag looks the same today, tomorrow and on another screen.
const hashOf = (text) => {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) >>> 0;
};

// The few letters by which a tag is shown.
export const shortName = (tag) => {
  const text = String(tag);
  if (text.startsWith("p_")) {
    return text.slice(2, 2 + SHORT_LENGTH);
  }
  const colon = text.indexOf(":");
  const value = text.slice(colon + 1);
  return SCHEMES_THAT_DIFFER_AT_THE_END.includes(text.slice(0, Math.max(colon, 0)))
    ? value.slice(-SHORT_LENGTH)
    : value.slice(0, SHORT_LENGTH);
};

export const markOf = (tag) => {
  const hash = hashOf(String(tag));
  const short = shortName(tag);
  return {
    short,
    letters: short.slice(0, 2),
    shape: SHAPES[hash % SHAPES.length],
    colour: Math.floor(hash / SHAPES.length) % COLOUR_COUNT,
  };
};

const polygonPath = (corners, radius, turn) => {
  const points = [];
  for (let corner = 0; corner < corners; corner += 1) {
    const angle = turn + (corner * 2 * Math.PI) / corners;
    points.push(
      `${(radius * Math.cos(angle)).toFixed(2)} ${(radius * Math.sin(angle)).toFixed(2)}`,
    );
  }
  return `M${points.join("L")}Z`;
};

// Radii are chosen so that the four shapes look equally large.
const shapePath = (shape, radius) => {
  switch (shape) {
    case "square":
      return polygonPath(4, radius * 1.27, Math.PI / 4);
    case "diamond":
      return polygonPath(4, radius * 1.34, 0);
    case "pentagon":
      return polygonPath(5, radius * 1.17, -Math.PI / 2);
    default: {
      const half = `${radius} ${radius} 0 1 0 `;
      return `M${-radius} 0a${half}${2 * radius} 0a${half}${-2 * radius} 0Z`;
    }
  }
};

// The drawing of a mark round (0, 0); letters are left out where they could not be read.
export const drawMark = (mark, radius) => {
  const parts = [draw("path", { class: "mark-shape", d: shapePath(mark.shape, radius) })];
  if (radius >= 8.5) {
    parts.push(
      draw(
        "text",
        { class: "mark-letters", y: (radius * 0.33).toFixed(2), "font-size": radius.toFixed(1) },
        mark.letters,
      ),
    );
  }
  return draw("g", { class: `mark colour-${mark.colour}` }, ...parts);
};

// A small picture of a mark for use within a sentence.
export const markPicture = (tag) =>
  draw(
    "svg",
    { class: "mark-picture", viewBox: "-13 -13 26 26", "aria-hidden": "true", focusable: "false" },
    drawMark(markOf(tag), 9),
  );

// Line drawings for events, each in a box of 16 by 16.
const ICONS = {
  move: "M2 8h11M9 4l4 4-4 4",
  stay: "M8 2a6 6 0 1 0 .01 0M8 5v3.4l2.4 1.6",
  visit: "M6.5 2.5h-3v11h3M9 5l3 3-3 3M12 8H6",
  shelf: "M2.5 3v11M13.5 3v11M2.5 7h11M2.5 12h11M5 7V4.5h3V7M9 12V9.5h2.5V12",
  tap: "M4 6.2a3 3 0 0 1 0 3.6M6.8 4.3a6 6 0 0 1 0 7.4M9.6 2.5a9.4 9.4 0 0 1 0 11",
  other: "M8 5a3 3 0 1 0 .01 0",
  alarm: "M8 2 14.5 13.5h-13zM8 6.3v3.4M8 11.6v.3",
};

export const iconPicture = (kind) =>
  draw(
    "svg",
    { class: `icon icon-${kind}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    draw("path", { d: ICONS[kind] ?? ICONS.other }),
  );
