// Runs scripts against the JavaScript reader: a line of JSON in (`limits`, `steps`), a line of JSON out (the outcome).
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';
import { Reader } from '../../clients/javascript/src/reader.js';

const digest = async (text) => createHash('sha256').update(text.toWellFormed(), 'utf8').digest('hex');
const asMessage = ({ headers, ...rest }) => ({ ...rest, extras: { headers } });

const actions = {
  feed: (reader, message) => reader.feed(asMessage(message)),
  replay: (reader, messages) => messages.map((message) => reader.replay(asMessage(message))),
  hydrate: (reader, record) => reader.hydrate(record),
  giveUp: (reader, id) => reader.giveUp(id),
  drop: (reader, id) => reader.drop(id),
};

function described(response) {
  const { id, status, reason, error, metadata, usage, last, tokens, frames, gaps, complete, verified } = response;
  const parts = [...response.parts.values()].map(({ part, kind, info, text, length }) => ({ part, kind, info, text, length }));
  return { id, status, reason, error, metadata, usage, parts, seq: last, tokens, frames, gaps, complete, verified };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { limits, steps } = JSON.parse(line);
  const reader = new Reader({ limits });
  for (const step of steps) {
    for (const [action, argument] of Object.entries(step)) actions[action](reader, argument);
    for (const id of reader.unproven) await reader.verify(id, digest);
  }
  const responses = [...reader.responses.values()].map(described);
  console.log(JSON.stringify({ needs: reader.needs(), counts: reader.counts, responses }));
}
