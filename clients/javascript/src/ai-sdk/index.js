import { lease } from '../sharing.js';
import { report } from '../snapshot.js';
import { Reading } from './reading.js';

export { messageOf } from './message.js';

const START_TIMEOUT = 120000;

function newId() {
  if (globalThis.crypto?.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // where the page is not a secure context
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Resolves as `promise` does; rejects once the signal is aborted. */
async function unlessAborted(promise, signal) {
  let onAbort;
  const aborted = new Promise((_, reject) => {
    onAbort = () => reject(new DOMException('The request was aborted.', 'AbortError'));
    if (signal?.aborted) onAbort();
    signal?.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Rejects where the app's request gave a `Response` of `fetch` that is no success. */
async function checked(sending) {
  const answer = await sending;
  if (!(answer instanceof Response) || answer.ok) return;
  const text = (await answer.text().catch(() => '')).slice(0, 200);
  throw new Error(`The request for an answer failed with status ${answer.status}${text && `: ${text}`}`);
}

/** A `ChatTransport` of the AI SDK: the app's own request makes the model answer, and the answer is read from tokenstream. */
export class TokenstreamChatTransport {
  /** A resumed response is given from its first character. */
  resumeStreamIsReplay = true;
  #source;
  #send;
  #cancelOnAbort;
  #startTimeout;
  #onError;
  #options;
  #resumes = new Map(); // chat id -> how often it was resumed

  constructor({ source, send, cancelOnAbort = true, startTimeout = START_TIMEOUT, onError = report, ...options }) {
    this.#source = typeof source === 'function' ? source : () => source;
    this.#send = send;
    this.#cancelOnAbort = cancelOnAbort;
    this.#startTimeout = startTimeout;
    this.#onError = onError;
    this.#options = options;
  }

  /** Subscribes, then sends, and returns the chunks of the response. Rejects when that is refused before the response has begun. */
  async sendMessages({ abortSignal, ...request }) {
    const { chatId, messages, messageId, trigger } = request;
    const last = messageId === undefined ? messages.at(-1) : messages.find(({ id }) => id === messageId);
    const isContinuation = trigger === 'submit-message' && last?.role === 'assistant' && last === messages.at(-1);
    const responseId = newId();
    const leased = await this.#lease(chatId, abortSignal);
    const reading = this.#read(leased, { chatId, responseId, abortSignal, isContinuation });
    try {
      const sending = checked(this.#send({ ...request, responseId, signal: abortSignal }));
      sending.then(() => reading.expectWithin(this.#startTimeout)).catch(() => {});
      await Promise.race([reading.begun, sending]); // the app's request may last as long as the answer
    } catch (error) {
      reading.readable.cancel();
      throw error;
    }
    return reading.readable;
  }

  /** Returns the chunks of the newest open response from its first character, or null if none is open. */
  async reconnectToStream({ chatId, abortSignal }) {
    this.#resumes.set(chatId, this.#resumesOf(chatId) + 1);
    const leased = await this.#lease(chatId, abortSignal);
    const open = leased.stream.responses.filter(({ status }) => status === 'streaming').at(-1);
    if (open) return this.#read(leased, { chatId, responseId: open.id, abortSignal }).readable;
    leased.release();
    return null;
  }

  async #lease(chatId, abortSignal) {
    const leased = lease(this.#source({ chatId }), () => this.#options);
    try {
      await unlessAborted(leased.stream.ready, abortSignal);
      return leased;
    } catch (error) {
      leased.release();
      throw error;
    }
  }

  #read({ stream, release }, { chatId, responseId, abortSignal, isContinuation }) {
    const reading = new Reading(stream, responseId, { isContinuation });
    let cancelling;
    const onAbort = () => {
      cancelling = this.#cancel(stream, { chatId, responseId });
      reading.abort();
    };
    abortSignal?.addEventListener('abort', onAbort);
    reading.over.then(async () => {
      abortSignal?.removeEventListener('abort', onAbort);
      await cancelling;
      release();
    });
    return reading;
  }

  /** The AI SDK also aborts what it resumes at once, as in Strict Mode: then the response goes on. */
  async #cancel(stream, { chatId, responseId }) {
    const wanted = this.#cancelOnAbort;
    const resumes = this.#resumesOf(chatId);
    if (!(typeof wanted === 'function' ? wanted({ chatId, responseId }) : wanted)) return;
    await new Promise((resolve) => setTimeout(resolve));
    if (this.#resumesOf(chatId) !== resumes) return;
    try {
      await stream.cancel(responseId);
    } catch (error) {
      this.#onError(error);
    }
  }

  #resumesOf(chatId) {
    return this.#resumes.get(chatId) ?? 0;
  }
}
