// How often messages come and how fast store time runs, both smoothed.
//
// Marks glide for as long as messages take, and a demo that runs ten times as fast as the
// clock on the wall says so instead of showing people who sprint.

const SHORTEST_MS = 50;
const LONGEST_MS = 5000; // a longer gap is an interruption, not a pace
const FASTEST = 1000;
const MEMORY = 0.7;

export const createPace = () => {
  let last = null;
  let interval = 1000;
  let factor = null; // unknown until two messages came
  return {
    take: (t_ns, now_ms) => {
      if (last !== null && last.t_ns > 0) {
        const wall_ms = now_ms - last.now_ms;
        if (wall_ms > SHORTEST_MS && wall_ms < LONGEST_MS) {
          interval = MEMORY * interval + (1 - MEMORY) * wall_ms;
          const fresh = (t_ns - last.t_ns) / 1e6 / wall_ms;
          if (!(fresh >= 0 && fresh < FASTEST)) {
            factor = null; // the data began anew
          } else {
            factor = factor === null ? fresh : MEMORY * factor + (1 - MEMORY) * fresh;
          }
        }
      }
      last = { t_ns, now_ms };
    },
    interval_ms: () => Math.min(2500, Math.max(100, interval)),
    factor: () => factor ?? 1,
  };
};
