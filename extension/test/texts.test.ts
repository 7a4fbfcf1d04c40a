import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const read = (name: string) => readFileSync(new URL(`../${name}`, import.meta.url), 'utf8');
const sources = readdirSync(new URL('../src', import.meta.url)).map((name) => read(`src/${name}`));
const found = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, key]) => key!);

/** Why a broker refuses, in its own words and in ours. */
const REFUSALS = ['Client is not trusted.', 'Invalid key.', 'The broker asks for a key.'];

/** Every text that the panel shows, as its key. */
function keys(): Set<string> {
  const all = [...REFUSALS];
  for (const text of sources) {
    all.push(...found(text, /data-i18n="(?:\[[a-z-]+\])?([^"]+)"/g));
    all.push(...found(text, /\btr\(\s*'([^']+)'/g), ...found(text, /\blabel: '([^']+)'/g));
    all.push(...found(text, /\bdetail: '([^']+)'/g));
  }
  return new Set(all);
}

test.each(['zh-cn', 'zh-tw'])('%s has every text, and each placeholder of it', (locale) => {
  const texts = JSON.parse(read(`public/i18n/${locale}.json`)) as Record<string, string>;
  const placeholders = (text: string) => found(text, /(\$\{\d+\})/g).sort();
  expect(keys().size).toBeGreaterThan(30);
  for (const key of keys()) {
    expect(texts, key).toHaveProperty([key]);
    expect(placeholders(texts[key]!), key).toEqual(placeholders(key));
  }
});

test('the manifest names files that exist, and the version of the package', () => {
  const manifest = JSON.parse(read('public/manifest.json'));
  expect(manifest.version).toBe(JSON.parse(read('package.json')).version);
  for (const file of [manifest.css, ...Object.values<string>(manifest.i18n)]) expect(read(`public/${file}`)).not.toBe('');
});
