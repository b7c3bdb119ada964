const FINISH_REASONS = { stop: 'stop', length: 'length', tool_calls: 'tool-calls', content_filter: 'content-filter' };
const BLOCKS = { text: 'text', refusal: 'text', reasoning: 'reasoning' };

const toolOf = ({ part, info }) => ({ toolCallId: String(info?.id || part), toolName: String(info?.name || 'tool') });
const isEmpty = (metadata) => !metadata || Object.keys(metadata).length === 0;

/** The end of a response as metadata of its message. */
export const endOf = ({ reason, usage }) => ({ reason: reason ?? 'stop', ...(usage && { usage }) });

/** The input of a tool call whose arguments are whole: the state of its part, and the chunk that says it. */
export function inputOf(part) {
  try {
    return { type: 'tool-input-available', ...toolOf(part), input: JSON.parse(part.text || '{}') };
  } catch {
    return { type: 'tool-input-error', ...toolOf(part), input: part.text, errorText: 'The arguments are not valid JSON.' };
  }
}

/**
 * Makes the chunks of the AI SDK's UI message stream of one response, from its successive states. `of(response)` returns what is new.
 * Parts of kind `text` and `refusal` are text parts, `reasoning` is a reasoning part, `tool_call` is a tool's input; parts of other
 * kinds are left out. Every part ends with the response, as any may go on until then; the input of a tool is available only if the
 * response is complete. Where text that was given turns out to be wrong, the step is reset and given again.
 */
export class Chunks {
  #isContinuation;
  #given = new Map(); // part -> its text, as far as it was given
  #hasStarted = false;
  #isDoubtful = false; // something was given up: what comes need not begin with what was given

  /** `isContinuation`: the AI SDK begins with the parts of the last message, which belong to another response. */
  constructor({ isContinuation = false } = {}) {
    this.#isContinuation = isContinuation;
  }

  of(response) {
    if (response.seq < 0) return []; // only later frames are known yet
    const chunks = [...this.#start(response), ...this.#reset(response)];
    for (const part of response.parts) chunks.push(...this.#part(part));
    if (isSettled(response)) chunks.push(...this.#closing(response));
    return chunks;
  }

  #start({ id, metadata }) {
    if (this.#hasStarted) return [];
    this.#hasStarted = true;
    const start = { type: 'start', messageId: id, ...(!isEmpty(metadata) && { messageMetadata: metadata }) };
    return [start, ...(this.#isContinuation ? [{ type: 'reset-step' }] : []), { type: 'start-step' }];
  }

  #reset({ parts, complete, status }) {
    const isChecked = this.#isDoubtful || status !== 'streaming';
    this.#isDoubtful = !complete;
    const texts = new Map(parts.map(({ part, text }) => [part, text]));
    if (!isChecked || [...this.#given].every(([part, text]) => texts.get(part)?.startsWith(text))) return [];
    this.#given.clear();
    return [{ type: 'reset-step' }];
  }

  #part(part) {
    const isTool = part.kind === 'tool_call';
    const block = BLOCKS[part.kind];
    if (!isTool && !block) return [];
    const before = this.#given.get(part.part);
    const delta = part.text.slice(before?.length ?? 0);
    this.#given.set(part.part, part.text);
    const chunks = [];
    if (before === undefined) chunks.push(isTool ? { type: 'tool-input-start', ...toolOf(part) } : { type: `${block}-start`, id: part.part });
    if (delta) chunks.push(isTool ? { type: 'tool-input-delta', toolCallId: toolOf(part).toolCallId, inputTextDelta: delta } : { type: `${block}-delta`, id: part.part, delta });
    return chunks;
  }

  #closing(response) {
    const { parts, status, reason, error } = response;
    const ends = parts.filter(({ kind }) => BLOCKS[kind]).map(({ kind, part }) => ({ type: `${BLOCKS[kind]}-end`, id: part }));
    if (status === 'cancelled') return [...ends, { type: 'abort' }];
    if (status !== 'complete') return [...ends, { type: 'error', errorText: error?.message || `The response ended with reason ${reason}.` }];
    const inputs = parts.filter(({ kind }) => kind === 'tool_call').map(inputOf);
    const finish = { type: 'finish', finishReason: FINISH_REASONS[reason ?? 'stop'] ?? 'other', messageMetadata: endOf(response) };
    return [...ends, ...inputs, { type: 'finish-step' }, finish];
  }
}

/** Whether a response has ended and its text is what was meant: proved, or nothing is there to prove it with. */
export function isSettled({ status, repairing, verified, parts }) {
  if (status === 'streaming' || repairing) return false;
  return verified !== null || !globalThis.crypto?.subtle || parts.every(({ sha256 }) => sha256 === null);
}
