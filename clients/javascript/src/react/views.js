const NONE = Object.freeze([]);
const byBeginning = (a, b) => (a.startedAt ?? Infinity) - (b.startedAt ?? Infinity) || 0;

/** Listens to events of a stream, by name. Returns what ends it. */
function listening(stream, listeners) {
  const ends = Object.entries(listeners).map(([event, listener]) => stream.on(event, listener));
  return () => ends.forEach((end) => end());
}

/** All responses of a stream, its state, and its newest error. What did not change stays the same object. */
export const everything = {
  nothing: Object.freeze({ responses: NONE, state: 'catching-up', error: null }),
  watch(stream, changed) {
    const byId = new Map(stream.responses.map((response) => [response.id, response]));
    let responses = null;
    let error = stream.failure;
    const touch = () => {
      responses = null;
      changed();
    };
    const end = listening(stream, {
      change: (response) => touch(byId.set(response.id, response)),
      remove: (id) => touch(byId.delete(id)),
      state: (state) => {
        if (state === 'live') error = null;
        changed();
      },
      error: (given) => {
        error = given;
        changed();
      },
    });
    const read = () => ({ responses: (responses ??= [...byId.values()].sort(byBeginning)), state: stream.state, error });
    return { read, end };
  },
};

/** One response of a stream, null until it is known. */
export const one = (id) => ({
  nothing: null,
  watch(stream, changed) {
    let response = stream.get(id) ?? null;
    const end = listening(stream, {
      change: (given) => {
        if (given.id !== id) return;
        response = given;
        changed();
      },
      remove: (removed) => {
        if (removed !== id) return;
        response = null;
        changed();
      },
    });
    return { read: () => response, end };
  },
});
