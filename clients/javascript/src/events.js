const SILENCE = 45000; // milliseconds without a byte after which a connection is dead: the gateway writes every 15 seconds
const CLOCK_ERROR = 2000; // milliseconds between the clocks of page and server that are not corrected

/** Yields the events of an event stream as objects of the fields that they have. */
async function* eventsOf(reader, progress) {
  const decoder = new TextDecoder();
  let event = {};
  let rest = '';
  for (let read; !(read = await reader.read()).done; ) {
    progress(SILENCE);
    const text = decoder.decode(read.value, { stream: true });
    rest += text;
    if (!/[\r\n]/.test(text)) continue; // a long line, in many pieces
    const lines = rest.split(/\r\n|\n|\r(?=[^])/);
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*):? ?([^]*)/.exec(line);
      if (field) event[field] = field === 'data' && 'data' in event ? `${event.data}\n${value}` : value;
      if (line) continue;
      yield event;
      event = {};
    }
  }
}

/**
 * A channel of a tokenstream gateway, read by server-sent events. To a stream it looks like a channel of ably-js: it is
 * attached while connected, and continuity is lost where the gateway sends what it has stored.
 * The position is the id of the last event before which nothing is missing, so that a connection that is lost while
 * snapshots arrive starts with them again.
 */
export class EventChannel {
  state = 'initialized';
  loadsItself = true;
  #options;
  #with;
  #onState;
  #onMessage;
  #closed = false;
  #reader;
  #position;
  #newest;
  #retry = 1000;
  #restartAfter = 0;
  #snapshots = new Set(); // ids

  /** Needs means of the stream: `ask` for the gateway, `pauses`, `responses`, `hydrate(record)`, `load(id)` and `report(error)`. */
  constructor(options, means) {
    this.name = options.channel;
    this.#options = options;
    this.#with = means;
  }

  on(listener) {
    this.#onState = listener;
  }

  off() {}

  async subscribe(listener) {
    this.#onMessage = listener;
    this.#follow();
  }

  unsubscribe() {
    this.#closed = true;
  }

  /** Reads everything from the start where something is missing, though not too often. A gateway has no history. */
  restart(isAttaching) {
    const now = performance.now();
    if (isAttaching || now < this.#restartAfter) return;
    this.#restartAfter = now + 2 * this.#options.repairTimeout;
    this.#position = null;
    this.#reader?.cancel();
  }

  async #follow() {
    for (let round = 0; ; round += 1) {
      let after = 0;
      try {
        await this.#with.ask(this.#path, {
          headers: { Accept: 'text/event-stream', ...(this.#position && { 'Last-Event-ID': this.#position }) },
          cache: 'no-store',
          read: (answer, progress) => {
            round = 0;
            return this.#read(answer, progress);
          },
        });
      } catch (error) {
        if (this.#closed) return;
        if (this.#isFinal(error, round)) return this.#set('failed', { reason: error });
        this.#with.report(error);
        after = error.answer?.headers.get('Retry-After') * 1000 || 0;
      }
      if (this.#closed) return;
      this.#set('suspended');
      if (after) await this.#with.pauses.pause(after);
      await this.#with.pauses.retry(round, this.#retry);
    }
  }

  get #path() {
    const { channel, limit } = this.#options;
    const name = encodeURIComponent(channel);
    return `${/\//.test(channel) ? `/events?channel=${name}&` : `/channels/${name}/events?`}limit=${limit}`;
  }

  /** Whether asking again gives the same answer. Headers that are made for each request may be good the next time. */
  #isFinal({ status }, round) {
    const refused = status >= 400 && status < 500 && status !== 408 && status !== 429;
    return refused && (round > 0 || typeof this.#options.headers !== 'function');
  }

  async #read(answer, progress) {
    const shift = Date.parse(answer.headers.get('Date')) - Date.now();
    const clock = Math.abs(shift) > CLOCK_ERROR ? shift : 0;
    this.#reader = answer.body.getReader();
    progress(SILENCE);
    this.#set(this.#position ? 'attached' : 'attaching', { resumed: true });
    for await (const { event, id, retry, data } of eventsOf(this.#reader, progress)) {
      this.#retry = +retry || this.#retry;
      this.#newest = id ?? this.#newest;
      if (event === 'bye') return;
      if (event === 'snapshot' || event === 'reset') this.#set('attaching');
      if (event === 'ready') this.#loaded();
      if (this.state === 'attached') this.#position = this.#newest;
      if (data && event !== 'ready' && event !== 'reset') this.#take(JSON.parse(data), Date.now() + clock);
    }
  }

  /** Open responses that had no snapshot may have ended long before the newest that did. */
  #loaded() {
    if (this.state === 'attached') return;
    this.#set('attached');
    const { load, responses } = this.#with;
    for (const { id, finished } of responses.values()) if (!finished && !this.#snapshots.has(id)) load(id);
    this.#snapshots.clear();
  }

  #take({ name, data, headers, ts = null }, now) {
    const { clientId } = this.#options;
    if (name !== 'snapshot') return this.#onMessage({ name, data, extras: { headers }, clientId, timestamp: ts ?? now });
    this.#snapshots.add(data.responseId);
    this.#with.hydrate(data);
  }

  #set(current, change) {
    if (current === this.state) return;
    this.state = current;
    this.#onState({ current, ...change });
  }
}
