// The latest events in plain sentences, and now and then a short summary for listeners.
//
// Each kind keeps its own newest entries, so that many ways through the store do not push
// a rare alarm out. A shelf event that is provisional is shown as being checked, and is
// confirmed or struck out in place when its final word comes. What is read aloud is a
// digest at most every twenty seconds, not every step of every visitor.

import { make, setText } from "./dom.js";
import { iconPicture, markPicture, shortName } from "./marks.js";
import { createClock, duration, number, texts } from "./texts.js";

const KEPT_PER_KIND = 40;
const KEPT_IDS = 2000;
const DIGEST_MS = 20000;
const KINDS = {
  "zone.entered": "move",
  "zone.left": "move",
  "zone.moved": "move",
  "dwell.recorded": "visit",
  "visit.started": "visit",
  "visit.ended": "visit",
  "tag.tapped": "visit",
  "shelf.looked": "shelf",
  "shelf.picked": "shelf",
  "shelf.returned": "shelf",
  "shelf.retracted": "shelf",
  "shelf.low": "shelf",
  "shelf.empty": "shelf",
  "tag.cloned": "alarm",
  "queue.long": "alarm",
  "agent.silent": "alarm",
  "sensor.fault": "alarm",
};
const ICONS = { "dwell.recorded": "stay", "tag.tapped": "tap", "shelf.empty": "alarm" };

// "io.fanous.zone.entered.v1" → "zone.entered".
export const eventName = (type) =>
  String(type ?? "")
    .replace(/^io\.fanous\./, "")
    .replace(/\.v\d+$/, "");

// A visitor who leaves one zone and enters the next in the same message went there.
const joinMoves = (events) => {
  const left = new Map();
  const key = (event) => `${event.data.tag} ${event.data.layer}`;
  for (const event of events) {
    if (event.name === "zone.left") {
      left.set(key(event), event);
    }
  }
  const joined = new Set();
  const result = events.map((event) => {
    const from = event.name === "zone.entered" ? left.get(key(event)) : undefined;
    if (from === undefined || from.data.zone === event.data.zone) {
      return event;
    }
    left.delete(key(event));
    joined.add(from);
    return { ...event, name: "zone.moved", data: { ...event.data, from: from.data.zone } };
  });
  return result.filter((event) => !joined.has(event));
};

const visitorNode = (tag, fallback) =>
  tag
    ? make("span", { class: "who" }, markPicture(tag), shortName(tag))
    : make("span", { class: "who" }, fallback);

const strong = (text) => make("strong", {}, text);

// The nodes of a sentence: a template whose {words} are replaced by what `values` gives.
const fillTemplate = (template, values) =>
  template
    .split(/(\{\w+\})/)
    .filter((part) => part !== "")
    .map((part) => {
      const name = /^\{(\w+)\}$/.exec(part)?.[1];
      return name && values[name] ? values[name]() : part;
    });

// Which form of a sentence: by the tap point's role, or without what the data lack.
const variantOf = (name, data, names) => {
  const isBare =
    (name === "queue.long" && !Number.isFinite(data.length)) ||
    (name === "sensor.fault" && !data.reason && !data.state);
  return name === "tag.tapped" ? names.role(data.tap_point) : isBare ? "bare" : "";
};

// Build the nodes of an event's sentence. `names` looks up zones, products and roles.
export const sentenceOf = (name, data, subject, names, clock) => {
  const product = () => names.product(data.shelf, data.gtin) ?? data.gtin ?? texts.aProduct;
  const listed = (list) => (Array.isArray(list) ? list : String(list ?? "").split(/[>,]/));
  const values = {
    tag: () => visitorNode(data.tag, name.startsWith("shelf.") ? texts.someone : texts.visitor),
    zone: () => strong(names.zone(data.zone ?? subject ?? "")),
    from: () => strong(names.zone(data.from)),
    shelf: () => strong(String(data.shelf ?? subject ?? "")),
    product: () => strong(product()),
    items: () => strong(texts.items(Math.max(1, Math.abs(Number(data.quantity) || 1)), product())),
    dwell: () => strong(duration(Number(data.dwell_s) || 0)),
    visit: () => strong(duration(Number(data.visit_s) || 0)),
    zones: () => texts.zonesVisited(Number(data.zones) || 0),
    places: () => strong(listed(data.zones).map(names.zone).join(", ")),
    tap: () => strong(String(data.tap_point ?? subject ?? "")),
    length: () => strong(texts.persons(data.length)),
    agent: () => strong(String(data.agent ?? subject ?? "")),
    since: () => clock(Number(data.since_ns) / 1e6),
    sensor: () => strong(String(data.sensor ?? subject ?? "")),
    reason: () => String(data.reason || data.state),
    name: () => name,
    subject: () => strong(String(data.message ?? data.text ?? subject ?? "")),
  };
  const sentences = texts.eventSentences;
  const template = sentences[`${name}.${variantOf(name, data, names)}`] ?? sentences[name];
  return fillTemplate(template ?? texts.otherEvent, values);
};

export const createEvents = ({ list, empty, spoken, names, onShelf, onTap }) => {
  const seen = new Set();
  const shelfItems = new Map();
  let clock = createClock("UTC");
  let counts = new Map();
  let lastDigest_ms = performance.now();

  const remember = (id) => {
    if (id === undefined || id === null) {
      return true;
    }
    if (seen.has(id)) {
      return false;
    }
    seen.add(id);
    if (seen.size > KEPT_IDS) {
      seen.delete(seen.values().next().value);
    }
    return true;
  };

  // Final and retracted words about a shelf event that is already listed change its entry.
  const settle = (event) => {
    const known = shelfItems.get(event.data.event);
    if (!known?.item.isConnected) {
      return false;
    }
    if (event.name === "shelf.retracted" || event.data.status === "retracted") {
      known.item.classList.remove("provisional");
      known.item.classList.add("retracted");
      setText(known.note, texts.takenBack);
      return true;
    }
    if (event.data.status === "final") {
      known.item.classList.remove("provisional");
      setText(known.note, "");
      return known.name === event.name;
    }
    return false;
  };

  const trim = (kind) => {
    const items = list.querySelectorAll(`li[data-kind="${kind}"]`);
    for (let index = KEPT_PER_KIND; index < items.length; index += 1) {
      items[index].remove();
    }
  };

  const show = (event) => {
    const kind = KINDS[event.name] ?? "other";
    const isProvisional = event.data.status === "provisional";
    const note = make("span", { class: "note" }, isProvisional ? texts.checking : "");
    const item = make(
      "li",
      { "data-kind": kind, "data-event": event.name, class: isProvisional ? "provisional" : null },
      iconPicture(ICONS[event.name] ?? kind),
      make(
        "p",
        {},
        ...sentenceOf(event.name, event.data, event.subject, names, clock),
        " ",
        note,
      ),
      make("time", {}, clock(event.time_ms)),
    );
    list.prepend(item);
    if (kind === "shelf" && event.data.event) {
      shelfItems.set(event.data.event, { item, note, name: event.name });
      if (shelfItems.size > 4 * KEPT_PER_KIND) {
        shelfItems.delete(shelfItems.keys().next().value);
      }
    }
    trim(kind);
  };

  const parse = (event) => {
    const data = event.data && typeof event.data === "object" ? event.data : {};
    const ns = Number(data.t_ns ?? data.end_ns ?? data.start_ns);
    const time_ms = Date.parse(event.time);
    return {
      name: eventName(event.type),
      id: event.id,
      subject: event.subject,
      data,
      time_ms: Number.isFinite(time_ms) ? time_ms : ns / 1e6,
    };
  };

  const add = (messages) => {
    const events = (Array.isArray(messages) ? messages : [])
      .filter((event) => event && typeof event === "object" && remember(event.id))
      .map(parse);
    for (const event of joinMoves(events)) {
      counts.set(event.name, (counts.get(event.name) ?? 0) + 1);
      if (!settle(event)) {
        show(event);
      }
      if (event.name.startsWith("shelf.") && event.data.status !== "retracted") {
        onShelf(event.data.shelf ?? event.subject);
      }
      if (event.name === "tag.tapped") {
        onTap(event.data.tap_point);
      }
    }
    empty.hidden = list.childElementCount > 0;
    speak();
  };

  const speak = () => {
    const now_ms = performance.now();
    if (now_ms - lastDigest_ms < DIGEST_MS) {
      return;
    }
    const parts = Object.entries(texts.digestKinds)
      .filter(([name]) => counts.has(name))
      .map(([name, say]) => say(counts.get(name)));
    if (parts.length > 0) {
      setText(spoken, texts.digest(parts));
      counts = new Map();
      lastDigest_ms = now_ms;
    }
  };

  return {
    add,
    setTimezone: (timezone) => {
      clock = createClock(timezone);
    },
    // Hide or show a kind; the entries stay and come back.
    toggle: (kind, isShown) => list.classList.toggle(`without-${kind}`, !isShown),
    countShown: () => number(list.childElementCount),
  };
};
