// Counters, queues, alarms and the table of zones: words and numbers beside the plan.
//
// Rows are made once and then changed in place, in the order of the store file: a row that
// jumps about cannot be read, and a reader in the middle of a table must not lose it.

import { iconPicture } from "./marks.js";
import { make, setAttribute, setText } from "./dom.js";
import { number, texts } from "./texts.js";
import { eventName, sentenceOf } from "./events.js";

const UNKNOWN = "–";
const DOTS_SHOWN = 10;
const RATE_MEMORY = 0.6; // share of the old rate kept at each new one, so the figure is calm

const shown = (value) => (Number.isFinite(value) ? number(value) : UNKNOWN);

export const createCounters = (root) => {
  const values = new Map();
  const notes = new Map();
  for (const node of root.querySelectorAll("[data-counter]")) {
    values.set(node.dataset.counter, node);
  }
  for (const node of root.querySelectorAll("[data-note]")) {
    notes.set(node.dataset.note, node);
  }
  let last = null;
  let rate = null;

  const measureRate = (readings, now_ms) => {
    if (!Number.isFinite(readings)) {
      return;
    }
    if (last !== null && readings >= last.readings && now_ms > last.at_ms) {
      const fresh = ((readings - last.readings) / (now_ms - last.at_ms)) * 1000;
      rate = rate === null ? fresh : RATE_MEMORY * rate + (1 - RATE_MEMORY) * fresh;
    } else {
      rate = null; // The gateway began anew: a difference would be a lie.
    }
    last = { readings, at_ms: now_ms };
  };

  return {
    people: (count, unplaced) => {
      setText(values.get("people"), shown(count));
      setText(notes.get("people"), unplaced > 0 ? texts.unplacedShort(unplaced) : texts.allPlaced);
    },
    summary: (summary, now_ms) => {
      for (const name of ["visits", "dwells", "shelf_events", "readings"]) {
        setText(values.get(name), shown(summary[name]));
      }
      measureRate(summary.readings, now_ms);
      setText(notes.get("visits"), Number.isFinite(summary.taps) ? texts.tapsNote(summary.taps) : "");
      setText(notes.get("dwells"), texts.dwellsNote);
      setText(notes.get("shelf_events"), texts.shelfNote);
      const parts = [];
      if (rate !== null) {
        parts.push(texts.rate(Math.round(rate)));
      }
      if (Number.isFinite(summary.lost)) {
        parts.push(summary.lost > 0 ? texts.lost(summary.lost) : texts.noneLost);
      }
      setText(notes.get("readings"), parts.join(" · "));
      notes.get("readings").classList.toggle("bad", summary.lost > 0);
    },
  };
};

// "2 of 3 agents up", from whatever form the summary has: a number, a list or a map.
export const agentsText = (agents) => {
  if (Number.isFinite(agents)) {
    return texts.agents(agents);
  }
  if (agents === null || typeof agents !== "object") {
    return "";
  }
  const list = Object.values(agents);
  const states = list.map((agent) => agent?.up ?? agent?.online ?? agent?.state);
  const up = states.filter((state) => state === true || state === "online").length;
  return states.some((state) => state !== undefined)
    ? texts.agentsUp(up, list.length)
    : texts.agents(list.length);
};

export const createQueues = (list, empty, names) => {
  const rows = new Map();
  return (queues) => {
    const entries = Object.entries(queues ?? {});
    for (const [id, waiting] of entries) {
      if (!rows.has(id)) {
        const dots = make("span", { class: "dots", "aria-hidden": "true" });
        const value = make("strong", { class: "queue-length" });
        const words = make("span", { class: "queue-words" });
        const name = make("span", { class: "queue-name" });
        const row = make("li", { "data-queue": id }, name, dots, words, value);
        rows.set(id, { row, name, value, words, dots });
        list.append(row);
      }
      const { row, name, value, words, dots } = rows.get(id);
      setText(name, names.zone(id));
      setText(value, shown(waiting));
      setText(words, Number.isFinite(waiting) ? texts.waitingPeople(waiting) : "");
      setAttribute(row, "data-length", waiting ?? "unknown");
      const wanted = Math.min(DOTS_SHOWN, Math.max(0, Number(waiting) || 0));
      while (dots.childElementCount > wanted) {
        dots.lastChild.remove();
      }
      while (dots.childElementCount < wanted) {
        dots.append(make("i"));
      }
    }
    for (const [id, { row }] of rows) {
      if (!Object.hasOwn(queues ?? {}, id)) {
        row.remove();
        rows.delete(id);
      }
    }
    empty.hidden = rows.size > 0;
  };
};

// Alarms come as sentences or as records like the data of an event.
export const createAlarms = (panel, list, names, clockOf) => {
  let last = "";
  return (alarms, storeText) => {
    const items = Array.isArray(alarms) ? alarms : [];
    const text = JSON.stringify(items) + storeText; // names may have changed
    if (text === last) {
      return;
    }
    last = text;
    panel.hidden = items.length === 0;
    list.replaceChildren(
      ...items.map((alarm) => {
        const record = alarm !== null && typeof alarm === "object" ? alarm : { text: String(alarm) };
        const name = eventName(record.type ?? record.name ?? record.kind ?? "");
        const data = { ...record, ...(typeof record.data === "object" ? record.data : {}) };
        const said = data.message ?? data.text;
        const sentence = said
          ? [String(said)]
          : sentenceOf(name, data, record.subject, names, clockOf());
        return make("li", {}, iconPicture("alarm"), make("p", {}, ...sentence));
      }),
    );
  };
};

export const createZoneTable = (body) => {
  let rows = new Map();

  const makeRow = (id, name, kind) => {
    const people = make("td", { class: "figure" }, UNKNOWN);
    const queue = make("td", { class: "figure" }, UNKNOWN);
    const row = make(
      "tr",
      { "data-zone-row": id },
      make("th", { scope: "row" }, name),
      make("td", {}, kind),
      people,
      queue,
    );
    body.append(row);
    rows.set(id, { people, queue });
  };

  return {
    draw: (zones) => {
      rows = new Map();
      body.replaceChildren();
      for (const zone of zones) {
        makeRow(zone.id, zone.name || zone.id, texts.kinds[zone.kind] ?? zone.kind ?? "");
      }
    },
    // `people(id)` gives a count or null; strange zones get their rows at the end.
    update: (people, queues, strange) => {
      for (const id of strange) {
        if (!rows.has(id)) {
          makeRow(id, id, texts.unknownKind);
        }
      }
      for (const [id, row] of rows) {
        setText(row.people, shown(people(id)));
        setText(row.queue, shown(queues?.[id]));
      }
    },
  };
};
