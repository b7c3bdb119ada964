// The example chat with its server, in a document without a browser: what a page shows, Stop, and a second page.
import { complaints, until } from './dom.mjs';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { after, afterEach, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { createElement as h, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { ModelGateway } from '../browser/example_model.mjs';

const path = (relative) => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const example = path('clients/javascript/examples/chat');
const client = path('clients/javascript/src');
const closing = [];
afterEach(() => assert.deepEqual(complaints.splice(0), []));
after(() => closing.reverse().forEach((close) => close()));

const gateway = await new ModelGateway().listen();
closing.push(() => gateway.close());
const environment = { ...process.env, PORT: '0', TOKENSTREAM: gateway.origin, BRIDGE: gateway.origin };
const server = spawn(process.execPath, [`${example}/server.mjs`], { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
closing.push(() => server.kill());
const address = await new Promise((resolve) => server.stdout.once('data', (line) => resolve(String(line).trim())));
const { fetch } = globalThis;
globalThis.fetch = (url, init) => fetch(new URL(url, address), init);

/** The page's component, beside the packages of the tests. */
async function pageComponent() {
  const outfile = path(`node_modules/.cache/example-${process.pid}.mjs`);
  const alias = { '@tokenstream/client/ai-sdk': `${client}/ai-sdk/index.js`, '@tokenstream/client/react': `${client}/react/index.js` };
  await build({ entryPoints: [`${example}/src/Page.jsx`], bundle: true, format: 'esm', jsx: 'automatic', outfile, alias, external: ['react', 'ai', '@ai-sdk/react'] });
  const { Page } = await import(pathToFileURL(outfile));
  await rm(outfile);
  return Page;
}

const Page = await pageComponent();
const textOf = (tokens) => Array.from({ length: tokens }, (_, number) => `w${number} `).join('');

class Tab {
  constructor(chatId) {
    this.container = document.body.appendChild(document.createElement('div'));
    const root = createRoot(this.container);
    root.render(h(StrictMode, null, h(Page, { chatId, source: { url: '/v1', channel: `chat:${chatId}` } })));
    closing.push(() => root.unmount());
  }

  all(selector) {
    return [...this.container.querySelectorAll(selector)];
  }

  get answers() {
    return this.all('li.assistant').map((item) => [...item.querySelectorAll('p.text')].map((one) => one.textContent).join(''));
  }

  button(name) {
    return this.all('button').find(({ textContent }) => textContent === name);
  }

  isIdle() {
    return until(() => this.all('[data-state="live"][data-status="ready"]').length === 1);
  }

  async ask(asked) {
    await this.isIdle();
    const [input] = this.all('input');
    Object.getOwnPropertyDescriptor(window.HTMLInputElement.prototype, 'value').set.call(input, JSON.stringify(asked));
    input.dispatchEvent(new window.Event('input', { bubbles: true }));
    await until(() => input.value.includes('tokens'));
    this.button('Send').click();
    await until(() => input.value === '');
  }
}

test('an answer is shown with its reasoning and its tools', async () => {
  const tab = new Tab('conversation');
  await tab.ask({ tokens: 10, pause: 5, thinks: true, calls: true });
  await until(() => tab.answers[0] === textOf(10));
  assert.equal(tab.all('.reasoning p')[0].textContent, 'Let me see.');
  await tab.isIdle();
  assert.match(tab.all('.tool pre')[0].textContent, /Oslo/);
  await tab.ask({ tokens: 3, pause: 0 });
  await until(() => tab.answers[1] === textOf(3));
  assert.deepEqual(tab.all('li').map(({ className }) => className), ['user', 'assistant', 'user', 'assistant']);
});

test('Stop cancels the answer', async () => {
  const tab = new Tab('stop');
  await tab.ask({ tokens: 5000, pause: 5 });
  await until(() => tab.answers[0]?.length > 20);
  tab.button('Stop').click();
  await tab.isIdle();
  await until(() => gateway.known.get(tab.all('li.assistant')[0].dataset.id).status === 'cancelled');
});

test('a page opened in the middle shows one whole message, and so does one that was open before', async () => {
  const [one, before] = [new Tab('tabs'), new Tab('tabs')];
  await before.isIdle();
  await one.ask({ tokens: 40, pause: 20 });
  await until(() => one.answers[0]?.length > 20);
  const late = new Tab('tabs');
  for (const tab of [one, before, late]) await until(() => tab.answers[0] === textOf(40));
  await before.ask({ tokens: 3, pause: 5 });
  for (const tab of [one, before, late]) {
    await until(() => tab.answers[1] === textOf(3));
    await tab.isIdle();
    assert.deepEqual(tab.answers, [textOf(40), textOf(3)]);
    assert.equal(tab.all('li.user').length, 2);
  }
});
