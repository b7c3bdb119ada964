// The conversation: one article a response, changed in place, at most once a frame of the screen.
import { Markdown, textNodes } from './markdown.js';

const BUDGET = 7; // milliseconds of a screen frame given to showing text
const STATUS = {
  failed: ['bad', 'failed'],
  cancelled: ['warn', 'cancelled'],
  abandoned: ['warn', 'abandoned'],
};

export const hueOf = (name) => [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
/** Metadata is whatever the producer sent: an object without `toString` cannot be made a string. */
const textOf = (value) => (typeof value === 'string' && value ? value : null);

export const nameOf = ({ metadata, id }) => textOf(metadata?.name) ?? textOf(metadata?.model) ?? id;
export const isPerson = ({ metadata }) => metadata?.role === 'user';

function node(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** A person's prompt or a model's answer. */
class Article {
  constructor(response, stop) {
    const name = nameOf(response);
    this.meta = node('span', 'meta');
    this.tag = node('span', 'tag');
    this.body = node('div', 'body');
    this.name = node('b', '', ...textNodes(name));
    this.stop = node('button', 'stop', 'Stop');
    this.stop.type = 'button';
    this.stop.addEventListener('click', () => this.#stop(stop, response.id));
    this.avatar = node('div', 'avatar', name.slice(0, 2));
    this.avatar.setAttribute('aria-hidden', 'true');
    this.node = node('article', 'message', this.avatar, node('div', 'who', this.name, this.tag, this.meta, this.stop), this.body);
    this.node.dataset.id = response.id;
    this.parts = new Map();
  }

  show(response) {
    const name = nameOf(response);
    this.name.replaceChildren(...textNodes(name));
    this.stop.hidden = response.status !== 'streaming' || isPerson(response);
    this.stop.setAttribute('aria-label', `Stop ${name}`);
    this.avatar.textContent = name.slice(0, 2);
    this.avatar.style.setProperty('--hue', hueOf(name));
    this.node.classList.toggle('person', isPerson(response));
    this.node.classList.toggle('streaming', response.status === 'streaming');
    this.node.dataset.status = response.status;
    this.node.dataset.verified = String(response.verified);
    this.#showTag(response);
    const at = response.startedAt && new Date(response.startedAt);
    this.meta.textContent = at ? at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }) : '';
    for (const part of response.parts) this.#showPart(part);
  }

  /** Until the stop is read: the response ends when its producer, or the relay, has written it. */
  async #stop(stop, id) {
    this.stop.disabled = true;
    if (!(await stop(id))) this.stop.disabled = false;
  }

  #showTag({ status, verified, repairing, complete, error, reason }) {
    let [tone, said] = STATUS[status] ?? ['', ''];
    if (status === 'streaming') [tone, said] = ['live', 'writing'];
    const why = textOf(error?.message) ?? (reason !== status && status !== 'streaming' ? textOf(reason) : null);
    if (said && why) said += `: ${why}`;
    if (repairing) [tone, said] = ['warn', 'filling a hole'];
    else if (!complete || verified === false) [tone, said] = ['bad', 'not whole'];
    this.tag.hidden = !said;
    this.tag.dataset.tone = tone;
    this.tag.textContent = said;
  }

  #showPart(part) {
    let view = this.parts.get(part.part);
    if (!view) {
      view = part.kind === 'text' ? new Text() : new Fold(part);
      this.parts.set(part.part, view);
      const answer = this.parts.get('text');
      // What the model thought and called stands above what it says.
      if (part.kind !== 'text' && answer) answer.node.before(view.node);
      else this.body.append(view.node);
    }
    view.show(part);
  }
}

class Text {
  node = node('div', 'text');
  #markdown = new Markdown(this.node);
  #shown = '';

  constructor() {
    this.node.dir = 'auto';
  }

  show({ text }) {
    if (text === this.#shown) return;
    this.#shown = text;
    this.#markdown.show(text);
  }
}

/** Reasoning, a tool call, or any other part: folded, with a glimpse of its end. */
class Fold {
  constructor({ kind, info, part }) {
    const title = kind === 'reasoning' ? 'Reasoning' : kind === 'tool_call' ? `Tool: ${textOf(info?.name) ?? part}` : part;
    this.peek = node('span', 'peek');
    this.inner = node('div', kind === 'reasoning' ? 'inner' : 'inner mono');
    this.inner.dir = 'auto';
    this.node = node('details', 'fold', node('summary', '', node('b', '', ...textNodes(title)), this.peek), this.inner);
    this.node.dataset.part = part;
    this.node.addEventListener('toggle', () => this.#showInner());
  }

  show({ text }) {
    this.text = text;
    this.peek.replaceChildren(...textNodes(text.slice(-90).replace(/\s+/g, ' ')));
    this.#showInner();
  }

  #showInner() {
    if (this.node.open) this.inner.replaceChildren(...textNodes(this.text));
  }
}

export class Chat {
  #articles = new Map();
  #dirty = new Map();
  #scheduled = false;
  #following = true;
  #top = 0;

  constructor({ log, messages, empty, jump, stop }) {
    Object.assign(this, { log, messages, empty, jump, stop });
    log.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    jump.addEventListener('click', () => this.toEnd());
    const sizes = new ResizeObserver(() => this.#following && this.#scrollToEnd());
    sizes.observe(log);
    sizes.observe(messages);
  }

  change(response) {
    this.#dirty.set(response.id, response);
    this.#schedule();
  }

  remove(id) {
    this.#dirty.delete(id);
    this.#articles.get(id)?.node.remove();
    this.#articles.delete(id);
  }

  toEnd() {
    this.#follow(true);
    this.#scrollToEnd();
  }

  reveal(id) {
    const article = this.#articles.get(id)?.node;
    if (!article) return;
    this.#follow(false);
    article.scrollIntoView({ block: 'center' });
    article.classList.remove('flash');
    requestAnimationFrame(() => article.classList.add('flash'));
  }

  /** Only somebody scrolling up ends the following: messages that turn out taller than estimated do not. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    if (scrollHeight - scrollTop - clientHeight < 60) this.#follow(true);
    else if (scrollTop < this.#top - 2) this.#follow(false);
    this.#top = scrollTop;
  }

  #follow(following) {
    this.#following = following;
    this.jump.hidden = following;
  }

  #scrollToEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#showDirty());
  }

  #showDirty() {
    const until = performance.now() + BUDGET;
    this.#scheduled = false;
    for (const [id, response] of this.#dirty) {
      this.#dirty.delete(id);
      try {
        this.#show(response);
      } catch (error) {
        console.warn(`Response ${id} can't be shown`, error); // the others can
      }
      if (performance.now() > until) break;
    }
    if (this.#following) this.#scrollToEnd();
    if (this.#dirty.size) this.#schedule();
  }

  #show(response) {
    let article = this.#articles.get(response.id);
    if (!article) {
      article = new Article(response, this.stop);
      this.#articles.set(response.id, article);
      this.empty.hidden = true;
    }
    article.show(response);
    this.#place(article.node, orderOf(response));
  }

  /** By when it began, then by id. A record has the better time than the first frame, so an article may move once, with the focus in it. */
  #place(article, order) {
    if (article.dataset.order === String(order) && article.isConnected) return;
    article.dataset.order = order;
    let before = this.messages.lastElementChild;
    const isLater = ({ dataset }) =>
      Number(dataset.order) > order || (Number(dataset.order) === order && dataset.id > article.dataset.id);
    while (before && (before === article || isLater(before))) before = before.previousElementSibling;
    const next = before ? before.nextElementSibling : this.messages.firstElementChild;
    if (next === article) return;
    const focused = document.activeElement;
    this.messages.insertBefore(article, next);
    if (article.contains(focused)) focused.focus({ preventScroll: true }); // moving an element takes its focus
  }
}

const orderOf = ({ metadata, startedAt }) => [metadata?.at, startedAt].find(Number.isFinite) ?? Date.now();
