import { describe, expect, test } from 'vitest';
import { modeFor, type Policy } from '../src/policy';
import { readRequest, type Request, sameRequest } from '../src/request';

const plain = { requestId: 'r', clientId: 'app', message: 'hi', target: 'SillyTavern-8000-x' };
const read = (payload: unknown) => readRequest(payload) as Request;

describe('a request', () => {
  test('as the broker forwards it', () => {
    const forwarded = {
      ...plain,
      mode: 'Immediate',
      targetRoom: 'app',
      requestingIdentity: 'app',
      currentRequest: { ...plain },
      context: [],
    };
    expect(read(forwarded)).toEqual({ requestId: 'r', clientId: 'app', text: 'hi', mode: null, regenerate: false });
  });

  test.each([
    ['at the top', { ...plain, mode: 'chat' }, 'chat'],
    ["under a room's mode", { ...plain, mode: 'Immediate', currentRequest: { ...plain, mode: 'quiet' } }, 'quiet'],
    ['unknown', { ...plain, mode: 'loud' }, null],
  ])('its mode %s', (_, payload, mode) => {
    expect(read(payload).mode).toBe(mode);
  });

  test.each([
    [{ message: 'm', data: 'd' }, 'm'],
    [{ message: '', data: 'd' }, 'd'],
    [{ data: { text: 't', prompt: 'p' } }, 't'],
    [{ data: { prompt: 'p' } }, 'p'],
    [{ prompt: 'p' }, 'p'],
    [{ instruction: 'think' }, 'think'],
    [{ message: 7 }, '7'],
    [{ message: { not: 'text' } }, ''],
    [{ message: '', currentRequest: { data: 'inner' } }, 'inner'],
  ])('its text: %j', (fields, text) => {
    expect(read({ requestId: 'r', ...fields }).text).toBe(text);
  });

  test('that is none', () => {
    for (const payload of [null, undefined, 7, 'r', [], {}, { requestId: '' }, { requestId: 7 }]) {
      expect(typeof readRequest(payload)).toBe('string');
    }
  });

  test('sent again', () => {
    const request = read(plain);
    expect(sameRequest(request, read({ ...plain, extra: 1 }))).toBe(true);
    expect(sameRequest(request, read({ ...plain, message: 'other' }))).toBe(false);
    expect(sameRequest(request, read({ ...plain, clientId: 'bot' }))).toBe(false);
  });
});

describe('what it may do', () => {
  const all: Policy = { quiet: true, chat: true, defaultMode: 'quiet' };
  const mode = (more: object, policy: Partial<Policy> = {}) => modeFor(read({ ...plain, ...more }), { ...all, ...policy });

  test('the mode that it names, else the one of the panel', () => {
    expect(mode({})).toEqual({ mode: 'quiet' });
    expect(mode({}, { defaultMode: 'chat' })).toEqual({ mode: 'chat' });
    expect(mode({ mode: 'chat' })).toEqual({ mode: 'chat' });
  });

  test('an answer is regenerated in the chat, and needs no text', () => {
    expect(mode({ requestType: 'regenerateMessage', message: '' })).toEqual({ mode: 'chat' });
    expect(mode({ requestType: 'regenerateMessage', mode: 'quiet' })).toHaveProperty('refusal');
  });

  test('nothing that is switched off, nothing without text', () => {
    expect(mode({}, { quiet: false })).toEqual({ refusal: 'Access denied: quiet mode is switched off in SillyTavern.' });
    expect(mode({ requestType: 'regenerateMessage' }, { chat: false })).toHaveProperty('refusal');
    expect(mode({ message: ' \n' })).toEqual({ refusal: 'The request has no text.' });
  });
});
