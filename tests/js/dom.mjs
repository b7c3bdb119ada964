// A document for React to render into. Import it before React.
import { JSDOM } from 'jsdom';

const { window } = new JSDOM('<!doctype html><body></body>', { url: 'http://localhost/', pretendToBeVisual: true });
Object.assign(globalThis, { window, document: window.document, navigator: window.navigator });

/** What was written to the console as an error or a warning. */
export const complaints = [];
for (const level of ['error', 'warn']) console[level] = (...said) => complaints.push(said.map(String).join(' '));

/** Resolves with what `look` returns once it is true; fails after the deadline. */
export async function until(look, deadline = 20000) {
  const end = performance.now() + deadline;
  for (let found; performance.now() < end; await new Promise((resolve) => setTimeout(resolve, 5))) {
    if ((found = await look())) return found;
  }
  throw new Error(`Not so within ${deadline} ms: ${look}`);
}
