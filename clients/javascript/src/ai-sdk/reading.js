import { Chunks } from './chunks.js';

const LAST = ['finish', 'abort', 'error'];

/** One response of a stream as a `ReadableStream` of chunks, from its first character to its end. */
export class Reading {
  #stream;
  #id;
  #chunks;
  #controller;
  #ends;
  #timer;
  #isOver = false;
  #settle = {};
  /** Resolves once the response has begun, or nothing more comes. */
  begun = new Promise((resolve) => (this.#settle.begun = resolve));
  /** Resolves once nothing more comes: at the end, after a failure, or when the reader cancelled. */
  over = new Promise((resolve) => (this.#settle.over = resolve));
  readable = new ReadableStream({ start: (controller) => void (this.#controller = controller), cancel: () => this.#end() });

  constructor(stream, id, options) {
    this.#stream = stream;
    this.#id = id;
    this.#chunks = new Chunks(options);
    this.#ends = [
      stream.on('change', (response) => response.id === id && this.#take(response)),
      stream.on('remove', (removed) => removed === id && this.fail('The response is no longer kept.')),
      stream.on('state', (state) => state === 'closed' && this.fail('The stream was closed.')),
      stream.on('error', () => stream.failure && this.fail(stream.failure.message)),
    ];
    const response = stream.get(id);
    if (response) this.#take(response);
  }

  /** Fails if the response has not begun by then. */
  expectWithin(milliseconds) {
    if (this.#isOver || this.#stream.get(this.#id)) return;
    this.#timer = setTimeout(() => this.fail(`No answer began within ${milliseconds} ms.`), milliseconds);
  }

  fail(errorText) {
    this.#give([{ type: 'error', errorText }]);
  }

  abort() {
    this.#give([{ type: 'abort' }]);
  }

  #take(response) {
    clearTimeout(this.#timer);
    this.#settle.begun();
    this.#give(this.#chunks.of(response));
  }

  #give(chunks) {
    if (this.#isOver) return;
    for (const chunk of chunks) this.#controller.enqueue(chunk);
    if (!LAST.includes(chunks.at(-1)?.type)) return;
    this.#end();
    this.#controller.close();
  }

  #end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
    for (const end of this.#ends) end();
    this.#settle.begun();
    this.#settle.over();
  }
}
