// A gateway for tests: reads frames, keeps what they say, and serves it by server-sent events, as the direct transport does.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { sha256 } from './client_frames.mjs';


const control = (name) => JSON.stringify({ channel: null, name, id: null, data: null, headers: {} });

/** The record of a response, made of its frames. */
class KnownResponse {
  constructor(responseId, channel) {
    const times = { startedAt: Date.now(), firstTokenAt: null, updatedAt: Date.now(), finishedAt: null };
    const end = { status: 'streaming', reason: null, error: null, usage: null };
    Object.assign(this, { v: 1, responseId, channel, ...end, parts: [], seq: -1, tokens: 0, gaps: [], metadata: null, ...times, relay: {} });
  }

  take({ name, data, extras: { headers } }) {
    const last = Number(headers.seqEnd ?? headers.seq);
    if (name === 'start') this.metadata = data;
    if (name === 'gap') this.gaps.push([Number(headers.seq), last]);
    if (name === 'stop') Object.assign(this, { reason: data.reason, status: data.status, usage: data.usage ?? null, error: data.error ?? null, finishedAt: Date.now() });
    if (name === 'token' || name === 'part') this.write(headers.part ?? 'text', headers, data, last);
    this.seq = Math.max(this.seq, last);
    this.updatedAt = Date.now();
  }

  write(name, headers, data, last) {
    let part = this.parts.find((one) => one.part === name);
    if (!part) this.parts.push((part = { part: name, kind: headers.kind ?? 'text', ...(headers.partInfo && { info: JSON.parse(headers.partInfo) }), text: '' }));
    part.text += data.slice(part.text.length - Number(headers.offset));
    this.tokens += last - this.seq;
    this.firstTokenAt ??= Date.now();
  }

  get record() {
    const parts = this.parts.map((part) => ({ ...part, length: part.text.length, sha256: sha256(part.text) }));
    return { ...this, parts };
  }
}

/**
 * `publisher` takes what ably-js' `channels.get(name).publish(message)` does. Faults: `cut()`, `bye()`, `reset()`, `trim()` forgets what
 * readers may resume from, `refusals` are the answers to the next requests, `muted` readers get no byte.
 */
export class Gateway {
  log = []; // { channel, event, id, line }
  known = new Map();
  clients = new Set();
  asked = [];
  refusals = [];
  cancelled = [];
  connections = 0;
  trimmed = 0;
  muted = false;
  retry = 20;
  token = null;
  onCancel = () => {};
  publisher = { channels: { get: (channel) => ({ publish: (message) => this.publish(channel, message) }) } };

  async listen(port = 0) {
    this.server = createServer((request, response) => this.answer(request, response));
    this.server.listen(port, '127.0.0.1');
    await once(this.server, 'listening');
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
    this.url = `${this.origin}/v1`;
    return this;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** A frame, as the relay publishes it. `dropped` frames are never delivered, but known. */
  publish(channel, message, { dropped = false } = {}) {
    const { responseId } = message.extras.headers;
    if (!this.known.has(responseId)) this.known.set(responseId, new KnownResponse(responseId, channel));
    this.known.get(responseId).take(message);
    if (dropped) return;
    const { name, data, id = null } = message;
    this.append({ channel, event: name, line: { channel, name, id, data, headers: message.extras.headers } });
  }

  append(entry) {
    const event = { ...entry, id: `0-${this.log.length + 1}` };
    this.log.push(event);
    for (const client of this.clients) if (client.channels.includes(event.channel)) this.write(client, event);
  }

  write({ response }, { event, id, line }) {
    if (this.muted) return;
    response.write(`event: ${event}\nid: ${id}\ndata: ${JSON.stringify(line)}\n\n`);
  }

  get position() {
    return `0-${this.log.length}`;
  }

  cut() {
    for (const { response } of this.clients) response.destroy();
  }

  bye() {
    for (const { response } of this.clients) response.end(`event: bye\nretry: ${this.retry}\ndata: ${control('bye')}\n\n`);
  }

  /** What a client gets whose queue was full. `missed` frames were in it. */
  reset(missed = () => {}) {
    const { clients } = this;
    this.clients = new Set();
    missed();
    this.clients = clients;
    for (const client of clients) {
      client.response.write(`event: reset\nid: ${this.position}\ndata: ${control('reset')}\n\n`);
      this.sendSnapshots(client);
    }
  }

  trim() {
    this.trimmed = this.log.length;
  }

  /** Sends the newest `limit` finished responses, those that ended since `position`, the open ones, and `ready`. */
  sendSnapshots(client, endedSince = Infinity) {
    const all = [...this.known.values()].filter(({ channel }) => client.channels.includes(channel));
    const finished = all.filter(({ status }) => status !== 'streaming').sort((a, b) => b.startedAt - a.startedAt);
    const wanted = finished.filter(({ finishedAt }, index) => index < client.limit || finishedAt >= endedSince);
    for (const { record } of [...all.filter(({ status }) => status === 'streaming'), ...wanted]) {
      const headers = { responseId: record.responseId };
      const line = { channel: record.channel, name: 'snapshot', id: null, data: record, headers };
      this.write(client, { event: 'snapshot', id: this.position, line });
    }
    if (!this.muted) client.response.write(`event: ready\nid: ${this.position}\ndata: ${control('ready')}\n\n`);
  }

  async answer(request, response) {
    const url = new URL(request.url, 'http://gateway');
    this.asked.push({ method: request.method, path: url.pathname, search: url.search, headers: request.headers });
    const [, path] = /^\/v1(\/.*)$/.exec(url.pathname) ?? [];
    const refusal = this.refusals.shift();
    if (refusal) return json(response, refusal.status, { error: { code: 'refused', message: refusal.message } }, refusal.headers);
    if (this.token && request.headers.authorization !== `Bearer ${this.token}`) return json(response, 401, { error: { code: 'unauthorized', message: 'Send `Authorization: Bearer`.' } });
    const one = /^\/channels\/([^/]+)\/events$/.exec(path)?.[1];
    if (one || path === '/events') return this.stream(request, response, url, one ? [decodeURIComponent(one)] : url.searchParams.getAll('channel'));
    const [, id, cancel] = /^\/responses\/([^/]+)(\/cancel)?$/.exec(path) ?? [];
    if (id && cancel && request.method === 'POST') return this.cancel(request, response, decodeURIComponent(id));
    const known = id && this.known.get(decodeURIComponent(id));
    if (known && request.method === 'GET') return json(response, 200, known.record);
    json(response, 404, { error: { code: 'not_found', message: 'There is no such response.' } });
  }

  stream(request, response, url, channels) {
    this.connections += 1;
    const client = { response, channels, limit: Number(url.searchParams.get('limit') ?? 20) };
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' });
    response.write(`retry: ${this.retry}\n\n`);
    const last = request.headers['last-event-id'];
    const from = Number(last?.split('-')[1] ?? NaN);
    if (from >= this.trimmed) for (const event of this.log.slice(from)) if (channels.includes(event.channel)) this.write(client, event);
    if (!(from >= this.trimmed)) this.sendSnapshots(client, last ? 0 : Infinity);
    const beat = setInterval(() => this.muted || response.write(':\n\n'), 15000);
    this.clients.add(client);
    response.on('close', () => {
      clearInterval(beat);
      this.clients.delete(client);
    });
  }

  async cancel(request, response, responseId) {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { channel, reason } = body ? JSON.parse(body) : {};
    const known = this.known.get(responseId);
    if (known && known.status !== 'streaming') return json(response, 200, known.record);
    if (!known && !channel) return json(response, 404, { error: { code: 'not_found', message: 'Unknown response: name its `channel`.' } });
    this.cancelled.push({ responseId, channel, reason, type: request.headers['content-type'] });
    json(response, 202, { responseId, state: 'requested' });
    this.onCancel({ responseId, channel });
  }
}

function json(response, status, value, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value));
}

