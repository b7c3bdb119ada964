import { tokenstream } from '/lib/tokenstream/index.js';
import { Chat } from './chat.js';
import { FaultBoard } from './faults.js';
import { Panel } from './panel.js';

const at = (id) => document.getElementById(id);
const PEOPLE = ['Ada', 'Bo', 'Chidi', 'Dagny', 'Emre', 'Fern', 'Grace', 'Hiro', 'Inês', 'Jun'];
const SAID = { live: 'live', 'catching-up': 'catching up', stale: 'reconnecting', closed: 'closed' };

function connect({ endpoint, port }) {
  return new Ably.Realtime({
    endpoint,
    port,
    tls: false,
    authUrl: '/token',
    closeOnUnload: false, // or a click on a mailto: link would end the reading
    transports: ['web_socket'],
    disableConnectivityCheck: true, // it would ask a host on the internet
    disconnectedRetryTimeout: 1500,
  });
}

function setUpTheme() {
  at('theme').addEventListener('click', () => {
    const { documentElement: root } = document;
    const dark = getComputedStyle(root).colorScheme.startsWith('dark') || (!root.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
    root.dataset.theme = dark ? 'light' : 'dark';
    localStorage.setItem('theme', root.dataset.theme);
  });
}

function setUpDrawer() {
  const show = (open) => {
    at('panel').classList.toggle('open', open);
    at('shade').hidden = !open;
    at('panel-toggle').setAttribute('aria-expanded', String(open));
  };
  at('panel-toggle').addEventListener('click', () => show(!at('panel').classList.contains('open')));
  at('shade').addEventListener('click', () => show(false));
  addEventListener('keydown', ({ key }) => key === 'Escape' && show(false));
  return show;
}

async function say(text, all) {
  const name = at('name').value.trim() || 'Someone';
  const body = JSON.stringify({ text, name, all });
  const answer = await fetch('/say', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }).catch(() => null);
  if (!answer?.ok) at('fault-said').textContent = 'The question could not be sent: is the demo still running?';
  return answer?.ok;
}

/** Whether the request was taken. The server of the page adds the credential. */
async function cancel(config, id) {
  const body = JSON.stringify({ channel: config.channel });
  const answer = await fetch(`${config.api}/responses/${encodeURIComponent(id)}/cancel`, { method: 'POST', body }).catch(() => null);
  if (!answer?.ok) at('fault-said').textContent = 'The response could not be stopped. Try again.';
  return answer?.ok;
}

function setUpComposer(chat) {
  const field = at('say');
  at('name').value = sessionStorage.getItem('name') ?? PEOPLE[Math.floor(Math.random() * PEOPLE.length)];
  at('name').addEventListener('change', () => sessionStorage.setItem('name', at('name').value));
  sessionStorage.setItem('name', at('name').value);
  const send = async (all) => {
    const text = field.value.trim() || (all ? 'Everyone: say something in your own way.' : '');
    if (!text) return field.focus();
    field.value = '';
    chat.toEnd();
    if (!(await say(text, all))) field.value = text;
  };
  at('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    send(false);
  });
  at('burst').addEventListener('click', () => send(true));
  field.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send(false);
  });
}

async function main() {
  setUpTheme();
  const showPanel = setUpDrawer();
  const config = await (await fetch('/config.json')).json();
  const realtime = config.endpoint ? connect(config) : null; // without one the page follows the gateway
  const stream = realtime
    ? tokenstream(realtime.channels.get(config.channel), { api: config.api, limit: 40 })
    : tokenstream(config.api, { channel: config.channel, limit: 40 });
  const chat = new Chat({ log: at('log'), messages: at('messages'), empty: at('empty'), jump: at('jump'), stop: (id) => cancel(config, id) });
  const reveal = (id) => {
    showPanel(false);
    chat.reveal(id);
  };
  const elements = { rows: at('rows'), zeros: at('zeros'), proved: at('proved'), openCount: at('open-count'), rate: at('rate'), frames: at('frames'), dropped: at('dropped'), spark: at('spark') };
  const panel = new Panel(elements, { stream, reveal });
  at('channel').textContent = config.channel;
  for (const view of [chat, panel]) {
    stream.on('change', (response) => view.change(response));
    stream.on('remove', (id) => view.remove(id));
  }
  const showState = (state) => {
    at('state').dataset.state = state;
    at('state').lastElementChild.textContent = SAID[state];
  };
  stream.on('state', showState);
  showState(stream.state);
  setUpComposer(chat);
  new FaultBoard({ board: at('faults'), said: at('fault-said') });
  globalThis.tokenstreamDemo = { stream, realtime }; // for the curious, in the console
}

main();
