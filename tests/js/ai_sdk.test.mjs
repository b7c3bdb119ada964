// The transport in the real AI SDK: as a `ChatTransport`, in `Chat`, and in `useChat` in the real React.
import { complaints, until } from './dom.mjs';
import assert from 'node:assert/strict';
import { after, afterEach, test } from 'node:test';
import { Chat, useChat } from '@ai-sdk/react';
import { convertToModelMessages, readUIMessageStream } from 'ai';
import { createElement as h, StrictMode, useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { messageOf, TokenstreamChatTransport } from '../../clients/javascript/src/ai-sdk/index.js';
import { tokenstream } from '../../clients/javascript/src/index.js';
import { Frames } from './client_frames.mjs';
import { Gateway } from './gateway.mjs';

const closing = [];
const CANCELLED = { reason: 'cancelled', status: 'cancelled' };
afterEach(() => assert.deepEqual(complaints.splice(0), []));
after(() => closing.reverse().forEach((close) => close()));

/** A gateway, and a transport whose `send` calls `answer(frames, request)`. */
async function open({ answer = () => {}, ...options } = {}) {
  const gateway = await new Gateway().listen();
  closing.push(() => gateway.close());
  const sent = [];
  const answers = new Map();
  const send = async (request) => {
    sent.push(request);
    const frames = new Frames(gateway.publisher, `chat:${request.chatId}`, request.responseId);
    answers.set(request.responseId, frames);
    return answer(frames, request);
  };
  gateway.onCancel = ({ responseId }) => answers.get(responseId)?.stop(CANCELLED);
  const source = ({ chatId }) => ({ url: gateway.url, channel: `chat:${chatId}` });
  const transport = new TokenstreamChatTransport({ source, send, ...options });
  return { gateway, transport, sent, source };
}

const user = (text, id = 'u1') => ({ id, role: 'user', parts: [{ type: 'text', text }] });

function sendTo(transport, options = {}) {
  return transport.sendMessages({ trigger: 'submit-message', chatId: 'c', messageId: undefined, messages: [user('Hi')], abortSignal: undefined, ...options });
}

async function chunksOf(readable) {
  const chunks = [];
  for await (const chunk of readable) chunks.push(chunk);
  return chunks;
}

async function wholeAnswer(frames, end) {
  await frames.start({ model: 'm-large' });
  await frames.token('Hmm.', 'reasoning');
  await frames.token('Hel');
  await frames.token('lo😀');
  await frames.stop(end);
}

const refusal = (promise) => promise.then(() => assert.fail('was not refused'), (error) => error);

test('an answer is given as chunks, with the response id as message id', async () => {
  const { transport, sent, gateway } = await open({ answer: (frames) => wholeAnswer(frames, { reason: 'length', status: 'complete', usage: { outputTokens: 3 } }) });
  const headers = { 'x-app': '1' };
  const chunks = await chunksOf(await sendTo(transport, { headers, body: { model: 'm' }, metadata: { a: 1 } }));
  const [{ responseId, messages, signal, ...request }] = sent;
  assert.deepEqual(request, { trigger: 'submit-message', chatId: 'c', messageId: undefined, headers, body: { model: 'm' }, metadata: { a: 1 } });
  assert.equal(signal, undefined);
  assert.deepEqual(messages, [user('Hi')]);
  const text = chunks.filter(({ type }) => type.endsWith('-delta')).map(({ id, delta }) => [id, delta]);
  assert.deepEqual(text.filter(([id]) => id === 'text').map(([, delta]) => delta).join(''), 'Hello😀');
  assert.deepEqual(chunks.filter(({ type }) => !type.endsWith('-delta')), [
    { type: 'start', messageId: responseId, messageMetadata: { model: 'm-large' } },
    { type: 'start-step' },
    { type: 'reasoning-start', id: 'reasoning' },
    { type: 'text-start', id: 'text' },
    { type: 'reasoning-end', id: 'reasoning' },
    { type: 'text-end', id: 'text' },
    { type: 'finish-step' },
    { type: 'finish', finishReason: 'length', messageMetadata: { reason: 'length', usage: { outputTokens: 3 } } },
  ]);
  await until(() => gateway.clients.size === 0);
});

test('it subscribes before it sends', async () => {
  let subscribed;
  const { transport, gateway } = await open({ answer: (frames) => ((subscribed = gateway.clients.size), wholeAnswer(frames)) });
  await chunksOf(await sendTo(transport));
  assert.equal(subscribed, 1);
});

test('tool calls become tool inputs, available once the response is complete', async () => {
  const call = (frames, seq, offset, text, info) => {
    const headers = { seq, seqEnd: seq, offset, part: 'call_1', kind: 'tool_call', ...(info && { partInfo: JSON.stringify(info) }) };
    frames.texts.set('call_1', (frames.texts.get('call_1') ?? '') + text);
    frames.seq = seq;
    return frames.publish('part', text, headers);
  };
  const { transport } = await open({
    async answer(frames) {
      await frames.start();
      await call(frames, 1, 0, '{"city":', { name: 'weather', id: 'call_1' });
      await call(frames, 2, 8, '"Oslo"}');
      await frames.stop({ reason: 'tool_calls', status: 'complete' });
    },
  });
  const chunks = await chunksOf(await sendTo(transport));
  const tool = { toolCallId: 'call_1', toolName: 'weather' };
  assert.deepEqual(chunks.find(({ type }) => type === 'tool-input-start'), { type: 'tool-input-start', ...tool });
  assert.deepEqual(chunks.slice(-3), [
    { type: 'tool-input-available', ...tool, input: { city: 'Oslo' } },
    { type: 'finish-step' },
    { type: 'finish', finishReason: 'tool-calls', messageMetadata: { reason: 'tool_calls' } },
  ]);
  let message;
  for await (const state of readUIMessageStream({ stream: ReadableStream.from(chunks) })) message = state;
  assert.deepEqual(JSON.parse(JSON.stringify(message.parts[1])), { type: 'tool-weather', toolCallId: 'call_1', state: 'input-available', input: { city: 'Oslo' } });
});

test('a cancelled response ends with abort, a failed one with one error', async () => {
  const cancelled = await open({ answer: (frames) => wholeAnswer(frames, CANCELLED) });
  assert.deepEqual((await chunksOf(await sendTo(cancelled.transport))).at(-1), { type: 'abort' });
  for (const [end, errorText] of [
    [{ status: 'failed', reason: 'error', error: { code: 'overloaded', message: 'The model is overloaded.' } }, 'The model is overloaded.'],
    [{ status: 'abandoned', reason: 'abandoned' }, 'The response ended with reason abandoned.'],
  ]) {
    const { transport } = await open({ answer: (frames) => wholeAnswer(frames, end) });
    const chunks = await chunksOf(await sendTo(transport));
    assert.deepEqual(chunks.filter(({ type }) => type === 'error'), [{ type: 'error', errorText }]);
    assert.equal(chunks.at(-1).type, 'error');
  }
});

test('a request that fails is an error, and leaves nothing open', async () => {
  for (const [answer, message] of [
    [() => Promise.reject(new Error('offline')), /^offline$/],
    [() => new Response('no credit', { status: 402 }), /status 402: no credit$/],
  ]) {
    const { transport, gateway } = await open({ answer });
    assert.match((await refusal(sendTo(transport))).message, message);
    await until(() => gateway.clients.size === 0);
  }
});

test('an answer that never begins fails after a time', async () => {
  const { transport, gateway } = await open({ startTimeout: 100 });
  assert.deepEqual(await chunksOf(await sendTo(transport)), [{ type: 'error', errorText: 'No answer began within 100 ms.' }]);
  await until(() => gateway.clients.size === 0);
});

test('a request that lasts as long as the answer does not hold it up', async () => {
  let finish;
  const { transport } = await open({
    async answer(frames) {
      await (await frames.start()).token('a');
      await new Promise((resolve) => (finish = resolve));
      await frames.stop();
    },
  });
  const reader = (await sendTo(transport)).getReader();
  assert.equal((await reader.read()).value.type, 'start');
  finish();
  let last;
  for (let read; !(read = await reader.read()).done; ) last = read.value;
  assert.equal(last.type, 'finish');
});

test('an abort cancels the response, before and after it began', async () => {
  for (const hasBegun of [false, true]) {
    const { transport, gateway, sent } = await open({ answer: async (frames) => hasBegun && (await frames.start()).token('a') });
    const controller = new AbortController();
    const sending = sendTo(transport, { abortSignal: controller.signal });
    await until(() => (hasBegun ? [...gateway.known.values()][0]?.tokens : sent.length));
    if (hasBegun) await sending;
    controller.abort();
    assert.equal((await chunksOf(await sending)).at(-1).type, 'abort');
    await until(() => gateway.cancelled.length === 1);
    assert.deepEqual([gateway.cancelled[0].responseId, gateway.cancelled[0].channel], [sent[0].responseId, 'chat:c']);
    if (hasBegun) await until(() => gateway.clients.size === 0);
  }
});

test('an abort does not cancel where that is turned off, and a reader that goes away never does', async () => {
  for (const [cancelOnAbort, leave] of [
    [false, ({ controller }) => controller.abort()],
    [({ chatId }) => chatId === 'other', ({ controller }) => controller.abort()],
    [true, ({ readable }) => readable.cancel()],
  ]) {
    const { transport, gateway } = await open({ cancelOnAbort, answer: async (frames) => (await frames.start()).token('a') });
    const controller = new AbortController();
    const readable = await sendTo(transport, { abortSignal: controller.signal });
    leave({ controller, readable });
    await until(() => gateway.clients.size === 0);
    assert.deepEqual(gateway.cancelled, []);
  }
});

test('a cancel that is refused is reported', async () => {
  const errors = [];
  const { transport, gateway } = await open({ onError: (error) => errors.push(error), answer: async (frames) => (await frames.start()).token('a') });
  const controller = new AbortController();
  await sendTo(transport, { abortSignal: controller.signal });
  gateway.refusals.push({ status: 403, message: 'Not yours.' });
  controller.abort();
  await until(() => errors[0]?.status === 403);
});

test('resuming gives the open response from its first character, or null', async () => {
  const { transport, gateway } = await open();
  const resume = () => transport.reconnectToStream({ chatId: 'c', abortSignal: undefined });
  assert.equal(await resume(), null);
  await until(() => gateway.clients.size === 0);
  const done = await new Frames(gateway.publisher, 'chat:c').start();
  await done.stop();
  assert.equal(await resume(), null);
  await until(() => gateway.clients.size === 0);
  const frames = await (await (await new Frames(gateway.publisher, 'chat:c').start()).token('Hel')).token('lo');
  const readable = await resume();
  const reading = chunksOf(readable);
  await frames.token(', world');
  await frames.stop();
  const chunks = await reading;
  assert.equal(chunks[0].messageId, frames.id);
  const deltas = chunks.filter(({ type }) => type === 'text-delta').map(({ delta }) => delta);
  assert.equal(deltas[0], 'Hello');
  assert.equal(deltas.join(''), 'Hello, world');
  await until(() => gateway.clients.size === 0);
});

test('text that turns out to be wrong is given again', async () => {
  const { transport, gateway } = await open({
    async answer(frames) {
      await (await frames.start()).token('wrong');
      await new Promise((resolve) => setTimeout(resolve, 50));
      frames.texts.set('text', 'right');
      gateway.known.get(frames.id).parts[0].text = 'right';
      await frames.stop();
    },
  });
  const chunks = await chunksOf(await sendTo(transport));
  let message;
  for await (const state of readUIMessageStream({ stream: ReadableStream.from(chunks) })) message = state;
  assert.equal(message.parts.find(({ type }) => type === 'text').text, 'right');
  assert.ok(chunks.some(({ type }) => type === 'reset-step'));
  assert.equal(chunks.at(-1).type, 'finish');
});

test('a message made of a record is the one that its stream leaves', async () => {
  const { transport, gateway, sent } = await open({ answer: (frames) => wholeAnswer(frames) });
  const chunks = await chunksOf(await sendTo(transport));
  let message;
  for await (const state of readUIMessageStream({ stream: ReadableStream.from(chunks) })) message = state;
  const plain = JSON.parse(JSON.stringify(message));
  assert.deepEqual(messageOf(gateway.known.get(sent[0].responseId).record), plain);
  const stream = tokenstream(gateway.url, { channel: 'chat:c' });
  closing.push(() => stream.close());
  await stream.ready;
  assert.deepEqual(messageOf(stream.get(sent[0].responseId)), plain);
  assert.equal((await convertToModelMessages([user('Hi'), message])).length, 2);
});

/** `useChat` on a page. `chat` is what the hook gave last. */
function mount({ transport, strict = true, ...options }) {
  const page = { isMounted: false };
  function Page() {
    const chat = useChat({ id: 'c', transport, onError: (error) => (page.error = error), ...options });
    page.chat = chat;
    useEffect(() => void (page.isMounted = true), []);
    return null;
  }
  const root = createRoot(document.body.appendChild(document.createElement('div')));
  root.render(strict ? h(StrictMode, null, h(Page)) : h(Page));
  closing.push(() => root.unmount());
  page.unmount = () => root.unmount();
  page.answers = () => page.chat?.messages.filter(({ role }) => role === 'assistant').map(({ parts }) => parts.find(({ type }) => type === 'text')?.text) ?? [];
  return until(() => page.isMounted).then(() => page);
}

test('useChat shows an answer, and its message has the response id', async () => {
  const { transport, sent } = await open({ answer: (frames) => wholeAnswer(frames) });
  const page = await mount({ transport });
  page.chat.sendMessage({ text: 'Hi' });
  await until(() => page.chat.messages.length === 2 && page.chat.status === 'ready');
  assert.deepEqual(page.answers(), ['Hello😀']);
  assert.equal(page.chat.messages[1].id, sent[0].responseId);
  assert.equal(page.error, undefined);
});

test('useChat resumes in Strict Mode with one whole message and one subscription', async () => {
  const { transport, gateway } = await open();
  const frames = await (await new Frames(gateway.publisher, 'chat:c').start()).token('Hel');
  const partial = { id: frames.id, role: 'assistant', parts: [{ type: 'text', text: 'He' }] };
  const page = await mount({ transport, resume: true, messages: [user('Hi'), partial] });
  await until(() => page.answers()[0] === 'Hel');
  await frames.token('lo');
  await frames.stop();
  await until(() => page.chat.status === 'ready' && page.answers()[0] === 'Hello');
  assert.equal(page.chat.messages.length, 2);
  assert.equal(page.chat.messages[1].id, frames.id);
  assert.equal(gateway.connections, 1);
  assert.deepEqual(gateway.cancelled, []);
});

test('stop of useChat cancels the response, resumed or not', async () => {
  for (const isResumed of [false, true]) {
    const { transport, gateway } = await open({ answer: async (frames) => (await frames.start()).token('a') });
    const { onCancel } = gateway;
    const resumed = new Frames(gateway.publisher, 'chat:c');
    if (isResumed) await (await resumed.start()).token('a');
    const cancelled = new Promise((resolve) => {
      gateway.onCancel = (given) => (resolve(given), isResumed ? resumed.stop(CANCELLED) : onCancel(given));
    });
    const page = await mount({ transport, resume: isResumed });
    if (!isResumed) page.chat.sendMessage({ text: 'Hi' });
    await until(() => page.answers()[0] === 'a');
    page.chat.stop();
    const { responseId } = await cancelled;
    assert.equal(responseId, page.chat.messages.at(-1).id);
    await until(() => page.chat.status === 'ready' && gateway.clients.size === 0);
  }
});

test('a failed answer is the error of useChat, and the text stays', async () => {
  const { transport } = await open({ answer: (frames) => wholeAnswer(frames, { status: 'failed', reason: 'error', error: { message: 'Overloaded.' } }) });
  const page = await mount({ transport });
  page.chat.sendMessage({ text: 'Hi' });
  await until(() => page.chat.status === 'error');
  assert.equal(page.chat.error.message, 'Overloaded.');
  assert.deepEqual(page.answers(), ['Hello😀']);
});

test('regenerating and tool results begin responses of their own, and no message is shown twice', async () => {
  const { transport, sent } = await open({ answer: async (frames) => (await (await frames.start()).token(`answer ${sent.length}`)).stop() });
  const page = await mount({ transport });
  page.chat.sendMessage({ text: 'Hi' });
  await until(() => page.chat.status === 'ready' && page.answers().length === 1);
  page.chat.regenerate();
  await until(() => page.chat.status === 'ready' && page.answers()[0] === 'answer 2');
  assert.equal(page.chat.messages.length, 2);
  page.chat.sendMessage();
  await until(() => page.chat.status === 'ready' && page.answers().length === 2);
  assert.deepEqual(page.answers(), ['answer 2', 'answer 3']);
  assert.deepEqual(page.chat.messages.slice(1).map(({ id }) => id), sent.slice(1).map(({ responseId }) => responseId));
});

test('a chat of your own goes on when its component is unmounted', async () => {
  const { transport, gateway } = await open({ answer: async (frames) => (await frames.start()).token('a') });
  const chat = new Chat({ id: 'c', transport });
  const page = await mount({ chat });
  page.chat.sendMessage({ text: 'Hi' });
  await until(() => page.answers()[0] === 'a');
  page.unmount();
  const frames = new Frames(gateway.publisher, 'chat:c', chat.messages[1].id);
  Object.assign(frames, { seq: 1, texts: new Map([['text', 'a']]) });
  await frames.token('b');
  await frames.stop();
  await until(() => chat.status === 'ready');
  assert.equal(chat.messages[1].parts.at(-1).text, 'ab');
  assert.deepEqual(gateway.cancelled, []);
});
