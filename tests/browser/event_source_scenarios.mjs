// An EventSource of the browser on a gateway, which cuts its connections meanwhile.
// node event_source_scenarios.mjs <address of the stream> <scenario>...
import assert from 'node:assert/strict';
import { runScenarios, until } from '../../devtools/chromium.mjs';

const [address, ...groups] = process.argv.slice(2);
const PAGE = new URL('/healthz', address).href; // any page of the same origin

/** Keeps the offset rule, and nothing else. */
function follow(url) {
  const seen = (globalThis.seen = { text: '', opens: 0, names: [], ids: [], lost: 0, status: null });
  const source = new EventSource(url);
  source.onopen = () => (seen.opens += 1);
  const append = (offset, text) => {
    if (offset > seen.text.length) seen.lost += 1;
    else seen.text += text.slice(seen.text.length - offset);
  };
  for (const name of ['snapshot', 'ready', 'start', 'token', 'stop', 'reset', 'bye']) {
    source.addEventListener(name, ({ data, lastEventId }) => {
      const event = JSON.parse(data);
      seen.names.push(name);
      seen.ids.push(lastEventId);
      if (name === 'snapshot') append(0, event.data.text);
      if (name === 'token') append(Number(event.headers.offset), event.data);
      if (name === 'stop') seen.status = event.data.status;
    });
  }
}

const scenarios = {
  /** Two connections at least, one set of snapshots, and the whole text. */
  async resumes(open) {
    const page = await open(PAGE);
    await page.evaluate(follow, address);
    await until(page, () => globalThis.seen.status === 'complete', null, 90000);
    const { opens, names, ids, lost, text } = await page.evaluate(() => globalThis.seen);
    assert.ok(opens >= 2, `${opens} connections`);
    assert.equal(lost, 0);
    assert.equal(names.filter((name) => name === 'ready').length, 1, names.join());
    assert.equal(new Set(ids).size, ids.length, 'an event came twice');
    return { text, opens };
  },
};

await runScenarios(scenarios, groups);
