import { describe, expect, it } from 'vitest';
import html from '../index.html?raw';
import { chooseLanguage, explain, LANGUAGES, TEXTS, translate } from '../src/i18n';

const words = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1] ?? '').sort();

describe('texts', () => {
  it.each(LANGUAGES)('%s says everything, with the same placeholders', (language) => {
    expect(Object.keys(TEXTS[language]).sort()).toEqual(Object.keys(TEXTS.en).sort());
    for (const key of Object.keys(TEXTS.en) as (keyof typeof TEXTS.en)[]) {
      expect(TEXTS[language][key].trim(), key).not.toBe('');
      expect(words(TEXTS[language][key]), key).toEqual(words(TEXTS.en[key]));
    }
  });

  it('every key in index.html is known', () => {
    const keys = [...html.matchAll(/data-i18n(?:-\w+)?="(\w+)"/g)].map((found) => found[1]);
    expect(keys.length).toBeGreaterThan(10);
    for (const key of keys) expect(TEXTS.en).toHaveProperty(key ?? '');
  });

  it('the page is fit for a strict content security policy', () => {
    expect(html).not.toMatch(/ style=| on\w+=|<style|<script(?![^>]*src=)|https?:/);
  });
});

describe('translate', () => {
  it('fills in, nests, and leaves what has no value', () => {
    expect(translate('en', { key: 'answerOf', fill: { name: 'A$&' } })).toBe('Answer of A$&');
    expect(translate('zh', { key: 'errorList', fill: { detail: { key: 'errorNoAck' } } })).toBe(
      '无法读取扩展列表。服务器没有及时应答。',
    );
    expect(translate('en', { key: 'answerOf' })).toBe('Answer of {name}');
  });
});

describe('chooseLanguage', () => {
  it.each([
    [null, 'en-GB', 'en'],
    [null, 'zh-CN', 'zh'],
    [null, 'ZH', 'zh'],
    [null, 'de', 'en'],
    ['zh', 'en', 'zh'],
    ['en', 'zh-TW', 'en'],
    ['klingon', 'zh-TW', 'zh'],
  ] as const)('remembered %s, browser %s: %s', (remembered, preferred, language) => {
    expect(chooseLanguage(remembered, preferred)).toBe(language);
  });
});

describe('explain', () => {
  it.each([
    ['Client is not trusted.', undefined, 'knownUntrusted'],
    ['Client is not trusted.', 'rate_limited', 'knownRateLimited'],
    ['Target client not found: SillyTavern-8000', undefined, 'knownTargetMissing'],
    ['LLM request timed out.', undefined, 'knownTimeout'],
    ['something new', undefined, 'errorServer'],
    ['', undefined, 'errorServer'],
  ] as const)('%s', (message, code, key) => {
    expect(explain(message, code).key).toBe(key);
  });

  it('keeps the name and the unknown message', () => {
    expect(explain('Target client not found: 🙂').fill).toEqual({ name: '🙂' });
    expect(translate('en', explain('model on fire'))).toBe('The broker reports: model on fire');
  });
});
