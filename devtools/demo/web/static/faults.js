// The fault board: each button breaks something real for a while; the server says when it is mended.
export class FaultBoard {
  #buttons = new Map();

  constructor({ board, said }) {
    Object.assign(this, { board, said });
    this.#load();
    setInterval(() => document.hidden || this.#load(), 2000);
  }

  async #load() {
    const answer = await fetch('/faults').catch(() => null);
    if (!answer?.ok) return;
    for (const fault of (await answer.json()).faults) this.#show(fault);
  }

  #show({ name, title, description, active }) {
    let button = this.#buttons.get(name);
    if (!button) {
      button = document.createElement('button');
      Object.assign(button, { type: 'button', className: 'fault' });
      button.dataset.fault = name;
      const label = document.createElement('b');
      const detail = document.createElement('span');
      label.textContent = title;
      detail.textContent = description;
      button.append(label, detail);
      button.addEventListener('click', () => this.#press(name, title));
      this.#buttons.set(name, button);
      this.board.append(button);
    }
    button.setAttribute('aria-pressed', String(active));
  }

  async #press(name, title) {
    this.said.textContent = `${title}…`;
    const answer = await fetch(`/faults/${name}`, { method: 'POST' }).catch(() => null);
    const { message } = (await answer?.json().catch(() => null)) ?? {};
    this.said.textContent = message ?? `${title}: the demo's server did not answer`;
    this.#load();
  }
}
