// The hooks in the real React, with a gateway over HTTP and with a counted channel.
import { complaints, until } from './dom.mjs';
import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { createElement as h, memo, StrictMode, useState } from 'react';
import { createRoot, hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { tokenstream } from '../../clients/javascript/src/index.js';
import { useResponse, useResponses } from '../../clients/javascript/src/react/index.js';
import { Frames } from './client_frames.mjs';
import { Gateway } from './gateway.mjs';

const closing = [];
afterEach(() => assert.deepEqual(complaints.splice(0), []));
after(() => closing.reverse().forEach((close) => close()));

async function serve() {
  const gateway = await new Gateway().listen();
  closing.push(() => gateway.close());
  return gateway;
}

/** An ably-js channel as far as a stream uses it, which counts who listens. */
class CountedChannel {
  state = 'initialized';
  messages = new Set();
  states = new Set();
  subscriptions = 0;
  client = { connection: { state: 'connected', listeners: new Set(), on: (one) => this.client.connection.listeners.add(one), off: (one) => this.client.connection.listeners.delete(one) } };

  constructor(name) {
    this.name = name;
  }

  get listeners() {
    return this.messages.size + this.states.size + this.client.connection.listeners.size;
  }

  on(listener) {
    this.states.add(listener);
  }

  off(listener) {
    this.states.delete(listener);
  }

  async subscribe(listener) {
    this.subscriptions += 1;
    this.messages.add(listener);
    await this.attach();
  }

  unsubscribe(listener) {
    this.messages.delete(listener);
  }

  async attach() {
    if (this.state === 'attached') return;
    this.state = 'attached';
    for (const listener of this.states) listener({ current: 'attached', resumed: false });
  }

  async history() {
    return { items: [], hasNext: () => false };
  }

  publish(message) {
    for (const listener of this.messages) listener({ timestamp: Date.now(), ...message });
  }

  get publisher() {
    return { channels: { get: () => this } };
  }
}

function mount(element) {
  const container = document.body.appendChild(document.createElement('div'));
  const root = createRoot(container);
  root.render(element);
  const unmount = () => root.unmount();
  closing.push(unmount);
  return { container, root, unmount, text: () => container.textContent };
}

function List({ source, options, seen = () => {} }) {
  const read = useResponses(source, options);
  seen(read);
  return h('ul', null, read.responses.map(({ id, text, status }) => h('li', { key: id }, `${text} (${status})`)));
}

test('it renders what is stored, what comes live, and the end', async () => {
  const gateway = await serve();
  const done = await (await (await new Frames(gateway.publisher, 'a').start()).token('before')).stop();
  const seen = [];
  const { text } = mount(h(List, { source: { url: gateway.url, channel: 'a' }, seen: (read) => seen.push(read) }));
  await until(() => text() === 'before (complete)' && seen.at(-1).state === 'live');
  const frames = await new Frames(gateway.publisher, 'a').start();
  await frames.token('now');
  await until(() => text() === 'before (complete)now (streaming)');
  await frames.stop();
  await until(() => text() === 'before (complete)now (complete)');
  assert.equal(seen[0].responses.length, 0);
  assert.deepEqual([seen[0].state, seen[0].error], ['catching-up', null]);
  assert.equal(done.id, seen.at(-1).responses[0].id);
});

test('in Strict Mode it subscribes once, and renders the same', async () => {
  const gateway = await serve();
  const { text } = mount(h(StrictMode, null, h(List, { source: { url: gateway.url, channel: 'a' } })));
  const frames = await (await new Frames(gateway.publisher, 'a').start()).token('one');
  await until(() => text() === 'one (streaming)');
  await frames.stop();
  await until(() => text() === 'one (complete)');
  assert.equal(gateway.connections, 1);
  assert.equal(gateway.clients.size, 1);
});

test('in Strict Mode a channel is subscribed to once, and unmounting leaks no listener', async () => {
  const channel = new CountedChannel('a');
  const { text, unmount } = mount(h(StrictMode, null, h(List, { source: channel })));
  await until(() => channel.state === 'attached');
  await (await new Frames(channel.publisher, 'a').start()).token('one');
  await until(() => text() === 'one (streaming)');
  assert.equal(channel.subscriptions, 1);
  assert.equal(channel.listeners, 3);
  unmount();
  await until(() => channel.listeners === 0);
});

test('a hundred mounts and unmounts leave no connection, no listener and no timer', async () => {
  const gateway = await serve();
  const channel = new CountedChannel('a');
  const { root } = mount(null);
  for (let count = 0; count < 100; count += 1) {
    root.render(h(StrictMode, { key: count }, h(List, { source: channel }), h(List, { source: { url: gateway.url, channel: 'a' } })));
    await new Promise((resolve) => setTimeout(resolve, count % 3));
  }
  root.render(null);
  await until(() => channel.listeners === 0 && gateway.clients.size === 0);
});

test('on the server it is empty, and the page goes on from there', async () => {
  const gateway = await serve();
  const frames = await (await new Frames(gateway.publisher, 'a').start()).token('one');
  const element = h(StrictMode, null, h(List, { source: { url: gateway.url, channel: 'a' } }));
  const html = renderToString(element);
  assert.equal(html, '<ul></ul>');
  assert.equal(gateway.connections, 0);
  const container = document.body.appendChild(document.createElement('div'));
  container.innerHTML = html;
  const root = hydrateRoot(container, element);
  closing.push(() => root.unmount());
  await until(() => container.textContent === 'one (streaming)');
  await frames.stop();
});

test('without a source nothing is read, until there is one', async () => {
  const gateway = await serve();
  await (await new Frames(gateway.publisher, 'a').start()).token('of a');
  const { root, text } = mount(h(List, { source: null }));
  root.render(h(List, { source: { url: gateway.url, channel: 'a' } }));
  await until(() => text() === 'of a (streaming)');
  root.render(h(List, { source: null }));
  await until(() => text() === '' && gateway.clients.size === 0);
});

test('a changed channel is followed, and nothing of the former is shown', async () => {
  const gateway = await serve();
  await (await new Frames(gateway.publisher, 'a').start()).token('of a');
  await (await new Frames(gateway.publisher, 'b').start()).token('of b');
  const seen = [];
  const of = (channel) => h(List, { source: { url: gateway.url, channel }, seen: ({ responses }) => seen.push(`${channel}: ${responses.map(({ text }) => text)}`) });
  const { root, text } = mount(of('a'));
  await until(() => text() === 'of a (streaming)');
  root.render(of('b'));
  await until(() => text() === 'of b (streaming)');
  await until(() => gateway.clients.size === 1);
  assert.ok(!seen.includes('b: of a'), seen.join('\n'));
});

test('inline options and headers open no further connection; other options do', async () => {
  const gateway = await serve();
  const tokens = [];
  let render;
  function Page() {
    const [round, setRound] = useState(0);
    render = setRound;
    const headers = async () => {
      tokens.push(round);
      return { Authorization: `Bearer ${round}` };
    };
    return h(List, { source: { url: gateway.url, channel: 'a' }, options: { headers, limit: round < 3 ? 5 : 6 } });
  }
  mount(h(Page));
  await until(() => gateway.connections === 1);
  for (const round of [1, 2]) {
    render(round);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  gateway.cut();
  await until(() => gateway.connections === 2);
  assert.deepEqual(tokens, [0, 2]);
  render(3);
  await until(() => gateway.connections === 3 && gateway.clients.size === 1);
});

test('components with one source share a subscription, and only what changed is rendered again', async () => {
  const gateway = await serve();
  const source = { url: gateway.url, channel: 'a' };
  const renders = new Map();
  const Answer = memo(({ response }) => {
    renders.set(response.id, (renders.get(response.id) ?? 0) + 1);
    return h('p', null, response.text);
  });
  function Answers() {
    return useResponses(source).responses.map((response) => h(Answer, { key: response.id, response }));
  }
  function One({ id }) {
    return h('b', null, useResponse({ ...source }, id)?.text ?? 'unknown');
  }
  const first = new Frames(gateway.publisher, 'a', 'first');
  const { container } = mount(h(StrictMode, null, h(Answers), h(One, { id: 'first' }), h(One, { id: 'second' })));
  const bold = () => [...container.querySelectorAll('b')].map((one) => one.textContent).join();
  await until(() => bold() === 'unknown,unknown');
  await (await first.start()).token('1');
  await until(() => bold() === '1,unknown' && container.querySelector('p').textContent === '1');
  const before = renders.get('first');
  const second = await new Frames(gateway.publisher, 'a', 'second').start();
  await second.token('2');
  await until(() => bold() === '1,2');
  assert.equal(renders.get('first'), before);
  assert.equal(gateway.connections, 1);
});

test('an error is given, and goes when reading goes on', async () => {
  const gateway = await serve();
  gateway.refusals.push({ status: 500, message: 'Broken.' });
  const seen = [];
  mount(h(List, { source: { url: gateway.url, channel: 'a' }, seen: (read) => seen.push(read) }));
  await until(() => /answered 500: Broken/.test(seen.at(-1)?.error?.message));
  await until(() => seen.at(-1).state === 'live' && seen.at(-1).error === null);
});

test('a refused channel is an error that stays', async () => {
  const gateway = await serve();
  gateway.refusals.push({ status: 403, message: 'Not yours.' });
  const seen = [];
  mount(h(List, { source: { url: gateway.url, channel: 'a' }, seen: (read) => seen.push(read) }));
  await until(() => seen.at(-1)?.error?.status === 403);
});

test('cancel resolves with the end', async () => {
  const gateway = await serve();
  let read;
  const { unmount } = mount(h(List, { source: { url: gateway.url, channel: 'a' }, seen: (given) => (read = given) }));
  const frames = await (await new Frames(gateway.publisher, 'a').start()).token('one');
  await until(() => read?.responses.length === 1);
  gateway.onCancel = () => frames.stop({ reason: 'cancelled', status: 'cancelled' });
  assert.equal((await read.cancel(frames.id)).status, 'cancelled');
  unmount();
  await until(() => gateway.clients.size === 0);
  await assert.rejects(read.cancel('other'), /mounted/);
});

test('a stream of your own is read, and stays open', async () => {
  const gateway = await serve();
  const stream = tokenstream(gateway.url, { channel: 'a' });
  closing.push(() => stream.close());
  const { text, unmount } = mount(h(List, { source: stream }));
  const frames = await (await new Frames(gateway.publisher, 'a').start()).token('one');
  await until(() => text() === 'one (streaming)');
  unmount();
  await frames.stop();
  await until(() => stream.get(frames.id).verified);
  assert.equal(gateway.connections, 1);
});

test('5,000 tokens take few renders', async (context) => {
  const channel = new CountedChannel('a');
  let renders = 0;
  const { text } = mount(h(List, { source: channel, seen: () => (renders += 1) }));
  await until(() => channel.state === 'attached');
  const frames = await new Frames(channel.publisher, 'a').start();
  const begun = performance.now();
  for (let token = 0; token < 5000; token += 1) {
    await frames.token('word ');
    if (token % 50 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  await frames.stop();
  const took = performance.now() - begun;
  await until(() => text().length === 25000 + ' (complete)'.length);
  context.diagnostic(JSON.stringify({ renders, milliseconds: Math.round(took) }));
  assert.ok(renders < 20 + took / 10, `${renders} renders in ${took} ms`);
});
