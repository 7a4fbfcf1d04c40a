/** Answers that were given lately, so that a request sent again is not generated again. Bounded. */

export interface Remembered<R, A> {
  request: R;
  answer: A;
}

export class AnswerMemory<R extends { requestId: string }, A> {
  readonly #entries = new Map<string, Remembered<R, A> & { size: number; at: number }>();
  readonly #limits: { entries: number; size: number; ageMs: number };
  #size = 0;

  constructor(limits: { entries: number; size: number; ageMs: number }) {
    this.#limits = limits;
  }

  put(request: R, answer: A, size: number, now: number): void {
    this.forget(request.requestId);
    this.#entries.set(request.requestId, { request, answer, size, at: now });
    this.#size += size;
    // A map keeps the order of insertion: the oldest first.
    for (const [id, entry] of this.#entries) {
      const tooMuch = this.#entries.size > this.#limits.entries || this.#size > this.#limits.size;
      if (!tooMuch && now - entry.at <= this.#limits.ageMs) break;
      this.forget(id);
    }
  }

  get(requestId: string, now: number): Remembered<R, A> | undefined {
    const entry = this.#entries.get(requestId);
    return entry && now - entry.at <= this.#limits.ageMs ? entry : undefined;
  }

  ids(now: number): string[] {
    return [...this.#entries.keys()].filter((id) => this.get(id, now));
  }

  forget(requestId: string): void {
    const entry = this.#entries.get(requestId);
    if (entry) this.#size -= entry.size;
    this.#entries.delete(requestId);
  }
}
