import { Reader } from './reader.js';
import { jsonOf, within } from './requests.js';
import { report, sha256, snapshotOf } from './snapshot.js';
import { Unloading } from './unloading.js';

export { Reader };

const PAGE = 500;
const MOST_ITEMS = 500; // of a page of the API
const RECENT = 120000; // milliseconds in which a response that ended is stored, outages aside
const FIRST_RETRY = 250; // milliseconds, doubled for each retry up to the last
const LAST_RETRY = 8000;
const SPREAD = 1000; // milliseconds over which pages that lost continuity at the same moment start to load
const SDK_TIMEOUTS = 3; // request timeouts given to ably-js, which tries other hosts before it gives up
const DEFAULTS = {
  clientId: 'tokenstream',
  limit: 20,
  historyPages: 20,
  repairTimeout: 30000,
  requestTimeout: 10000,
  reconnect: true,
};

const idOf = ({ extras }) => extras?.headers?.responseId;

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
  #again = false; // continuity was lost after an earlier attach
  #detachedByClose = false;
  #unloading = new Unloading();
  #needySince = new Map();
  #pauses = new Set();
  #settleReady;
  /** Resolves when all that is stored is loaded and frames arrive live; rejects when the channel fails or is closed before. */
  ready;

  constructor(channel, options) {
    this.#channel = channel;
    this.#options = { ...DEFAULTS, ...options };
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
    this.#unloading.end();
    this.#refresh();
    this.#settleReady.reject(new Error('The stream was closed'));
    this.#listeners.clear();
  }

  #onMessage = (message) => this.#changed(this.#reader.feed(message));

  #onChannel = ({ current, resumed, reason }) => {
    if (current === 'attached' && !(resumed && this.#attachedOnce)) this.#catchUp(true);
    else if (current === 'attached') this.#work();
    if (current === 'failed') this.#fail(reason);
    if (current === 'detached') this.#detachedByClose = this.#connection?.state !== 'connected';
    this.#refresh();
  };

  #onConnection = ({ current } = {}) => {
    if (current === 'closing') this.#unloading.closing();
    if (current === 'closed') this.#reopen();
    if (current === 'connected' && this.#detachedByClose && this.#channel.state === 'detached') this.#attach();
    this.#refresh();
  };

  #follow() {
    this.#channel.on(this.#onChannel);
    this.#connection?.on(this.#onConnection);
    const before = this.#channel.state === 'attached';
    this.#attach(() => this.#channel.subscribe(this.#onMessage)).then(
      () => before && this.#catchUp(false), // what came between that attach and now is in no history until attach
    );
  }

  /** Tries until the channel is attached or has failed; ably-js alone gives up where its connection was lost. */
  async #attach(attach = () => this.#channel.attach()) {
    const { requestTimeout } = this.#options;
    const what = `Attaching the channel ${this.#channel.name}`;
    for (let round = 0; ; round += 1) {
      if (await this.#attempt(() => this.#within(requestTimeout * SDK_TIMEOUTS, what, attach))) return;
      await this.#retryPause(round);
      if (this.#abort.signal.aborted || ['attached', 'failed'].includes(this.#channel.state)) return;
      attach = () => this.#channel.attach();
    }
  }

  async #reopen() {
    await this.#pause(this.#unloading.after);
    if (this.#abort.signal.aborted || this.#connection.state !== 'closed') return;
    if (this.#options.reconnect && this.#unloading.closedIt) this.#connection.connect();
    else this.#emit('error', new Error('The connection is closed. Call `connection.connect()` to read on.'));
  }

  #fail(reason) {
    this.#emit('error', reason);
    this.#settleReady.reject(reason);
  }

  #catchUp(untilAttach) {
    this.#again = this.#attachedOnce;
    this.#attachedOnce = true;
    this.#wanted = true;
    this.#untilAttach = untilAttach;
    this.#wake();
    this.#work();
  }

  async #work() {
    if (this.#working) return;
    this.#working = true;
    if (!this.#wanted) await this.#pause(FIRST_RETRY); // frames that overtook each other fill the hole themselves
    else if (this.#again) await this.#pause(Math.random() * SPREAD);
    for (let round = 0; this.#hasWork(); round += 1) {
      this.#refresh();
      const hydrate = this.#wanted;
      this.#wanted = false;
      if (!(await this.#round(hydrate))) this.#wanted ||= hydrate;
      this.#giveUpTheOld();
      if (this.#hasWork()) await this.#retryPause(round);
    }
    this.#needySince.clear();
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
    if (api && !hydrate) await this.#loadAll(reader.needs().values());
    return answered;
  }

  /** Four at once; each stops at its first failure, so that an API that hangs does not hold up the round. */
  async #loadAll(ids) {
    const load = async () => {
      for (const id of ids) if (!(await this.#attempt(() => this.#load(id)))) return;
    };
    await Promise.all([load(), load(), load(), load()]);
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

  /**
   * The API gives open responses first, then finished ones; a page with a cursor is not the last one. Where open ones are left,
   * finished ones in the page ended meanwhile, and count for nothing.
   */
  async #hydrate() {
    const { limit } = this.#options;
    let finished = 0;
    let before = null;
    let next = null;
    do {
      before = next;
      const asked = `limit=${Math.min(MOST_ITEMS, limit - finished)}`;
      const page = await this.#hydration(before === null ? asked : `${asked}&before=${encodeURIComponent(before)}`);
      for (const record of page.items.reverse()) {
        if (record.status !== 'streaming' && !page.moreOpen) finished += 1;
        this.#changed(this.#reader.hydrate(record));
      }
      next = page.next ?? null;
    } while (next !== null && next !== before && (finished < limit || limit === 0));
  }

  async #hydration(query) {
    const name = encodeURIComponent(this.#channel.name.replace(/^\[[^\]]*\]/, ''));
    const page = await this.#fetch(`/channels/${name}/hydrate?${query}`);
    return page ?? this.#fetch(`/hydrate?channel=${name}&${query}`); // a proxy decoded the path: the name has a slash
  }

  async #load(id) {
    const record = await this.#fetch(`/responses/${encodeURIComponent(id)}`);
    if (record) this.#changed(this.#reader.hydrate(record));
  }

  async #fetch(path) {
    const { api, headers = {}, fetch = globalThis.fetch, requestTimeout } = this.#options;
    const url = api.replace(/\/$/, '') + path;
    return this.#within(requestTimeout, `GET ${url}`, async (signal, progress) => {
      const given = typeof headers === 'function' ? await headers() : headers;
      const answer = await fetch(url, { headers: given, signal });
      if (answer.status === 404 && !path.startsWith('/hydrate')) return null; // not stored yet, or no such path
      if (!answer.ok) throw new Error(`GET ${url} answered ${answer.status}`);
      return jsonOf(answer, progress);
    });
  }

  #within(milliseconds, what, action) {
    return within({ milliseconds, what, closed: this.#abort.signal }, action);
  }

  #ask(what, action) {
    return this.#within(this.#options.requestTimeout * SDK_TIMEOUTS, `${what} of ${this.#channel.name}`, action);
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
    const range = untilAttach ? { untilAttach, limit: PAGE } : { limit: PAGE };
    let page = await this.#ask('The history', () => this.#channel.history(range));
    for (let pages = 1; page; pages += 1) {
      for (const message of page.items) {
        messages.push(message);
        first.set(idOf(message), Number(message.extras?.headers?.seq));
      }
      const enough = !everything && reader.needs().every(isReached);
      const more = !enough && pages < this.#options.historyPages && page.hasNext();
      const { next } = page;
      page = more ? await this.#ask('The history', () => next.call(page)) : null;
    }
    const isWanted = everything ? () => true : await this.#notLongStored(messages);
    for (const message of messages.reverse()) if (isWanted(message)) this.#changed(reader.replay(message));
    if (everything) this.#forgetTheCut();
  }

  /**
   * What the store may not have yet: responses that began in this stretch of history, unless they ended long ago - such
   * a one is beyond the limit, or was deleted. What began before is in the store.
   */
  async #notLongStored(messages) {
    const { responses } = this.#reader;
    const isNew = (message) => !responses.has(idOf(message));
    const begun = new Set(messages.filter((message) => message.name === 'start' && isNew(message)).map(idOf));
    const stops = messages.filter((message) => message.name === 'stop' && begun.has(idOf(message)));
    const now = stops.length && (await this.#serverTime(messages[0].timestamp));
    for (const stop of stops) if (stop.timestamp < now - RECENT) begun.delete(idOf(stop));
    return (message) => !isNew(message) || begun.has(idOf(message));
  }

  /** By the clock that messages are stamped with, as the page's own may be minutes off; at least that of the newest. */
  async #serverTime(newest) {
    const { client } = this.#channel;
    const asked = client?.time && this.#ask('The time', () => client.time()).catch(() => newest);
    return Math.max(newest, (await asked) ?? newest);
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
      const { finished, complete } = this.#reader.responses.get(id);
      const waiting = now - this.#needySince.get(id) < this.#options.repairTimeout;
      if (waiting && (this.#options.api || !finished)) continue; // what has finished is replaced by its record alone
      this.#needySince.delete(id);
      this.#changed(this.#reader.giveUp(id));
      if (complete) this.#emit('error', new Error(`Response ${id} misses what neither history nor the API has`));
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

  /** Full jitter: pages that failed together do not ask again together. */
  #retryPause(round) {
    return this.#pause(Math.random() * Math.min(LAST_RETRY, FIRST_RETRY * 2 ** round));
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#pauses.delete(end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      this.#pauses.add(end);
    });
  }

  #wake() {
    for (const end of this.#pauses) end();
  }
}

/** Follow the responses of an ably-js channel. */
export function tokenstream(channel, options = {}) {
  return new Stream(channel, options);
}
