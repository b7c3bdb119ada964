// What TypeScript makes of the package: compiled, never run.
import { useChat } from '@ai-sdk/react';
import { messageOf, TokenstreamChatTransport, type SendRequest } from '@tokenstream/client/ai-sdk';
import { useResponse, useResponses, type Source } from '@tokenstream/client/react';
import { tokenstream, type ApiError, type Response, type State, type TokenStream } from '@tokenstream/client';
import { Reader } from '@tokenstream/client/reader';
import { Realtime, type RealtimeChannel } from 'ably';
import { Chat } from '@ai-sdk/react';
import type { ChatTransport, UIMessage } from 'ai';
import { expectTypeOf } from 'expect-type';

const realtime = new Realtime({ authUrl: '/token' });
const channel = realtime.channels.get('chat:42');

expectTypeOf(tokenstream(channel)).toEqualTypeOf<TokenStream>();
expectTypeOf(tokenstream(channel, { api: '/v1', connection: realtime.connection, limit: 5 })).toEqualTypeOf<TokenStream>();
expectTypeOf(tokenstream('/v1', { channel: 'chat:42', headers: async () => ({ Authorization: 'Bearer x' }) })).toEqualTypeOf<TokenStream>();
// @ts-expect-error a gateway needs a channel
tokenstream('/v1');
// @ts-expect-error there is no such option
tokenstream(channel, { limits: { finnished: 1 } });

const stream = tokenstream(channel);
stream.on('change', (response) => expectTypeOf(response).toEqualTypeOf<Response>());
stream.on('state', (state) => expectTypeOf(state).toEqualTypeOf<State>());
expectTypeOf(stream.cancel('r', { reason: 'user' })).resolves.toEqualTypeOf<Response | undefined>();
expectTypeOf(stream.failure).toEqualTypeOf<Error | null>();
expectTypeOf<ApiError['status']>().toEqualTypeOf<number>();
expectTypeOf(new Reader().needs()).toEqualTypeOf<string[]>();

expectTypeOf<RealtimeChannel>().toExtend<Source>();
expectTypeOf<TokenStream>().toExtend<Source>();
export function Component() {
  const { responses, state, error, cancel } = useResponses({ url: '/v1', channel: 'chat:42' }, { limit: 5 });
  expectTypeOf(responses).toEqualTypeOf<readonly Response[]>();
  expectTypeOf(state).toEqualTypeOf<State>();
  expectTypeOf(error).toEqualTypeOf<Error | null>();
  expectTypeOf(cancel('r')).resolves.toEqualTypeOf<Response | undefined>();
  expectTypeOf(useResponse(channel, 'r')).toEqualTypeOf<Response | null>();
  // @ts-expect-error a source needs a channel
  useResponses({ url: '/v1' });
  const chat = useChat({ id: 'c', transport, resume: true });
  expectTypeOf(chat.messages).toEqualTypeOf<UIMessage[]>();
}

const transport = new TokenstreamChatTransport({
  source: ({ chatId }) => ({ url: '/v1', channel: `chat:${chatId}` }),
  api: '/v1',
  cancelOnAbort: ({ responseId }) => responseId !== '',
  send: async ({ responseId, chatId, messages, body, headers, signal }) => {
    expectTypeOf(responseId).toEqualTypeOf<string>();
    expectTypeOf(messages).toEqualTypeOf<UIMessage[]>();
    return fetch('/chat', { method: 'POST', headers, body: JSON.stringify({ responseId, chatId, messages, ...body }), signal });
  },
});
expectTypeOf(transport).toExtend<ChatTransport<UIMessage>>();
expectTypeOf(messageOf(stream.responses[0]!)).toEqualTypeOf<UIMessage>();

type Mine = UIMessage<{ model: string }>;
const mine = new TokenstreamChatTransport<Mine>({
  source: channel,
  send: (request) => expectTypeOf(request).toEqualTypeOf<SendRequest<Mine>>(),
});
expectTypeOf(new Chat<Mine>({ transport: mine }).messages).toEqualTypeOf<Mine[]>();
// @ts-expect-error a transport needs a source
new TokenstreamChatTransport({ send: () => {} });
