// Markdown as it arrives, made of DOM nodes only: no text ever becomes markup, whatever it says.
import { Lexer } from '/lib/marked.js';

const CONTROLS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
const DEEPEST = 40; // quotes and lists in one another
const SAFE_LINK = /^(https?:|mailto:)/i;
const codeOf = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}`;

function element(name, children = [], attributes = {}) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Text as nodes; characters that reorder or hide what follows them are named instead of obeyed. */
export function textNodes(text) {
  const nodes = [];
  let from = 0;
  for (const { 0: control, index } of text.matchAll(CONTROLS)) {
    if (index > from) nodes.push(text.slice(from, index));
    nodes.push(element('span', [codeOf(control)], { class: 'control', title: 'A control character' }));
    from = index + control.length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}

const unescaped = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
const plain = (text) => text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name) => unescaped[name]);

function link({ href, tokens }) {
  if (!SAFE_LINK.test(href)) return element('span', inline(tokens));
  return element('a', inline(tokens), { href, rel: 'noopener noreferrer nofollow', target: '_blank', title: href });
}

const INLINE = {
  strong: (token) => element('strong', inline(token.tokens)),
  em: (token) => element('em', inline(token.tokens)),
  del: (token) => element('del', inline(token.tokens)),
  codespan: (token) => element('code', textNodes(plain(token.text))),
  br: () => element('br'),
  link,
  image: (token) => element('span', textNodes(token.raw)), // loading it would tell its host who reads this
};

function inline(tokens = []) {
  return tokens.flatMap((token) => {
    const make = INLINE[token.type];
    if (make) return [make(token)];
    if (token.type === 'text' && token.tokens) return inline(token.tokens);
    return textNodes(token.type === 'escape' ? token.text : token.raw);
  });
}

function list({ ordered, start, items }) {
  const entries = items.map((item) => element('li', blocks(item.tokens)));
  return element(ordered ? 'ol' : 'ul', entries, ordered && start !== 1 ? { start } : {});
}

function table({ header, rows }) {
  const cells = (name, row) => element('tr', row.map((cell) => element(name, inline(cell.tokens))));
  const head = element('thead', [cells('th', header)]);
  const body = element('tbody', rows.map((row) => cells('td', row)));
  return element('div', [element('table', [head, body])], { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Table' });
}

const BLOCKS = {
  heading: (token) => element(`h${Math.min(6, token.depth + 2)}`, inline(token.tokens)),
  paragraph: (token) => element('p', inline(token.tokens)),
  code: (token) => element('pre', [element('code', textNodes(token.text))], { tabindex: '0', role: 'group', 'aria-label': token.lang ? `Code, ${token.lang}` : 'Code' }),
  blockquote: (token) => element('blockquote', blocks(token.tokens)),
  hr: () => element('hr'),
  list,
  table,
};

function block(token) {
  if (BLOCKS[token.type]) return BLOCKS[token.type](token);
  if (token.type === 'text') return element('span', inline(token.tokens ?? [token]));
  return element('p', textNodes(token.raw));
}

const isShown = ({ type }) => type !== 'space' && type !== 'def';
let depth = 0;

function blocks(tokens) {
  if (depth >= DEEPEST) throw new RangeError('The text is nested too deeply');
  depth += 1;
  try {
    return tokens.filter(isShown).map(block);
  } finally {
    depth -= 1;
  }
}

/**
 * Keeps a node showing a growing text: blocks that did not change since the last call are left alone. A text whose
 * quotes and lists are nested too deeply, for the parser or for a page, is shown as it was sent.
 */
export class Markdown {
  #shown = [];
  #isPlain = false;

  constructor(node) {
    this.node = node;
  }

  show(text) {
    try {
      if (!this.#isPlain) return this.#showBlocks(text);
    } catch {
      this.#isPlain = true;
    }
    return this.node.replaceChildren(...textNodes(text));
  }

  #showBlocks(text) {
    const tokens = Lexer.lex(text, { gfm: true, breaks: true }).filter(isShown);
    const keys = tokens.map(({ type, raw }) => `${type} ${raw}`);
    let same = 0;
    while (same < keys.length && keys[same] === this.#shown[same]) same += 1;
    const added = blocks(tokens.slice(same));
    while (this.node.childNodes.length > same) this.node.lastChild.remove();
    this.node.append(...added);
    this.#shown = keys;
  }
}
