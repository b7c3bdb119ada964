// Readers that join a real gateway at random moments, and one that cancels.
// node client_gateway.mjs <seed>; API is the address, TOKEN a credential that may read and cancel. Lines on stdin: {"cancel": id}, then {"expected": {id: {part: text}}}.
// Prints {"live": true} once the first readers are there, and at last the outcome.
import { createInterface } from 'node:readline';
import { tokenstream } from '../../clients/javascript/src/index.js';

const { API, TOKEN } = process.env;
const CHANNELS = ['chat:0', 'chat/1:joins']; // the second needs the path of several channels
const LANES = 2; // of each channel
const DEADLINE = 60000;
let state = Number(process.argv[2]);
const chance = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const seen = []; // what readers showed before the end: [id, part, text]
const wrong = [];
let expected = null;
let joins = 0;
let errors = 0;

const textsOf = (stream) => stream.responses.flatMap(({ id, parts }) => parts.map(({ part, text }) => [id, part, text]));

function follow(channel) {
  const stream = tokenstream(API, { channel, headers: { Authorization: `Bearer ${TOKEN}` }, limit: 500, limits: { finished: 500 } });
  stream.on('error', () => (errors += 1));
  return stream;
}

async function join(channel) {
  const stream = follow(channel);
  await stream.ready;
  joins += 1;
  seen.push(...textsOf(stream));
  return stream;
}

/** One short reader after the other; the first one and the last one stay. */
async function joinInTurn(channel) {
  while (!expected) {
    await pause(chance() * 200);
    const stream = await join(channel);
    await pause(chance() * 200);
    seen.push(...textsOf(stream));
    stream.close();
  }
  return join(channel);
}

async function until(look) {
  for (const end = performance.now() + DEADLINE; performance.now() < end; await pause(20)) if (look()) return true;
  return false;
}

const hasAll = (stream, ids) => ids.every((id) => stream.get(id)?.verified);

function compare(stream, channel) {
  for (const [id, { channel: its, parts }] of Object.entries(expected)) {
    if (its !== channel) continue;
    const response = stream.get(id);
    const texts = Object.fromEntries((response?.parts ?? []).map(({ part, text }) => [part, text]));
    const isSame = Object.keys(texts).length === Object.keys(parts).length && Object.entries(parts).every(([part, text]) => texts[part] === text);
    if (!isSame || !response.verified) wrong.push({ id, status: response?.status, verified: response?.verified, texts, parts });
  }
}

const first = await Promise.all(CHANNELS.map(join));
const turns = CHANNELS.flatMap((channel) => Array.from({ length: LANES }, () => joinInTurn(channel).then((stream) => [stream, channel])));
console.log(JSON.stringify({ live: true }));
let cancelled = null;
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (message.cancel) {
    await until(() => first[0].get(message.cancel)?.text);
    const { status, reason } = await first[0].cancel(message.cancel, { reason: 'user' });
    cancelled = { status, reason };
    console.log(JSON.stringify({ cancelled }));
  } else {
    expected = message.expected;
    break;
  }
}
const last = await Promise.all(turns);
const all = [...first.map((stream, index) => [stream, CHANNELS[index]]), ...last];
for (const [stream, channel] of all) {
  await until(() => hasAll(stream, Object.keys(expected).filter((id) => expected[id].channel === channel)));
  compare(stream, channel);
}
const notBeginnings = seen.filter(([id, part, text]) => !expected[id]?.parts[part]?.startsWith(text));
const { repeats, lost } = first[0].counts;
console.log(JSON.stringify({ joins, errors, looks: seen.length, wrong, notBeginnings, repeats, lost }));
process.exit(0);
