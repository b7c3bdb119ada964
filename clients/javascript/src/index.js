import { apiOf } from './api.js';
import { pauses } from './pauses.js';
import { Reader } from './reader.js';
import { within } from './requests.js';
import { report, sha256, snapshotOf } from './snapshot.js';
import { unloading } from './unloading.js';

export { Reader };

const OVERTAKING = 250; // milliseconds in which frames that overtook each other fill the hole themselves
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

const pathOf = (id) => `/responses/${encodeURIComponent(id)}`;
const ablyCode = () => import('./ably.js');

class Stream {
  #channel = { state: 'initialized', unsubscribe() {}, off() {} }; // while the code of the events is loaded
  #options;
  #connection;
  #reader;
  #listeners = {};
  #state = 'catching-up';
  #abort = new AbortController();
  #working = false;
  #wanted = true; // to be hydrated: at first, and after every discontinuity
  #untilAttach = false;
  #attachedOnce = false;
  #again = false; // continuity was lost after an earlier attach
  #detachedByClose = false;
  #unloading = unloading();
  #needySince = new Map();
  #pauses = pauses();
  #ask;
  #settleReady;
  /** Why the channel failed, as without a capability; null while it has not. */
  failure = null;
  /** Resolves when all that is stored is loaded and frames arrive live; rejects when the channel fails or is closed before. */
  ready;

  constructor(source, options) {
    const isUrl = typeof source === 'string';
    this.#options = { ...DEFAULTS, api: isUrl ? source : null, ...options };
    this.#ask = apiOf(this.#options, this.#abort.signal);
    if (!isUrl) this.#channel = source;
    this.#connection = options.connection ?? this.#channel.client?.connection;
    this.#reader = new Reader({ ...this.#options, onDrop: (id) => this.#emit('remove', id) });
    this.ready = new Promise((resolve, reject) => (this.#settleReady = { resolve, reject }));
    this.ready.catch(() => {}); // told by 'error' as well; nobody has to wait for it
    if (isUrl) this.#loadChannel(source);
    else this.#follow();
    if (!isUrl) ablyCode().catch(() => {}); // loaded again when it is needed
  }

  /** `live`, `catching-up` (loading what was missed), `stale` (cut off) or `closed`. */
  get state() {
    return this.#state;
  }

  get #isClosed() {
    return this.#abort.signal.aborted;
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
    (this.#listeners[event] ??= new Set()).add(listener);
    return () => this.off(event, listener);
  }

  off(event, listener) {
    this.#listeners[event]?.delete(listener);
  }

  /**
   * Asks for a response to be cancelled. Resolves with it once its end is applied here, whatever its reason. Rejects when the
   * API refuses (with `status` and `code`) or does not answer, and when no end came within `timeout` milliseconds.
   */
  async cancel(id, { reason, timeout = this.#options.repairTimeout } = {}) {
    if (!this.#options.api) throw new Error('Cancelling needs the option `api`');
    const isEnded = () => this.#reader.responses.get(id)?.finished;
    if (isEnded()) return this.get(id);
    const body = new Blob([JSON.stringify({ channel: this.#name, reason })], { type: 'application/json' });
    const answer = await this.#ask(`${pathOf(id)}/cancel`, { method: 'POST', body });
    if (answer.status) this.#take(answer); // the record of a response that has ended
    else if (!isEnded()) await this.#within(timeout, `Cancelling ${id}`, (signal) => this.#until(isEnded, signal));
    return this.get(id);
  }

  /** Stop listening to the channel. The channel and its connection stay yours. */
  close() {
    if (this.#isClosed) return;
    this.#abort.abort();
    this.#pauses.endAll();
    this.#channel.unsubscribe(this.#onMessage);
    this.#channel.off(this.#onChannel);
    this.#connection?.off(this.#onConnection);
    this.#unloading.end();
    this.#refresh();
    this.#settleReady.reject(new Error('The stream was closed'));
    this.#listeners = {};
  }

  /** Resolves when `look` is true after a change. */
  #until(look, signal) {
    return new Promise((resolve) => {
      const off = this.on('change', () => look() && resolve());
      signal.addEventListener('abort', off);
    });
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

  /** Pages that read from Ably do not load the code that reads events. */
  async #loadChannel(api) {
    const means = {
      ask: apiOf({ ...this.#options, api }, this.#abort.signal),
      pauses: this.#pauses,
      responses: this.#reader.responses,
      hydrate: (record) => this.#take(record),
      load: (id) => this.#attempt(() => this.#load(id)),
      report: (error) => this.#emit('error', error),
    };
    try {
      const { EventChannel } = await import('./events.js');
      if (this.#isClosed) return;
      this.#channel = new EventChannel(this.#options, means);
      this.#follow();
    } catch (error) {
      this.#fail(error);
    }
  }

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
    for (let round = 0; !(await this.#attempt(() => this.#sdk('Attaching the channel', attach))); round += 1) {
      await this.#pauses.retry(round);
      if (this.#isClosed || ['attached', 'failed'].includes(this.#channel.state)) return;
      attach = () => this.#channel.attach();
    }
  }

  async #reopen() {
    await this.#pauses.pause(this.#unloading.after);
    if (this.#isClosed || this.#connection.state !== 'closed') return;
    if (this.#options.reconnect && this.#unloading.closedIt()) this.#connection.connect();
    else this.#emit('error', new Error('The connection is closed. Call `connection.connect()` to read on.'));
  }

  #fail(reason) {
    this.failure = reason;
    this.#emit('error', reason);
    this.#settleReady.reject(reason);
  }

  #catchUp(untilAttach) {
    this.#again = this.#attachedOnce;
    this.#attachedOnce = true;
    this.#wanted = true;
    this.#untilAttach = untilAttach;
    this.#pauses.endAll();
    this.#work();
  }

  async #work() {
    if (this.#working) return;
    this.#working = true;
    if (!this.#wanted) await this.#pauses.pause(OVERTAKING);
    else if (this.#again) await this.#pauses.pause(Math.random() * SPREAD);
    for (let round = 0; this.#hasWork(); round += 1) {
      this.#refresh();
      const hydrate = this.#wanted;
      this.#wanted = false;
      if (!(await this.#round(hydrate))) this.#wanted ||= hydrate;
      this.#giveUpTheOld();
      if (this.#hasWork()) await this.#pauses.retry(round);
    }
    this.#needySince.clear();
    this.#working = false;
    this.#refresh();
  }

  #hasWork() {
    const attached = this.#channel.state === 'attached' && !this.#isClosed;
    return attached && (this.#wanted || this.#reader.needs().length > 0);
  }

  /** One try at having everything. Returns whether what was asked for was answered. */
  async #round(hydrate) {
    const { api } = this.#options;
    const reader = this.#reader;
    let answered = true;
    if (api && hydrate && !this.#channel.loadsItself) answered = await this.#attempt(() => this.#hydrate());
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
      if (!this.#isClosed) this.#emit('error', error);
      return false;
    }
  }

  async #hydrate() {
    const { hydrate } = await ablyCode();
    await hydrate(this.#ask, this.#name, this.#options.limit, (record) => this.#take(record));
  }

  async #load(id) {
    const record = await this.#ask(pathOf(id), { isOptional: true });
    if (record) this.#take(record);
  }

  #take(record) {
    this.#changed(this.#reader.hydrate(record));
  }

  /** The channel's name without ably-js' qualifier, such as `[?rewind=1]`. */
  get #name() {
    return (this.#options.channel ?? this.#channel.name).replace(/^\[[^\]]*\]/, '');
  }

  #within(milliseconds, what, action) {
    return within({ milliseconds, what, closed: this.#abort.signal }, action);
  }

  #sdk(what, action) {
    return this.#within(this.#options.requestTimeout * SDK_TIMEOUTS, `${what} ${this.#channel.name}`, action);
  }

  /** A gateway's channel reads from the start instead. */
  async #readHistory(hydrate) {
    const everything = hydrate && !this.#options.api;
    const untilAttach = this.#untilAttach;
    this.#untilAttach = false; // a second try reads up to now
    if (this.#channel.loadsItself) return this.#channel.restart(untilAttach);
    const { History } = await ablyCode();
    const ask = (what, action) => this.#sdk(what, action);
    const history = new History(this.#channel, this.#reader, this.#options, ask, (id) => this.#changed(id));
    await history.read({ everything, untilAttach });
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
    if (this.#isClosed) next = 'closed';
    if (next === 'live') this.#settleReady.resolve();
    if (next === this.#state) return;
    this.#state = next;
    this.#emit('state', next);
  }

  #emit(event, value) {
    for (const listener of [...(this.#listeners[event] ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        report(error); // the page's own mistake: told, and no harm to the stream
      }
    }
  }
}

/** Follows the responses of a channel: an ably-js channel, or `options.channel` of the gateway at a URL such as `/v1`. */
export function tokenstream(source, options = {}) {
  return new Stream(source, options);
}
