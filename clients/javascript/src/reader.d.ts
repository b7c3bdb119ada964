/** A message of ably-js, as far as it is read. */
export interface FrameMessage {
  name?: string;
  data?: unknown;
  extras?: any;
  clientId?: string;
  timestamp?: number;
}

export type Status = 'streaming' | 'complete' | 'failed' | 'cancelled' | 'abandoned';

export interface Counts {
  /** Frames the live channel delivered, repeats among them. */
  frames: number;
  /** Messages that are no frames of this stream: another publisher's, or malformed. */
  ignored: number;
  /** Frames that brought nothing new and were dropped. */
  repeats: number;
  /** How often a response turned out to miss something, a late join included. */
  losses: number;
  /** Live frames that came after frames they precede. */
  reordered: number;
  /** Tokens given up: neither history nor the API had them. */
  lost: number;
  /** Finished responses whose text is not what their stop or record says. */
  mismatches: number;
}

export interface Limits {
  /** Finished responses kept; the oldest are let go first. Default 100. */
  finished?: number;
  /** Open responses kept. Default 1000. */
  open?: number;
  /** Ids of let go responses remembered, so that their late frames are dropped. Default 10000. */
  remembered?: number;
  /** Frames held per response behind a loss. Default 2000. */
  heldFrames?: number;
  /** Text held per response behind a loss, in UTF-16 units. Default 2000000. */
  heldUnits?: number;
}

export interface ReaderResponse {
  readonly id: string;
  readonly status: Status;
  readonly parts: ReadonlyMap<string, { part: string; kind: string; info: object | null; text: string; length: number }>;
  readonly last: number;
  readonly tokens: number;
  readonly frames: number;
  readonly broken: boolean;
  readonly finished: boolean;
  readonly complete: boolean;
  readonly verified: boolean | null;
}

/** The rules alone, without a channel. Methods return the id of the response that changed, or null. */
export class Reader {
  constructor(options?: { clientId?: string; limits?: Limits; onDrop?: (id: string) => void });
  readonly responses: ReadonlyMap<string, ReaderResponse>;
  readonly unproven: ReadonlySet<string>;
  readonly counts: Counts;
  needs(): string[];
  feed(message: FrameMessage): string | null;
  replay(message: FrameMessage): string | null;
  hydrate(record: object): string | null;
  giveUp(id: string): string | null;
  drop(id: string): void;
  verify(id: string, digest: (text: string) => Promise<string | null>): Promise<string | null>;
}
