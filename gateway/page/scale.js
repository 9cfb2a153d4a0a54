// From people to colour: six steps that a person can name, with bounds that fit the store.
//
// Step 0 is an empty zone. A corner shop needs 1, 2, 3, 4, 5; a hall needs 1, 50, 100 ...
// The bounds follow the fullest zone of the last quarter of an hour, so colours mean the
// same for minutes on end and one crowd in the morning does not fade the whole day.

const BOUNDS = [
  [1, 2, 3, 4, 5],
  [1, 3, 5, 7, 9],
  [1, 4, 8, 12, 16],
  [1, 6, 12, 20, 30],
  [1, 11, 26, 51, 76],
  [1, 51, 101, 201, 301],
  [1, 101, 251, 501, 1001],
];
const REMEMBERED_MINUTES = 15;

const boundsFor = (peak) =>
  BOUNDS.find((bounds) => peak <= bounds[4] + (bounds[4] - bounds[3])) ?? BOUNDS.at(-1);

// The step of a number of people; unknown (null) has no step.
export const levelOf = (people, bounds) => {
  if (!Number.isFinite(people)) {
    return "unknown";
  }
  let level = 0;
  while (level < bounds.length && people >= bounds[level]) {
    level += 1;
  }
  return level;
};

// "0", "1", "2–3", "4+" for the legend, from step 0 up.
export const rangesOf = (bounds, number) => [
  number(0),
  ...bounds.map((low, index) => {
    if (index === bounds.length - 1) {
      return `${number(low)}+`;
    }
    const high = bounds[index + 1] - 1;
    return high === low ? number(low) : `${number(low)}–${number(high)}`;
  }),
];

// Remembers the peak of each recent minute and gives the bounds that fit.
export const createScale = () => {
  const peaks = new Map();
  return (counts, now_ms) => {
    const minute = Math.floor(now_ms / 60000);
    const peak = counts.reduce((most, people) => Math.max(most, people || 0), 0);
    peaks.set(minute, Math.max(peaks.get(minute) ?? 0, peak));
    for (const old of peaks.keys()) {
      if (old <= minute - REMEMBERED_MINUTES) {
        peaks.delete(old);
      }
    }
    return boundsFor(Math.max(...peaks.values()));
  };
};
