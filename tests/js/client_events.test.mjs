// The library reading by server-sent events from a gateway, over real HTTP.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { tokenstream } from '../../clients/javascript/src/index.js';
import { Frames } from './client_frames.mjs';
import { Gateway } from './gateway.mjs';

const CHANNEL = 'chat:1';
const closing = [];
after(() => closing.reverse().forEach((close) => close()));

async function serve() {
  const gateway = await new Gateway().listen();
  closing.push(() => gateway.close());
  return gateway;
}

function follow(gateway, options) {
  const stream = tokenstream(gateway.url, { channel: CHANNEL, ...options });
  const seen = { errors: [], states: [] };
  stream.on('error', ({ message }) => seen.errors.push(message));
  stream.on('state', (state) => seen.states.push(state));
  closing.push(() => stream.close());
  return Object.assign(stream, seen);
}

/** Resolves with what `look` returns once it is true; fails after the deadline. */
async function until(look, deadline = 20000) {
  const end = performance.now() + deadline;
  for (let found; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 10))) {
    if ((found = look())) return found;
  }
  throw new Error(`Not so within ${deadline} ms: ${look}`);
}

const begin = (gateway, id) => new Frames(gateway.publisher, CHANNEL, id).start();
const isProved = (stream, id) => until(() => stream.get(id)?.verified && stream.get(id));

test('a response is followed from start to proof', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  const frames = await begin(gateway);
  await frames.token('thinking', 'reasoning');
  await frames.token('He😀');
  await frames.token('llo');
  await frames.stop();
  const response = await isProved(stream, frames.id);
  assert.equal(response.text, 'He😀llo');
  assert.equal(response.frames, 5);
  assert.deepEqual(response.metadata, { model: 'm' });
  assert.ok(Math.abs(response.startedAt - Date.now()) < 60000);
  assert.equal(stream.state, 'live');
  assert.deepEqual(stream.errors, []);
  assert.equal(stream.counts.ignored, 0);
});

test('what was stored comes as snapshots, and an open response goes on', async () => {
  const gateway = await serve();
  const whole = await (await (await begin(gateway)).token('all')).stop();
  const open = await (await begin(gateway)).token('one ');
  const stream = follow(gateway);
  await stream.ready;
  assert.equal(stream.get(whole.id).text, 'all');
  assert.equal(stream.get(open.id).text, 'one ');
  await (await open.token('two')).stop();
  assert.equal((await isProved(stream, open.id)).text, 'one two');
  assert.equal(gateway.asked.length, 1);
  assert.equal(gateway.asked[0].search, '?limit=20');
});

test('after a cut it resumes at its position, without snapshots', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  const frames = await (await begin(gateway)).token('one ');
  await until(() => stream.get(frames.id)?.text === 'one ');
  const { position } = gateway;
  gateway.cut();
  await frames.token('two ');
  await until(() => stream.get(frames.id).text === 'one two ');
  assert.equal(gateway.asked.at(-1).headers['last-event-id'], position);
  await frames.stop();
  await isProved(stream, frames.id);
  assert.equal(gateway.asked.length, 2);
  assert.deepEqual([stream.counts.repeats, stream.counts.losses, stream.counts.lost], [0, 0, 0]);
  assert.ok(stream.states.includes('stale'));
  await until(() => stream.state === 'live');
});

test('where its position is gone it gets snapshots, and catches up', async () => {
  const gateway = await serve();
  const stream = follow(gateway, { limit: 1 });
  await stream.ready;
  const frames = await (await begin(gateway)).token('one ');
  await until(() => stream.get(frames.id)?.text === 'one ');
  gateway.muted = true;
  gateway.cut();
  await frames.token('two');
  await frames.stop();
  for (let count = 0; count < 3; count += 1) await (await begin(gateway)).stop();
  gateway.trim();
  gateway.muted = false;
  assert.equal((await isProved(stream, frames.id)).text, 'one two');
  assert.equal(stream.counts.lost, 0);
});

test('a response that ended long before the newest is asked for', async () => {
  const gateway = await serve();
  const stream = follow(gateway, { limit: 1 });
  await stream.ready;
  const frames = await (await begin(gateway)).token('one');
  await until(() => stream.get(frames.id)?.text === 'one');
  gateway.cut();
  await frames.stop();
  for (let count = 0; count < 3; count += 1) await (await begin(gateway)).stop();
  gateway.known.get(frames.id).finishedAt = -1;
  gateway.trim();
  await isProved(stream, frames.id);
  assert.ok(gateway.asked.some(({ path }) => path === `/v1/responses/${frames.id}`));
});

test('a slow reader that is reset is sent what it missed', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  const frames = await (await begin(gateway)).token('one ');
  await until(() => stream.get(frames.id)?.text === 'one ');
  gateway.reset(() => {
    frames.token('two ');
    frames.token('three ');
  });
  await frames.token('four');
  await frames.stop();
  assert.equal((await isProved(stream, frames.id)).text, 'one two three four');
  await until(() => stream.state === 'live');
  assert.equal(gateway.connections, 1);
  assert.equal(stream.counts.lost, 0);
});

test('after bye it connects again at its position, without an error', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  gateway.bye();
  await until(() => gateway.connections === 2 && stream.state === 'live');
  const frames = await (await begin(gateway)).token('a');
  await frames.stop();
  await isProved(stream, frames.id);
  assert.deepEqual(stream.errors, []);
  assert.ok(gateway.asked[1].headers['last-event-id']);
});

test('a connection lost among snapshots starts with them again', async () => {
  const gateway = await serve();
  for (let count = 0; count < 3; count += 1) await (await (await begin(gateway)).token('x')).stop();
  const { sendSnapshots } = gateway;
  gateway.sendSnapshots = (client) => {
    gateway.sendSnapshots = sendSnapshots;
    const [{ record }] = gateway.known.values();
    gateway.write(client, { event: 'snapshot', id: gateway.position, line: { name: 'snapshot', data: record, headers: {} } });
    client.response.end();
  };
  const stream = follow(gateway);
  await stream.ready;
  assert.equal(stream.responses.length, 3);
  assert.equal(gateway.asked[1].headers['last-event-id'], undefined);
});

test('a lost frame is filled from a record', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  const frames = await (await begin(gateway)).token('one ');
  const headers = { responseId: frames.id, seq: '2', seqEnd: '2', offset: '4' };
  gateway.publish(CHANNEL, { name: 'token', data: 'two ', extras: { headers } }, { dropped: true });
  Object.assign(frames, { seq: 2, texts: new Map([['text', 'one two ']]) });
  await frames.token('three');
  await until(() => stream.get(frames.id)?.text === 'one two three');
  await frames.stop();
  await isProved(stream, frames.id);
  assert.deepEqual([stream.counts.losses, stream.counts.lost], [1, 0]);
});

test('headers are sent, and made again after a refusal', async () => {
  const gateway = await serve();
  gateway.token = 'fresh';
  let made = 0;
  const headers = async () => ({ Authorization: `Bearer ${(made += 1) > 1 ? 'fresh' : 'old'}` });
  const stream = follow(gateway, { headers });
  await stream.ready;
  assert.match(stream.errors[0], /answered 401: Send/);
  assert.equal(stream.failure, null);
});

test('a refusal that asking again cannot change fails the stream', async () => {
  const gateway = await serve();
  gateway.refusals.push({ status: 403, message: 'This token does not grant the channel.' });
  const stream = follow(gateway);
  const reason = await stream.ready.then(() => null, (error) => error);
  assert.equal(reason.status, 403);
  assert.match(reason.message, /events\?limit=20 answered 403: This token does not grant the channel\./);
  assert.equal(stream.failure, reason);
  assert.equal(gateway.asked.length, 1);
});

test('a gateway that is full is asked again after the time it names', async () => {
  const gateway = await serve();
  gateway.refusals.push({ status: 503, message: 'Too many clients.', headers: { 'Retry-After': '1' } });
  const begun = performance.now();
  const stream = follow(gateway);
  await stream.ready;
  assert.ok(performance.now() - begun > 950);
  assert.match(stream.errors[0], /answered 503: Too many clients\./);
});

test('a gateway that is not there yet is tried until it is', async () => {
  const gateway = await serve();
  const { port } = gateway.server.address();
  gateway.close();
  const stream = follow(gateway);
  await until(() => stream.errors.length > 1);
  const later = await new Gateway().listen(port);
  closing.push(() => later.close());
  await stream.ready;
  assert.equal(stream.state, 'live');
});

test('a gateway that answers nothing is given up, and asked again', async () => {
  const gateway = await serve();
  let asked = 0;
  const slow = (url, init) => ((asked += 1) > 1 ? fetch(url, init) : new Promise(() => {}));
  const stream = follow(gateway, { fetch: slow, requestTimeout: 100 });
  await stream.ready;
  assert.match(stream.errors[0], /no answer within 100 ms/);
});

test('events are read from the URL, and the API is where `api` says', async () => {
  const [gateway, api] = [await serve(), await serve()];
  const stream = follow(gateway, { api: api.url });
  await stream.ready;
  const frames = await (await begin(gateway)).token('a');
  await until(() => stream.get(frames.id)?.text === 'a');
  api.onCancel = () => frames.stop({ reason: 'cancelled', status: 'cancelled' });
  assert.equal((await stream.cancel(frames.id)).status, 'cancelled');
  assert.deepEqual([gateway.asked.length, api.asked.length], [1, 1]);
});

test('a gateway that says ready after resuming is asked nothing more', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  const frames = await (await begin(gateway)).token('a');
  await until(() => stream.get(frames.id)?.text === 'a');
  const [{ response }] = gateway.clients;
  response.write(`event: ready\nid: ${gateway.position}\ndata: {}\n\n`);
  await frames.token('b');
  await until(() => stream.get(frames.id)?.text === 'ab');
  assert.equal(gateway.asked.length, 1);
});

test('a channel with a slash is asked for by parameter', async () => {
  const gateway = await serve();
  const stream = follow(gateway, { channel: 'chat/1&2' });
  await stream.ready;
  const frames = await new Frames(gateway.publisher, 'chat/1&2').start();
  await until(() => stream.get(frames.id));
  assert.deepEqual([gateway.asked[0].path, gateway.asked[0].search], ['/v1/events', '?channel=chat%2F1%262&limit=20']);
});

test('lines may end in any way, and be cut anywhere', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  const [{ response }] = gateway.clients;
  const line = JSON.stringify({ name: 'start', data: { model: '😀' }, headers: { responseId: 'cut', seq: '0' } }, null, 1);
  const bytes = Buffer.from(`: comment\r\nevent: start\r\nid: 7\r\n${line.split('\n').map((part) => `data: ${part}\r\n`).join('')}\r\n`);
  for (const byte of bytes) {
    response.write(Buffer.from([byte]));
    await new Promise(setImmediate);
  }
  await until(() => stream.get('cut'));
  assert.equal(stream.get('cut').metadata.model, '😀');
});

test('a closed stream leaves no connection and no timer', async () => {
  const gateway = await serve();
  const stream = follow(gateway);
  await stream.ready;
  stream.close();
  await until(() => gateway.clients.size === 0);
  assert.equal(stream.state, 'closed');
  const early = follow(gateway);
  early.close();
  await assert.rejects(early.ready, /closed/);
  assert.equal(gateway.connections, 1);
});

test('readers that join and are cut at random have every character once', async () => {
  const gateway = await serve();
  const streams = [];
  for (let round = 0; round < 10; round += 1) {
    streams.push(follow(gateway));
    const all = await Promise.all(Array.from({ length: 5 }, () => begin(gateway)));
    for (let token = 0; token < 20; token += 1) {
      for (const frames of all) await frames.token(`${token}😀 `);
      if (Math.random() < 0.2) gateway.cut();
      if (Math.random() < 0.1) gateway.trim();
      if (Math.random() < 0.1) gateway.reset();
      if (token % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    for (const frames of all) await frames.stop();
  }
  const texts = [...gateway.known].slice(-20).map(([id, known]) => [id, known.parts[0].text]);
  for (const stream of streams) {
    await until(() => texts.every(([id, text]) => stream.get(id)?.text === text && stream.get(id).verified));
    assert.deepEqual([stream.counts.lost, stream.counts.mismatches], [0, 0]);
  }
});
