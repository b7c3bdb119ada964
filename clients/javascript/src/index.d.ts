import type { Counts, Limits, Status } from './reader.js';

export { Reader } from './reader.js';
export type { Counts, FrameMessage, Limits, Status } from './reader.js';

/** A connection of ably-js, as far as it is used. */
export interface AblyConnection {
  readonly state: string;
  on(listener: (change: any) => void): void;
  off(listener: (change: any) => void): void;
  connect(): void;
}

/** A `RealtimeChannel` of ably-js, as far as it is used. */
export interface AblyChannel {
  readonly name: string;
  readonly state: string;
  on(listener: (change: any) => void): void;
  off(listener: (change: any) => void): void;
  subscribe(listener: (message: any) => void): Promise<unknown>;
  unsubscribe(listener: (message: any) => void): void;
  attach(): Promise<unknown>;
  history(range: any): Promise<any>;
}

export interface Part {
  readonly part: string;
  /** `text`, `reasoning`, `tool_call`, or whatever the model service says. */
  readonly kind: string;
  /** What the model service says of the part, such as a tool's name. */
  readonly info: Record<string, unknown> | null;
  readonly text: string;
  /** Hex SHA-256 of the whole part, once the response has finished: what `verified` compares with. */
  readonly sha256: string | null;
}

export interface Response {
  readonly id: string;
  readonly status: Status;
  readonly reason: string | null;
  readonly error: { code?: string; message?: string } | null;
  readonly metadata: Record<string, unknown> | null;
  readonly usage: Record<string, unknown> | null;
  /** Milliseconds since the epoch: the record's, or when its first frame was published. */
  readonly startedAt: number | null;
  /** When its first token was written or, where no record was loaded, published. */
  readonly firstTokenAt: number | null;
  /** The answer itself: the text of the part `text`. */
  readonly text: string;
  readonly parts: readonly Part[];
  /** The last sequence number covered. */
  readonly seq: number;
  readonly tokens: number;
  /** Frames this reader applied; few or none where the response was loaded. */
  readonly frames: number;
  /** Ranges of sequence numbers the model service never sent. */
  readonly gaps: readonly (readonly [from: number, to: number])[];
  /** Something is missing, and being fetched. */
  readonly repairing: boolean;
  /** False if something was given up; true again once the stored record fills it. */
  readonly complete: boolean;
  /** True once the text's length and hash are what the finished response says; null until then. */
  readonly verified: boolean | null;
}

export type State = 'live' | 'catching-up' | 'stale' | 'closed';

export interface Options {
  /** Where the HTTP API is, such as `/v1`. Without it the channel's history alone is read. */
  api?: string;
  /** Headers for the API, such as `Authorization`, or what makes them. */
  headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
  fetch?: typeof fetch;
  /** Who publishes the frames; those of others are ignored. Default `tokenstream`. */
  clientId?: string;
  /** Finished responses to load at first. Default 20. */
  limit?: number;
  /** Pages of 500 messages to read of the history at most. Default 20. */
  historyPages?: number;
  /** Milliseconds after which something missing is given up. Default 30000. */
  repairTimeout?: number;
  /**
   * Milliseconds after which a request to the API that makes no progress is given up, and tried again. Those of ably-js
   * have three times as long, as it tries other hosts by itself. Default 10000.
   */
  requestTimeout?: number;
  /**
   * Connect again where ably-js closed the connection on `beforeunload` and the page stayed, as after a click on a
   * `mailto:` link or a download. A connection that you closed stays closed. Default true.
   */
  reconnect?: boolean;
  limits?: Limits;
  /** The channel's connection; found by itself with ably-js. */
  connection?: AblyConnection;
}

/** Options for reading from a gateway. The API is at the same URL, if `api` names no other. */
export interface GatewayOptions extends Omit<Options, 'connection' | 'historyPages' | 'reconnect'> {
  channel: string;
}

export interface CancelOptions {
  /** Why, for the records; readers do not see it. */
  reason?: string;
  /** Milliseconds to wait for the end once the request is accepted. Default `repairTimeout`. */
  timeout?: number;
}

/** A request that the API refused. */
export interface ApiError extends Error {
  /** The HTTP status: 401 without valid credentials, 403 without the authority, 404 unknown, 503 not possible at the moment. */
  readonly status: number;
  /** The code that the API gives, such as `forbidden`. */
  readonly code?: string;
}

export interface Events {
  change: Response;
  /** The id of a response let go to bound memory. */
  remove: string;
  state: State;
  /**
   * A failed or unanswered attempt to connect, to attach or to load something, which is tried again; a loss that was given up; a
   * closed connection; a channel that failed, which is `failure` then.
   */
  error: Error;
}

export interface TokenStream {
  /**
   * Resolves once the channel is attached and everything stored is loaded, however often that had to be tried. Rejects
   * when the channel fails, as without a capability, or when the stream is closed before.
   */
  readonly ready: Promise<void>;
  readonly state: State;
  /** Why the channel failed, as without a capability; null while it has not. */
  readonly failure: Error | null;
  readonly responses: Response[];
  readonly counts: Counts;
  get(id: string): Response | undefined;
  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void;
  off<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): void;
  /**
   * Asks for a response to be cancelled; needs the API. Resolves with the response once its end is applied here, whatever its
   * reason, and with undefined if it is no longer kept. Rejects with an `ApiError` when the API refuses, and with an `Error`
   * when it does not answer, when no end came in time, and when the stream is closed.
   */
  cancel(id: string, options?: CancelOptions): Promise<Response | undefined>;
  close(): void;
}

/** Follows the responses of an ably-js channel. */
export function tokenstream(channel: AblyChannel, options?: Options): TokenStream;
/** Follows the responses of a channel by server-sent events, from the gateway at a URL such as `/v1`. */
export function tokenstream(url: string, options: GatewayOptions): TokenStream;
