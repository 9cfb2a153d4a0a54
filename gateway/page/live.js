// The line to the gateway: server-sent events that come back by themselves.
//
// A line that broke is taken up again by the browser, which tells the gateway what it heard
// last. Where the browser gives up (the gateway answered, but not with a stream), or tries
// in vain for long, the page opens a new one, sooner at first and then at most every ten
// seconds, with some chance in the delay so that fifty screens do not return in one
// instant. A stream that is open but silent is called stalled, and is opened anew if it
// stays so: a picture that no longer moves must not look alive.

const STALLED_AFTER_MS = 4000;
const REOPENED_AFTER_MS = 20000;
const HUNG_AFTER_MS = 60000;
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 10000;
const REQUEST_LIMIT_MS = 8000;

// JSON of an address, or an error with `status` (0 when the gateway cannot be reached).
export const fetchJson = async (url) => {
  let answer;
  try {
    answer = await fetch(url, {
      headers: { accept: "application/json" },
      cache: "no-store",
      signal: AbortSignal.timeout(REQUEST_LIMIT_MS),
    });
  } catch (error) {
    throw Object.assign(new Error("unreachable", { cause: error }), { status: 0 });
  }
  if (!answer.ok) {
    throw Object.assign(new Error(`status ${answer.status}`), { status: answer.status });
  }
  return answer.json();
};

export const createLine = ({ url, onMessage, onState }) => {
  let source = null;
  let timer = 0;
  let failures = 0;
  let opened_ms = 0;
  let heard_ms = 0;
  let everHeard = false;
  let state = "";

  const become = (next) => {
    if (next !== state) {
      const before = state;
      state = next;
      onState(next, before);
    }
  };

  const close = () => {
    source?.close();
    source = null;
  };

  const retry = () => {
    close();
    become(everHeard ? "reconnecting" : "connecting");
    const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures);
    failures += 1;
    clearTimeout(timer);
    timer = setTimeout(open, longest * (0.5 + 0.5 * Math.random()));
  };

  const lose = () => {
    if (source?.readyState === EventSource.CONNECTING) {
      become(everHeard ? "reconnecting" : "connecting");
    } else {
      retry();
    }
  };

  const receive = (event) => {
    let message;
    try {
      message = JSON.parse(event.data);
    } catch {
      return; // Half a message is no message; the watch calls the line stalled if it goes on.
    }
    if (message === null || typeof message !== "object") {
      return;
    }
    heard_ms = performance.now();
    everHeard = true;
    failures = 0;
    become("live");
    onMessage(message, heard_ms);
  };

  const open = () => {
    clearTimeout(timer);
    close();
    opened_ms = performance.now();
    source = new EventSource(url);
    source.addEventListener("message", receive);
    source.addEventListener("error", lose);
  };

  const watch = () => {
    if (source === null) {
      return;
    }
    const silent_ms = performance.now() - Math.max(heard_ms, opened_ms);
    const isTrying = source.readyState === EventSource.CONNECTING;
    if (silent_ms > (isTrying ? HUNG_AFTER_MS : REOPENED_AFTER_MS)) {
      retry();
    } else if (silent_ms > STALLED_AFTER_MS && state === "live") {
      become("stalled");
    }
  };

  // A laptop that wakes or a network that returns need not wait for the timer.
  const hurry = () => {
    if (source === null && document.visibilityState === "visible") {
      failures = 0;
      open();
    }
  };

  return {
    start: () => {
      become("connecting");
      open();
      setInterval(watch, 1000);
      window.addEventListener("online", hurry);
      document.addEventListener("visibilitychange", hurry);
      window.addEventListener("pagehide", close);
      window.addEventListener("pageshow", (event) => event.persisted && open());
    },
  };
};
