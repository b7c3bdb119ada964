const FIRST_RETRY = 250; // milliseconds, doubled for each retry up to the last
const LAST_RETRY = 8000;

/** Pauses that can all be ended early. */
export function pauses() {
  const ends = new Set();
  const pause = (milliseconds) =>
    new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        ends.delete(end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      ends.add(end);
    });
  /** Full jitter: pages that failed together do not ask again together. */
  const retry = (round, first = FIRST_RETRY) => pause(Math.random() * Math.min(LAST_RETRY, first * 2 ** round));
  return { pause, retry, endAll: () => ends.forEach((end) => end()) };
}
