// What is measured: per response, and of all that this window has read.
import { nameOf } from './chat.js';

const ROWS = 60;
const SECONDS = 60;
const CELLS = ['tokens', 'frames', 'rollup', 'first', 'gaps'];

const rolledUp = ({ tokens, frames }) => (frames > 0 && tokens > 0 ? (tokens / frames).toFixed(1) : '–');
const firstToken = ({ startedAt, firstTokenAt }) => (startedAt && firstTokenAt ? `${Math.max(0, firstTokenAt - startedAt)} ms` : '–');

/**
 * An auditor that trusts the reader library for nothing: a part's text may only ever grow at its end, a response that
 * has ended must hash to what its end says, and what is given up is lost.
 */
export class Audit {
  repeated = 0;
  reordered = 0;
  proved = 0;
  tokens = 0;
  frames = 0;
  #seen = new Map();

  take(response) {
    const known = this.#seen.get(response.id) ?? { parts: new Map(), tokens: response.frames ? 0 : response.tokens, frames: 0 };
    this.#seen.set(response.id, known);
    for (const { part, text } of response.parts) {
      const before = known.parts.get(part) ?? '';
      if (!text.startsWith(before)) this.reordered += 1;
      known.parts.set(part, text);
    }
    if (response.frames > known.frames) this.tokens += Math.max(0, response.tokens - known.tokens);
    this.frames += Math.max(0, response.frames - known.frames);
    Object.assign(known, { tokens: response.tokens, frames: response.frames });
    if (response.verified !== null && response.verified !== known.verified) this.#prove(response, known);
  }

  #prove(response, known) {
    known.verified = response.verified;
    if (response.verified) this.proved += 1;
    else if (response.complete && !response.repairing) this.repeated += 1;
  }

  forget(id) {
    this.#seen.delete(id);
  }
}

const counted = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

class Row {
  constructor(id, reveal) {
    this.node = document.createElement('tr');
    this.link = document.createElement('button');
    Object.assign(this.link, { type: 'button', className: 'row-link' });
    this.link.addEventListener('click', () => reveal(id));
    this.cells = Object.fromEntries(CELLS.map((name) => [name, document.createElement('td')]));
    this.hash = document.createElement('td');
    this.hash.className = 'hash';
    const first = document.createElement('td');
    first.append(this.link);
    this.node.append(first, ...Object.values(this.cells), this.hash);
    this.node.dataset.id = id;
  }

  show(response) {
    const { tokens, frames, gaps, verified, status, parts } = response;
    const sha256 = parts.find(({ part }) => part === 'text')?.sha256 ?? parts[0]?.sha256;
    this.link.textContent = nameOf(response);
    this.link.title = response.id;
    const said = { tokens, frames: frames || 'stored', rollup: rolledUp(response), first: firstToken(response), gaps: gaps.length };
    for (const name of CELLS) this.cells[name].textContent = said[name];
    this.hash.dataset.verified = String(verified);
    const mark = verified ? '✓' : verified === false ? '✗' : '';
    this.hash.textContent = status === 'streaming' ? '…' : `${mark} ${sha256?.slice(0, 7) ?? '–'}`;
    this.hash.title = verified ? `The text hashes to ${sha256}` : '';
  }
}

export class Panel {
  #rows = new Map();
  #dirty = new Map();
  #open = new Set();
  #audit = new Audit();
  #history = [];
  #last = { tokens: 0, frames: 0 };
  #elements;

  constructor(elements, { stream, reveal }) {
    this.#elements = elements;
    this.stream = stream;
    this.reveal = reveal;
    setInterval(() => this.#show(), 250);
    setInterval(() => this.#tick(), 1000);
  }

  change(response) {
    this.#audit.take(response);
    this.#open[response.status === 'streaming' ? 'add' : 'delete'](response.id);
    this.#dirty.set(response.id, response);
  }

  remove(id) {
    this.#audit.forget(id);
    this.#open.delete(id);
    this.#dirty.delete(id);
    this.#rows.get(id)?.node.remove();
    this.#rows.delete(id);
  }

  #show() {
    for (const [id, response] of this.#dirty) {
      this.#dirty.delete(id);
      try {
        this.#showRow(response);
      } catch (error) {
        console.warn(`Response ${id} can't be shown`, error); // the others can
      }
    }
    while (this.#rows.size > ROWS) this.#dropRow(this.#elements.rows.lastElementChild.dataset.id);
    const { lost, repeats, losses } = this.stream.counts;
    this.#showCount('lost', lost);
    this.#showCount('repeated', this.#audit.repeated);
    this.#showCount('reordered', this.#audit.reordered);
    this.#elements.proved.textContent = `${this.#audit.proved} proved whole`;
    this.#elements.openCount.textContent = `${this.#open.size} open`;
    this.#elements.dropped.textContent = `${counted(repeats, 'repeat')} dropped · ${counted(losses, 'hole')} filled`;
  }

  #showCount(name, count) {
    const cell = this.#elements.zeros.querySelector(`[data-count="${name}"]`);
    cell.textContent = count;
    cell.parentElement.classList.toggle('wrong', count > 0);
  }

  #showRow(response) {
    let row = this.#rows.get(response.id);
    if (!row) {
      row = new Row(response.id, this.reveal);
      this.#rows.set(response.id, row);
      this.#elements.rows.prepend(row.node);
    }
    row.show(response);
  }

  #dropRow(id) {
    this.#rows.get(id)?.node.remove();
    this.#rows.delete(id);
  }

  #tick() {
    const { tokens, frames } = this.#audit;
    this.#history.push(tokens - this.#last.tokens);
    if (this.#history.length > SECONDS) this.#history.shift();
    this.#elements.rate.textContent = `${tokens - this.#last.tokens} tokens/s`;
    this.#elements.frames.textContent = `${frames - this.#last.frames} frames/s`;
    this.#last = { tokens, frames };
    const top = Math.max(20, ...this.#history);
    const step = 240 / (SECONDS - 1);
    const points = this.#history.map((count, index) => {
      const x = 240 - (this.#history.length - 1 - index) * step;
      return `${x.toFixed(1)},${(42 - (count / top) * 38).toFixed(1)}`;
    });
    const line = `M${points.join('L')}`;
    this.#elements.spark.querySelector('.line').setAttribute('d', line);
    const left = points[0].split(',')[0];
    this.#elements.spark.querySelector('.area').setAttribute('d', `${line}L240,44L${left},44Z`);
  }
}
