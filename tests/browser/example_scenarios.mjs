// The example chat in a browser. node example_scenarios.mjs <scenario>[+<scenario>...]...
// UPSTREAM is the address of the api, with UPSTREAM_TOKEN as its token, UPSTREAM_BRIDGE that of the bridge, and REALTIME that of a realtime
// server to read from; without them a gateway for tests is used, which has a model behind it.
// DIST is the built page; without it the page is bundled here for development, where Strict Mode is strict.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { ModelGateway } from './example_model.mjs';
import { runScenarios, until } from '../../devtools/chromium.mjs';

const groups = process.argv.slice(2);
const { UPSTREAM, UPSTREAM_TOKEN = '', UPSTREAM_BRIDGE, REALTIME, REALTIME_KEY, JOINS = '8' } = process.env;
const root = fileURLToPath(new URL('../..', import.meta.url));
const example = join(root, 'clients/javascript/examples/chat');
const isAbly = Boolean(REALTIME);
const closing = [];
let chats = 0;

const textOf = (tokens) => Array.from({ length: tokens }, (_, number) => `w${number} `).join('');
const chance = (() => {
  let state = 7;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
})();

/** The page as its bundler would make it, without installing what it depends on. */
async function bundle(options) {
  const source = join(root, 'clients/javascript/src');
  const packages = ['@ai-sdk/react', 'ably', 'ai', 'react', 'react-dom'].map((name) => [name, join(root, 'node_modules', name)]);
  const alias = { ...Object.fromEntries(packages), '@tokenstream/client/ai-sdk': `${source}/ai-sdk/index.js`, '@tokenstream/client/react': `${source}/react/index.js`, '@tokenstream/client': `${source}/index.js` };
  const define = { 'process.env.NODE_ENV': '"development"' };
  await build({ bundle: true, format: 'esm', alias, define, jsx: 'automatic', logLevel: 'error', ...options });
}

async function site() {
  const outdir = await mkdtemp(join(tmpdir(), 'tokenstream-example-'));
  closing.push(() => rm(outdir, { recursive: true, force: true }));
  await bundle({ entryPoints: { main: join(example, 'src/main.jsx') }, splitting: true, outdir });
  const html = await readFile(join(example, 'index.html'), 'utf8');
  await writeFile(join(outdir, 'index.html'), html.replace('/src/main.jsx', '/main.js').replace('</title>', '</title><link rel="stylesheet" href="/main.css" />'));
  return outdir;
}

/** A page that mounts and unmounts the hook on a channel whose listeners are counted. */
async function mountingPage(dist) {
  const contents = `
    import { createElement as h, StrictMode } from 'react';
    import { createRoot } from 'react-dom/client';
    import { useResponses } from '@tokenstream/client/react';
    import { sourceFor } from ${JSON.stringify(join(example, 'src/source.js'))};
    const counts = { listeners: 0 };
    const counted = (emitter) => {
      for (const [add, remove] of [['on', 'off'], ['subscribe', 'unsubscribe']]) {
        if (!emitter?.[add]) continue;
        const [adding, removing] = [emitter[add].bind(emitter), emitter[remove].bind(emitter)];
        emitter[add] = (...given) => ((counts.listeners += 1), adding(...given));
        emitter[remove] = (...given) => ((counts.listeners -= 1), removing(...given));
      }
    };
    const source = await sourceFor(location.hash.slice(1));
    counted(source);
    counted(source.client?.connection);
    function List() {
      const { responses, state } = useResponses(source, { api: '/v1' });
      return h('p', { id: state }, responses.map(({ text }) => text));
    }
    const root = createRoot(document.getElementById('root'));
    Object.assign(globalThis, { counts, show: (key) => root.render(key === null ? null : h(StrictMode, { key }, h(List))) });`;
  await bundle({ stdin: { contents, resolveDir: root }, outfile: join(dist, 'mounting.js') });
}

async function serve(dist, upstream) {
  const environment = { PORT: '0', DIST: dist, TOKENSTREAM: upstream, TOKEN: UPSTREAM_TOKEN, BRIDGE: UPSTREAM_BRIDGE ?? upstream, ...(isAbly && { ABLY_KEY: REALTIME_KEY, ABLY_ENDPOINT: REALTIME.replace('127.0.0.1', 'localhost') }) };
  const server = spawn(process.execPath, [join(example, 'server.mjs')], { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'inherit'] });
  closing.push(() => server.kill());
  const [line] = await new Promise((resolve) => server.stdout.once('data', (data) => resolve(data.toString().split('\n'))));
  return line;
}

let gateway;
let upstream = UPSTREAM;
if (!upstream) {
  gateway = await new ModelGateway().listen();
  closing.push(() => gateway.close());
  upstream = gateway.origin;
}
const dist = process.env.DIST ?? (await site());
const address = await serve(dist, upstream);

/** Opens a chat; whatever the page writes to its console as an error fails the scenario. */
async function opened(open, chat, options) {
  const page = await open('about:blank', options);
  page.said = [];
  page.asked = [];
  page.sockets = 0;
  page.on('console', (message) => message.type() === 'error' && page.said.push(message.text()));
  page.on('request', (request) => page.asked.push(new URL(request.url()).pathname));
  page.on('websocket', () => (page.sockets += 1));
  await page.goto(`${address}#${chat}`);
  return page;
}

const newChat = () => `${process.pid}-${(chats += 1)}`;
const isIdle = (page) => until(page, () => document.querySelector('[data-state="live"]')?.dataset.status === 'ready');
const answers = (page) => page.$$eval('li.assistant', (items) => items.map((item) => [...item.querySelectorAll('p.text')].map((one) => one.textContent).join('')));

async function ask(page, asked) {
  await page.fill('input', JSON.stringify(asked));
  await page.click('button:text("Send")');
}

async function shows(page, text, timeout) {
  await until(page, (wanted) => [...document.querySelectorAll('li.assistant p.text')].at(-1)?.textContent === wanted, text, timeout);
}

/** In the page: `whole` once every answer is, and none is being written; `wrong` where a text is no beginning of what it should be. */
function judged(wanted) {
  const texts = [...document.querySelectorAll('li.assistant')].map((item) => [...item.querySelectorAll('p.text')].map((one) => one.textContent).join(''));
  if (texts.some((text) => !wanted.startsWith(text))) return 'wrong';
  const isIdle = document.querySelector('[data-state="live"]')?.dataset.status === 'ready';
  return isIdle && texts.length > 0 && texts.every((text) => text === wanted) && 'whole';
}

/** In the page: counts renders that changed something, frames, and frames that were due but not drawn, at 60 a second. */
function watchRendering() {
  const measured = { renders: 0, frames: 0, dropped: 0, longest: 0 };
  const counting = new MutationObserver(() => (measured.renders += 1));
  counting.observe(document.getElementById('root'), { subtree: true, characterData: true, childList: true });
  let last = performance.now();
  const onFrame = (now) => {
    measured.frames += 1;
    measured.dropped += Math.max(0, Math.round(((now - last) * 60) / 1000) - 1);
    measured.longest = Math.max(measured.longest, Math.round(now - last));
    last = now;
    requestAnimationFrame(onFrame);
  };
  requestAnimationFrame(onFrame);
  globalThis.measured = measured;
}

const hasBegun = (page) => until(page, () => [...document.querySelectorAll('li.assistant p.text')].at(-1)?.textContent.length > 20);

/** How often the page subscribed: a channel's hydration, or an event stream, is asked for once by each subscription. */
const subscriptions = ({ asked }) => asked.filter((path) => /\/(hydrate|events)$/.test(path)).length;

const scenarios = {
  async conversation(open) {
    const page = await opened(open, newChat());
    await ask(page, { tokens: 30, pause: 10, thinks: true, calls: true });
    await shows(page, textOf(30));
    assert.equal(await page.textContent('.reasoning p'), 'Let me see.');
    assert.equal(await page.textContent('.tool summary'), 'weather');
    await until(page, () => /Oslo/.test(document.querySelector('.tool pre')?.textContent));
    await isIdle(page);
    await ask(page, { tokens: 5, pause: 0 });
    await shows(page, textOf(5));
    assert.deepEqual(await answers(page), [textOf(30), textOf(5)]);
    assert.deepEqual(page.said, []);
    return { subscriptions: subscriptions(page) };
  },

  async strict_mode_subscribes_once(open) {
    const page = await opened(open, newChat());
    await ask(page, { tokens: 20, pause: 10 });
    await shows(page, textOf(20));
    await isIdle(page);
    assert.equal(subscriptions(page), 1);
    assert.equal(page.sockets, isAbly ? 1 : 0);
    assert.deepEqual(page.said, []);
  },

  async stop(open) {
    const page = await opened(open, newChat());
    await ask(page, { tokens: 2000, pause: 10 });
    await hasBegun(page);
    const begun = performance.now();
    await page.click('button:text("Stop")');
    await isIdle(page);
    const id = await page.getAttribute('li.assistant', 'data-id');
    const status = () => page.evaluate(async (path) => (await (await fetch(path)).json()).status, `/v1/responses/${id}`);
    for (let seen; (seen = await status()) !== 'cancelled'; ) assert.ok(performance.now() - begun < 30000, seen);
    assert.deepEqual(page.said.filter((said) => !said.includes('404')), []);
    await page.reload();
    await isIdle(page);
    assert.equal((await answers(page)).length, 1);
    return { stopped: Math.round(performance.now() - begun) };
  },

  async stop_after_a_reload(open) {
    const page = await opened(open, newChat());
    await ask(page, { tokens: 2000, pause: 10 });
    await hasBegun(page);
    await page.reload();
    await hasBegun(page);
    await page.click('button:text("Stop")');
    await isIdle(page);
    await page.reload();
    await isIdle(page);
    const [text] = await answers(page);
    assert.ok(textOf(2000).startsWith(text) && text.length < textOf(2000).length);
  },

  async reload_in_the_middle(open) {
    const page = await opened(open, newChat());
    await ask(page, { tokens: 150, pause: 20, thinks: true });
    await hasBegun(page);
    await page.reload();
    await hasBegun(page);
    await page.reload();
    await shows(page, textOf(150));
    await isIdle(page);
    assert.deepEqual(await answers(page), [textOf(150)]);
    assert.equal(await page.$$eval('li.user', (items) => items.length), 1);
    assert.deepEqual(page.said, []);
  },

  async two_tabs(open) {
    const chat = newChat();
    const [one, two] = [await opened(open, chat), await opened(open, chat)];
    await isIdle(two);
    await ask(one, { tokens: 100, pause: 20 });
    await hasBegun(two);
    await Promise.all([shows(one, textOf(100)), shows(two, textOf(100))]);
    await Promise.all([isIdle(one), isIdle(two)]);
    await ask(two, { tokens: 10, pause: 5 });
    await Promise.all([shows(one, textOf(10)), shows(two, textOf(10))]);
    for (const page of [one, two]) {
      assert.deepEqual(await answers(page), [textOf(100), textOf(10)]);
      assert.equal(await page.$$eval('li.user', (items) => items.length), 2);
      assert.deepEqual(page.said, []);
    }
  },

  /** Four readers at once open the chat at random moments of its answers, and read the one that is being written to its end. */
  async joins(open) {
    const chat = newChat();
    const writer = await opened(open, chat);
    let left = Number(JOINS);
    let wrong = 0;
    let said = 0;
    const ids = new Set();
    const join = async () => {
      const page = await opened(open, chat);
      while (left > 0) {
        left -= 1;
        await new Promise((resolve) => setTimeout(resolve, chance() * 500));
        await page.reload();
        if ((await until(page, judged, textOf(80))) !== 'whole') wrong += 1;
      }
      said += page.said.length;
    };
    const writing = (async () => {
      while (left > 0) {
        await ask(writer, { tokens: 80, pause: 10 });
        await shows(writer, textOf(80));
        await isIdle(writer);
        for (const id of await writer.$$eval('li.assistant', (items) => items.map((item) => item.dataset.id))) ids.add(id);
      }
    })();
    await hasBegun(writer);
    await Promise.all([join(), join(), join(), join(), writing]);
    assert.deepEqual([wrong, said, writer.said], [0, 0, []]);
    return { joins: Number(JOINS), answers: ids.size };
  },

  async many_tokens(open) {
    const page = await opened(open, newChat());
    await isIdle(page);
    await page.evaluate(watchRendering);
    const begun = performance.now();
    await ask(page, { tokens: 5000, pause: 0 });
    await shows(page, textOf(5000));
    await isIdle(page);
    const measured = await page.evaluate(() => globalThis.measured);
    const milliseconds = Math.round(performance.now() - begun);
    assert.deepEqual(page.said, []);
    assert.ok(measured.renders < 5000 / 4, `${measured.renders} renders`);
    return { ...measured, milliseconds };
  },

  async unmounting_leaks_no_listener(open) {
    const page = await opened(open, newChat());
    await isIdle(page);
    await page.addScriptTag({ url: '/mounting.js', type: 'module' });
    await until(page, () => globalThis.show);
    for (let round = 0; round < 50; round += 1) await page.evaluate((key) => globalThis.show(key), round);
    await until(page, () => document.getElementById('live'));
    const mounted = await page.evaluate(() => globalThis.counts.listeners);
    if (isAbly) assert.equal(mounted, 3);
    await page.evaluate(() => globalThis.show(null));
    await until(page, () => globalThis.counts.listeners === 0);
    if (gateway) for (const end = performance.now() + 20000; gateway.clients.size > 1; ) await new Promise((resolve) => setTimeout(resolve, 20), assert.ok(performance.now() < end));
    return { mounted };
  },
};

try {
  if (groups.some((group) => group.includes('unmounting'))) await mountingPage(dist);
  await runScenarios(scenarios, groups);
} finally {
  for (const close of closing.reverse()) await close();
}
process.exit(0);
