const LEFT = 1000; // milliseconds after which a page that still runs was not left

/**
 * Distinguishes a connection that ably-js closed because the page was about to be left from one that somebody closed.
 * By default ably-js closes it on `beforeunload`, which also comes before a `mailto:` link, a download, or a navigation
 * that is cancelled: the page stays.
 */
export class Unloading {
  after = LEFT;
  #closingAt = -Infinity;
  #unloadAt = -Infinity;

  constructor() {
    globalThis.addEventListener?.('beforeunload', this.#onUnload);
  }

  #onUnload = () => (this.#unloadAt = performance.now());

  /** Call it when the connection begins to close. */
  closing() {
    this.#closingAt = performance.now();
  }

  get closedIt() {
    return Math.abs(this.#unloadAt - this.#closingAt) < LEFT;
  }

  end() {
    globalThis.removeEventListener?.('beforeunload', this.#onUnload);
  }
}
