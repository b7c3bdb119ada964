import { lease } from '../sharing.js';

const INTERVAL = 16; // milliseconds between two renders

/**
 * A stream as React reads it. It is leased while somebody has subscribed. Without a source there is nothing to read.
 * Subscribers are called at once, then at most once per interval, however many frames arrive.
 * `view` has the value before the first subscription, `nothing`, and `watch(stream, changed)`, which returns `{ read, end }`.
 */
export class Store {
  #source;
  #latest;
  #view;
  #value;
  #listeners = new Set();
  #leased = null;
  #watch = null;
  #timer = null;
  #isDue = false;

  constructor(source, latest, view) {
    this.#source = source;
    this.#latest = latest;
    this.#view = view;
    this.#value = view.nothing;
  }

  read = () => this.#value;

  subscribe = (listener) => {
    if (!this.#source) return () => {};
    if (this.#listeners.size === 0) this.#open();
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#close();
    };
  };

  cancel = async (id, options) => {
    if (!this.#leased) throw new Error('Cancelling needs a source, and a component that is mounted');
    return this.#leased.stream.cancel(id, options);
  };

  #open() {
    this.#leased = lease(this.#source, this.#latest);
    this.#watch = this.#view.watch(this.#leased.stream, () => this.#changed());
    this.#value = this.#watch.read();
  }

  #close() {
    this.#watch.end();
    this.#leased.release();
    clearTimeout(this.#timer);
    this.#leased = null;
    this.#timer = null;
    this.#isDue = false;
  }

  #changed() {
    this.#isDue = true;
    if (this.#timer === null) this.#publish();
  }

  #publish() {
    this.#timer = null;
    if (!this.#isDue) return;
    this.#isDue = false;
    this.#timer = setTimeout(() => this.#publish(), INTERVAL);
    this.#value = this.#watch.read();
    for (const listener of [...this.#listeners]) listener();
  }
}
