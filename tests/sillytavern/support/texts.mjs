// What the model says, where it matters that all of it arrives.

// Characters of four bytes, of several code points, and cut in halves; white space at both ends.
export const TOKENS = ['  Hel', 'lo 😀', '🎉 \ud83d', '\ude00 family 👩‍👩‍👧‍👦', ' 你好，', '世界。', '\n\n  𠮷野家\t', '*end*  \n'];
export const TEXT = TOKENS.join('');
