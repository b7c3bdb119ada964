// Publishes frames as the relay does, for tests of what reads them.
import { createHash } from 'node:crypto';

export const sha256 = (text) => createHash('sha256').update(text, 'utf8').digest('hex');
let ids = 0;

/** The frames of one response. `publisher` is an ably-js client. */
export class Frames {
  constructor(publisher, channel, id = `r-${process.pid}-${(ids += 1)}`) {
    Object.assign(this, { publisher, channel, id, seq: 0, texts: new Map() });
  }

  message(name, data, headers, clientId = 'tokenstream') {
    const strings = Object.entries({ responseId: this.id, ...headers }).map(([key, value]) => [key, String(value)]);
    return { name, data, clientId, extras: { headers: Object.fromEntries(strings) } };
  }

  publish(...given) {
    return this.publisher.channels.get(this.channel).publish(this.message(...given));
  }

  async start(metadata = { model: 'm' }) {
    await this.publish('start', metadata, { seq: 0 });
    return this;
  }

  async token(text, part = 'text') {
    this.seq += 1;
    const before = this.texts.get(part) ?? '';
    this.texts.set(part, before + text);
    const headers = { seq: this.seq, seqEnd: this.seq, offset: before.length };
    if (part === 'text') await this.publish('token', text, headers);
    else await this.publish('part', text, { ...headers, part, kind: 'reasoning' });
    return this;
  }

  get digests() {
    return [...this.texts].map(([part, text]) => ({ part, length: text.length, sha256: sha256(text) }));
  }

  async stop(end = { reason: 'stop', status: 'complete' }) {
    this.seq += 1;
    await this.publish('stop', { ...end, parts: this.digests }, { seq: this.seq });
    return this;
  }

  record(status) {
    const parts = this.digests.map((part) => ({ ...part, kind: part.part, text: this.texts.get(part.part) }));
    const times = { startedAt: 1000, firstTokenAt: 1100, updatedAt: 1200 };
    const known = { v: 1, responseId: this.id, channel: this.channel, status, reason: 'stop', error: null, metadata: {} };
    return { ...known, parts, seq: this.seq, tokens: this.seq, gaps: [], usage: null, ...times };
  }
}
