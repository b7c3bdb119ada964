// Cancelling a response by the library, against an HTTP server that keeps section "cancel" of the API.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { tokenstream } from '../../clients/javascript/src/index.js';
import { Frames } from './client_frames.mjs';
import { Gateway } from './gateway.mjs';

const CHANNEL = 'chat:1';
const closing = [];
after(() => closing.reverse().forEach((close) => close()));

async function open(options) {
  const gateway = await new Gateway().listen();
  closing.push(() => gateway.close());
  const stream = tokenstream(gateway.url, { channel: CHANNEL, ...options });
  closing.push(() => stream.close());
  await stream.ready;
  const frames = await (await new Frames(gateway.publisher, CHANNEL).start()).token('Hel');
  const cancelled = { reason: 'cancelled', status: 'cancelled' };
  gateway.onCancel = () => frames.stop(cancelled);
  return { gateway, stream, frames };
}

const refusal = (promise) => promise.then(() => assert.fail('was not refused'), (error) => error);
const posts = ({ asked }) => asked.filter(({ method }) => method === 'POST');

test('it resolves once the stop is applied', async () => {
  const { gateway, stream, frames } = await open();
  let stopped = false;
  gateway.onCancel = () => setTimeout(() => frames.stop({ status: 'cancelled', reason: 'cancelled' }).then(() => (stopped = true)), 100);
  const response = await stream.cancel(frames.id, { reason: 'user' });
  assert.ok(stopped);
  assert.deepEqual([response.status, response.text], ['cancelled', 'Hel']);
  assert.deepEqual(gateway.cancelled, [{ responseId: frames.id, channel: CHANNEL, reason: 'user', type: 'application/json' }]);
  assert.equal(posts(gateway)[0].path, `/v1/responses/${frames.id}/cancel`);
});

test('a response that ended is returned as it ended, and nothing is asked', async () => {
  const { gateway, stream, frames } = await open();
  await frames.stop();
  assert.equal((await stream.cancel(frames.id)).status, 'complete');
  await stream.cancel(frames.id);
  assert.ok(posts(gateway).length <= 1); // the stop may not have been here yet
});

test('a stop that came first wins, and its record is taken', async () => {
  const { gateway, stream, frames } = await open();
  const { id } = frames;
  const headers = { responseId: id, seq: '2' };
  const data = { reason: 'stop', status: 'complete', parts: frames.digests };
  gateway.publish(CHANNEL, { name: 'stop', data, extras: { headers } }, { dropped: true });
  const response = await stream.cancel(id);
  assert.deepEqual([response.status, response.text], ['complete', 'Hel']);
});

test('a response can be cancelled before it starts', async () => {
  const { gateway, stream } = await open();
  const late = new Frames(gateway.publisher, CHANNEL, 'late id/1');
  const cancelling = stream.cancel(late.id);
  gateway.onCancel = async () => (await late.start()).stop({ status: 'cancelled', reason: 'cancelled' });
  assert.equal((await cancelling).status, 'cancelled');
});

for (const [status, message] of [
  [401, 'Send `Authorization: Bearer`.'],
  [403, 'This token may not publish on chat:1.'],
  [404, 'There is no such response.'],
  [503, 'Kafka did not acknowledge the request. Try again.'],
]) {
  test(`${status} rejects with what the API says`, async () => {
    const { gateway, stream, frames } = await open();
    gateway.refusals.push({ status, message });
    const error = await refusal(stream.cancel(frames.id));
    assert.deepEqual([error.status, error.code], [status, 'refused']);
    assert.equal(error.message, `POST ${gateway.url}/responses/${frames.id}/cancel answered ${status}: ${message}`);
    assert.equal((await stream.cancel(frames.id)).status, 'cancelled');
  });
}

test('an answer that is no JSON rejects with its status', async () => {
  const refusing = async (url, init) => (init.method === 'POST' ? new Response('<h1>Bad gateway</h1>', { status: 502 }) : fetch(url, init));
  const { stream, frames } = await open({ fetch: refusing });
  const error = await refusal(stream.cancel(frames.id));
  assert.match(error.message, /cancel answered 502$/);
});

test('an API that does not answer is given up', async () => {
  const silent = (url, init) => (init.method === 'POST' ? new Promise(() => {}) : fetch(url, init));
  const { stream, frames } = await open({ fetch: silent, requestTimeout: 200 });
  assert.match((await refusal(stream.cancel(frames.id))).message, /no answer within 200 ms/);
});

test('without an end in time it rejects', async () => {
  const { gateway, stream, frames } = await open();
  gateway.onCancel = () => {};
  assert.match((await refusal(stream.cancel(frames.id, { timeout: 200 }))).message, /Cancelling .*: no answer within 200 ms/);
});

test('a stream that is closed meanwhile rejects', async () => {
  const { gateway, stream, frames } = await open();
  gateway.onCancel = () => stream.close();
  assert.match((await refusal(stream.cancel(frames.id))).message, /closed/);
});

test('a stream without an API cannot cancel', async () => {
  const channel = { name: 'x', state: 'initialized', on() {}, off() {}, subscribe: async () => {}, unsubscribe() {} };
  const stream = tokenstream(channel);
  closing.push(() => stream.close());
  assert.match((await refusal(stream.cancel('r'))).message, /needs the option `api`/);
});
