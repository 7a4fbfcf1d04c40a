/**
 * From the cumulative text that SillyTavern reports to true deltas, cut only between characters.
 *
 * A text that does not continue the one before begins a new segment: another member of a group speaks,
 * or the model goes on after a tool call. Nothing that was handed out is taken back.
 */
export class DeltaCutter {
  /** The current segment, as last reported. */
  #seen = '';
  /** How much of it was handed out. */
  #given = 0;

  /** What is new in `cumulative`, without half a character at its end. */
  push(cumulative: string): string {
    let rest = '';
    if (!cumulative.startsWith(this.#seen)) {
      rest = this.#seen.slice(this.#given);
      this.#given = 0;
    }
    this.#seen = cumulative;
    const end = cumulative.length - (endsInHalf(cumulative) ? 1 : 0);
    const delta = cumulative.slice(this.#given, Math.max(end, this.#given));
    this.#given = Math.max(end, this.#given);
    return rest + delta;
  }

  /** What was held back: the model itself ended with half a character. */
  finish(): string {
    const rest = this.#seen.slice(this.#given);
    this.#given = this.#seen.length;
    return rest;
  }
}

const endsInHalf = (text: string) => isHighSurrogate(text.charCodeAt(text.length - 1));

const isHighSurrogate = (unit: number) => unit >= 0xd800 && unit <= 0xdbff;

/** `text` in pieces of at most `max` UTF-16 units, none of which ends inside a character. */
export function pieces(text: string, max: number): string[] {
  const cut: string[] = [];
  let from = 0;
  while (from < text.length) {
    let to = Math.min(from + max, text.length);
    if (to < text.length && to - from > 1 && isHighSurrogate(text.charCodeAt(to - 1))) to -= 1;
    cut.push(text.slice(from, to));
    from = to;
  }
  return cut;
}
