const PAGE = 500;
const MOST_ITEMS = 500; // of a page of the API
const RECENT = 120000; // milliseconds in which a response that ended is stored, outages aside

const idOf = ({ extras }) => extras?.headers?.responseId;

/**
 * Loads a channel's responses from the API, and calls `take` for each record.
 * The API gives open responses first, then finished ones; a page with a cursor is not the last one. Where open ones are left,
 * finished ones in the page ended meanwhile, and count for nothing.
 */
export async function hydrate(ask, channel, limit, take) {
  let finished = 0;
  let before = null;
  let next = null;
  do {
    before = next;
    const asked = `limit=${Math.min(MOST_ITEMS, limit - finished)}`;
    const page = await hydration(ask, channel, before === null ? asked : `${asked}&before=${encodeURIComponent(before)}`);
    for (const record of page.items.reverse()) {
      if (record.status !== 'streaming' && !page.moreOpen) finished += 1;
      take(record);
    }
    next = page.next ?? null;
  } while (next !== null && next !== before && (finished < limit || limit === 0));
}

async function hydration(ask, channel, query) {
  const name = encodeURIComponent(channel);
  const page = await ask(`/channels/${name}/hydrate?${query}`, { isOptional: true });
  return page ?? ask(`/hydrate?channel=${name}&${query}`); // a proxy decoded the path: the name has a slash
}

/** Reads a channel's history backwards as far as a reader needs it, then applies it forwards. */
export class History {
  #channel;
  #reader;
  #historyPages;
  #ask;
  #changed;

  /** `ask(what, action)` gives an action a deadline; `changed(id)` is called for each response that changed. */
  constructor(channel, reader, { historyPages }, ask, changed) {
    this.#channel = channel;
    this.#reader = reader;
    this.#historyPages = historyPages;
    this.#ask = ask;
    this.#changed = changed;
  }

  /** `everything` is for where there is no store; else only what the store may not have yet is taken. */
  async read({ everything, untilAttach }) {
    const messages = await this.#messages(everything, untilAttach);
    const isWanted = everything ? () => true : await this.#notLongStored(messages);
    for (const message of messages.reverse()) if (isWanted(message)) this.#changed(this.#reader.replay(message));
    if (everything) this.#forgetTheCut();
  }

  async #messages(everything, untilAttach) {
    const { responses } = this.#reader;
    const first = new Map();
    const isReached = (id) => responses.get(id).finished || first.get(id) <= responses.get(id).last + 1;
    const messages = [];
    const range = untilAttach ? { untilAttach, limit: PAGE } : { limit: PAGE };
    let page = await this.#ask('The history of', () => this.#channel.history(range));
    for (let pages = 1; page; pages += 1) {
      for (const message of page.items) {
        messages.push(message);
        first.set(idOf(message), Number(message.extras?.headers?.seq));
      }
      const enough = !everything && this.#reader.needs().every(isReached);
      const more = !enough && pages < this.#historyPages && page.hasNext();
      const { next } = page;
      page = more ? await this.#ask('The history of', () => next.call(page)) : null;
    }
    return messages;
  }

  /**
   * What the store may not have yet: responses that began in this stretch of history, unless they ended long ago - such
   * a one is beyond the limit, or was deleted. What began before is in the store.
   */
  async #notLongStored(messages) {
    const { responses } = this.#reader;
    const isNew = (message) => !responses.has(idOf(message));
    const begun = new Set(messages.filter((message) => message.name === 'start' && isNew(message)).map(idOf));
    const stops = messages.filter((message) => message.name === 'stop' && begun.has(idOf(message)));
    const now = stops.length && (await this.#serverTime(messages[0].timestamp));
    for (const stop of stops) if (stop.timestamp < now - RECENT) begun.delete(idOf(stop));
    return (message) => !isNew(message) || begun.has(idOf(message));
  }

  /** By the clock that messages are stamped with, as the page's own may be minutes off; at least that of the newest. */
  async #serverTime(newest) {
    const { client } = this.#channel;
    const asked = client?.time && this.#ask('The time of', () => client.time()).catch(() => newest);
    return Math.max(newest, (await asked) ?? newest);
  }

  /** Responses that began before the history does: there is nowhere to get their beginning from. */
  #forgetTheCut() {
    for (const id of this.#reader.needs()) {
      const response = this.#reader.responses.get(id);
      if (response.last >= 0) continue;
      if ([...response.held.values()].some((frame) => frame.name === 'stop')) this.#reader.drop(id);
      else this.#changed(this.#reader.giveUp(id));
    }
  }
}
