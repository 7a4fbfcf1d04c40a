import { describe, expect, it } from 'vitest';
import { Answers, type StreamInfo } from '../src/answers';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const info = (requestId: string, outputId = 'o1', streamId = 's1'): StreamInfo => ({
  requestId, outputId, streamId, source: 'server',
});

function model(limit = 10) {
  const changed: string[] = [];
  const forgotten: string[] = [];
  const answers = new Answers({
    limit,
    quietMs: 1000,
    changed: (entry) => changed.push(`${entry.requestId}:${entry.state}`),
    forgotten: (requestId) => forgotten.push(requestId),
  });
  const texts = (requestId: string) => answers.get(requestId)?.outputs.map((output) => output.text);
  return { answers, changed, forgotten, texts };
}

describe('Answers', () => {
  it('walks from sending to answered', () => {
    const { answers, changed, texts } = model();
    answers.ask('r', 'A', 'hi', 0);
    answers.accepted('r');
    for (const [index, token] of ['Hel', 'lo ', '世界🙂'].entries()) {
      answers.opened(info('r', 'o1', `s${index}`), index);
      answers.chunk(info('r', 'o1', `s${index}`), bytes(token), index);
      answers.closed(info('r', 'o1', `s${index}`), index);
    }
    answers.settle(900);
    expect(answers.get('r')?.state).toBe('answering');
    answers.settle(1100);
    expect(texts('r')).toEqual(['Hello 世界🙂']);
    expect([...new Set(changed)]).toEqual(['r:sending', 'r:waiting', 'r:answering', 'r:answered']);
  });

  it('joins characters that are cut between chunks', () => {
    const { answers, texts } = model();
    for (const byte of bytes('a😀é你')) answers.chunk(info('r'), Uint8Array.of(byte), 0);
    expect(texts('r')).toEqual(['a😀é你']);
  });

  it('says so when the last character never became whole', () => {
    const { answers, texts } = model();
    answers.chunk(info('r'), bytes('😀').slice(0, 2), 0);
    answers.settle(5000);
    expect(texts('r')).toEqual(['\ufffd']);
  });

  it('keeps requests and outputs apart', () => {
    const { answers, texts } = model();
    answers.ask('r1', 'A', 'x', 0);
    answers.ask('r2', 'A', 'y', 0);
    const half = bytes('😀');
    answers.chunk(info('r1'), half.slice(0, 2), 0);
    answers.chunk(info('r2'), bytes('two'), 0);
    answers.chunk(info('r1', 'o2'), bytes('other'), 0);
    answers.chunk(info('r1'), half.slice(2), 0);
    expect(texts('r1')).toEqual(['😀', 'other']);
    expect(texts('r2')).toEqual(['two']);
  });

  it('an open stream keeps the answer open, however long it is silent', () => {
    const { answers } = model();
    answers.opened(info('r'), 0);
    answers.settle(60_000);
    expect(answers.get('r')?.state).toBe('answering');
  });

  it('text after the silence opens the answer again', () => {
    const { answers, texts } = model();
    answers.chunk(info('r'), bytes('a'), 0);
    answers.settle(2000);
    expect(answers.get('r')?.state).toBe('answered');
    answers.chunk(info('r'), bytes('b'), 3000);
    expect(answers.get('r')?.state).toBe('answering');
    expect(texts('r')).toEqual(['ab']);
  });

  it('a message is an answer at once, even to a request of another window', () => {
    const { answers, texts } = model();
    answers.message('r', 'o', 'whole', 0);
    expect(answers.get('r')).toMatchObject({ state: 'answered', prompt: null });
    expect(texts('r')).toEqual(['whole']);
  });

  it('a failure stays, with the text that had come', () => {
    const { answers, texts } = model();
    answers.ask('r', 'A', 'x', 0);
    answers.opened(info('r'), 0);
    answers.chunk(info('r'), bytes('half'), 0);
    answers.broken(info('r'), { key: 'knownAborted' }, 1);
    answers.accepted('r');
    answers.settle(9000);
    expect(answers.get('r')).toMatchObject({ state: 'failed', error: { key: 'knownAborted' } });
    expect(texts('r')).toEqual(['half']);
  });

  it('an ack that comes after the first text takes nothing back', () => {
    const { answers } = model();
    answers.ask('r', 'A', 'x', 0);
    answers.chunk(info('r'), bytes('early'), 0);
    answers.accepted('r');
    expect(answers.get('r')?.state).toBe('answering');
  });

  it('forgets the oldest beyond its limit', () => {
    const { answers, forgotten } = model(3);
    for (const id of ['a', 'b', 'c', 'd', 'e']) answers.ask(id, 'A', 'x', 0);
    expect(answers.size).toBe(3);
    expect(forgotten).toEqual(['a', 'b']);
    answers.failed('a', { key: 'errorNoAck' });
    expect(answers.get('a')).toBeUndefined();
  });

  it('names from the wire cannot reach into the model', () => {
    const { answers, texts } = model();
    answers.chunk(info('__proto__', 'constructor'), bytes('x'), 0);
    expect(texts('__proto__')).toEqual(['x']);
  });
});
