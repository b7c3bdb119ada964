/**
 * A reader of frames: puts responses together from what a channel delivers, whatever is repeated, incomplete or missing.
 *
 * Per response (`last` = the highest sequence number covered, from -1; L = `length` in hand of a part):
 * - a frame whose `seq` is above `last` + 1, or whose `offset` is above its part's L, tells of a loss: it is held, and
 *   the response is among `needs()` until records, history or late frames fill the hole, or `giveUp` accepts it;
 * - a frame that covers nothing new is a repeat and changes nothing;
 * - otherwise what is new in its text is appended;
 * - a `stop` is applied only when every part is as long as it says; then the hashes prove the copy, or disprove it.
 *
 * A response's state is always a prefix of what was produced, so two sources are merged by taking the longer one; a
 * finished record replaces everything. No I/O, no clock.
 */

const NAMES = ['start', 'token', 'part', 'gap', 'stop'];
const STREAMING = 'streaming';
const number = (text) => (/^[0-9]{1,16}$/.test(text) && Number.isSafeInteger(+text) ? +text : NaN);
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

function parsedObject(json) {
  try {
    const value = JSON.parse(json ?? 'null');
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

/** The frame an Ably message carries, or null where it is none. */
export function parseFrame({ name, data, extras, timestamp = null }) {
  const headers = extras?.headers ?? {};
  const id = headers.responseId;
  if (!NAMES.includes(name) || !id) return null;
  const seq = number(headers.seq);
  const seqEnd = number(headers.seqEnd ?? headers.seq);
  const offset = number(headers.offset ?? '0');
  const hasText = name === 'token' || name === 'part';
  const part = name === 'token' ? 'text' : headers.part;
  if (!(seqEnd >= seq) || !(offset >= 0) || (hasText && (typeof data !== 'string' || !part))) return null;
  const kind = name === 'token' ? 'text' : (headers.kind ?? part);
  const info = name === 'part' ? parsedObject(headers.partInfo) : null;
  const units = hasText ? data.length : 0;
  return { name, id, seq, seqEnd, offset, part, kind, info, data, timestamp, hasText, units };
}

function digestsOf(stop) {
  if (!isObject(stop) || !Array.isArray(stop.parts)) return null;
  const sound = (p) => typeof p?.part === 'string' && Number.isInteger(p.length) && typeof p.sha256 === 'string';
  return new Map(stop.parts.filter(sound).map((p) => [p.part, p]));
}

const rangesOf = (ranges) =>
  [...new Map(ranges.map((range) => [`${range}`, range])).values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);

const inOrder = (a, b) =>
  a.seq - b.seq || a.seqEnd - b.seqEnd || a.offset - b.offset || (a.name < b.name ? -1 : 1);

class Part {
  constructor(part, kind, info = null) {
    Object.assign(this, { part, kind, info, text: '', length: 0 });
  }

  write({ offset, data }) {
    this.text += offset >= this.length ? data : data.slice(this.length - offset);
    this.length = Math.max(this.length, offset + data.length);
  }

  replace({ text, info }) {
    this.text = text;
    this.length = text.length;
    this.info = info ?? this.info;
  }
}

class Response {
  status = STREAMING;
  reason = null;
  error = null;
  metadata = null;
  usage = null;
  parts = new Map();
  last = -1;
  tokens = 0;
  frames = 0;
  gaps = [];
  complete = true;
  verified = null;
  startedAt = null;
  firstTokenAt = null;
  expected = null;
  held = new Map();
  heldUnits = 0;
  droppedTo = -1;
  settled = false; // the losses known were given up; the end asks once more, as the record may be stored then

  constructor(id) {
    this.id = id;
  }

  get finished() {
    return this.status !== STREAMING;
  }

  /** Whether the copy is finished and wrong, so that only the stored record can correct it. */
  get replaceable() {
    return this.finished && (this.verified === false || (this.verified === null && !this.complete));
  }

  get broken() {
    return (
      this.held.size > 0 ||
      (!this.finished && this.last < this.droppedTo) ||
      (this.replaceable && !this.settled)
    );
  }

  length(part) {
    return this.parts.get(part)?.length ?? 0;
  }

  isRepeat(frame) {
    if (this.finished) return true;
    if (frame.name === 'stop') return false;
    const past = !frame.hasText || frame.offset + frame.units <= this.length(frame.part);
    return frame.seqEnd <= this.last && past;
  }

  isBeyond(frame) {
    if (frame.seq > this.last + 1) return true;
    if (frame.name === 'stop') {
      return [...(digestsOf(frame.data)?.values() ?? [])].some(({ part, length }) => length > this.length(part));
    }
    return frame.hasText && frame.offset > this.length(frame.part);
  }

  release() {
    this.held.clear();
    this.heldUnits = 0;
  }
}

const LIMITS = { finished: 100, open: 1000, remembered: 10000, heldFrames: 2000, heldUnits: 2000000 };

/** `feed`, `replay`, `hydrate` and `giveUp` return the id of the response that changed, or null. */
export class Reader {
  responses = new Map();
  /** Ids of finished responses whose hashes are still to be compared by `verify`. */
  unproven = new Set();
  counts = { frames: 0, ignored: 0, repeats: 0, losses: 0, reordered: 0, lost: 0, mismatches: 0 };
  #clientId;
  #limits;
  #onDrop;
  #letGo = new Set();

  constructor({ clientId = 'tokenstream', limits, onDrop = () => {} } = {}) {
    this.#clientId = clientId;
    this.#onDrop = onDrop;
    this.#limits = { ...LIMITS, ...limits };
  }

  needs() {
    return [...this.responses.values()].filter((response) => response.broken).map((response) => response.id);
  }

  /** Take a message as the live channel delivers it. */
  feed(message) {
    return this.#take(message, 1);
  }

  /** Take a message of the channel's history; feed those oldest first. */
  replay(message) {
    return this.#take(message, 0);
  }

  /** Take a response record, finished or open. */
  hydrate(record) {
    const id = String(record.responseId);
    if (this.#letGo.has(id)) return null;
    const response = this.#open(id);
    const open = record.status === STREAMING;
    response.startedAt = record.startedAt ?? response.startedAt;
    response.firstTokenAt = record.firstTokenAt ?? response.firstTokenAt;
    if (response.finished && (!response.replaceable || open)) return null;
    if (record.metadata != null) response.metadata = record.metadata;
    if (open) this.#merge(response, record);
    else this.#finishFrom(response, record);
    return id;
  }

  /**
   * Accept that what a response misses will not come. Where that applies its stop, the response needs its record once
   * more; given up again, it needs nothing.
   */
  giveUp(id) {
    const response = this.responses.get(id);
    if (!response?.broken) return null;
    const { finished } = response;
    const held = [...response.held.values()].sort(inOrder);
    response.release();
    for (const frame of held) {
      if (response.isRepeat(frame)) continue;
      this.counts.lost += Math.max(frame.seq - response.last - 1, response.isBeyond(frame) ? 1 : 0);
      this.#apply(response, frame);
    }
    if (!response.finished && response.droppedTo > response.last) {
      this.counts.lost += response.droppedTo - response.last;
      response.last = response.droppedTo;
    }
    response.complete = false;
    response.settled = finished || !response.finished;
    return id;
  }

  /** Let a response go; its later frames are ignored. */
  drop(id) {
    this.unproven.delete(id);
    if (!this.responses.delete(id)) return;
    this.#letGo.add(id);
    if (this.#letGo.size > this.#limits.remembered) this.#letGo.delete(this.#letGo.values().next().value);
    this.#onDrop(id);
  }

  /** Compare a finished response with the hashes it came with. `digest(text)` gives hex SHA-256, or null if it can't. */
  async verify(id, digest) {
    const response = this.responses.get(id);
    this.unproven.delete(id);
    if (!response?.expected) return null;
    const { parts, expected } = response;
    let verified = [...parts.values()].every((part) => !part.length || expected.has(part.part));
    for (const { part, length, sha256 } of expected.values()) {
      const text = parts.get(part)?.text ?? '';
      if (text.length !== length) verified = false;
      const hash = verified && (await digest(text));
      if (hash === null) return null;
      verified &&= hash === sha256;
    }
    if (response.parts !== parts) return null; // replaced meanwhile: it is among the unproven again
    response.verified = verified;
    if (!verified) this.counts.mismatches += 1;
    return id;
  }

  #take(message, live) {
    const frame = message.clientId === this.#clientId ? parseFrame(message) : null;
    if (!frame) {
      this.counts.ignored += live;
      return null;
    }
    this.counts.frames += live;
    if (this.#letGo.has(frame.id)) {
      this.counts.repeats += live;
      return null;
    }
    const response = this.#open(frame.id, message.timestamp);
    if (response.isRepeat(frame)) {
      this.counts.repeats += live;
      return this.#proveLate(response, frame);
    }
    if (response.isBeyond(frame)) return this.#hold(response, frame);
    if (response.held.size) this.counts.reordered += live;
    this.#apply(response, frame);
    this.#drain(response, live);
    return frame.id;
  }

  #open(id, timestamp = null) {
    let response = this.responses.get(id);
    if (!response) {
      response = new Response(id);
      this.responses.set(id, response);
      this.#bound();
    }
    response.startedAt ??= timestamp;
    return response;
  }

  #hold(response, frame) {
    const { broken, held, id } = response;
    const key = `${frame.seq} ${frame.seqEnd} ${frame.offset} ${frame.name}`;
    if (held.has(key)) return null;
    if (held.size >= this.#limits.heldFrames || response.heldUnits + frame.units > this.#limits.heldUnits) {
      response.droppedTo = Math.max(response.droppedTo, frame.seqEnd);
    } else {
      held.set(key, frame);
      response.heldUnits += frame.units;
    }
    if (broken) return null;
    this.counts.losses += 1;
    return id;
  }

  #drain(response, live) {
    for (const [key, frame] of [...response.held].sort((a, b) => inOrder(a[1], b[1]))) {
      if (!response.held.has(key)) break;
      if (response.isRepeat(frame)) this.counts.repeats += live;
      else if (response.isBeyond(frame)) continue;
      else this.#apply(response, frame);
      if (response.held.delete(key)) response.heldUnits -= frame.units;
    }
  }

  #apply(response, frame) {
    const covered = Math.max(0, frame.seqEnd - Math.max(response.last, frame.seq - 1));
    response.last = Math.max(response.last, frame.seqEnd);
    response.frames += 1;
    if (frame.name === 'start') {
      response.metadata = frame.data ?? null;
    } else if (frame.name === 'gap') {
      response.gaps = rangesOf([...response.gaps, [frame.seq, frame.seqEnd]]);
    } else if (frame.name === 'stop') {
      const stop = isObject(frame.data) ? frame.data : {};
      this.#finish(response, { ...stop, status: String(stop.status || 'complete') }, digestsOf(stop));
    } else {
      response.tokens += covered;
      response.firstTokenAt ??= frame.timestamp;
      const part = this.#partFor(response, frame);
      part.info ??= frame.info;
      part.write(frame);
    }
  }

  #finish(response, { status, reason = null, usage = null, error = null }, expected) {
    Object.assign(response, { status, reason, usage, error, expected, verified: null, settled: false });
    response.release();
    if (expected) this.unproven.add(response.id);
    this.responses.delete(response.id);
    this.responses.set(response.id, response); // the newest finished is let go last
    this.#bound();
  }

  /** A stop after its finished record is a repeat, but may bring the hashes the record did not. */
  #proveLate(response, { name, data }) {
    if (name !== 'stop' || response.expected) return null;
    response.expected = digestsOf(data);
    if (!response.expected) return null;
    this.unproven.add(response.id);
    return response.id;
  }

  #partFor(response, { part, kind }) {
    if (!response.parts.has(part)) response.parts.set(part, new Part(part, kind));
    return response.parts.get(part);
  }

  /** Take from an open record what it has beyond ours. It may be older than what is in hand. */
  #merge(response, record) {
    const ahead = record.seq >= response.last;
    for (const theirs of record.parts ?? []) {
      const mine = this.#partFor(response, theirs);
      const mends = ahead && !response.complete && theirs.length === mine.length;
      if (theirs.length > mine.length || mends) mine.replace(theirs);
    }
    if (ahead) {
      Object.assign(response, { last: record.seq, tokens: record.tokens ?? 0, complete: true, settled: false });
      response.gaps = rangesOf([...response.gaps, ...(record.gaps ?? [])]);
    }
    this.#drain(response, 0);
  }

  #finishFrom(response, record) {
    const parts = record.parts ?? [];
    response.parts = new Map();
    for (const part of parts) this.#partFor(response, part).replace(part);
    response.gaps = rangesOf(record.gaps ?? []);
    Object.assign(response, { last: record.seq, tokens: record.tokens ?? 0, complete: true });
    const hashed = parts.every((part) => part.sha256 !== undefined);
    this.#finish(response, record, response.expected ?? (hashed ? digestsOf(record) : null));
  }

  #bound() {
    const all = [...this.responses.values()];
    const bound = (some, most) => some.slice(0, Math.max(0, some.length - most)).forEach(({ id }) => this.drop(id));
    bound(all.filter(({ finished }) => finished), this.#limits.finished);
    bound(all.filter(({ finished }) => !finished), this.#limits.open);
  }
}
