import { describe, expect, test } from 'vitest';
import { DeltaCutter, pieces } from '../src/deltas';

/** What a cutter makes of texts that SillyTavern reports one after the other. */
function cut(...reports: string[]): string[] {
  const cutter = new DeltaCutter();
  return [...reports.map((report) => cutter.push(report)), cutter.finish()];
}

describe('deltas', () => {
  test.each([
    ['new text only', ['a', 'ab', 'abc'], ['a', 'b', 'c', '']],
    ['nothing new', ['a', 'a', 'ab'], ['a', '', 'b', '']],
    ['nothing at all', ['', ''], ['', '', '']],
    ['leading and trailing white space stays', [' ', ' \n', ' \na '], [' ', '\n', 'a ', '']],
    ['half a character waits for its other half', ['a\ud83d', 'a😀', 'a😀!'], ['a', '😀', '!', '']],
    ['a lone half at the end is handed out, not lost', ['a\ud83d'], ['a', '\ud83d']],
    ['another segment begins', ['one', 'two', 'two!'], ['one', 'two', '!', '']],
    ['a segment that ends in a half', ['a\ud83d', 'b'], ['a', '\ud83db', '']],
    ['a segment that begins like the one before', ['ab', 'a'], ['ab', 'a', '']],
  ])('%s', (_, reports, expected) => {
    expect(cut(...reports)).toEqual(expected);
  });

  test('nothing is lost or doubled, wherever a text is cut', () => {
    const text = '  Hello 😀🎉 family 👩‍👩‍👧‍👦 flag 🇨🇳 你好 𝔘𝔫𝔦 end😀\n';
    for (let size = 1; size < 9; size += 1) {
      const reports: string[] = [];
      for (let to = size; to < text.length + size; to += size) reports.push(text.slice(0, to));
      const parts = cut(...reports);
      expect(parts.join('')).toBe(text);
      for (const part of parts) expect(part.isWellFormed()).toBe(true);
    }
  });
});

describe('pieces', () => {
  test.each([
    ['', 4, []],
    ['abcdefgh', 3, ['abc', 'def', 'gh']],
    ['ab😀cd', 3, ['ab', '😀c', 'd']],
    ['😀😀', 1, ['\ud83d', '\ude00', '\ud83d', '\ude00']],
  ])('%j by %i', (text, max, expected) => {
    expect(pieces(text, max)).toEqual(expected);
  });
});
