import { tokenstream } from './index.js';

const byObject = new WeakMap(); // ably-js channel -> key -> shared stream
const byUrl = new Map(); // key -> shared stream

const isStream = (source) => typeof source.cancel === 'function' && source.ready instanceof Promise;
const isGateway = (source) => typeof source?.url === 'string';

/** What tells options apart. Functions do not: of those, the newest are used. */
export function keyOf({ connection, ...options } = {}) {
  return JSON.stringify(Object.entries(options).filter(([, value]) => typeof value !== 'function').sort());
}

/** What tells sources apart: a string for a gateway's channel, else the object itself. */
export function identityOf(source) {
  return isGateway(source) ? `${source.url}\n${source.channel}` : source;
}

function streamsOf(source) {
  if (isGateway(source)) return byUrl;
  if (!byObject.has(source)) byObject.set(source, new Map());
  return byObject.get(source);
}

function open(source, shared) {
  const { headers, ...options } = shared.latest();
  const made = {
    ...options,
    headers: typeof headers === 'function' ? () => shared.latest().headers() : headers,
    fetch: (...given) => (shared.latest().fetch ?? globalThis.fetch)(...given),
  };
  return isGateway(source) ? tokenstream(source.url, { ...made, channel: source.channel }) : tokenstream(source, made);
}

/**
 * Returns `{ stream, release }`. All who lease the same source with equal options share a stream, which is closed when nobody has
 * leased it any more at the end of the current task: React in Strict Mode, or a change of the page, releases and leases again at once.
 * `source` is an ably-js channel, `{ url, channel }`, or a stream of your own, which is never closed here. `latest()` returns the options.
 */
export function lease(source, latest) {
  if (isStream(source)) return { stream: source, release: () => {} };
  const streams = streamsOf(source);
  const key = `${isGateway(source) ? identityOf(source) : ''}\n${keyOf(latest())}`;
  let shared = streams.get(key);
  if (!shared) {
    shared = { latest, users: 0 };
    shared.stream = open(source, shared);
    streams.set(key, shared);
  }
  shared.latest = latest;
  shared.users += 1;
  return { stream: shared.stream, release: once(() => release(streams, key, shared)) };
}

function release(streams, key, shared) {
  shared.users -= 1;
  setTimeout(() => {
    if (shared.users || streams.get(key) !== shared) return;
    streams.delete(key);
    shared.stream.close();
  });
}

function once(action) {
  let isDone = false;
  return () => {
    if (!isDone) action();
    isDone = true;
  };
}
