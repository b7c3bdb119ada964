// The library on the real ably-js, against the local realtime server. The port is in REALTIME_PORT; see test_client.py.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, afterEach, test } from 'node:test';
import Ably from 'ably';
import { tokenstream } from '../../clients/javascript/src/index.js';
import { Frames, sha256 } from './client_frames.mjs';

const port = Number(process.env.REALTIME_PORT);
const open = [];
let names = 0;

function connect(options = {}) {
  const client = new Ably.Realtime({
    key: process.env.REALTIME_KEY,
    endpoint: 'localhost',
    port,
    tls: false,
    disconnectedRetryTimeout: 100,
    suspendedRetryTimeout: 100,
    logLevel: 0,
    ...options,
  });
  open.push(() => client.close());
  return client;
}

const publisher = connect();

/** An API that serves these records; `answers` can be turned to failures. */
async function serveApi(records) {
  const state = { records, status: 200, asked: [] };
  const server = createServer((request, response) => {
    state.asked.push(request.url);
    const id = decodeURIComponent(/^\/v1\/responses\/(.*)$/.exec(request.url)?.[1] ?? '');
    const body = id ? state.records.find((record) => record.responseId === id) : { items: state.records, next: null };
    response.writeHead(body ? state.status : 404, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body ?? {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push(() => server.close());
  return Object.assign(state, { url: `http://127.0.0.1:${server.address().port}/v1` });
}

function follow(name, { client = connect(), ...options } = {}) {
  const stream = tokenstream(client.channels.get(name), options);
  open.push(() => stream.close());
  return stream;
}

/** Resolves once `look` returns something true; asked again at every event of the stream. */
function until(stream, look, deadline = 8000) {
  return new Promise((resolve, reject) => {
    const offs = [];
    const timer = setTimeout(() => {
      offs.forEach((off) => off());
      reject(new Error(`Not so within ${deadline} ms: ${look}; ${stream.state} ${JSON.stringify(stream.responses)}`));
    }, deadline);
    const check = () => {
      const found = look();
      if (!found) return;
      clearTimeout(timer);
      offs.forEach((off) => off());
      resolve(found);
    };
    for (const event of ['change', 'state', 'error', 'remove']) offs.push(stream.on(event, check));
    check();
  });
}

async function inject(spec) {
  const answer = await fetch(`http://127.0.0.1:${port}/admin/faults`, { method: 'POST', body: JSON.stringify(spec) });
  assert.equal(answer.status, 200, await answer.text());
}

const channelName = () => `client:${(names += 1)}`;

afterEach(() => fetch(`http://127.0.0.1:${port}/admin/faults`, { method: 'DELETE' }));
after(() => open.reverse().forEach((close) => close()));

test('a response is followed from start to proof', async () => {
  const name = channelName();
  const stream = follow(name);
  await stream.ready;
  const frames = await new Frames(publisher, name).start({ model: 'm-large' });
  await frames.token('thinking', 'reasoning');
  await frames.token('He😀');
  await frames.token('llo');
  await frames.stop();
  const response = await until(stream, () => stream.get(frames.id)?.verified !== null && stream.get(frames.id));
  assert.equal(response.text, 'He😀llo');
  assert.equal(response.verified, true);
  assert.deepEqual(response.metadata, { model: 'm-large' });
  assert.deepEqual(response.parts.map(({ part, kind, text }) => [part, kind, text]), [['reasoning', 'reasoning', 'thinking'], ['text', 'text', 'He😀llo']]);
  assert.equal(response.parts[1].sha256, sha256('He😀llo'));
  assert.equal(response.frames, 5);
  assert.ok(response.firstTokenAt >= response.startedAt);
});

test('without an API what was published before comes from history', async () => {
  const name = channelName();
  const frames = await new Frames(publisher, name).start();
  for (const word of ['one ', 'two ']) await frames.token(word);
  const stream = follow(name);
  await stream.ready;
  assert.equal(stream.get(frames.id)?.text, 'one two ');
  await frames.token('three');
  await until(stream, () => stream.get(frames.id)?.text === 'one two three');
  assert.equal(stream.counts.lost, 0);
});

test('with an API finished responses are loaded, and an open one goes on from record, history and live frames', async () => {
  const name = channelName();
  const old = new Frames(publisher, name);
  Object.assign(old, { seq: 3, texts: new Map([['text', 'old answer']]) });
  const open = await new Frames(publisher, name).start();
  await open.token('a');
  const snapshot = { ...open.record('streaming'), startedAt: 2000 };
  await open.token('b');
  const api = await serveApi([snapshot, old.record('complete')]);
  const stream = follow(name, { api: api.url });
  await stream.ready;
  await open.token('c');
  await until(stream, () => stream.get(open.id).text === 'abc');
  await until(stream, () => stream.get(old.id).verified);
  assert.deepEqual(stream.responses.map(({ id }) => id), [old.id, open.id]);
  assert.match(api.asked[0], /^\/v1\/channels\/client%3A\d+\/hydrate\?limit=20$/);
});

test('a response that began just before, and that no store has yet, is there at once', async () => {
  const name = channelName();
  const frames = await (await new Frames(publisher, name).start()).token('thinking it over');
  const ended = await (await (await new Frames(publisher, name).start()).token('just ended')).stop();
  const api = await serveApi([]);
  const stream = follow(name, { api: api.url });
  await stream.ready;
  assert.equal(stream.get(frames.id)?.text, 'thinking it over');
  assert.equal(stream.get(ended.id)?.text, 'just ended');
});

test('fragments of what began long ago are not shown', async () => {
  const name = channelName();
  const old = new Frames(publisher, name);
  Object.assign(old, { seq: 40, texts: new Map([['text', 'long gone ']]) });
  await old.token('the end of it');
  const api = await serveApi([]);
  const stream = follow(name, { api: api.url });
  await stream.ready;
  assert.equal(stream.get(old.id), undefined);
});

test('frames of other clients are ignored', async () => {
  const name = channelName();
  const stream = follow(name);
  await stream.ready;
  const frames = new Frames(publisher, name);
  await publisher.channels.get(name).publish(frames.message('start', null, { seq: 0 }, 'mallory'));
  const good = await new Frames(publisher, name).start();
  await until(stream, () => stream.get(good.id));
  assert.equal(stream.get(frames.id), undefined);
  assert.equal(stream.counts.ignored, 1);
});

test('what was missed while cut off without a resume is read from history', async () => {
  const name = channelName();
  const client = connect({ disconnectedRetryTimeout: 400 });
  const stream = follow(name, { client });
  await stream.ready;
  const frames = await new Frames(publisher, name).start();
  await frames.token('before ');
  await until(stream, () => stream.get(frames.id)?.text === 'before ');
  await inject({ refuse_resume: { times: 1 }, cut: { connection: client.connection.id } });
  await until(stream, () => stream.state === 'stale');
  for (const word of ['during ', 'the ', 'cut ']) await frames.token(word);
  await until(stream, () => stream.state === 'live');
  assert.equal(stream.get(frames.id)?.text, 'before during the cut ');
  await frames.token('after');
  await frames.stop();
  await until(stream, () => stream.get(frames.id)?.verified);
  assert.equal(stream.get(frames.id)?.text, 'before during the cut after');
});

test('a discontinuity on a live channel is caught up with', async () => {
  const name = channelName();
  const api = await serveApi([]);
  const stream = follow(name, { api: api.url });
  await stream.ready;
  const asked = api.asked.length;
  const frames = await new Frames(publisher, name).start();
  await frames.token('seen');
  await inject({ discontinuity: { channel: name } });
  await until(stream, () => api.asked.length > asked && stream.state === 'live');
  assert.equal(stream.get(frames.id)?.text, 'seen');
});

test('a wrong copy is replaced by the record', async () => {
  const name = channelName();
  const frames = await new Frames(publisher, name).start();
  await frames.token('right');
  const api = await serveApi([]);
  const stream = follow(name, { api: api.url });
  await stream.ready;
  frames.texts.set('text', 'wrong'); // same length, other text
  await frames.stop();
  frames.texts.set('text', 'wrong');
  api.records.push(frames.record('complete'));
  await until(stream, () => stream.get(frames.id)?.verified === true);
  assert.equal(stream.get(frames.id)?.text, 'wrong');
  assert.equal(stream.counts.mismatches, 1);
});

test('a hole that nothing fills is given up in time, and said', async () => {
  const name = channelName();
  const stream = follow(name, { repairTimeout: 300 });
  await stream.ready;
  const errors = [];
  stream.on('error', (error) => errors.push(error.message));
  const frames = await new Frames(publisher, name).start();
  await frames.token('a');
  frames.seq += 2;
  frames.texts.set('text', 'abc');
  await frames.token('d');
  assert.equal((await until(stream, () => stream.get(frames.id)?.repairing && stream.get(frames.id))).text, 'a');
  const given = await until(stream, () => !stream.get(frames.id)?.complete && stream.get(frames.id));
  assert.equal(given.text, 'ad');
  assert.equal(stream.counts.lost, 2);
  assert.match(errors.at(-1), /misses what/);
});

test('an API that is down is asked again until it answers', async () => {
  const name = channelName();
  const old = new Frames(publisher, name);
  Object.assign(old, { seq: 2, texts: new Map([['text', 'stored']]) });
  const api = await serveApi([old.record('complete')]);
  api.status = 503;
  const stream = follow(name, { api: api.url });
  const error = await new Promise((resolve) => stream.on('error', resolve));
  assert.match(error.message, /answered 503/);
  assert.equal(stream.state, 'catching-up');
  api.status = 200;
  await stream.ready;
  assert.equal(stream.get(old.id).text, 'stored');
});

test('finished responses beyond the limit are let go', async () => {
  const name = channelName();
  const stream = follow(name, { limits: { finished: 2 } });
  await stream.ready;
  const removed = [];
  stream.on('remove', (id) => removed.push(id));
  const all = [];
  for (let count = 0; count < 4; count += 1) all.push(await (await new Frames(publisher, name).start()).stop());
  await until(stream, () => removed.length === 2);
  assert.deepEqual(removed, all.slice(0, 2).map(({ id }) => id));
  assert.equal(stream.responses.length, 2);
});

test('a channel that was attached before is caught up with, too', async () => {
  const name = channelName();
  const client = connect();
  await client.channels.get(name).attach();
  const frames = await new Frames(publisher, name).start();
  await frames.token('early');
  const stream = follow(name, { client });
  await stream.ready;
  assert.equal(stream.get(frames.id)?.text, 'early');
});

test('two readers, one from the start and one late, agree', async () => {
  const name = channelName();
  const early = follow(name);
  await early.ready;
  const all = await Promise.all([1, 2, 3].map(() => new Frames(publisher, name).start()));
  for (const word of ['a', 'b', 'c', 'd']) await Promise.all(all.map((frames) => frames.token(word)));
  const late = follow(name);
  await late.ready;
  await Promise.all(all.map((frames) => frames.token('e')));
  await Promise.all(all.map((frames) => frames.stop()));
  for (const stream of [early, late]) await until(stream, () => stream.responses.every(({ verified }) => verified));
  const texts = (stream) => stream.responses.map(({ id, text }) => [id, text]).sort();
  assert.deepEqual(texts(late), texts(early));
  assert.equal(early.responses[0].text, 'abcde');
});

test('closing ends it, and leaves the channel to its owner', async () => {
  const name = channelName();
  const client = connect();
  const stream = follow(name, { client });
  await stream.ready;
  let changes = 0;
  stream.on('change', () => (changes += 1));
  stream.close();
  assert.equal(stream.state, 'closed');
  const seen = once((await subscribed(client.channels.get(name))), 'message');
  await new Frames(publisher, name).start();
  await seen;
  assert.equal(changes, 0);
  assert.equal(client.channels.get(name).state, 'attached');
});

async function subscribed(channel) {
  const { EventEmitter } = await import('node:events');
  const emitter = new EventEmitter();
  await channel.subscribe((message) => emitter.emit('message', message));
  return emitter;
}

test('a connection that its owner closed stays closed, and is followed again once it is opened', async () => {
  const name = channelName();
  const client = connect();
  const stream = follow(name, { client });
  await stream.ready;
  const error = new Promise((resolve) => stream.on('error', resolve));
  client.connection.close();
  assert.match((await error).message, /The connection is closed/);
  assert.equal(client.connection.state, 'closed');
  assert.equal(stream.state, 'stale');
  const frames = await new Frames(publisher, name).start();
  client.connection.connect();
  await until(stream, () => stream.get(frames.id) && stream.state === 'live');
});

test('a channel that its owner detached stays detached', async () => {
  const name = channelName();
  const client = connect();
  const stream = follow(name, { client });
  await stream.ready;
  await client.channels.get(name).detach();
  client.connection.close();
  await client.connection.whenState('closed');
  client.connection.connect();
  await client.connection.whenState('connected');
  await client.connection.ping();
  assert.equal(client.channels.get(name).state, 'detached');
});

test("a listener's mistake does no harm to the stream", async () => {
  const name = channelName();
  const stream = follow(name);
  const thrown = new Promise((resolve) => (globalThis.reportError = resolve)); // what browsers have
  stream.on('change', () => {
    throw new Error('the page is wrong');
  });
  await stream.ready;
  const frames = await (await new Frames(publisher, name).start()).token('a');
  assert.equal((await thrown).message, 'the page is wrong');
  await until(stream, () => stream.get(frames.id)?.text === 'a');
  delete globalThis.reportError;
});
