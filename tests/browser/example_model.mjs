// A gateway for tests with a model behind it: `POST /v1/chat/completions` as the bridge's, detached, and cancelling.
import { Frames } from '../js/client_frames.mjs';
import { Gateway } from '../js/gateway.mjs';

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What is asked for is JSON: `tokens`, the `pause` between them in milliseconds, and whether to think and to call a tool first. */
async function write(frames, { tokens, pause: between, thinks, calls }, isCancelled) {
  await frames.start({ model: 'example' });
  if (thinks) await frames.token('Let me see.', 'reasoning');
  if (calls) await frames.tool('{"city":"Oslo"}', { name: 'weather', id: 'call_1' });
  for (let number = 0; number < tokens && !isCancelled(); number += 1) {
    await frames.token(`w${number} `);
    if (between) await pause(between);
  }
  await frames.stop(isCancelled() ? { reason: 'cancelled', status: 'cancelled' } : { reason: 'stop', status: 'complete', usage: { outputTokens: tokens } });
}

class ModelFrames extends Frames {
  tool(text, info) {
    this.seq += 1;
    this.texts.set(info.id, text);
    return this.publish('part', text, { seq: this.seq, seqEnd: this.seq, offset: 0, part: info.id, kind: 'tool_call', partInfo: JSON.stringify(info) });
  }
}

export class ModelGateway extends Gateway {
  stopped = new Set();
  onCancel = ({ responseId }) => this.stopped.add(responseId);

  async answer(request, response) {
    if (request.url !== '/v1/chat/completions') return super.answer(request, response);
    let body = '';
    for await (const chunk of request) body += chunk;
    const asked = JSON.parse(JSON.parse(body).messages.at(-1).content);
    const { 'x-tokenstream-channel': channel, 'x-tokenstream-response-id': responseId } = request.headers;
    response.writeHead(202, { 'Content-Type': 'application/json' }).end(JSON.stringify({ responseId, channel }));
    await write(new ModelFrames(this.publisher, channel, responseId), asked, () => this.stopped.has(responseId));
  }
}
