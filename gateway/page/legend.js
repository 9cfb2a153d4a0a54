// The legend: the steps of colour with their ranges, and what each sign on the plan means.

import { draw, make, setText } from "./dom.js";
import { receiverSign, tapSign } from "./floor.js";
import { drawMark } from "./marks.js";
import { texts } from "./texts.js";

const sign = (half, ...parts) =>
  draw(
    "svg",
    {
      class: "legend-sign",
      viewBox: `${-half} ${-half} ${2 * half} ${2 * half}`,
      "aria-hidden": "true",
      focusable: "false",
    },
    ...parts,
  );

const signs = () => [
  [sign(13, drawMark({ shape: "circle", colour: 0, letters: "ab" }, 11)), texts.legendVisitor],
  [sign(13, draw("circle", { class: "ring colour-0", r: 11 })), texts.legendRing],
  [
    sign(13, draw("rect", { class: "shelf-sign", x: -11, y: -6, width: 22, height: 12 })),
    texts.legendShelf,
  ],
  [
    sign(13, draw("rect", { class: "obstacle-sign", x: -11, y: -6, width: 22, height: 12 })),
    texts.legendObstacle,
  ],
  [sign(10, draw("g", { class: "receiver" }, ...receiverSign())), texts.legendReceiver],
  [sign(10, draw("g", { class: "tap" }, ...tapSign())), texts.legendTap],
];

// Builds it and gives a function that shows new ranges.
export const createLegend = (root) => {
  const ranges = Array.from({ length: 6 }, () => make("span"));
  const steps = ranges.map((range, level) =>
    make("li", { class: "step", "data-level": String(level) }, make("i"), range),
  );
  const unknown = make(
    "li",
    { class: "step", "data-level": "unknown", hidden: true },
    make("i"),
    make("span", {}, texts.legendUnknown),
  );
  root.append(
    make(
      "div",
      { class: "legend-scale" },
      make("span", { class: "legend-word" }, texts.legendPeople),
      make("ol", {}, ...steps, unknown),
    ),
    make(
      "ul",
      { class: "legend-signs" },
      ...signs().map(([picture, words]) => make("li", {}, picture, words)),
    ),
  );
  return (labels, hasUnknown) => {
    labels.forEach((label, index) => setText(ranges[index], label));
    unknown.hidden = !hasUnknown;
  };
};
