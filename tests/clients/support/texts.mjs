// Texts that brokers get wrong, each cut into tokens as a model gives them.

const byUnits = (text, size) => {
  const tokens = [];
  for (let at = 0; at < text.length; at += size) tokens.push(text.slice(at, at + size));
  return tokens;
};

const emoji = '  Hello good luck 😀🎉 family 👩‍👩‍👧‍👦 flag 🇨🇳 tone 👍🏽 𝔘𝔫𝔦 end😀';
const chinese = '从前有一位旅行者，他走过千山万水，终于看见了大海。𠮷野家也在那里！「你好，世界。」';
const newlines = 'one\n\ntwo\r\n\tthree\n   \n\u2028\u2029four\n\n\n```rust\nfn main() {}\n```\n';
const letters = 'The quick brown fox 跳过 the lazy dog 🐶. '.repeat(6);
const kilobyte = `${'Lorem ipsum dolor sit amet, '.repeat(30)}山高水长😀🙂\n`;

/** Name → tokens. The first token's leading white space is the extension's to strip (spec §5.3). */
export const TEXTS = {
  emoji: [...emoji],
  // Three UTF-16 units a token: pairs straddle both pieces and tokens.
  'emoji cut in halves': byUnits(emoji, 3),
  Chinese: byUnits(chinese, 2),
  newlines: byUnits(newlines, 4),
  'empty tokens': ['', '', 'a', '', 'b', '', '', '', '你好', '', ' c', ''],
  'one-character tokens': [...letters],
  // Many small ones, and one that takes several writes of 16 KiB.
  '100 KB': [...Array(30).fill(kilobyte), kilobyte.repeat(84), ...byUnits(kilobyte, 7)],
};
