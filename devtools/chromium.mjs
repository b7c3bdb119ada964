// What every browser scenario shares: Debian's Chromium, a page that may reach this machine only, and patience with a limit.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

// Chromium applies only the last `--disable-features`, so the list repeats Playwright's. Its own pages cost a process per window.
const PLAYWRIGHTS = [
  ...['AvoidUnnecessaryBeforeUnloadCheckSync', 'DestroyProfileOnBrowserClose', 'HttpsUpgrades', 'HttpsFirstBalancedModeAutoEnable'],
  ...['LensOverlay', 'MediaRouter', 'PaintHolding', 'ThirdPartyStoragePartitioning', 'AvoidCorsURLLoaderRestartOnRedirect'],
  ...['TcpPortRandomizationWin', 'OptimizationHints', 'NetworkTimeServiceQuerying', 'AimEnabled', 'PreconnectToSearch'],
  ...['msForceBrowserSignIn', 'msEdgeUpdateLaunchServicesPreferredVersion'],
];
const OWN_PAGES = ['PreloadTopChromeWebUI', 'WebUIOmniboxPopup', 'WebUIOmniboxAimPopup'];
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', `--disable-features=${[...PLAYWRIGHTS, ...OWN_PAGES]}`];

/** More windows at once than a small machine can draw fail by their timeouts. */
const AT_ONCE = 3;

/**
 * Runs scenarios, each in windows of its own: `groups` one after the other, of the names in a group (`a+b+c`) some at once.
 * Prints a line of JSON for each: its name, the seconds it took, what it measured, and the error if it failed.
 */
export async function runScenarios(scenarios, groups) {
  const profile = await mkdtemp(join(tmpdir(), 'tokenstream-chromium-'));
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ARGUMENTS, env: { ...process.env, HOME: profile } });
  try {
    for (const group of groups) {
      const names = group.split('+');
      const runSome = async () => {
        for (let name = names.shift(); name !== undefined; name = names.shift()) await runOne(browser, name, scenarios[name]);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, runSome));
    }
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}

async function runOne(browser, name, scenario) {
  const mistakes = [];
  const contexts = [];
  const begun = performance.now();
  let error;
  let measured;
  try {
    measured = await scenario((url, options) => openPage(browser, url, options, { mistakes, contexts }));
    assert.deepEqual(mistakes, []);
  } catch (failure) {
    error = `${failure.stack}\n${mistakes.join('\n')}`;
  }
  for (const context of contexts) await context.close();
  console.log(JSON.stringify({ name, seconds: (performance.now() - begun) / 1000, measured, error }));
}

async function openPage(browser, url, options, { mistakes, contexts }) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  contexts.push(context);
  const page = await context.newPage();
  page.on('pageerror', (error) => mistakes.push(`an error on the page: ${error.message}`));
  if (process.env.DEBUG_PAGE) page.on('console', (message) => console.error(message.text()));
  page.on('dialog', (dialog) => {
    mistakes.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    const local = hostname === 'localhost' || hostname === '127.0.0.1' || ['data:', 'blob:', 'mailto:'].includes(protocol);
    if (!local) mistakes.push(`a request to ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

/** Asks the page until `look` is true there; returns what it gave. */
export async function until(page, look, argument, timeout = 40000) {
  try {
    const handle = await page.waitForFunction(look, argument, { timeout, polling: 50 });
    return await handle.jsonValue();
  } catch (error) {
    throw new Error(`Not so in ${timeout} ms: ${look}\n${JSON.stringify(await summary(page))}\n${error.message}`);
  }
}

export const isLive = (page) => until(page, () => globalThis.tokenstreamDemo?.stream.state === 'live');

export const summary = (page) =>
  page.evaluate(() => {
    const { stream } = globalThis.tokenstreamDemo ?? {};
    const open = stream?.responses.filter((one) => !one.verified).map(({ id, status, tokens, repairing }) => ({ id, status, tokens, repairing }));
    return stream && { state: stream.state, counts: stream.counts, known: stream.responses.length, open };
  });

export const zeros = (page) => page.$$eval('#zeros dd', (cells) => cells.map((cell) => cell.textContent));
