// The server of the example: serves the page, keeps the questions in memory, makes the model answer through tokenstream's bridge, and
// passes /v1 on. Without dependencies. A real app decides here who may read and write which chat.
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const {
  PORT = '8400',
  DIST = fileURLToPath(new URL('./dist', import.meta.url)),
  TOKENSTREAM = 'http://localhost:8484', // api and gateway
  BRIDGE = 'http://localhost:8485',
  TOKEN = '', // of tokenstream's API, for what the page asks; it may cancel
  MODEL = 'default',
  ABLY_KEY = '', // read from Ably, not from the gateway
  ABLY_ENDPOINT = '', // host:port of another realtime server
} = process.env;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const MAX_BODY = 1024 * 1024;
const turns = new Map(); // chat id -> [{ message, responseId }]

function json(response, status, value) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(JSON.stringify(value));
}

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    if ((size += chunk.length) > MAX_BODY) throw new Error('The body is too large.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const textOf = ({ parts }) => parts.filter(({ type }) => type === 'text').map(({ text }) => text).join('\n');

/** Asks the model by way of the bridge, which answers as soon as the model has accepted. */
async function chat(request, response) {
  const { responseId, chatId, messages } = JSON.parse(await bodyOf(request));
  const kept = turns.get(chatId) ?? turns.set(chatId, []).get(chatId);
  const message = messages.findLast(({ role }) => role === 'user');
  const asked = kept.find((turn) => turn.message.id === message.id);
  if (asked) asked.responseId = responseId;
  else kept.push({ message, responseId });
  const answer = await fetch(`${BRIDGE}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      'x-tokenstream-channel': `chat:${chatId}`,
      'x-tokenstream-response-id': responseId,
      'x-tokenstream-mode': 'detach',
    },
    body: JSON.stringify({ model: MODEL, stream: true, messages: messages.map((one) => ({ role: one.role, content: textOf(one) })) }),
  });
  if (answer.ok) return json(response, 202, {});
  json(response, 502, { error: { message: `The model refused: ${await answer.text()}` } });
}

/** A token that may read the chats. */
function ablyToken() {
  const [name, secret] = ABLY_KEY.split(':');
  const now = Math.floor(Date.now() / 1000);
  const capability = JSON.stringify({ 'chat:*': ['subscribe', 'history'] });
  const encoded = [{ typ: 'JWT', alg: 'HS256', kid: name }, { iat: now, exp: now + 3600, 'x-ably-capability': capability }].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return `${encoded.join('.')}.${createHmac('sha256', secret).update(encoded.join('.')).digest('base64url')}`;
}

function config() {
  if (!ABLY_KEY) return {};
  const [endpoint, port] = ABLY_ENDPOINT.split(':');
  return { ably: endpoint ? { endpoint, port: Number(port), tls: false } : {} };
}

/** Passes a request on to tokenstream, and what it answers, as it comes. */
async function pass(request, response) {
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const { host, connection, ...given } = request.headers;
  const headers = { ...given, ...(TOKEN && { authorization: `Bearer ${TOKEN}` }) };
  const body = request.method === 'POST' ? await bodyOf(request) : undefined;
  const answer = await fetch(TOKENSTREAM + request.url, { method: request.method, headers, body, signal: gone.signal });
  const { 'content-encoding': encoding, 'content-length': length, ...passed } = Object.fromEntries(answer.headers);
  response.writeHead(answer.status, passed);
  response.flushHeaders();
  if (answer.body) for await (const chunk of answer.body) response.write(chunk);
  response.end();
}

async function file(path, response) {
  const name = normalize(path === '/' ? '/index.html' : path);
  const content = await readFile(join(DIST, name)).catch(() => null);
  if (!content) return json(response, 404, { error: { message: 'There is no such file.' } });
  response.writeHead(200, { 'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream' }).end(content);
}

async function answer(request, response) {
  const url = new URL(request.url, 'http://server');
  if (url.pathname.startsWith('/v1/')) return pass(request, response);
  if (url.pathname === '/chat' && request.method === 'POST') return chat(request, response);
  if (url.pathname === '/turns') return json(response, 200, turns.get(url.searchParams.get('chat')) ?? []);
  if (url.pathname === '/config.json') return json(response, 200, config());
  if (url.pathname === '/token' && ABLY_KEY) return response.writeHead(200, { 'Content-Type': 'application/jwt', 'Cache-Control': 'no-store' }).end(ablyToken());
  return file(url.pathname, response);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (response.headersSent) return response.destroy();
    json(response, 502, { error: { message: error.message } });
  });
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`http://localhost:${server.address().port}/`));
