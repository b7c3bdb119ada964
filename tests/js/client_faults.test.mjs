// The library while the API, the history or the channel is silent, slow, wrong or behind. The channel is a fake; requests are real.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { tokenstream } from '../../clients/javascript/src/index.js';
import { sha256 } from './client_frames.mjs';

const closing = [];
after(() => closing.reverse().forEach((close) => close()));

const message = (name, data, headers, timestamp = Date.now()) => {
  const strings = Object.entries({ responseId: 'r', ...headers }).map(([key, value]) => [key, String(value)]);
  return { clientId: 'tokenstream', name, data, timestamp, extras: { headers: Object.fromEntries(strings) } };
};
const pageOf = (items) => ({ items, hasNext: () => false });
const never = () => new Promise(() => {});

/** As much of an ably-js channel as is used. `history` is newest first, as Ably's. */
class Channel {
  name = 'chat:1';
  state = 'initialized';
  listeners = [];
  live = [];

  constructor({ history = async () => pageOf([]), attaches = [() => {}], client } = {}) {
    Object.assign(this, { history, attaches, client });
  }

  on(listener) {
    this.listeners.push(listener);
  }

  off() {}

  unsubscribe() {}

  subscribe(listener) {
    this.live.push(listener);
    return this.attach();
  }

  /** Each attempt to attach takes the next of `attaches`; the last one is used for all further attempts. */
  async attach() {
    await (this.attaches.length > 1 ? this.attaches.shift() : this.attaches[0])();
    this.tell('attached');
  }

  tell(state, resumed = false) {
    this.state = state;
    for (const listener of this.listeners) listener({ current: state, resumed });
  }

  send(...given) {
    for (const listener of this.live) listener(message(...given));
  }
}

/** An API that answers by `answer(url, response, nth)`. */
async function serve(answer) {
  const asked = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://api');
    asked.push(url);
    response.setHeader('Content-Type', 'application/json');
    answer(url, response, asked.filter(({ pathname }) => pathname === url.pathname).length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { asked, url: `http://127.0.0.1:${server.address().port}/v1` };
}

const json = (response, value, status = 200) => response.writeHead(status).end(JSON.stringify(value));
const empty = (response) => json(response, { items: [], next: null });

function follow(channel, options) {
  const stream = tokenstream(channel, options);
  const errors = [];
  stream.on('error', ({ message: said }) => errors.push(said));
  closing.push(() => stream.close());
  return Object.assign(stream, { errors });
}

/** Resolves with what `look` returns once it is true; fails after the deadline. */
async function until(look, deadline = 20000) {
  const end = performance.now() + deadline;
  for (let found; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 10))) {
    if ((found = look())) return found;
  }
  throw new Error(`Not so within ${deadline} ms: ${look}`);
}

const record = (id, text, { status = 'complete', startedAt = 1 } = {}) => {
  const parts = [{ part: 'text', kind: 'text', text, length: text.length, sha256: sha256(text) }];
  return { v: 1, responseId: id, status, reason: null, error: null, metadata: {}, usage: null, parts, seq: 1, tokens: 1, gaps: [], startedAt };
};

test('a hydration that is never answered is given up, and the text comes from history', async () => {
  const messages = [message('start', null, { seq: 0 }), message('token', 'Hello', { seq: 1, offset: 0 })].reverse();
  const channel = new Channel({ history: async () => pageOf(messages) });
  const api = await serve((_, response, nth) => nth > 1 && empty(response));
  const stream = follow(channel, { api: api.url, requestTimeout: 200 });
  await until(() => channel.state === 'attached');
  channel.send('token', ' world', { seq: 2, offset: 5 });
  await until(() => stream.get('r')?.text === 'Hello world');
  await stream.ready;
  assert.equal(stream.state, 'live');
  assert.match(stream.errors[0], /hydrate.*no answer within 200 ms/);
  assert.equal(stream.get('r').repairing, false);
});

test('headers that are never made are given up, too', async () => {
  const api = await serve((_, response) => empty(response));
  let calls = 0;
  const headers = () => ((calls += 1) > 1 ? {} : never());
  const stream = follow(new Channel(), { api: api.url, headers, requestTimeout: 100 });
  await stream.ready;
  assert.equal(stream.errors.length, 1);
});

test('a history that is never answered is asked again', async () => {
  let asked = 0;
  const messages = [message('start', null, { seq: 0 }), message('token', 'Hello', { seq: 1, offset: 0 })].reverse();
  const channel = new Channel({ history: () => ((asked += 1) > 1 ? Promise.resolve(pageOf(messages)) : never()) });
  const stream = follow(channel, { requestTimeout: 50 });
  await stream.ready;
  assert.equal(stream.get('r').text, 'Hello');
  assert.match(stream.errors[0], /history of chat:1: no answer within 150 ms/);
});

test('a later page of history that is never answered is asked again', async () => {
  let turned = 0;
  const start = message('start', null, { seq: 0 });
  const next = () => ((turned += 1) > 1 ? Promise.resolve(pageOf([start])) : never());
  const channel = new Channel({ history: async () => ({ items: [message('token', 'a', { seq: 1, offset: 0 })], hasNext: () => true, next }) });
  const stream = follow(channel, { requestTimeout: 50 });
  await stream.ready;
  assert.equal(stream.get('r').text, 'a');
});

test('a repair that is never answered holds up neither the next one nor other responses', async () => {
  const api = await serve(({ pathname }, response, nth) => {
    if (pathname.endsWith('/hydrate')) return empty(response);
    const id = pathname.split('/').at(-1);
    if (id === 'hangs' && nth === 1) return null;
    return json(response, { ...record(id, 'whole'), seq: 3 });
  });
  const channel = new Channel();
  const stream = follow(channel, { api: api.url, requestTimeout: 300 });
  await stream.ready;
  for (const responseId of ['hangs', 'answered']) channel.send('token', 'e', { responseId, seq: 2, offset: 4 });
  await until(() => ['hangs', 'answered'].every((id) => stream.get(id)?.text === 'whole'));
  assert.equal(stream.counts.lost, 0);
});

test('a large answer that arrives slowly is not cut off', async () => {
  const body = JSON.stringify({ items: [record('slow', 'x'.repeat(4000))], next: null });
  const pieces = Array.from({ length: 20 }, (_, at) => body.slice((at * body.length) / 20, ((at + 1) * body.length) / 20));
  const api = await serve((_, response) => {
    const timer = setInterval(() => {
      if (pieces.length) return response.write(pieces.shift());
      clearInterval(timer);
      return response.end();
    }, 100);
  });
  const stream = follow(new Channel(), { api: api.url, requestTimeout: 1000 });
  await stream.ready;
  assert.equal(stream.get('slow').text.length, 4000);
  assert.deepEqual(stream.errors, []);
});

test('an answer that stops in the middle is given up', async () => {
  const api = await serve((_, response, nth) => (nth > 1 ? empty(response) : response.write('{"items":')));
  const stream = follow(new Channel(), { api: api.url, requestTimeout: 200 });
  await stream.ready;
  assert.match(stream.errors[0], /no answer within/);
});

test('an attach that is not answered is reported and tried again', async () => {
  const channel = new Channel({ attaches: [never, never, () => {}] });
  const stream = follow(channel, { requestTimeout: 50 });
  await until(() => stream.errors.length === 2);
  assert.match(stream.errors[0], /Attaching the channel chat:1: no answer within 150 ms/);
  await stream.ready;
});

test('an attach that is refused for now is tried again', async () => {
  const refuse = () => Promise.reject(new Error('the connection is suspended'));
  const channel = new Channel({ attaches: [refuse, refuse, () => {}] });
  const stream = follow(channel);
  await stream.ready;
  assert.equal(stream.errors.length, 2);
  channel.send('start', null, { seq: 0 });
  assert.equal(stream.counts.frames, 1);
});

test('closing ends requests that hang', async () => {
  const api = await serve(() => null);
  const stream = follow(new Channel(), { api: api.url });
  await until(() => api.asked.length);
  stream.close();
  await assert.rejects(stream.ready, /closed/);
  assert.deepEqual(stream.errors, []);
});

test('pages that failed together do not ask again together', async () => {
  const api = await serve((url, response) => json(response, {}, 503));
  const streams = Array.from({ length: 30 }, () => {
    const times = [];
    const asking = (url, options) => (times.push(performance.now()), fetch(url, options));
    return { times, stream: follow(new Channel(), { api: api.url, fetch: asking }) };
  });
  await until(() => streams.every(({ times }) => times.length > 2));
  const pauses = streams.map(({ times }) => times[2] - times[1]); // up to 500 ms and the request itself
  assert.ok(Math.max(...pauses) - Math.min(...pauses) > 100, pauses.map(Math.round).join());
});

/** An API with these records: pages of two, open ones first, newest first; it refuses parameters it does not know. */
function paged(records) {
  const all = records.toSorted((a, b) => (b.status === 'streaming') - (a.status === 'streaming') || b.startedAt - a.startedAt);
  return (url, response) => {
    const { limit, before = '0', ...unknown } = Object.fromEntries(url.searchParams);
    const isWrong = !(limit >= 1 && limit <= 500) || Object.keys(unknown).length || before === '';
    if (isWrong) return json(response, { error: { code: 'invalid', message: url.search } }, 400);
    const from = Number(before);
    const open = all.filter(({ status }) => status === 'streaming').length;
    const end = Math.max(open, from) + Number(limit); // of this answer; a page holds two of it
    const items = all.slice(from, Math.min(from + 2, end));
    const next = from + items.length;
    return json(response, { items, next: next < all.length ? String(next) : null });
  };
}

for (const limit of [1, 3, 20, 600]) {
  test(`pages are read until all open ones and ${limit} finished ones are there`, async () => {
    const open = [1, 2, 3].map((at) => record(`open${at}`, 'o', { status: 'streaming', startedAt: at }));
    const finished = [1, 2, 3, 4, 5].map((at) => record(`done${at}`, 'd', { startedAt: 10 + at }));
    const api = await serve(paged([...open, ...finished]));
    const stream = follow(new Channel(), { api: api.url, limit });
    await stream.ready;
    const wanted = [...open, ...finished.slice(Math.max(0, 5 - limit))].map(({ responseId }) => responseId);
    const shown = stream.responses.map(({ id }) => id);
    // A page may hold one more than is asked for; nothing is asked for twice.
    assert.deepEqual(shown.slice(-wanted.length + 3), wanted.slice(3));
    assert.deepEqual(shown.slice(0, 3), ['open1', 'open2', 'open3']);
    assert.deepEqual(stream.errors, []);
    assert.equal(new Set(api.asked.map(({ search }) => search)).size, api.asked.length);
  });
}

test('a channel with a slash is hydrated behind a proxy that decodes paths', async () => {
  const api = await serve(({ pathname, searchParams }, response) => {
    if (pathname !== '/v1/hydrate') return json(response, {}, 404);
    assert.deepEqual([...searchParams], [['channel', 'docs/42'], ['limit', '20']]);
    return json(response, { items: [record('r', 'text')], next: null });
  });
  const stream = follow(Object.assign(new Channel(), { name: '[?rewind=1]docs/42' }), { api: api.url });
  await stream.ready;
  assert.equal(stream.get('r').text, 'text');
});

test('an API that is not there is an error', async () => {
  const api = await serve((_, response) => json(response, {}, 404));
  const stream = follow(new Channel(), { api: api.url });
  await until(() => stream.errors.length);
  assert.match(stream.errors[0], /hydrate.*answered 404/);
  assert.equal(stream.state, 'catching-up');
});

test('with a limit of 0 all open responses are there, and no finished one', async () => {
  const open = [1, 2, 3].map((at) => record(`open${at}`, 'o', { status: 'streaming', startedAt: at }));
  const api = await serve(({ searchParams }, response) => {
    assert.equal(searchParams.get('limit'), '0');
    const from = Number(searchParams.get('before') ?? 0);
    json(response, { items: open.slice(from, from + 2), next: from ? null : '2' });
  });
  const stream = follow(new Channel(), { api: api.url, limit: 0 });
  await stream.ready;
  assert.equal(stream.responses.length, 3);
});

test('a page without items is not the last one', async () => {
  const api = await serve(({ searchParams }, response) => {
    const before = searchParams.get('before');
    if (before === null) return json(response, { items: [], next: 'more' }); // what it held was deleted meanwhile
    return json(response, { items: [record('r', 'text')], next: null });
  });
  const stream = follow(new Channel(), { api: api.url });
  await stream.ready;
  assert.equal(stream.get('r')?.text, 'text');
});

test('responses that end while open ones are read do not end the reading', async () => {
  const open = [1, 2, 3].map((at) => record(`open${at}`, 'o', { status: 'streaming', startedAt: at }));
  const ended = ['a', 'b'].map((id) => record(id, 'd'));
  const pages = [
    { items: [ended[0]], next: '1', moreOpen: true },
    { items: [open[0], ended[1]], next: '2', moreOpen: true },
    { items: [open[1], open[2], record('done', 'd')], next: '3' },
    { items: [record('older', 'd')], next: null },
  ];
  const api = await serve(({ searchParams }, response) => json(response, pages[Number(searchParams.get('before') ?? 0)]));
  const stream = follow(new Channel(), { api: api.url, limit: 1 });
  await stream.ready;
  assert.deepEqual(stream.responses.map(({ id }) => id).toSorted(), ['a', 'b', 'done', 'open1', 'open2', 'open3']);
});

test('an API that repeats its cursor is asked twice only', async () => {
  const api = await serve((_, response) => json(response, { items: [record('r', 'text')], next: 'same' }));
  const stream = follow(new Channel(), { api: api.url });
  await stream.ready;
  assert.equal(api.asked.length, 2);
});

test('a copy that was given up is replaced by the record of its end', async () => {
  const whole = 'Hello, brave new world';
  let stored = null;
  const api = await serve(({ pathname }, response) => {
    if (pathname.endsWith('/hydrate')) return empty(response);
    return stored ? json(response, stored) : json(response, {}, 404); // the store is behind
  });
  const channel = new Channel();
  const stream = follow(channel, { api: api.url, repairTimeout: 400 });
  await stream.ready;
  channel.send('start', null, { seq: 0 });
  channel.send('token', whole.slice(0, 5), { seq: 1, offset: 0 });
  channel.send('token', whole.slice(12), { seq: 3, offset: 12 });
  await until(() => stream.get('r').complete === false);
  stored = { ...record('r', whole), seq: 4 };
  const parts = [{ part: 'text', length: whole.length, sha256: sha256(whole) }];
  channel.send('stop', { status: 'complete', parts }, { seq: 4 });
  const { text, complete } = await until(() => stream.get('r').verified && stream.get('r'));
  assert.deepEqual({ text, complete }, { text: whole, complete: true });
});

test('each loss has its own time to be filled', async () => {
  const api = await serve(({ pathname }, response) => (pathname.endsWith('/hydrate') ? empty(response) : json(response, {}, 404)));
  let answered = 0;
  const asking = async (...given) => {
    const answer = await fetch(...given);
    answered += 1;
    return answer;
  };
  const channel = new Channel();
  const stream = follow(channel, { api: api.url, repairTimeout: 2000, fetch: asking });
  await stream.ready;
  channel.send('start', null, { seq: 0 });
  for (const [at, text] of ['ab', 'cd'].entries()) {
    answered = 0;
    const begun = performance.now();
    channel.send('token', text[1], { seq: 2 * at + 2, offset: 2 * at + 1 });
    await until(() => answered > 0);
    assert.equal(stream.counts.lost, 0);
    channel.send('token', text[0], { seq: 2 * at + 1, offset: 2 * at }); // it was late
    await until(() => stream.state === 'live' && performance.now() > begun + 2500);
  }
  assert.equal(stream.get('r').text, 'abcd');
});

test('without an API a copy that is wrong at its end is given up at once', async () => {
  const channel = new Channel();
  const stream = follow(channel);
  await stream.ready;
  channel.send('start', null, { seq: 0 });
  channel.send('token', 'right', { seq: 1, offset: 0 });
  channel.send('stop', { status: 'complete', parts: [{ part: 'text', length: 5, sha256: sha256('wrong') }] }, { seq: 2 });
  const { complete, verified } = await until(() => stream.get('r').verified === false && !stream.get('r').repairing && stream.get('r'));
  assert.deepEqual({ complete, verified }, { complete: false, verified: false });
});

const ended = (at) => [
  message('stop', { status: 'complete' }, { seq: 2 }, at),
  message('token', 'text', { seq: 1, offset: 0 }, at),
  message('start', null, { seq: 0 }, at),
];

test('what just ended shows though the clock of the page is ahead', async () => {
  const behind = Date.now() - 600000; // Ably's time, seen from here
  const api = await serve((_, response) => empty(response));
  const channel = new Channel({ history: async () => pageOf(ended(behind)), client: { time: async () => behind + 1000 } });
  const stream = follow(channel, { api: api.url });
  await stream.ready;
  assert.equal(stream.get('r')?.text, 'text');
});

test('what ended long ago and the API does not have stays away, on a quiet channel too', async () => {
  const api = await serve((_, response) => empty(response));
  const channel = new Channel({ history: async () => pageOf(ended(Date.now())), client: { time: async () => Date.now() + 600000 } });
  const stream = follow(channel, { api: api.url });
  await stream.ready;
  assert.equal(stream.get('r'), undefined);
});

test("without Ably's time that of the newest message is taken", async () => {
  const api = await serve((_, response) => empty(response));
  const newest = message('start', null, { responseId: 'newest', seq: 0 }, Date.now() - 300000);
  const older = ended(Date.now() - 900000);
  const client = { time: () => Promise.reject(new Error('offline')) };
  const channel = new Channel({ history: async () => pageOf([newest, ...older]), client });
  const stream = follow(channel, { api: api.url });
  await stream.ready;
  assert.ok(stream.get('newest'));
  assert.equal(stream.get('r'), undefined);
});
