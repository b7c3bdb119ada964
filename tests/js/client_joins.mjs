// Readers that join at random moments while responses begin and end, on the real API and a real store.
// node client_joins.mjs <readers> <seed>; REALTIME_PORT, REALTIME_KEY, API and STORE (takes records by POST) are addresses.
import assert from 'node:assert/strict';
import Ably from 'ably';
import { tokenstream } from '../../clients/javascript/src/index.js';
import { Frames } from './client_frames.mjs';

const [readers, seed] = process.argv.slice(2).map(Number);
const { REALTIME_PORT, REALTIME_KEY, API, STORE } = process.env;
const NAME = 'chat/42:joins';
const LANES = 10;
const WORDS = ['one ', 'two ', 'three '];
const LEAST = 150; // responses

function connect() {
  return new Ably.Realtime({ key: REALTIME_KEY, endpoint: 'localhost', port: Number(REALTIME_PORT), tls: false, logLevel: 0 });
}

/** Numbers from 0 to 1, the same ones for the same seed. */
function chances(state) {
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const chance = chances(seed);
const stored = new Map(); // id -> text
const whole = new Map();
let joined = 0;

async function store(frames, status) {
  const now = Date.now();
  const times = { startedAt: frames.startedAt, firstTokenAt: now, updatedAt: now, finishedAt: status === 'streaming' ? null : now };
  const record = { ...frames.record(status), relay: {}, ...times };
  const answer = await fetch(STORE, { method: 'POST', body: JSON.stringify(record) });
  assert.equal(answer.status, 204, await answer.text());
  stored.set(frames.id, frames.texts.get('text') ?? '');
}

/** As relay and archive do: frames first, then the record. The end is stored a moment after it is seen. */
async function write(publisher, number) {
  for (let count = 0; joined < readers || stored.size < LEAST; count += 1) {
    const frames = new Frames(publisher, NAME, `r-${number}-${count}`);
    frames.startedAt = Date.now();
    await frames.start();
    for (const word of WORDS) {
      await frames.token(word);
      await store(frames, 'streaming');
    }
    await frames.stop();
    whole.set(frames.id, frames.texts.get('text'));
    await store(frames, 'complete');
    await new Promise((resolve) => setTimeout(resolve, chance() * 100));
  }
}

/** A history that begins after every response did: it goes on with what hydration gave, and brings nothing else. */
function withoutBeginnings(channel) {
  const cut = (page) => ({
    items: page.items.filter(({ name }) => name !== 'start'),
    hasNext: () => page.hasNext(),
    next: async () => cut(await page.next()),
  });
  const history = async (range) => cut(await channel.history(range));
  const get = (target, key) => {
    if (key === 'history') return history;
    return typeof target[key] === 'function' ? target[key].bind(target) : target[key];
  };
  return new Proxy(channel, { get });
}

async function join() {
  await new Promise((resolve) => setTimeout(resolve, chance() * 100));
  const client = connect();
  const known = new Map(stored);
  const stream = tokenstream(withoutBeginnings(client.channels.get(NAME)), { api: API, limit: 5000, limits: { finished: 5000 } });
  const errors = [];
  stream.on('error', (error) => errors.push(error.message));
  await stream.ready;
  const missing = [...known].filter(([id, text]) => !stream.get(id)?.text.startsWith(text)).map(([id]) => id);
  joined += 1;
  return { client, stream, missing, errors, known: known.size };
}

/** One reader after the other; the last one stays. */
async function joinInTurn(count) {
  const all = [];
  for (let left = count; left > 0; left -= 1) {
    all.push(await join());
    if (left === 1) break;
    all.at(-1).stream.close();
    all.at(-1).client.close();
  }
  return all;
}

async function isWhole(stream) {
  const end = performance.now() + 30000;
  const lacking = () => [...whole].filter(([id, text]) => stream.get(id)?.text !== text || !stream.get(id).verified);
  for (; lacking().length && performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 20)));
  return lacking().map(([id]) => id);
}

const publisher = connect();
const writers = Array.from({ length: 6 }, (_, number) => write(publisher, number));
const turns = await Promise.all(Array.from({ length: LANES }, () => joinInTurn(readers / LANES)));
const all = turns.flat();
await Promise.all(writers);
const lacking = await Promise.all(turns.map((turn) => isWhole(turn.at(-1).stream)));
console.log(JSON.stringify({
  readers: all.length,
  responses: whole.size,
  known: all.reduce((sum, { known }) => sum + known, 0),
  missing: all.flatMap(({ missing }) => missing),
  lacking: lacking.flat(),
  errors: all.flatMap(({ errors }) => errors),
}));
process.exit(0);
