import { Reader } from './reader.js';

export { Reader };

const PAGE = 500;
const RECENT = 120000; // milliseconds in which a response that ended is stored, outages aside
const BACKOFF = [250, 500, 1000, 2000, 4000];

async function sha256(text) {
  const subtle = globalThis.crypto?.subtle; // absent where the page is not a secure context
  if (!subtle) return null;
  const bytes = new Uint8Array(await subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function report(error) {
  if (globalThis.reportError) return globalThis.reportError(error);
  setTimeout(() => {
    throw error;
  });
}

/** What listeners get: a value of its own, so that keeping or comparing it is safe. */
function snapshotOf(response) {
  const { id, status, reason, error, metadata, usage, startedAt, firstTokenAt, tokens, frames, verified } = response;
  const common = { id, status, reason, error, metadata, usage, startedAt, firstTokenAt, tokens, frames, verified };
  const parts = [...response.parts.values()].map(({ part, kind, info, text }) => {
    return { part, kind, info, text, sha256: response.expected?.get(part)?.sha256 ?? null };
  });
  const text = response.parts.get('text')?.text ?? '';
  const { last: seq, complete, broken: repairing } = response;
  return { ...common, text, parts, seq, gaps: [...response.gaps], repairing, complete };
}

class Stream {
  #channel;
  #options;
  #connection;
  #reader;
  #listeners = new Map();
  #state = 'catching-up';
  #abort = new AbortController();
  #working = false;
  #wanted = true; // to be hydrated: at first, and after every discontinuity
  #untilAttach = false;
  #attachedOnce = false;
  #needySince = new Map();
  #wake = () => {};
  #settleReady;
  /** Resolves when everything stored is loaded and frames arrive live. */
  ready;

  constructor(channel, options) {
    this.#channel = channel;
    this.#options = { clientId: 'tokenstream', limit: 20, historyPages: 20, repairTimeout: 30000, ...options };
    this.#connection = options.connection ?? channel.client?.connection;
    this.#reader = new Reader({
      clientId: this.#options.clientId,
      limits: this.#options.limits,
      onDrop: (id) => this.#emit('remove', id),
    });
    this.ready = new Promise((resolve, reject) => (this.#settleReady = { resolve, reject }));
    this.ready.catch(() => {}); // told by 'error' as well; nobody has to wait for it
    this.#follow();
  }

  /** `live`, `catching-up` (loading what was missed), `stale` (cut off) or `closed`. */
  get state() {
    return this.#state;
  }

  get counts() {
    return { ...this.#reader.counts };
  }

  /** All responses in hand, the first begun first. */
  get responses() {
    const all = [...this.#reader.responses.values()].map(snapshotOf);
    return all.sort((a, b) => (a.startedAt ?? Infinity) - (b.startedAt ?? Infinity) || 0);
  }

  get(id) {
    const response = this.#reader.responses.get(id);
    return response && snapshotOf(response);
  }

  /** Listen to `change`, `remove`, `state` or `error`; returns what ends it. */
  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return () => this.off(event, listener);
  }

  off(event, listener) {
    this.#listeners.get(event)?.delete(listener);
  }

  /** Stop listening to the channel. The channel and its connection stay yours. */
  close() {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    this.#wake();
    this.#channel.unsubscribe(this.#onMessage);
    this.#channel.off(this.#onChannel);
    this.#connection?.off(this.#onConnection);
    this.#refresh();
    this.#settleReady.reject(new Error('The stream was closed'));
    this.#listeners.clear();
  }

  #onMessage = (message) => this.#changed(this.#reader.feed(message));

  #onChannel = ({ current, resumed, reason }) => {
    if (current === 'attached' && !(resumed && this.#attachedOnce)) this.#catchUp(true);
    else if (current === 'attached') this.#work();
    if (current === 'failed') this.#fail(reason);
    this.#refresh();
  };

  #onConnection = () => this.#refresh();

  #follow() {
    this.#channel.on(this.#onChannel);
    this.#connection?.on(this.#onConnection);
    const before = this.#channel.state === 'attached';
    Promise.resolve(this.#channel.subscribe(this.#onMessage)).then(
      () => before && this.#catchUp(false), // what came between that attach and now is in no history until attach
      (error) => this.#emit('error', error),
    );
  }

  #fail(reason) {
    this.#emit('error', reason);
    this.#settleReady.reject(reason);
  }

  #catchUp(untilAttach) {
    this.#attachedOnce = true;
    this.#wanted = true;
    this.#untilAttach = untilAttach;
    this.#wake();
    this.#work();
  }

  async #work() {
    if (this.#working) return;
    this.#working = true;
    if (!this.#wanted) await this.#pause(BACKOFF[0]); // frames that overtook each other mend themselves
    for (let round = 0; this.#hasWork(); round += 1) {
      this.#refresh();
      const hydrate = this.#wanted;
      this.#wanted = false;
      if (!(await this.#round(hydrate))) this.#wanted ||= hydrate;
      this.#giveUpTheOld();
      if (this.#hasWork()) await this.#pause(BACKOFF[Math.min(round, BACKOFF.length - 1)]);
    }
    this.#working = false;
    this.#refresh();
  }

  #hasWork() {
    const attached = this.#channel.state === 'attached' && !this.#abort.signal.aborted;
    return attached && (this.#wanted || this.#reader.needs().length > 0);
  }

  /** One try at having everything. Returns whether what was asked for was answered. */
  async #round(hydrate) {
    const { api } = this.#options;
    const reader = this.#reader;
    let answered = true;
    if (api && hydrate) answered = await this.#attempt(() => this.#hydrate());
    if (hydrate || reader.needs().length) {
      const read = await this.#attempt(() => this.#readHistory(hydrate));
      if (!api || reader.needs().length) answered &&= read;
    }
    if (api && !hydrate) {
      for (const id of reader.needs()) await this.#attempt(() => this.#load(id));
    }
    return answered;
  }

  async #attempt(action) {
    try {
      await action();
      return true;
    } catch (error) {
      if (!this.#abort.signal.aborted) this.#emit('error', error);
      return false;
    }
  }

  async #hydrate() {
    const name = encodeURIComponent(this.#channel.name.replace(/^\[[^\]]*\]/, ''));
    let finished = 0;
    let before = null;
    do {
      const cursor = before === null ? '' : `&before=${encodeURIComponent(before)}`;
      const page = await this.#fetch(`/channels/${name}/hydrate?limit=${this.#options.limit - finished}${cursor}`);
      for (const record of page.items.reverse()) {
        if (record.status !== 'streaming') finished += 1;
        this.#changed(this.#reader.hydrate(record));
      }
      before = page.items.length ? page.next : null;
    } while (before !== null && finished < this.#options.limit);
  }

  async #load(id) {
    const record = await this.#fetch(`/responses/${encodeURIComponent(id)}`);
    if (record) this.#changed(this.#reader.hydrate(record));
  }

  async #fetch(path) {
    const { api, headers = {}, fetch = globalThis.fetch } = this.#options;
    const given = typeof headers === 'function' ? await headers() : headers;
    const url = api.replace(/\/$/, '') + path;
    const answer = await fetch(url, { headers: given, signal: this.#abort.signal });
    if (answer.status === 404 && path.startsWith('/responses/')) return null; // not stored yet
    if (!answer.ok) throw new Error(`GET ${url} answered ${answer.status}`);
    return answer.json();
  }

  /** Read the channel's history backwards as far as it is needed, then apply it forwards. */
  async #readHistory(hydrate) {
    const reader = this.#reader;
    const everything = hydrate && !this.#options.api;
    const untilAttach = this.#untilAttach;
    this.#untilAttach = false; // a second try reads up to now
    const first = new Map();
    const isReached = (id) => reader.responses.get(id).finished || first.get(id) <= reader.responses.get(id).last + 1;
    const messages = [];
    let page = await this.#channel.history(untilAttach ? { untilAttach, limit: PAGE } : { limit: PAGE });
    for (let pages = 1; page; pages += 1) {
      for (const message of page.items) {
        messages.push(message);
        first.set(message.extras?.headers?.responseId, Number(message.extras?.headers?.seq));
      }
      const enough = !everything && reader.needs().every(isReached);
      page = !enough && pages < this.#options.historyPages && page.hasNext() ? await page.next() : null;
    }
    const isWanted = everything ? () => true : this.#notLongStored(messages);
    for (const message of messages.reverse()) if (isWanted(message)) this.#changed(reader.replay(message));
    if (everything) this.#forgetTheCut();
  }

  /**
   * What the store may not have yet: responses that began in this stretch of history, unless they ended long ago - such
   * a one is beyond the limit, or was deleted. What began before is in the store.
   */
  #notLongStored(messages) {
    const { responses } = this.#reader;
    const idOf = ({ extras }) => extras?.headers?.responseId;
    const begun = new Set(messages.filter(({ name }) => name === 'start').map(idOf));
    const isOld = ({ name, timestamp }) => name === 'stop' && timestamp < Date.now() - RECENT;
    for (const message of messages) if (isOld(message)) begun.delete(idOf(message));
    return (message) => responses.has(idOf(message)) || begun.has(idOf(message));
  }

  /** Responses that began before the history does: there is nowhere to get their beginning from. */
  #forgetTheCut() {
    for (const id of this.#reader.needs()) {
      const response = this.#reader.responses.get(id);
      if (response.last >= 0) continue;
      if ([...response.held.values()].some((frame) => frame.name === 'stop')) this.#reader.drop(id);
      else this.#changed(this.#reader.giveUp(id));
    }
  }

  #giveUpTheOld() {
    const now = performance.now();
    const needs = this.#reader.needs();
    for (const id of this.#needySince.keys()) if (!needs.includes(id)) this.#needySince.delete(id);
    for (const id of needs) {
      if (!this.#needySince.has(id)) this.#needySince.set(id, now);
      if (now - this.#needySince.get(id) < this.#options.repairTimeout) continue;
      this.#changed(this.#reader.giveUp(id));
      this.#emit('error', new Error(`Response ${id} misses something that neither history nor the API has`));
    }
  }

  #changed(id) {
    if (id === null) return;
    const response = this.#reader.responses.get(id);
    for (const unproven of this.#reader.unproven) {
      this.#reader.verify(unproven, sha256).then((changed) => this.#changed(changed));
    }
    if (!response) return;
    this.#emit('change', snapshotOf(response));
    if (response.broken) this.#work();
  }

  #refresh() {
    const { state } = this.#channel;
    const cut = state !== 'attached' || (this.#connection && this.#connection.state !== 'connected');
    let next = this.#working || this.#wanted ? 'catching-up' : 'live';
    if (cut && this.#attachedOnce) next = 'stale';
    if (this.#abort.signal.aborted) next = 'closed';
    if (next === 'live') this.#settleReady.resolve();
    if (next === this.#state) return;
    this.#state = next;
    this.#emit('state', next);
  }

  #emit(event, value) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        report(error); // the page's own mistake: told, and no harm to the stream
      }
    }
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Follow the responses of an ably-js channel. */
export function tokenstream(channel, options = {}) {
  return new Stream(channel, options);
}
