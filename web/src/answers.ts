/**
 * What the page knows of each request: a pure model that the sockets feed and the view shows.
 *
 * No event marks the end of a streamed answer (spec §5.3): every token is a stream of its own. So an
 * answer counts as complete when no stream of it is open and nothing came for `quietMs`; text that
 * still arrives afterwards is shown all the same.
 */
import type { Say } from './i18n';

export type State = 'sending' | 'waiting' | 'answering' | 'answered' | 'failed';

/** One generation (`outputId`): several targets, or a repeated one, give several of them. */
export interface Output {
  readonly outputId: string;
  text: string;
}

export interface Entry {
  readonly requestId: string;
  readonly target: string;
  /** `null`: asked by another window of the same client, which receives every answer as well. */
  readonly prompt: string | null;
  state: State;
  outputs: Output[];
  error: Say | null;
}

/** Metadata of one wire stream (spec §5.5): all values are strings. */
export interface StreamInfo {
  streamId: string;
  outputId: string;
  requestId: string;
  source: string;
}

interface Held extends Entry {
  open: number;
  lastMoment: number;
  decoders: Map<string, TextDecoder>;
}

export interface AnswersOptions {
  /** Requests that are kept; the oldest is forgotten first. */
  limit: number;
  /** Milliseconds without text or open stream after which an answer counts as complete. */
  quietMs: number;
  changed: (entry: Entry) => void;
  forgotten: (requestId: string) => void;
}

export class Answers {
  readonly #entries = new Map<string, Held>();
  readonly #options: AnswersOptions;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(requestId: string): Entry | undefined {
    return this.#entries.get(requestId);
  }

  /** A request leaves this page. */
  ask(requestId: string, target: string, prompt: string, now: number): void {
    this.#options.changed(this.#add(requestId, target, prompt, 'sending', now));
  }

  /** The broker forwarded it; its acknowledgement may come after the first text. */
  accepted(requestId: string): void {
    this.#change(requestId, (entry) => {
      if (entry.state === 'sending') entry.state = 'waiting';
    });
  }

  /** It will not be answered (any more), and why. */
  failed(requestId: string, error: Say): void {
    this.#change(requestId, (entry) => {
      entry.state = 'failed';
      entry.error = error;
    });
  }

  opened(info: StreamInfo, now: number): void {
    this.#receive(info.requestId, now, (entry) => {
      entry.open += 1;
      this.#output(entry, info.outputId);
    });
  }

  /** Bytes of one stream, in the order in which they arrived. */
  chunk(info: StreamInfo, bytes: Uint8Array, now: number): void {
    this.#receive(info.requestId, now, (entry) => {
      const output = this.#output(entry, info.outputId);
      const decoder = entry.decoders.get(info.outputId) ?? new TextDecoder();
      entry.decoders.set(info.outputId, decoder);
      output.text += decoder.decode(bytes, { stream: true });
    });
  }

  closed(info: StreamInfo, now: number): void {
    this.#receive(info.requestId, now, (entry) => {
      entry.open = Math.max(0, entry.open - 1);
    });
  }

  broken(info: StreamInfo, error: Say, now: number): void {
    this.closed(info, now);
    this.failed(info.requestId, error);
  }

  /** A complete text (spec §5.8). */
  message(requestId: string, outputId: string, text: string, now: number): void {
    this.#receive(requestId, now, (entry) => {
      this.#output(entry, outputId).text += text;
      if (entry.open === 0) entry.state = 'answered';
    });
  }

  /** Marks the answers that have fallen silent as complete. */
  settle(now: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.state !== 'answering' || entry.open > 0) continue;
      if (now - entry.lastMoment < this.#options.quietMs) continue;
      for (const [outputId, decoder] of entry.decoders) this.#output(entry, outputId).text += decoder.decode();
      entry.decoders.clear();
      entry.state = 'answered';
      this.#options.changed(entry);
    }
  }

  #receive(requestId: string, now: number, change: (entry: Held) => void): void {
    const entry = this.#entries.get(requestId) ?? this.#add(requestId, '', null, 'waiting', now);
    entry.lastMoment = now;
    if (entry.state !== 'failed') entry.state = 'answering';
    change(entry);
    this.#options.changed(entry);
  }

  #change(requestId: string, change: (entry: Held) => void): void {
    const entry = this.#entries.get(requestId);
    if (!entry) return;
    change(entry);
    this.#options.changed(entry);
  }

  #output(entry: Held, outputId: string): Output {
    const known = entry.outputs.find((output) => output.outputId === outputId);
    if (known) return known;
    const output = { outputId, text: '' };
    entry.outputs.push(output);
    return output;
  }

  #add(requestId: string, target: string, prompt: string | null, state: State, now: number): Held {
    const entry: Held = {
      requestId, target, prompt, state,
      outputs: [], error: null, open: 0, lastMoment: now, decoders: new Map(),
    };
    this.#entries.set(requestId, entry);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#options.limit) break;
      this.#entries.delete(oldest);
      this.#options.forgotten(oldest);
    }
    return entry;
  }
}
