import type { AblyChannel, CancelOptions, Options, Response, State, TokenStream } from '../index.js';

/** A channel of the gateway at `url`. */
export interface GatewaySource {
  readonly url: string;
  readonly channel: string;
}

/** An ably-js channel, a gateway's channel, or a stream of your own, which stays open. */
export type Source = AblyChannel | GatewaySource | TokenStream;

export interface Responses {
  /** All responses in hand, the first begun first. A response that did not change is the same object as before. */
  readonly responses: readonly Response[];
  readonly state: State;
  /** The newest error; null once reading goes on. The error of a channel that failed stays. */
  readonly error: Error | null;
  /** As `cancel` of a stream. Rejects where the component is not mounted. */
  readonly cancel: (id: string, options?: CancelOptions) => Promise<Response | undefined>;
}

/**
 * Follows the responses of a source. Components with the same source and equal options share one subscription. Options may be given
 * inline: only other values open another subscription, and of functions the newest is called. Without a source nothing is read.
 * On the server, and before the component is mounted, there are no responses.
 */
export function useResponses(source: Source | null | undefined, options?: Options): Responses;

/** Follows one response of a source; null until it is known. Renders the component when this response changes. */
export function useResponse(source: Source | null | undefined, id: string | null, options?: Options): Response | null;
