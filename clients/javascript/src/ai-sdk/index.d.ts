import type { ChatTransport, UIMessage, UIMessageChunk } from 'ai';
import type { Options, Response } from '../index.js';
import type { Source } from '../react/index.js';

export type { GatewaySource, Source } from '../react/index.js';

export interface SendRequest<Message extends UIMessage = UIMessage> {
  /** The id that the response must have: give it to the model service. */
  readonly responseId: string;
  readonly chatId: string;
  readonly messages: Message[];
  readonly trigger: 'submit-message' | 'regenerate-message';
  readonly messageId: string | undefined;
  /** What the caller gave to `sendMessage`. */
  readonly headers?: Record<string, string> | Headers;
  readonly body?: object;
  readonly metadata?: unknown;
  /** Aborted when the user stops. */
  readonly signal: AbortSignal | undefined;
}

export interface TransportOptions<Message extends UIMessage = UIMessage> extends Options {
  /** Where the answers of a chat are read. */
  source: Source | ((chat: { chatId: string }) => Source);
  /** The app's own request that makes the model answer. A `Response` of `fetch` that is no success is an error. */
  send: (request: SendRequest<Message>) => unknown;
  /** Whether an abort, as by `stop()`, cancels the response. Default true. */
  cancelOnAbort?: boolean | ((response: { chatId: string; responseId: string }) => boolean);
  /** Milliseconds after `send` in which an answer must begin. Default 120000. */
  startTimeout?: number;
  /** Is called when cancelling a response failed. By default the error is reported as one that nobody caught. */
  onError?: (error: Error) => void;
}

/**
 * A transport of the AI SDK for `useChat` and `Chat`: the app's own request makes the model answer, and the answer is read from
 * tokenstream, whatever happens to the connection. The id of a response is that of its message.
 */
export class TokenstreamChatTransport<Message extends UIMessage = UIMessage> implements ChatTransport<Message> {
  constructor(options: TransportOptions<Message>);
  readonly resumeStreamIsReplay: true;
  sendMessages(options: Parameters<ChatTransport<Message>['sendMessages']>[0]): Promise<ReadableStream<UIMessageChunk>>;
  reconnectToStream(
    options: Parameters<ChatTransport<Message>['reconnectToStream']>[0],
  ): Promise<ReadableStream<UIMessageChunk> | null>;
}

/** A response record of the HTTP API, as far as it is used. */
export interface ResponseRecord {
  responseId: string;
  status: Response['status'];
  reason: string | null;
  metadata: Record<string, unknown> | null;
  usage: Record<string, unknown> | null;
  parts: { part: string; kind: string; info?: Record<string, unknown> | null; text: string }[];
}

/** Returns the message that the stream of a response would have left, as for the first messages of a chat. */
export function messageOf(response: Response | ResponseRecord): UIMessage;
