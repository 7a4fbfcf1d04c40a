/**
 * One answer on its way to the broker: one stream with rising `chunkIndex` and `final:true` at its END,
 * or one `message`, or one `ERROR` (spec §5.3, §5.8, §5.9).
 *
 * What was written to a connection that broke may or may not have arrived, and the broker has told the
 * readers that the stream failed. So a new connection gets the answer from its beginning, as a new
 * output. While there is no connection, text is only collected.
 */
import { pieces } from './deltas';
import { EVENT, TYPE } from './protocol';

/** A connection, as long as it lives. */
export interface Wire {
  send(event: string, payload: object): void;
}

export type Outcome =
  | { kind: 'streamed'; text: string }
  | { kind: 'whole'; text: string }
  | { kind: 'failed'; reason: string };

/** UTF-16 units of one piece, far below what a broker takes as one message. */
const MAX_PIECE = 16_384;

export class Answer {
  readonly requestId: string;
  readonly #clientId: string;
  readonly #newId: () => string;
  #wire: Wire | null = null;
  #text = '';
  #outcome: Outcome | null = null;
  #stream: { ids: { streamId: string; outputId: string }; next: number } | null = null;

  constructor(requestId: string, clientId: string, newId: () => string, outcome: Outcome | null = null) {
    this.requestId = requestId;
    this.#clientId = clientId;
    this.#newId = newId;
    this.#outcome = outcome;
  }

  get outcome(): Outcome | null {
    return this.#outcome;
  }

  get attached(): boolean {
    return this.#wire !== null;
  }

  /** From now on to this connection, beginning with all that there is. */
  attach(wire: Wire): void {
    if (this.#wire === wire) return;
    this.#wire = wire;
    this.#stream = null;
    if (this.#outcome !== null) this.#conclude(this.#outcome);
    else if (this.#text !== '') this.#write(this.#text);
  }

  detach(): void {
    this.#wire = null;
    this.#stream = null;
  }

  /** More text of a streamed answer. */
  delta(text: string): void {
    if (text === '' || this.#outcome !== null) return;
    this.#text += text;
    this.#write(text);
  }

  /** Its end: of the stream, if any text went out as one. */
  finish(outcome: Outcome): void {
    if (this.#outcome !== null) return;
    this.#outcome = outcome;
    if (outcome.kind === 'streamed') outcome.text = this.#text;
    this.#conclude(outcome, this.#stream !== null);
  }

  /** An open stream without text for a while ends as an error at the broker; this keeps it open. */
  keepAlive(): void {
    if (this.#stream !== null && this.#outcome === null) this.#piece('');
  }

  #conclude(outcome: Outcome, begun = false): void {
    switch (outcome.kind) {
      case 'streamed':
        if (!begun) this.#write(outcome.text);
        this.#end();
        break;
      case 'whole':
        this.#wire?.send(EVENT.message, {
          type: TYPE.message,
          data: outcome.text,
          ...this.#envelope(),
          outputId: this.#newId(),
        });
        break;
      case 'failed':
        this.#wire?.send(EVENT.error, {
          type: EVENT.error,
          message: outcome.reason,
          ...this.#envelope(),
        });
        break;
    }
  }

  #write(text: string): void {
    if (this.#wire === null) return;
    if (this.#stream === null) {
      const ids = { streamId: this.#newId(), outputId: this.#newId() };
      this.#stream = { ids, next: 0 };
      // No `numStreams`: nobody knows how many pieces there will be, and the broker holds none back.
      this.#wire.send(EVENT.streamStart, { type: TYPE.streamStart, ...ids, ...this.#envelope() });
    }
    for (const piece of pieces(text, MAX_PIECE)) this.#piece(piece);
  }

  #piece(data: string): void {
    if (this.#wire === null || this.#stream === null) return;
    const { ids, next } = this.#stream;
    const [event, type] =
      next === 0 ? [EVENT.streamFirst, TYPE.streamFirst] : [EVENT.streamMiddle, TYPE.streamMiddle];
    this.#stream.next += 1;
    this.#wire.send(event, { type, ...ids, chunkIndex: next, data, ...this.#envelope() });
  }

  #end(): void {
    if (this.#wire === null || this.#stream === null) return;
    const { ids } = this.#stream;
    this.#stream = null;
    this.#wire.send(EVENT.streamEnd, { type: TYPE.streamEnd, ...ids, final: true, ...this.#envelope() });
  }

  #envelope() {
    return { requestId: this.requestId, clientId: this.#clientId, source: this.#clientId, target: 'server' };
  }
}
