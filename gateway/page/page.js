// The live floor page: joins the line to the gateway with the plan, the numbers and events.
//
// Rules: what is shown is what was last heard, with its age when it is old; nothing is
// guessed. Foreign text becomes text, never markup. Nothing is loaded from anywhere but
// the gateway that served this page.

import { byId, setAttribute, setText } from "./dom.js";
import { createEvents } from "./events.js";
import { createFloor, prepareFloor } from "./floor.js";
import { createLegend } from "./legend.js";
import { createLine, fetchJson } from "./live.js";
import { agentsText, createAlarms, createCounters, createQueues, createZoneTable } from "./panels.js";
import { createPace } from "./pace.js";
import { boundsOf, fitView, storePoints } from "./plan.js";
import { createScale, rangesOf } from "./scale.js";
import { createTags } from "./tags.js";
import { createClock, direction, duration, language, number, texts } from "./texts.js";

const SUMMARY_MS = 3000;
const STORE_MS = 4000;
const STILL_MS = 15000; // ticks may be ten seconds long
const ROOT_PX = 16;
const EMPTY_STORE = { id: "", zones: [], receivers: [], shelves: [], tap_points: [], obstacles: [] };
const FALLBACK_BOX = { x0: 0, y0: 0, x1: 12, y1: 8 };

let store = EMPTY_STORE;
let storeText = "";
let floorPlan = prepareFloor(EMPTY_STORE);
let zoneNames = new Map();
let clock = createClock("UTC");
let message = null;
let heldEvents = [];
let isPaused = false;
let lineState = "connecting";
let trouble = "";
let bounds = [1, 2, 3, 4, 5];
let seenBox = null;
let lastT_ns = null;
let fresh_ms = 0;

const names = {
  zone: (id) => zoneNames.get(id) ?? String(id),
  product: (shelf, gtin) => {
    const products = store.shelves?.find(({ id }) => id === shelf)?.products ?? [];
    return products.find((product) => product.gtin === gtin)?.name;
  },
  role: (tap) => store.tap_points?.find(({ id }) => id === tap)?.role ?? "",
};

const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
const plan = byId("plan");
const floor = createFloor(byId("plan-floor"), byId("plan-labels"));
const tags = createTags({
  svg: byId("plan-tags"),
  canvas: byId("plan-trails"),
  zoneName: names.zone,
  onCrowd: (isCrowded) => plan.classList.toggle("crowded", isCrowded),
  reducedMotion,
});
const events = createEvents({
  list: byId("events"),
  empty: byId("events-empty"),
  spoken: byId("spoken"),
  names,
  onShelf: floor.glowShelf,
  onTap: floor.glowTap,
});
const counters = createCounters(byId("counters"));
const showQueues = createQueues(byId("queues"), byId("queues-empty"), names);
const showAlarms = createAlarms(byId("alarms-panel"), byId("alarms"), names, () => clock);
const zoneTable = createZoneTable(byId("zone-rows"));
const scaleFor = createScale();
const pace = createPace();

const showRanges = createLegend(byId("legend"));

// --- the store -------------------------------------------------------------------------

const hasFrame = () => floorPlan.outline.length > 2 || floorPlan.zones.length > 0;

const cornersOf = (box) => (box === null ? [] : [[box.x0, box.y0], [box.x1, box.y1]]);

const shownBox = () =>
  boundsOf([...storePoints(store), ...(hasFrame() ? [] : cornersOf(seenBox))]) ?? FALLBACK_BOX;

const layOut = () => {
  const width_px = Math.max(60, plan.clientWidth);
  const height_px = Math.max(60, plan.clientHeight);
  const unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / ROOT_PX;
  const view = fitView(shownBox(), width_px, height_px, Math.max(1, unit));
  floor.redraw(floorPlan, view);
  tags.resize(view);
  if (message !== null) {
    colourZones();
  }
};

const takeStore = (next) => {
  const text = JSON.stringify(next);
  if (text === storeText) {
    return;
  }
  storeText = text;
  store = { ...EMPTY_STORE, ...next };
  floorPlan = prepareFloor(store);
  zoneNames = new Map((store.zones ?? []).map((zone) => [zone.id, zone.name || zone.id]));
  clock = createClock(store.timezone);
  setText(byId("clock-zone"), clock.zone);
  events.setTimezone(store.timezone);
  seenBox = null;
  const box = shownBox();
  plan.style.setProperty("--ratio", ((box.x1 - box.x0) / (box.y1 - box.y0)).toFixed(3));
  setText(byId("store-name"), store.name || store.id);
  zoneTable.draw(store.zones ?? []);
  byId("legend").classList.toggle("without-zones", floorPlan.zones.length === 0);
  layOut();
  showPlanNote(0, 0, []);
};

const loadStore = async () => {
  try {
    takeStore(await fetchJson("api/v1/store"));
    trouble = "";
    showTrouble();
    return true;
  } catch (error) {
    trouble = error.status === 401 || error.status === 403 ? texts.denied : texts.storeMissing;
    showTrouble();
    return false;
  }
};

const showTrouble = () => {
  const note = byId("plan-message");
  const text =
    trouble || (!hasData() ? texts.waiting : hasFrame() || seenBox ? "" : texts.noPlan);
  setText(note, text);
  note.hidden = text === "";
};

// --- each second -----------------------------------------------------------------------

// A zone that a message does not name is empty; one that it gives as null is unknown.
const peopleIn = (id) => {
  const people = message?.zones;
  if (!people || typeof people !== "object") {
    return null;
  }
  const count = Object.hasOwn(people, id) ? people[id] : 0;
  return Number.isFinite(count) ? count : null;
};

const colourZones = () => floor.update(peopleIn, bounds);

const busiestText = () => {
  const full = floorPlan.zones
    .filter((zone) => !zone.isOverlay && peopleIn(zone.id) > 0)
    .sort((a, b) => peopleIn(b.id) - peopleIn(a.id))
    .slice(0, 3);
  return full.map((zone) => texts.inZone(peopleIn(zone.id), zone.name)).join(", ");
};

const showPlanNote = (unplaced, beyond, strange) => {
  const parts = [];
  if (storeText !== "" && floorPlan.zones.length === 0) {
    parts.push(texts.noZones);
  }
  if (unplaced > 0) {
    parts.push(texts.unplaced(unplaced));
  }
  if (beyond > 0) {
    parts.push(texts.beyond(beyond));
  }
  if (strange.length > 0) {
    parts.push(texts.strangeZones(strange.join(", ")));
  }
  setText(byId("plan-note"), parts.join(" · "));
};

const peoplePresent = (list) => {
  if (Array.isArray(message.tags)) {
    return list.length;
  }
  return floorPlan.zones
    .filter((zone) => !zone.isOverlay)
    .reduce((sum, zone) => sum + (peopleIn(zone.id) ?? 0), 0);
};

// A store without outline and zones gets its frame from the places that were seen.
const growBox = (list) => {
  if (hasFrame()) {
    return;
  }
  const points = list
    .filter((tag) => Number.isFinite(tag.x_m) && Number.isFinite(tag.y_m))
    .map((tag) => [tag.x_m, tag.y_m]);
  const box = boundsOf([...points, ...cornersOf(seenBox)]);
  if (box !== null && JSON.stringify(box) !== JSON.stringify(seenBox)) {
    seenBox = box;
    layOut();
  }
};

const hasData = () => message !== null && message.t_ns > 0;

const clockTime = () => clock(hasData() ? message.t_ns / 1e6 : NaN);

const render = (now_ms) => {
  const list = (Array.isArray(message.tags) ? message.tags : []).filter(
    (tag) => tag !== null && typeof tag === "object" && tag.tag,
  );
  growBox(list);
  const counts = floorPlan.zones.map((zone) => peopleIn(zone.id));
  bounds = scaleFor(counts, now_ms);
  showRanges(rangesOf(bounds, number), counts.includes(null));
  colourZones();
  const { unplaced, beyond } = tags.update(list, now_ms, pace);
  const strange = Object.keys(message.zones ?? {}).filter((id) => !zoneNames.has(id));
  zoneTable.update(peopleIn, message.queues, strange);
  const people = peoplePresent(list);
  counters.people(people, unplaced);
  showQueues(message.queues);
  showAlarms(message.alarms, storeText);
  events.add(heldEvents);
  heldEvents = [];
  showPlanNote(unplaced, beyond, strange);
  showTrouble();
  const shownName = store.name || store.id;
  setAttribute(
    byId("plan-floor"),
    "aria-label",
    texts.planNow(shownName, people === 0 ? texts.nobody : texts.persons(people), busiestText()),
  );
  setText(byId("clock"), clockTime());
  const title = texts.title(people, shownName);
  if (document.title !== title) {
    document.title = title;
  }
};

const showSpeed = () => {
  const factor = Math.round(pace.factor());
  const chip = byId("speed");
  chip.hidden = !(factor >= 2);
  if (!chip.hidden) {
    setText(chip, texts.speed(factor));
    setAttribute(chip, "title", texts.speedMeaning(factor));
  }
};

const HELD_EVENTS = 200;

const onMessage = (next, now_ms) => {
  pace.take(next.t_ns, now_ms);
  if (next.t_ns !== lastT_ns) {
    lastT_ns = next.t_ns;
    fresh_ms = now_ms;
  }
  heldEvents = [...heldEvents, ...(Array.isArray(next.events) ? next.events : [])].slice(-HELD_EVENTS);
  if (!isPaused) {
    message = next;
    render(now_ms);
    showSpeed();
  } else {
    message ??= next;
  }
};

// --- connection, summary, controls -----------------------------------------------------

const line = createLine({
  url: "api/v1/live",
  onMessage,
  onState: (next, before) => {
    lineState = next;
    if (next === "live" && before !== "stalled") {
      loadStore();
      loadSummary();
    }
    showState();
  },
});

// A line can be alive and its data not: before the first data, and when store time stands.
const visibleState = () => {
  if (lineState !== "live") {
    return lineState;
  }
  if (isPaused) {
    return "paused";
  }
  if (!hasData()) {
    return "waiting";
  }
  return performance.now() - fresh_ms > STILL_MS ? "stalled" : "live";
};

const showState = () => {
  const state = visibleState();
  const root = byId("state");
  setAttribute(root, "data-state", state);
  setText(byId("state-text"), texts.states[state]);
  const time = clockTime();
  let detail = "";
  if (state === "paused") {
    detail = texts.heldAt(time);
  } else if (state !== "live") {
    const age_s = (performance.now() - fresh_ms) / 1000;
    detail = hasData() ? texts.pictureOf(time, duration(age_s)) : texts.neverSeen;
  }
  setText(byId("state-detail"), detail);
  document.body.classList.toggle("is-stale", state === "stalled" || state === "reconnecting");
};

let summaryTimer = 0;
const loadSummary = async () => {
  clearTimeout(summaryTimer);
  if (document.visibilityState === "visible" && lineState === "live" && !isPaused) {
    try {
      const summary = await fetchJson("api/v1/summary");
      counters.summary(summary, performance.now());
      const facts = [
        texts.receivers((store.receivers ?? []).length),
        agentsText(summary.agents),
        summary.broker_connected === false ? texts.noBroker : "",
        summary.replaying === true ? texts.catchingUp : "",
      ].filter((fact) => fact !== "");
      setText(byId("store-facts"), facts.join(" · "));
    } catch {
      // The state of the line tells what is wrong; the old figures stay with their age.
    }
  }
  clearTimeout(summaryTimer);
  summaryTimer = setTimeout(loadSummary, SUMMARY_MS);
};

const keepLoadingStore = async () => {
  if (storeText === "" && !(await loadStore())) {
    setTimeout(keepLoadingStore, STORE_MS);
  }
};

const applyTexts = () => {
  document.documentElement.lang = language;
  document.documentElement.dir = direction;
  for (const node of document.querySelectorAll("[data-text]")) {
    setText(node, texts[node.dataset.text]);
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    setAttribute(node, "aria-label", texts[node.dataset.label]);
  }
};

const wireControls = () => {
  const pause = byId("pause");
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    setText(pause, isPaused ? texts.resume : texts.pause);
    showState();
    if (!isPaused) {
      loadSummary();
    }
  });
  const choose = (isTable) => {
    setAttribute(byId("view-plan"), "aria-pressed", !isTable);
    setAttribute(byId("view-table"), "aria-pressed", isTable);
    byId("floor-panel").classList.toggle("shows-table", isTable);
    // In the plan view the table is there for screen readers, and no stop for the keyboard.
    byId("zone-table").tabIndex = isTable ? 0 : -1;
  };
  byId("view-plan").addEventListener("click", () => choose(false));
  byId("view-table").addEventListener("click", () => choose(true));
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") !== "true";
      setAttribute(button, "aria-pressed", isShown);
      events.toggle(button.dataset.filter, isShown);
    });
  }
  window
    .matchMedia("(prefers-color-scheme: dark)")
    .addEventListener("change", () => tags.readColours());
};

applyTexts();
showRanges(rangesOf(bounds, number), false);
wireControls();
new ResizeObserver(layOut).observe(plan);
showTrouble();
// The store first, so that the first events already have names; but not at any price.
keepLoadingStore().then(line.start);
summaryTimer = setTimeout(loadSummary, SUMMARY_MS);
setInterval(showState, 1000);
