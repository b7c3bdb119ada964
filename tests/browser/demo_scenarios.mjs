// The demo's page on a whole deployment. node demo_scenarios.mjs <address of the page> <scenario>[+<scenario>...]...
import assert from 'node:assert/strict';
import { isLive, runScenarios, summary, until, zeros } from '../../devtools/chromium.mjs';

const [address, ...groups] = process.argv.slice(2);

async function injectRealtime(spec) {
  const { port } = await (await fetch(new URL('/config.json', address))).json();
  const answer = await fetch(`http://127.0.0.1:${port}/admin/faults`, { method: 'POST', body: JSON.stringify(spec) });
  assert.equal(answer.status, 200, await answer.text());
}

async function opened(open, options) {
  const page = await open(address, options);
  await isLive(page);
  return page;
}

async function askAll(page) {
  await page.click('#burst');
  // Several models are writing, at once, on one channel.
  await until(page, () => document.querySelectorAll('.message.streaming').length >= 3);
}

const writing = (page) =>
  page.$$eval('.message.streaming', (articles) => articles.map((article) => article.dataset.id));

const areProved = (page, ids, timeout = 60000) =>
  until(page, (wanted) => wanted.every((id) => globalThis.tokenstreamDemo.stream.get(id)?.verified), ids, timeout);

const textsOf = (page, ids) =>
  page.evaluate((wanted) => wanted.map((id) => globalThis.tokenstreamDemo.stream.get(id).parts.map(({ part, text }) => [part, text])), ids);

async function isIntact(page) {
  await until(page, () => globalThis.tokenstreamDemo.stream.state === 'live');
  assert.deepEqual(await zeros(page), ['0', '0', '0']);
  const { counts } = await summary(page);
  assert.deepEqual([counts.lost, counts.mismatches], [0, 0]);
}

const scenarios = {
  async streaming(open) {
    const page = await opened(open);
    await page.evaluate(() => {
      globalThis.grown = new Map();
      globalThis.tokenstreamDemo.stream.on('change', ({ id, status, text }) => {
        if (status === 'streaming') globalThis.grown.set(id, (globalThis.grown.get(id) ?? new Set()).add(text.length));
      });
    });
    await page.fill('#say', 'What should be on a checklist before a launch?');
    await page.press('#say', 'Enter');
    await until(page, () => [...document.querySelectorAll('.message.person')].some((one) => one.textContent.includes('on a checklist')));
    // It was seen at five lengths at least before it ended: it streams.
    const id = await until(page, () => [...globalThis.grown].find(([, lengths]) => lengths.size >= 5)?.[0]);
    await areProved(page, [id]);
    await until(page, (one) => document.querySelector(`tr[data-id="${one}"] .hash`)?.textContent.startsWith('✓'), id);
    await isIntact(page);
  },

  async folds(open) {
    const page = await opened(open);
    await page.fill('#say', 'Everyone, once more');
    await page.click('#burst');
    const fold = await page.waitForSelector('details.fold', { timeout: 60000 });
    assert.equal(await fold.evaluate((one) => one.open), false);
    await fold.$eval('summary', (one) => one.focus());
    await page.keyboard.press('Enter');
    await until(page, (one) => one.open && one.querySelector('.inner').textContent, fold);
  },

  async reload(open) {
    const page = await opened(open);
    await askAll(page);
    const ids = await writing(page);
    const before = await textsOf(page, ids);
    await page.reload();
    await isLive(page);
    const after = await textsOf(page, ids);
    before.forEach((parts, index) => {
      const now = new Map(after[index]);
      parts.forEach(([part, text]) => assert.ok(now.get(part)?.startsWith(text), `${part} went back: ${text} -> ${now.get(part)}`));
    });
    await areProved(page, ids);
    await isIntact(page);
  },

  async late_join(open) {
    const first = await opened(open);
    await askAll(first);
    const ids = await writing(first);
    const second = await opened(open, { colorScheme: 'dark' });
    await areProved(first, ids);
    await areProved(second, ids);
    assert.deepEqual(await textsOf(second, ids), await textsOf(first, ids));
    await isIntact(second);
  },

  async two_windows(open) {
    const both = [await opened(open), await opened(open, { viewport: { width: 390, height: 800 } })];
    await askAll(both[0]);
    const ids = await writing(both[0]);
    for (const page of both) await areProved(page, ids);
    for (const page of both) await until(page, (wanted) => wanted.every((id) => document.querySelector(`.message[data-id="${id}"]:not(.streaming)`)), ids);
    const shown = (page) =>
      page.evaluate((wanted) => {
        const articles = [...document.querySelectorAll('.message')].filter(({ dataset }) => wanted.includes(dataset.id));
        return articles.map((article) => [article.dataset.id, article.querySelector('.text').textContent]);
      }, ids);
    assert.deepEqual(await shown(both[1]), await shown(both[0]));
  },

  async offline(open) {
    const page = await opened(open);
    await askAll(page);
    const ids = await writing(page);
    await page.context().setOffline(true);
    await until(page, () => globalThis.tokenstreamDemo.stream.state === 'stale');
    const others = await opened(open);
    await areProved(others, ids);
    await page.context().setOffline(false);
    await isLive(page);
    await areProved(page, ids);
    assert.deepEqual(await textsOf(page, ids), await textsOf(others, ids));
    await isIntact(page);
  },

  async discontinuity(open) {
    const page = await opened(open);
    await askAll(page);
    const ids = await writing(page);
    await page.evaluate(() => {
      globalThis.states = [];
      globalThis.tokenstreamDemo.stream.on('state', (state) => globalThis.states.push(state));
    });
    await injectRealtime({ refuse_resume: { times: 2 }, cut: {} });
    await until(page, () => globalThis.states.includes('stale') && globalThis.states.at(-1) === 'live');
    await injectRealtime({ discontinuity: {} });
    await until(page, () => globalThis.states.filter((state) => state === 'catching-up').length >= 2);
    await areProved(page, ids);
    await isIntact(page);
  },

  async hostile(open) {
    const page = await opened(open);
    const image = '<img src=x onerror="globalThis.wrong = true">';
    const script = '<script>globalThis.wrong = true</script>';
    const links = '[click](javascript:globalThis.wrong=true) ![](http://example.invalid/spy.png) [ok](https://example.invalid/)';
    const bidi = 'safe \u202egnp.exe\u2069 end';
    await page.fill('#name', '<b>Mallory</b>');
    await page.fill('#say', [image, script, links, bidi, '<style>*{display:none}</style>', '`<i>`', '<a href="javascript:1">a</a>'].join('\n\n'));
    await page.press('#say', 'Enter');
    const article = await page.waitForSelector('.message.person:has-text("Mallory"):has-text("end")', { timeout: 20000 });
    await until(page, () => [...document.querySelectorAll('.message.person')].some((one) => one.textContent.includes('<a href')));
    const shown = await article.evaluate((one) => one.textContent);
    for (const text of [image, script, '<b>Mallory</b>', '![](http://example.invalid/spy.png)', '<style>', '<i>']) {
      assert.ok(shown.includes(text), `${text} is not shown as text in ${shown}`);
    }
    assert.ok(shown.includes('U+202E') && !shown.includes('\u202e'));
    assert.equal(await page.$$eval('#messages :is(img, script, style, iframe, b.wrong)', (all) => all.length), 0);
    const hrefs = await article.$$eval('a', (all) => all.map((one) => one.getAttribute('href')));
    assert.deepEqual(hrefs, ['https://example.invalid/']);
    assert.equal(await page.evaluate(() => globalThis.wrong), undefined);
  },

  async stop(open) {
    const page = await opened(open);
    const statusOf = (one) => globalThis.tokenstreamDemo.stream.get(one)?.status;
    let [id, status] = [null, null];
    // An answer may end by itself before it is stopped.
    for (let tries = 0; tries < 12 && status !== 'cancelled'; tries += 1) {
      id = await until(page, () => {
        const young = [...document.querySelectorAll('.message.streaming:not(.person)')].find((one) => {
          const { length } = one.querySelector('.body').textContent;
          return length > 0 && length < 200 && !one.querySelector('.stop').disabled;
        });
        young?.querySelector('.stop').click();
        return young?.dataset.id;
      });
      await until(page, (one) => globalThis.tokenstreamDemo.stream.get(one)?.status !== 'streaming', id, 60000);
      status = await page.evaluate(statusOf, id);
    }
    assert.equal(status, 'cancelled');
    await areProved(page, [id]);
    await until(page, (one) => document.querySelector(`article[data-id="${one}"]`).dataset.status === 'cancelled', id);
    assert.ok(await page.evaluate((one) => document.querySelector(`article[data-id="${one}"] .stop`).hidden, id));
  },

  async keyboard(open) {
    const page = await opened(open);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
    await page.keyboard.press('Enter');
    await until(page, () => document.activeElement.id === 'say');
    await page.keyboard.type('Typed without a mouse');
    await page.keyboard.press('Enter');
    await until(page, () => [...document.querySelectorAll('.message.person')].some((one) => one.textContent.includes('without a mouse')));
    const reached = new Set();
    for (let presses = 0; presses < 40 && !reached.has('storage'); presses += 1) {
      await page.keyboard.press('Tab');
      reached.add(await page.evaluate(() => document.activeElement.dataset.fault ?? document.activeElement.id));
    }
    assert.ok(['burst', 'cut', 'refuse', 'relay', 'broker', 'storage'].every((one) => reached.has(one)), [...reached].join());
  },

  async faults(open) {
    const page = await opened(open);
    const witness = await opened(open);
    for (const fault of ['cut', 'refuse', 'storage', 'broker', 'relay']) {
      await askAll(page);
      const ids = await writing(page);
      await page.click(`[data-fault="${fault}"]`);
      await until(page, () => document.getElementById('fault-said').textContent.length > 20);
      for (const window of [page, witness]) {
        await areProved(window, ids, 90000);
        await isIntact(window);
      }
    }
    await until(page, () => document.querySelectorAll('.fault[aria-pressed="true"]').length === 0, undefined, 30000);
  },
};

await runScenarios(scenarios, groups);
