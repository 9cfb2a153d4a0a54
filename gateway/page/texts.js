// Every word of the page, in one file: another language is another file like this one.
//
// A sentence about an event is a template; {tag}, {zone}, {shelf} and so on are filled in
// with marks and names by events.js. Numbers and times follow `language` through Intl.

export const language = "en";
export const direction = "ltr";

const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

const numberFormat = new Intl.NumberFormat(language);
const percentFormat = new Intl.NumberFormat(language, { style: "percent" });
const lengthFormat = new Intl.NumberFormat(language, {
  style: "unit",
  unit: "meter",
  maximumSignificantDigits: 3,
});

export const number = (value) => numberFormat.format(value);
export const percent = (share) => percentFormat.format(share);
export const length = (length_m) => lengthFormat.format(length_m);

export const duration = (seconds) => {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) {
    return `${number(whole)} s`;
  }
  if (whole < 3600) {
    const rest = whole % 60;
    return rest ? `${number(Math.floor(whole / 60))} min ${number(rest)} s` : `${number(whole / 60)} min`;
  }
  const minutes = Math.round((whole % 3600) / 60);
  return minutes
    ? `${number(Math.floor(whole / 3600))} h ${number(minutes)} min`
    : `${number(Math.floor(whole / 3600))} h`;
};

export const texts = {
  // Fixed words of index.html, by their data-text key.
  skip: "Skip to the latest events",
  liveFloor: "Live floor",
  storeTime: "Store time",
  peopleNow: "People now",
  visits: "Visits",
  dwells: "Dwells",
  shelfEvents: "Shelf events",
  readings: "Readings",
  floor: "Floor",
  plan: "Plan",
  table: "Table",
  zoneTable: "Zones and the people in them",
  zone: "Zone",
  kind: "Kind",
  people: "People",
  queue: "Queue",
  queues: "Queues",
  noQueues: "No queue is measured in this store.",
  alarms: "Needs attention",
  events: "Latest events",
  noEvents: "Nothing has happened yet.",
  showMoves: "Ways",
  showVisits: "Visits",
  showShelves: "Shelves",
  showAlarms: "Alarms",
  filterEvents: "Kinds of events shown",
  viewOf: "View of the floor",
  pause: "Pause",
  resume: "Resume",
  noScript: "This page draws the live floor with JavaScript, which is switched off here.",

  // Connection.
  states: {
    connecting: "Connecting…",
    live: "Live",
    waiting: "Connected",
    stalled: "No new data",
    reconnecting: "Reconnecting…",
    paused: "Paused",
  },
  pictureOf: (time, age) => `picture of ${time}, ${age} ago`,
  neverSeen: "no data yet",
  heldAt: (time) => `picture held at ${time}`,
  speed: (factor) => `×${number(factor)}`,
  speedMeaning: (factor) => `Store time runs ${number(factor)} times as fast as the clock`,
  denied: "The gateway refuses to show this store to this browser. Sign in to the gateway again.",
  storeMissing: "The gateway does not answer yet. This page goes on trying.",
  waiting: "Waiting for the first data…",
  noPlan: "This store has no plan yet: draw an outline or zones in its store file.",
  nobody: "Nobody is seen in the store",

  // Floor.
  planNow: (store, people, zones) =>
    `Floor plan of ${store}. ${people} present.${zones ? ` ${zones}.` : ""} The table below has every zone.`,
  inZone: (people, zone) => `${plural(people, "person", "people")} in ${zone}`,
  persons: (count) => plural(count, "person", "people"),
  unplaced: (count) => `${plural(count, "person is", "people are")} present without a known place`,
  unplacedShort: (count) => `${number(count)} without a known place`,
  allPlaced: "all placed on the plan",
  beyond: (count) => `${plural(count, "mark is", "marks are")} beyond the plan and shown at its edge`,
  strangeZones: (names) => `Not on the plan: ${names}`,
  noZones: "No zones are drawn in this store: positions only",
  unknownPlace: "place unknown",
  visitor: "A visitor",
  someone: "Someone",
  tagTitle: (short, zone, share) => `Visitor ${short} · ${zone}${share === null ? "" : ` · ${share} sure`}`,
  tagUncertainty: (within) => ` · within about ${within}`,
  receiverTitle: (id, agent) => `Receiver ${id}${agent ? ` of agent ${agent}` : ""}`,
  tapTitle: (id, role, zone) => `Tap point ${id} (${role}) in ${zone}; its exact place is not recorded`,
  shelfTitle: (id, products) => `Shelf ${id}${products ? `: ${products}` : ""}`,
  legendPeople: "People in a zone",
  legendUnknown: "unknown",
  legendVisitor: "visitor, first letters",
  legendRing: "how sure the place is",
  legendReceiver: "receiver",
  legendShelf: "shelf",
  legendObstacle: "wall, furniture",
  legendTap: "tap point",
  kinds: {
    entrance: "Entrance",
    exit: "Exit",
    aisle: "Aisle",
    shelf: "Shelf",
    promo: "Promotion",
    fitting: "Fitting room",
    service: "Service",
    checkout: "Checkout",
    queue: "Queue",
    staff: "Staff",
    outside: "Outside",
  },
  unknownKind: "not on the plan",

  // Counters.
  tapsNote: (count) => plural(count, "tap", "taps"),
  dwellsNote: "stays in a zone",
  shelfNote: "looks, picks, returns",
  rate: (perSecond) => `${number(perSecond)} a second`,
  lost: (count) => `${number(count)} lost`,
  noneLost: "none lost",
  agents: (count) => plural(count, "agent", "agents"),
  agentsUp: (up, count) => `${number(up)} of ${plural(count, "agent", "agents")} up`,
  noBroker: "no link to the broker",
  catchingUp: "catching up with its journal",
  receivers: (count) => plural(count, "receiver", "receivers"),
  waitingPeople: (count) => (count === 0 ? "nobody waits" : `${plural(count, "person", "people")} waiting`),

  // Events, by the name of the CloudEvent's type; zone.moved joins a left and an entered.
  eventSentences: {
    "zone.entered": "{tag} entered {zone}",
    "zone.left": "{tag} left {zone}",
    "zone.moved": "{tag} went from {from} to {zone}",
    "dwell.recorded": "{tag} stayed {dwell} in {zone}",
    "visit.started": "{tag} began a visit",
    "visit.ended": "{tag} ended a visit of {visit}, {zones}",
    "shelf.looked": "{tag} looked at {product} on {shelf}",
    "shelf.picked": "{tag} took {items} from {shelf}",
    "shelf.returned": "{tag} put {items} back on {shelf}",
    "shelf.retracted": "Correction: an earlier report about {shelf} did not hold",
    "shelf.low": "{product} on {shelf} is running low",
    "shelf.empty": "{product} on {shelf} has run out",
    "tag.tapped": "{tag} tapped at {tap}",
    "tag.tapped.entry": "{tag} tapped in at {tap}",
    "tag.tapped.exit": "{tag} tapped out at {tap}",
    "tag.tapped.checkout": "{tag} tapped at the checkout, {tap}",
    "tag.tapped.payment": "{tag} paid by tap at {tap}",
    "tag.tapped.consent": "{tag} gave consent at {tap}",
    "tag.tapped.optout": "{tag} opted out at {tap}",
    "tag.cloned": "One tag was seen in two places at once: {places}",
    "queue.long": "The queue at {zone} is long: {length}",
    "queue.long.bare": "The queue at {zone} is long",
    "agent.silent": "Agent {agent} has been silent since {since}",
    "sensor.fault": "Sensor {sensor} is not well: {reason}",
    "sensor.fault.bare": "Sensor {sensor} is not well",
  },
  otherEvent: "{name}: {subject}",
  zonesVisited: (count) => plural(count, "zone", "zones"),
  items: (count, product) => `${number(count)} × ${product}`,
  aProduct: "a product",
  checking: "being checked",
  takenBack: "taken back",
  digest: (parts) => `Lately: ${parts.join(", ")}.`,
  digestKinds: {
    "visit.started": (count) => plural(count, "visit began", "visits began"),
    "visit.ended": (count) => plural(count, "visit ended", "visits ended"),
    "dwell.recorded": (count) => plural(count, "stay recorded", "stays recorded"),
    "shelf.picked": (count) => plural(count, "product taken", "products taken"),
    "shelf.returned": (count) => plural(count, "product put back", "products put back"),
    "tag.tapped": (count) => plural(count, "tap", "taps"),
    "queue.long": (count) => plural(count, "long queue", "long queues"),
    "shelf.empty": (count) => plural(count, "product ran out", "products ran out"),
    "agent.silent": (count) => plural(count, "silent agent", "silent agents"),
  },
  title: (people, store) => `(${number(people)}) ${store} · fanous`,
};

// Clock times in the store's own time zone; an unknown zone falls back to UTC and says so.
export const createClock = (timezone) => {
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  let format;
  let zone = "";
  try {
    format = new Intl.DateTimeFormat(language, { ...options, timeZone: timezone });
  } catch {
    format = new Intl.DateTimeFormat(language, { ...options, timeZone: "UTC" });
    zone = "UTC";
  }
  const clock = (time_ms) => (Number.isFinite(time_ms) ? format.format(time_ms) : "–");
  return Object.assign(clock, { zone });
};
