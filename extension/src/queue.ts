/** Requests one at a time, first in first out, each id once. Pure: who runs them is told by `next`. */

export interface Queued {
  requestId: string;
}

export class RequestQueue<T extends Queued> {
  readonly #max: number;
  #waiting: T[] = [];
  #running: T | null = null;

  constructor(max: number) {
    this.#max = max;
  }

  get waiting(): readonly T[] {
    return this.#waiting;
  }

  get running(): T | null {
    return this.#running;
  }

  /** The one with this id that waits or runs. */
  find(requestId: string): T | undefined {
    if (this.#running?.requestId === requestId) return this.#running;
    return this.#waiting.find((item) => item.requestId === requestId);
  }

  /** False if it is full. An id that is there already must be asked for with `find` first. */
  add(item: T): boolean {
    if (this.find(item.requestId)) throw new Error('this id is queued already');
    if (this.#waiting.length >= this.#max) return false;
    this.#waiting.push(item);
    return true;
  }

  /** The next to run, if none runs. */
  next(): T | null {
    if (this.#running !== null) return null;
    this.#running = this.#waiting.shift() ?? null;
    return this.#running;
  }

  /** The running one is done. */
  done(): void {
    this.#running = null;
  }

  /** Removes those that wait and that nobody waits for any more. */
  drop(unwanted: (item: T) => boolean): void {
    this.#waiting = this.#waiting.filter((item) => !unwanted(item));
  }
}
